"""One byte is not what was written: verify says so, or nothing that a reader sees depends on it."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flips import Flipped, ledger_content, make_workspace, store_content
from make_ledger import file, raw

from onrecord import Workspace
from onrecord.errors import OnRecordError
from onrecord.ledger.audit import Finding
from onrecord.ledger.errors import LedgerDamaged, LedgerError, NewerLedger, NotALedger
from onrecord.verification import verify

# The long form has its own measure.
pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
def workspace(quick_folder: Path) -> Iterator[Workspace]:
    """Three runs with snapshots and files, verified and closed."""
    made = make_workspace(quick_folder / "project")
    assert verify(made).findings == []
    made.close()
    yield made
    made.close()


def flipped(value: Any, dice: random.Random) -> Any:
    """A stored value with one bit of it changed."""
    if isinstance(value, int):
        return value ^ 1 << dice.randrange(40)
    content = bytearray(value.encode() if isinstance(value, str) else value)
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    return bytes(content)


COLUMNS = ("seq", "stream", "rseq", "type", "ts", "salt", "payload", "pcommit", "leaf")


@pytest.mark.parametrize("column", COLUMNS)
def test_a_flipped_bit_in_any_column_of_an_event_is_found_at_that_event(
    workspace: Workspace, long_form: bool, column: str
) -> None:
    dice = random.Random(column)
    connection = raw(workspace.layout.ledger)
    triggers = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    events = [seq for (seq,) in connection.execute("SELECT seq FROM events")]
    for seq in dice.choices(events, k=400 if long_form else 25):
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        (before,) = connection.execute(f"SELECT {column} FROM events WHERE seq = ?", (seq,)).fetchone()  # noqa: S608
        after = flipped(before, dice)
        kind = "TEXT" if isinstance(before, str) else "INTEGER" if isinstance(before, int) else "BLOB"
        change = f"UPDATE OR ABORT events SET {column} = CAST(? AS {kind}) WHERE seq = ?"  # noqa: S608
        try:
            connection.execute(change, (after, seq))
        except sqlite3.IntegrityError:
            continue  # Two events cannot have one number.
        where = after if column == "seq" else seq
        for (sql,) in triggers:
            connection.execute(sql)
        found = verify(workspace).findings
        assert f"event {where}" in {finding.where for finding in found}, (column, before, after)
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(change, (before, where))
    for (sql,) in triggers:
        connection.execute(sql)
    connection.close()
    assert verify(workspace).findings == []


def answers(
    workspace: Workspace, path: Path, flips: int, seed: int, content: Callable[[Workspace], Any]
) -> Counter[str]:
    """What verify says to each flip of a byte of a file; fails where it is silent and a reader sees a difference."""
    good, said = content(workspace), Counter[str]()
    workspace.close()
    for flip in Flipped.some(path, flips, random.Random(seed)):
        with flip:
            damaged = Workspace(workspace.path)
            try:
                findings: list[Finding] | None = verify(damaged).findings
                said["findings" if findings else "none"] += 1
                assert findings or content(damaged) == good, f"verify is silent, readers are not: {flip}"
            except OnRecordError as problem:
                assert problem.why and problem.next_step
                said[type(problem).__name__] += 1
            finally:
                damaged.close()
    return said


def test_a_flipped_byte_of_the_database_file_is_found_or_changes_nothing(workspace: Workspace, long_form: bool) -> None:
    said = answers(workspace, workspace.layout.ledger, 20_000 if long_form else 500, 1, ledger_content)
    assert said["findings"] and said["LedgerDamaged"] and said["none"]
    errors = {LedgerDamaged, NotALedger, NewerLedger, LedgerError}
    assert said.keys() <= {"findings", "none", *(error.__name__ for error in errors)}


def test_a_flipped_byte_of_an_object_is_found_or_changes_nothing(workspace: Workspace, long_form: bool) -> None:
    objects = sorted(verify(workspace).objects)
    files = [
        path for path in workspace.layout.objects.rglob("*") if path.suffix == ".pack" or path.parent.name == "loose"
    ]
    assert len(files) >= 4
    total = Counter[str]()
    for number, path in enumerate(sorted(files)):
        rounds = (400 if long_form else 20) if path.suffix == ".pack" else (20 if long_form else 3)
        total += answers(workspace, path, rounds, number, lambda damaged: store_content(damaged, objects))
    assert total["findings"] > total["none"]
    assert total.keys() <= {"findings", "none"}


def test_a_flipped_byte_of_the_index_of_objects_is_found_or_changes_nothing(
    workspace: Workspace, long_form: bool
) -> None:
    objects = sorted(verify(workspace).objects)
    workspace.close()
    index = workspace.layout.objects / "index.db"
    connection = raw(index)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    said = answers(workspace, index, 5_000 if long_form else 150, 2, lambda damaged: store_content(damaged, objects))
    assert said["findings"]


def test_whole_copies_are_put_back(workspace: Workspace) -> None:
    """The flips leave nothing behind, or the tests above would be of one flip only."""
    before = workspace.layout.ledger.read_bytes()
    for flip in Flipped.some(workspace.layout.ledger, 3, random.Random(0)):
        with flip:
            assert sum(a != b for a, b in zip(before, workspace.layout.ledger.read_bytes(), strict=True)) == 1
    assert workspace.layout.ledger.read_bytes() == before
    shutil.rmtree(workspace.path)


def test_an_event_that_names_an_object_by_no_address_is_found(workspace: Workspace) -> None:
    run = next(workspace.journal.read()).run_id
    with pytest.raises(OnRecordError):
        workspace.store.read("no address")
    workspace.journal.append(run, [file(digest="no address")])
    assert [finding.where for finding in verify(workspace).findings] == ["object no address"]
