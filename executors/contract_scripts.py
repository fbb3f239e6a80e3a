"""The part of the contract that holds for executors of Python scripts only, too."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from onrecord.executors.contract_steps import (
    MakeLaunch,
    end_of,
    launch_in,
    needs,
    start_in_another_process,
    started_of,
    wait_for,
)
from onrecord.executors.errors import AlreadyStarted
from onrecord.executors.protocol import (
    Ended,
    Executor,
    Launch,
    capabilities_of,
)


class ScriptContract:
    """What a Python script may rely on, wherever it runs."""

    def make_executor(self) -> Executor:
        """A new executor; made once a test, and again in other processes."""
        raise NotImplementedError

    @pytest.fixture
    def executor(self, request: pytest.FixtureRequest) -> Executor:
        made = self.make_executor()
        able = capabilities_of(made)
        for capability in getattr(request.function, "needs", ()):
            if not getattr(able, capability):
                pytest.skip(f"it says that it cannot: {capability}")
        return made

    @pytest.fixture
    def make(self, tmp_path: Path) -> MakeLaunch:
        return lambda *command, **changes: launch_in(tmp_path, *command, **changes)

    def end(self, executor: Executor, launch: Launch) -> Ended:
        executor.start(launch)
        return end_of(executor, launch.control)

    def script(self, executor: Executor, make: MakeLaunch, text: str, *words: str, **changes: Any) -> Launch:
        """The launch of a Python script with this text."""
        launch = make(sys.executable, "script.py", *words, **changes)
        (launch.working_directory / "script.py").write_text(text)
        return launch

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("", 0),
            ("raise SystemExit", 0),
            ("raise SystemExit(0)", 0),
            ("raise SystemExit(3)", 3),
            ("raise SystemExit(255)", 255),
            ("raise SystemExit(-1)", 255),
            ("raise SystemExit('said')", 1),
            ("raise ValueError('boom')", 1),
            ("syntax error", 1),
        ],
    )
    def test_a_script_ends_with_the_code_that_python_gives_it(
        self, executor: Executor, make: MakeLaunch, text: str, code: int
    ) -> None:
        ended = self.end(executor, self.script(executor, make, text))
        assert (ended.reason, ended.exit_code, ended.signal) == ("exited", code, None)

    def test_an_exception_is_told_from_the_scripts_first_line_on(self, executor: Executor, make: MakeLaunch) -> None:
        launch = self.script(executor, make, "def f():\n    raise ValueError('boom')\nprint('before')\nf()\n")
        self.end(executor, launch)
        lines = launch.stderr.read_text().splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        assert lines[1].endswith('script.py", line 4, in <module>')
        assert lines[-1] == "ValueError: boom"
        assert launch.stdout.read_text() == "before\n"

    def test_what_a_script_exits_with_as_text_is_on_stderr(self, executor: Executor, make: MakeLaunch) -> None:
        launch = self.script(executor, make, "import sys; sys.exit('no data')")
        self.end(executor, launch)
        assert launch.stderr.read_text() == "no data\n"

    def test_a_script_has_its_words_folder_and_environment(self, executor: Executor, make: MakeLaunch) -> None:
        text = (
            "import os, sys\n"
            "print(sys.argv[1:], os.getcwd(), os.environ['NAME'], os.environ['PWD'], 'HOME' in os.environ)\n"
            "print(__name__, os.path.basename(sys.argv[0]), os.path.samefile(sys.path[0], '.'))\n"
        )
        environment = {"PATH": os.environ["PATH"], "NAME": "a=b"}
        launch = self.script(executor, make, text, "--alpha", "", "x y", environment=environment)
        assert self.end(executor, launch).exit_code == 0
        here = launch.working_directory
        first, second = launch.stdout.read_text().splitlines()
        assert first == f"['--alpha', '', 'x y'] {here} a=b {here} False"
        assert second == "__main__ script.py True"

    def test_a_script_imports_what_lies_beside_it(self, executor: Executor, make: MakeLaunch) -> None:
        launch = self.script(executor, make, "import beside; print(beside.LAYERS)")
        (launch.working_directory / "beside.py").write_text("LAYERS = 3\n")
        assert self.end(executor, launch).exit_code == 0
        assert launch.stdout.read_text() == "3\n"

    @needs("stop")
    def test_a_script_is_ended_by_its_time_limit(self, executor: Executor, make: MakeLaunch) -> None:
        launch = self.script(executor, make, "import time; time.sleep(600)", time_limit_seconds=0.3)
        assert self.end(executor, launch).reason == "time_limit"

    @needs("poll", "stop")
    def test_a_script_is_ended_by_a_stop_from_another_process(self, executor: Executor, make: MakeLaunch) -> None:
        launch = self.script(executor, make, "import time; print('up', flush=True); time.sleep(600)")

        def stop_when_it_is_up() -> None:
            wait_for(lambda: launch.stdout.exists() and launch.stdout.read_bytes())
            other = self.make_executor()
            started_of(other, launch.control)
            other.stop(launch.control)

        beside = start_in_another_process(stop_when_it_is_up)
        ended = self.end(executor, launch)
        assert os.waitpid(beside, 0)[1] == 0
        assert (ended.reason, ended.signal) == ("stopped", signal.SIGTERM)

    @needs("stop")
    def test_a_script_may_handle_the_request_to_end(self, executor: Executor, make: MakeLaunch) -> None:
        text = (
            "import signal, sys, time\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
            "print('up', flush=True)\ntime.sleep(600)\n"
        )
        launch = self.script(executor, make, text, time_limit_seconds=1.0, grace_seconds=30.0)
        ended = self.end(executor, launch)
        assert (ended.reason, ended.exit_code) == ("time_limit", 5)

    def test_a_script_that_was_started_is_not_started_again(self, executor: Executor, make: MakeLaunch) -> None:
        launch = self.script(executor, make, "print('ran')")
        ended = self.end(executor, launch)
        with pytest.raises(AlreadyStarted):
            executor.start(launch)
        assert executor.poll(launch.control) == ended
        assert launch.stdout.read_text() == "ran\n"

    @needs("stop")
    def test_a_stop_before_the_script_prevents_it(self, executor: Executor, make: MakeLaunch) -> None:
        launch = self.script(executor, make, "print('ran')")
        executor.stop(launch.control)
        ended = self.end(executor, launch)
        assert (ended.reason, ended.started) == ("stopped", None)

    def test_a_script_that_is_not_there_ends_badly(self, executor: Executor, make: MakeLaunch) -> None:
        ended = self.end(executor, make(sys.executable, "gone.py"))
        assert ended.reason == "not_started" or ended.exit_code not in (0, None)

    def test_a_child_that_a_script_forked_ends_for_itself(self, executor: Executor, make: MakeLaunch) -> None:
        text = (
            "import os, sys\nchild = os.fork()\n"
            "if child == 0: sys.exit(7)\n"
            "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\nsys.exit(2)\n"
        )
        launch = self.script(executor, make, text)
        assert self.end(executor, launch).exit_code == 2
        assert launch.stdout.read_text() == "7\n"

    def test_a_script_waits_for_its_threads(self, executor: Executor, make: MakeLaunch) -> None:
        text = "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()\n"
        launch = self.script(executor, make, text)
        self.end(executor, launch)
        assert launch.stdout.read_text() == "late\n"
