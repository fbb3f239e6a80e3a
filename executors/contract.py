"""What every executor must do, as tests that any executor can run with pytest. Imported by tests only.

    class TestMyExecutor(ExecutorContract):
        def make_executor(self) -> Executor:
            return MyExecutor()

`ExecutorContract` starts programs and needs a POSIX shell where they run, `ScriptContract`, which is part of it, only
Python scripts; both need a folder (`tmp_path`) that both sides see. What an executor says in its `capabilities` that
it cannot do is skipped. In a `conftest.py`, `pytest.register_assert_rewrite` of this module, `contract_scripts` and
`contract_steps` makes failures tell their values.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from onrecord.executors.contract_scripts import ScriptContract
from onrecord.executors.contract_steps import (
    MakeLaunch,
    end_of,
    in_another_process,
    launch_in,
    needs,
    progress_until,
    started_of,
    wait_for,
)
from onrecord.executors.errors import AlreadyStarted, NothingStarted
from onrecord.executors.protocol import (
    Executor,
    Waiting,
)

__all__ = [
    "ExecutorContract",
    "MakeLaunch",
    "ScriptContract",
    "end_of",
    "in_another_process",
    "launch_in",
    "needs",
    "progress_until",
    "started_of",
    "wait_for",
]


class ExecutorContract(ScriptContract):
    """Start, poll, wait, stop, recover and logs, as `protocol.Executor` promises them, for any program."""

    @pytest.mark.parametrize("code", [0, 1, 2, 3, 75, 126, 127, 128, 137, 255])
    def test_every_exit_code_is_reported_exactly(self, executor: Executor, make: MakeLaunch, code: int) -> None:
        ended = self.end(executor, make("sh", "-c", f"exit {code}"))
        assert (ended.reason, ended.exit_code, ended.signal) == ("exited", code, None)
        assert ended.started is not None
        assert ended.survivors_killed == 0

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGHUP])
    def test_a_killed_script_reports_its_signal(
        self, executor: Executor, make: MakeLaunch, number: signal.Signals
    ) -> None:
        ended = self.end(executor, make("sh", "-c", f"ulimit -c 0; kill -{int(number)} $$"))
        assert (ended.reason, ended.exit_code, ended.signal) == ("exited", None, number)
        assert number.name in ended.message

    def test_a_missing_program_was_not_started(self, executor: Executor, make: MakeLaunch) -> None:
        ended = self.end(executor, make("/no/such/python"))
        assert (ended.reason, ended.exit_code, ended.started) == ("not_started", None, None)
        assert "/no/such/python" in ended.message

    def test_a_program_that_is_not_on_the_path_was_not_started(self, executor: Executor, make: MakeLaunch) -> None:
        ended = self.end(executor, make("no-such-program"))
        assert ended.reason == "not_started"
        assert "no-such-program" in ended.message

    def test_a_file_that_may_not_be_executed_was_not_started(
        self, executor: Executor, make: MakeLaunch, tmp_path: Path
    ) -> None:
        program = tmp_path / "program"
        program.write_text("#!/bin/sh\n")
        ended = self.end(executor, make(str(program)))
        assert ended.reason == "not_started"
        assert str(program) in ended.message

    def test_a_program_without_its_interpreter_was_not_started(
        self, executor: Executor, make: MakeLaunch, tmp_path: Path
    ) -> None:
        program = tmp_path / "program"
        program.write_text("#!/no/such/interpreter -u\n")
        program.chmod(0o755)
        ended = self.end(executor, make(str(program)))
        assert ended.reason == "not_started"
        assert str(program) in ended.message

    def test_a_missing_working_directory_was_not_started(
        self, executor: Executor, make: MakeLaunch, tmp_path: Path
    ) -> None:
        ended = self.end(executor, make("true", working_directory=tmp_path / "gone"))
        assert ended.reason == "not_started"
        assert f"{tmp_path}/gone" in ended.message

    @needs("stop")
    def test_the_time_limit_ends_a_script(self, executor: Executor, make: MakeLaunch) -> None:
        ended = self.end(executor, make("sleep", "600", time_limit_seconds=0.2))
        assert (ended.reason, ended.exit_code, ended.signal) == ("time_limit", None, signal.SIGTERM)

    @needs("stop")
    def test_the_time_limit_ends_a_stopped_script(self, executor: Executor, make: MakeLaunch) -> None:
        ended = self.end(executor, make("sh", "-c", "kill -STOP $$; exit 3", time_limit_seconds=0.2))
        assert ended.reason == "time_limit"

    def test_a_script_that_ends_before_its_limit_has_exited(self, executor: Executor, make: MakeLaunch) -> None:
        ended = self.end(executor, make("sh", "-c", "exit 4", time_limit_seconds=600))
        assert (ended.reason, ended.exit_code) == ("exited", 4)

    @needs("stop")
    def test_a_stop_ends_a_script(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("sleep", "600")
        executor.start(launch)
        started_of(executor, launch.control)
        executor.stop(launch.control)
        executor.stop(launch.control)
        ended = end_of(executor, launch.control)
        assert (ended.reason, ended.signal) == ("stopped", signal.SIGTERM)

    @needs("stop")
    def test_a_script_may_tidy_up_within_the_grace(self, executor: Executor, make: MakeLaunch) -> None:
        text = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done"
        launch = make("sh", "-c", text, grace_seconds=30.0)
        executor.start(launch)
        wait_for(lambda: launch.stdout.exists() and launch.stdout.read_bytes())
        executor.stop(launch.control)
        ended = end_of(executor, launch.control)
        assert (ended.reason, ended.exit_code) == ("stopped", 5)
        assert launch.stdout.read_text() == "up\nbye\n"

    @needs("stop")
    def test_a_script_that_ignores_sigterm_is_killed(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("sh", "-c", "trap '' TERM; echo up; sleep 600", grace_seconds=0.2)
        executor.start(launch)
        wait_for(lambda: launch.stdout.exists() and launch.stdout.read_bytes())
        executor.stop(launch.control)
        ended = end_of(executor, launch.control)
        assert (ended.reason, ended.signal) == ("stopped", signal.SIGKILL)

    @needs("stop")
    def test_what_was_started_is_never_withdrawn(self, executor: Executor, make: MakeLaunch, tmp_path: Path) -> None:
        launch = make("sleep", "600")
        assert not executor.withdraw(launch.control)
        executor.start(launch)
        assert not executor.withdraw(launch.control)
        started_of(executor, launch.control)
        assert not executor.withdraw(launch.control)
        executor.stop(launch.control)
        ended = end_of(executor, launch.control)
        assert not executor.withdraw(launch.control)
        assert executor.poll(launch.control) == ended

    @needs("stop")
    def test_a_stop_just_after_the_start_is_not_lost(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("sleep", "600")
        executor.start(launch)
        executor.stop(launch.control)
        assert end_of(executor, launch.control).reason == "stopped"

    @needs("stop")
    def test_a_stop_before_the_start_prevents_it(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("sh", "-c", "echo ran")
        executor.stop(launch.control)
        ended = self.end(executor, launch)
        assert (ended.reason, ended.started) == ("stopped", None)
        assert not launch.stdout.exists() or launch.stdout.read_bytes() == b""

    def test_a_stop_after_the_end_changes_nothing(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("sh", "-c", "exit 6")
        ended = self.end(executor, launch)
        executor.stop(launch.control)
        assert executor.poll(launch.control) == ended
        assert executor.recover(launch.control) == ended

    def test_a_control_folder_is_used_once(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("sleep", "0.2")
        executor.start(launch)
        with pytest.raises(AlreadyStarted):
            executor.start(launch)
        end_of(executor, launch.control)
        with pytest.raises(AlreadyStarted):
            executor.start(launch)

    def test_before_the_start_there_is_nothing_but_waiting(self, executor: Executor, tmp_path: Path) -> None:
        assert executor.poll(tmp_path / "none") == Waiting()
        assert executor.poll(tmp_path) == Waiting()
        assert executor.wait(tmp_path, 0.01) == Waiting()
        assert executor.recover(tmp_path) == Waiting()
        with pytest.raises(NothingStarted):
            executor.logs(tmp_path)

    @needs("stop")
    def test_waiting_ends_at_the_timeout(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("sleep", "600")
        executor.start(launch)
        started = started_of(executor, launch.control)
        assert executor.wait(launch.control, 0.1, started) == started
        executor.stop(launch.control)
        end_of(executor, launch.control)

    def test_waiting_for_what_has_ended_returns_at_once(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("true")
        ended = self.end(executor, launch)
        before = time.monotonic()
        assert executor.wait(launch.control, 3600.0, ended) == ended
        assert time.monotonic() - before < 600

    @needs("logs")
    def test_output_is_kept_byte_for_byte_and_appended(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("sh", "-c", r"printf '\000\377\n'; printf '\200' >&2")
        launch.stdout.parent.mkdir()
        launch.stdout.write_bytes(b"before\n")
        self.end(executor, launch)
        assert launch.stdout.read_bytes() == b"before\n\0\xff\n"
        assert launch.stderr.read_bytes() == b"\x80"

    @needs("logs")
    def test_both_outputs_may_go_to_one_file(self, executor: Executor, make: MakeLaunch, tmp_path: Path) -> None:
        log = tmp_path / "log.txt"
        self.end(executor, make("sh", "-c", "echo one; echo two >&2; echo three", stdout=log, stderr=log))
        assert log.read_text() == "one\ntwo\nthree\n"

    def test_the_logs_are_found_from_the_launch_and_from_the_folder(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("true")
        self.end(executor, launch)
        assert executor.logs(launch) == (launch.stdout, launch.stderr)
        assert executor.logs(launch.control) == (launch.stdout, launch.stderr)

    def test_the_script_gets_its_environment_and_folder(self, executor: Executor, make: MakeLaunch) -> None:
        odd = {"PATH": os.environ["PATH"], "NAME": "a=b \n'ü'", "EMPTY": "", "PWD": "/wrong", "RAW": "\udcff"}
        launch = make("env", "-0", environment=odd)
        self.end(executor, launch)
        fields = [entry.partition(b"=") for entry in launch.stdout.read_bytes().split(b"\0") if entry]
        given = {os.fsdecode(name): os.fsdecode(value) for name, _, value in fields}
        given.pop("ONRECORD_EXECUTION", "")
        assert given == {**odd, "PWD": str(launch.working_directory)}

    def test_arguments_arrive_unchanged(self, executor: Executor, make: MakeLaunch) -> None:
        odd = ["", " ", "a b", "'\"$HOME`", "*", "\n", "ü", "\udcfe", "-n", "x" * 100_000]
        launch = make("sh", "-c", r'for a; do printf "%s\0" "$a"; done', "sh", *odd)
        self.end(executor, launch)
        assert launch.stdout.read_bytes() == b"".join(os.fsencode(item) + b"\0" for item in odd)

    def test_a_relative_program_is_found_in_the_working_directory(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("./program", "x")
        program = launch.working_directory / "program"
        program.write_text('#!/bin/sh\necho "$1"; pwd\n')
        program.chmod(0o755)
        assert self.end(executor, launch).exit_code == 0
        assert launch.stdout.read_text() == f"x\n{launch.working_directory}\n"

    def test_the_script_reads_an_empty_stdin(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("sh", "-c", "cat; echo done")
        self.end(executor, launch)
        assert launch.stdout.read_text() == "done\n"

    def test_a_script_may_close_its_output(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("sh", "-c", "exec >&- 2>&-; sleep 0.1; exit 8")
        assert self.end(executor, launch).exit_code == 8

    @needs("survive")
    def test_the_script_survives_the_process_that_started_it(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("sh", "-c", "sleep 0.3; echo alive; exit 9")
        in_another_process(lambda: executor.start(launch), then_kill=True)
        assert end_of(executor, launch.control).exit_code == 9
        assert launch.stdout.read_text() == "alive\n"

    @needs("poll", "stop")
    def test_any_process_can_watch_and_stop(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("sleep", "600")
        executor.start(launch)
        started = started_of(executor, launch.control)

        def other() -> None:
            fresh = self.make_executor()
            assert fresh.poll(launch.control) == started
            fresh.stop(launch.control)
            assert end_of(fresh, launch.control).reason == "stopped"

        assert in_another_process(other) == 0
        assert end_of(executor, launch.control).reason == "stopped"

    @needs("stop")
    def test_what_a_script_leaves_behind_is_ended_and_counted(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("sh", "-c", "sleep 600 & echo $!; exit 3")
        ended = self.end(executor, launch)
        assert (ended.reason, ended.exit_code, ended.survivors_killed) == ("exited", 3, 1)
        with pytest.raises(ProcessLookupError):
            os.kill(int(launch.stdout.read_text()), 0)

    @needs("adopt", "stop")
    def test_recovering_a_running_script_leaves_it_alone(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("sleep", "600")
        executor.start(launch)
        started = started_of(executor, launch.control)
        assert executor.recover(launch.control) == started
        assert executor.poll(launch.control) == started
        executor.stop(launch.control)
        assert end_of(executor, launch.control).reason == "stopped"

    @needs("resources")
    def test_what_it_used_is_told_in_the_end(self, executor: Executor, make: MakeLaunch) -> None:
        ended = self.end(executor, make("sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"))
        assert ended.cpu_seconds is not None and ended.cpu_seconds > 0
        assert ended.max_rss_bytes is not None and ended.max_rss_bytes > 0

    @needs("logs")
    def test_what_children_write_is_in_the_logs(self, executor: Executor, make: MakeLaunch) -> None:
        launch = make("sh", "-c", "(echo out; echo err >&2) & wait")
        self.end(executor, launch)
        assert (launch.stdout.read_text(), launch.stderr.read_text()) == ("out\n", "err\n")
