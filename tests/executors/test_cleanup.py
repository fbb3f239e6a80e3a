"""What a script keeps outside of its tree is ended with it, however it ends; and what ends it in a container."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from local_helpers import lose_supervisor

from onrecord.executors import container_init, container_keeper
from onrecord.executors.container_engine import Engine, can_be_pulled, complaint, find_engine
from onrecord.executors.container_errors import NoContainerEngine
from onrecord.executors.contract import end_of, launch_in, started_of, wait_for
from onrecord.executors.errors import InvalidLaunch
from onrecord.executors.local import LocalExecutor
from onrecord.executors.protocol import Ended, Launch

INIT, KEEPER = Path(container_init.__file__), Path(container_keeper.__file__)
# Fails the first time, and says each time that it was there.
CLEANUP = 'echo "$MARK" >>"$1/cleaned"; [ "$(wc -l <"$1/cleaned")" -ge "$2" ]'


def launch_with_cleanup(folder: Path, *command: str, times: int = 1) -> Launch:
    """A launch whose cleanup succeeds at the given attempt."""
    plain = launch_in(folder, *command)
    return Launch(
        command=plain.command, working_directory=plain.working_directory,
        environment={**plain.environment, "MARK": "of the launch"}, stdout=plain.stdout, stderr=plain.stderr,
        control=plain.control, grace_seconds=plain.grace_seconds,
        cleanup=("/bin/sh", "-c", CLEANUP, "sh", str(folder), str(times)),
    )  # fmt: skip


def cleaned(folder: Path) -> list[str]:
    return (folder / "cleaned").read_text().splitlines() if (folder / "cleaned").exists() else []


def test_the_cleanup_runs_after_the_script_in_its_environment_and_again_when_it_fails(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_with_cleanup(tmp_path, "sh", "-c", "exit 3", times=2)
    executor.start(launch)
    ended = end_of(executor, launch.control)
    assert (ended.exit_code, ended.message) == (3, "exited with code 3")
    assert cleaned(tmp_path) == ["of the launch"] * 2


def test_a_script_that_was_killed_is_cleaned_up_after(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_with_cleanup(tmp_path, "sleep", "600")
    executor.start(launch)
    os.kill(started_of(executor, launch.control).pid, signal.SIGKILL)
    assert end_of(executor, launch.control).signal == signal.SIGKILL
    assert cleaned(tmp_path) == ["of the launch"]


def test_a_stop_asks_the_first_process_only_because_it_passes_it_on(tmp_path: Path) -> None:
    program = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda number, frame: child.kill())
child = subprocess.Popen([sys.executable, "-c", '''
import signal, time
signal.signal(signal.SIGTERM, lambda number, frame: print("child told", flush=True))
print("up", flush=True)
while True:
    time.sleep(0.02)
'''])
child.wait()
sys.exit(4)
"""
    executor, launch = LocalExecutor(), launch_with_cleanup(tmp_path, sys.executable, "-c", program)
    executor.start(launch)
    wait_for(lambda: launch.stdout.exists() and launch.stdout.read_text() == "up\n")
    executor.stop(launch.control)
    ended = end_of(executor, launch.control)
    assert (ended.reason, ended.exit_code, launch.stdout.read_text()) == ("stopped", 4, "up\n")
    assert cleaned(tmp_path) == ["of the launch"]


