"""kill -9 at any moment."""

from __future__ import annotations

import os
import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from make_ledger import in_fork, journal, metrics, raw, run_id, submitted, whole_life

import onrecord.ledger.journal
from onrecord.ledger.audit import audit
from onrecord.ledger.events import RunSubmitted, RunTagged


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


def _append_beside_others(folder: Path, pipe: int, seed: int) -> None:
    dice, mine = random.Random(seed), run_id(seed)
    with journal(folder) as book:
        shared = next(book.read()).run_id
        book.append(mine, [submitted()])
        while True:
            run = dice.choice((mine, shared))
            # Up to half the way to a checkpoint in one call, or one durable event, or a run's whole life.
            events = dice.choice(([metrics(end=n) for n in range(dice.randrange(1, 20))], [RunTagged()], whole_life()))
            if isinstance(events[0], RunSubmitted):
                run = run_id()
            done = book.append(run, events)
            os.write(pipe, b"%d %s %d %d\n" % (done.seq, run.encode(), done.head, len(events)))
            if dice.random() < 0.05:
                book.catch_up()
            if dice.random() < 0.05:
                book.close()


@pytest.mark.timeout(3600)
def test_of_several_writers_that_are_killed_at_once_no_acknowledged_event_is_lost(
    tmp_path: Path, long_form: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert onrecord.ledger.journal.CHECKPOINT_EVERY > 40
    # The children have it by the fork: checkpoints are among what the kills fall into.
    monkeypatch.setattr(onrecord.ledger.journal, "CHECKPOINT_EVERY", 40)
    dice = random.Random(10)
    for round_number in range(1000 if long_form else 12):
        folder = tmp_path / str(round_number // 6)
        if not folder.exists():
            folder.mkdir()
            with journal(folder) as book:
                book.append(run_id(), [submitted()])
        reading, writing = os.pipe()
        children = [
            in_fork(partial(_append_beside_others, folder, writing, round_number * 10 + number + 1))
            for number in range(3)
        ]
        os.close(writing)
        with os.fdopen(reading, "rb") as acknowledgements:
            lines = [acknowledgements.readline() for _ in range(dice.randrange(1, 40))]
            for child in dice.sample(children, 3):
                time.sleep(dice.random() / 300)
                os.kill(child, signal.SIGKILL)
            assert [os.waitpid(child, 0)[1] for child in children] == [signal.SIGKILL] * 3
            lines += acknowledgements.readlines()
        with journal(folder) as book:
            recorded = {event.seq: event for event in book.read()}
            for seq, run, head, count in (line.split() for line in lines):
                found = [recorded[number] for number in range(int(seq) - int(count) + 1, int(seq) + 1)]
                assert {event.run_id for event in found} == {run.decode()}
                assert [event.version for event in found] == list(range(int(head) - int(count) + 1, int(head) + 1))
            assert audit(book).findings == []
            assert book.append(run_id(), [submitted()]).seq == len(recorded) + 1


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
