"""`onrecord run` and `onrecord cancel`: output, exit codes, options and the ends of runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from face_make import LONG_SECONDS, clean_environment, lives, onrecord, project, shown, start, wait_until

from onrecord import Workspace
from onrecord.cli.duration import Duration

Command = Callable[..., Any]
# A script that starts a child in a session of its own, and waits.
FAMILY = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {child.pid}")
print("ready", flush=True)
time.sleep(600)
"""
BINARY = """
import os
os.write(1, bytes(range(256)) * 300)
os.write(2, b"\\xff\\x00\\x1b[31m")
os.write(1, b"no newline at the end")
raise SystemExit(7)
"""


def begin_family(folder: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A run in the foreground that has two processes; waits until both are there."""
    project(folder, {"train.py": FAMILY})
    process = start("run", "train.py", str(folder / "pids"), cwd=folder)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process, [int(word) for word in (folder / "pids").read_text().split()]


def ended(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """Its exit code and what it still had to say on stderr."""
    _, err = process.communicate(timeout=LONG_SECONDS)
    return process.returncode, err


def test_output_passes_through_untouched_and_the_exit_code_is_the_scripts(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": BINARY})
    said = onrecord("run", "train.py", cwd=tmp_path)
    assert said.returncode == 7
    assert said.stdout == bytes(range(256)) * 300 + b"no newline at the end"
    assert b"\xff\x00\x1b[31m" in said.stderr
    assert b"made a workspace" in said.stderr
    kept = onrecord("logs", "@last", cwd=tmp_path)
    assert (kept.stdout, kept.stderr) == (said.stdout, b"\xff\x00\x1b[31m")


def test_json_of_a_run_is_one_object_and_output_goes_to_stderr(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "print('out')\n"})
    said = onrecord("run", "--json", "-e", "named", "train.py", cwd=tmp_path)
    document = json.loads(said.stdout)
    assert (document["status"], document["experiment"]) == ("Completed", "named")
    assert b"out\n" in said.stderr


def test_a_script_killed_by_a_signal_gives_128_and_the_signal(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n"})
    assert onrecord("run", "train.py", cwd=tmp_path).returncode == 128 + signal.SIGSEGV
    document = shown(tmp_path)
    assert (document["status"], document["signal"]) == ("Failed", signal.SIGSEGV)
    assert "SIGSEGV" in document["error"]["message"]


def test_the_time_limit_ends_the_run_with_124(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "import time; print('begun', flush=True); time.sleep(600)\n"})
    said = onrecord("run", "--timeout", "1s", "train.py", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (124, b"begun\n")
    document = shown(tmp_path)
    assert document["status"] == "Canceled"
    # In words that fit the command line as well as Python.
    assert document["error"]["message"] == "it ran longer than its time limit of 1 s and was ended"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5h", 5400), ("1h30m", 5400), ("2d", 172800), ("15M", 900), (" 2m ", 120)],
)
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert Duration()(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-5s", "1x", "s", "1h30", "soon", "1 h x"])
def test_what_is_no_time_is_a_wrong_use(command: Command, tmp_path: Path, text: str) -> None:
    project(tmp_path, {"train.py": "print(1)\n"})
    assert command("run", "--timeout", text, "train.py", cwd=tmp_path).code == 2
    assert not (tmp_path / ".onrecord").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tarin.py"], "did you mean train.py?"),
        (["--source", "nowhere", "train.py"], "does not exist"),
        (["--source", "train.py", "train.py"], "is not a folder"),
        (["--target", "lokal", "train.py"], "did you mean 'local'"),
        (["-e", "bad name", "train.py"], "bad_name"),
        (["--env", ".", "train.py"], "not a virtual environment"),
        (["--env", "no-such-python", "train.py"], "no program of this name is on the PATH"),
        (["--env", "/nowhere/python", "train.py"], "there is no such file"),
        (["--env", "/etc/passwd", "train.py"], "it is not executable"),
        (["--env", "SEED=1", "train.py"], "next: SEED=1 onrecord run"),
        (["-t", "=v", "train.py"], "a tag without a name"),
    ],
)
def test_what_cannot_be_run_ends_with_125_and_leaves_no_run(
    command: Command, tmp_path: Path, words: list[str], told: str
) -> None:
    project(tmp_path, {"train.py": "print(1)\n"})
    said = command("run", *words, cwd=tmp_path)
    assert (said.code, said.out) == (125, b"")
    assert told in said.err
    if (tmp_path / ".onrecord").exists():
        assert Workspace(tmp_path).query.runs() == []
        assert list((tmp_path / ".onrecord" / "runs").iterdir()) == []


def test_arguments_after_the_script_are_the_scripts(command: Command, tmp_path: Path) -> None:
    project(tmp_path, {"deep/train.py": "import sys; print(sys.argv[1:])\n"})
    words = ["--json", "-e", "x", "--help", "--", "-", "a b", "", "ü", "*"]
    said = onrecord("run", "-e", "mine", "deep/train.py", *words, cwd=tmp_path)
    assert said.stdout.decode().strip() == repr(words)
    assert shown(tmp_path)["experiment"] == "mine"


def test_a_detached_run_prints_its_id_and_goes_on(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "import time; time.sleep(0.5); print('late')\n"})
    said = onrecord("run", "--detach", "-n", "a name", "-t", "k=v=w", "-t", "bare", "train.py", cwd=tmp_path)
    assert said.returncode == 0
    run_id = said.stdout.decode().strip()
    assert len(run_id) == 26
    assert onrecord("logs", "-f", run_id, cwd=tmp_path).stdout == b"late\n"
    document = shown(tmp_path, run_id)
    assert (document["status"], document["name"]) == ("Completed", "a name")
    assert document["tags"] == {"k": "v=w", "bare": ""}


def test_source_chooses_the_folder_that_is_snapshotted(tmp_path: Path) -> None:
    project(tmp_path, {"project/train.py": "import os; print(sorted(os.listdir('.')))\n", "beside.txt": "x"})
    for script in ("train.py", "project/train.py"):
        said = onrecord("run", "--source", "project", script, cwd=tmp_path)
        assert said.returncode == 0, said.stderr
        assert said.stdout == b"['logs', 'outputs', 'train.py']\n"
    assert (tmp_path / ".onrecord").is_dir()


def test_env_takes_an_interpreter_and_a_virtual_environment(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "import sys; print(sys.prefix)\n"})
    made = tmp_path / "its venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made)], check=True)
    for given in (made / "bin" / "python", Path("its venv")):
        said = onrecord("run", "--env", str(given), "train.py", cwd=tmp_path)
        assert said.returncode == 0, said.stderr
        assert said.stdout.decode().strip() == str(made)


def test_a_program_that_is_no_interpreter_ends_with_125_as_a_failed_run(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "print(1)\n", "python": "#!/nowhere/python\n"})
    (tmp_path / "python").chmod(0o755)
    said = onrecord("run", "--env", "./python", "train.py", cwd=tmp_path)
    assert said.returncode == 125, said.stderr
    document = shown(tmp_path)
    assert document["status"] == "Failed"
    assert "/nowhere/python" in document["error"]["message"]


def test_cancel_ends_the_grandchildren_too(tmp_path: Path) -> None:
    process, pids = begin_family(tmp_path)
    assert all(lives(pid) for pid in pids)
    said = onrecord("cancel", "--wait", "--json", "@last", cwd=tmp_path)
    assert json.loads(said.stdout)["status"] == "Canceled", said.stderr
    wait_until(lambda: not any(lives(pid) for pid in pids))
    assert ended(process)[0] == 130
    assert shown(tmp_path)["status"] == "Canceled"
    again = onrecord("cancel", "@last", cwd=tmp_path)
    assert again.returncode == 0
    assert b"ended already" in again.stderr


def test_an_interrupt_without_a_terminal_cancels(tmp_path: Path) -> None:
    process, pids = begin_family(tmp_path)
    process.send_signal(signal.SIGINT)
    code, err = ended(process)
    assert code == 130, err
    assert b"Traceback" not in err
    assert shown(tmp_path)["status"] == "Canceled"
    wait_until(lambda: not any(lives(pid) for pid in pids))


def test_a_killed_command_leaves_its_run_running(tmp_path: Path) -> None:
    process, pids = begin_family(tmp_path)
    process.kill()
    process.communicate()
    wait_until(lambda: shown(tmp_path)["status"] == "Running")
    assert lives(pids[0])
    onrecord("cancel", "--wait", "@last", cwd=tmp_path)
    wait_until(lambda: not any(lives(pid) for pid in pids))


# ---- on a terminal ----------------------------------------------------------------------------------

TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "onrecord", *sys.argv[1:]])
"""


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, *words: str, cwd: Path) -> None:
        self._master, slave = os.openpty()
        self.said = b""
        self._process = subprocess.Popen(
            [sys.executable, "-c", TERMINAL, *words],
            cwd=cwd,
            env=clean_environment(),
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    def expect(self, text: bytes) -> None:
        """Read until `text` has come."""
        while text not in self.said:
            piece = self._read()
            assert piece, self.said
            self.said += piece

    def type(self, text: bytes) -> None:
        """Type it."""
        os.write(self._master, text)

    def end(self) -> int:
        """Read to the end; its exit code."""
        while piece := self._read():
            self.said += piece
        os.close(self._master)
        return self._process.wait(LONG_SECONDS)

    def _read(self) -> bytes:
        try:
            return os.read(self._master, 4096)
        except OSError:
            return b""


def test_on_a_terminal_an_interrupt_asks_and_l_leaves_the_run_running(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": FAMILY})
    terminal = Terminal("run", "train.py", "pids", cwd=tmp_path)
    terminal.expect(b"ready")
    terminal.type(b"\x03")
    terminal.expect(b"[C/l]")
    terminal.type(b"l\n")
    assert terminal.end() == 130
    assert b"goes on" in terminal.said
    assert b"Traceback" not in terminal.said
    assert shown(tmp_path)["status"] == "Running"
    assert onrecord("cancel", "--wait", "@last", cwd=tmp_path).returncode == 0


def test_on_a_terminal_a_second_interrupt_cancels(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": FAMILY})
    terminal = Terminal("run", "train.py", "pids", cwd=tmp_path)
    terminal.expect(b"ready")
    terminal.type(b"\x03")
    terminal.expect(b"[C/l]")
    terminal.type(b"\x03")
    assert terminal.end() == 130
    assert b"Traceback" not in terminal.said
    assert shown(tmp_path)["status"] == "Canceled"


def test_a_terminal_gets_colours(tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    terminal = Terminal("ls", cwd=tmp_path)
    assert terminal.end() == 0
    assert b"\x1b[" in terminal.said


@pytest.mark.parametrize("wrong", [("--target", "mars"), ("--experiment", "a b"), ("--env", "/")])
def test_a_run_that_is_refused_leaves_no_workspace_behind(
    wrong: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onrecord.cli.main import run

    (tmp_path / "train.py").write_text("print(1)\n")
    monkeypatch.chdir(tmp_path)
    assert run(["run", *wrong, "train.py"]) == 125
    assert [path.name for path in tmp_path.iterdir()] == ["train.py"]
