"""Which objects are needed: those that are named, and, of snapshots and listings, all that these name."""

from __future__ import annotations

from collections.abc import Callable

from onrecord.snapshot.errors import ManifestError, ObjectCorrupt, ObjectMissing
from onrecord.snapshot.tree import FOLDER, LINK, SNAPSHOT_MAGIC, TREE_MAGIC, Node, decode_root, decode_tree


class Marking:
    """A growing set of addresses (32 bytes each); a listing that several snapshots hold is read once."""

    def __init__(self, read: Callable[[bytes], bytes]) -> None:
        """`read` gives the bytes of an object by its address."""
        self._read = read
        self.found: set[bytes] = set()
        # The snapshots and listings among them, each behind those that it needs.
        self.listings: list[bytes] = []

    def snapshot(self, digest: bytes) -> None:
        """Mark a snapshot with all that it needs.

        Errors: those of `read`, and ManifestError; where a listing cannot be read, what it needs is not known.
        """
        if digest not in self.found:
            self._tree(decode_root(self._read(digest), digest).tree, self._nodes)
            self._done(digest)

    def whatever(self, digest: bytes, data: bytes) -> None:
        """Mark an object of any kind that begins with `data`, and what it needs as far as that can be read."""
        self.found.add(digest)
        if data.startswith(TREE_MAGIC):
            self._listed(digest, self._nodes_if_any)
        elif data.startswith(SNAPSHOT_MAGIC):
            try:
                self._tree(decode_root(self._read(digest), digest).tree, self._nodes_if_any)
            except (ManifestError, ObjectMissing, ObjectCorrupt):
                # The content of a file that only looks like a snapshot, or one that is of no use any more.
                return

    def _tree(self, tree: bytes, nodes: Callable[[bytes], list[Node]]) -> None:
        if tree not in self.found:
            self._listed(tree, nodes)

    def _listed(self, tree: bytes, nodes: Callable[[bytes], list[Node]]) -> None:
        # A listing counts as marked when all below it is: marking may be cut off by an error and be taken up again.
        stack = [(tree, self._folders(nodes(tree)))]
        while stack:
            tree, folders = stack[-1]
            while folders and folders[-1] in self.found:
                folders.pop()
            if folders:
                stack.append((folders[-1], self._folders(nodes(folders.pop()))))
            else:
                self._done(tree)
                stack.pop()

    def _done(self, listing: bytes) -> None:
        self.found.add(listing)
        self.listings.append(listing)

    def _folders(self, nodes: list[Node]) -> list[bytes]:
        self.found.update(node.value for node in nodes if node.kind not in (FOLDER, LINK))
        return [node.value for node in nodes if node.kind == FOLDER]

    def _nodes(self, tree: bytes) -> list[Node]:
        return decode_tree(self._read(tree), tree)

    def _nodes_if_any(self, tree: bytes) -> list[Node]:
        try:
            return self._nodes(tree)
        except (ManifestError, ObjectMissing, ObjectCorrupt):
            return []
