"""Environments with a container as they are defined, kept and refused; no engine runs anything here."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from face_make import onrecord, project, submit

from onrecord import (
    ContainerRegistry,
    DockerBuildContext,
    DockerConfiguration,
    DockerSection,
    Environment,
    MpiConfiguration,
    OnRecordError,
    Workspace,
)
from onrecord.container_launch import contained, gpu_words
from onrecord.container_section import needs_context
from onrecord.environment import environment_from
from onrecord.executors.container_engine import Engine
from onrecord.executors.environment_errors import BadEnvironment
from onrecord.preparation import uses_container


@pytest.fixture(autouse=True)
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A podman that is there and is never asked."""
    place = tmp_path / "bin" / "podman"
    project(place.parent, {"podman": "#!/bin/sh\nexit 1\n"})
    place.chmod(0o755)
    monkeypatch.setenv("ONRECORD_CONTAINER_ENGINE", str(place))


def test_who_has_no_container_pays_for_none() -> None:
    code = (
        "import sys; import onrecord.submission, onrecord.conductor; from onrecord import Environment;"
        " one = Environment('one'); one.checked(); one.as_document(); print(one.uses_container(),"
        " [name for name in sys.modules if 'container' in name or 'spark' in name])"
    )
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert asked.stdout == "False []\n"


def test_setting_one_image_clears_the_others() -> None:
    docker = DockerSection()
    docker.base_image = "python:3.12"
    docker.base_dockerfile = "FROM python:3.12\n"
    assert docker.base_image is None
    docker.build_context = DockerBuildContext(location="/somewhere")
    assert docker.base_dockerfile is None
    docker.base_image = "python:3.12"
    assert docker.build_context is None


@pytest.mark.parametrize(
    ("section", "used"),
    [
        ({}, False),
        ({"base_image": "python:3.12"}, True),
        ({"base_image": "python:3.12", "enabled": False}, False),
        ({"enabled": True}, True),
    ],
)
def test_a_container_is_used_where_there_is_an_image_unless_it_is_said(section: dict[str, Any], used: bool) -> None:
    environment = Environment("one", docker=DockerSection(**section))
    assert environment.docker.is_used() is used
    assert uses_container(environment.as_document()) is used


def test_a_job_can_turn_a_container_on_and_off() -> None:
    section = DockerSection(base_image="python:3.12", arguments=["--network", "host"])
    assert not DockerConfiguration().over(section).is_used()
    over = DockerConfiguration(use_docker=True, arguments=["--cap-add", "SYS_PTRACE"], shm_size="1g").over(section)
    assert over.is_used()
    assert list(over.arguments) == ["--network", "host", "--cap-add", "SYS_PTRACE"]
    assert over.shm_size == "1g"


def test_a_definition_comes_back_from_the_ledger_from_a_folder_and_as_a_clone(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    project(tmp_path, {"image/Dockerfile": "FROM python:3.12\nCOPY . /data\n", "requirements.txt": "numpy==2.0\n"})
    registry = ContainerRegistry("registry.example.org")
    of_image = Environment.from_docker_image("a", "team/image:1", registry, None, tmp_path / "requirements.txt")
    of_text = Environment.from_dockerfile("b", "FROM python:3.12\nRUN true\n")
    context = DockerBuildContext.from_local_directory(workspace, tmp_path / "image")
    of_folder = Environment.from_docker_build_context("c", context)
    for environment in (of_image, of_text, of_folder):
        environment.docker.shm_size = "2g"
        environment.docker.arguments = ["--network", "host"]
        assert environment_from(environment.as_document()) == environment
        environment.save_to_directory(tmp_path / environment.name)
        assert Environment.load_from_directory(tmp_path / environment.name) == environment
        assert environment.clone("other").docker == environment.docker
    kept = of_image.register(workspace)
    assert kept.docker.base_image == "registry.example.org/team/image:1"
    assert of_image.register(workspace).version == kept.version
    assert (tmp_path / "b" / "BaseDockerfile").read_text() == "FROM python:3.12\nRUN true\n"


def test_the_image_that_azure_ml_writes_for_nobodys_choice_asks_for_no_container(tmp_path: Path) -> None:
    text = '{"name": "old", "docker": {"baseImage": "mcr.microsoft.com/azureml/openmpi4.1.0", "shmSize": "2g"}}'
    project(tmp_path, {"azureml_environment.json": text})
    assert not Environment.load_from_directory(tmp_path).docker.is_used()


@pytest.mark.parametrize(
    ("text", "copies"),
    [
        ("FROM a\nCOPY data /data\n", True),
        ("FROM a\n  add data /data\n", True),
        ("FROM a AS b\nCOPY --from=b /x /x\n", False),
        ("FROM a\nADD https://example.org/x /x\n", False),
        ("FROM a\nRUN echo COPY\n", False),
    ],
)
def test_a_dockerfile_that_copies_is_known(text: str, copies: bool) -> None:
    assert needs_context(text) is copies


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"enabled": True}, "there is no image"),
        ({"base_image": "not an image"}, "is no name of an image"),
        ({"base_image": "python:3.12", "arguments": "--network host"}, "is one text"),
        ({"base_image": "python:3.12", "arguments": ["--name", "x"]}, "cannot hold --name"),
        ({"base_image": "python:3.12", "arguments": ["--user=0"]}, "cannot hold --user=0"),
        ({"base_image": "python:3.12", "shm_size": "much"}, "shm_size is 'much'"),
        ({"base_image": "python:3.12", "shared_volumes": False}, "shared_volumes is False"),
        ({"base_dockerfile": "FROM a\nCOPY x /x\n"}, "there is no build context"),
        ({"base_dockerfile": "RUN true\n\n"}, "names no image to begin with"),
        ({"base_dockerfile": "no-such-file"}, "there is no Dockerfile no-such-file"),
        ({"build_context": DockerBuildContext(location="/nowhere")}, "there is no build context"),
        ({"build_context": DockerBuildContext("git", "https://example.org")}, "is a folder on this machine"),
        (
            {"base_image": "a:b", "base_image_registry": ContainerRegistry("r", "ada", "secret")},
            "user name or password is in the environment",
        ),
    ],
)
def test_a_section_that_cannot_be_is_refused_before_there_is_a_run(
    tmp_path: Path, section: dict[str, Any], told: str
) -> None:
    project(tmp_path, {"train.py": ""})
    with pytest.raises(BadEnvironment, match=told) as caught:
        submit(tmp_path, environment=Environment("one", docker=DockerSection(**section)))
    assert caught.value.next_step
    assert Workspace(tmp_path).query.runs() == []


