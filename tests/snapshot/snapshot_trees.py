"""Trees for snapshot tests: made from a description, read back from disk, and identified the slow way."""

# Paths are bytes here, which pathlib cannot hold.
# ruff: noqa: PTH101, PTH102, PTH115, PTH123, PTH208, PTH211
from __future__ import annotations

import os
import shutil
import stat
import struct
from pathlib import Path

from blake3 import blake3

from onrecord.snapshot.growth import Part, longer
from onrecord.snapshot.side import StoredSide
from onrecord.snapshot.store import Store
from onrecord.snapshot.take import take_snapshot

# A tree is {name: file content | (content, executable) | ("link", target) | nested tree}.
Tree = dict[bytes, object]


def plant(folder: Path, tree: Tree) -> Path:
    """Make a tree on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    _plant(os.fsencode(folder), tree)
    return folder


def _plant(base: bytes, tree: Tree) -> None:
    for name, what in tree.items():
        path = base + b"/" + name
        if isinstance(what, dict):
            os.mkdir(path)
            _plant(path, what)
        elif isinstance(what, tuple) and what[0] == "link":
            os.symlink(what[1], path)
        else:
            content, executable = what if isinstance(what, tuple) else (what, False)
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, 0o755 if executable else 0o644)


def dug_up(folder: Path | bytes) -> Tree:
    """The tree that lies on disk; the opposite of `plant`."""
    base = os.fsencode(folder)
    out: Tree = {}
    for name in os.listdir(base):
        path = base + b"/" + name
        mode = os.lstat(path).st_mode
        if stat.S_ISDIR(mode):
            out[name] = dug_up(path)
        elif stat.S_ISLNK(mode):
            out[name] = ("link", os.readlink(path))
        elif stat.S_ISREG(mode):
            with open(path, "rb") as file:
                out[name] = (file.read(), bool(mode & 0o100))
    return out


def full(tree: Tree) -> Tree:
    """A tree with every shorthand spelled out."""
    out: Tree = {}
    for name, what in tree.items():
        if isinstance(what, dict):
            out[name] = full(what)
        else:
            out[name] = what if isinstance(what, tuple) else (what, False)
    return out


def slow_id(tree: Tree) -> str:
    """The snapshot id of a tree, worked out from the written form alone, sharing no code with the package."""
    digest, files, size = _slow_tree(full(tree))
    return blake3(b"onrecord snapshot 1\n" + digest + struct.pack(">QQ", files, size)).hexdigest()


def _slow_tree(tree: Tree) -> tuple[bytes, int, int]:
    out, files, total = b"onrecord tree 1\n", 0, 0
    for name in sorted(tree):
        what = tree[name]
        if isinstance(what, dict):
            digest, inner_files, inner_size = _slow_tree(what)
            kind, size, value = b"d", 0, digest
            files, total = files + inner_files, total + inner_size
        elif what[0] == "link":
            kind, size, value = b"l", len(what[1]), what[1]
        else:
            kind, size, value = b"x" if what[1] else b"f", len(what[0]), blake3(what[0]).digest()
            files, total = files + 1, total + size
        out += kind + len(name).to_bytes(2, "big") + size.to_bytes(8, "big") + name + value
    return blake3(out).digest(), files, total


def sides(store: Store, before: Tree, after: Tree, base: Path) -> tuple[StoredSide, StoredSide]:
    """Snapshots of two trees, each planted in `base`."""
    made = []
    for tree in (before, after):
        shutil.rmtree(base, ignore_errors=True)
        made.append(StoredSide(store, take_snapshot(plant(base, tree), store).snapshot_id))
    return made[0], made[1]


def disk_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def grown_log(store: Store, looks: int) -> list[str]:
    """The states of a log that grew from look to look, each stored by its growth; oldest first."""
    content = os.urandom(300)
    states = [store.put_bytes(content).digest]
    for _ in range(looks):
        tail = os.urandom(200)
        content += tail
        before = store.place(bytes.fromhex(states[-1]))
        part = Part(bytes.fromhex(store.put_bytes(tail).digest), len(tail))
        digest = blake3(content).digest()
        with store.writer() as writer:
            writer.add_parts(digest, longer(store, before, part))
            writer.commit()
        states.append(digest.hex())
    return states
