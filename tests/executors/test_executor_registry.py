"""Targets by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from onrecord.executors.errors import BrokenTarget, UnknownTarget
from onrecord.executors.local import LocalExecutor
from onrecord.executors.registry import executor_named, known_targets


def install(folder: Path, name: str, value: str) -> None:
    """What an installed package with one entry point looks like to importlib.metadata."""
    information = folder / "some_executor-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: some-executor\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[onrecord.executors]\n{name} = {value}\n")


def test_local_is_found_without_looking_for_entry_points() -> None:
    probe = (
        "import sys; from onrecord.executors.registry import executor_named; executor_named('local'); "
        "slow = {'importlib.metadata', 'psutil', 'subprocess', 'asyncio', 'multiprocessing'}; "
        "print(sorted(slow & set(sys.modules)))"
    )
    asked = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True)
    assert asked.stdout.decode().strip() == "[]"
    assert isinstance(executor_named("local"), LocalExecutor)


def test_an_unknown_target_lists_the_known_ones_and_guesses() -> None:
    with pytest.raises(UnknownTarget, match=r"unknown compute target 'locl'; did you mean 'local'\?") as caught:
        executor_named("locl")
    assert "local" in caught.value.values["known"]
    assert "known targets:" in str(caught.value)


def test_a_name_like_no_other_gets_no_guess() -> None:
    with pytest.raises(UnknownTarget) as caught:
        executor_named("zzzzzzzz")
    assert "did you mean" not in str(caught.value)


def test_an_installed_package_adds_a_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "nearby", "onrecord.executors.local:LocalExecutor")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "nearby" in known_targets()
    assert isinstance(executor_named("nearby"), LocalExecutor)


def test_a_target_that_fails_to_load_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "broken", "no_such_module_anywhere:Executor")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BrokenTarget, match="no_such_module_anywhere"):
        executor_named("broken")
