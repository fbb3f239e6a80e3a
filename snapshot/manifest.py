"""Reading snapshots: what is in one, and which objects it needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from onrecord.snapshot.digest import from_hex
from onrecord.snapshot.store import Store
from onrecord.snapshot.tree import EXECUTABLE, FOLDER, LINK, Node, Root, decode_root, decode_tree

Kind = Literal["file", "link", "dir"]
_KINDS: Final[dict[bytes, Kind]] = {b"f": "file", b"x": "file", b"d": "dir", b"l": "link"}


class Entry(NamedTuple):
    """One entry of a snapshot.

    `path`: bytes below the root, without a leading slash. `size`: bytes of a file's content or a link's
    target, 0 for a folder. `digest`: 64 hex digits of a file's content or a folder's tree, empty for a link.
    `target`: of a link, else empty.
    """

    path: bytes
    kind: Kind
    executable: bool
    size: int
    digest: str
    target: bytes


def read_root(store: Store, snapshot_id: str) -> Root:
    """The root of a snapshot. Errors: ObjectMissing, ObjectCorrupt, ManifestError for some other object."""
    digest = from_hex(snapshot_id)
    return decode_root(store.read(snapshot_id), digest)


def read_tree(store: Store, digest: bytes) -> list[Node]:
    """The entries of one folder, rising bytewise by name; `digest` is the address of its tree."""
    return decode_tree(store.fetch(store.place(digest)), digest)


def walk_snapshot(store: Store, snapshot_id: str) -> Iterator[Entry]:
    """Every entry of a snapshot, a folder before what it holds, names rising bytewise inside each folder."""
    yield from _walk(store, b"", read_root(store, snapshot_id).tree)


def objects_of(store: Store, snapshot_id: str) -> Iterator[str]:
    """Every address that a snapshot needs, each once: the snapshot itself, its trees, its files' content."""
    seen: set[bytes] = set()
    root = read_root(store, snapshot_id).tree
    yield snapshot_id
    stack = [root]
    while stack:
        tree = stack.pop()
        if tree in seen:
            continue
        seen.add(tree)
        yield tree.hex()
        for node in read_tree(store, tree):
            if node.kind == FOLDER:
                stack.append(node.value)
            elif node.kind != LINK and node.value not in seen:
                seen.add(node.value)
                yield node.value.hex()


def _walk(store: Store, prefix: bytes, tree: bytes) -> Iterator[Entry]:
    stack = [(prefix, iter(read_tree(store, tree)))]
    while stack:
        base, nodes = stack[-1]
        node = next(nodes, None)
        if node is None:
            stack.pop()
            continue
        yield entry_of(base, node)
        if node.kind == FOLDER:
            stack.append((base + node.name + b"/", iter(read_tree(store, node.value))))


def entry_of(prefix: bytes, node: Node) -> Entry:
    """An entry of the folder `prefix` (with a slash at its end; empty for the root)."""
    link = node.kind == LINK
    return Entry(
        path=prefix + node.name,
        kind=_KINDS[node.kind],
        executable=node.kind == EXECUTABLE,
        size=node.size,
        digest="" if link else node.value.hex(),
        target=node.value if link else b"",
    )
