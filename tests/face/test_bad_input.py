"""What cannot be run is refused with a reason and a next step, and leaves no run behind."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from face_make import clean_environment, leaves_nothing, onrecord, project, run_to_end, submit

from onrecord import Environment, Experiment, OnRecordError, ScriptRunConfig, Workspace
from onrecord.executors.errors import UnknownTarget
from onrecord.experiment import BadExperimentName
from onrecord.ledger.errors import NotALedger
from onrecord.script_run_config import BadConfig
from onrecord.tag_names import BadTag
from onrecord.workspace import WorkspaceExists, WorkspaceNotFound

NEWER = 99


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workspace with a script in it."""
    Workspace.create(tmp_path)
    return project(tmp_path, {"train.py": "print(1)\n"})


def refused(folder: Path, kind: type[OnRecordError], **options: Any) -> str:
    given = {"source_directory": folder, "script": "train.py", **options}
    with pytest.raises(kind) as caught:
        Experiment(Workspace(folder), "tests").submit(ScriptRunConfig(**given))
    assert "next: " in str(caught.value)
    assert leaves_nothing(folder)
    return str(caught.value)


def test_a_missing_script_is_refused_and_leaves_no_run(folder: Path) -> None:
    assert "did you mean train.py?" in refused(folder, BadConfig, script="tarin.py")


def test_no_script_at_all_is_refused(folder: Path) -> None:
    assert "no script" in refused(folder, BadConfig, script=None)


def test_a_folder_as_script_is_refused(folder: Path) -> None:
    (folder / "package").mkdir()
    assert "it is a folder" in refused(folder, BadConfig, script="package")


@pytest.mark.parametrize("script", ["../train.py", "/bin/sh"])
def test_a_script_outside_the_source_is_refused(folder: Path, script: str) -> None:
    source = folder / "source"
    source.mkdir()
    assert "outside" in refused(folder, BadConfig, source_directory=source, script=script)


def test_a_script_that_is_a_link_out_of_the_source_is_refused(folder: Path) -> None:
    (folder / "train.py").unlink()
    (folder / "train.py").symlink_to("/bin/sh")
    assert "outside" in refused(folder, BadConfig)


def test_a_missing_source_is_refused(folder: Path) -> None:
    assert "does not exist" in refused(folder, BadConfig, source_directory=folder / "nowhere")


def test_a_source_that_is_a_file_is_refused(folder: Path) -> None:
    assert "is not a folder" in refused(folder, BadConfig, source_directory=folder / "train.py")


def test_an_unknown_target_is_refused_with_the_nearest_one(folder: Path) -> None:
    with pytest.raises(UnknownTarget, match="did you mean 'local'"):
        submit(folder, compute_target="locall")
    assert leaves_nothing(folder)


@pytest.mark.parametrize("name", ["", "my experiment", "-a", "a/b", "../a", "a" * 256, "a\n", 7])
def test_a_bad_name_of_an_experiment_is_refused(folder: Path, name: Any) -> None:
    with pytest.raises(BadExperimentName, match="next: ") as caught:
        Experiment(Workspace(folder), name)
    assert caught.value.name == name


def test_arguments_as_one_text_are_refused(folder: Path) -> None:
    assert "['--alpha', '1']" in refused(folder, BadConfig, arguments="--alpha 1")


def test_an_argument_that_no_program_can_be_given_is_refused(folder: Path) -> None:
    assert "NUL" in refused(folder, BadConfig, arguments=["a\0b"])


@pytest.mark.parametrize("limit", [-1, 0, float("nan"), True, "90"])
def test_a_time_limit_that_is_no_time_is_refused(folder: Path, limit: Any) -> None:
    assert "number of seconds" in refused(folder, BadConfig, max_run_duration_seconds=limit)


def test_a_script_that_the_rules_leave_out_is_refused(folder: Path) -> None:
    (folder / ".amlignore").write_text("train.*\n")
    assert "!train.py" in refused(folder, BadConfig)


def test_a_script_in_a_folder_that_is_left_out_is_refused(folder: Path) -> None:
    project(folder, {"outputs/late.py": "print(1)\n"})
    assert "left out" in refused(folder, BadConfig, script="outputs/late.py")


# ---- workspaces that are none ----------------------------------------------------------------------


def _file(folder: Path) -> None:
    (folder / ".onrecord").write_text("not a folder")


def _no_config(folder: Path) -> None:
    (folder / ".onrecord").mkdir()


