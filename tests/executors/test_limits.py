"""The time limit is one on the training: neither a clock that is set nor a machine that slept brings it nearer."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onrecord.executors.contract import end_of, launch_in
from onrecord.executors.local import LocalExecutor


@pytest.fixture(scope="module")
def moving_clocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("clocks") / "clocks_shim.so"
    source = Path(__file__).with_name("clocks_shim.c")
    subprocess.run([compiler, "-O2", "-Wall", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def under(shim: Path, *words: str) -> str:
    environment = {**os.environ, "LD_PRELOAD": str(shim)}
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_clocks_of_the_test_do_move(moving_clocks: Path) -> None:
    text = (
        "import time; a = time.time(); m = time.monotonic(); print(time.time() - a > 80000, time.monotonic() - m < 9)"
    )
    assert under(moving_clocks, sys.executable, "-c", text) == "True True\n"


def test_a_day_asleep_or_a_clock_that_is_set_does_not_end_a_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moving_clocks: Path
) -> None:
    monkeypatch.setenv("LD_PRELOAD", str(moving_clocks))
    executor = LocalExecutor()
    patient = launch_in(tmp_path / "patient", "sleep", "0.3", time_limit_seconds=600)
    executor.start(patient)
    ended = end_of(executor, patient.control)
    assert (ended.reason, ended.exit_code) == ("exited", 0)
    # The supervisor did see those clocks.
    assert ended.at > (time.time() + 80_000) * 1e6
    hasty = launch_in(tmp_path / "hasty", "sleep", "600", time_limit_seconds=0.3)
    executor.start(hasty)
    assert end_of(executor, hasty.control).reason == "time_limit"


def test_a_kill_that_nobody_here_sent_is_named_so_and_no_want_of_memory_is_made_up(tmp_path: Path) -> None:
    executor = LocalExecutor()
    launch = launch_in(tmp_path, "sh", "-c", "kill -KILL $$")
    executor.start(launch)
    ended = end_of(executor, launch.control)
    assert ended.signal == signal.SIGKILL
    assert ended.message == "killed by SIGKILL, which nobody here sent"
