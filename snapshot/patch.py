r"""What differs, as text: git's patch format (git-diff(1)), so that `git apply` takes it.

Contents are passed on byte for byte. A name that is not plain text is quoted as git does ("a\303\274.txt").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from onrecord.snapshot.binary_patch import binary_patch
from onrecord.snapshot.diff import Change
from onrecord.snapshot.lines import Piece, hunks
from onrecord.snapshot.manifest import Entry
from onrecord.snapshot.side import Side

# Longer files are not compared line by line: bytes.
LONGEST = 5_000_000
_SNIFFED = 8000
_ABSENT = b"/dev/null"
_ESCAPES = {7: b"a", 8: b"b", 9: b"t", 10: b"n", 11: b"v", 12: b"f", 13: b"r", 34: b'"', 92: b"\\"}

Kind = Literal["file", "meta", "hunk", "equal", "removed", "added"]


class Line(NamedTuple):
    """One line of a patch, without its newline; `file` begins what is said of one file, `meta` says more of it."""

    kind: Kind
    text: bytes


def patch(changes: Iterable[Change], before: Side, after: Side, *, binary: bool = False) -> Iterator[Line]:
    """The patch that makes the second side of the first one; `changes` as `diff(..., fold=False)` finds them.

    Binary files and files of more than 5 MB are only said to differ, which git does not apply; with `binary` they are
    there whole, both sides of each. Empty folders have no place in a patch.
    Errors: ObjectMissing, ObjectCorrupt; FileChanging for a folder that changes meanwhile.
    """
    for change in changes:
        old, new = _file_or_none(change.before), _file_or_none(change.after)
        if old is not None and new is not None and old.kind != new.kind:
            yield from _file(old, None, before, after, binary)
            yield from _file(None, new, before, after, binary)
        elif old is not None or new is not None:
            yield from _file(old, new, before, after, binary)


def _file_or_none(entry: Entry | None) -> Entry | None:
    return None if entry is None or entry.kind == "dir" else entry


def _file(old: Entry | None, new: Entry | None, before: Side, after: Side, binary: bool) -> Iterator[Line]:
    names = [b"a/" + _path(old, new), b"b/" + _path(new, old)]
    yield Line("file", b"diff --git %s %s" % (quoted(names[0]), quoted(names[1])))
    yield from (Line("meta", text) for text in _header(old, new))
    if old is not None and new is not None and (old.digest, old.target) == (new.digest, new.target):
        return
    shown = [_ABSENT if entry is None else _shown(name) for entry, name in zip((old, new), names, strict=True)]
    huge = any(entry is not None and entry.size > LONGEST for entry in (old, new))
    if huge and not binary:
        yield Line(
            "meta", b"Files %s and %s differ (more than %d bytes)" % (quoted(names[0]), quoted(names[1]), LONGEST)
        )
        return
    texts = _text(old, before), _text(new, after)
    if huge or any(b"\0" in text[:_SNIFFED] for text in texts):
        if binary:
            mode = _mode(new) if old is not None and new is not None and old.executable == new.executable else b""
            contents = [None if entry is None else text for entry, text in zip((old, new), texts, strict=True)]
            yield from (Line("meta", text) for text in binary_patch(contents[0], contents[1], mode))
            return
        yield Line("meta", b"Binary files %s and %s differ" % (shown[0].rstrip(), shown[1].rstrip()))
        return
    if texts[0] != texts[1]:
        yield Line("meta", b"--- " + shown[0])
        yield Line("meta", b"+++ " + shown[1])
        yield from _hunks(_lines(texts[0]), _lines(texts[1]))


def _path(entry: Entry | None, other: Entry | None) -> bytes:
    known = entry or other
    return known.path if known is not None else b""


def _header(old: Entry | None, new: Entry | None) -> Iterator[bytes]:
    if old is None:
        yield b"new file mode " + _mode(new)
    elif new is None:
        yield b"deleted file mode " + _mode(old)
    else:
        if old.executable != new.executable:
            yield b"old mode " + _mode(old)
            yield b"new mode " + _mode(new)
        if old.path != new.path:
            yield b"similarity index 100%"
            yield b"rename from " + quoted(old.path)
            yield b"rename to " + quoted(new.path)


def _mode(entry: Entry | None) -> bytes:
    if entry is not None and entry.kind == "link":
        return b"120000"
    return b"100755" if entry is not None and entry.executable else b"100644"


def _text(entry: Entry | None, side: Side) -> bytes:
    if entry is None:
        return b""
    return entry.target if entry.kind == "link" else side.content(entry)


def _lines(text: bytes) -> list[bytes]:
    lines = text.split(b"\n")
    last = lines.pop()
    return [*(line + b"\n" for line in lines), *([last] if last else [])]


def _hunks(old: list[bytes], new: list[bytes]) -> Iterator[Line]:
    for hunk in hunks(old, new):
        first, last = hunk[0], hunk[-1]
        spans = _span(first.start, last.stop), _span(first.other_start, last.other_stop)
        yield Line("hunk", b"@@ -%s +%s @@" % spans)
        for piece in hunk:
            yield from _piece(piece, old, new)


def _span(start: int, stop: int) -> bytes:
    # Lines count from 1; an empty span names the line before it.
    length = stop - start
    return b"%d" % (start + 1) if length == 1 else b"%d,%d" % (start + (length > 0), length)


def _piece(piece: Piece, old: list[bytes], new: list[bytes]) -> Iterator[Line]:
    if piece.tag == "equal":
        for line in old[piece.start : piece.stop]:
            yield from _marked("equal", b" ", line)
        return
    for line in old[piece.start : piece.stop]:
        yield from _marked("removed", b"-", line)
    for line in new[piece.other_start : piece.other_stop]:
        yield from _marked("added", b"+", line)


def _marked(kind: Kind, mark: bytes, line: bytes) -> Iterator[Line]:
    yield Line(kind, mark + line.removesuffix(b"\n"))
    if not line.endswith(b"\n"):
        yield Line("meta", b"\\ No newline at end of file")


def _shown(name: bytes) -> bytes:
    """A name after --- and +++: a tab ends one with a blank in it."""
    text = quoted(name)
    return text + b"\t" if text == name and b" " in name else text


def quoted(name: bytes) -> bytes:
    r"""A name as git writes it: as it is where it is plain text, else in quotes with C's escapes.

    >>> quoted(b"a b"), quoted(b"a\n\xff")
    (b'a b', b'"a\\n\\377"')
    """
    try:
        if name.decode().isprintable() and b'"' not in name and b"\\" not in name:
            return name
    except UnicodeDecodeError:
        pass
    return b'"' + b"".join(map(_escaped, name)) + b'"'


def _escaped(byte: int) -> bytes:
    if byte in _ESCAPES:
        return b"\\" + _ESCAPES[byte]
    return bytes([byte]) if 32 <= byte < 127 else b"\\%03o" % byte
