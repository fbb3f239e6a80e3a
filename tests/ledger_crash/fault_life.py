"""The life of a ledger on a disk that fails: what every call said, and whether the ledger agrees with that."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from make_ledger import metrics, run_id, submitted, whole_life

from onrecord.errors import OnRecordError
from onrecord.ledger.audit import audit
from onrecord.ledger.events import Event, RunTagged
from onrecord.ledger.journal import Journal


@attrs.define
class Call:
    """One append: how many events it was to add to which run, and what came of it."""

    run: str
    count: int
    outcome: str


@attrs.define
class Life:
    """The same calls each time, as far as the faults let them go."""

    path: Path
    book: Journal = attrs.field(init=False)
    calls: list[Call] = attrs.field(factory=list)
    others: list[str] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.book = Journal(self.path)

    @property
    def outcomes(self) -> list[str]:
        """What all calls said: ok, or the name of an error."""
        return [call.outcome for call in self.calls] + self.others

    def append(self, run: str, events: list[Event], **options: Any) -> str:
        """Append, and remember what it said."""
        outcome = outcome_of(lambda: self.book.append(run, events, **options))
        self.calls.append(Call(run, len(events) + len(options), outcome))
        return outcome

    def live(self) -> None:
        """Creation, appends of both classes, checkpoints, read models, a rebuild, and a second opening."""
        for _ in range(2):
            run = run_id()
            if self.append(run, [submitted()]) == "ok":
                self.append(run, [metrics(end=n) for n in range(6)])
                self.append(run, [RunTagged(tags={"a": "1"})])
            self.append(run_id(), whole_life(), seal=True)
            self.others.append(outcome_of(self.book.catch_up))
            self.append(run_id(), [submitted(config={"text": "x" * 9000})])
            self.others.append(outcome_of(self.book.rebuild))
            self.book.close()

    def problems_when_the_fault_is_gone(self) -> list[str]:
        """Go on with the same object and with a new one, then compare the ledger with what the calls said."""
        problems = []
        for book in (self.book, Journal(self.path)):
            with book:
                outcome = outcome_of(lambda book=book: book.append(run_id(), [submitted()]))  # type: ignore[misc]
                if outcome != "ok":
                    problems.append(f"the next append: {outcome}")
        with Journal(self.path) as book:
            problems += self.wrong_events(book)
            return problems + [f"{finding.where}: {finding.problem}" for finding in audit(book).findings]

    def wrong_events(self, book: Journal) -> list[str]:
        """What was acknowledged is there whole, what was refused is not there, what was unconfirmed is whole or not."""
        found: dict[str, int] = {}
        for event in book.read():
            found[event.run_id] = found.get(event.run_id, 0) + 1
        possible: dict[str, set[int]] = {}
        for call in self.calls:
            counts = possible.setdefault(call.run, {0})
            with_it = {count + call.count for count in counts}
            possible[call.run] = {"ok": with_it, "LedgerDamaged": counts | with_it}.get(call.outcome, counts)
        return [
            f"a run has {found.get(run, 0)} events, {sorted(counts)} are possible"
            for run, counts in possible.items()
            if found.get(run, 0) not in counts
        ]


def outcome_of(work: Callable[[], object]) -> str:
    """ok, or the name of the error."""
    try:
        work()
    except (OnRecordError, sqlite3.Error, OSError) as problem:
        return type(problem).__name__
    return "ok"
