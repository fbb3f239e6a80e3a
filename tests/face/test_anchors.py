"""History that is changed as a whole, with all its hashes right, is noticed by whoever kept a checkpoint of it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onrecord import Workspace, anchors
from onrecord.anchors import HistoryChanged
from onrecord.git_anchor import REF, GitAnchorFailed, keep_in_git, kept_in_git
from onrecord.ledger.errors import BadEvidence, LedgerDamaged
from onrecord.ledger.events import RunCompleted, RunRunning, RunSubmitted, RunTagged
from onrecord.ledger.history import History
from onrecord.ledger.ids import encode, new_id
from onrecord.ledger.journal import Journal
from onrecord.ledger.merkle import leaf_hash, payload_commitment
from onrecord.ledger.schema import TRIGGERS
from onrecord.verification import GIT, STATE, verify


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's state directory of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "onrecord"


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """Three runs on record, and their checkpoint kept."""
    made = Workspace.create(tmp_path / "project")
    for number in range(3):
        append_run(made.journal, number)
    assert anchors.move_on(made) is None
    assert verify(made).findings == []
    yield made
    made.close()


def append_run(book: Journal, number: int) -> str:
    run_id = encode(new_id(1_700_000_000_000 + number, os.urandom(10)))
    submitted = RunSubmitted(experiment="exp", config={"number": number})
    book.append(run_id, [submitted, RunRunning(), RunTagged(tags={"a": "1"}), RunCompleted()], seal=True)
    return run_id


def rewritten(workspace: Workspace, change: Callable[[list[list[object]]], list[list[object]]]) -> None:
    """Write the history anew as `change` makes it: every number and every hash right again, like an expert would."""
    path = workspace.layout.ledger
    workspace.close()
    connection = sqlite3.connect(path)
    rows = [list(row) for row in connection.execute("SELECT stream, type, ts, salt, payload FROM events ORDER BY seq")]
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name in TRIGGERS:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute("DELETE FROM events")
    versions: dict[object, int] = {}
    # The seals would have to be made anew too; an expert leaves them out.
    for seq, (stream, kind, at, salt, payload) in enumerate(change([row for row in rows if row[1] != "run.sealed"]), 1):
        version = versions[stream] = versions.get(stream, 0) + 1
        commitment = payload_commitment(salt, payload)  # type: ignore[arg-type]
        leaf = leaf_hash(seq, stream, version, at, kind, commitment)  # type: ignore[arg-type]
        connection.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (seq, stream, version, kind, at, salt, payload, commitment, leaf),
        )
    for _, sql in triggers:
        connection.execute(sql)
    connection.commit()
    connection.close()
    workspace.journal.rebuild()


def edited(rows: list[list[object]]) -> list[list[object]]:
    rows[-4][4] = bytes(rows[-4][4]).replace(b'"exp"', b'"lie"')  # type: ignore[arg-type]
    return rows


def reordered(rows: list[list[object]]) -> list[list[object]]:
    rows[5], rows[6] = rows[6], rows[5]
    return rows


REWRITES = {
    "edited": edited,
    "reordered": reordered,
    "an event dropped": lambda rows: [*rows[:6], *rows[7:]],
    "a run dropped": lambda rows: [*rows[:4], *rows[8:]],
    "the tail cut off": lambda rows: rows[:-4],
    "the first run dropped": lambda rows: rows[4:],
    "a run put in front": lambda rows: [[b"\1" * 16, *row[1:]] for row in rows[:4]] + rows,
    "everything dropped": lambda rows: [],
}


@pytest.mark.parametrize("how", REWRITES)
def test_a_consistent_rewrite_is_found_by_the_last_checkpoint_and_by_nothing_else(
    workspace: Workspace, how: str, state: Path
) -> None:
    old = History(workspace.journal).checkpoint()
    rewritten(workspace, REWRITES[how])
    result = verify(workspace)
    assert [finding.where for finding in result.findings] == [STATE]
    assert f"the checkpoint names {old.size} events with the root {old.root.hex()}" in result.findings[0].problem
    # The old one stays, so that it is found the next time too, until it is accepted.
    assert verify(workspace).findings
    shutil.rmtree(state)
    assert verify(workspace).findings == []
    assert [finding.where for finding in verify(workspace, {"a file": old}).findings] == ["a file"]


@pytest.mark.parametrize("how", REWRITES)
def test_commands_that_write_notice_at_a_glance_that_history_became_shorter_or_another(
    workspace: Workspace, how: str
) -> None:
    assert anchors.problem_at_a_glance(workspace) is None
    # Every rewrite here leaves the seals out, so each is shorter, or begins with another event.
    rewritten(workspace, REWRITES[how])
    assert anchors.problem_at_a_glance(workspace)


def test_a_rewrite_that_grew_again_is_no_longer_seen_at_a_glance_but_at_the_end_of_a_run(workspace: Workspace) -> None:
    rewritten(workspace, edited)
    for number in range(3, 6):
        append_run(workspace.journal, number)
    assert anchors.problem_at_a_glance(workspace) is None
    assert "rewritten" in str(anchors.move_on(workspace))
    assert "rewritten" in verify(workspace).findings[0].problem


def test_an_accepted_history_is_expected_from_then_on(workspace: Workspace) -> None:
    backup = workspace.path.with_name("backup")
    shutil.copytree(workspace.path, backup)
    append_run(workspace.journal, 3)
    assert anchors.move_on(workspace) is None
    workspace.close()
    shutil.rmtree(workspace.path)
    shutil.copytree(backup, workspace.path)
    restored = Workspace(workspace.path)
    assert "truncated" in str(anchors.problem_at_a_glance(restored))
    assert "truncated" in verify(restored).findings[0].problem
    with pytest.raises(HistoryChanged, match=r"onrecord checkpoint --accept"):
        raise HistoryChanged.of(restored, str(anchors.move_on(restored)))
    assert anchors.keep(restored, History(restored.journal).checkpoint(), go_back=True)
    assert verify(restored).findings == []


def test_a_workspace_that_was_moved_or_copied_is_still_known_by_its_ledger(workspace: Workspace) -> None:
    workspace.close()
    moved = workspace.path.with_name("moved")
    workspace.path.rename(moved)
    found = Workspace(moved)
    rewritten(found, REWRITES["the tail cut off"])
    assert "truncated" in verify(found).findings[0].problem


def test_a_workspace_that_is_made_anew_in_the_same_folder_is_not_taken_for_the_old_one(workspace: Workspace) -> None:
    workspace.close()
    shutil.rmtree(workspace.layout.root)
    again = Workspace.create(workspace.path)
    append_run(again.journal, 9)
    assert anchors.problem_at_a_glance(again) is None
    assert verify(again).findings == []


def test_a_later_checkpoint_of_another_process_is_not_written_over_by_an_earlier_one(workspace: Workspace) -> None:
    early = History(workspace.journal).checkpoint()
    append_run(workspace.journal, 3)
    assert anchors.move_on(workspace) is None
    assert anchors.keep(workspace, early)
    assert anchors.kept(workspace, early.origin)[0].size == 20


def test_a_state_directory_that_cannot_be_used_stops_nothing(workspace: Workspace, state: Path) -> None:
    shutil.rmtree(state)
    state.write_text("a file in its place")
    assert anchors.move_on(workspace) is None
    assert anchors.problem_at_a_glance(workspace) is None
    assert verify(workspace).findings == []
    assert not anchors.keep(workspace, History(workspace.journal).checkpoint())


@pytest.mark.parametrize("garbage", [b"nonsense", b"\xff\x00"])
@pytest.mark.parametrize("folder", ["checkpoints", "workspaces"])
def test_a_kept_file_that_cannot_be_read_is_told_until_the_history_is_accepted(
    workspace: Workspace, state: Path, folder: str, garbage: bytes
) -> None:
    (kept,) = (state / folder).iterdir()
    kept.write_bytes(garbage)
    for _ in range(2):
        (finding,) = verify(workspace).findings
        assert finding.where == STATE
        assert f"{kept} cannot be read" in finding.problem
    # Nor does a run that ends, or another command, write over it without a word.
    assert "cannot be read" in (anchors.problem_at_a_glance(workspace) or "")
    assert "cannot be read" in (anchors.move_on(workspace) or "")
    assert kept.read_bytes() == garbage
    anchors.keep(workspace, History(workspace.journal).checkpoint(), go_back=True)
    assert verify(workspace).findings == []


@pytest.mark.parametrize("folder", ["checkpoints", "workspaces"])
def test_an_empty_kept_file_counts_as_none(workspace: Workspace, state: Path, folder: str) -> None:
    (kept,) = (state / folder).iterdir()
    kept.write_text("")
    assert verify(workspace).findings == []
    assert verify(workspace).compared.keys() == {STATE}


def test_damage_that_verify_meets_does_not_send_the_user_to_verify(workspace: Workspace) -> None:
    path = workspace.layout.ledger
    workspace.journal.fetch("PRAGMA wal_checkpoint(TRUNCATE)")
    workspace.close()
    connection = sqlite3.connect(path)
    ((root,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'")
    connection.close()
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4096 : root * 4096] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(LedgerDamaged) as raised:
        verify(workspace)
    assert "onrecord verify" not in raised.value.next_step
    assert "onrecord backup" in raised.value.next_step
    assert raised.value.path == path


def test_a_finding_about_a_snapshot_is_one_line(workspace: Workspace) -> None:
    run = encode(new_id(1_700_000_000_009, os.urandom(10)))
    workspace.journal.append(run, [RunSubmitted(experiment="exp", config={}, snapshot_id="ab" * 32)])
    (finding,) = verify(workspace).findings
    assert finding.where == f"snapshot {'ab' * 32}"
    assert "\n" not in finding.problem


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def repository(workspace: Workspace) -> Path:
    """The workspace's project as a git repository with a commit, a staged and a changed file."""
    folder = workspace.path
    git(folder, "init", "-q", "-b", "main")
    for name in ("a", "b"):
        (folder / name).write_text(name)
    git(folder, "add", "a")
    git(folder, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "first")
    git(folder, "add", "b")
    (folder / "a").write_text("changed")
    return folder


