"""Reading the objects of a store: each is checked against its address, every time, whoever asks.

Any number of threads may share one reader.
"""

from __future__ import annotations

import errno
import os
import stat
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from onrecord.snapshot.digest import digest_of, hasher
from onrecord.snapshot.encoding import PARTS, decode
from onrecord.snapshot.errors import ObjectCorrupt, corrupt, missing, shown
from onrecord.snapshot.index import Index, Place
from onrecord.snapshot.layout import LOOSE_FROM, Layout
from onrecord.snapshot.streams import Watch, copy_checked, hash_file, write_all

if TYPE_CHECKING:
    from onrecord.snapshot.growth import Part

_SPAN = 1 << 20
_GAP = 64 << 10


class Reader:
    """The objects of one store, for reading."""

    def __init__(self, layout: Layout, index: Index) -> None:
        self._layout = layout
        self._index = index
        self._packs = _PackFiles(layout, index)

    def close(self) -> None:
        """Close every pack; the reader can still be used and opens them again."""
        self._packs.close()

    def place(self, digest: bytes) -> Place:
        """Where an object lies; ObjectMissing."""
        for place in self._index.places([digest]):
            return place
        raise missing(digest)

    def places(self, digests: Iterable[bytes]) -> dict[bytes, Place]:
        """Where many objects lie; those that the store lacks are left out."""
        return {place.digest: place for place in self._index.places(digests)}

    def parts(self, place: Place) -> list[Part]:
        """What an object in parts is made of. Errors: ObjectMissing, ObjectCorrupt."""
        from onrecord.snapshot.growth import decode_parts

        try:
            return decode_parts(self._kept(place), place)
        except ObjectCorrupt:
            place = self._looked_up_again(place)
            return decode_parts(self._kept(place), place)

    def pieces_at(self, place: Place) -> Iterator[bytes]:
        """The bytes of an object of any size in pieces; ObjectCorrupt after the last one when they were wrong."""
        if place.encoding == PARTS:
            from onrecord.snapshot.growth import read_parts

            yield from read_parts(self, place)
            return
        if place.pack is not None:
            yield self.fetch(place)
            return
        state = hasher()
        with self._loose(place) as source:
            while piece := os.read(source.fileno(), LOOSE_FROM):
                state.update(piece)
                yield piece
        _demand(place, state.digest())

    def check(self, place: Place) -> None:
        """Hash an object again, in little memory. Errors: ObjectCorrupt, ObjectMissing."""
        if place.encoding == PARTS:
            for _ in self.pieces_at(place):
                pass
            return
        if place.pack is not None:
            self.fetch(place)
            return
        with self._loose(place) as source:
            _demand(place, hash_file(source.fileno())[0])

    def fetch(self, place: Place) -> bytes:
        """The bytes of an object whose place is known, checked."""
        try:
            return self._fetch(place)
        except ObjectCorrupt:
            return self._fetch(self._looked_up_again(place))

    def _looked_up_again(self, place: Place) -> Place:
        # Another process may have removed objects since, and have put what it kept of their packs into new ones.
        self._packs.close()
        self._index.forget_names()
        return self.place(place.digest)

    def _fetch(self, place: Place) -> bytes:
        if place.encoding == PARTS:
            return b"".join(self.pieces_at(place))
        if place.pack is None:
            with self._loose(place) as source:
                data = source.read()
        else:
            try:
                data = decode(place.encoding, self._kept(place), place.size)
            except (TypeError, ValueError) as error:
                # Also of a damaged index, whose numbers and names may be of any kind.
                raise corrupt(place.digest, str(error)) from error
        _demand(place, digest_of(data))
        return data

    def fetch_many(self, places: Sequence[Place]) -> Iterator[bytes]:
        """The bytes of many objects, checked, in the order given; neighbours in a pack are read with one call.

        Cheapest where `places` rise by pack and offset.
        """
        at = 0
        while at < len(places):
            end = _end_of_span(places, at)
            if end == at + 1:
                yield self.fetch(places[at])
            else:
                yield from self._fetch_span(places[at:end])
            at = end

    def _fetch_span(self, span: Sequence[Place]) -> Iterator[bytes]:
        start = span[0].offset
        whole = self._packs.read_span(
            span[0].pack or 0, span[0], max(place.offset + place.kept for place in span) - start
        )
        for place in span:
            kept = whole[place.offset - start : place.offset - start + place.kept]
            try:
                data = decode(place.encoding, kept, place.size)
                right = digest_of(data) == place.digest
            except ValueError:
                right = False
            # Read alone, it says what is wrong with it, or is found where it is now.
            yield data if right else self.fetch(place)

    def write_into(self, place: Place, fd: int, watch: Watch = bool) -> None:
        """Write an object into an empty file open for reading and writing, checked; on an error it holds rubbish."""
        if place.encoding == PARTS:
            for piece in self.pieces_at(place):
                watch(write_all(fd, piece))
            return
        if place.pack is not None:
            watch(write_all(fd, self.fetch(place)))
            return
        with self._loose(place) as source:
            _demand(place, copy_checked(source.fileno(), fd, watch))

    def _kept(self, place: Place) -> bytes:
        """What stands in a pack for an object."""
        if place.pack is None:
            raise corrupt(place.digest, "the index says that it is in parts, and in no pack")
        return self._packs.read(place.pack, place)

    def _loose(self, place: Place) -> _LooseFile:
        try:
            return _LooseFile(place, self._layout.loose_object(place.digest))
        except FileNotFoundError:
            raise _missing_file(place, self._layout.loose_object(place.digest)) from None


