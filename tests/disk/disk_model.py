"""What a disk may hold after a power failure, from a record of what was written to it (disk_recorder.c).

Of a file, everything that a flush covered which returned before the cut is there. Of what was written later,
any part may be: nothing, all, the first writes, some of the writes, or sectors of 512 or 4,096 bytes each as
it was at a moment of its own. Files are independent of one another, and so are the names in a folder; a name is
there only if the folders that it lies in are.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import attrs

ALL = 2
_HEAD = struct.Struct("<BBHIQqQ")


@attrs.frozen
class Step:
    """One record: `kind` is W, T, C, U, R, D, B, E, X or M; `offset` as disk_recorder.c says."""

    kind: str
    # 1 where it is of a folder, ALL of a flush of everything.
    folder: int
    process: int
    inode: int
    offset: int
    data: bytes


def read_record(path: Path, before: Sequence[Step] = ()) -> list[Step]:
    """All steps, in the order in which they happened, after those of `before`."""
    content = path.read_bytes()
    steps, at = list(before), 0
    while at < len(content):
        kind, folder, _, process, inode, offset, length = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        if chr(kind) in "EX":
            offset += len(before)
        steps.append(Step(chr(kind), folder, process, inode, offset, content[at : at + length]))
        at += length
    assert at == len(content)
    return steps


@attrs.frozen
class _Change:
    number: int
    offset: int
    # None: the file was cut off, or made longer, at `offset`.
    data: bytes | None

    def apply(self, content: bytearray, start: int, stop: int) -> None:
        """The part of a write that lies between two offsets of the file."""
        assert self.data is not None
        first, last = max(start, self.offset), min(stop, self.offset + len(self.data))
        if first >= last:
            return
        if len(content) < first:
            content.extend(bytes(first - len(content)))
        content[first:last] = self.data[first - self.offset : last - self.offset]

    def apply_whole(self, content: bytearray) -> None:
        if self.data is not None:
            self.apply(content, self.offset, self.offset + len(self.data))
        elif len(content) > self.offset:
            del content[self.offset :]
        else:
            content.extend(bytes(self.offset - len(content)))


@attrs.define(eq=False)
class _File:
    safe: bytearray = attrs.field(factory=bytearray)
    pending: list[_Change] = attrs.field(factory=list)

    def flushed(self, before: int) -> None:
        while self.pending and self.pending[0].number < before:
            self.pending.pop(0).apply_whole(self.safe)

    def dropped(self, before: int) -> None:
        """A flush failed: the kernel takes the pages for clean, and no later flush writes them."""
        self.pending = [change for change in self.pending if change.number >= before]

    def survives(self, dice: random.Random) -> bytes:
        content = bytearray(self.safe)
        if self.pending:
            dice.choice((_nothing, _everything, _first, _first_and_torn, _some, _sectors))(self.pending, content, dice)
            if dice.random() < 0.3:
                # The new size reached the disk, the data behind it did not.
                whole = max(change.offset + len(change.data or b"") for change in self.pending)
                content.extend(bytes(max(0, whole - len(content))))
        return bytes(content)


def _nothing(pending: list[_Change], content: bytearray, dice: random.Random) -> None:
    pass


def _everything(pending: list[_Change], content: bytearray, dice: random.Random) -> None:
    for change in pending:
        change.apply_whole(content)


def _first(pending: list[_Change], content: bytearray, dice: random.Random) -> None:
    _everything(pending[: dice.randrange(len(pending) + 1)], content, dice)


def _first_and_torn(pending: list[_Change], content: bytearray, dice: random.Random) -> None:
    last = dice.randrange(len(pending))
    _everything(pending[:last], content, dice)
    if pending[last].data is not None:
        for start, stop in _pieces(pending[last], dice.choice((512, 4096))):
            if dice.random() < 0.5:
                pending[last].apply(content, start, stop)


def _some(pending: list[_Change], content: bytearray, dice: random.Random) -> None:
    share = dice.choice((0.1, 0.5, 0.9))
    for change in pending:
        if dice.random() < share:
            change.apply_whole(content)


def _sectors(pending: list[_Change], content: bytearray, dice: random.Random) -> None:
    size, moments = dice.choice((512, 4096)), dict[int, int]()
    for number, change in enumerate(pending):
        if change.data is None:
            if dice.random() < 0.5:
                change.apply_whole(content)
            continue
        for start, stop in _pieces(change, size):
            if start not in moments:
                moments[start] = dice.randrange(len(pending) + 1)
            if number < moments[start]:
                change.apply(content, start, stop)


def _pieces(change: _Change, size: int) -> Iterator[tuple[int, int]]:
    assert change.data is not None
    for start in range(change.offset // size * size, change.offset + len(change.data), size):
        yield start, start + size


_FOLDER = _File()


class Disk:
    """The folder after the first steps of a record; `apply` takes the next one."""

    def __init__(self) -> None:
        self._at = 0
        self._files: dict[int, _File] = {}
        self._names: dict[str, _File] = {}
        # What each name led to, and since when: the last flush of the folder is behind the first of each.
        self._history: dict[str, list[tuple[int, _File | None]]] = {}
        self._flushes: dict[int, _File] = {}

    def apply(self, step: Step) -> None:
        number, self._at = self._at, self._at + 1
        if step.kind in "WT":
            data = step.data if step.kind == "W" else None
            self._files[step.inode].pending.append(_Change(number, step.offset, data))
        elif step.kind == "C":
            # An inode number comes again when its file is gone; the old content stays with the old name.
            self._files[step.inode] = self._names[step.data.decode()] = _File()
            self._note(number, step.data.decode())
        elif step.kind == "D":
            self._names[step.data.decode()] = _FOLDER
            self._note(number, step.data.decode())
        elif step.kind == "U":
            self._names.pop(step.data.decode(), None)
            self._note(number, step.data.decode())
        elif step.kind == "R":
            source, target = step.data.decode().split("\0")
            self._names[target] = self._names.pop(source)
            self._note(number, source)
            self._note(number, target)
        elif step.kind == "B" and not step.folder:
            self._flushes[number] = self._files[step.inode]
        elif step.kind in "EX":
            self._flush_ended(step)

    def _note(self, number: int, name: str) -> None:
        self._history.setdefault(name, [(-1, None)]).append((number, self._names.get(name)))

    def _flush_ended(self, step: Step) -> None:
        if step.folder == ALL:
            for file in {id(file): file for file in (*self._files.values(), *self._names.values())}.values():
                (file.flushed if step.kind == "E" else file.dropped)(step.offset)
        elif not step.folder:
            file = self._flushes.pop(step.offset)
            (file.flushed if step.kind == "E" else file.dropped)(step.offset)
        if step.folder and step.kind == "E":
            folder = step.data.decode()
            for name, history in self._history.items():
                if step.folder != ALL and name.rpartition("/")[0] != folder:
                    continue
                while len(history) > 1 and history[1][0] < step.offset:
                    history.pop(0)

    def after_power_failure(self, dice: random.Random) -> dict[str, bytes]:
        """One of the states in which the folder may be found: contents by name."""
        found, folders = dict[str, bytes](), set[str]()
        pick = dice.choice(("newest", "oldest", "any"))
        for name, history in self._history.items():
            at = {"newest": -1, "oldest": 0, "any": dice.randrange(len(history))}[pick]
            file = history[at][1]
            if file is _FOLDER:
                folders.add(name)
            elif file is not None:
                found[name] = file.survives(dice)
        made = {name for name, history in self._history.items() if history[-1][1] is _FOLDER}
        return {
            name: content
            for name, content in found.items()
            if all(str(above) in folders for above in PurePosixPath(name).parents if str(above) in made)
        }
