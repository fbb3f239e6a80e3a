"""Projects, processes and repositories for the tests of the face and of the command: real ones, with dull defaults."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from onrecord import Experiment, OnRecordError, Run, ScriptRunConfig, Workspace, context

LONG_SECONDS = 100
_OURS = ("ONRECORD_", "GIT_")
_COLOURS = ("NO_COLOR", "FORCE_COLOR", "TERM")


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without anything that changes what onrecord or git do."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS) and name not in _COLOURS}
    return {**kept, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "TERM": "xterm", **more}


@pytest.fixture(autouse=True)
def clean_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No variable of the machine or of another test changes what a test sees."""
    wanted = clean_environment(HOME=str(tmp_path_factory.mktemp("home")))
    for name in [name for name in os.environ if name not in wanted]:
        monkeypatch.delenv(name)
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def no_open_run(clean_surroundings: None) -> Iterator[None]:
    """No run that a test has left open in this process is that of the next test."""
    yield
    sessions = sys.modules.get("onrecord.interactive_session")
    for run in sessions.open_runs() if sessions is not None else []:
        with contextlib.suppress(OnRecordError, OSError):
            run.complete()
    context._offline = None


def project(folder: Path, files: Mapping[str, str]) -> Path:
    """`folder` with `files` in it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def onrecord(
    *words: str | bytes, cwd: Path, env: Mapping[str, str] | None = None, under: Sequence[str] = (), **more: Any
) -> subprocess.CompletedProcess[bytes]:
    """The command as a process of its own, to its end: `returncode`, `stdout`, `stderr` in bytes."""
    return subprocess.run(
        [*under, sys.executable, "-m", "onrecord", *words],
        cwd=cwd,
        env=dict(env) if env is not None else clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=LONG_SECONDS,
        **more,
    )


def start(*words: str, cwd: Path, **more: Any) -> subprocess.Popen[bytes]:
    """The command as a process that goes on."""
    return subprocess.Popen(
        [sys.executable, "-m", "onrecord", *words],
        cwd=cwd,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


def shown(folder: Path, run: str = "@last") -> dict[str, Any]:
    """What `show --json` says of a run."""
    found = onrecord("show", run, "--json", cwd=folder)
    assert found.returncode == 0, found.stderr
    document: dict[str, Any] = json.loads(found.stdout)
    return document


def submit(folder: Path, script: str = "train.py", **options: Any) -> Run:
    """A run of `script` in `folder`, which becomes a workspace."""
    workspace = Workspace.create(folder, exist_ok=True)
    return Experiment(workspace, "tests").submit(ScriptRunConfig(folder, script, **options))


def run_to_end(folder: Path, source: str, **options: Any) -> Run:
    """A run of a script with this source, waited for, however it ends."""
    project(folder, {"train.py": source})
    run = submit(folder, **options)
    run.wait_for_completion(raise_on_error=False)
    return run


def leaves_nothing(folder: Path) -> bool:
    """Whether the workspace has no run, neither in the ledger nor as a folder."""
    workspace = Workspace(folder)
    return workspace.query.runs() == [] and list(workspace.layout.runs.iterdir()) == []


def wait_until(happened: Callable[[], Any], seconds: float = LONG_SECONDS) -> Any:
    """What `happened` returns once that is true."""
    end = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


def lives(pid: int) -> bool:
    """Whether a process is there and not just waiting to be collected."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def git(folder: Path, *words: str) -> str:
    """What git answers in `folder`."""
    identity = ("-c", "user.name=A Tester", "-c", "user.email=tester@example.org", "-c", "commit.gpgsign=false")
    asked = subprocess.run(
        ["git", *identity, *words], cwd=folder, env=clean_environment(), capture_output=True, text=True, check=True
    )
    return asked.stdout.strip()


def repository(folder: Path, files: Mapping[str, str]) -> Path:
    """A repository on the branch `main` with one commit of `files`."""
    project(folder, files)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder
