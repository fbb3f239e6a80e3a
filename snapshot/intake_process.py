"""The other side of `intake`: a process that reads, hashes, compresses and packs what it is told to.

Request: (positions in the last answer whose content is to be kept, [(path of a folder, (device, inode), names)]).
Answer: (places of what was kept, size of the pack, for each file in order: its stamps, address and size; None when
it is gone or no regular file; 0 when the one who asked has to read it). Both are marshal behind a length (u32).
"""

from __future__ import annotations

import marshal
import os
import struct
from typing import Any

from onrecord.snapshot.digest import digest_of
from onrecord.snapshot.encoders import encode_all
from onrecord.snapshot.errors import SourceError
from onrecord.snapshot.layout import LOOSE_FROM
from onrecord.snapshot.packing import PackWriter
from onrecord.snapshot.stable import KindChanged, read_stable, read_whole
from onrecord.snapshot.stamps import FOLDER, Signature, signature
from onrecord.snapshot.streams import write_all

_ROOT, _PACK, _REQUESTS, _ANSWERS = 3, 4, 5, 6
_LENGTH = struct.Struct("=I")
_BYTES = 16 << 20
_YOURS = 0

# Stamps, address, size
Found = tuple[Signature, bytes, int]


class ReadFolder:
    """A folder with files to read: its path below the source, its device and inode."""

    __slots__ = ("identity", "path")

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.identity = (0, 0)


def sent(fd: int, message: tuple[Any, ...]) -> None:
    """Send a message."""
    body = marshal.dumps(message)
    write_all(fd, _LENGTH.pack(len(body)) + body)


def received(fd: int) -> Any:
    """Receive a message. Errors: EOFError when the other side is gone, ValueError and TypeError for rubbish."""
    return marshal.loads(_exactly(fd, _LENGTH.unpack(_exactly(fd, _LENGTH.size))[0]))  # noqa: S302


def _exactly(fd: int, size: int) -> bytes:
    pieces = []
    while size:
        piece = os.read(fd, min(size, 1 << 20))
        if not piece:
            raise EOFError
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


class _Reader:
    """Reads one request's files and holds their bytes until it is known which are new."""

    def __init__(self) -> None:
        self.contents: list[tuple[bytes, bytes] | None] = []
        self.found: list[Found | int | None] = []
        self._bytes = 0

    def read(self, path: bytes, identity: tuple[int, int], names: list[bytes]) -> None:
        try:
            fd = os.open(path or b".", FOLDER, dir_fd=_ROOT)
        except OSError:
            self._leave(len(names))
            return
        try:
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) != identity:
                self._leave(len(names))
                return
            for name in names:
                self._file(fd, path, name)
        finally:
            os.close(fd)

    def _leave(self, files: int) -> None:
        self.found += [_YOURS] * files
        self.contents += [None] * files

    def _file(self, fd: int, path: bytes, name: bytes) -> None:
        if self._bytes > _BYTES:
            self._leave(1)
            return
        try:
            data, status = read_stable(name, fd, path + name, _small)
        except (FileNotFoundError, KindChanged):
            data, status = None, None
        except (_Large, SourceError, OSError):
            # The one who asked meets the same, and says what is to be said.
            self._leave(1)
            return
        if data is None or status is None:
            self.found.append(None)
            self.contents.append(None)
            return
        digest = digest_of(data)
        self._bytes += len(data)
        self.found.append((signature(status), digest, len(data)))
        self.contents.append((digest, data))


class _Large(Exception):
    """A file that gets a place of its own in the store."""


def _small(fd: int, status: os.stat_result) -> bytes:
    if status.st_size >= LOOSE_FROM:
        raise _Large
    return read_whole(fd, status)


def main() -> None:
    """Answer requests until there are no more."""
    pack = PackWriter(_PACK)
    reader = _Reader()
    while True:
        try:
            keep, folders = received(_REQUESTS)
        except EOFError:
            return
        kept = [content for content in map(reader.contents.__getitem__, keep) if content is not None]
        places = pack.append(encode_all(kept)) if kept else []
        reader = _Reader()
        for path, identity, names in folders:
            reader.read(path, identity, names)
        sent(_ANSWERS, (list(map(tuple, places)), pack.end, reader.found))