def test_a_checkpoint_in_git_leaves_the_work_tree_the_index_and_the_branches_alone(
    workspace: Workspace, repository: Path
) -> None:
    looks = [["status", "--porcelain"], ["rev-parse", "HEAD"], ["branch", "-a"], ["ls-files", "-s"], ["stash", "list"]]
    before = [git(repository, *look) for look in looks]
    first = History(workspace.journal).checkpoint()
    commits = [keep_in_git(workspace.path, first)]
    append_run(workspace.journal, 3)
    commits.append(keep_in_git(workspace.path, History(workspace.journal).checkpoint()))
    assert [git(repository, *look) for look in looks] == before
    assert git(repository, "rev-list", "--first-parent", REF).split() == commits[::-1]
    assert git(repository, "show", f"{commits[0]}:workspace") == str(first)
    kept = kept_in_git(workspace.path)
    assert kept and kept.size == 20


def test_a_rewrite_is_found_by_the_checkpoint_in_git_also_where_the_ledger_is_another_one(
    workspace: Workspace, repository: Path, state: Path
) -> None:
    keep_in_git(workspace.path, History(workspace.journal).checkpoint())
    assert verify(workspace).compared.keys() == {STATE, GIT}
    shutil.rmtree(state)
    rewritten(workspace, REWRITES["the first run dropped"])
    assert [finding.where for finding in verify(workspace).findings] == [GIT]


