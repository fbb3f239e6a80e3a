"""What can be run: scripts of any kind by their content, and commands."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from face_make import leaves_nothing, project, submit

from onrecord import Environment, Experiment, OnRecordError, PyTorchConfiguration, Run, ScriptRunConfig, Workspace
from onrecord.script_kind import words_before
from onrecord.script_run_config import BadConfig

INVENTORY = "onrecord/environment.json"


def run_of(folder: Path, **options: Any) -> Run:
    """A run of what the options say in `folder`, to its end."""
    workspace = Workspace.create(folder, exist_ok=True)
    run = Experiment(workspace, "tests").submit(ScriptRunConfig(folder, **options))
    run.wait_for_completion(raise_on_error=False)
    return run


def refused(folder: Path, **options: Any) -> str:
    workspace = Workspace.create(folder, exist_ok=True)
    with pytest.raises(OnRecordError) as caught:
        Experiment(workspace, "tests").submit(ScriptRunConfig(folder, **options))
    assert "next: " in str(caught.value)
    assert leaves_nothing(folder)
    return str(caught.value)


def said(run: Run) -> bytes:
    assert run.status == "Completed", run.workspace.query.run(run.id).error
    return run.read_file("logs/stdout.txt")


# ---- commands --------------------------------------------------------------------------------------


def test_a_command_as_a_list_is_executed_as_it_is(tmp_path: Path) -> None:
    run = run_of(tmp_path, command=["printf", "%s|", "a b", "*", "$(id)", 0.1, None])
    assert said(run) == b"a b|*|$(id)|0.1|None|"
    definition = run.get_details()["runDefinition"]
    assert (definition["command"], definition["arguments"][3:]) == ("printf", ["$(id)", "0.1", "None"])
    assert "script" not in definition
    assert INVENTORY not in run.get_file_names()


def test_a_command_as_a_text_goes_through_the_shell(tmp_path: Path) -> None:
    run = run_of(tmp_path, command='echo "$ONRECORD_EXPERIMENT" | tr a-z A-Z; pwd -P > outputs/where')
    assert said(run) == b"TESTS\n"
    assert run.read_file("outputs/where") == os.fsencode(run.workspace.layout.run(run.id).work.resolve()) + b"\n"


def test_the_exit_code_of_a_command_is_the_runs(tmp_path: Path) -> None:
    run = run_of(tmp_path, command="exit 3")
    assert (run.status, run.workspace.query.run(run.id).exit_code) == ("Failed", 3)


def test_a_program_of_the_project_is_named_by_its_path_in_it(tmp_path: Path) -> None:
    project(tmp_path, {"bin/train": "#!/bin/sh\necho $1\n"})
    (tmp_path / "bin/train").chmod(0o755)
    assert said(run_of(tmp_path, command=["./bin/train", "here"])) == b"here\n"


def test_a_command_finds_the_programs_of_the_environment_that_was_chosen(tmp_path: Path) -> None:
    made = project(
        tmp_path / "made", {"pyvenv.cfg": "", "bin/python": "#!/bin/sh\n", "bin/tool": "#!/bin/sh\necho $0\n"}
    )
    for name in ("python", "tool"):
        (made / "bin" / name).chmod(0o755)
    environment = Environment("made")
    environment.python.interpreter_path = str(made / "bin/python")
    run = run_of(project(tmp_path / "work", {"a": ""}), command=["tool"], environment=environment)
    assert said(run) == os.fsencode(made / "bin/tool") + b"\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"command": "true", "script": "train.py"}, "both a command and a script"),
        ({"command": ["true"], "arguments": ["--alpha"]}, "both a command and arguments"),
        ({"command": ""}, "the command is empty"),
        ({"command": "a\0b"}, "NUL"),
        ({"command": []}, "names no program"),
        ({"command": [""]}, "names no program"),
        ({"command": b"true"}, "a text for the shell, or a list"),
        ({"command": {"a": 1}}, "a text for the shell, or a list"),
        ({"command": ["true", b"x"]}, "it is bytes"),
        ({"command": ["printff"]}, "did you mean printf?"),
        ({"command": ["train.py"]}, "onrecord run train.py"),
        ({"command": ["./train.py"]}, "chmod +x"),
        ({"command": ["./outputs"]}, "it is a folder"),
        ({"command": ["./nowhere"]}, "it is not there"),
        ({"command": ["../train.py"]}, "outside the source folder"),
        ({"script": "make"}, "onrecord run -- make"),
    ],
)
def test_a_command_that_cannot_be_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    (tmp_path / "outputs").mkdir()
    assert words in refused(project(tmp_path, {"train.py": ""}), **options)


def test_a_command_that_the_rules_leave_out_is_refused(tmp_path: Path) -> None:
    project(tmp_path, {"train": "#!/bin/sh\n", ".amlignore": "train\n"})
    (tmp_path / "train").chmod(0o755)
    assert "!train" in refused(tmp_path, command=["./train"])


def test_a_command_runs_in_several_processes_and_each_has_its_own_variables(tmp_path: Path) -> None:
    job = PyTorchConfiguration("gloo", 2)
    run = run_of(tmp_path, command=["printf", "%s %s", "$RANK", "$$RANK"], distributed_job_config=job)
    assert [run.read_file(f"logs/rank-{rank}.txt") for rank in (0, 1)] == [b"0 $RANK", b"1 $RANK"]
    shell = run_of(tmp_path, command='printf "$RANK of ${WORLD_SIZE}"', distributed_job_config=job)
    assert [shell.read_file(f"logs/rank-{rank}.txt") for rank in (0, 1)] == [b"0 of 2", b"1 of 2"]


# ---- scripts ---------------------------------------------------------------------------------------

TELLS_PYTHON = "import sys; print(sys.executable)\n"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("train.py", "#!/bin/sh\n", None),
        ("train", "print(1)\n", None),
        ("train.txt", "", None),
        ("train", "#!/usr/bin/env python3\n", None),
        ("train", "#!/usr/bin/env -S python3 -u\n", None),
        ("train", "#! /opt/python3.11\n", None),
        ("train", "#!\n", None),
        ("train.sh", "echo\n", ("sh",)),
        ("train.bash", "echo\n", ("bash",)),
        ("train.R", "cat(1)\n", ("Rscript",)),
        ("train.jl", "print(1)\n", ("julia",)),
        ("train.R", "#!/usr/bin/env -S Rscript --vanilla\n", ("/usr/bin/env", "-S Rscript --vanilla")),
        ("train", "#!/bin/sh -e -u\n", ("/bin/sh", "-e -u")),
        ("train", "#!/bin/sh", ("/bin/sh",)),
        ("train", "\x7fELF\x02", ()),
    ],
)
def test_the_content_of_a_script_says_what_runs_it(
    tmp_path: Path, name: str, text: str, words: tuple[str, ...] | None
) -> None:
    (tmp_path / name).write_text(text)
    assert words_before(tmp_path / name) == words


@pytest.mark.parametrize("mode", [0o644, 0o755])
def test_a_script_of_the_shell_runs_whether_or_not_it_may_be_executed(tmp_path: Path, mode: int) -> None:
    project(tmp_path, {"jobs/train.sh": 'echo "$1 $ONRECORD_EXPERIMENT $0"\n'})
    (tmp_path / "jobs/train.sh").chmod(mode)
    run = run_of(tmp_path, script="jobs/train.sh", arguments=["a b"])
    assert said(run) == b"a b tests ./jobs/train.sh\n"
    assert INVENTORY not in run.get_file_names()
    assert run.get_details()["runDefinition"]["launcher"] == ["sh"]


def test_a_compiled_program_is_executed(tmp_path: Path) -> None:
    shutil.copy(str(shutil.which("printf")), tmp_path / "program")
    run = run_of(tmp_path, script="program", arguments=["%s|", "$ONRECORD_RUN_ID", "b c"])
    assert said(run) == f"{run.id}|b c|".encode()


def test_a_compiled_program_that_may_not_be_executed_is_refused(tmp_path: Path) -> None:
    shutil.copy(str(shutil.which("printf")), tmp_path / "program")
    (tmp_path / "program").chmod(0o644)
    assert "chmod +x" in refused(tmp_path, script="program")


def test_a_script_of_r_is_run_by_the_rscript_on_its_path(tmp_path: Path) -> None:
    tools = project(tmp_path / "tools", {"Rscript": '#!/bin/sh\necho "R runs $1 with $2"\n'})
    (tools / "Rscript").chmod(stat.S_IRWXU)
    source = project(tmp_path / "source", {"fit.R": "cat(1)\n"})
    variables = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    run = run_of(source, script="fit.R", arguments=[7], environment_variables=variables)
    assert said(run) == b"R runs ./fit.R with 7\n"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("fit.jl", "print(1)\n", "no julia-of-nowhere"),
        ("fit", "#!/nowhere/tool -x\n", "no /nowhere/tool to run the script fit"),
        ("fit", "#!/usr/bin/env no-such-tool\n", "no no-such-tool to run the script fit"),
    ],
)
def test_a_script_whose_program_is_missing_is_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    project(tmp_path, {name: text})
    told = refused(tmp_path, script=name, environment_variables={"PATH": "/nowhere"})
    assert words.replace("-of-nowhere", "") in told


def test_a_script_of_python_without_a_suffix_has_the_environments_interpreter(tmp_path: Path) -> None:
    project(tmp_path, {"train": f"#!/usr/bin/env python3\n{TELLS_PYTHON}"})
    run = run_of(tmp_path, script="train", environment_variables={"PATH": "/nowhere"})
    assert said(run).decode().startswith("/")
    assert INVENTORY in run.get_file_names()


def test_no_interpreter_of_python_is_needed_for_what_is_not_pythons(tmp_path: Path) -> None:
    environment = Environment("none")
    environment.python.interpreter_path = "/nowhere/python"
    assert said(run_of(tmp_path, command=["echo", "1"], environment=environment)) == b"1\n"
    project(tmp_path, {"train.py": ""})
    with pytest.raises(BadConfig, match="no such file"):
        submit(tmp_path, environment=environment)
