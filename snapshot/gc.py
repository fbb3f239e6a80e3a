"""Taking objects out of a store, for good: their bytes, and every row that names them.

    new packs in tmp/, of what stays of the packs concerned -> fsync -> names of what goes into the claim -> fsync
    -> [lock] -> rename into packs/ -> one transaction: places, removals, a new identity -> [unlock] -> unlink

Before the transaction nothing has gone, and the new packs are leftovers; after it, what was not unlinked yet is
named in the claim of a dead writer, and the next writer removes it (`leftovers`). Intake take no lock: who meets a
pack that is gone looks again where its object lies.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable

from onrecord.snapshot.digest import from_hex
from onrecord.snapshot.index import Index, Place
from onrecord.snapshot.layout import HEADER_SIZE, PACK_MAGIC, Layout, sync_folder
from onrecord.snapshot.leftovers import Claim, clear
from onrecord.snapshot.store import Store
from onrecord.snapshot.streams import write_all
from onrecord.snapshot.tree import FOLDER, LINK, decode_root, decode_tree


def needed_by(store: Store, snapshots: Iterable[str]) -> set[str]:
    """Every address (64 hex digits) that some snapshots of a store need. Errors as `needed`."""
    return needed(lambda digest: store.fetch(store.place(digest)), snapshots)


def needed(read: Callable[[bytes], bytes], snapshots: Iterable[str]) -> set[str]:
    """Every address that some snapshots need, whose objects `read` gives; a listing that several hold is read once.

    Errors: those of `read`, and ManifestError; where a listing cannot be read, what it needs is not known.
    """
    found: set[bytes] = set()
    for snapshot in sorted(set(snapshots)):
        digest = from_hex(snapshot)
        found.add(digest)
        stack = [decode_root(read(digest), digest).tree]
        while stack:
            tree = stack.pop()
            if tree in found:
                continue
            found.add(tree)
            nodes = decode_tree(read(tree), tree)
            stack += [node.value for node in nodes if node.kind == FOLDER]
            found.update(node.value for node in nodes if node.kind not in (FOLDER, LINK))
    return {digest.hex() for digest in found}


class Removal:
    """One removal from a store."""

    def __init__(self, layout: Layout, index: Index) -> None:
        self._layout = layout
        self._index = index
        self._moved: list[Place] = []
        self._written = 0

    def run(self, wanted: set[bytes]) -> tuple[int, int]:
        """Objects removed, and the bytes by which the store is smaller."""
        # A removal that was killed may have left files of what the index does not know any more.
        clear(self._layout, self._index)
        going = {place.digest: place for place in self._index.places(wanted)}
        if not going:
            return 0, 0
        names = self._packs({place.pack for place in going.values() if place.pack is not None})
        loose = [place for place in going.values() if place.pack is None]
        before = sum(place.size for place in loose)
        before += sum(self._layout.pack(name).stat().st_size for name in names.values())
        claim = Claim.new(self._layout, self._index)
        try:
            self._rewrite(claim, names, going)
            claim.intend_surely([place.digest for place in loose], names.values())
            with self._index.writing() as connection:
                self._publish(connection, claim, going, names)
            self._unlink(loose, names.values())
        finally:
            claim.release()
        self._index.empty_log()
        return len(going), before - self._written

    def _rewrite(self, claim: Claim, names: dict[int, str], going: dict[bytes, Place]) -> None:
        """Copy what stays of some packs into a new one, as it is kept: addresses are checked by whoever reads."""
        target = -1
        try:
            for pack, name in sorted(names.items()):
                staying = [place for place in self._index.in_pack(pack) if place.digest not in going]
                if not staying:
                    continue
                if target < 0:
                    target = claim.new_pack()
                    self._written = write_all(target, PACK_MAGIC)
                self._copy(name, staying, target)
            if target >= 0:
                os.fsync(target)
        finally:
            if target >= 0:
                os.close(target)

    def _copy(self, name: str, staying: list[Place], target: int) -> None:
        source = os.open(self._layout.pack(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            for place in staying:
                whole = os.pread(source, HEADER_SIZE + place.kept, place.offset - HEADER_SIZE)
                self._moved.append(place._replace(offset=self._written + HEADER_SIZE))
                self._written += write_all(target, whole)
        finally:
            os.close(source)

    def _publish(
        self, connection: sqlite3.Connection, claim: Claim, going: dict[bytes, Place], packs: Iterable[int]
    ) -> None:
        connection.execute("PRAGMA secure_delete = ON")
        if self._moved:
            (self._layout.tmp / claim.pack_file).rename(self._layout.pack(claim.name))
            sync_folder(self._layout.packs)
            pack = self._index.add_pack(connection, claim.name, self._written)
            self._index.move(connection, [place._replace(pack=pack) for place in self._moved])
        self._index.remove(connection, going, packs)

    def _unlink(self, loose: Iterable[Place], names: Iterable[str]) -> None:
        for place in loose:
            self._layout.loose_object(place.digest).unlink(missing_ok=True)
        for name in names:
            self._layout.pack(name).unlink(missing_ok=True)
        sync_folder(self._layout.loose)
        sync_folder(self._layout.packs)

    def _packs(self, packs: Iterable[int]) -> dict[int, str]:
        """Names of the packs whose file is there; what was in the others has gone already."""
        names = {pack: str(self._index.pack_name(pack)) for pack in sorted(packs)}
        return {pack: name for pack, name in names.items() if self._layout.pack(name).exists()}