def test_workspaces_of_one_repository_keep_their_checkpoints_beside_each_other(
    workspace: Workspace, repository: Path
) -> None:
    inner = Workspace.create(repository / "inner" / "söme where")
    append_run(inner.journal, 1)
    for each in (workspace, inner):
        keep_in_git(each.path, History(each.journal).checkpoint())
    for each in (workspace, inner):
        assert kept_in_git(each.path) == History(each.journal).checkpoint()
    inner.close()


def test_what_else_is_in_the_place_of_a_checkpoint_in_git_is_a_finding(workspace: Workspace, repository: Path) -> None:
    blob = subprocess.run(
        ["git", "-C", str(repository), "hash-object", "-w", "--stdin"], input=b"x\n", capture_output=True, check=True
    ).stdout
    tree = subprocess.run(
        ["git", "-C", str(repository), "mktree"],
        input=b"100644 blob " + blob.strip() + b"\tworkspace\n",
        capture_output=True,
        check=True,
    ).stdout.decode()
    identity = ("-c", "user.name=x", "-c", "user.email=x@x")
    commit = git(repository, *identity, "commit-tree", tree.strip(), "-m", "x").strip()
    git(repository, "update-ref", REF, commit)
    with pytest.raises(BadEvidence):
        kept_in_git(workspace.path)
    assert [finding.where for finding in verify(workspace).findings] == [GIT]


def test_without_a_repository_it_says_so(workspace: Workspace) -> None:
    assert kept_in_git(workspace.path) is None
    with pytest.raises(GitAnchorFailed, match="not a git repository"):
        keep_in_git(workspace.path, History(workspace.journal).checkpoint())


def test_without_git_it_says_so(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert kept_in_git(workspace.path) is None
    with pytest.raises(GitAnchorFailed, match="could not be kept"):
        keep_in_git(workspace.path, History(workspace.journal).checkpoint())