def test_what_cannot_go_into_an_image_or_a_container_is_refused(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": ""})
    environment = Environment.from_docker_image("one", "python:3.12")
    with pytest.raises(OnRecordError, match="an MPI job cannot run in a container"):
        submit(tmp_path, environment=environment, distributed_job_config=MpiConfiguration(2))
    environment.python.user_managed_dependencies = False
    environment.python.conda_dependencies.add_conda_package("python=3.8")
    with pytest.raises(BadEnvironment, match=r"python=3\.8 cannot be installed over an image"):
        submit(tmp_path, environment=environment)
    (tmp_path / "image").mkdir()
    with pytest.raises(BadEnvironment, match="there is no Dockerfile in"):
        DockerBuildContext.from_local_directory(None, tmp_path / "image")


def test_a_build_context_has_only_what_can_be_copied(tmp_path: Path) -> None:

    project(tmp_path, {"Dockerfile": "FROM a\n"})
    first = DockerBuildContext.from_local_directory(None, tmp_path).digest
    assert DockerBuildContext.from_local_directory(None, tmp_path).digest == first
    (tmp_path / "Dockerfile").chmod(0o755)
    second = DockerBuildContext.from_local_directory(None, tmp_path).digest
    (tmp_path / "link").symlink_to("/nowhere")
    assert len({first, second, DockerBuildContext.from_local_directory(None, tmp_path).digest}) == 3
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadEnvironment, match="cannot be a build context"):
        DockerBuildContext.from_local_directory(None, tmp_path)


# ---- the command line of the engine ----------------------------------------------------------------


def test_limits_variables_and_gpus_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    monkeypatch.setenv("MESSAGE", "old")
    workspace = Workspace.create(tmp_path)
    folder = workspace.layout.run("0" * 26)
    folder.records.mkdir(parents=True)
    environment = Environment.from_docker_image("one", "python:3.12")
    environment.docker.shm_size = "2g"
    environment.environment_variables |= {"MESSAGE": "se\ncret", "PATH": "/inside", "LD_PRELOAD": "x.so"}
    probe = {"version": [3, 12, 0], "executable": "/usr/bin/python3", "onrecord": None, "attrs": "/x"}
    config = {
        "environment": environment.as_document(),
        "resources": {"cores": 1.5, "memory": 1000, "gpus": 2},
        "container": {"engine": {"kind": "podman", "program": "podman"}, "image": "sha256:1", "probe": probe,
                      "variables": {"PYTHONPATH": "/image"}},
    }  # fmt: skip
    variables = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1,3", "ONRECORD_RUN_ID": "x", "STRAY": "y"}
    monkeypatch.setenv("STRAY", "y")
    variables |= environment.environment_variables
    contained(("python3", "train.py"), config, workspace, folder, variables, 8.0)
    plan = json.loads((folder.records / "container.json").read_text())
    words = plan["run"]
    text = " ".join(words)
    assert "--cpus 1.5 --memory 1000 --memory-swap 1000 --shm-size 2g" in text
    assert "--device nvidia.com/gpu=1 --device nvidia.com/gpu=3" in text
    # Counted anew inside, and nothing of the machine's.
    assert "CUDA_VISIBLE_DEVICES" not in text
    assert "STRAY" not in text
    # A secret stands on no command line, where others could read it.
    assert "cret" not in text
    assert variables["MESSAGE"] == "se\ncret"
    # What would change the engine itself does not reach it.
    assert "LD_PRELOAD=x.so" in words
    assert "LD_PRELOAD" not in variables
    assert variables["PYTHONPATH"] == "/opt/onrecord:/image"
    assert (folder.records / "container.json").stat().st_mode & 0o077 == 0
    assert words[words.index("sha256:1") + 1 :][:3] == [
        "-I",
        "-S",
        "/opt/onrecord/onrecord/executors/container_init.py",
    ]


