"""Runs in the process that submits them: records like any other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from face_make import clean_environment, leaves_nothing, project, run_to_end, submit, wait_until

from onrecord import Environment, Experiment, MpiConfiguration, Run, ScriptRunConfig, Workspace
from onrecord.compute_target import BadTarget
from onrecord.script_run_config import BadConfig

TRAIN = """
import os, pathlib, sys
import onrecord
run = onrecord.Run.get_context()
run.log("loss", 0.25, step=3)
pathlib.Path("outputs/model.txt").write_text("weights")
print("pid", os.getpid(), sys.argv[1:])
"""


def inline(folder: Path, source: str, **options: object) -> Run:
    return run_to_end(folder, source, compute_target="inline", **options)


def test_submit_returns_a_run_that_ended_here_with_all_that_a_run_has(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": TRAIN})
    run = submit(tmp_path, arguments=["--alpha", 0.1], compute_target="inline")
    assert run.status == "Completed"
    assert run.get_metrics() == {"loss": 0.25}
    assert {"outputs/model.txt", "logs/stdout.txt"} <= set(run.get_file_names())
    log = run.workspace.layout.run(run.id).stdout.read_text()
    assert log == f"pid {os.getpid()} ['--alpha', '0.1']\n"
    types = [recorded.type for recorded in run.workspace.journal.read(run.id)]
    assert [kind for kind in types if kind in ("run.preparing", "run.running", "run.completed", "run.sealed")] == [
        "run.preparing", "run.running", "run.completed", "run.sealed",
    ]  # fmt: skip
    assert "ONRECORD_RUN_ID" not in os.environ


def test_an_exception_fails_the_run_and_not_the_caller(tmp_path: Path) -> None:
    run = inline(tmp_path, "raise ValueError('boom')")
    row = run.workspace.query.run(run.id)
    assert (row.status, row.exit_code) == ("Failed", 1)
    error = row.error or {}
    assert error["message"] == "the script ended with exit code 1: ValueError: boom"
    assert "onrecord/executors" not in error["details"]


def test_a_limit_and_a_cancel_end_an_inline_run(tmp_path: Path) -> None:
    limited = inline(tmp_path, "import time; time.sleep(600)", max_run_duration_seconds=0.5)
    assert (limited.workspace.query.run(limited.id).error or {}).get("code") == "time_limit"
    text = "import onrecord, time\nonrecord.Run.get_context().cancel()\ntime.sleep(600)\n"
    assert inline(tmp_path, text).status == "Canceled"


def test_ctrl_c_cancels_the_run_and_reaches_the_caller(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        submit(tmp_path, compute_target="inline")
    workspace = Workspace(tmp_path)
    assert workspace.query.run(workspace.query.find("@last")).status == "Canceled"


HOST = """
import sys
from onrecord import Experiment, ScriptRunConfig, Workspace
Experiment(Workspace(sys.argv[1]), "tests").submit(ScriptRunConfig(sys.argv[1], "train.py", compute_target="inline"))
"""


def host_of(folder: Path) -> subprocess.Popen[bytes]:
    """Another process that runs train.py inline, in a workspace that is there."""
    Workspace.create(folder, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", HOST, str(folder)],
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("how", ["os._exit(0)", "os.kill(os.getpid(), 9)", "os.abort()"])
def test_a_host_that_dies_is_on_record_as_that_and_not_as_success(tmp_path: Path, how: str) -> None:
    project(tmp_path, {"train.py": f"import os, resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n{how}\n"})
    host_of(tmp_path).wait()
    workspace = Workspace(tmp_path)
    run = workspace.get_run("@last")
    wait_until(run.has_ended)
    row = workspace.query.run(run.id)
    assert (row.status, row.exit_code, (row.error or {})["code"]) == ("Failed", None, "Lost")


def test_a_host_killed_before_the_script_starts_leaves_a_run_that_ends(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "import time; time.sleep(600)", **{f"f{n}.txt": "x" for n in range(300)}})
    ends = set()
    for pause in (0.05, 0.2, 0.3, 0.4):
        host = host_of(tmp_path)
        time.sleep(pause)
        host.send_signal(signal.SIGKILL)
        host.wait()
        workspace = Workspace(tmp_path)
        workspace.recover()
        for row in workspace.query.runs():
            wait_until(Run(workspace, row.run_id).has_ended)
            ended = workspace.query.run(row.run_id)
            ends.add((ended.status, (ended.error or {}).get("code")))
    assert ends <= {("Failed", "Lost")}


def test_what_cannot_be_inline_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "", "other/bin/python": ""})
    workspace = Workspace.create(tmp_path)

    def refused(**options: object) -> str:
        with pytest.raises(BadConfig) as caught:
            Experiment(workspace, "tests").submit(
                ScriptRunConfig(tmp_path, "train.py", compute_target="inline", **options)  # type: ignore[arg-type]
            )
        return str(caught.value)

    assert "several processes" in refused(distributed_job_config=MpiConfiguration(2))
    other = Environment("other")
    other.python.user_managed_dependencies = True
    other.python.interpreter_path = str(tmp_path / "other/bin/python")
    assert "another interpreter" in refused(environment=other)
    assert leaves_nothing(tmp_path)


def test_an_inline_target_has_no_limits_and_may_have_a_name(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "print(1)"})
    workspace = Workspace.create(tmp_path)
    with workspace.layout.config.open("a") as config:
        config.write('\n[targets.debug]\nexecutor = "inline"\n')
    assert submit(tmp_path, compute_target="debug").status == "Completed"
    with workspace.layout.config.open("a") as config:
        config.write("max_concurrent = 1\n")
    with pytest.raises(BadTarget, match="max_concurrent is 1"):
        submit(tmp_path, compute_target="debug")
