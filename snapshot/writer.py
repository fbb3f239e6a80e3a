"""One write to a store: objects are gathered, made durable, and become visible all at once or not at all.

    private pack in tmp/ -> fsync -> [lock] -> rename into packs/ -> fsync of the folder -> one transaction

Before the transaction nothing refers to what was written; a crash leaves a file that the next writer removes
(`leftovers`). Small writes take the lock only at the end. As soon as more than 4 MiB are new, the writer takes
a second lock and asks the index again, so that eight processes that take the same first snapshot write it once.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from onrecord.snapshot.digest import digest_of, hasher
from onrecord.snapshot.encoders import Encoded, Encoders
from onrecord.snapshot.encoding import PARTS, RAW
from onrecord.snapshot.errors import disk_full, is_full
from onrecord.snapshot.flushing import Flushing
from onrecord.snapshot.growth import Part, encode_parts
from onrecord.snapshot.index import Index, Place
from onrecord.snapshot.layout import HEADER_SIZE, LOOSE_FROM, Layout, sync_folder
from onrecord.snapshot.leftovers import Claim
from onrecord.snapshot.locks import Lock
from onrecord.snapshot.packing import PackWriter
from onrecord.snapshot.streams import copy_hashing, hash_file, write_all

_PENDING_BYTES = 4 << 20
_PENDING_COUNT = 2000
_BULK_BYTES = 4 << 20


class PrivatePack:
    """A pack that is not visible yet: the name that it will have, the file that it is, what it holds."""

    def __init__(self, name: str, path: Path, fd: int) -> None:
        self.name = name
        self.path = path
        self.written = PackWriter(fd)
        self.places: dict[bytes, Place] = {}

    @property
    def fd(self) -> int:
        """Its descriptor."""
        return self.written.fd


class Writer:
    """Gathers objects; nothing counts as stored before `commit` has returned. A context manager."""

    def __init__(self, layout: Layout, index: Index) -> None:
        self._layout = layout
        self._index = index
        self._encoders = Encoders()
        self._bulk = Lock(layout.bulk_lock)
        # What is known when it is added must still be there when it is committed.
        self._use = Lock(layout.use_lock)
        self._seen: set[bytes] = set()
        self._pending: dict[bytes, bytes] = {}
        self._pending_bytes = 0
        self._ready: list[Encoded] = []
        self._ready_bytes = 0
        self._claim: Claim | None = None
        self._pack: PrivatePack | None = None
        self._others: list[PrivatePack] = []
        self._unwritten_bytes = 0
        self._large: dict[bytes, tuple[Path, int]] = {}
        self._flushing = Flushing(layout.tmp)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(error, OSError) and is_full(error):
            raise disk_full(self._layout.folder) from error

    def add(self, data: bytes, digest: bytes | None = None) -> bytes:
        """Add an object; returns its address. `digest` saves hashing again what was hashed already."""
        self._rely_on_store()
        digest = digest_of(data) if digest is None else digest
        if digest in self._seen:
            return digest
        self._seen.add(digest)
        if len(data) >= LOOSE_FROM:
            self._add_large_bytes(data, digest)
            return digest
        self._pending[digest] = data
        self._pending_bytes += len(data)
        if self._pending_bytes >= _PENDING_BYTES or len(self._pending) >= _PENDING_COUNT:
            self._flush()
        return digest

    def add_large(self, source: int, size: int) -> tuple[bytes, int]:
        """Add what a descriptor still has to give without holding it in memory; its address and the bytes read.

        The caller checks that the file did not change meanwhile; if it did, `forget_large` drops the copy.
        """
        self._rely_on_store()
        self._go_bulk()
        start = os.lseek(source, 0, os.SEEK_CUR)
        if self._index.has_loose_of(size):
            digest, read = hash_file(source, size)
            if digest in self._seen or self._index.known([digest]):
                return digest, read
            os.lseek(source, start, os.SEEK_SET)
        return self._write_large(lambda target: copy_hashing(source, target, size))

    def add_pieces(self, pieces: Iterable[bytes]) -> tuple[bytes, int]:
        """Add an object of any size that comes in pieces; its address and its bytes."""

        def write(target: int) -> tuple[bytes, int]:
            state, size = hasher(), 0
            for piece in pieces:
                state.update(piece)
                size += write_all(target, piece)
            return state.digest(), size

        self._rely_on_store()
        self._go_bulk()
        return self._write_large(write)

    def add_linked(self, path: Path, digest: bytes, size: int) -> None:
        """Make a file of this file system an object under its address, without a copy; it keeps its other name.

        The caller has hashed it, and knows that nobody writes it any more. Raises OSError where it cannot be linked.
        """
        self._rely_on_store()
        if digest in self._seen or self._index.known([digest]):
            return
        place = self._claimed().new_link(path)
        self._seen.add(digest)
        self._large[digest] = (place, size)

    def add_parts(self, digest: bytes, parts: Sequence[Part]) -> None:
        """Add a content that is `parts`, one after the other; each is in the store, or in this write."""
        self._rely_on_store()
        if digest not in self._seen and not self._index.known([digest]):
            self._seen.add(digest)
            self._take([Encoded(digest, PARTS, encode_parts(parts), sum(part.size for part in parts))])

    def forget_large(self, digest: bytes) -> None:
        """Drop a large object again that this write has added; without effect on any other."""
        found = self._large.pop(digest, None)
        if found is not None:
            self._seen.discard(digest)
            found[0].unlink()

    def new_pack(self) -> PrivatePack:
        """A pack that another process fills with what `wanted` says; it is visible after `commit` as all the rest.

        Its descriptor is the writer's to close.
        """
        self._rely_on_store()
        claim = self._claimed()
        path, fd = claim.new_file()
        pack = PrivatePack(claim.other_pack(len(self._others) + 1), path, fd)
        self._others.append(pack)
        return pack

    def wanted(self, objects: Iterable[tuple[bytes, int]]) -> set[bytes]:
        """Those of some objects (address, bytes) that are new, which the caller then has in a `new_pack`."""
        found = {digest: size for digest, size in objects if digest not in self._seen}
        self._seen.update(found)
        new = set(found) - self._index.known(found)
        self._unwritten_bytes += sum(found[digest] for digest in new)
        if self._unwritten_bytes >= _BULK_BYTES and self._go_bulk():
            new -= self._index.known(new)
        return new

    def commit(self) -> dict[bytes, int]:
        """Make everything added durable and visible; the bytes that each newly stored object takes."""
        self._flush()
        self._take(self._encoders.finish())
        self._spill()
        packs = [pack for pack in (self._pack, *self._others) if pack is not None and pack.places]
        if not packs and not self._large:
            return {}
        # Where one flush was for the whole file system, the packs were part of it.
        if not self._flushing.flush():
            for pack in packs:
                os.fsync(pack.fd)
        with self._index.writing() as connection:
            new = self._publish(connection, packs)
        self.close()
        return new

    def close(self) -> None:
        """Drop whatever was not committed and give back the locks."""
        self._encoders.stop()
        self._flushing.close()
        for pack in (self._pack, *self._others):
            if pack is not None:
                os.close(pack.fd)
        self._pack, self._others = None, []
        if self._claim is not None:
            self._claim.release()
            self._claim = None
        self._bulk.release()
        self._use.release()
        self._pending, self._ready, self._large = {}, [], {}

    def _publish(self, connection: sqlite3.Connection, packs: list[PrivatePack]) -> dict[bytes, int]:
        known = self._index.known([*self._large, *(digest for pack in packs for digest in pack.places)])
        large = {digest: found for digest, found in self._large.items() if digest not in known}
        packs = [pack for pack in packs if not known.issuperset(pack.places)]
        claim = self._claimed()
        claim.intend(large)
        places: list[Place] = []
        for pack in packs:
            pack.path.rename(self._layout.pack(pack.name))
        if packs:
            sync_folder(self._layout.packs)
        for pack in packs:
            number = self._index.add_pack(connection, pack.name, pack.written.end)
            places += [place._replace(pack=number) for digest, place in pack.places.items() if digest not in known]
        for digest, (path, size) in large.items():
            path.rename(self._layout.loose_object(digest))
            places.append(Place(digest, size, RAW, None, 0, size))
        if large:
            sync_folder(self._layout.loose)
        self._index.add(connection, places)
        return {place.digest: place.kept + (HEADER_SIZE if place.pack else 0) for place in places}

    def _rely_on_store(self) -> None:
        if not self._use.held:
            self._index.prepare()
            self._use.acquire(shared=True)

    def _claimed(self) -> Claim:
        if self._claim is None:
            self._claim = Claim.new(self._layout, self._index)
        return self._claim

    def _flush(self) -> None:
        if not self._pending:
            return
        known = self._index.known(self._pending)
        job = [(digest, data) for digest, data in self._pending.items() if digest not in known]
        self._pending, self._pending_bytes = {}, 0
        if job:
            self._take(self._encoders.put(job))

    def _take(self, encoded: list[Encoded]) -> None:
        self._ready += encoded
        self._ready_bytes += sum(len(entry.kept) for entry in encoded)
        if self._ready_bytes >= _BULK_BYTES:
            self._go_bulk()
            self._spill()

    def _go_bulk(self) -> bool:
        """Take the lock of those who write much, if it is not held; whether it was not."""
        if self._bulk.held:
            return False
        self._index.prepare()
        self._bulk.acquire()
        known = self._index.known([entry.digest for entry in self._ready])
        self._ready = [entry for entry in self._ready if entry.digest not in known]
        return True

    def _spill(self) -> None:
        if not self._ready:
            return
        if self._pack is None:
            claim = self._claimed()
            self._pack = PrivatePack(claim.name, self._layout.tmp / claim.pack_file, claim.new_pack())
        places = self._pack.written.append(self._ready)
        self._pack.places.update((place.digest, place) for place in places)
        self._ready, self._ready_bytes = [], 0

    def _add_large_bytes(self, data: bytes, digest: bytes) -> None:
        self._go_bulk()
        if not self._index.known([digest]):
            self._seen.discard(digest)
            self._write_large(lambda target: (digest, write_all(target, data)))

    def _write_large(self, write: Callable[[int], tuple[bytes, int]]) -> tuple[bytes, int]:
        """A file of its own that `write` fills and says address and bytes of; dropped when it is stored already."""
        path, fd = self._claimed().new_file()
        try:
            digest, size = write(fd)
            if digest in self._seen or self._index.known([digest]):
                path.unlink()
                return digest, size
            self._flushing.wrote(os.dup(fd))
        finally:
            os.close(fd)
        self._seen.add(digest)
        self._large[digest] = (path, size)
        return digest, size
