"""A workspace with a history, whose bytes are flipped one at a time: what its reader sees, and what verify says."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

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
        first, *life = whole_life()
        workspace.journal.append(run, [submitted(snapshot_id=snapshot.snapshot_id, tags={"a": "1"}), *life[:-1]])
        workspace.journal.append(run, [metrics(), file(digest=kept.digest), RunTagged(tags={"n": "x" * 200})])
        workspace.journal.append(run, life[-1:], seal=True)
        assert first.type == "run.submitted"
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
