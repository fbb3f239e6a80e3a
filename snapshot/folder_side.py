"""A folder as it is now, as one side of a comparison: hashed like a snapshot, and nothing of it stored."""

from __future__ import annotations

import os
import time
from pathlib import Path

from onrecord.snapshot.digest import digest_bytes, digest_of
from onrecord.snapshot.errors import FileChanging, shown
from onrecord.snapshot.ignore import Rules
from onrecord.snapshot.manifest import Entry, read_tree
from onrecord.snapshot.scan import Scan, Skipped, skipped_of
from onrecord.snapshot.stable import KindChanged, read_stable, read_whole
from onrecord.snapshot.statcache import Cache
from onrecord.snapshot.store import Store
from onrecord.snapshot.streams import hash_file
from onrecord.snapshot.survey import survey
from onrecord.snapshot.take import cache_key, open_source, private_folders
from onrecord.snapshot.tree import TREE_MAGIC, Node, Root, decode_tree
from onrecord.snapshot.writer import Writer


class FolderSide:
    """A folder at the moment when this was made, under the same rules as a snapshot of it."""

    def __init__(self, source: Path, store: Store, *, cache: Path | None = None, rules: Rules | None = None) -> None:
        """Hashes what changed since the last snapshot, whose `cache` is read and not written.

        Errors: SourceError, FileChanging, as `take_snapshot`.
        """
        rules = Rules() if rules is None else rules
        listings = _Listings()
        began = time.time_ns()
        root = open_source(source)
        try:
            with Cache(cache, cache_key(store, rules, os.fstat(root))) as kept:
                known = survey(root, kept)
            scan = Scan(listings, rules, known, private_folders(store), began)
            seen = scan.run(os.dup(root), alone=True)
        finally:
            os.close(root)
        self._source = source
        self._store = store
        self._root = seen.root
        self._trees = listings.trees
        self.skipped: list[Skipped] = skipped_of(seen)

    @property
    def root(self) -> Root:
        """What a snapshot of the folder would have said."""
        return self._root

    def nodes(self, tree: bytes) -> list[Node]:
        """From memory; a listing that did not change since the last snapshot is in the store."""
        data = self._trees.get(tree)
        return read_tree(self._store, tree) if data is None else decode_tree(data, tree)

    def content(self, entry: Entry) -> bytes:
        """The file's content, read from the folder. Errors: FileChanging when it is not what was hashed any more."""
        path = os.fsencode(self._source) + b"/" + entry.path
        try:
            data, _ = read_stable(path, None, entry.path, read_whole)
        except (FileNotFoundError, KindChanged):
            data = None
        if data is None or digest_bytes(data) != entry.digest:
            raise FileChanging(
                f"{shown(entry.path)} changed while it was compared",
                why="what it says now is not what was found to differ",
                next_step="the same command again, when nothing writes to it",
                path=shown(entry.path),
            )
        return data


class _Listings(Writer):
    """Takes what a scan hands in and keeps the listings of folders; of files nothing but their addresses.

    Shares no state with a real write: whatever else a scan might ask of one fails loudly.
    """

    def __init__(self) -> None:
        self.trees: dict[bytes, bytes] = {}

    def add(self, data: bytes, digest: bytes | None = None) -> bytes:
        digest = digest_of(data) if digest is None else digest
        if data.startswith(TREE_MAGIC):
            self.trees[digest] = data
        return digest

    def add_large(self, source: int, size: int) -> tuple[bytes, int]:
        return hash_file(source, size)

    def forget_large(self, digest: bytes) -> None:
        del digest
