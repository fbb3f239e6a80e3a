"""`onrecord push` and `onrecord pull`: a history that came back from a backup gets its files from elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded_make import recorded, workspace

from onrecord import Workspace
from onrecord.verification import verify

Command = Callable[..., Any]


def test_what_was_pushed_comes_back_to_a_history_without_its_files(command: Command, tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    first = recorded(found)
    far = str(tmp_path / "far")
    sent = json.loads(command("push", far, "--json", cwd=found.path).out)
    assert sent["objects"] == len(verify(found).objects)
    second = recorded(found, files={"outputs/own": b"own" * 1000})
    assert "sent 1 object (3.0 kB) to" in command("push", far, second.id, cwd=found.path).err
    assert "sent 0 objects" in command("push", far, cwd=found.path).err
    found.store.close()
    shutil.rmtree(found.layout.objects)
    bare = Workspace(found.path)
    assert verify(bare).findings
    one = json.loads(command("pull", far, first.id, "--json", cwd=found.path).out)
    assert one["objects"] == sent["objects"]
    assert "received 1 object (3.0 kB) from" in command("pull", far, cwd=found.path).err
    assert verify(bare).findings == []
    assert second.read_file("outputs/own") == b"own" * 1000


@pytest.mark.parametrize(
    "words",
    [
        ("push", "ssh://host"),
        ("pull", "gopher://x/y"),
        ("push", "ssh://-oProxy/x"),
        ("push", ""),
        ("push", "train.py"),
        ("pull", "nowhere"),
    ],
)
def test_a_remote_that_is_none_is_told_in_one_error(command: Command, tmp_path: Path, words: tuple[str, ...]) -> None:
    found = workspace(tmp_path / "a")
    recorded(found)
    (found.path / "train.py").touch()
    before = sorted(path.name for path in found.path.iterdir())
    said = command(*words, cwd=found.path)
    assert said.code == 1
    assert sorted(path.name for path in found.path.iterdir()) == before
    assert "next:" in said.err and "why:" in said.err


def test_what_the_remote_lacks_is_named(command: Command, tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    run = recorded(found)
    snapshot = str(found.query.run(run.id).snapshot_id)
    found.store.close()
    shutil.rmtree(found.layout.objects)
    (tmp_path / "empty").mkdir()
    said = command("pull", str(tmp_path / "empty"), cwd=found.path)
    assert said.code == 1
    assert snapshot in said.err


def test_damage_at_the_remote_is_found_by_check_and_pull_brings_the_rest(command: Command, tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    run = recorded(found)
    far = tmp_path / "far"
    assert "found right" in command("push", str(far), "--check", cwd=found.path).err
    known = set(far.rglob("*.pack"))
    second = recorded(found, files={"outputs/own": b"own" * 1000})
    command("push", str(far), second.id, cwd=found.path)
    (pack,) = set(far.rglob("*.pack")) - known
    data = bytearray(pack.read_bytes())
    data[-1] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)
    said = command("push", str(far), "--check", cwd=found.path)
    assert said.code == 1 and "sent 0 objects" in said.err and "is damaged" in said.err and "next: " in said.err
    shown = json.loads(command("push", str(far), "--check", "--json", cwd=found.path).out)
    assert len(shown["problems"]) == 1 and shown["checked"]["objects"] > 0
    found.store.close()
    shutil.rmtree(found.layout.objects)
    said = command("pull", str(far), cwd=found.path)
    assert said.code == 1 and "received" in said.err and "is damaged" in said.err
    bare = Workspace(found.path)
    assert bare.get_run(run.id).get_file_names()
    assert len(verify(bare).findings) == 1