def position(place: Place) -> tuple[int, int]:
    """What to sort places by, so that neighbours are read together."""
    return place.pack or 0, place.offset


def _end_of_span(places: Sequence[Place], at: int) -> int:
    """The end of those from `at` on that one read can bring; of each, what a damaged index says may be anything."""
    first = places[at]
    end, until = at + 1, first.offset + first.kept
    if first.pack is None or first.encoding == PARTS or min(first.offset, first.kept) < 0:
        return end
    while end < len(places):
        place = places[end]
        last = place.offset + place.kept
        if place.pack != first.pack or place.encoding == PARTS or place.kept < 0 or last - first.offset > _SPAN:
            break
        if not first.offset <= place.offset <= until + _GAP:
            break
        end, until = end + 1, max(until, last)
    return end


def _demand(place: Place, digest: bytes) -> None:
    if digest != place.digest:
        raise corrupt(place.digest, "its bytes hash to something else")


class _LooseFile:
    """A file open for reading."""

    def __init__(self, place: Place, path: Path) -> None:
        self._fd = _open_regular(place, path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def fileno(self) -> int:
        return self._fd

    def read(self) -> bytes:
        pieces = []
        while piece := os.read(self._fd, 1 << 24):
            pieces.append(piece)
        return b"".join(pieces)


class _PackFiles:
    """Descriptors of the packs read last; at most `KEEP` are open."""

    KEEP = 32

    def __init__(self, layout: Layout, index: Index) -> None:
        self._layout = layout
        self._index = index
        self._open: dict[int, OwnedFd] = {}

    def read(self, pack: int, place: Place) -> bytes:
        owned = self._open.get(pack) or self._opened(pack, place)
        # Looked at first: what a damaged index asks for may be more than there is memory, or less than nothing.
        possible = min(place.offset, place.kept) >= 0 and place.offset + place.kept <= os.fstat(owned.fd).st_size
        kept = os.pread(owned.fd, place.kept, place.offset) if possible else b""
        if not possible or len(kept) != place.kept:
            raise corrupt(place.digest, f"pack {self._index.pack_name(pack)} is cut short")
        return kept

    def read_span(self, pack: int, first: Place, length: int) -> bytes:
        """What a pack holds from an object on; less, or nothing, where it cannot be read."""
        try:
            owned = self._open.get(pack) or self._opened(pack, first)
        except ObjectCorrupt:
            return b""
        return os.pread(owned.fd, length, first.offset)

    def _opened(self, pack: int, place: Place) -> OwnedFd:
        name = self._index.pack_name(pack)
        if name is None:
            raise corrupt(place.digest, f"the index names pack {pack}, which it does not know")
        path = self._layout.pack(name)
        try:
            owned = OwnedFd(_open_regular(place, path))
        except FileNotFoundError:
            raise _missing_file(place, path) from None
        if len(self._open) >= self.KEEP:
            self.close()
        self._open[pack] = owned
        return owned

    def close(self) -> None:
        self._open = {}


class OwnedFd:
    """A descriptor that is closed when its last user lets go, so that a thread never reads a reused one."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.close = weakref.finalize(self, os.close, fd)


def _open_regular(place: Place, path: Path) -> int:
    """A descriptor of a file of the store; ObjectCorrupt, without waiting, for anything else that has its name."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise corrupt(place.digest, f"{shown(path)} is no regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise corrupt(place.digest, f"{shown(path)} is no regular file")
    return fd


def _missing_file(place: Place, path: Path) -> ObjectCorrupt:
    """The error for an object whose file is gone."""
    return corrupt(place.digest, f"its file {shown(path)} is gone")
