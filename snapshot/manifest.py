"""Reading snapshots: what is in one, what differs between two, which objects one needs."""

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


class Change(NamedTuple):
    """One path that differs: `before` is None where it was added, `after` is None where it was removed."""

    path: bytes
    before: Entry | None
    after: Entry | None

    @property
    def kind(self) -> Literal["added", "removed", "changed"]:
        """What happened to the path on the way from the first snapshot to the second."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


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


def diff_snapshots(store: Store, before: str, after: str) -> Iterator[Change]:
    """What changed between two snapshots, descending only into folders whose addresses differ.

    Folders are reported when they were added or removed, before what they hold; a folder that only holds
    changes is not. A path whose kind changed is one change, followed by what came or went below it.
    """
    roots = read_root(store, before).tree, read_root(store, after).tree
    stack: list[tuple[bytes, bytes | None, bytes | None]] = [(b"", *roots)]
    while stack:
        prefix, old, new = stack.pop()
        if old == new:
            continue
        deeper: list[tuple[bytes, bytes | None, bytes | None]] = []
        for left, right in _paired(_nodes(store, old), _nodes(store, new)):
            path = prefix + (left or right or _NOTHING).name
            if not _same_kind_of_folder(left, right) and left != right:
                yield Change(path, _entry_or_none(prefix, left), _entry_or_none(prefix, right))
            folders = _tree_of(left), _tree_of(right)
            if folders[0] != folders[1]:
                deeper.append((path + b"/", *folders))
        stack += reversed(deeper)


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


_NOTHING = Node(b"", b"", 0, b"")


def _walk(store: Store, prefix: bytes, tree: bytes) -> Iterator[Entry]:
    stack = [(prefix, iter(read_tree(store, tree)))]
    while stack:
        base, nodes = stack[-1]
        node = next(nodes, None)
        if node is None:
            stack.pop()
            continue
        yield _entry(base, node)
        if node.kind == FOLDER:
            stack.append((base + node.name + b"/", iter(read_tree(store, node.value))))


def _entry(prefix: bytes, node: Node) -> Entry:
    link = node.kind == LINK
    return Entry(
        path=prefix + node.name,
        kind=_KINDS[node.kind],
        executable=node.kind == EXECUTABLE,
        size=node.size,
        digest="" if link else node.value.hex(),
        target=node.value if link else b"",
    )


def _entry_or_none(prefix: bytes, node: Node | None) -> Entry | None:
    return None if node is None else _entry(prefix, node)


def _nodes(store: Store, tree: bytes | None) -> list[Node]:
    return [] if tree is None else read_tree(store, tree)


def _paired(old: list[Node], new: list[Node]) -> Iterator[tuple[Node | None, Node | None]]:
    lefts = {node.name: node for node in old}
    rights = {node.name: node for node in new}
    for name in sorted(lefts.keys() | rights.keys()):
        yield lefts.get(name), rights.get(name)


def _same_kind_of_folder(left: Node | None, right: Node | None) -> bool:
    return left is not None and right is not None and left.kind == right.kind == FOLDER


def _tree_of(node: Node | None) -> bytes | None:
    return node.value if node is not None and node.kind == FOLDER else None
