"""How the command behaves at its edges: narrow terminals, interrupts, long waits, questions that nobody can answer."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from face_make import clean_environment, onrecord, project, run_to_end

from onrecord import Workspace
from onrecord.ledger.errors import LedgerFull
from onrecord.patience import WAITING, patiently
from onrecord.verification import verify
from onrecord.wording import counted, shortened

Command = Callable[..., Any]


def on_terminal(*words: str, cwd: Path, columns: int = 80, program: tuple[str, ...] = ("-m", "onrecord")) -> str:
    """What a command says on a terminal of this width, stdout and stderr together, to its end."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, *program, *words]
    process = subprocess.Popen(command, cwd=cwd, env=clean_environment(), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 65536):
            said += piece
    except OSError:
        pass
    os.close(ours)
    assert process.wait(60) == 0, said
    return said.decode()


# ---- tables -----------------------------------------------------------------------------------------------


def test_a_long_name_is_cut_to_fit_a_terminal_and_whole_elsewhere(command: Command, tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "print(1)\n"})
    name, tag = "a very long name " * 20, "team=" + "b" * 300
    said = onrecord("run", "-n", name, "-t", tag, "train.py", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    for columns in (80, 120):
        lines = on_terminal("ls", cwd=tmp_path, columns=columns).replace("\r", "").splitlines()
        plain = [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in lines]
        plain = ["".join(piece.partition("m")[2] if place else piece for place, piece in enumerate(line.split("\x1b[")))
                 for line in plain]  # fmt: skip
        assert len(plain) == 2
        assert all(len(line) <= columns for line in plain), plain
        assert "a very long…" in plain[1]
        assert "Completed" in plain[1]
    assert name.strip() in command("ls", cwd=tmp_path).out.decode()
    document = json.loads(command("ls", "--json", cwd=tmp_path).out)[0]
    assert (document["name"], document["tags"]) == (name, {"team": "b" * 300})
    assert "a very long" in on_terminal("ls", "-c", "status", cwd=tmp_path)


def test_texts_are_cut_and_counted_as_people_write_them() -> None:
    assert [shortened("abcdef", width) for width in (5, 6, 7)] == ["abcd…", "abcdef", "abcdef"]
    assert [counted(count, "file") for count in (0, 1, 2, 1234)] == ["0 files", "1 file", "2 files", "1,234 files"]


# ---- questions --------------------------------------------------------------------------------------------


def test_an_erasure_that_nobody_can_agree_to_says_what_and_how(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, "print(1)\n")
    said = onrecord("erase", run.id, "--files", cwd=tmp_path)
    assert said.returncode == 2
    last = said.stderr.decode().strip().splitlines()[-1]
    assert last == (
        f"Error: There is no terminal to ask on whether to erase tests_1 ({run.id}, Completed) with its files"
        " and its source. --yes agrees to it."
    )
    said = onrecord("retain", "--older-than", "0.000001s", cwd=tmp_path)
    assert b"whether to erase 1 run. --yes" in said.stderr
    assert not Workspace(tmp_path).query.run(run.id).erased


def test_a_filter_by_a_tag_without_a_name_is_refused(command: Command, tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    said = command("ls", "-t", "=v", cwd=tmp_path)
    assert said.code == 1
    assert "a tag without a name" in said.err


# ---- interrupts -------------------------------------------------------------------------------------------

EARLY = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from onrecord.__main__ import main
sys.argv = ["onrecord", "ls"]
main()
"""
LATE = """
import atexit, os, signal, sys
from onrecord.__main__ import main
sys.argv = ["onrecord", "ls", "--json"]
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
main()
"""


@pytest.mark.parametrize("name", ["onrecord.cli", "click", "onrecord.errors", "onrecord.workspace", "onrecord.cli.ls"])
def test_an_interrupt_while_the_command_comes_up_ends_it_quietly_with_130(tmp_path: Path, name: str) -> None:
    Workspace.create(tmp_path)
    program = [sys.executable, "-c", EARLY.format(name=name)]
    done = subprocess.run(program, cwd=tmp_path, env=clean_environment(), capture_output=True, check=False)
    # At most the end of the line on which the terminal shows ^C.
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, b"", b"")


def test_an_interrupt_after_all_is_done_changes_nothing(tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    program = [sys.executable, "-c", LATE]
    done = subprocess.run(program, cwd=tmp_path, env=clean_environment(), capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"[]\n", b"")


# ---- waits ------------------------------------------------------------------------------------------------


def test_a_wait_for_room_is_said_once_and_its_end_too(capsys: pytest.CaptureFixture[str]) -> None:
    left = [LedgerFull("no space left", next_step="free space")] * 2

    def action() -> None:
        if left:
            raise left.pop()

    patiently(action)
    assert capsys.readouterr().err == f"{WAITING}no space left\nthat is over: going on\n"
    patiently(action)
    assert capsys.readouterr().err == ""


def test_a_verification_tells_the_objects_that_it_has_read(tmp_path: Path) -> None:
    run_to_end(tmp_path, "open('outputs/a', 'w').write('a')\n")
    told: list[tuple[int, int]] = []
    result = verify(Workspace(tmp_path), progress=lambda done, total: told.append((done, total)))
    assert (told[0], told[-1]) == ((0, len(result.objects)), (len(result.objects),) * 2)


PROGRESS = """
import sys, time
from onrecord.cli import progress
progress.PATIENCE_SECONDS = 0.2
kind, calls, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
known = (4000, 80_000_000) if kind == "restoring" else (0, 0)
bar = progress.progress_of("checking", "object") if kind == "checking" else progress.files_progress_of(kind, *known)
with bar as tell:
    for step in range(calls):
        if tell is not None:
            tell(step * 100, 4000 if kind == "checking" else step * 2_000_000)
        time.sleep(seconds / calls)
print("done", tell is None)
"""


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("snapshotting", ("onrecord: snapshotting", " files, ", " MB", "MB/s")),
        ("restoring", ("onrecord: restoring", " of 4,000 files, ", " of 80.0 MB", "MB/s, ", " left")),
        ("checking", ("onrecord: checking", " of 4,000 objects", "/s, ", " left")),
    ],
)
def test_work_that_takes_long_shows_how_far_it_is_on_a_terminal(
    tmp_path: Path, kind: str, told: tuple[str, ...]
) -> None:
    said = on_terminal(kind, "30", "1.5", cwd=tmp_path, columns=120, program=("-c", PROGRESS))
    for text in told:
        assert text in said
    assert said.replace("\r", "").endswith("done False\n")


def test_work_that_is_quick_or_has_no_terminal_shows_nothing(tmp_path: Path) -> None:
    said = on_terminal("snapshotting", "3", "0.01", cwd=tmp_path, program=("-c", PROGRESS))
    assert said == "done False\r\n"
    words = [sys.executable, "-c", PROGRESS, "snapshotting", "3", "0.5"]
    done = subprocess.run(words, cwd=tmp_path, env=clean_environment(), capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"done True\n", b"")
