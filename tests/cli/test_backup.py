"""`onrecord backup`, and workspaces on network disks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onrecord import Workspace
from onrecord.ledger.errors import LedgerOnNetwork

Command = Callable[..., Any]


def _on(kind: str, folder: Path, table: Path) -> str:
    table.write_text(f"27 1 254:0 / / rw - ext4 /dev/vda rw\n31 27 0:40 / {folder} rw - {kind} server:/home rw\n")
    return str(table)


def test_a_backup_is_a_verified_ledger_of_all_runs(command: Command, history: Path, tmp_path: Path) -> None:
    said = command("backup", str(tmp_path / "kept.db"), "--json", cwd=history)
    document = json.loads(said.out)
    assert said.code == 0
    assert (document["ok"], document["findings"], document["runs"]) == (True, [], 2)
    verified = json.loads(command("verify", "--json", cwd=history).out)
    assert (document["events"], document["root"]) == (verified["events"], verified["root"])
    assert [path.name for path in tmp_path.iterdir()] == ["kept.db"]
    again = command("backup", str(tmp_path / "kept.db"), cwd=history)
    assert again.code == 1
    assert "already" in again.err
    for_people = command("backup", str(tmp_path / "again.db"), cwd=history)
    assert (for_people.code, for_people.out) == (0, b"")
    assert document["root"] in for_people.err


def test_a_backup_put_back_is_the_workspace_as_it_was(command: Command, history: Path, tmp_path: Path) -> None:
    other = Workspace.create(tmp_path / "other")
    other.close()
    (tmp_path / "other/.onrecord/ledger.db").unlink()
    assert command("backup", str(tmp_path / "other/.onrecord/ledger.db"), cwd=history).code == 0
    shown = [json.loads(command("ls", "--json", cwd=folder).out) for folder in (history, tmp_path / "other")]
    assert shown[0] == shown[1] != []


def test_a_backup_that_cannot_be_written_says_why(command: Command, history: Path, tmp_path: Path) -> None:
    said = command("backup", str(tmp_path / "nowhere" / "kept.db"), cwd=history)
    assert said.code == 1
    assert "was not copied" in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_on_a_network_disk_is_refused_with_what_to_do(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "far").mkdir()
    monkeypatch.setenv("ONRECORD_MOUNTINFO", _on("nfs4", tmp_path / "far", tmp_path / "mounts"))
    said = command("init", cwd=tmp_path / "far")
    assert said.code == 1
    assert "nfs4" in said.err
    assert "ONRECORD_WORKSPACE" in said.err
    assert list((tmp_path / "far").iterdir()) == []
    (tmp_path / "near").mkdir()
    assert command("init", cwd=tmp_path / "near").code == 0


def test_a_workspace_that_was_moved_to_a_network_disk_is_read_and_not_written(
    command: Command, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Workspace.create(tmp_path).close()
    ledger = tmp_path / ".onrecord" / "ledger.db"
    ledger.unlink()
    assert command("backup", str(ledger), cwd=history).code == 0
    monkeypatch.setenv("ONRECORD_MOUNTINFO", _on("cifs", tmp_path, tmp_path / "mounts"))
    assert len(json.loads(command("ls", "--json", cwd=tmp_path).out)) == 2
    (tmp_path / "train.py").write_text("")
    said = command("run", "train.py", cwd=tmp_path)
    assert said.code == 125
    assert "cifs" in said.err
    with pytest.raises(LedgerOnNetwork) as refusal:
        Workspace(tmp_path).journal.rebuild()
    assert (refusal.value.path, refusal.value.file_system) == (ledger, "cifs")
