"""One pattern of an ignore file, as a regular expression that matches exactly what git's `wildmatch` does.

Source: git's wildmatch.c and dir.c (`parse_path_pattern`, `match_basename`, `match_pathname`) of 2.39. A star
becomes a lazy atomic group, so that matching cannot go exponential on a pattern such as `*a*a*a*a*b`.
One difference from 2.39 is deliberate: `a**/b` is `a*/b`, as git's manual says and newer releases do.
"""

from __future__ import annotations

import re

_STAR, _SLASH, _BACKSLASH = b"*"[0], b"/"[0], b"\\"[0]
_QUESTION, _OPEN, _CLOSE = b"?"[0], b"["[0], b"]"[0]
_NOT_SLASH = frozenset(range(1, 256)) - {_SLASH}


def _ranged(*ranges: tuple[int, int]) -> frozenset[int]:
    return frozenset(byte for low, high in ranges for byte in range(low, high + 1))


_LOWER, _UPPER, _DIGIT = _ranged((97, 122)), _ranged((65, 90)), _ranged((48, 57))
_GRAPH = _ranged((33, 126))
_CLASSES: dict[bytes, frozenset[int]] = {
    b"alnum": _LOWER | _UPPER | _DIGIT,
    b"alpha": _LOWER | _UPPER,
    b"blank": frozenset(b" \t"),
    b"cntrl": _ranged((0, 31), (127, 127)),
    b"digit": _DIGIT,
    b"graph": _GRAPH,
    b"lower": _LOWER,
    b"print": _GRAPH | {32},
    b"punct": _GRAPH - _LOWER - _UPPER - _DIGIT,
    b"space": frozenset(b" \t\n\r\v\f"),
    b"upper": _UPPER,
    b"xdigit": _DIGIT | _ranged((65, 70), (97, 102)),
}


def translate(pattern: bytes) -> bytes | None:
    """A regular expression body for a pattern, or None for one that can match nothing.

    Matched against a path without a leading slash; no wildcard but `**` between slashes matches a slash.

    >>> translate(b"*.p?")
    b'[^/]*\\\\.p[^/]\\\\Z'
    """
    parts: list[_Part] = []
    at = 0
    while at < len(pattern):
        if pattern[at] == _STAR:
            at, kind = _stars(pattern, at)
            parts.append(kind)
            continue
        step = _one(pattern, at)
        if step is None:
            return None
        body, at = step
        parts.append(body)
    return _assemble(parts)


_Part = bytes
_ANY, _ANY_DEPTH, _FOLDERS = b"<star>", b"<all>", b"<folders>"


def _stars(pattern: bytes, at: int) -> tuple[int, _Part]:
    """What a run of stars means: within a name, over everything, or any number of whole folders."""
    end = at
    while end < len(pattern) and pattern[end] == _STAR:
        end += 1
    if end - at == 1 or not (at == 0 or pattern[at - 1] == _SLASH):
        return end, _ANY
    if end == len(pattern) or pattern[end : end + 2] == b"\\/":
        return end, _ANY_DEPTH
    if pattern[end] == _SLASH:
        return end + 1, _FOLDERS
    return end, _ANY


def _one(pattern: bytes, at: int) -> tuple[_Part, int] | None:
    byte = pattern[at]
    if byte == _QUESTION:
        return b"[^/]", at + 1
    if byte == _BACKSLASH:
        return (re.escape(pattern[at + 1 : at + 2]), at + 2) if at + 1 < len(pattern) else None
    if byte == _OPEN:
        found = _bracket(pattern, at + 1)
        return None if found is None else (_as_set(found[0] & _NOT_SLASH), found[1])
    return re.escape(pattern[at : at + 1]), at + 1


def _as_set(members: frozenset[int]) -> bytes:
    if not members:
        return b"(?!)"
    return b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(members)) + b"]"


def _bracket(pattern: bytes, at: int) -> tuple[frozenset[int], int] | None:
    """The bytes that a character class matches and where it ends; None when it never ends."""
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    members: set[int] = set()
    before = 0
    first = True
    while first or pattern[at : at + 1] != b"]":
        first = False
        step = _member(pattern, at, before)
        if step is None:
            return None
        found, before, at = step
        members |= found
    return (frozenset(range(1, 256)) - members if negated else frozenset(members)), at + 1


def _member(pattern: bytes, at: int, before: int) -> tuple[frozenset[int], int, int] | None:
    """One step through a class: the bytes added, what a following `-` ranges from (0: nothing), the end."""
    if at >= len(pattern):
        return None
    byte = pattern[at]
    if byte == _BACKSLASH:
        if at + 1 >= len(pattern):
            return None
        return frozenset({pattern[at + 1]}), pattern[at + 1], at + 2
    if byte == b"-"[0] and before and at + 1 < len(pattern) and pattern[at + 1] != _CLOSE:
        at += 1 + (pattern[at + 1] == _BACKSLASH)
        if at >= len(pattern):
            return None
        return _ranged((before, pattern[at])), 0, at + 1
    if byte == _OPEN and pattern[at + 1 : at + 2] == b":":
        return _named(pattern, at)
    return frozenset({byte}), byte, at + 1


def _named(pattern: bytes, at: int) -> tuple[frozenset[int], int, int] | None:
    end = pattern.find(b"]", at + 2)
    if end < 0:
        return None
    if end - at - 3 < 0 or pattern[end - 1] != b":"[0]:
        return frozenset({_OPEN}), _OPEN, at + 1
    members = _CLASSES.get(pattern[at + 2 : end - 1])
    return None if members is None else (members, 0, end + 1)


def _assemble(parts: list[_Part]) -> bytes:
    """Join the parts from the right; what lies between two stars becomes an atomic group of the first."""
    # body: since the last star of any kind; segment: since the last star over folders; out: from there on.
    body = segment = b""
    out = b"\\Z"
    star_follows = depth_follows = False
    for part in reversed(parts):
        if part == _ANY:
            # The text before the next star is taken at its earliest place: later ones leave less for that star.
            body = b"(?>[^/]*?" + body + b")" if star_follows else b"[^/]*" + body
            body, segment, star_follows = b"", body + segment, True
        elif part in (_ANY_DEPTH, _FOLDERS):
            segment = (b"(?:[^/]*/)*?" if part == _FOLDERS else b"(?s:.)*?") + body + segment
            out = (b"(?>" + segment + b")" if depth_follows else segment) + out
            body, segment, star_follows, depth_follows = b"", b"", True, True
        else:
            body = part + body
    return body + segment + out
