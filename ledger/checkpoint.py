"""What a ledger's whole history is named by: its origin, its size and its root (https://c2sp.org/tlog-checkpoint).

onrecord/<32 hex digits>        the ledger: the start of the leaf of its first own event
1284                            events
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
                                (an empty line and signatures, where it is signed: `note`)
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

import attrs

from onrecord.ledger.errors import BadEvidence, ProofFailed
from onrecord.ledger.merkle import EMPTY
from onrecord.ledger.note import Note, decode_base64, format_note, parse_note

ORIGIN = "onrecord/"
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


def name_of(own_leaf: bytes) -> str:
    """The name of the ledger whose first own event (`origin`) has this leaf: another one as soon as that event is."""
    return ORIGIN + own_leaf.hex()[:32]


@attrs.frozen
class Checkpoint:
    """A ledger at one size: `origin`, `size` in events, `root` (32 bytes), and signatures where it has any.

    `extensions` are further lines of another log's checkpoint; ours have none.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()
    note: Note | None = attrs.field(default=None, eq=False)

    @property
    def text(self) -> str:
        """The lines that signatures are over."""
        lines = [self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions]
        return "".join(f"{line}\n" for line in lines)

    def as_note(self) -> Note:
        """The text with its signatures."""
        return self.note or Note(self.text)

    def __str__(self) -> str:
        return format_note(self.as_note())


def parse_checkpoint(text: str, *, line: int = 1) -> Checkpoint:
    """The checkpoint behind a note, signed or not; `line` is where it starts in its file. Raises BadEvidence."""
    note = parse_note(text)
    lines = note.text.removesuffix("\n").split("\n")
    if len(lines) < 3:
        raise _bad("it has three lines: the ledger's origin, its size and its root", line)
    origin, size, root = lines[:3]
    if not origin:
        raise _bad("the origin is missing", line)
    if not _SIZE.fullmatch(size):
        raise _bad("the size is a number of events without leading zeroes", line + 1)
    decoded = decode_base64(root)
    if decoded is None or len(decoded) != 32:
        raise _bad("the root is 32 bytes in base64", line + 2)
    if size == "0" and decoded != EMPTY:
        raise _bad("the root of no events is another", line + 2)
    if not all(lines[3:]):
        raise _bad("there is an empty line too many", line + 3)
    return Checkpoint(origin, int(size), decoded, tuple(lines[3:]), note)


def check_same_ledger(one: Checkpoint, other: Checkpoint) -> None:
    """Refuse checkpoints of two ledgers, and two of one size that differ. Raises ProofFailed."""
    if one.origin != other.origin:
        raise ProofFailed(
            "these are checkpoints of two different ledgers",
            why=f"one is of {one.origin}, the other of {other.origin}; a ledger has another name as soon as its"
            " first event is another",
            kind="checkpoint",
        )
    if one.size == other.size and one.root != other.root:
        raise ProofFailed(
            "history was rewritten: two checkpoints of the same size have different roots",
            why=f"at {one.size} events one has the root {one.root.hex()}, the other {other.root.hex()}",
            kind="checkpoint",
        )


def _bad(why: str, line: int) -> BadEvidence:
    return BadEvidence(f"line {line} of this checkpoint cannot be read", why=why, kind="checkpoint", line=line)


def what_became_of(old: Checkpoint, origin: str, size: int, root_at: Callable[[int], bytes | None]) -> str | None:
    """How a ledger of `size` events fails to go on from the checkpoint `old`; None where it does.

    `root_at` gives the ledger's root at a number of events that it has.
    """
    named = f"the checkpoint names {old.size} events with the root {old.root.hex()}"
    if size and origin != old.origin:
        return f"history was rewritten or replaced: {named}, of the ledger {old.origin}; this ledger is {origin}"
    if size < old.size:
        return f"history was truncated: {named}, the ledger has {size} events"
    root = root_at(old.size)
    if root != old.root:
        return f"history was rewritten: {named}, the root of the ledger's first {old.size} is {(root or b'').hex()}"
    return None
