"""A store of objects by content: many small ones in packs, those from 4 MiB on as files of their own.

Any number of processes and threads may read and write one store at once. What a `put_...` has returned
survives a crash and a power failure; what is read is checked against its address, every time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from onrecord.snapshot.digest import from_hex
from onrecord.snapshot.encoding import PARTS
from onrecord.snapshot.errors import (
    ObjectCorrupt,
    ObjectMissing,
    SourceError,
    corrupt,
    disk_full,
    is_full,
    shown,
)
from onrecord.snapshot.index import Index, Place
from onrecord.snapshot.layout import LOOSE_FROM, Layout
from onrecord.snapshot.locks import locked
from onrecord.snapshot.partial import arriving
from onrecord.snapshot.reader import Reader, position
from onrecord.snapshot.stable import KindChanged, expect, read_stable, read_whole
from onrecord.snapshot.writer import Writer

if TYPE_CHECKING:
    from onrecord.snapshot.growth import Part
    from onrecord.snapshot.sweep import Swept, Wanted


# Values are named tuples: restoring a snapshot, which a run's start waits for, then imports no attrs.
class Stored(NamedTuple):
    """An object that the store holds: `digest` is 64 hex digits, `size` its bytes.

    `bytes_stored` is what it takes on disk when this call stored it, 0 when it was there already.
    """

    digest: str
    size: int
    bytes_stored: int


class Fault(NamedTuple):
    """An object that is not as it was stored: `digest` is 64 hex digits, `problem` one line of text."""

    digest: str
    problem: str


class Store:
    """The objects below one folder, which is made on first use. A context manager; `close` is optional."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._layout = Layout(self.folder)
        self._index = Index(self._layout)
        self.reader = Reader(self._layout, self._index)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every file; the store can still be used and opens them again."""
        self._index.close()
        self.reader.close()

    @property
    def identity(self) -> str:
        """A name of this very store: what another store knows must not be believed of this one."""
        return self._index.identity

    @contextmanager
    def in_use(self, *, alone: bool = False) -> Iterator[None]:
        """Nothing leaves the store for the length of the block.

        For whoever stores objects, or finds them stored already, and refers to them elsewhere only afterwards.
        `alone`: for whoever removes objects; waits until nobody else is in such a block.
        """
        self._index.prepare()
        with locked(self._layout.use_lock, shared=not alone):
            yield

    def remove(self, digests: Iterable[str]) -> tuple[int, int]:
        """Remove objects for good, as `gc.Removal` says; how many, and the bytes by which the store is smaller.

        The caller is in a block of `in_use(alone=True)`. Those that the store lacks are no error; those through
        which others are read stay. Durable on return. Errors: DiskFull, StoreError; then nothing has gone.
        """
        from onrecord.snapshot.gc import Removal
        from onrecord.snapshot.growth import held

        wanted = {from_hex(digest) for digest in digests}
        wanted -= held(self, wanted)
        try:
            return Removal(self._layout, self._index).run(wanted)
        except OSError as error:
            if is_full(error):
                raise disk_full(self.folder) from error
            raise

    def sweep(
        self,
        wanted: Callable[[], Wanted],
        *,
        before: float,
        dry_run: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Swept:
        """Remove what nothing needs and nothing has stored since `before` (seconds since the epoch), as `sweep` says.

        `wanted` gives what is referred to, each time what has come since the last time: first beside everybody
        else, then once and again while nobody is in a block of `in_use`. `progress` is told the bytes regained and
        those to regain. Errors: NotSwept where a snapshot that is wanted cannot be read whole, DiskFull.
        """
        from onrecord.snapshot.sweep import Sweep

        sweep = Sweep(self, self._layout, self._index, wanted, before)
        return sweep.look() if dry_run else sweep.run(progress)

    def freshen(self, digest: str) -> None:
        """Let an object's grace period (`sweep`) begin anew, as if it were stored now. Errors: ObjectMissing."""
        place = self.place(from_hex(digest))
        name = None if place.pack is None else self._index.pack_name(place.pack)
        path = self._layout.loose_object(place.digest) if name is None else self._layout.pack(name)
        try:
            os.utime(path)
        except FileNotFoundError:
            raise corrupt(place.digest, f"its file {shown(path)} is gone") from None

    def writer(self) -> Writer:
        """Begin a write of many objects that become visible together."""
        return Writer(self._layout, self._index)

    def put_file(self, path: Path) -> Stored:
        """Store the content of a regular file, in one true state; durable on return.

        Errors: SourceError when it is missing, no regular file, or cannot be read; FileChanging when it
        changed three times while it was read; DiskFull.
        """
        return self.put_files([path])[0]

    def put_files(self, paths: Sequence[Path]) -> list[Stored]:
        """Store many files with few fsyncs: one for the pack that they share, one for each from 4 MiB on.

        All or nothing; the result is in the order of `paths`. Errors as `put_file`.
        """
        with self.writer() as writer:
            found = [_add_named(writer, path) for path in paths]
            new = writer.commit()
        return [Stored(digest.hex(), size, new.pop(digest, 0)) for digest, size in found]

    def put_bytes(self, data: bytes) -> Stored:
        """Store bytes held in memory; durable on return."""
        with self.writer() as writer:
            digest = writer.add(bytes(data))
            new = writer.commit()
        return Stored(digest.hex(), len(data), new.get(digest, 0))

    def read(self, digest: str) -> bytes:
        """The bytes of an object, checked. Errors: ObjectMissing, ObjectCorrupt."""
        return self.fetch(self.place(from_hex(digest)))

    def pieces(self, digest: str) -> Iterator[bytes]:
        """The bytes of an object of any size in pieces; ObjectCorrupt after the last one when they were wrong."""
        yield from self.pieces_at(self.place(from_hex(digest)))

    def pieces_at(self, place: Place) -> Iterator[bytes]:
        """The same, of an object whose place is known."""
        return self.reader.pieces_at(place)

    def copy_to(self, digest: str, destination: Path) -> int:
        """Write an object to a file, checked, replacing what stands there; returns its size in bytes.

        An object of any size passes through a few megabytes of memory. The file appears whole or not at all.
        """
        place = self.place(from_hex(digest))
        try:
            with arriving(destination) as fd:
                self.reader.write_into(place, fd)
        except OSError as error:
            if is_full(error):
                raise disk_full(destination.parent) from error
            raise
        return place.size

    def has(self, digests: Iterable[str]) -> set[str]:
        """Those of some addresses that the store holds: one look-up for every 500 of them."""
        return {digest.hex() for digest in self._index.known(map(from_hex, digests))}

    def verify(self, digests: Iterable[str] | None = None) -> Iterator[Fault]:
        """Hash objects again, all of them unless some are named; yields what is wrong or missing."""
        from onrecord.snapshot.growth import wrong

        grown: list[Place] = []
        if digests is None:
            for page in self._index.all_places():
                yield from self._faults(page, grown)
        wanted = sorted({from_hex(digest) for digest in digests or ()})
        for start in range(0, len(wanted), 5000):
            places = self.places(wanted[start : start + 5000])
            for digest in wanted[start : start + 5000]:
                if digest not in places:
                    yield Fault(digest.hex(), "missing: the store does not know it")
            yield from self._faults(places.values(), grown)
        for place, problem in wrong(self, grown):
            yield Fault(place.digest.hex(), problem)

    def loose_path(self, place: Place) -> Path | None:
        """The file of an object that is one of its own, None for any other. It must not be written."""
        return self._layout.loose_object(place.digest) if place.pack is None else None

    def place(self, digest: bytes) -> Place:
        """Where an object lies; ObjectMissing."""
        return self.reader.place(digest)

    def places(self, digests: Iterable[bytes]) -> dict[bytes, Place]:
        """Where many objects lie; those that the store lacks are left out."""
        return self.reader.places(digests)

    def parts(self, place: Place) -> list[Part]:
        """What an object in parts is made of. Errors: ObjectMissing, ObjectCorrupt."""
        return self.reader.parts(place)

    def in_parts(self) -> list[Place]:
        """Every object that is kept in parts; looks at the whole index."""
        return self._index.kept_as(PARTS)

    def with_parts(self, digests: Iterable[str]) -> set[str]:
        """Some addresses, and those of the objects that they are read through."""
        from onrecord.snapshot.growth import with_parts

        return {digest.hex() for digest in with_parts(self, map(from_hex, digests))}

    def fetch(self, place: Place) -> bytes:
        """The bytes of an object whose place is known, checked."""
        return self.reader.fetch(place)

    def _faults(self, places: Iterable[Place], grown: list[Place]) -> Iterator[Fault]:
        for place in sorted(places, key=position):
            if place.encoding == PARTS:
                grown.append(place)
                continue
            try:
                self.reader.check(place)
            except (ObjectCorrupt, ObjectMissing) as error:
                yield Fault(place.digest.hex(), error.what.partition(": ")[2] or error.what)


