"""What a writer has in tmp/, and the removal of what dead writers left there.

Each writer holds a `flock` on `tmp/<name>.claim` while it lives; the kernel lets go when it dies, however it
dies. Whoever writes next removes the files of dead claims, and whatever they had renamed into place without
getting as far as the transaction (the claim names it).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from onrecord.snapshot.digest import digest_of
from onrecord.snapshot.index import Index
from onrecord.snapshot.layout import Layout, sync_folder
from onrecord.snapshot.locks import claim, try_claim
from onrecord.snapshot.streams import write_all

_MODE = 0o444
_PACK_NAME = 16
MORE_PACKS = 3


class Claim:
    """The temporary files of one living writer; `name` is also the name of its pack."""

    def __init__(self, layout: Layout, name: str, fd: int) -> None:
        self.name = name
        self._layout = layout
        self._fd = fd
        self._files = 0

    @classmethod
    def new(cls, layout: Layout, index: Index) -> Claim:
        """Clear up after dead writers, then claim a name of our own."""
        clear(layout, index)
        while True:
            name = os.urandom(_PACK_NAME // 2).hex()
            try:
                return cls(layout, name, claim(layout.tmp / f"{name}.claim"))
            except (FileExistsError, FileNotFoundError):
                continue

    def other_pack(self, number: int) -> str:
        """The name of one of a few more packs of this writer, `number` from 1 to `MORE_PACKS`."""
        return _other_pack(self.name, number)

    @property
    def pack_file(self) -> str:
        """File name of the private pack."""
        return f"{self.name}.pack"

    def new_pack(self) -> int:
        """Descriptor of the new, empty private pack."""
        return _create(self._layout.tmp / self.pack_file)

    def new_file(self) -> tuple[Path, int]:
        """Path and descriptor of a new, empty temporary file."""
        self._files += 1
        path = self._layout.tmp / f"{self.name}.{self._files}"
        return path, _create(path)

    def new_link(self, path: Path) -> Path:
        """A temporary second name of a file."""
        self._files += 1
        place = self._layout.tmp / f"{self.name}.{self._files}"
        os.link(path, place, follow_symlinks=False)
        return place

    def intend(self, loose: Iterable[bytes], packs: Iterable[str] = ()) -> None:
        """Write down which loose objects are about to come or go, and which packs are about to go.

        What the index does not know after this writer has died is removed.
        """
        lines = [*(digest.hex() for digest in loose), *packs]
        if lines:
            write_all(self._fd, "".join(f"{line}\n" for line in lines).encode())

    def intend_surely(self, loose: Iterable[bytes], packs: Iterable[str]) -> None:
        """The same, on the disk when it returns: what has gone from the index must not stay for ever."""
        self.intend(loose, packs)
        os.fsync(self._fd)
        sync_folder(self._layout.tmp)

    def release(self) -> None:
        """Remove what is still temporary; the claim itself goes last."""
        _remove_claim(self._layout, self.name, self._fd)


def clear(layout: Layout, index: Index) -> None:
    """Remove what dead writers left."""
    for entry in sorted(path.name for path in layout.tmp.iterdir()):
        if not entry.endswith(".claim"):
            continue
        fd = try_claim(layout.tmp / entry)
        if fd is None:
            continue
        name = entry.removesuffix(".claim")
        with index.excluding_writers():
            _remove_unreferenced(layout, index, name, fd)
        _remove_claim(layout, name, fd)


def _remove_unreferenced(layout: Layout, index: Index, name: str, fd: int) -> None:
    for pack in (name, *(_other_pack(name, number) for number in range(1, MORE_PACKS + 1))):
        if not index.pack_exists(pack):
            layout.pack(pack).unlink(missing_ok=True)
    lines = os.pread(fd, os.fstat(fd).st_size, 0).split(b"\n")
    # A last line that was cut short names nothing.
    for line in lines[:-1]:
        if len(line) == _PACK_NAME and not index.pack_exists(line.decode()):
            layout.pack(line.decode()).unlink(missing_ok=True)
    digests = [bytes.fromhex(line.decode()) for line in lines[:-1] if len(line) == 64]
    for digest in set(digests) - index.known(digests):
        layout.loose_object(digest).unlink(missing_ok=True)


def _other_pack(name: str, number: int) -> str:
    # Worked out from the claim's name alone: after a power failure the claim may be empty.
    return digest_of(f"{name} {number}".encode()).hex()[:_PACK_NAME]


def _remove_claim(layout: Layout, name: str, fd: int) -> None:
    for path in layout.tmp.glob(f"{name}.*"):
        if path.suffix != ".claim":
            path.unlink(missing_ok=True)
    (layout.tmp / f"{name}.claim").unlink(missing_ok=True)
    os.close(fd)


def _create(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
