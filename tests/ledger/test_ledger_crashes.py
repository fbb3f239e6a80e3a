"""kill -9 at any moment."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from make_ledger import in_fork, journal, metrics, raw, run_id, submitted

from onrecord.ledger.audit import audit
from onrecord.ledger.events import RunTagged


def _append_and_tell(folder: Path, pipe: int, first: int) -> None:
    with journal(folder) as book:
        run = run_id(first)
        book.append(run, [submitted()])
        number = first
        while True:
            number += 1
            # Of both classes: what is acknowledged outlives the process either way.
            event = RunTagged(tags={"n": str(number)}) if number % 3 else metrics(end=number)
            os.write(pipe, b"%d %s\n" % (book.append(run, [event, RunTagged()]).seq, run.encode()))


def test_every_acknowledged_event_outlives_a_killed_writer(tmp_path: Path, long_form: bool) -> None:
    dice = random.Random(9)
    for round_number in range(300 if long_form else 20):
        # A new ledger now and then, or the audits of the long form would take most of its time.
        folder = tmp_path / str(round_number // 20)
        folder.mkdir(exist_ok=True)
        reading, writing = os.pipe()
        child = in_fork(
            lambda folder=folder, first=round_number * 100_000, pipe=writing: _append_and_tell(folder, pipe, first)
        )  # type: ignore[misc]
        os.close(writing)
        with os.fdopen(reading, "rb") as acknowledgements:
            lines = [acknowledgements.readline() for _ in range(dice.randrange(1, 25))]
            time.sleep(dice.random() / 500)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            lines += acknowledgements.readlines()
        told = {int(seq): run.decode() for seq, run in (line.split() for line in lines)}
        with journal(folder) as book:
            recorded = {event.seq: event for event in book.read()}
            assert {seq: recorded[seq].run_id for seq in told} == told
            # A batch is whole: one odd submission, then pairs.
            assert all(head % 2 for (head,) in book.fetch("SELECT head FROM runs"))
            assert audit(book).findings == []
            assert book.append(run_id(round_number * 100_000 + 99_999), [submitted()]).seq == len(recorded) + 1


def test_a_ledger_whose_creation_was_killed_is_empty_or_whole(tmp_path: Path, long_form: bool) -> None:
    # A first one, so that the children find every module loaded and the kills fall into the work itself.
    with journal(tmp_path) as book:
        book.size()
    rounds = 300 if long_form else 30
    seen = set()
    for round_number in range(rounds):
        folder = tmp_path / str(round_number)
        folder.mkdir()
        child = in_fork(lambda folder=folder: journal(folder).append(run_id(), [submitted()]) and None)  # type: ignore[misc]
        time.sleep(0.03 * round_number / rounds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if (folder / "ledger.db").exists():
            connection = raw(folder / "ledger.db")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (made,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.close()
            assert (version, bool(made)) in {(0, False), (1, True)}
            seen.add(version)
        with journal(folder) as book:
            before = book.size()
            assert book.append(run_id(), [submitted()]).seq == before + 1
            assert audit(book).findings == []
    assert seen
