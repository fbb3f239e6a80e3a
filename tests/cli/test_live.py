"""`onrecord top` and inline runs: what happens while scripts run."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from face_make import clean_environment, onrecord, project, shown, wait_until

from onrecord import Experiment, Run, ScriptRunConfig, Workspace

LONG = """
import onrecord, time
run = onrecord.Run.get_context()
held = bytearray(30_000_000)
run.log("loss", 0.5, step=7)
print("up", flush=True)
while True:
    sum(range(10_000)); time.sleep(0.001)
"""


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace in which one run runs and one waits for it."""
    folder = project(tmp_path_factory.mktemp("busy"), {"train.py": LONG})
    workspace = Workspace.create(folder)
    with workspace.layout.config.open("a") as config:
        config.write("\n[targets.local]\nmax_concurrent = 1\n")
    experiment = Experiment(workspace, "live")
    runs = [experiment.submit(ScriptRunConfig(folder, "train.py"), display_name=name) for name in ("first", "\x1b[31m")]
    wait_until(lambda: runs[0].status == "Running" and runs[0].get_metrics())
    yield folder
    for run in reversed(runs):
        run.cancel()
        run.wait_for_completion()


def test_top_prints_once_without_a_terminal(busy: Path) -> None:
    said = onrecord("top", cwd=busy)
    heads, first, second = said.stdout.decode().splitlines()
    assert heads.split() == ["run", "name", "status", "cpu", "memory", "thr", "gpu", "progress", "elapsed"]
    assert "first" in first and "Running" in first and "loss 0.5 at step 7" in first and "MB" in first
    assert "Queued" in second
    assert b"\x1b" not in said.stdout


def test_top_gives_json_with_what_it_saw(busy: Path) -> None:
    first, second = json.loads(onrecord("top", "--json", cwd=busy).stdout)
    assert first["status"] == "Running"
    assert first["cpu_percent"] > 0
    assert first["rss_bytes"] > 30_000_000
    assert (first["threads"], first["processes"]) == (1, 1)
    assert (second["status"], second["cpu_percent"], second["rss_bytes"]) == ("Queued", None, None)


def test_top_says_so_where_nothing_runs(command: Callable[..., Any], history: Path) -> None:
    said = command("top", cwd=history)
    assert (said.code, said.out) == (0, b"")
    assert "nothing runs and nothing waits" in said.err
    assert json.loads(command("top", "--json", cwd=history).out) == []


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *words: str, cwd: Path) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execve(sys.executable, [sys.executable, "-m", "onrecord", *words], clean_environment(COLUMNS="120"))  # noqa: S606
        self.seen = b""

    def until(self, text: bytes) -> None:
        """Read until this was shown."""
        deadline = time.monotonic() + 60
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:
                    break
        assert text in self.seen, self.seen

    def say(self, keys: bytes) -> None:
        os.write(self.fd, keys)

    def end(self) -> int:
        """Its exit code, or minus the signal, with the rest of what it showed."""
        try:
            while piece := os.read(self.fd, 65536):
                self.seen += piece
        except OSError:
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_top_is_live_on_a_terminal_until_q_or_ctrl_c(busy: Path, key: bytes) -> None:
    terminal = Terminal("top", "--interval", "0.2", cwd=busy)
    terminal.until(b"1 running, 1 waiting")
    terminal.until(b"%")
    terminal.until(b"q leaves")
    terminal.say(key)
    assert terminal.end() == 0
    # The screen from before is back, and the cursor.
    assert b"\x1b[?1049l" in terminal.seen
    assert b"\x1b[?25h" in terminal.seen
    assert b"Traceback" not in terminal.seen
    assert Run(Workspace(busy), Workspace(busy).query.unfinished()[-1].run_id).status == "Running"


# ---- inline -------------------------------------------------------------------------------------------


def test_a_debugger_reads_from_the_terminal_of_an_inline_run(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "x = 41\nbreakpoint()\nprint('x is', x)\n"})
    terminal = Terminal("run", "--target", "inline", "train.py", cwd=tmp_path)
    terminal.until(b"(Pdb) ")
    terminal.say(b"x = 6 * 7\n")
    terminal.until(b"(Pdb) x = 6 * 7")
    terminal.say(b"continue\n")
    assert terminal.end() == 0
    assert b"x is 42" in terminal.seen
    assert b"Completed" in terminal.seen
    assert b"x is 42" in onrecord("logs", "@last", cwd=tmp_path).stdout


def test_ctrl_c_cancels_an_inline_run(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "import time\nprint('up')\ntime.sleep(600)\n"})
    terminal = Terminal("run", "--target", "inline", "train.py", cwd=tmp_path)
    terminal.until(b"up\r\n")
    terminal.say(b"\x03")
    assert terminal.end() == 128 + signal.SIGINT
    assert shown(tmp_path)["status"] == "Canceled"


def test_an_inline_run_passes_output_and_exit_code_on(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "import sys\nprint('out')\nprint('err', file=sys.stderr)\nsys.exit(7)\n"})
    said = onrecord("run", "--target", "inline", "train.py", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (7, b"out\n")
    lines = said.stderr.decode().splitlines()
    begun = next(place for place, line in enumerate(lines) if line.startswith("onrecord: run "))
    assert begun < lines.index("err") < len(lines) - 1
    as_json = onrecord("run", "--target", "inline", "--json", "train.py", cwd=tmp_path)
    assert json.loads(as_json.stdout)["exit_code"] == 7
    assert b"out\n" in as_json.stderr
    detached = onrecord("run", "--target", "inline", "-d", "train.py", cwd=tmp_path)
    assert detached.returncode == 2
    assert b"leave out --detach" in detached.stderr
    near = onrecord("run", "--target", "inlien", "train.py", cwd=tmp_path)
    assert b"did you mean 'inline'?" in near.stderr
    assert b"known targets: inline, local" in near.stderr
