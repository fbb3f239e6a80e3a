"""Run ids: UUIDv7 (RFC 9562 section 5.7), shown as 26 lower-case Crockford base32 characters.

>>> text = encode(bytes(16))
>>> text, decode(text) == bytes(16)
('00000000000000000000000000', True)
"""

from __future__ import annotations

from functools import lru_cache

from onrecord.ledger.errors import BadRunId

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26
_VALUES = {character: value for value, character in enumerate(ALPHABET)}
# Two characters at a time, for a rebuild spells the id of every run.
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
_SHIFTS = range(120, -1, -10)
# Crockford: what a person misreads decodes to what was meant.
_MISREAD = str.maketrans({"o": "0", "i": "1", "l": "1", "-": None})


def new_id(milliseconds: int, random: bytes) -> bytes:
    """16 bytes: `milliseconds` since the epoch (48 bits), then 74 bits of `random` (10 bytes or more)."""
    noise = int.from_bytes(random[:10], "big")
    value = (milliseconds & 0xFFFFFFFFFFFF) << 80
    value |= 0x7 << 76 | (noise >> 68) << 64
    value |= 0b10 << 62 | (noise & 0x3FFFFFFFFFFFFFFF)
    return value.to_bytes(16, "big")


@lru_cache(maxsize=4096)
def encode(identity: bytes) -> str:
    """26 characters for 16 bytes; texts sort as the bytes do."""
    value = int.from_bytes(identity, "big")
    return "".join([_PAIRS[value >> shift & 1023] for shift in _SHIFTS])


@lru_cache(maxsize=4096)
def decode(text: str) -> bytes:
    """The 16 bytes behind 26 characters, in either case. Raises BadRunId."""
    clean = clean_prefix(text)
    if len(clean) != LENGTH or clean[0] > "7":
        raise BadRunId(
            f"'{text}' is not a run id",
            why="a run id has 26 characters, the first one 0 to 7",
            next_step="onrecord ls",
            text=text,
        )
    value = 0
    for character in clean:
        value = value << 5 | _VALUES[character]
    return value.to_bytes(16, "big")


def clean_prefix(text: str) -> str:
    """The canonical spelling of an id or the start of one. Raises BadRunId."""
    clean = text.lower().translate(_MISREAD)
    if text.startswith("@"):
        raise _no_such_name(text)
    if not clean or len(clean) > LENGTH or any(character not in _VALUES for character in clean):
        raise BadRunId(
            f"'{text}' is not a run id, nor the start of one",
            why="run ids are written in digits and letters without i, l, o and u, at most 26 of them",
            next_step="onrecord ls   (or @last for the newest run)",
            text=text,
        )
    return clean


def _no_such_name(text: str) -> BadRunId:
    from difflib import get_close_matches

    near = get_close_matches(text.partition(":")[0], ("@last", "@best"), n=1)
    meant = text.replace(text.partition(":")[0], near[0]) if near else ""
    if meant == "@best" or text == "@best":
        meant = "@best:METRIC"
    return BadRunId(
        f"'{text}' names no run",
        why=f"did you mean {meant}?" if meant else "names of runs that begin with @ are @last and @best:METRIC",
        next_step="onrecord ls   (or @last for the newest run, @best:METRIC for the one with the lowest value)",
        text=text,
    )
