"""`onrecord tensorboard`: a server until Ctrl-C, or event files for one elsewhere."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from face_make import start
from recorded_make import recorded, workspace

Command = Callable[..., Any]


def test_the_server_runs_until_it_is_interrupted(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    found = workspace(tmp_path / "a")
    recorded(found)
    words = ("tensorboard", "--port", "0", "--logdir", str(tmp_path / "tb"))
    # A shell that starts the tests in the background lets them ignore what Ctrl-C sends.
    process = start(*words, cwd=found.path, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"http://127.0.0.1:")
    assert list((tmp_path / "tb").rglob("*tfevents*"))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert b"Traceback" not in said


def test_export_writes_event_files_of_the_runs_that_are_named(command: Command, tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    runs = [recorded(found) for _ in range(3)]
    said = command("tensorboard", runs[0].id, runs[1].id, "--export", str(tmp_path / "tb"), cwd=found.path)
    assert (said.code, said.out) == (0, b"") and "wrote 2 event files" in said.err
    assert {path.parent.name for path in (tmp_path / "tb").rglob("*tfevents*")} == {runs[0].id, runs[1].id}
    assert command("tensorboard", "zzz", "--export", "tb", cwd=found.path).code == 1
