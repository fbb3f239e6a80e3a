"""One write to a store: objects are gathered, made durable, and become visible all at once or not at all.

    private pack in tmp/ -> fsync -> [lock] -> rename into packs/ -> fsync of the folder -> one transaction

Before the transaction nothing refers to what was written; a crash leaves a file that the next writer removes
(`leftovers`). Small writes take the lock only at the end. As soon as more than 4 MiB are new, the writer takes
a second lock and asks the index again, so that eight processes that take the same first snapshot write it once.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from onrecord.snapshot.digest import digest_of, hasher
from onrecord.snapshot.encoders import Encoded, Encoders
from onrecord.snapshot.encoding import PARTS, RAW
from onrecord.snapshot.errors import disk_full, is_full
from onrecord.snapshot.growth import Part, encode_parts
from onrecord.snapshot.index import Index, Place
from onrecord.snapshot.layout import (
    HEADER_SIZE,
    LOOSE_FROM,
    PACK_MAGIC,
    Layout,
    pack_header,
    sync_folder,
)
from onrecord.snapshot.leftovers import Claim
from onrecord.snapshot.locks import Lock
from onrecord.snapshot.streams import copy_hashing, hash_file, write_all

_PENDING_BYTES = 4 << 20
_PENDING_COUNT = 2000
_BULK_BYTES = 4 << 20


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
        self._pack = -1
        self._pack_end = 0
        self._packed: dict[bytes, Place] = {}
        self._large: dict[bytes, tuple[Path, int]] = {}

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
        path, fd = self._claimed().new_file()
        try:
            digest, read = copy_hashing(source, fd, size)
            if digest in self._seen or self._index.known([digest]):
                path.unlink()
                return digest, read
            os.fsync(fd)
        finally:
            os.close(fd)
        self._seen.add(digest)
        self._large[digest] = (path, read)
        return digest, read

    def add_pieces(self, pieces: Iterable[bytes]) -> tuple[bytes, int]:
        """Add an object of any size that comes in pieces; its address and its bytes."""
        self._rely_on_store()
        self._go_bulk()
        path, fd = self._claimed().new_file()
        try:
            state, size = hasher(), 0
            for piece in pieces:
                state.update(piece)
                size += write_all(fd, piece)
            digest = state.digest()
            if digest in self._seen or self._index.known([digest]):
                path.unlink()
                return digest, size
            os.fsync(fd)
        finally:
            os.close(fd)
        self._seen.add(digest)
        self._large[digest] = (path, size)
        return digest, size

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

    def commit(self) -> dict[bytes, int]:
        """Make everything added durable and visible; the bytes that each newly stored object takes."""
        self._flush()
        self._take(self._encoders.finish())
        if not self._ready and not self._packed and not self._large:
            return {}
        self._spill()
        if self._pack >= 0:
            os.fsync(self._pack)
        with self._index.writing() as connection:
            new = self._publish(connection)
        self.close()
        return new

    def close(self) -> None:
        """Drop whatever was not committed and give back the locks."""
        self._encoders.stop()
        if self._pack >= 0:
            os.close(self._pack)
            self._pack = -1
        if self._claim is not None:
            self._claim.release()
            self._claim = None
        self._bulk.release()
        self._use.release()
        self._pending, self._ready, self._packed, self._large = {}, [], {}, {}

    def _publish(self, connection: sqlite3.Connection) -> dict[bytes, int]:
        known = self._index.known([*self._packed, *self._large])
        packed = [place for digest, place in self._packed.items() if digest not in known]
        large = {digest: found for digest, found in self._large.items() if digest not in known}
        claim = self._claimed()
        claim.intend(large)
        places: list[Place] = []
        if packed:
            (self._layout.tmp / claim.pack_file).rename(self._layout.pack(claim.name))
            sync_folder(self._layout.packs)
            pack = self._index.add_pack(connection, claim.name, self._pack_end)
            places += [place._replace(pack=pack) for place in packed]
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

    def _go_bulk(self) -> None:
        if self._bulk.held:
            return
        self._index.prepare()
        self._bulk.acquire()
        known = self._index.known([entry.digest for entry in self._ready])
        self._ready = [entry for entry in self._ready if entry.digest not in known]

    def _spill(self) -> None:
        if not self._ready:
            return
        if self._pack < 0:
            self._pack = self._claimed().new_pack()
            self._write([PACK_MAGIC])
        pieces: list[bytes] = []
        end = self._pack_end
        for digest, encoding, kept, size in self._ready:
            pieces += (pack_header(digest, encoding, len(kept), size), kept)
            end += HEADER_SIZE
            self._packed[digest] = Place(digest, size, encoding, 0, end, len(kept))
            end += len(kept)
        self._write(pieces)
        self._ready, self._ready_bytes = [], 0

    def _write(self, pieces: Iterable[bytes]) -> None:
        self._pack_end += write_all(self._pack, b"".join(pieces))

    def _add_large_bytes(self, data: bytes, digest: bytes) -> None:
        self._go_bulk()
        if self._index.known([digest]):
            return
        path, fd = self._claimed().new_file()
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        self._large[digest] = (path, len(data))
