"""The life of a store on a disk that fails: FOLDER (ERRNO TIMES FIRST STEP | STEP).

With four numbers, under disk_recorder.c: the n-th write, truncation, rename or flush in the store fails with ERRNO, and
TIMES - 1 more after it, for every n. With one, on a small disk: for every amount of room that is left on it. One JSON
line for each life: what the fault hit, what the calls said, and what is wrong with that.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import attrs

from onrecord.errors import OnRecordError
from onrecord.snapshot import layout, shelf
from onrecord.snapshot.receiving import receive
from onrecord.snapshot.remote_folder import FolderShelf
from onrecord.snapshot.store import Store
from onrecord.snapshot.sweep import Wanted
from onrecord.snapshot.take import take_snapshot
from onrecord.snapshot.transfer import send

PAGE = 4096
LARGE = layout.LOOSE_FROM + 10


@attrs.define
class Life:
    """The same calls each time, as far as the faults let them go; `work` is where nothing fails."""

    disk: Path
    work: Path
    large: int = LARGE
    promised: set[str] = attrs.field(factory=set)
    sent: set[str] = attrs.field(factory=set)
    outcomes: list[str] = attrs.field(factory=list)
    dice: random.Random = attrs.field(factory=lambda: random.Random(7))
    store: Store = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.store = Store(self.disk / "objects")

    def put(self, data: bytes) -> set[str]:
        return {self.store.put_bytes(data).digest}

    def tried(self, work: Callable[[], set[str]]) -> set[str]:
        """What a call promised, and note what it said."""
        try:
            found = work()
        except (OnRecordError, OSError) as problem:
            self.outcomes.append(type(problem).__name__)
            return set()
        self.outcomes.append("ok")
        return found

    def live(self) -> None:
        source, elsewhere = self.work / "source", Store(self.work / "elsewhere")
        for name in ("a", "b/c"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(self.dice.randbytes(3000))
        there = take_snapshot(source, elsewhere).snapshot_id
        other = [elsewhere.put_bytes(self.dice.randbytes(2000)).digest]
        other.append(elsewhere.put_bytes(self.dice.randbytes(64) + bytes(self.large)).digest)
        for _ in range(2):
            self.promised |= self.tried(lambda: self.put(self.dice.randbytes(1500)))
            self.promised |= self.tried(lambda: self.put(self.dice.randbytes(64) + bytes(self.large)))
            self.promised |= self.tried(lambda: {take_snapshot(source, self.store).snapshot_id})
            self.tried(lambda: self.put(b"of no use" + self.dice.randbytes(900)))
            self.tried(self.sweep)
            self.sent |= self.tried(lambda: self.send(elsewhere, there, other))
            self.promised |= self.tried(lambda: self.receive(there, other))
            (source / "a").write_bytes(self.dice.randbytes(3000))
        self.store.close()
        elsewhere.close()

    def sweep(self) -> set[str]:
        self.store.sweep(lambda: Wanted(contents=self.promised | self.needed()), before=10e9)
        return set()

    def needed(self) -> set[str]:
        from onrecord.snapshot.gc import needed_by

        snapshots = [digest for digest in self.promised if self.store.read(digest).startswith(b"onrecord snapshot")]
        return needed_by(self.store, snapshots)

    def far(self) -> shelf.ShelfRemote:
        return shelf.ShelfRemote(FolderShelf(self.disk / "far"))

    def send(self, elsewhere: Store, snapshot: str, contents: list[str]) -> set[str]:
        send(elsewhere, self.far(), [snapshot], contents)
        return {snapshot, *contents}

    def receive(self, snapshot: str, contents: list[str]) -> set[str]:
        receive(self.store, self.far(), [snapshot], contents)
        return {snapshot, *contents}

    def problems_when_the_fault_is_gone(self) -> list[str]:
        """Go on with the same store and with a new one, and compare with what was promised."""
        problems = []
        for store in (self.store, Store(self.disk / "objects")):
            try:
                self.promised.add(store.put_bytes(b"afterwards").digest)
                wanted = self.promised | self.needed()
                if store.has(wanted) != wanted:
                    problems.append(f"{len(wanted - store.has(wanted))} of {len(wanted)} are lost")
                problems += [fault.problem for fault in store.verify()]
                left = sorted(path.name for path in (store.folder / "tmp").iterdir())
                problems += [f"left: {left}"] * bool(left)
                self.sweep()
                problems += [fault.problem for fault in store.verify(wanted)]
                if self.far().missing([bytes.fromhex(digest) for digest in self.sent]):
                    problems.append("what was sent is not there")
            except OnRecordError as problem:
                problems.append(f"afterwards: {problem}")
            store.close()
        return problems


def with_faults(folder: Path, error: int, times: int, at: int, step: int) -> None:
    """A life for every operation that can fail."""
    disk = ctypes.CDLL(None)
    disk.disk_failed.restype = ctypes.c_char_p
    hit = "something"
    while hit:
        (folder / "disk").mkdir()
        life = Life(folder / "disk", folder / "work")
        disk.disk_fail(ctypes.c_long(at), error, ctypes.c_long(times), 0)
        life.live()
        hit = disk.disk_failed().decode()
        disk.disk_fail(ctypes.c_long(0), 0, ctypes.c_long(0), 0)
        full = {"ok", "DiskFull"} | ({"StoreError"} if "write" not in hit else set())
        allowed = full if error == errno.ENOSPC else {"ok", "StoreError", "OSError", "RemoteError"}
        # SQLite does not say why its shared memory could not be made longer.
        allowed |= {"DiskFull"} if hit == "write index" else set()
        strange = set(life.outcomes) - allowed - {"RemoteLacks"}
        problems = [f"{one} was raised" for one in sorted(strange)] + life.problems_when_the_fault_is_gone()
        print(json.dumps({"at": at, "hit": hit, "outcomes": life.outcomes, "problems": problems}))
        for path in (folder / "disk", folder / "work"):
            shutil.rmtree(path)
        at += step


def with_room(disk: Path, step: int) -> None:
    """A life for every amount of room, until there is enough."""
    work, pages, outcomes = Path(os.environ["LIFE_WORK"]), 0, {"DiskFull"}
    while outcomes != {"ok"}:
        with (disk / "filler").open("wb", buffering=0) as file:
            state = os.statvfs(disk)
            file.truncate(0)
            os.posix_fallocate(file.fileno(), 0, (state.f_bavail - pages) * PAGE)
        (disk / "disk").mkdir()
        life = Life(disk / "disk", work)
        life.live()
        (disk / "filler").unlink()
        outcomes = set(life.outcomes)
        strange = outcomes - {"ok", "DiskFull", "RemoteLacks"}
        problems = [f"{one} was raised" for one in sorted(strange)] + life.problems_when_the_fault_is_gone()
        print(json.dumps({"pages": pages, "outcomes": life.outcomes, "problems": problems}))
        shutil.rmtree(disk / "disk")
        shutil.rmtree(work)
        pages += step


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[2:]]
    if len(numbers) == 1:
        with_room(Path(sys.argv[1]), numbers[0])
    else:
        with_faults(Path(sys.argv[1]), numbers[0], numbers[1], numbers[2], numbers[3])
