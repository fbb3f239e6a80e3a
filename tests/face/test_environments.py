"""Environments as users define, register, build and run in them; with wheels made on the spot, without a network."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from pathlib import Path

import pytest
from environment_make import conda_channel, conda_python, offline, sdist, wheel
from face_make import lives, project, run_to_end, submit, wait_until

from onrecord import CondaDependencies, Environment, OnRecordError, PyTorchConfiguration, Run, Workspace
from onrecord.built_environment import keys_in_use
from onrecord.environment import environment_from
from onrecord.environments import BadEnvironmentName, UnknownEnvironment
from onrecord.executors.environment_cache import Cache
from onrecord.executors.environment_errors import BadEnvironment, EnvironmentBuildFailed
from onrecord.interpreters import interpreter_for

SCRIPT = """
import os, sys
import tiny
print(tiny.VERSION, os.environ.get("MESSAGE"), sys.prefix == os.environ["VIRTUAL_ENV"], sys.prefix)
"""


@pytest.fixture(autouse=True)
def with_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quicker installer: that pip does the same is tested where it is used."""
    monkeypatch.setenv("ONRECORD_INSTALLER", "uv")


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with two versions of one package."""
    folder = tmp_path / "wheels"
    wheel(folder, "tiny", "1.0")
    wheel(folder, "tiny", "2.0")
    return folder


def tiny(wheels: Path, version: str = "1.0", *more: str) -> Environment:
    """An environment with one package."""
    environment = Environment("tiny")
    environment.python.conda_dependencies.set_pip_requirements(offline(wheels, f"tiny=={version}", *more))
    return environment


def said(run: Run) -> str:
    return run.read_file("logs/stdout.txt").decode().strip()


# ---- running ---------------------------------------------------------------------------------------


def test_a_run_has_what_its_environment_lists_and_its_variables(tmp_path: Path, wheels: Path) -> None:
    environment = tiny(wheels)
    environment.environment_variables["MESSAGE"] = "hello"
    run = run_to_end(tmp_path / "project", SCRIPT, environment=environment)
    assert run.status == "Completed"
    assert said(run).startswith("1.0 hello True ")
    assert run.get_environment() == environment
    # What was really installed, as its own interpreter says it, and how.
    assert json.loads(run.read_file("onrecord/environment.json"))["packages"]["tiny"] == "1.0"
    assert b"tiny==1.0" in run.read_file("onrecord/environment-build.log")
    assert run.workspace.layout.run(run.id).notes.read_text().startswith("building the environment tiny with uv\n")
    again = run_to_end(tmp_path / "project", SCRIPT, environment=environment)
    assert said(again) == said(run)
    assert again.workspace.layout.run(again.id).notes.read_text() == ""
    assert "onrecord/environment-build.log" not in again.get_file_names()


def test_a_script_sees_nothing_of_the_python_that_submits(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path / "elsewhere", {"stray.py": ""})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    source = "from importlib.util import find_spec\nprint(*filter(find_spec, ('stray', 'attrs', 'onrecord')))\n"
    assert said(run_to_end(tmp_path / "project", source, environment=tiny(wheels))) == ""


def test_a_script_that_asks_for_onrecord_logs_into_its_run(tmp_path: Path) -> None:
    environment = Environment.get(Workspace.create(tmp_path / "project"), "AzureML-Minimal")
    source = "from onrecord import Run\nrun = Run.get_context()\nrun.log('loss', 0.5)\nrun.tag('seen', 'yes')\n"
    run = run_to_end(tmp_path / "project", source, environment=environment)
    assert run.status == "Completed", run.get_details()["error"]
    assert run.get_metrics() == {"loss": 0.5}
    assert run.get_tags() == {"seen": "yes"}


def test_a_build_that_fails_is_the_end_of_the_run_with_its_log(tmp_path: Path, wheels: Path) -> None:
    run = run_to_end(tmp_path / "project", SCRIPT, environment=tiny(wheels, "7.0"))
    error = run.get_details()["error"]
    assert (run.status, error["code"]) == ("Failed", "EnvironmentBuildFailed")
    assert "tiny==7.0" in error["message"]
    assert "--find-links" in error["message"]
    assert "tiny==7.0" in error["details"]
    assert b"tiny==7.0" in run.read_file("onrecord/environment-build.log")
    assert [entry.ok for entry in Cache(run.workspace.layout.environments).entries()] == [{}]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are told apart by what Linux says of them")
def test_a_run_that_is_canceled_while_its_environment_is_built_ends_the_build(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    setup = f"import os, pathlib, time\npathlib.Path({str(begun)!r}).write_text(str(os.getpid()))\ntime.sleep(1000)"
    sdist(tmp_path / "archives", "slow", setup)
    environment = Environment("slow")
    environment.python.conda_dependencies.set_pip_requirements(offline(tmp_path / "archives", "slow"))
    project(tmp_path / "project", {"train.py": "print('never')"})
    run = submit(tmp_path / "project", environment=environment)
    wait_until(lambda: begun.exists() and begun.read_text())
    assert run.status == "Preparing"
    assert len(keys_in_use(run.workspace)) == 1
    run.cancel()
    run.wait_for_completion()
    assert run.status == "Canceled"
    assert not lives(int(begun.read_text()))
    assert keys_in_use(run.workspace) == set()


def test_an_environment_is_held_for_as_long_as_its_run(tmp_path: Path, wheels: Path) -> None:
    go = tmp_path / "go"
    source = f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.02)\nimport tiny\n"
    project(tmp_path / "project", {"train.py": source})
    run = submit(tmp_path / "project", environment=tiny(wheels))
    wait_until(lambda: run.status == "Running")
    cache = Cache(run.workspace.layout.environments)
    (entry,) = cache.entries()
    assert entry.in_use
    assert not cache.remove(entry.key)
    assert keys_in_use(run.workspace) == {entry.key}
    go.touch()
    run.wait_for_completion()
    wait_until(lambda: cache.remove(entry.key))


@pytest.mark.skipif(sys.platform != "linux", reason="the conductor is found by what Linux says of it")
def test_a_run_whose_conductor_died_has_its_environment_held_again(tmp_path: Path, wheels: Path) -> None:
    go = tmp_path / "go"
    source = f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.02)\nimport tiny\n"
    project(tmp_path / "project", {"train.py": source})
    run = submit(tmp_path / "project", environment=tiny(wheels))
    wait_until(lambda: run.status == "Running")
    cache = Cache(run.workspace.layout.environments)
    (entry,) = cache.entries()
    for pid in _conductors(run):
        os.kill(pid, 9)
    wait_until(lambda: not next(iter(cache.entries())).in_use)
    # Nobody holds it, and still it is known that a run is in it.
    assert keys_in_use(run.workspace) == {entry.key}
    assert run.workspace.recover() == [run.id]
    wait_until(lambda: next(iter(cache.entries())).in_use)
    go.touch()
    run.wait_for_completion()


@pytest.mark.skipif(sys.platform != "linux", reason="the conductor is found by what Linux says of it")
@pytest.mark.parametrize("is_built_meanwhile", [False, True])
def test_a_run_whose_conductor_died_while_it_built_runs_in_its_environment(
    tmp_path: Path, is_built_meanwhile: bool
) -> None:
    begun, folder = tmp_path / "begun", tmp_path / "wheels"
    setup = f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(1000)"
    archive = sdist(folder, "tiny", setup)
    environment = Environment("tiny")
    environment.python.conda_dependencies.set_pip_requirements(offline(folder, "tiny"))
    project(tmp_path / "project", {"train.py": SCRIPT})
    run = submit(tmp_path / "project", environment=environment)
    wait_until(begun.exists)
    for pid in (pids := _conductors(run)):
        os.kill(pid, 9)
    wait_until(lambda: not any(map(lives, pids)))
    archive.unlink()
    wheel(folder, "tiny", "1.0")
    if is_built_meanwhile:
        environment.build(run.workspace)
    assert run.workspace.recover() == [run.id]
    run.wait_for_completion()
    assert said(run).startswith("1.0 None True ")
    assert json.loads(run.read_file("onrecord/environment.json"))["packages"]["tiny"] == "1.0"
    assert len(list(Cache(run.workspace.layout.environments).entries())) == 1


def test_a_job_of_several_processes_runs_in_its_environment(tmp_path: Path, wheels: Path) -> None:
    job = PyTorchConfiguration("Gloo", process_count=2)
    run = run_to_end(tmp_path / "project", SCRIPT, environment=tiny(wheels), distributed_job_config=job)
    assert run.status == "Completed", run.get_details()["error"]
    for rank in range(2):
        assert run.read_file(f"logs/rank-{rank}.txt").startswith(b"1.0 None True ")
    assert json.loads(run.read_file("onrecord/environment.json"))["packages"]["tiny"] == "1.0"


def test_a_run_that_waited_for_room_builds_its_environment_then(tmp_path: Path, wheels: Path) -> None:
    go = tmp_path / "go"
    project(
        tmp_path / "project", {"train.py": f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)"}
    )
    workspace = Workspace.create(tmp_path / "project")
    with workspace.layout.config.open("a") as file:
        file.write("[targets.local]\nmax_concurrent = 1\n")
    submit(tmp_path / "project")
    project(tmp_path / "project", {"train.py": SCRIPT})
    run = submit(tmp_path / "project", environment=tiny(wheels))
    folder = workspace.layout.run(run.id)
    # Whoever waits for it knows that there may be something to tell.
    assert (run.status, folder.notes.read_text()) == ("Queued", "")
    go.touch()
    run.wait_for_completion()
    assert said(run).startswith("1.0 None True ")
    assert folder.notes.read_text().startswith("building the environment tiny with uv\n")
    assert json.loads(run.read_file("onrecord/environment.json"))["packages"]["tiny"] == "1.0"


def _conductors(run: Run) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if run.id.encode() in words and any(b"onrecord.conductor" in word for word in words):
            found.append(int(path.parent.name))
    return found


def test_conda_packages_are_installed_for_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rattler", reason="py-rattler is not installed: pip install 'onrecord[conda]'")
    monkeypatch.setenv("RATTLER_CACHE_DIR", str(tmp_path / "cache"))
    channel = conda_channel(
        tmp_path / "channel",
        [conda_python(), {"name": "data", "version": "1.0", "files": {"share/data.txt": "forty-two"}}],
    )
    text = f"name: ignored\nchannels:\n- {channel}\ndependencies:\n- data=1.0\n"
    project(tmp_path / "project", {"env.yml": text})
    environment = Environment.from_conda_specification("of-conda", tmp_path / "project" / "env.yml")
    source = "import sys, pathlib\nprint(pathlib.Path(sys.prefix, 'share', 'data.txt').read_text())\n"
    run = run_to_end(tmp_path / "project", source, environment=environment)
    assert run.status == "Completed", run.get_details()["error"]
    assert said(run) == "forty-two"
    # What conda has installed can be asked for again, without conda.
    (entry,) = Cache(run.workspace.layout.environments).entries()
    same = Environment.from_existing_conda_environment("same", str(entry.prefix))
    assert "data=1.0=0" in same.python.conda_dependencies.conda_packages
    assert same.python.conda_dependencies.conda_channels == [channel]
    monkeypatch.setenv("CONDA_ENVS_PATH", str(entry.folder))
    assert Environment.from_existing_conda_environment("same", entry.prefix.name) == same
    with pytest.raises(BadEnvironment, match="no conda environment other"):
        Environment.from_existing_conda_environment("same", "other")


def test_conda_packages_without_a_solver_are_refused_before_there_is_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onrecord.environment_recipe.find_spec", lambda name: None)
    environment = Environment("of-conda")
    environment.python.conda_dependencies = CondaDependencies.create(conda_packages=["numpy"])
    project(tmp_path / "project", {"train.py": ""})
    with pytest.raises(BadEnvironment, match=r"onrecord\[conda\]"):
        submit(tmp_path / "project", environment=environment)
    assert Workspace(tmp_path / "project").query.runs() == []


# ---- registered ------------------------------------------------------------------------------------


def test_registering_keeps_versions_and_the_same_content_is_the_same_version(tmp_path: Path, wheels: Path) -> None:
    workspace, environment = Workspace.create(tmp_path / "project"), tiny(wheels)
    assert environment.register(workspace).version == "1"
    assert environment.register(workspace).version == "1"
    environment.python.conda_dependencies.add_pip_package("tiny==2.0")
    second = environment.register(workspace)
    assert second.version == "2"
    assert Environment.get(workspace, "tiny") == second == environment
    assert Environment.get(workspace, "tiny", label="latest").version == "2"
    assert Environment.get(workspace, "tiny", version="1") == tiny(wheels)
    assert Environment.get(workspace, "tiny", 1).version == "1"
    assert [one.version for one in Environment.versions(workspace, "tiny")] == ["1", "2"]
    assert Environment.list(workspace)["tiny"].version == "2"
    assert workspace.environments.keys() == Environment.list(workspace).keys()
    run = run_to_end(tmp_path / "project", SCRIPT, environment=Environment.get(workspace, "tiny", version="1"))
    assert said(run).startswith("1.0 ")
    assert run.get_environment().version == "1"


def test_a_version_or_a_name_that_is_not_there_is_told_with_the_near_ones(tmp_path: Path, wheels: Path) -> None:
    workspace = Workspace.create(tmp_path / "project")
    tiny(wheels).register(workspace)
    with pytest.raises(UnknownEnvironment, match="no version 3") as caught:
        Environment.get(workspace, "tiny", version="3")
    assert caught.value.candidates == ["1"]  # type: ignore[attr-defined]
    with pytest.raises(UnknownEnvironment, match="near ones: tiny"):
        Environment.get(workspace, "tinny")
    with pytest.raises(OnRecordError, match="no label"):
        Environment.get(workspace, "tiny", label="newest")
    with pytest.raises(OnRecordError, match="one of them"):
        Environment.get(workspace, "tiny", version="1", label="latest")


def test_curated_ones_are_always_there_and_stay_as_they_are(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "project")
    names = Environment.list(workspace).keys()
    assert names == {"AzureML-Minimal", "onrecord-scikit-learn", "onrecord-pytorch-cpu", "onrecord-tensorflow-cpu"}
    minimal = Environment.get(workspace, "AzureML-Minimal")
    for environment in Environment.list(workspace).values():
        assert environment.checked().needs_build()
    for name in ("AzureML-Minimal", "azureml-x", "Microsoft-x", "onrecord-x", "", "a b", "-a", "a" * 256):
        with pytest.raises(BadEnvironmentName):
            minimal.clone(name).register(workspace)
    mine = minimal.clone("mine")
    mine.python.conda_dependencies.add_pip_package("numpy")
    assert mine.register(workspace).version == "1"
    assert Environment.get(workspace, "AzureML-Minimal") == minimal
    assert minimal.python.conda_dependencies.pip_packages == ["onrecord"]


def test_building_before_the_first_run(tmp_path: Path, wheels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace.create(tmp_path / "project")
    made = tiny(wheels).build(workspace).wait_for_completion(show_output=True)
    assert made.packages == {"tiny": "1.0"}
    assert "onrecord: building the environment tiny with uv" in capsys.readouterr().err
    assert tiny(wheels).build_local(workspace).python == made.python
    assert capsys.readouterr().err == ""
    with pytest.raises(EnvironmentBuildFailed):
        tiny(wheels, "7").build(workspace)
    assert Environment("as it is").build(workspace).python == Path(sys.executable)


# ---- definitions -----------------------------------------------------------------------------------


def test_a_folder_keeps_a_definition(tmp_path: Path, wheels: Path) -> None:
    environment = tiny(wheels)
    environment.environment_variables["A"] = "b"
    environment.save_to_directory(tmp_path / "saved")
    assert Environment.load_from_directory(tmp_path / "saved") == environment
    with pytest.raises(BadEnvironment, match="overwrite=True"):
        environment.save_to_directory(tmp_path / "saved")
    locked = Environment("locked")
    locked.python.pylock = 'lock-version = "1.0"\npackages = []\n'
    locked.save_to_directory(tmp_path / "saved", overwrite=True)
    assert Environment.load_from_directory(tmp_path / "saved") == locked
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {"azureml_environment.json", "pylock.toml"}
    with pytest.raises(BadEnvironment, match="no environment in"):
        Environment.load_from_directory(tmp_path)


def test_a_folder_that_azure_ml_wrote_is_read(tmp_path: Path) -> None:
    document = {
        "name": "theirs", "version": None, "docker": {"baseImage": "x"}, "environmentVariables": {"EXAMPLE": "1"},
        "python": {"interpreterPath": "python", "userManagedDependencies": False,
                   "condaDependencies": {"dependencies": ["python=3.11", {"pip": ["numpy"]}]}},
    }  # fmt: skip
    project(tmp_path, {"azureml_environment.json": json.dumps(document)})
    found = Environment.load_from_directory(tmp_path)
    assert found.python.conda_dependencies.pip_packages == ["numpy"]
    assert (found.python.interpreter_path, found.environment_variables) == (None, {"EXAMPLE": "1"})


def test_a_requirements_file_is_read_with_all_that_it_includes(tmp_path: Path, wheels: Path) -> None:
    files = {
        "requirements.txt": "# a comment\n-r more/other.txt\nnumpy \\\n  >=1.2  # why\n--pre\n-f ../wheels\nb @ https://host/b.whl\n",
        "more/other.txt": "../../wheels/tiny-1.0-py3-none-any.whl ; python_version > '3'\n",
    }
    project(tmp_path / "project", files)
    lines = Environment.from_pip_requirements(
        "a", tmp_path / "project" / "requirements.txt", pip_version="24.0"
    ).python.conda_dependencies
    local, *others = lines.pip_lines()
    assert local.startswith(f"tiny @ file://{wheels}/tiny-1.0-py3-none-any.whl#sha256=")
    assert local.endswith(" ; python_version > '3'")
    find_links = f"--find-links {tmp_path / 'project' / '..' / 'wheels'}"
    assert others == ["numpy    >=1.2", "--pre", find_links, "b @ https://host/b.whl"]
    assert lines.conda_packages == ["pip==24.0"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("-e .", "folder cannot be installed"),
        ("./package", "no package that can be installed"),
        (".", "folder cannot be installed"),
        ("-c constraints.txt", "constraints"),
        ("--index-url https://user:secret@host/simple", "user name or a password"),
        ("a @ https://token@host/a.whl", "user name or a password"),
        ("-r requirements.txt", "includes itself"),
        ("-r nowhere.txt", "cannot be read"),
    ],
)
def test_what_would_not_be_the_same_tomorrow_is_refused(tmp_path: Path, text: str, says: str) -> None:
    project(tmp_path, {"requirements.txt": text + "\n"})
    with pytest.raises(BadEnvironment, match=says) as caught:
        Environment.from_pip_requirements("a", tmp_path / "requirements.txt")
    assert "secret" not in str(caught.value)


def test_a_password_may_come_from_a_variable_at_the_build(tmp_path: Path) -> None:
    line = "--index-url https://${USER_NAME}:${TOKEN}@host/simple"
    project(tmp_path, {"requirements.txt": line})
    found = Environment.from_pip_requirements("a", tmp_path / "requirements.txt")
    assert found.python.conda_dependencies.pip_options == [line]


def test_a_pyproject_is_read_with_extras(tmp_path: Path) -> None:
    text = (
        '[project]\nname = "p"\nrequires-python = ">=3.9, <4"\ndependencies = ["a"]\n'
        '[project.optional-dependencies]\nx = ["b"]\n'
    )
    path = project(tmp_path, {"pyproject.toml": text}) / "pyproject.toml"
    found = Environment.from_pyproject("a", path, extras=["x"]).python.conda_dependencies
    assert (found.pip_packages, found.get_python_version()) == (["a", "b"], ">=3.9,<4")
    with pytest.raises(BadEnvironment, match="no extra 'y'"):
        Environment.from_pyproject("a", path, extras=["y"])
    path.write_text('[project]\nname = "p"\ndynamic = ["dependencies"]\n')
    with pytest.raises(BadEnvironment, match="does not list"):
        Environment.from_pyproject("a", path)


def test_a_script_that_says_what_it_needs_has_it(tmp_path: Path, wheels: Path) -> None:
    needed = f'# dependencies = [\n#   "{wheels}/tiny-2.0-py3-none-any.whl",\n# ]\n'
    header = f'# /// script\n# requires-python = ">=3.9"\n{needed}# ///\n'
    project(tmp_path / "project", {"train.py": header + SCRIPT})
    environment = Environment.from_script("inline", tmp_path / "project" / "train.py")
    run = run_to_end(tmp_path / "project", header + SCRIPT, environment=environment)
    assert said(run).startswith("2.0 ")
    with pytest.raises(BadEnvironment, match="0 headers"):
        Environment.from_script("inline", project(tmp_path, {"plain.py": "print()"}) / "plain.py")


def test_a_lock_is_read_with_its_paths_made_absolute(tmp_path: Path) -> None:
    text = 'lock-version = "1.0"\n[[packages]]\nname = "a"\nwheels = [{ path = "w/a.whl", hashes = {} }]\n'
    path = project(tmp_path, {"pylock.toml": text, "other.toml": "a = 1\n"}) / "pylock.toml"
    lock = Environment.from_pylock("a", path).python.pylock
    assert tomllib.loads(lock or "")["packages"][0]["wheels"][0]["path"] == str(tmp_path / "w" / "a.whl")
    with pytest.raises(BadEnvironment, match=r"no pylock\.toml"):
        Environment.from_pylock("a", tmp_path / "other.toml")
    both = Environment.from_pylock("a", path)
    both.python.conda_dependencies.add_pip_package("b")
    with pytest.raises(BadEnvironment, match="not both"):
        both.checked()


def test_documents_without_dependencies_are_read_as_before() -> None:
    old = {
        "name": "a",
        "python": {"user_managed_dependencies": True, "interpreter_path": "p"},
        "environment_variables": {},
    }
    found = environment_from(old)
    assert found.as_document() == old
    assert not found.needs_build()
    assert Environment("b").interpreter() == sys.executable


# ---- conda dependencies ----------------------------------------------------------------------------


def test_dependencies_are_changed_by_package(tmp_path: Path) -> None:
    wanted = CondaDependencies.create(
        pip_indexurl="https://host/simple", pip_packages=["numpy==1.0", "a"], conda_packages=["blas", "python=3.10"]
    )
    wanted.add_pip_package("NumPy>=2")
    wanted.add_conda_package("blas=1.*")
    wanted.set_python_version("3.11")
    wanted.add_channel("conda-forge")
    wanted.set_pip_option("--pre")
    assert wanted.pip_packages == ["NumPy>=2", "a"]
    assert wanted.pip_options == ["--index-url https://host/simple", "--pre"]
    assert (wanted.conda_packages, wanted.get_python_version()) == (["blas=1.*", "python=3.11"], "3.11")
    wanted.save_to_file(tmp_path)
    assert CondaDependencies(tmp_path / "conda_dependencies.yml") == wanted
    for remove, one in (
        (wanted.remove_pip_package, "numpy"), (wanted.remove_conda_package, "blas"),
        (wanted.remove_channel, "conda-forge"), (wanted.remove_pip_option, "--pre"),
    ):  # fmt: skip
        remove(one)
    assert wanted.as_dict() == {"dependencies": ["python=3.11", {"pip": ["--index-url https://host/simple", "a"]}]}
    assert CondaDependencies.merge_requirements(["a>=1", "a<2", "b"]) == ["a>=1,<2", "b"]
    with pytest.raises(BadEnvironment, match="without a name"):
        wanted.add_pip_package(" ")


@pytest.mark.parametrize("text", ["- a", "dependencies: 3", "dependencies: [{conda: [a]}]", "a: [", "\0"])
def test_a_file_that_is_no_conda_environment_is_refused(tmp_path: Path, text: str) -> None:
    project(tmp_path, {"env.yml": text})
    with pytest.raises(BadEnvironment, match="no conda environment file"):
        Environment.from_conda_specification("a", tmp_path / "env.yml")


# ---- interpreters ----------------------------------------------------------------------------------

THIS = ".".join(map(str, sys.version_info[:2]))


@pytest.mark.parametrize("version", [None, THIS, f"={THIS}", f"=={THIS}.*", ">=3.9,<4", "~=3.9", "!=2.7", f"{THIS}.*"])
def test_the_python_that_submits_is_preferred(version: str | None) -> None:
    assert os.path.realpath(interpreter_for(version)) == os.path.realpath(sys.executable)


@pytest.mark.parametrize(
    "version", ["2.7", *(pytest.param(one, marks=pytest.mark.long) for one in ("<3", "==3.1.4", ">3.99"))]
)
def test_a_python_that_is_not_here_is_refused(version: str) -> None:
    with pytest.raises(BadEnvironment, match="no Python"):
        interpreter_for(version)


def test_what_is_no_version_is_refused() -> None:
    with pytest.raises(BadEnvironment, match="no version of Python"):
        interpreter_for("three")
    with pytest.raises(BadEnvironment, match="no Python"):
        interpreter_for(None, "/nonexistent/python")
