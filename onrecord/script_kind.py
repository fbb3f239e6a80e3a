"""How a script is started: by its content, and where that does not tell, by its suffix.

A file named `.py`, and any text that nothing else is known of, is Python's. A compiled program is executed; a first
line `#!` names the program that runs the script, whether or not the file may be executed; `.sh`, `.bash`, `.R` and
`.jl` without one are run by sh, bash, Rscript and julia.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from onrecord.config_errors import BadConfig
from onrecord.environment import Environment

_INTERPRETERS = {".sh": "sh", ".bash": "bash", ".r": "Rscript", ".jl": "julia"}
_PYTHON = re.compile(r"(?:.*/)?(?:python|pypy)[\d.]*")
# ELF (its header's first bytes); Mach-O, thin and fat, in both byte orders.
_COMPILED = (
    b"\x7fELF", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe",
)  # fmt: skip
_HEAD_BYTES = 4096


def words_before(script: Path) -> tuple[str, ...] | None:
    """What is put before the script's name to run it: nothing for a compiled program, None for Python's.

    As the kernel reads a first line `#!`: the program, and everything after the first blank as one argument.
    """
    with script.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if script.suffix == ".py":
        return None
    if head.startswith(_COMPILED):
        return ()
    if head.startswith(b"#!"):
        words = os.fsdecode(head[2:].split(b"\n")[0]).strip().split(None, 1)
        return None if not words or _is_python(words) else tuple(words)
    interpreter = _INTERPRETERS.get(script.suffix.lower())
    return (interpreter,) if interpreter else None


def _is_python(words: list[str]) -> bool:
    """Whether a first line asks for Python, which the run's environment provides."""
    if words[0].rpartition("/")[2] == "env" and len(words) == 2:
        named = [word for word in words[1].split() if not word.startswith("-") and "=" not in word]
        return bool(named) and _PYTHON.fullmatch(named[0]) is not None
    return _PYTHON.fullmatch(words[0]) is not None


def check_runnable(script: Path, before: tuple[str, ...], source: Path, path: str) -> None:
    """Refuse a script that no program of this machine could run. Raises BadConfig. `path`: where programs are found."""
    name = script.relative_to(source)
    if not before:
        if not os.access(script, os.X_OK):
            raise BadConfig(
                f"the program {name} may not be executed",
                why="it is compiled, and its file has no permission to execute",
                next_step=f"chmod +x {script}",
                field="script",
            )
        return
    program = _asked_for(before)
    if program and _found(program, source, path) is None:
        first = "its first line names it" if _names_itself(script) else f"{script.suffix} files are run by it"
        raise BadConfig(
            f"there is no {program} to run the script {name}",
            why=f"{first}, and {'there is no such program' if '/' in program else 'it is not on the PATH'}",
            next_step=f"install {program.rpartition('/')[2]}, or run it by another program: command=[PROGRAM, '{name}']"
            f" (onrecord run -- PROGRAM {name})",
            field="script",
        )


def _names_itself(script: Path) -> bool:
    with script.open("rb") as file:
        return file.read(2) == b"#!"


def _asked_for(before: tuple[str, ...]) -> str:
    """The program that decides; of `env NAME` it is NAME, and "" where env is asked for more than a name."""
    if before[0].rpartition("/")[2] == "env" and len(before) == 2 and os.access(before[0], os.X_OK):
        words = before[1].split()
        if words[:1] == ["-S"] and len(words) > 1:
            words = words[1:]
        return "" if words[0].startswith("-") or "=" in words[0] else words[0]
    return before[0]


def check_program(program: str, source: Path, path: str) -> None:
    """Refuse a command whose program is not there. Raises BadConfig."""
    if _found(program, source, path) is not None:
        return
    place = source / program
    if "/" in program and not os.path.isabs(program) and os.path.normpath(program).startswith(".."):  # noqa: PTH117
        why, step = "it lies outside the source folder, of which alone the run has a copy", "name it by its whole path"
    elif "/" in program:
        why = "it is a folder" if place.is_dir() else "it is not executable" if place.exists() else "it is not there"
        step = f"chmod +x {place}" if place.is_file() else "name a program, by a path from the top of the source folder"
    elif place.is_file():
        why = f"no program of this name is on the PATH; there is a script {program}"
        step = f"script='{program}' instead of a command (onrecord run {program})"
    else:
        why, step = "no program of this name is on the PATH", _near(program, path)
    raise BadConfig(f"the command {program} cannot be executed", why=why, next_step=step, field="command")


def _near(program: str, path: str) -> str:
    from difflib import get_close_matches

    names: set[str] = set()
    for folder in path.split(os.pathsep):
        try:
            names.update(place.name for place in Path(folder or ".").iterdir())
        except OSError:
            continue
    near = get_close_matches(program, names, n=1)
    return f"did you mean {near[0]}?" if near else "install it, or name it by its path"


def _found(program: str, source: Path, path: str) -> str | None:
    if "/" in program:
        if not os.path.isabs(program) and os.path.normpath(program).startswith(".."):  # noqa: PTH117 - a text
            return None
        # The command is started in its copy of the source, where a relative path begins.
        place = source / program
        return str(place) if place.is_file() and os.access(place, os.X_OK) else None
    return shutil.which(program, path=path)


def search_path(environment: Environment, variables: Mapping[str, str]) -> str:
    """Where the programs of a run in an interpreter as it is are found."""
    for known in (variables, environment.environment_variables):
        if "PATH" in known:
            return str(known["PATH"])
    # As the start does it: beside the interpreter that was chosen, and on the submitter's PATH.
    folder = os.path.dirname(environment.python.interpreter_path or "")  # noqa: PTH120 - an empty one stays empty
    return os.pathsep.join(part for part in (folder, os.environ.get("PATH", os.defpath)) if part)
