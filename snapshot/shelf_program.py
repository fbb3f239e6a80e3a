"""A folder as a shelf (`shelf`): on this machine, or on another one that this program is sent to.

It needs Python 3.6 or newer and nothing but its standard library, so that the other host needs no onrecord. There
it reads requests from stdin and answers on stdout until stdin ends, which it does when whoever asks dies:

    {"do": "sizes"}                                        -> {"sizes": {name: bytes}}
    {"do": "read", "name": …, "start": …, "length": …}     -> {"length": n}, then n bytes
    {"do": "write", "name": …}, then pieces                -> {} once they are on the disk under that name

a line of JSON each; {"error": text, "code": name of the error number} where it cannot be done. A piece is its length
(u32, big endian) and its bytes; behind an empty one come 32 bytes, the SHA-256 of all. What does not fit it is
thrown away.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import struct
import sys
from pathlib import Path
from typing import IO, Any, Iterable, Iterator  # noqa: UP035 - as above

NAME = re.compile(r"(packs|loose)/[0-9a-f]{64}(\.pack|\.names)?")
LENGTH = struct.Struct(">I")


class Folder:
    """The files below one folder; a new one is written in tmp/, and renamed when it is whole."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self._ready = False

    def sizes(self) -> "dict[str, int]":
        """All files by name, with their bytes."""
        found = {}
        for part in ("packs", "loose"):
            try:
                entries = list(os.scandir(str(self.folder / part)))
            except FileNotFoundError:
                continue
            for entry in entries:
                name = f"{part}/{entry.name}"
                if NAME.fullmatch(name) and entry.is_file(follow_symlinks=False):
                    found[name] = entry.stat(follow_symlinks=False).st_size
        return found

    def read(self, name: str, start: int, length: int) -> bytes:
        """A part of a file, as far as there is one."""
        with self._path(name).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def write(self, name: str, pieces: "Iterable[bytes]") -> None:
        """A new file of some pieces, durable on return."""
        path = self._path(name)
        self._make()
        partial, descriptor = self._partial()
        try:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[os.write(descriptor, view) :]
            os.fchmod(descriptor, 0o444)
            os.fsync(descriptor)
            partial.rename(path)
        except BaseException:
            partial.unlink()
            raise
        finally:
            os.close(descriptor)
        sync(path.parent)

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise ValueError(f"there is no file of the name {name!r}")
        return self.folder / name

    def _partial(self) -> "tuple[Path, int]":
        while True:
            path = self.folder / "tmp" / os.urandom(8).hex()
            descriptor = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Somebody else may have taken it for that of a dead writer before it was locked.
            if os.fstat(descriptor).st_nlink:
                return path, descriptor
            os.close(descriptor)

    def _make(self) -> None:
        if self._ready:
            return
        for part in ("packs", "loose", "tmp"):
            make_folder(self.folder / part)
        for path in list((self.folder / "tmp").iterdir()):
            remove_dead(path)
        self._ready = True


def make_folder(path: Path) -> None:
    """A folder with those above it, and their names on the disk."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)


def remove_dead(path: Path) -> None:
    """Remove a file that no living writer holds."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except OSError:
        pass


def sync(folder: Path) -> None:
    """Make the names in a folder survive a power failure."""
    descriptor = os.open(str(folder), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exactly(source: "IO[bytes]", length: int) -> bytes:
    """So many bytes; EOFError when they end before."""
    data = source.read(length)
    if len(data) != length:
        raise EOFError
    return data


def checked(source: "IO[bytes]") -> "Iterator[bytes]":
    """The pieces of a file that is sent; ValueError behind the last when they are not those that were meant."""
    digest = hashlib.sha256()
    while True:
        length = LENGTH.unpack(exactly(source, LENGTH.size))[0]
        if not length:
            break
        piece = exactly(source, length)
        digest.update(piece)
        yield piece
    if exactly(source, 32) != digest.digest():
        raise ValueError("what arrived is not what was sent")


def answer(folder: Folder, request: "dict[str, Any]", source: "IO[bytes]") -> "tuple[dict[str, Any], bytes]":
    """Do what a request asks for: the answer, and the bytes that follow it."""
    if request["do"] == "sizes":
        return {"sizes": folder.sizes()}, b""
    if request["do"] == "read":
        data = folder.read(request["name"], request["start"], request["length"])
        return {"length": len(data)}, data
    pieces = checked(source)
    try:
        folder.write(request["name"], pieces)
    finally:
        # What could not be written is on its way nevertheless.
        for _ in pieces:
            pass
    return {}, b""


def main(path: str) -> None:
    """Answer requests until there are no more."""
    source, target, folder = sys.stdin.buffer, sys.stdout.buffer, Folder(path)
    for line in iter(source.readline, b""):
        try:
            said, data = answer(folder, json.loads(line.decode()), source)
        except EOFError:
            return
        except (OSError, ValueError) as problem:
            code = errno.errorcode.get(getattr(problem, "errno", None) or 0)
            said, data = {"error": getattr(problem, "strerror", None) or str(problem), "code": code}, b""
        target.write(json.dumps(said).encode() + b"\n" + data)
        target.flush()
