"""A scenario of a store under the recorder, and the check of what a power failure may leave of it."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
from disk_model import Disk, Step, read_record

from onrecord.errors import OnRecordError
from onrecord.snapshot.receiving import receive
from onrecord.snapshot.remote_folder import FolderShelf
from onrecord.snapshot.shelf import ShelfRemote
from onrecord.snapshot.store import Store
from onrecord.snapshot.sweep import Wanted
from onrecord.snapshot.transfer import send
from onrecord.snapshot.tree import LINK, TREE_MAGIC, Node, decode_tree

HERE = Path(__file__).parent


@attrs.define
class Scene:
    """A folder whose processes run under the recorder; phases are lists of roles that run at once."""

    recorder: Path
    folder: Path
    sabotage: str = ""
    deaf: str = ""
    seed: int = 0

    def play(self, phases: Sequence[Sequence[str]]) -> Record:
        """Run the phases one after the other, and read what was recorded."""
        (self.folder / "disk").mkdir(parents=True)
        (self.folder / "turn").write_bytes(bytes(16))
        for phase in phases:
            processes = [self._start(role) for role in phase]
            for process in processes:
                _, errors = process.communicate(timeout=100)
                assert process.returncode == 0, errors.decode()
        return Record(read_record(self.folder / "record"))

    def _start(self, role: str) -> subprocess.Popen[bytes]:
        self.seed += 1
        environment = {
            **os.environ,
            "LD_PRELOAD": str(self.recorder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DISK_ALL": "1",
            "DISK_FOLDER": str((self.folder / "disk").resolve()),
            "DISK_LOG": str(self.folder / "record"),
            "DISK_TURN": str(self.folder / "turn"),
            "DISK_FLUSH": "100",
            "DISK_DEAF": self.deaf,
        }
        program = [HERE / "store_writer.py", self.folder.resolve(), role, self.seed, *self.sabotage.split()]
        return subprocess.Popen(
            [sys.executable, *map(str, program)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )


@attrs.define
class Promised:
    """What had been promised by some moment."""

    have: set[str] = attrs.field(factory=set)
    sent: set[str] = attrs.field(factory=set)
    snapshots: set[str] = attrs.field(factory=set)

    def take(self, step: Step) -> None:
        told = json.loads(step.data)
        self.have |= set(told.get("have", ()))
        self.have -= set(told.get("free", ()))
        self.sent |= set(told.get("sent", ()))
        self.snapshots |= set(told.get("snapshots", ()))


@attrs.define
class Record:
    """What a scenario did."""

    steps: list[Step]

    def cuts(self, count: int, dice: random.Random) -> list[int]:
        """Moments of a power failure: a third anywhere, the others about a rename, a removal or a promise."""
        critical = [number for number, step in enumerate(self.steps) if step.kind in "URM" or step.folder]
        found = [dice.randrange(len(self.steps) + 1) for _ in range(count - 2 * count // 3)]
        found += [min(len(self.steps), dice.choice(critical) + dice.randrange(3)) for _ in range(2 * count // 3)]
        return sorted(found)

    def violations(self, images: int, seed: int, folder: Path, most: int = 100) -> list[str]:
        """Fail the power `images` times; everything that should not be so afterwards, or the first `most`."""
        dice, disk, promised, at, found = random.Random(seed), Disk(), Promised(), 0, list[str]()
        for cut in self.cuts(images, dice):
            if len(found) >= most:
                break
            for step in self.steps[at:cut]:
                disk.apply(step)
                if step.kind == "M":
                    promised.take(step)
            at = cut
            problem = _problem_of(disk.after_power_failure(dice), promised, folder / "image")
            if problem:
                found.append(f"seed {seed}, power lost before step {cut} of {len(self.steps)}: {problem}")
        return found


def _problem_of(image: dict[str, bytes], promised: Promised, folder: Path) -> str:
    """What is wrong with the store and the other place that are found in an image; nothing where all is well."""
    try:
        for name, content in image.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        with Store(folder / "objects") as store:
            return _wrong_in_store(store, promised) or _wrong_in_far(folder, promised)
    except (OnRecordError, sqlite3.Error, OSError) as problem:
        return f"{type(problem).__name__}: {problem}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wrong_in_store(store: Store, promised: Promised) -> str:
    lost = promised.have - store.has(promised.have)
    if lost:
        return f"{len(lost)} of {len(promised.have)} objects that were promised are not known"
    faults = list(store.verify())
    if faults:
        return f"{faults[0].problem}"
    new = store.put_bytes(b"the next write").digest
    left = sorted(path.name for path in (store.folder / "tmp").iterdir())
    if left:
        return f"the next writer left {left}"
    wanted = promised.have | {new}
    store.sweep(lambda: Wanted(contents=wanted), before=10e9)
    if store.has(wanted) != wanted or list(store.verify()):
        return "the next sweep took what is needed"
    files = {path.stem for path in (store.folder / "packs").iterdir()}
    loose = {path.name for path in (store.folder / "loose").iterdir()}
    if files != set(store._index.pack_names().values()) or store.has(loose) != loose:
        return "files are left that the index does not know"
    return ""


def _nodes(data: bytes) -> list[Node]:
    return decode_tree(data, bytes(32)) if data.startswith(TREE_MAGIC) else []


def _wrong_in_far(folder: Path, promised: Promised) -> str:
    far = ShelfRemote(FolderShelf(folder / "far"))
    lost = far.missing([bytes.fromhex(digest) for digest in promised.sent])
    if lost:
        return f"{len(lost)} of {len(promised.sent)} objects that were sent are not there"
    # Whatever counts there is what it says, whether it was promised yet or not.
    known = {digest.hex() for digest in far.whole()}
    with Store(folder / "received") as store:
        receive(store, far, promised.snapshots, known)
        faults = list(store.verify(known))
        if faults:
            return faults[0].problem
        for digest in known:
            named = {node.value.hex() for node in _nodes(store.read(digest)) if node.kind != LINK}
            if not named <= known:
                return "a listing is there without what it names"
        more = store.put_bytes(b"the next").digest
        send(store, ShelfRemote(FolderShelf(folder / "far")), [], [more])
    left = sorted(path.name for path in (folder / "far" / "tmp").iterdir())
    return f"the next sender left {left}" if left else ""
