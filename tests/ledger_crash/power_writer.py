"""One process of a power-loss scenario: FOLDER ROLE SEED EVERY [SABOTAGE].

Every append that returns is told to the recorder: its seq, run, version, and whether it is durable.
EVERY is the number of events between two checkpoints. SABOTAGE makes the ledger wrong on purpose.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from make_ledger import metrics, run_id, series, submitted, whole_life

from onrecord.ledger import journal
from onrecord.ledger.errors import LedgerDamaged
from onrecord.ledger.events import Event, RunTagged
from onrecord.ledger.journal import Journal

_disk = ctypes.CDLL(None)


def mark(**values: Any) -> None:
    """Tell the recorder, in order with every write."""
    text = json.dumps(values).encode()
    _disk.disk_mark(text, ctypes.c_size_t(len(text)))


class Writer:
    """Appends, and tells what was acknowledged."""

    def __init__(self, book: Journal, seed: int) -> None:
        self.book, self.dice = book, random.Random(seed)
        self.runs: list[str] = []

    def append(self, run: str, events: list[Event], **options: Any) -> None:
        done = self.book.append(run, events, **options)
        durable = any(event.durable for event in events) or bool(options)
        mark(seq=done.seq, run=run, version=done.head, durable=durable)

    def new_run(self) -> str:
        self.runs.append(run_id())
        self.append(self.runs[-1], [submitted(config={"text": "x" * self.dice.randrange(3000)})])
        return self.runs[-1]

    def points(self, run: str, events: int) -> None:
        self.append(run, [metrics(series(values=(self.dice.random(),) * 20), end=n) for n in range(events)])

    def mixed(self, rounds: int, bulk: int) -> None:
        """Events of both classes, whole lives, and read models brought forward now and then."""
        run = self.new_run()
        for _ in range(rounds):
            match self.dice.randrange(8):
                case 0:
                    run = self.new_run()
                case 1 | 2:
                    self.append(run, [RunTagged(tags={"n": str(self.dice.random())})])
                case 3:
                    self.append(run_id(), whole_life(), seal=True)
                case 4:
                    self.book.catch_up()
                case _:
                    self.points(run, self.dice.randrange(1, bulk))


def role_create(writer: Writer) -> None:
    writer.new_run()


def role_mixed(writer: Writer) -> None:
    writer.mixed(16, 12)
    if writer.dice.random() < 0.3:
        # As kill -9 would have it: nothing is closed, and the log stays behind.
        os._exit(0)


def role_bulk(writer: Writer) -> None:
    writer.mixed(12, 600)


def role_loose(writer: Writer) -> None:
    """Only events that are not durable, in a run that was there."""
    run = next(writer.book.read()).run_id
    for _ in range(25):
        writer.points(run, writer.dice.randrange(1, 8))


def role_loose_and_left(writer: Writer) -> None:
    """The same, and the process dies without closing: the next one to open the ledger finds its log."""
    role_loose(writer)
    os._exit(0)


def role_rebuild(writer: Writer) -> None:
    writer.book.rebuild()
    writer.mixed(6, 12)


def role_read(writer: Writer) -> None:
    assert writer.book.size()
    writer.book.catch_up()


def role_failing_flushes(writer: Writer) -> None:
    """Flushes fail now and then; the process goes on, and dies without closing."""
    writer.new_run()
    failed = 0
    for _ in range(12):
        _disk.disk_fail(ctypes.c_long(writer.dice.randrange(1, 5)), errno.EIO, ctypes.c_long(1), 1)
        for _ in range(5):
            try:
                writer.mixed(1, 9)
            except LedgerDamaged:
                failed += 1
    assert failed >= 5
    os._exit(0)


def sabotage_early(book: Journal) -> None:
    """Acknowledge before the flush."""
    flush = book.database.log.sync

    def sync(seq: int | None = None) -> None:
        rows = book.fetch("SELECT seq, stream, rseq FROM events ORDER BY seq DESC LIMIT 1")
        for seq, stream, version in rows:
            mark(seq=seq, run=journal.id_text(stream), version=version, durable=True)
        flush(seq)

    book.database.log.sync = sync  # type: ignore[method-assign]


def sabotage_off(book: Journal) -> None:
    """`synchronous=OFF`: SQLite flushes nothing, neither at checkpoints nor when it starts its log anew."""
    connect = sqlite3.connect

    class Off(sqlite3.Connection):
        def execute(self, sql: str, *more: Any) -> sqlite3.Cursor:
            done = super().execute(sql, *more)
            if not self.in_transaction:
                super().execute("PRAGMA synchronous = OFF")
            return done

    def connect_off(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, factory=Off, **options)
        return connection

    sqlite3.connect = connect_off  # type: ignore[assignment]


def sabotage_forget(book: Journal) -> None:
    """After a flush that failed, believe the next one."""
    assert callable(book.database.log.write_again)
    book.database.log.write_again = lambda: None  # type: ignore[method-assign]


SABOTAGE: dict[str, Callable[[Journal], None]] = {
    "early": sabotage_early,
    "off": sabotage_off,
    "forget": sabotage_forget,
}


def main() -> None:
    folder, role, seed, every, *sabotage = sys.argv[1:]
    assert journal.CHECKPOINT_EVERY > 1000  # the name that the ledger reads
    journal.CHECKPOINT_EVERY = int(every)
    with Journal(Path(folder) / "ledger.db") as book:
        for name in sabotage:
            SABOTAGE[name](book)
        globals()[f"role_{role}"](Writer(book, int(seed)))


if __name__ == "__main__":
    main()