@pytest.mark.parametrize("spoil", [_file, _no_config])
def test_a_folder_that_is_no_workspace_is_refused(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(tmp_path)
    project(tmp_path, {"train.py": "print(1)\n"})
    with pytest.raises(WorkspaceNotFound, match="next: "):
        Workspace(tmp_path)
    said = onrecord("run", "train.py", cwd=tmp_path)
    assert said.returncode == 125, said.stderr
    assert b"next: " in said.stderr
    assert b"Traceback" not in said.stderr


def test_a_variable_that_leads_nowhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONRECORD_WORKSPACE", str(tmp_path / "nowhere"))
    with pytest.raises(WorkspaceNotFound, match="next: unset ONRECORD_WORKSPACE"):
        Workspace.from_config()
    project(tmp_path, {"train.py": "print(1)\n"})
    env = clean_environment(ONRECORD_WORKSPACE=str(tmp_path / "nowhere"))
    said = onrecord("run", "train.py", cwd=tmp_path, env=env)
    assert said.returncode == 125, said.stderr
    assert b"ONRECORD_WORKSPACE is " in said.stderr
    assert b"nowhere" in said.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.py"]


def test_no_workspace_at_all_is_told_with_what_was_searched(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceNotFound, match="onrecord init") as caught:
        Workspace.from_config(tmp_path)
    assert caught.value.searched[0] == tmp_path


def test_a_second_workspace_in_one_place_is_refused(folder: Path) -> None:
    with pytest.raises(WorkspaceExists, match="next: "):
        Workspace.create(folder)
    assert Workspace.create(folder, exist_ok=True).path == folder


# ---- ledgers that are none, or not ours --------------------------------------------------------------


def test_a_newer_ledger_is_read_and_not_written(folder: Path) -> None:
    run = run_to_end(folder, "print('kept')\n")
    run.workspace.close()
    with sqlite3.connect(folder / ".onrecord" / "ledger.db") as connection:
        connection.execute(f"PRAGMA user_version = {NEWER}")
    connection.close()
    assert run.id.encode() in onrecord("show", "@last", cwd=folder).stdout
    assert run.id[:10].encode() in onrecord("ls", cwd=folder).stdout
    said = onrecord("run", "train.py", cwd=folder)
    assert said.returncode == 125
    assert str(NEWER).encode() in said.stderr
    assert b"next: " in said.stderr
    assert [path.name for path in (folder / ".onrecord" / "runs").iterdir()] == [run.id]


def _garbage(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def _foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA application_id = 7")
    connection.execute("CREATE TABLE events(a)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("spoil", [_garbage, _foreign])
def test_a_file_that_is_no_ledger_is_refused_and_left_as_it_is(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    workspace = Workspace.create(tmp_path)
    workspace.close()
    ledger = workspace.layout.ledger
    for path in ledger.parent.glob("ledger.db*"):
        path.unlink()
    spoil(ledger)
    before = ledger.read_bytes()
    project(tmp_path, {"train.py": "print(1)\n"})
    with pytest.raises(NotALedger):
        submit(tmp_path)
    said = onrecord("run", "train.py", cwd=tmp_path)
    assert said.returncode == 125
    assert b"Traceback" not in said.stderr
    assert ledger.read_bytes() == before
    assert list(workspace.layout.runs.iterdir()) == []


# ---- disks -------------------------------------------------------------------------------------------

FULL = """
set -e
mount -t tmpfs -o size=4m tmpfs "$1"
cd "$1"
"$2" -m onrecord init 2>/dev/null
echo 'print(1)' > train.py
head -c 300000 /dev/urandom > data.bin
dd if=/dev/zero of=.onrecord/filler bs=4096 2>/dev/null || true
code=0; "$2" -m onrecord run train.py || code=$?
echo "code $code"
echo "folders $(ls .onrecord/runs | wc -l)"
rm .onrecord/filler
"$2" -m onrecord ls --json
"$2" -m onrecord run train.py
"""


def may_mount() -> bool:
    """Whether this user may mount a small disk that only a test sees."""
    if sys.platform != "linux" or not shutil.which("unshare"):
        return False
    tried = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tempfile.gettempdir()]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


def test_a_full_disk_is_told_and_leaves_no_run(tmp_path: Path) -> None:
    if not may_mount():
        pytest.skip("only a user who may mount can fill a disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", FULL, "sh", str(disk), sys.executable],
        env=clean_environment(),
        capture_output=True,
        check=False,
        text=True,
        timeout=100,
    )
    assert done.stdout == "code 125\nfolders 0\n[]\n1\n", done.stderr
    assert "next: " in done.stderr
    assert "Traceback" not in done.stderr


def without_privilege() -> list[str]:
    """What starts a process that permissions stop, also where root runs the tests."""
    if os.getuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("no permission stops root here")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def set_writable(folder: Path, yes: bool) -> None:
    """Give or take the permission to write from a folder and everything in it."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod((0o755 if yes else 0o555) if path.is_dir() else (0o644 if yes else 0o444))


def test_a_read_only_folder_is_told_and_gets_no_workspace(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "print(1)\n"})
    set_writable(tmp_path, False)
    said = onrecord("run", "train.py", cwd=tmp_path, under=without_privilege())
    set_writable(tmp_path, True)
    assert said.returncode == 125, said.stderr
    assert b"next: " in said.stderr
    assert b"Traceback" not in said.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["train.py"]


def test_a_read_only_workspace_is_read_and_not_written(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, "print('kept')\n")
    run.workspace.close()
    set_writable(tmp_path, False)
    words = (["ls"], ["logs", run.id], ["show", "@last"], ["files", "@last"], ["run", "train.py"])
    said = [onrecord(*each, cwd=tmp_path, under=without_privilege()) for each in words]
    set_writable(tmp_path, True)
    assert [each.returncode for each in said] == [0, 0, 0, 0, 125], [each.stderr for each in said]
    assert run.id[:10].encode() in said[0].stdout
    assert said[1].stdout == b"kept\n"
    assert b"next: " in said[4].stderr
    assert b"Traceback" not in said[4].stderr
    assert [path.name for path in (tmp_path / ".onrecord" / "runs").iterdir()] == [run.id]


# ---- names, links and things that are no files ---------------------------------------------------------

ODD = b"odd-\xff\n.txt"


def _can_write(path: bytes) -> bool:
    try:
        with open(path, "wb") as file:  # noqa: PTH123 - a name in bytes
            file.write(b"odd")
    except OSError as problem:
        if problem.errno in (errno.EILSEQ, errno.EINVAL):
            return False
        raise
    return True


def test_names_that_are_not_utf8_are_kept_in_the_source_and_in_the_outputs(folder: Path) -> None:
    if not _can_write(os.fsencode(folder) + b"/" + ODD):
        pytest.skip("this file system takes UTF-8 only")
    run = run_to_end(folder, f"import os; os.replace({ODD!r}, b'outputs/' + {ODD!r})\n")
    assert run.status == "Completed", run.get_details()["error"]
    restored = run.restore_snapshot(folder / "again")
    assert (os.fsencode(restored) + b"/" + ODD) in [os.fsencode(path) for path in restored.iterdir()]
    [name] = [name for name in run.get_file_names() if name.startswith("outputs/")]
    assert run.read_file(name) == b"odd"
    said = onrecord("files", run.id, cwd=folder)
    assert said.returncode == 0, said.stderr
    assert b"\xff" not in said.stdout
    copy = folder / "copy"
    assert onrecord("get", run.id, name, str(copy), cwd=folder).returncode == 0
    assert copy.read_bytes() == b"odd"
    assert onrecord("verify", cwd=folder).returncode == 0


def test_links_that_leave_the_source_stay_links_and_are_named(folder: Path) -> None:
    (folder / "away").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("../elsewhere")
    said = onrecord("run", "train.py", cwd=folder)
    assert said.returncode == 0, said.stderr
    assert b"away" in said.stderr
    assert b"up" in said.stderr
    run = Workspace(folder).get_run("@last")
    restored = run.restore_snapshot(folder / "again")
    assert (restored / "away").readlink() == Path("/etc/passwd")
    assert (restored / "up").readlink() == Path("../elsewhere")


def test_a_pipe_in_the_source_is_named_and_the_run_goes_on(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    said = onrecord("run", "train.py", cwd=folder)
    assert said.returncode == 0, said.stderr
    assert b"not in the snapshot: pipe" in said.stderr


@pytest.mark.parametrize(
    ("given", "why"),
    [("/nowhere/python", "no such file"), ("/etc", "a folder"), ("./train.py", "not executable"), ("pyhton", "PATH")],
)
def test_a_wrong_interpreter_is_refused_before_there_is_a_run(folder: Path, given: str, why: str) -> None:
    environment = Environment("wrong")
    environment.python.interpreter_path = given
    said = refused(folder, BadConfig, environment=environment)
    assert given in said
    assert why in said


def test_an_interpreter_is_looked_up_on_the_path_that_the_script_will_have(folder: Path) -> None:
    project(folder, {"bin/odd": f'#!/bin/sh\nexec {sys.executable} "$@"\n'})
    (folder / "bin" / "odd").chmod(0o755)
    environment = Environment("odd", environment_variables={"PATH": f"{folder}/bin:{os.environ['PATH']}"})
    environment.python.interpreter_path = "odd"
    assert submit(folder, environment=environment).wait_for_completion()["status"] == "Completed"


def test_a_tag_without_a_name_is_refused_wherever_it_is_set(folder: Path) -> None:
    with pytest.raises(BadTag, match="next: "):
        Experiment(Workspace(folder), "tests").submit(ScriptRunConfig(folder, "train.py"), {"": "v"})
    assert leaves_nothing(folder)
    run = submit(folder)
    with pytest.raises(BadTag):
        run.tag("", "v")
    run.tag("name")
    assert run.get_tags() == {"name": ""}
    run.wait_for_completion()
