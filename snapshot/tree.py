"""The bytes of a folder's listing and of a snapshot: canonical, so that equal trees have equal addresses.

    tree      "onrecord tree 1\\n", then for each entry, names strictly rising bytewise:
              kind (1 byte: f file, x executable file, d folder, l link), name length (u16), size (u64), name,
              then 32 bytes of address (f, x: content; d: its tree) or the link's target (size bytes)
    snapshot  "onrecord snapshot 1\\n", address of the root's tree (32 bytes), files (u64), their bytes (u64)

Integers are big endian. The size of a folder is 0. The snapshot id is the address of the snapshot object:
its first line is the tag that keeps it apart from the listing of the same folder deeper in another tree.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from onrecord.snapshot.digest import SIZE
from onrecord.snapshot.errors import ManifestError

FILE: Final = b"f"
EXECUTABLE: Final = b"x"
FOLDER: Final = b"d"
LINK: Final = b"l"

TREE_MAGIC: Final = b"onrecord tree 1\n"
SNAPSHOT_MAGIC: Final = b"onrecord snapshot 1\n"
_ENTRY = struct.Struct(">cHQ")
_TOTALS = struct.Struct(">QQ")


class Node(NamedTuple):
    """One entry of a folder; `value` is an address of 32 bytes, or the target of a link."""

    name: bytes
    kind: bytes
    size: int
    value: bytes


class Root(NamedTuple):
    """What a snapshot object says: the address of the root's tree, and what is below it in all."""

    tree: bytes
    files: int
    size: int


def encode_tree(nodes: Iterable[tuple[bytes, bytes, int, bytes]]) -> bytes:
    """The listing of a folder, in whatever order its entries (fields as `Node`) are given."""
    out = [TREE_MAGIC]
    pack = _ENTRY.pack
    for name, kind, size, value in sorted(nodes):
        out += (pack(kind, len(name), size), name, value)
    return b"".join(out)


def decode_tree(data: bytes, digest: bytes) -> list[Node]:
    """The entries of a listing, every rule of the form checked; ManifestError names `digest`."""
    if not data.startswith(TREE_MAGIC):
        raise _not(digest, "the listing of a folder", "it begins with something else")
    nodes: list[Node] = []
    at, end, last = len(TREE_MAGIC), len(data), b""
    while at < end:
        if at + _ENTRY.size > end:
            raise _not(digest, "the listing of a folder", "it is cut short")
        kind, length, size = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size
        name = data[at : at + length]
        at += length
        width = size if kind == LINK else SIZE
        value = data[at : at + width]
        at += width
        problem = _problem(name, kind, size, last, at > end)
        if problem:
            raise _not(digest, "the listing of a folder", problem)
        nodes.append(Node(name, kind, size, value))
        last = name
    return nodes


def encode_root(root: Root) -> bytes:
    """The bytes of a snapshot object."""
    return SNAPSHOT_MAGIC + root.tree + _TOTALS.pack(root.files, root.size)


def decode_root(data: bytes, digest: bytes) -> Root:
    """What a snapshot object says; ManifestError names `digest`."""
    body = data.removeprefix(SNAPSHOT_MAGIC)
    if len(body) == len(data) or len(body) != SIZE + _TOTALS.size:
        raise _not(digest, "a snapshot", "it is some other object of the store")
    return Root(body[:SIZE], *_TOTALS.unpack(body[SIZE:]))


def _problem(name: bytes, kind: bytes, size: int, last: bytes, short: bool) -> str:
    if short:
        return "it is cut short"
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        return f"it names {name!r}, which no folder can hold"
    if name <= last:
        return f"{name!r} is out of order"
    if kind not in (FILE, EXECUTABLE, FOLDER, LINK) or (kind == FOLDER and size):
        return f"{name!r} is of no known kind"
    return ""


def _not(digest: bytes, what: str, why: str) -> ManifestError:
    return ManifestError(
        f"object {digest.hex()} is not {what}",
        why=why,
        next_step="onrecord show RUN prints the snapshot_id of a run; onrecord verify looks for damage",
        digest=digest.hex(),
    )