def test_gpus_are_asked_for_as_each_engine_wants_it() -> None:
    docker, podman = Engine("docker", "docker"), Engine("podman", "podman")
    assert gpu_words(docker, 2, "0,2") == ["--gpus", '"device=0,2"']
    assert gpu_words(docker, 2, "") == ["--gpus", "2"]
    assert gpu_words(podman, 1, "") == ["--device", "nvidia.com/gpu=all"]


# ---- what --env means ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "image"),
    [
        ("docker://ubuntu", "ubuntu"),
        ("python:3.12", "python:3.12"),
        ("localhost/mine:1", "localhost/mine:1"),
        ("registry.example.org:5000/a/b:1", "registry.example.org:5000/a/b:1"),
    ],
)
def test_an_image_is_told_from_everything_else(given: str, image: str) -> None:
    from onrecord.environment_argument import environment_named

    environment = environment_named(given)
    assert environment is not None
    assert environment.docker.base_image == image
    assert environment.python.user_managed_dependencies


def test_what_is_no_image_for_sure_is_told_how_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onrecord.environment_argument import environment_named

    workspace = Workspace.create(tmp_path)
    monkeypatch.chdir(tmp_path)
    Environment("ridge").register(workspace)
    for given in ("rigde:2", "ridge:2", "ridge:latest-one", "namespace/name", "no-such-thing"):
        with pytest.raises(OnRecordError) as caught:
            environment_named(given)
        assert f"docker://{given}" in caught.value.next_step
    found = environment_named("ridge:1")
    assert found is not None
    assert not found.docker.is_used()


def test_a_dockerfile_and_a_folder_with_one_are_built_from(tmp_path: Path) -> None:
    from onrecord.environment_argument import environment_named

    project(tmp_path, {"a/Dockerfile": "FROM x\nCOPY y /y\n", "b/Containerfile": "FROM x\n", "b/bin/python": ""})
    folder = environment_named(str(tmp_path / "a"))
    assert folder is not None
    assert folder.docker.build_context is not None
    with pytest.raises(OnRecordError, match="copies files"):
        environment_named(str(tmp_path / "a" / "Dockerfile"))
    file = environment_named(str(tmp_path / "b" / "Containerfile"))
    assert file is not None
    assert file.docker.base_dockerfile == "FROM x\n"
    with pytest.raises(OnRecordError, match="has an interpreter and a Containerfile"):
        environment_named(str(tmp_path / "b"))


def test_show_says_what_an_environment_of_an_image_is(tmp_path: Path) -> None:
    onrecord("init", cwd=tmp_path)
    shown = onrecord("env", "show", "docker://python:3.12", cwd=tmp_path)
    assert b"the image python:3.12" in shown.stdout
    assert b"its image is used as it is" in shown.stderr


# ---- the Pythons of images -------------------------------------------------------------------------


def test_what_logs_a_metric_asks_nothing_of_a_newer_python_than_an_image_may_have(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    code = (
        "import sys; from onrecord import Run; run = Run.get_context(); run.log('loss', 0.5); run.log('name', 'x');"
        " print(*[found.__file__ for name, found in sys.modules.items() if name.split('.')[0] == 'onrecord'])"
    )
    variables = {"ONRECORD_WORKSPACE": str(workspace.layout.root), "ONRECORD_RUN_ID": "0" * 26}
    asked = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables}, capture_output=True, text=True, check=True
    )
    for path in asked.stdout.split():
        text = Path(path).read_text()
        # As Python 3.8 would: it has neither these names of typing nor unions in isinstance.
        tree = ast.parse(text, feature_version=(3, 8))
        names = [one.name for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "typing"
                 for one in node.names]  # fmt: skip
        assert not {"Self", "TypeAlias", "ParamSpec", "Concatenate", "TypeGuard", "assert_never"} & {*names}, path
    old = next(filter(None, map(shutil.which, ("python3.8", "python3.9", "python3.10"))), None)
    if old is not None and subprocess.run([old, "-c", ""], capture_output=True, check=False).returncode == 0:
        package = str(Path(asked.stdout.split()[0]).parent.parent)
        subprocess.run([old, "-S", "-c", code], env={**os.environ, **variables, "PYTHONPATH": package}, check=True)
