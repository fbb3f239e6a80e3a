"""The executor of this machine keeps the contract, and says in its own words what it could not start."""

from __future__ import annotations

from pathlib import Path

from onrecord.executors.contract import ExecutorContract, end_of, launch_in
from onrecord.executors.local import LocalExecutor
from onrecord.executors.protocol import Executor


class TestLocalExecutor(ExecutorContract):
    def make_executor(self) -> Executor:
        return LocalExecutor()


def why_not(folder: Path, *command: str, **changes: object) -> str:
    launch = launch_in(folder, *command, **changes)
    executor = LocalExecutor()
    executor.start(launch)
    return end_of(executor, launch.control).message


def test_what_could_not_be_started_is_named_with_the_reason(tmp_path: Path) -> None:
    assert why_not(tmp_path / "a", "/no/such/python") == "cannot start /no/such/python: No such file or directory"
    assert why_not(tmp_path / "b", "no-such-program") == "cannot start no-such-program: not found on PATH"
    program = tmp_path / "program"
    program.write_text("#!/no/such/interpreter -u\n")
    assert why_not(tmp_path / "c", str(program)) == f"cannot start {program}: Permission denied"
    program.chmod(0o755)
    assert "'/no/such/interpreter -u'" in why_not(tmp_path / "d", str(program))
    gone = tmp_path / "gone"
    message = f"cannot enter the working directory {gone}: No such file or directory"
    assert why_not(tmp_path / "e", "true", working_directory=gone) == message
