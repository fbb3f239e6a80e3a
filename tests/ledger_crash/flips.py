"""A workspace with a history, whose bytes are flipped one at a time: what its reader sees, and what verify says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from make_ledger import file, metrics, run_id, submitted, whole_life

from onrecord import Workspace
from onrecord.ledger.events import RunTagged
from onrecord.ledger.query import Query
from onrecord.snapshot.take import take_snapshot

SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"


def make_workspace(folder: Path) -> Workspace:
    """Runs with snapshots and files, objects in packs and of their own; everything closed and at rest."""
    source = folder / "source"
    source.mkdir(parents=True)
    dice = random.Random(4)
    workspace = Workspace.create(folder)
    for number in range(3):
        (source / "train.py").write_text(f"print({number})\n" * 200)
        (source / "data.bin").write_bytes(dice.randbytes(3000))
        snapshot = take_snapshot(source, workspace.store)
        kept = workspace.store.put_bytes(dice.randbytes(5000 if number else 4 << 20))
        run = run_id(number + 1)
        # Of a whole life all but its file, which the store does not have.
        _, preparing, running, points, _, tagged, completed = whole_life()
        begun = submitted(snapshot_id=snapshot.snapshot_id, tags={"a": "1"})
        workspace.journal.append(run, [begun, preparing, running, points, tagged])
        workspace.journal.append(run, [metrics(), file(digest=kept.digest), RunTagged(tags={"n": "x" * 200})])
        workspace.journal.append(run, [completed], seal=True)
    workspace.journal.catch_up()
    workspace.close()
    return workspace


def ledger_content(workspace: Workspace) -> list[Any]:
    """What a reader of the ledger sees: every event, in both orders, and every run."""
    book = workspace.journal
    events = list(book.read())
    runs = sorted({event.run_id for event in events})
    return [events, *(list(book.read(run)) for run in runs), Query(book).runs(), book.fetch(SCHEMA)]


def store_content(workspace: Workspace, digests: list[str]) -> list[bytes]:
    """The bytes of every object."""
    return [workspace.store.read(digest) for digest in digests]


@attrs.define
class Flipped:
    """One byte of a file changed, while the context is open; what SQLite put beside it goes too."""

    path: Path
    at: int
    to: int
    original: bytes = attrs.field(repr=False)

    @classmethod
    def some(cls, path: Path, count: int, dice: random.Random) -> Iterator[Flipped]:
        """Random flips: of one bit, or to any other byte; of bytes that are not 0 more often than of others."""
        original = path.read_bytes()
        written = [at for at, byte in enumerate(original) if byte]
        for _ in range(count):
            at = dice.choice(written) if dice.random() < 0.7 else dice.randrange(len(original))
            change = 1 << dice.randrange(8) if dice.random() < 0.5 else dice.randrange(1, 256)
            yield cls(path, at, original[at] ^ change, original)

    def __enter__(self) -> None:
        self.path.write_bytes(self.original[: self.at] + bytes([self.to]) + self.original[self.at + 1 :])

    def __exit__(self, *_: object) -> None:
        self.path.write_bytes(self.original)
        for ending in ("-wal", "-shm", "-journal"):
            Path(f"{self.path}{ending}").unlink(missing_ok=True)
