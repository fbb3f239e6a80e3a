"""An object as a file that can be read and sought, without a copy: what a stored model is loaded from."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from onrecord.snapshot.digest import from_hex
from onrecord.snapshot.encoding import PARTS
from onrecord.snapshot.errors import corrupt
from onrecord.snapshot.streams import hash_file

if TYPE_CHECKING:
    from onrecord.snapshot.index import Place
    from onrecord.snapshot.store import Store


def open_object(store: Store, digest: str) -> io.BufferedReader:
    """An object of any size, open for reading in binary.

    All of it is hashed before this returns, in little memory: what is read has been checked. Errors:
    ObjectMissing, ObjectCorrupt.
    """
    place = store.place(from_hex(digest))
    return io.BufferedReader(_ObjectFile(store, _checked(store, place)))


def _checked(store: Store, place: Place) -> list[Place]:
    if place.encoding != PARTS:
        return [place]
    from onrecord.snapshot.growth import leaves

    for _ in store.pieces_at(place):
        pass
    return leaves(store, place)


class _ObjectFile(io.RawIOBase):
    """Pieces one after the other, of which the one that is read is open."""

    def __init__(self, store: Store, pieces: Sequence[Place]) -> None:
        self._store = store
        self._pieces = pieces
        self._starts = [0, *accumulate(piece.size for piece in pieces)]
        self._position = 0
        self._open = -1
        self._data = b""
        self._fd: int | None = None
        # Damage shows when it is opened, not somewhere in the middle of its use.
        self._go_to(0)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As for every file."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._starts[-1]}[whence]
        if base + offset < 0:
            raise ValueError("a negative place in a file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """As for every file; the end of a piece ends a read."""
        at = bisect_right(self._starts, self._position) - 1
        if at >= len(self._pieces):
            return 0
        self._go_to(at)
        offset, view = self._position - self._starts[at], memoryview(buffer).cast("B")
        if self._fd is not None:
            read = os.preadv(self._fd, [view], offset)
        else:
            found = self._data[offset : offset + len(view)]
            read = len(found)
            view[:read] = found
        self._position += read
        return read

    def _go_to(self, at: int) -> None:
        if at == self._open:
            return
        self._let_go()
        piece = self._pieces[at]
        path = self._store.loose_path(piece)
        if path is None:
            self._data = self._store.fetch(piece)
        else:
            self._fd = self._checked(piece, path)
        self._open = at

    def _checked(self, piece: Place, path: os.PathLike[str]) -> int:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise corrupt(piece.digest, f"its file {os.fspath(path)} cannot be read ({error.strerror})") from error
        try:
            if hash_file(fd, piece.size)[0] != piece.digest:
                raise corrupt(piece.digest, "its bytes hash to something else")
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _let_go(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._data, self._open = None, b"", -1

    def close(self) -> None:
        """Close it."""
        if not self.closed:
            self._let_go()
        super().close()
