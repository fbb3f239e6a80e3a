"""A script inside of this very process: it keeps the contract of scripts, and leaves the process as it was."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from onrecord.executors.contract import ScriptContract, end_of, in_another_process, launch_in, wait_for
from onrecord.executors.errors import CannotSupervise
from onrecord.executors.inline import InlineExecutor
from onrecord.executors.protocol import Ended, Executor, Launch


class TestInlineExecutor(ScriptContract):
    def make_executor(self) -> Executor:
        return InlineExecutor()


def script_in(folder: Path, text: str, *words: str, **changes: object) -> Launch:
    launch = launch_in(folder, sys.executable, "script.py", *words, **changes)
    (launch.working_directory / "script.py").write_text(text)
    return launch


def run(launch: Launch) -> Ended:
    executor = InlineExecutor()
    executor.start(launch)
    return end_of(executor, launch.control)


def test_the_process_is_afterwards_as_it_was(tmp_path: Path) -> None:
    text = (
        "import os, sys, signal, beside\nos.chdir('/')\nos.environ.clear()\nos.environ['LEFT'] = '1'\n"
        "sys.argv.append('x')\nsys.path.clear()\nsys.stdout = None\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    )
    launch = script_in(tmp_path, text)
    (launch.working_directory / "beside.py").write_text("")
    before = (Path.cwd(), dict(os.environ), list(sys.argv), list(sys.path), sys.stdout, sys.modules["__main__"])
    handler = signal.getsignal(signal.SIGTERM)
    assert run(launch).exit_code == 0
    assert (Path.cwd(), dict(os.environ), list(sys.argv), list(sys.path), sys.stdout, sys.modules["__main__"]) == before
    assert signal.getsignal(signal.SIGTERM) is handler
    assert "beside" not in sys.modules


def test_modules_of_the_caller_do_not_stand_in_for_those_of_the_script(tmp_path: Path) -> None:
    for number in (1, 2):
        launch = script_in(tmp_path / str(number), "import beside; print(beside.NUMBER)")
        (launch.working_directory / "beside.py").write_text(f"NUMBER = {number}\n")
        run(launch)
        assert launch.stdout.read_text() == f"{number}\n"


def test_what_the_script_and_its_children_print_is_kept_and_passed_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = "import os, subprocess\nprint('one')\nsubprocess.run(['echo', 'two'])\nos.write(2, b'three\\n')\n"
    launch = script_in(tmp_path, text)
    run(launch)
    assert (launch.stdout.read_text(), launch.stderr.read_text()) == ("one\ntwo\n", "three\n")
    said = capfd.readouterr()
    assert (said.out, said.err) == ("one\ntwo\n", "three\n")


def test_a_handler_that_a_script_left_to_logging_goes_on_to_the_callers_stream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    launch = script_in(
        tmp_path, "import logging\nlogging.getLogger('inline').addHandler(logging.StreamHandler())\nprint('up')\n"
    )
    run(launch)
    left = logging.getLogger("inline")
    try:
        left.warning("after the end")
    finally:
        left.handlers.clear()
    assert capsys.readouterr().err == "after the end\n"
    assert launch.stderr.read_text() == ""


def test_ctrl_c_is_told_to_the_caller_after_it_is_on_record(tmp_path: Path) -> None:
    launch = script_in(tmp_path, "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        InlineExecutor().start(launch)
    ended = InlineExecutor().poll(launch.control)
    assert isinstance(ended, Ended)
    assert (ended.reason, ended.signal, ended.message) == ("stopped", signal.SIGINT, "interrupted from the keyboard")


def test_python_code_that_ignores_the_request_is_ended_after_the_grace(tmp_path: Path) -> None:
    text = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass\n"
    ended = run(script_in(tmp_path, text, time_limit_seconds=0.2, grace_seconds=0.2))
    assert (ended.reason, ended.signal) == ("time_limit", signal.SIGTERM)


def test_a_script_in_a_thread_is_ended_too(tmp_path: Path) -> None:
    launch = script_in(tmp_path, "import time\nwhile True: time.sleep(0.01)\n", time_limit_seconds=0.3)
    thread = threading.Thread(target=InlineExecutor().start, args=[launch])
    thread.start()
    thread.join()
    assert end_of(InlineExecutor(), launch.control).reason == "time_limit"


def test_what_a_script_leaves_running_is_ended_and_counted(tmp_path: Path) -> None:
    ended = run(script_in(tmp_path, "import os; print(os.spawnlp(os.P_NOWAIT, 'sleep', 'sleep', '600'))"))
    assert ended.survivors_killed == 1
    pid = int((tmp_path / "logs" / "stdout.txt").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_one_script_at_a_time(tmp_path: Path) -> None:
    inner = script_in(tmp_path / "inner", "print('never')")
    problems: list[Exception] = []

    def begun() -> None:
        try:
            InlineExecutor().start(inner)
        except CannotSupervise as problem:
            problems.append(problem)

    InlineExecutor(begun).start(script_in(tmp_path / "outer", ""))
    assert "another script inline" in str(problems[0])


def test_what_is_no_python_script_is_not_started(tmp_path: Path) -> None:
    for command in (["sh", "-c", "true"], [sys.executable]):
        launch = launch_in(tmp_path / command[0].replace("/", "_"), *command)
        assert run(launch).reason == "not_started"


def test_a_process_that_dies_leaves_its_script_lost_and_its_children_ended(tmp_path: Path) -> None:
    text = "import os\nprint(os.spawnlp(os.P_NOWAIT, 'sleep', 'sleep', '600'), flush=True)\nos.kill(os.getpid(), 9)\n"
    launch = script_in(tmp_path, text)
    assert os.WTERMSIG(in_another_process(lambda: InlineExecutor().start(launch))) == signal.SIGKILL
    child = int(launch.stdout.read_text())
    assert Path(f"/proc/{child}").exists()
    # A child that was forked a moment ago holds all that its parent held, until it has become another program.
    wait_for(lambda: isinstance(InlineExecutor().poll(launch.control), Ended))
    seen = InlineExecutor().poll(launch.control)
    assert isinstance(seen, Ended) and seen.reason == "lost"
    settled = InlineExecutor().recover(launch.control)
    assert isinstance(settled, Ended)
    assert (settled.reason, settled.survivors_killed) == ("lost", 1)
    assert "the process that ran it inline ended before it" in settled.message
    wait_for(lambda: not _lives(child))
    assert InlineExecutor().poll(launch.control) == settled


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_signal_that_asks_the_process_to_end_ends_it_after_the_script_is_on_record(tmp_path: Path) -> None:
    launch = script_in(tmp_path, "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(600)\n")
    host = subprocess.Popen(
        [sys.executable, "-c", _HOST, str(tmp_path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert host.wait(60) == -signal.SIGTERM
    ended = InlineExecutor().poll(launch.control)
    assert isinstance(ended, Ended)
    assert (ended.reason, ended.exit_code, ended.signal) == ("exited", None, signal.SIGTERM)


_HOST = """
import sys
from pathlib import Path
from onrecord.executors.contract import launch_in
from onrecord.executors.inline import InlineExecutor
InlineExecutor().start(launch_in(Path(sys.argv[1]), sys.executable, "script.py"))
"""