def add_file(writer: Writer, name: bytes, folder: int | None, path: bytes) -> tuple[bytes, int, os.stat_result]:
    """Add a file to a write in one true state: its address, its bytes, its status.

    Errors as `read_stable`: FileNotFoundError and KindChanged are left to the caller.
    """
    torn: list[bytes] = []

    def take(fd: int, status: os.stat_result) -> tuple[bytes | None, bytes]:
        if status.st_size < LOOSE_FROM:
            return None, read_whole(fd, status)
        while torn:
            writer.forget_large(torn.pop())
        digest, read = writer.add_large(fd, status.st_size)
        torn.append(digest)
        expect(read, status)
        return digest, b""

    (digest, data), status = read_stable(name, folder, path, take)
    # Only bytes known to be one state of the file are handed on.
    return writer.add(data) if digest is None else digest, status.st_size, status


def _add_named(writer: Writer, path: Path) -> tuple[bytes, int]:
    name = os.fsencode(path)
    try:
        digest, size, _ = add_file(writer, name, None, name)
    except FileNotFoundError:
        raise _no_file(name, "there is no such file") from None
    except KindChanged:
        raise _no_file(name, "it is no regular file (links are not followed)") from None
    return digest, size


def _no_file(path: bytes, why: str) -> SourceError:
    place = shown(path)
    return SourceError(f"cannot store {place}", why=why, next_step=f"ls -l {place}", path=place)
