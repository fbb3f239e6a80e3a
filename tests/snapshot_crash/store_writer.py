"""One process of a power-loss scenario: FOLDER ROLE SEED [SABOTAGE].

FOLDER/disk is recorded: FOLDER/disk/objects is a store, FOLDER/disk/far the place that objects are sent to. What a
call has promised is told to the recorder: objects that the store has, and objects that are sent.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onrecord.snapshot import index, layout, receiving, shelf, sweep, transfer
from onrecord.snapshot.manifest import objects_of
from onrecord.snapshot.remote_folder import FolderShelf
from onrecord.snapshot.store import Store
from onrecord.snapshot.sweep import Wanted
from onrecord.snapshot.take import take_snapshot

_disk = ctypes.CDLL(None)
LARGE = layout.LOOSE_FROM + 1000


def mark(**values: Any) -> None:
    """Tell the recorder, in order with every write."""
    text = json.dumps(values).encode()
    _disk.disk_mark(text, ctypes.c_size_t(len(text)))


class Scene:
    """The folder of a scenario, and what is done in it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.dice = random.Random(seed)
        self.store = Store(folder / "disk" / "objects")

    def noise(self, most: int) -> bytes:
        return self.dice.randbytes(self.dice.randrange(1, most))

    def refer(self, snapshots: Iterable[str] = (), contents: Iterable[str] = ()) -> None:
        """Write down, where no power failure reaches, what must not be swept."""
        lines = [*(f"s {one}\n" for one in snapshots), *(f"c {one}\n" for one in contents)]
        fd = os.open(self.folder / "references", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, "".join(lines).encode())
        os.close(fd)

    def references(self) -> Wanted:
        if not (self.folder / "references").exists():
            return Wanted()
        words = [line.split() for line in (self.folder / "references").read_text().splitlines()]
        return Wanted({two for one, two in words if one == "s"}, {two for one, two in words if one == "c"})

    def put(self) -> None:
        """A small file, or several, with a large one now and then."""
        with self.store.in_use():
            pieces = [self.noise(3000) for _ in range(self.dice.randrange(1, 6))]
            with self.store.writer() as writer:
                digests = [writer.add(piece).hex() for piece in pieces]
                if self.dice.random() < 0.3:
                    digests.append(writer.add(self.dice.randbytes(64) + bytes(LARGE)).hex())
                writer.commit()
            self.refer(contents=digests)
        mark(have=digests)

    def take(self) -> None:
        """A snapshot of a folder that has changed a little."""
        source = self.folder / f"source{os.getpid()}"
        for name in ("a", "b/c", "b/d"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            if self.dice.random() < 0.6 or not (source / name).exists():
                (source / name).write_bytes(self.noise(2000))
        with self.store.in_use():
            snapshot = take_snapshot(source, self.store, cache=self.folder / f"cache{os.getpid()}").snapshot_id
            self.refer(snapshots=[snapshot])
        mark(have=list(objects_of(self.store, snapshot)))

    def rubbish(self) -> None:
        """Objects that nobody refers to."""
        with self.store.writer() as writer:
            for _ in range(4):
                writer.add(self.noise(2000))
            if self.dice.random() < 0.3:
                writer.add(self.dice.randbytes(64) + bytes(LARGE))
            writer.commit()

    def sweep(self) -> None:
        self.store.sweep(self.references, before=10e9)

    def remove(self) -> None:
        """Erase something for good that was there."""
        found = [place.digest.hex() for page in self.store._index.all_places() for place in page]
        gone = self.dice.sample(found, min(len(found), 2))
        mark(free=gone)
        with self.store.in_use(alone=True):
            self.store.remove(gone)

    def far(self) -> shelf.ShelfRemote:
        return shelf.ShelfRemote(FolderShelf(self.folder / "disk" / "far"))

    def send(self) -> None:
        """A snapshot, some contents and a large one, to the other place."""
        source = self.folder / f"sent{os.getpid()}"
        (source / "sub").mkdir(parents=True, exist_ok=True)
        for name in ("a", "sub/b"):
            (source / name).write_bytes(self.noise(2000))
        here = Store(self.folder / "elsewhere")
        snapshot = take_snapshot(source, here).snapshot_id
        contents = [here.put_bytes(self.noise(3000)).digest]
        if self.dice.random() < 0.4:
            contents.append(here.put_bytes(self.dice.randbytes(64) + bytes(LARGE)).digest)
        transfer.send(here, self.far(), [snapshot], contents)
        mark(sent=[*objects_of(here, snapshot), *contents], snapshots=[snapshot])

    def receive(self) -> None:
        """What was sent, into the store."""
        here = Store(self.folder / "elsewhere")
        source = self.folder / f"received{os.getpid()}"
        source.mkdir(exist_ok=True)
        (source / "a").write_bytes(self.noise(2000))
        snapshot = take_snapshot(source, here).snapshot_id
        contents = [here.put_bytes(self.noise(3000)).digest for _ in range(3)]
        contents.append(here.put_bytes(self.dice.randbytes(64) + bytes(LARGE)).digest)
        other = shelf.ShelfRemote(FolderShelf(self.folder / f"carried{os.getpid()}"))
        transfer.send(here, other, [snapshot], contents)
        with self.store.in_use():
            receiving.receive(self.store, other, [snapshot], contents)
            self.refer([snapshot], contents)
        mark(have=[*objects_of(here, snapshot), *contents])


ROLES: dict[str, list[str]] = {
    "create": ["put"],
    "put": ["put", "put", "take", "rubbish", "put", "take", "put"],
    "collect": ["rubbish", "sweep", "put", "rubbish", "sweep"],
    "remove": ["put", "remove", "rubbish", "remove"],
    "send": ["send", "send", "send"],
    "receive": ["receive", "put", "receive"],
}


def sabotage_late() -> None:
    """Renamed into place only when the index has said for long that it is there."""
    waiting: list[tuple[Path, Path]] = []
    rename, writing = Path.rename, index.Index.writing

    @contextmanager
    def late(self: index.Index) -> Iterator[sqlite3.Connection]:
        with writing(self) as connection:
            yield connection
        for source, target in waiting:
            rename(source, target)
            layout.sync_folder(target.parent)
        waiting.clear()

    Path.rename = lambda self, target: waiting.append((self, target))  # type: ignore[assignment,method-assign]
    index.Index.writing = late  # type: ignore[method-assign]


def sabotage_off() -> None:
    """`synchronous=OFF`: the index says that it is durable before it is."""
    connect = index.Index._connect

    def off(self: index.Index) -> sqlite3.Connection:
        connection = connect(self)
        connection.execute("PRAGMA synchronous=OFF")
        return connection

    index.Index._connect = off  # type: ignore[method-assign]


def sabotage_unlink() -> None:
    """A sweep that unlinks before its transaction is on the disk."""
    from onrecord.snapshot.gc import Removal

    publish = Removal._publish

    def early(self: Removal, connection: Any, claim: Any, going: Any, names: Any) -> None:
        self._unlink([place for place in going.values() if place.pack is None], names.values())
        publish(self, connection, claim, going, names)

    Removal._publish = early  # type: ignore[method-assign]


def sabotage_order() -> None:
    """Listings are sent before what they name."""
    lacking = transfer._lacking_there
    transfer._lacking_there = lambda *words: list(reversed(lacking(*words)))


SABOTAGE: dict[str, Callable[[], None]] = {
    "late": sabotage_late,
    "off": sabotage_off,
    "unlink": sabotage_unlink,
    "order": sabotage_order,
}


def main() -> None:
    folder, role, seed, *sabotages = sys.argv[1:]
    for name in sabotages:
        SABOTAGE[name]()
    assert sweep._ROUND_BYTES > 1 << 20  # the name that the sweep reads
    assert shelf._PACK_BYTES > 1 << 20  # as above
    sweep._ROUND_BYTES, shelf._PACK_BYTES = 4000, 1000
    scene = Scene(Path(folder), int(seed))
    for word in ROLES[role]:
        getattr(scene, word)()
    if scene.dice.random() < 0.3:
        # As kill -9 would have it: nothing is closed.
        os._exit(0)
    scene.store.close()


if __name__ == "__main__":
    main()
