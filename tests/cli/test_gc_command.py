"""`onrecord gc`: what it says, and what `onrecord snapshot` may rely on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recorded_make import recorded, workspace

Command = Callable[..., Any]


def test_gc_says_what_went_and_what_stays(command: Command, tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    recorded(found)
    recorded(found, files={"outputs/own": os.urandom(5000)}).erase()
    for path in (found.layout.objects / "packs").iterdir():
        os.utime(path, (1_000_000, 1_000_000))
    young = found.store.put_bytes(b"young").digest
    told = json.loads(command("gc", "--dry-run", "--json", cwd=found.path).out)
    assert (told["dry_run"], told["removed_objects"], told["young_objects"]) == (True, 1, 1)
    assert told["removed_bytes"] > 5000
    assert "would remove 1 object (5.1 kB)" in command("gc", "-n", cwd=found.path).err
    done = command("gc", cwd=found.path)
    assert (done.code, done.out) == (0, b"")
    assert "removed 1 object (5.1 kB)" in done.err
    assert "within the grace period: 1 object (46 B)" in done.err
    assert found.store.has([young]) == {young}
    assert command("gc", "--grace", "0s", cwd=found.path).code == 0
    assert found.store.has([young]) == set()
    assert command("gc", "--grace", "soon", cwd=found.path).code == 2


def test_a_snapshot_of_no_run_is_kept_for_its_grace_period_each_time_it_is_taken(
    command: Command, tmp_path: Path
) -> None:
    found = workspace(tmp_path / "a")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(b"a" * 100)
    words = ("snapshot", str(tmp_path / "source"))
    first = command(*words, cwd=found.path).out.decode().strip()
    for path in (found.layout.objects / "packs").iterdir():
        os.utime(path, (1_000_000, 1_000_000))
    assert command(*words, cwd=found.path).out.decode().strip() == first
    command("gc", cwd=found.path)
    assert command("restore", first, str(tmp_path / "out"), cwd=found.path).code == 0
    for path in (found.layout.objects / "packs").iterdir():
        os.utime(path, (1_000_000, 1_000_000))
    command("gc", cwd=found.path)
    assert command("restore", first, str(tmp_path / "again"), cwd=found.path).code == 1
