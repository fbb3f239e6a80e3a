"""Scripts in containers, by a real podman: what they see, how they end, and that nothing of them is left."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from container_host import IMAGE, ContainerHost, environment, started
from environment_make import offline, wheel
from face_make import lives, onrecord, project, run_to_end, submit, wait_until

from onrecord import (
    DockerBuildContext,
    DockerConfiguration,
    Environment,
    OnRecordError,
    PyTorchConfiguration,
    Run,
    Workspace,
)
from onrecord.built_environment import keys_in_use
from onrecord.executors.environment_cache import Cache
from onrecord.resources import Resources

WAITS = """
import signal, time
def told(number, frame):
    print("told", number, flush=True)
signal.signal(signal.SIGTERM, told)
print("up", flush=True)
while True:
    time.sleep(0.05)
"""


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> ContainerHost:
    return started(tmp_path_factory.mktemp("podman"))


def said(run: Run, name: str = "logs/stdout.txt") -> str:
    return run.read_file(name).decode().strip()


def control(run: Run) -> Path:
    return run.workspace.layout.run(run.id).path


def up(run: Run) -> dict[str, int]:
    """Wait for a script to say so; the pids of its supervisor and of what stands in for it."""
    log = run.workspace.layout.run(run.id).stdout
    wait_until(lambda: log.exists() and "up" in log.read_text())
    found = json.loads((control(run) / "started").read_text())
    return {"keeper": found["pid"], "supervisor": found["supervisor"]["pid"]}


def error(run: Run) -> dict[str, str]:
    found: dict[str, str] = run.get_details()["error"]
    return found


# ---- what a script sees ----------------------------------------------------------------------------


def test_a_script_in_a_container_runs_as_any_other_and_everything_about_it_is_kept(
    tmp_path: Path, podman: ContainerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRAY", "of the machine")
    tiny = environment()
    tiny.environment_variables |= {"MESSAGE": "two\nlines", "HOME": "/tmp/home"}
    script = """
        import json, os, pathlib, sys
        from onrecord import Run
        run = Run.get_context()
        run.log("loss", 0.5)
        run.tag("seen", "inside")
        pathlib.Path("outputs/model.bin").write_bytes(b"model")
        print(json.dumps({
            "message": os.environ["MESSAGE"], "home": os.environ["HOME"], "stray": os.environ.get("STRAY"),
            "folder": os.getcwd(), "arguments": sys.argv[1:], "first": os.getpid() == 1, "metrics": run.get_metrics(),
            "host": pathlib.Path("/var").exists(),
        }))
        print("a warning", file=sys.stderr)
        sys.exit(7)
    """
    lines = "\n".join(line.removeprefix(" " * 8) for line in script.splitlines())
    run = run_to_end(tmp_path / 'a "folder", with:marks', lines, environment=tiny, arguments=["--alpha", "0,3"])
    assert (run.status, error(run)["code"]) == ("Failed", "ScriptFailed")
    assert run.get_details()["exitCode"] == 7
    seen = json.loads(said(run))
    assert seen == {
        "message": "two\nlines", "home": "/tmp/home", "stray": None, "folder": str(control(run) / "work"),
        "arguments": ["--alpha", "0,3"], "first": False, "metrics": {"loss": 0.5}, "host": False,
    }  # fmt: skip
    assert said(run, "logs/stderr.txt") == "a warning"
    assert (run.get_metrics(), run.get_tags()) == ({"loss": 0.5}, {"seen": "inside"})
    assert run.read_file("outputs/model.bin") == b"model"
    assert (control(run) / "work/outputs/model.bin").stat().st_uid == os.geteuid()
    kept = run.get_properties()
    assert kept["onrecord.container.image"] == IMAGE
    assert kept["onrecord.container.engine"] == "podman"
    assert kept["onrecord.container.image_id"].startswith("sha256:")
    assert kept["onrecord.container.digest"].startswith("sha256:")
    known = json.loads(run.read_file("onrecord/environment.json"))
    assert known["container"]["image"] == IMAGE
    assert known["python"]["version"] == sys.version
    assert run.get_environment() == tiny
    assert podman.containers(run.id) == []


def test_a_script_that_a_signal_ended_is_told_from_one_with_that_exit_code(
    tmp_path: Path, podman: ContainerHost
) -> None:
    killed = run_to_end(tmp_path, "import os; os.kill(os.getpid(), 11)", environment=environment())
    assert error(killed)["message"] == "the script was killed by SIGSEGV"
    ended = run_to_end(tmp_path, "import sys; sys.exit(139)", environment=environment())
    assert error(ended)["message"] == "the script ended with exit code 139"


@pytest.mark.long
def test_what_a_script_leaves_running_is_ended_with_its_container(tmp_path: Path, podman: ContainerHost) -> None:
    run = run_to_end(tmp_path, "import subprocess; subprocess.Popen(['sleep', '300'])", environment=environment())
    assert run.status == "Completed"
    assert podman.containers(run.id) == []


def test_memory_that_runs_out_is_named(tmp_path: Path, podman: ContainerHost) -> None:
    greedy = "kept = [bytearray(1 << 20) for _ in range(400)]"
    limits = Resources(cores=1, memory="64 MB")
    run = run_to_end(tmp_path, greedy, environment=environment(), resources=limits)
    assert error(run)["code"] == "KilledBySignal"
    assert "SIGKILL: out of memory" in error(run)["message"]
    assert "its limit is 64 MB" in error(run)["message"]


def test_processes_of_one_job_meet_in_one_container(tmp_path: Path, podman: ContainerHost) -> None:
    run = run_to_end(
        tmp_path, "import os; print(os.environ['RANK'], os.environ['WORLD_SIZE'])", environment=environment(),
        distributed_job_config=PyTorchConfiguration("Gloo", 2),
    )  # fmt: skip
    assert run.status == "Completed", error(run)
    assert [said(run, f"logs/rank-{rank}.txt") for rank in (0, 1)] == ["0 2", "1 2"]


def test_a_job_can_do_without_its_environments_container(tmp_path: Path) -> None:
    tiny = environment(image="localhost/not-there:1")
    tiny.python.interpreter_path = None
    run = run_to_end(
        tmp_path, "print('outside')", environment=tiny, docker_runtime_config=DockerConfiguration(use_docker=False)
    )
    assert (run.status, said(run)) == ("Completed", "outside")


# ---- how it ends -----------------------------------------------------------------------------------


def test_a_cancel_asks_the_script_once_and_ends_its_container(tmp_path: Path, podman: ContainerHost) -> None:
    project(
        tmp_path, {"train.py": WAITS.replace("flush=True)\nsignal", "flush=True)\n    raise SystemExit(5)\nsignal")}
    )
    run = submit(tmp_path, environment=environment())
    up(run)
    run.cancel()
    run.wait_for_completion(raise_on_error=False)
    assert run.status == "Canceled"
    assert said(run) == "up\ntold 15"
    assert run.get_details()["exitCode"] == 5
    assert podman.containers(run.id) == []


def test_a_time_limit_ends_a_container(tmp_path: Path, podman: ContainerHost) -> None:
    run = run_to_end(tmp_path, "import time; time.sleep(300)", environment=environment(), max_run_duration_seconds=1)
    assert (run.status, error(run)["code"]) == ("Canceled", "time_limit")
    assert run.workspace.query.run(run.id).signal == signal.SIGTERM
    assert podman.containers(run.id) == []


@pytest.mark.long
def test_a_time_limit_ends_a_container_whose_script_does_not_listen(tmp_path: Path, podman: ContainerHost) -> None:
    run = run_to_end(tmp_path, WAITS, environment=environment(), max_run_duration_seconds=1)
    assert (run.status, error(run)["code"]) == ("Canceled", "time_limit")
    assert run.workspace.query.run(run.id).signal == signal.SIGKILL
    assert podman.containers(run.id) == []


def test_a_container_ends_with_what_stands_in_for_it(tmp_path: Path, podman: ContainerHost) -> None:
    project(tmp_path, {"train.py": WAITS})
    run = submit(tmp_path, environment=environment())
    os.kill(up(run)["keeper"], signal.SIGKILL)
    run.wait_for_completion(raise_on_error=False)
    assert run.status == "Failed"
    assert "not the script, but what stands in for its container" in error(run)["message"]
    assert podman.containers(run.id) == []


def test_a_container_ends_when_its_supervisor_was_killed(tmp_path: Path, podman: ContainerHost) -> None:
    project(tmp_path, {"train.py": WAITS})
    run = submit(tmp_path, environment=environment())
    pids = up(run)
    os.kill(pids["supervisor"], signal.SIGKILL)
    run.wait_for_completion(raise_on_error=False)
    assert (run.status, error(run)["code"]) == ("Failed", "Lost")
    assert podman.containers(run.id) == []
    assert not lives(pids["keeper"])


def test_a_script_goes_on_when_its_conductor_was_killed_and_its_end_is_the_true_one(
    tmp_path: Path, podman: ContainerHost
) -> None:
    project(tmp_path, {"train.py": "import pathlib, sys, time\nprint('up', flush=True)\n"
                       "while not pathlib.Path('go').exists():\n    time.sleep(0.02)\nsys.exit(3)"})  # fmt: skip
    run = submit(tmp_path, environment=environment())
    up(run)
    conductors = [
        int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"onrecord.conductor" in _bytes(path) and run.id.encode() in _bytes(path)
    ]  # fmt: skip
    for pid in conductors:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(lives(pid) for pid in conductors))
    assert podman.containers(run.id) != []
    run.workspace.recover(5)
    (control(run) / "work" / "go").touch()
    run.wait_for_completion(raise_on_error=False)
    assert (run.status, run.get_details()["exitCode"]) == ("Failed", 3)
    assert podman.containers(run.id) == []


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.long
def test_a_container_ends_when_the_folder_of_its_run_is_removed(tmp_path: Path, podman: ContainerHost) -> None:
    import shutil

    project(tmp_path, {"train.py": "import time; print('up', flush=True); time.sleep(300)"})
    run = submit(tmp_path, environment=environment())
    up(run)
    shutil.rmtree(control(run), ignore_errors=True)
    run.workspace.recover(5)
    run.wait_for_completion(raise_on_error=False)
    assert (run.status, error(run)["code"]) == ("Failed", "Lost")
    assert podman.containers(run.id) == []


# ---- images that are built -------------------------------------------------------------------------


def context(folder: Path, text: str = "data") -> Environment:
    """Of a folder that an image is built from, with the same files of this machine shown in it."""
    project(folder, {"Dockerfile": f"FROM {IMAGE}\nCOPY data.txt /data/data.txt\nENV COLOR=red\n", "data.txt": text})
    made = Environment.from_docker_build_context("built", DockerBuildContext.from_local_directory(None, folder))
    plain = environment()
    made.docker.arguments, made.python.interpreter_path = plain.docker.arguments, plain.python.interpreter_path
    return made


def test_an_image_is_built_once_from_its_content_and_again_when_the_engine_lost_it(
    tmp_path: Path, podman: ContainerHost
) -> None:
    made = context(tmp_path / "image")
    script = "import os; print(open('/data/data.txt').read(), os.environ['COLOR'])"
    run = run_to_end(tmp_path / "project", script, environment=made)
    assert said(run) == "data red", error(run)
    assert b"COPY" in run.read_file("onrecord/environment-build.log")
    again = run_to_end(tmp_path / "project", script, environment=context(tmp_path / "image"))
    assert said(again) == "data red"
    assert "onrecord/environment-build.log" not in again.get_file_names()
    identity = run.get_properties()["onrecord.container.image_id"]
    assert again.get_properties()["onrecord.container.image_id"] == identity
    podman.call("rmi", "--force", identity)
    assert said(run_to_end(tmp_path / "project", script, environment=made)) == "data red"
    (entry,) = Cache(run.workspace.layout.environments).entries()
    assert not keys_in_use(run.workspace)
    # Once the conductor of the last run has ended.
    assert wait_until(lambda: Cache(run.workspace.layout.environments).remove(entry.key))
    assert entry.ok["image"] not in podman.call("images", "--quiet", "--no-trunc")


def test_a_build_context_that_changed_since_is_not_built(tmp_path: Path, podman: ContainerHost) -> None:
    made = context(tmp_path / "image")
    (tmp_path / "image" / "data.txt").write_text("other")
    run = run_to_end(tmp_path / "project", "", environment=made)
    assert error(run)["code"] == "EnvironmentBuildFailed"
    assert "is not what it was" in error(run)["message"]


def test_a_build_that_fails_says_where_and_leaves_its_log(tmp_path: Path, podman: ContainerHost) -> None:
    made = Environment.from_dockerfile("broken", f"FROM {IMAGE}\nRUN ['/nonexistent/program']\n")
    run = run_to_end(tmp_path, "", environment=made)
    assert error(run)["code"] == "EnvironmentBuildFailed"
    assert "the image broken cannot be built" in error(run)["message"]
    assert b"nonexistent" in run.read_file("onrecord/environment-build.log")


def test_what_pip_is_to_install_over_an_image_goes_into_the_build_with_its_files(tmp_path: Path) -> None:
    from onrecord.container_environment import recipe_of
    from onrecord.executors.container_engine import Engine

    wheel(tmp_path / "wheels", "tiny", "1.0")
    made = environment()
    made.python.user_managed_dependencies = False
    made.python.conda_dependencies.set_pip_requirements([*offline(tmp_path / "wheels", "tiny==1.0"), "onrecord"])
    recipe = recipe_of(made.as_document(), Engine("podman", "podman"))
    assert recipe is not None
    assert recipe.dockerfile.startswith(f"FROM {IMAGE}\n")
    assert recipe.dockerfile.rstrip().endswith('"-r", "/tmp/onrecord-requirements/requirements.txt"]')
    extra = dict(recipe.extra)
    assert "onrecord" not in str(extra["requirements.txt"]).splitlines()
    assert "--find-links /tmp/onrecord-requirements/links-1" in str(extra["requirements.txt"])
    assert any(name.startswith("links-1/tiny-1.0") for name in extra)


# ---- what cannot be --------------------------------------------------------------------------------


def test_an_image_that_is_not_here_is_named_and_no_registry_is_asked_for_a_local_one(
    tmp_path: Path, podman: ContainerHost
) -> None:
    run = run_to_end(tmp_path, "", environment=environment(image="localhost/not-there:1"))
    assert error(run)["code"] == "EnvironmentBuildFailed"
    assert "localhost/not-there:1 is not on this machine" in error(run)["message"]
    assert "podman images" in error(run)["message"]


def test_an_image_that_cannot_be_pulled_says_why(tmp_path: Path, podman: ContainerHost) -> None:
    run = run_to_end(tmp_path, "", environment=environment(image="127.0.0.1:9/not-there:1"))
    assert "127.0.0.1:9/not-there:1 is not on this machine and cannot be pulled" in error(run)["message"]
    assert "connection refused" in error(run)["message"]
    assert b"podman pull 127.0.0.1:9/not-there:1" in run.read_file("onrecord/environment-build.log")


def test_an_image_without_a_python_is_no_place_for_a_script(tmp_path: Path, podman: ContainerHost) -> None:
    bare = Environment.from_docker_image("bare", IMAGE)
    run = run_to_end(tmp_path, "", environment=bare)
    assert f"the image {IMAGE} has no Python to run train.py with" in error(run)["message"]
    assert "interpreter_path" in error(run)["message"]


def test_words_that_the_engine_does_not_know_are_told(tmp_path: Path, podman: ContainerHost) -> None:
    tiny = environment()
    tiny.docker.arguments = ["--no-such-option"]
    run = run_to_end(tmp_path, "", environment=tiny)
    assert "unknown flag: --no-such-option" in error(run)["message"]


def test_a_container_that_cannot_be_started_is_no_failure_of_the_script(tmp_path: Path, podman: ContainerHost) -> None:
    gone = environment()
    gone.docker.arguments = [*gone.docker.arguments, "--volume", f"{tmp_path}/seen:/seen"]
    (tmp_path / "seen").mkdir()
    assert run_to_end(tmp_path, "", environment=gone).status == "Completed"
    # Known to work by now, and then it does not.
    (tmp_path / "seen").rmdir()
    run = run_to_end(tmp_path, "", environment=gone)
    assert error(run)["code"] == "StartFailed"
    assert f"{tmp_path}/seen" in error(run)["message"]


def test_without_an_engine_nothing_is_submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    project(tmp_path, {"train.py": ""})
    with pytest.raises(OnRecordError, match="no container engine") as caught:
        submit(tmp_path, environment=environment())
    assert "apt-get install podman" in caught.value.next_step
    assert Workspace(tmp_path).query.runs() == []
    monkeypatch.setenv("ONRECORD_CONTAINER_ENGINE", "no-such-engine")
    with pytest.raises(OnRecordError, match="no container engine") as caught:
        submit(tmp_path, environment=environment())
    assert "no-such-engine is asked for" in caught.value.why


def test_the_engine_is_the_one_that_the_workspace_names(tmp_path: Path, podman: ContainerHost) -> None:
    workspace = Workspace.create(tmp_path)
    workspace.layout.config.write_text('[containers]\nengine = "/nowhere/docker"\n')
    run = run_to_end(tmp_path, "", environment=environment())
    assert "/nowhere/docker is asked for" in error(run)["message"]


# ---- the command -----------------------------------------------------------------------------------


def test_the_command_runs_in_an_image_and_shows_builds_and_prunes_it(tmp_path: Path, podman: ContainerHost) -> None:
    project(tmp_path, {"image/Dockerfile": f"FROM {IMAGE}\nENV COLOR=red\n", "train.py": ""})
    onrecord("init", cwd=tmp_path)
    refused = onrecord("run", "--env", IMAGE, "train.py", cwd=tmp_path)
    assert b"has no Python to run train.py with" in refused.stderr
    built = onrecord("env", "build", "image", cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    assert built.stdout.startswith(b"sha256:")
    assert b"an image" in onrecord("env", "ls", cwd=tmp_path).stdout
    shown = onrecord("env", "show", "image", "--verify", cwd=tmp_path)
    assert built.stdout.strip() in shown.stdout
    podman.call("rmi", "--force", built.stdout.decode().strip())
    damaged = onrecord("env", "show", "image", "--verify", cwd=tmp_path)
    assert (damaged.returncode, b"podman has it no more" in damaged.stdout) == (1, True)
    onrecord("env", "build", "image", cwd=tmp_path)
    pruned = onrecord("env", "prune", "--all", cwd=tmp_path)
    assert b"removed" in pruned.stderr
    assert built.stdout.strip() not in podman.call("images", "--quiet", "--no-trunc").encode()
