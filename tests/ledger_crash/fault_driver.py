"""A ledger's life with one fault in it, for every n: FOLDER ERRNO TIMES FIRST STEP.

Runs under disk_recorder.c. The n-th write, truncation or flush fails with ERRNO, and TIMES - 1 more after it.
One JSON line for each n: what the fault hit, what every call said, and what is wrong with that.
"""

from __future__ import annotations

import ctypes
import errno
import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from make_ledger import metrics, run_id, submitted, whole_life

from onrecord.errors import OnRecordError
from onrecord.ledger import journal
from onrecord.ledger.audit import audit
from onrecord.ledger.events import Event, RunTagged
from onrecord.ledger.journal import Journal

_disk = ctypes.CDLL(None)
_disk.disk_failed.restype = ctypes.c_char_p
_disk.disk_counted.restype = ctypes.c_long


def fail(at: int, error: int, times: int) -> None:
    """The fault to come; `at` 0 for none."""
    _disk.disk_fail(ctypes.c_long(at), error, ctypes.c_long(times), 0)


@attrs.define
class Call:
    """One append: what it was to add to which run, and what came of it."""

    run: str
    before: int
    count: int
    outcome: str = "ok"


@attrs.define
class Life:
    """The same calls each time, as far as the faults let them go."""

    path: Path
    book: Journal = attrs.field(init=False)
    calls: list[Call] = attrs.field(factory=list)
    others: list[str] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.book = Journal(self.path)

    def append(self, run: str, events: list[Event], **options: Any) -> str:
        # How many events a run has is known only while every answer was certain.
        before = sum(call.count for call in self.calls if call.run == run and call.outcome == "ok")
        call = Call(run, before, len(events) + len(options))
        call.outcome = self.outcome(lambda: self.book.append(run, events, **options))
        self.calls.append(call)
        return call.outcome

    def outcome(self, work: Callable[[], object]) -> str:
        try:
            work()
        except (OnRecordError, sqlite3.Error, OSError) as problem:
            return type(problem).__name__
        return "ok"

    def live(self) -> None:
        """Creation, appends of both classes, checkpoints, read models, a rebuild, and a second opening."""
        for _ in range(2):
            run = run_id()
            if self.append(run, [submitted()]) == "ok":
                self.append(run, [metrics(end=n) for n in range(6)])
                self.append(run, [RunTagged(tags={"a": "1"})])
            self.append(run_id(), whole_life(), seal=True)
            self.others.append(self.outcome(self.book.catch_up))
            self.append(run_id(), [submitted(config={"text": "x" * 9000})])
            self.others.append(self.outcome(self.book.rebuild))
            self.book.close()


def wrong_outcomes(life: Life, error: int, hit: str) -> list[str]:
    """Answers that do not fit the fault."""
    allowed = {"ok", "LedgerDamaged"}
    if error == errno.ENOSPC:
        # A truncation or a flush that finds no room is no full disk to SQLite, and a flush leaves it open
        # whether the data is safe.
        allowed = {"ok", "LedgerFull"} if hit.startswith("write") else {"ok", "LedgerFull", "LedgerDamaged"}
    elif hit == "write index":
        # SQLite does not say why the index could not be made longer; a full disk is by far the likeliest.
        allowed.add("LedgerFull")
    said = [call.outcome for call in life.calls] + life.others
    return [f"{one} was raised" for one in said if one not in allowed]


def wrong_events(life: Life, book: Journal) -> list[str]:
    """What is in the ledger and should not be, or the other way round."""
    found: dict[str, int] = {}
    for event in book.read():
        found[event.run_id] = found.get(event.run_id, 0) + 1
    problems = []
    for run in {call.run for call in life.calls}:
        possible = {0}
        for call in life.calls:
            if call.run == run:
                with_it = {count + call.count for count in possible}
                possible = {"ok": with_it, "LedgerDamaged": possible | with_it}.get(call.outcome, possible)
        if found.get(run, 0) not in possible:
            problems.append(f"a run has {found.get(run, 0)} events, {sorted(possible)} are possible")
    return problems + [f"{finding.where}: {finding.problem}" for finding in audit(book).findings]


def one(folder: Path, at: int, error: int, times: int) -> dict[str, Any]:
    """A life with a fault at operation `at`."""
    folder.mkdir()
    life = Life(folder / "ledger.db")
    fail(at, error, times)
    life.live()
    hit, counted = _disk.disk_failed().decode(), _disk.disk_counted()
    fail(0, 0, 0)
    problems = wrong_outcomes(life, error, hit)
    # There is room again: the same object goes on, and so does another.
    for book in (life.book, Journal(life.path)):
        with book:
            outcome = life.outcome(lambda book=book: book.append(run_id(), [submitted()]))  # type: ignore[misc]
            if outcome != "ok":
                problems.append(f"the next append: {outcome}")
            problems += wrong_events(life, book)
    shutil.rmtree(folder)
    outcomes = [call.outcome for call in life.calls] + life.others
    return {"at": at, "hit": hit, "counted": counted, "outcomes": outcomes, "problems": problems}


def main() -> None:
    folder, (error, times, first, step) = Path(sys.argv[1]), map(int, sys.argv[2:])
    assert journal.CHECKPOINT_EVERY == 2000
    journal.CHECKPOINT_EVERY = 8
    at = first
    while True:
        result = one(folder / str(at), at, error, times)
        print(json.dumps(result))
        if not result["hit"]:
            return
        at += step


if __name__ == "__main__":
    main()
