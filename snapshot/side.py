"""One side of a comparison: a snapshot in a store, or anything else that has folders and contents by address."""

from __future__ import annotations

from typing import Protocol

from onrecord.snapshot.manifest import Entry, entry_of, read_root, read_tree
from onrecord.snapshot.store import Store
from onrecord.snapshot.tree import Node, Root


class Side(Protocol):
    """A tree to compare: equal addresses mean equal contents on every side."""

    @property
    def root(self) -> Root:
        """The address of the root's tree, the files below it and their bytes."""

    def nodes(self, tree: bytes) -> list[Node]:
        """The entries of one folder, rising bytewise by name; `tree` is its address, which is the side's own."""

    def content(self, entry: Entry) -> bytes:
        """The content of a file of this side, checked against its address."""


class StoredSide:
    """A snapshot that is in a store."""

    def __init__(self, store: Store, snapshot_id: str) -> None:
        """Reads the snapshot's root. Errors: ObjectMissing, ObjectCorrupt, ManifestError for some other object."""
        self._store = store
        self._root = read_root(store, snapshot_id)

    @property
    def root(self) -> Root:
        """What the snapshot says of itself."""
        return self._root

    def nodes(self, tree: bytes) -> list[Node]:
        """One object read. Errors: ObjectMissing, ObjectCorrupt, ManifestError."""
        return read_tree(self._store, tree)

    def content(self, entry: Entry) -> bytes:
        """One object read. Errors: ObjectMissing, ObjectCorrupt."""
        return self._store.read(entry.digest)


def root_entry(side: Side) -> Entry:
    """The side's root as an entry: a folder with an empty path."""
    return Entry(b"", "dir", False, 0, side.root.tree.hex(), b"")


def entry_at(side: Side, path: bytes) -> Entry | None:
    """What lies at a path below the root, None where nothing does; the empty path is the root itself.

    Reads one listing for each part of the path.
    """
    found: Entry | None = root_entry(side)
    base = b""
    for name in path.split(b"/"):
        if name in (b"", b"."):
            continue
        if found is None or found.kind != "dir":
            return None
        nodes = side.nodes(bytes.fromhex(found.digest))
        found = next((entry_of(base, node) for node in nodes if node.name == name), None)
        base += name + b"/"
    return found
