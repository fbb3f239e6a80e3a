"""Where the parts of a store lie, and the form of a pack.

    objects/  index.db(+ -wal -shm)  lock  bulk-lock  use-lock  packs/<16 hex>.pack  loose/<64 hex>  tmp/

A pack is a header and then, for each object: its address (32 bytes), its encoding (u8), the bytes kept and the
bytes of the object (u32 each, big endian), and what is kept. The index can be rebuilt from the packs alone. Only an
object in parts (`growth`) can be longer than a u32 says: it has the greatest u32 there, and its size in what is kept.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final, NamedTuple

PACK_MAGIC: Final = b"onrecord pack 1\n"
_HEADER = struct.Struct(">32sBII")
HEADER_SIZE: Final = _HEADER.size
LOOSE_FROM: Final = 4 << 20


class Place(NamedTuple):
    """Where an object lies: `pack` None means a file of its own; sizes and `offset` in bytes."""

    digest: bytes
    size: int
    encoding: int
    pack: int | None
    offset: int
    kept: int


class Layout:
    """The paths of one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def index(self) -> Path:
        """The SQLite index: which object lies where."""
        return self.folder / "index.db"

    @property
    def lock(self) -> Path:
        """Held for the moment in which a write becomes visible."""
        return self.folder / "lock"

    @property
    def bulk_lock(self) -> Path:
        """Held for the whole of a write of more than `LOOSE_FROM` new bytes."""
        return self.folder / "bulk-lock"

    @property
    def use_lock(self) -> Path:
        """Shared by whoever relies on objects that nothing refers to yet; held alone to remove objects."""
        return self.folder / "use-lock"

    @property
    def packs(self) -> Path:
        """Folder of packs."""
        return self.folder / "packs"

    @property
    def loose(self) -> Path:
        """Folder of the objects that are files of their own, as they are."""
        return self.folder / "loose"

    @property
    def tmp(self) -> Path:
        """Folder of what is not visible yet."""
        return self.folder / "tmp"

    def pack(self, name: str) -> Path:
        """The file of a pack."""
        return self.packs / f"{name}.pack"

    def loose_object(self, digest: bytes) -> Path:
        """The file of a loose object."""
        return self.loose / digest.hex()

    def make(self) -> None:
        """Make the folders, and have the file system remember them."""
        if all(folder.is_dir() for folder in (self.packs, self.loose, self.tmp)):
            return
        for folder in (self.folder, self.packs, self.loose, self.tmp):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.folder.parent, self.folder):
            sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def pack_header(digest: bytes, encoding: int, kept: int, size: int) -> bytes:
    """What stands before an object in a pack."""
    return _HEADER.pack(digest, encoding, kept, min(size, 0xFFFFFFFF))
