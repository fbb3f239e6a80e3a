"""A scenario under the recorder, and the check of what a power failure may leave of it."""

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
from typing import Any

import attrs
from disk_model import Disk, Step, read_record
from make_ledger import run_id, submitted, tables

from onrecord.errors import OnRecordError
from onrecord.ledger.audit import audit
from onrecord.ledger.events import RunTagged
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.journal import Journal

HERE = Path(__file__).parent
ROWS = "SELECT * FROM events ORDER BY seq"


@attrs.define
class Scene:
    """A ledger folder whose processes run under the recorder; phases are lists of roles that run at once."""

    recorder: Path
    folder: Path
    every: int = 30
    sabotage: str = ""
    deaf: str = ""
    flush_microseconds: int = 200
    seed: int = 0

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    def play(
        self, phases: Sequence[Sequence[str]], begin_with: dict[str, bytes] | None = None, acknowledged: int = 0
    ) -> Record:
        """Run the phases one after the other, and read what was recorded.

        `begin_with`: what an earlier power failure left, with so many events acknowledged before it.
        """
        self.ledger.mkdir(parents=True)
        (self.folder / "turn").write_bytes(bytes(16))
        before = self.lay_out(begin_with or {})
        for phase in phases:
            processes = [self.start(role) for role in phase]
            for process in processes:
                _, errors = process.communicate(timeout=100)
                assert process.returncode == 0, errors.decode()
        steps = read_record(self.folder / "record", before)
        with Journal(self.ledger / "ledger.db") as book:
            return Record(steps, book.fetch(ROWS), len(before), acknowledged)

    def lay_out(self, files: dict[str, bytes]) -> list[Step]:
        """Files that the disk holds from the start, as the steps that would have made them."""
        before: list[Step] = []
        for name, content in files.items():
            (self.ledger / name).write_bytes(content)
            inode = (self.ledger / name).stat().st_ino
            before.append(Step("C", False, 0, inode, 0, name.encode()))
            before.append(Step("W", False, 0, inode, 0, content))
            before.append(Step("B", False, 0, inode, 0, b""))
            before.append(Step("E", False, 0, inode, len(before) - 1, b""))
        if files:
            before.append(Step("B", True, 0, 0, 0, b""))
            before.append(Step("E", True, 0, 0, len(before) - 1, b""))
        return before

    def start(self, role: str) -> subprocess.Popen[bytes]:
        self.seed += 1
        environment = {
            **os.environ,
            "LD_PRELOAD": str(self.recorder),
            "PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent / "ledger", HERE.parent / "disk"))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DISK_FOLDER": str(self.ledger.resolve()),
            "DISK_LOG": str(self.folder / "record"),
            "DISK_TURN": str(self.folder / "turn"),
            "DISK_FLUSH": str(self.flush_microseconds),
            "DISK_DEAF": self.deaf,
        }
        program = [HERE / "power_writer.py", self.ledger, role, self.seed, self.every, *self.sabotage.split()]
        return subprocess.Popen(
            [sys.executable, *map(str, program)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )


@attrs.define
class Record:
    """What a scenario did, and every event of its ledger in the end."""

    steps: list[Step]
    events: list[Any]
    # Steps that only say what was there already.
    begins: int = 0
    acknowledged_at_first: int = 0
    # For each step, the last durable seq that was acknowledged with it or before it.
    acknowledged: list[int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.acknowledged, highest = [], self.acknowledged_at_first
        for step in self.steps:
            if step.kind == "M":
                told = json.loads(step.data)
                row = self.events[told["seq"] - 1]
                assert (row[0], id_text(row[1]), row[2]) == (told["seq"], told["run"], told["version"])
                highest = max(highest, told["seq"] if told["durable"] else 0)
            self.acknowledged.append(highest)

    def acknowledged_before(self, cut: int) -> int:
        """The last seq that was acknowledged as durable in the first `cut` steps."""
        return self.acknowledged[cut - 1] if cut else self.acknowledged_at_first

    def database_steps(self) -> list[int]:
        """The steps at which the database file itself is written or flushed, or a file comes or goes."""
        first = [step.inode for step in self.steps if step.kind == "C" and step.data == b"ledger.db"]
        return [
            number for number, step in enumerate(self.steps) if step.inode in first or step.folder or step.kind in "CUR"
        ]

    def checkpoints(self) -> int:
        """How often the database was flushed once there was an event."""
        first = next(number for number, step in enumerate(self.steps) if step.kind == "M")
        database = next(step.inode for step in self.steps if step.kind == "C" and step.data == b"ledger.db")
        return sum(step.kind == "E" and step.inode == database for step in self.steps[first:])

    def cuts(self, count: int, dice: random.Random) -> list[int]:
        """Moments of a power failure, in order: half of them anywhere, half about a change of the database file."""
        critical = [number for number in self.database_steps() if number >= self.begins]
        found = [dice.randrange(self.begins, len(self.steps) + 1) for _ in range(count - count // 2)]
        found += [min(len(self.steps), dice.choice(critical) + dice.randrange(3)) for _ in range(count // 2)]
        return sorted(found)

    def image_at(self, cut: int, dice: random.Random) -> dict[str, bytes]:
        """What the disk may hold when the power fails before step `cut`."""
        disk = Disk()
        for step in self.steps[:cut]:
            disk.apply(step)
        return disk.after_power_failure(dice)

    def violations(self, images: int, seed: int, folder: Path) -> list[str]:
        """Fail the power `images` times; everything that should not be so afterwards."""
        dice, disk, at, found = random.Random(seed), Disk(), 0, []
        for cut in self.cuts(images, dice):
            for step in self.steps[at:cut]:
                disk.apply(step)
            at = cut
            image = disk.after_power_failure(dice)
            thorough = dice.random() < 0.1
            problem = self.problem_of(image, self.acknowledged_before(cut), folder / "image", thorough)
            if problem:
                sizes = {name: len(content) for name, content in image.items()}
                found.append(f"seed {seed}, power lost before step {cut} of {len(self.steps)}, {sizes}: {problem}")
        return found

    def problem_of(self, image: dict[str, bytes], acknowledged: int, folder: Path, thorough: bool) -> str:
        """What is wrong with the ledger that is found in an image; nothing, where it is as promised."""
        folder.mkdir()
        try:
            for name, content in image.items():
                (folder / name).write_bytes(content)
            with Journal(folder / "ledger.db") as book:
                return self._problem(book, acknowledged) or (_read_models_differ(book) if thorough else "")
        except (OnRecordError, sqlite3.Error, OSError) as problem:
            return f"{type(problem).__name__}: {problem}"
        finally:
            shutil.rmtree(folder)

    def _problem(self, book: Journal, acknowledged: int) -> str:
        rows = book.fetch(ROWS)
        if len(rows) < acknowledged:
            return f"{len(rows)} events are there, {acknowledged} were acknowledged as durable"
        if rows != self.events[: len(rows)]:
            return f"the first {len(rows)} events are not those that were written"
        appended = [book.append(run_id(), [submitted()])]
        if rows:
            appended.append(book.append(id_text(rows[0][1]), [RunTagged(tags={"after": "1"})]))
        if [done.seq for done in appended] != [len(rows) + 1, len(rows) + 2][: len(appended)]:
            return f"the next appends are {appended}, after {len(rows)} events"
        return "; ".join(f"{finding.where}: {finding.problem}" for finding in audit(book).findings)


def _read_models_differ(book: Journal) -> str:
    before = tables(book)
    book.rebuild()
    return "" if tables(book) == before else "the read models are not what a rebuild makes of the events"