def test_a_cleanup_that_cannot_be_done_is_told(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_with_cleanup(tmp_path, "sleep", "600", times=99)
    executor.start(launch)
    started_of(executor, launch.control)
    lose_supervisor(launch.control)
    settled = executor.recover(launch.control)
    assert isinstance(settled, Ended)
    assert "what it kept elsewhere could not be ended" in settled.message
    assert cleaned(tmp_path) == ["of the launch"]
    gone = launch_in(tmp_path / "other", "true")
    launch = Launch(
        command=gone.command, working_directory=gone.working_directory, environment=gone.environment,
        stdout=gone.stdout, stderr=gone.stderr, control=gone.control, cleanup=("/nonexistent/program",),
    )  # fmt: skip
    executor.start(launch)
    ended = end_of(executor, launch.control)
    assert (ended.exit_code, ended.message) == (0, "exited with code 0; what it kept elsewhere could not be ended")


def test_a_cleanup_is_checked_as_a_command_is(tmp_path: Path) -> None:
    plain = launch_in(tmp_path, "true")
    with pytest.raises(InvalidLaunch, match="NUL"):
        Launch(("true",), tmp_path, {}, plain.stdout, plain.stderr, plain.control, cleanup=("a\0b",))


# ---- in a container --------------------------------------------------------------------------------


def init(tmp_path: Path, *command: str) -> tuple[int, dict[str, object]]:
    """Its exit code and its report."""
    report = tmp_path / "report.json"
    asked = subprocess.run([sys.executable, "-I", "-S", str(INIT), str(report), *command], check=False)
    return asked.returncode, json.loads(report.read_text())


def test_the_first_process_reports_exit_codes_signals_and_what_is_not_there(tmp_path: Path) -> None:
    assert init(tmp_path, "sh", "-c", "exit 5") == (5, {"exit_code": 5, "oom_kills": 0, "survivors": 0})
    assert init(tmp_path, "sh", "-c", "kill -9 $$") == (137, {"signal": 9, "oom_kills": 0, "survivors": 0})
    code, report = init(tmp_path, "/nonexistent/program")
    assert (code, report) == (127, {"not_started": "cannot start /nonexistent/program: No such file or directory"})


def test_the_first_process_passes_signals_on(tmp_path: Path) -> None:
    report, ready = tmp_path / "report.json", tmp_path / "ready"
    script = f"trap 'exit 6' TERM; touch {ready}; while :; do sleep 0.02; done"
    process = subprocess.Popen([sys.executable, "-I", "-S", str(INIT), str(report), "sh", "-c", script])
    wait_for(lambda: ready.exists() and (tmp_path / "report.json.up").exists())
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 6


def engine(folder: Path, run: str) -> Path:
    """A made-up engine: `run` is what it does; it notes how else it was called."""
    path = folder / "podman"
    path.write_text(f'#!/bin/sh\nif [ "$1" = run ]; then {run}; fi\necho "$@" >>{folder}/called\necho "{{}}"\n')
    path.chmod(0o755)
    return path


def keep(folder: Path, run: str) -> tuple[int, dict[str, object]]:
    """The keeper's exit code and what it found out, of a container that reports nothing of itself."""
    plan = {"engine": [str(engine(folder, run))], "name": "box", "run": ["run"], "grace_seconds": 1, "has_init": False,
            "report": str(folder / "report"), "end": str(folder / "end"), "place": str(folder)}  # fmt: skip
    (folder / "plan").write_text(json.dumps(plan))
    with (folder / "stderr").open("w") as stderr:
        asked = subprocess.run(
            [sys.executable, "-I", "-S", str(KEEPER), "run", str(folder / "plan")], stderr=stderr, check=False
        )
    return asked.returncode, json.loads((folder / "end").read_text())


def test_an_engine_that_fails_is_told_from_a_script_that_does(tmp_path: Path) -> None:
    code, ended = keep(tmp_path, "echo 'Error: no such runtime' >&2; echo 'See --help' >&2; exit 125")
    assert (code, ended["not_started"]) == (125, "Error: no such runtime")
    code, ended = keep(tmp_path, "exit 9")
    assert (code, ended["exit_code"], ended["not_started"]) == (9, 9, "")


def test_memory_that_ran_out_in_an_image_without_a_python_is_seen_by_the_monitors_file(tmp_path: Path) -> None:
    (tmp_path / "oom").touch()
    code, ended = keep(tmp_path, "exit 137")
    assert (code, ended["oom"], ended["signal"]) == (-signal.SIGKILL, True, signal.SIGKILL)


def test_a_container_is_ended_by_its_name(tmp_path: Path) -> None:
    program = engine(tmp_path, "exit 0")
    words = [sys.executable, "-I", "-S", str(KEEPER), "end", str(program), "box"]
    assert subprocess.run(words, check=False).returncode == 0
    assert (tmp_path / "called").read_text().splitlines() == ["rm --volumes box"]
    (tmp_path / "called").unlink()
    running = program.read_text().replace("echo", '[ "$1 $2" != "rm --volumes" ] || refused=1\necho', 1)
    program.write_text(running.replace('echo "{}"', "exit ${refused:-0}"))
    assert subprocess.run(words, check=False).returncode == 0
    assert (tmp_path / "called").read_text().splitlines() == [
        "rm --volumes box", "kill --signal KILL box", "rm --force --volumes box",
    ]  # fmt: skip
    program.write_text("#!/bin/sh\nexit 1\n")
    assert subprocess.run(words, check=False).returncode == 1


# ---- which engine ----------------------------------------------------------------------------------


def test_podman_comes_first_and_a_docker_that_starts_podman_is_podman(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONRECORD_CONTAINER_ENGINE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoContainerEngine):
        find_engine()
    (tmp_path / "docker").write_text("#!/bin/sh\nexec podman\n")
    (tmp_path / "docker").chmod(0o755)
    assert find_engine() == Engine("podman", str(tmp_path / "docker"))
    (tmp_path / "docker").write_text("#!/bin/sh\n")
    assert find_engine() == Engine("docker", str(tmp_path / "docker"))
    engine(tmp_path, "")
    assert find_engine() == Engine("podman", str(tmp_path / "podman"))
    assert find_engine("docker") == Engine("docker", str(tmp_path / "docker"))
    monkeypatch.setenv("ONRECORD_CONTAINER_ENGINE", "podman")
    assert find_engine("docker").kind == "podman"
    (tmp_path / "runner").write_text("")
    (tmp_path / "runner").chmod(0o755)
    with pytest.raises(NoContainerEngine, match="no container engine"):
        monkeypatch.setenv("ONRECORD_CONTAINER_ENGINE", "runner")
        find_engine()


def test_names_that_no_registry_has_are_known() -> None:
    assert not can_be_pulled("localhost/mine:1")
    assert not can_be_pulled("sha256:" + "0" * 64)
    assert can_be_pulled("python:3.12")
    assert can_be_pulled("registry.example.org:5000/a/b@sha256:" + "0" * 64)


def test_of_what_an_engine_says_the_error_is_repeated() -> None:
    assert complaint("Error: unknown flag: --x\nSee 'podman run --help'\n") == "Error: unknown flag: --x"
    assert complaint("one\ntwo\n") == "two"
    assert complaint("") == ""
