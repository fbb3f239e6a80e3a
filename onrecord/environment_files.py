"""Dependencies out of the files that projects have: requirements, pyproject.toml, pylock.toml, a script's own header.

What is read is complete: files that a file names are read too, so that the definition needs none of them later.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from onrecord.conda_dependencies import CondaDependencies
from onrecord.executors.environment_errors import BadEnvironment

if TYPE_CHECKING:
    import os

    from onrecord.environment import Environment

# PEP 723, "Reference Implementation".
_BLOCK = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
_COMMENT = re.compile(r"(^|\s+)#.*$")
_ARCHIVE = re.compile(r"(?P<name>[A-Za-z0-9][\w.]*?(?:[-_][A-Za-z][\w.]*?)*)-\d[^/]*\.(?:whl|tar\.gz|zip)$")
_USER_INFO = re.compile(r"(https?://)([^/\s@]+)@")
_LOCK_PATH = re.compile(r'(\bpath\s*=\s*)"([^"]+)"')


def from_requirements(path: Path) -> CondaDependencies:
    """The dependencies of a requirements file and of those that it includes. Raises BadEnvironment."""
    found = CondaDependencies()
    found.set_pip_requirements(_lines(path, ()))
    return found


def from_pyproject(path: Path, extras: Sequence[str] = ()) -> CondaDependencies:
    """`project.dependencies`, with those of some `extras`; the project itself is what a run snapshots."""
    project = _toml(path).get("project")
    if not isinstance(project, dict) or "dependencies" in project.get("dynamic", []):
        raise BadEnvironment(
            f"{path} does not list the project's dependencies",
            why="there is no project.dependencies in it, or they are dynamic",
            next_step="list them under [project] dependencies = […], or use a requirements file",
            field="pyproject",
        )
    known = project.get("optional-dependencies", {})
    lines = list(project.get("dependencies", []))
    for extra in extras:
        if extra not in known:
            raise BadEnvironment(
                f"{path} has no extra {extra!r}",
                why=f"it has {', '.join(known) or 'none'}",
                next_step="name one of them",
                field="pyproject",
            )
        lines += known[extra]
    return _with_python(_resolved(lines, path.parent), project.get("requires-python"))


def from_script(path: Path) -> CondaDependencies:
    """What a script says of itself in its header (PEP 723, `# /// script`). Raises BadEnvironment without one."""
    text = _text(path)
    blocks = [match for match in _BLOCK.finditer(text) if match["type"] == "script"]
    if len(blocks) != 1:
        raise BadEnvironment(
            f"{path} does not say what it needs",
            why=f"it has {len(blocks)} headers '# /// script' (PEP 723)",
            next_step='begin it with:  # /// script\\n  # dependencies = ["numpy"]\\n  # ///',
            field="script",
        )
    content = "".join(line[2:] if line.startswith("# ") else line[1:] for line in blocks[0]["content"].splitlines(True))
    header = _parsed(content, path)
    return _with_python(_resolved(header.get("dependencies", []), path.parent), header.get("requires-python"))


def resolved(dependencies: CondaDependencies, folder: Path) -> CondaDependencies:
    """The same with files below `folder` named by path and content. Raises BadEnvironment."""
    found = CondaDependencies(_underlying_structure=dependencies.as_dict())
    found.set_pip_requirements([resolved_line(line, folder) for line in dependencies.pip_lines()])
    return found


def installed_over(
    environment: Environment,
    conda_specification: str | os.PathLike[str] | None,
    pip_requirements: str | os.PathLike[str] | None,
) -> Environment:
    """The environment with what one of two files lists; without either nothing is installed. Raises BadEnvironment."""
    if conda_specification is not None and pip_requirements is not None:
        raise BadEnvironment(
            "conda_specification and pip_requirements are given",
            why="each says all that is installed",
            next_step="list pip's packages in the conda file, or give one of the two",
            field="pip_requirements",
        )
    if conda_specification is not None:
        path = Path(conda_specification)
        environment.python.conda_dependencies = resolved(CondaDependencies(path), path.parent)
    elif pip_requirements is not None:
        environment.python.conda_dependencies = from_requirements(Path(pip_requirements))
    else:
        environment.python.user_managed_dependencies = True
    return environment


def lock_text(path: Path) -> str:
    """A pylock.toml (PEP 751), with the paths in it made absolute. Raises BadEnvironment."""
    text = _text(path)
    lock = _parsed(text, path)
    if not str(lock.get("lock-version", "")).startswith("1.") or "packages" not in lock:
        raise BadEnvironment(
            f"{path} is no pylock.toml",
            why="it has no lock-version 1.x and packages (PEP 751)",
            next_step="uv pip compile requirements.in --format pylock.toml -o pylock.toml",
            field="pylock",
        )
    folder = path.absolute().parent
    return _LOCK_PATH.sub(lambda match: f'{match[1]}"{folder / match[2]}"', text)


def resolved_line(line: str, folder: Path) -> str:
    """One line of a requirements file, good in every folder and on every day: local files by path and SHA-256.

    Raises BadEnvironment for what would not be the same the next time, and for passwords, which would be on
    record for ever.
    """
    _refuse_password(line)
    option, _, value = line.replace("=", " ", 1).partition(" ") if line.startswith("-") else ("", "", "")
    if option in ("-e", "--editable"):
        raise _refuse_folder(line)
    if option in ("-c", "--constraint"):
        raise BadEnvironment(
            f"constraints are not supported: {line}",
            why="a definition is complete in itself",
            next_step="pin the versions in the requirements, or use a lock: uv pip compile -c …",
            field="requirements",
        )
    if option in ("-f", "--find-links") and "://" not in value:
        return f"--find-links {(folder / value.strip()).absolute()}"
    if option:
        return line
    return _direct(line, folder)


def _direct(line: str, folder: Path) -> str:
    requirement, semicolon, marker = line.partition(" ;")
    text = requirement.strip()
    name, at, url = (part.strip() for part in text.partition("@"))
    if at and url.startswith("file:"):
        path = Path(unquote(urlsplit(url).path))
        if "#" in url:
            return line
    elif text.startswith((".", "/", "~")) or (text.endswith((".whl", ".tar.gz", ".zip")) and "://" not in text):
        path, name = folder / Path(text).expanduser(), ""
    else:
        return line
    if path.is_dir() or not path.is_file():
        raise _refuse_folder(text) if path.is_dir() else _no_file(path)
    if not name:
        match = _ARCHIVE.search(path.name)
        name = path.name.split("-")[0] if path.suffix == ".whl" else match["name"] if match else ""
    if not name:
        raise _no_file(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name} @ file://{quote(str(path.resolve()))}#sha256={digest}{semicolon}{marker}"


def _lines(path: Path, within: tuple[Path, ...]) -> list[str]:
    if path.resolve() in within:
        raise BadEnvironment(f"{path} includes itself", next_step="take the -r line out", field="requirements")
    found: list[str] = []
    for line in _logical_lines(_text(path)):
        match = re.match(r"(?:-r|--requirement)[\s=]+(.+)$|-r(\S+)$", line)
        if match:
            inner = path.parent / (match[1] or match[2]).strip()
            found += _lines(inner, (*within, path.resolve()))
        else:
            found.append(resolved_line(line, path.parent))
    return found


def _logical_lines(text: str) -> Iterator[str]:
    # pip's documentation, "Requirements File Format": continuations are joined before comments are taken out.
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        clean = _COMMENT.sub("", line).strip()
        if clean:
            yield clean


def _resolved(lines: Sequence[Any], folder: Path) -> CondaDependencies:
    found = CondaDependencies()
    found.set_pip_requirements([resolved_line(str(line), folder) for line in lines])
    return found


def _with_python(found: CondaDependencies, version: object) -> CondaDependencies:
    if version:
        found.set_python_version(re.sub(r"\s+", "", str(version)))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise BadEnvironment(
            f"{path} cannot be read", why=str(problem), next_step="check the path", field="file"
        ) from problem


def _toml(path: Path) -> dict[str, Any]:
    return _parsed(_text(path), path)


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise BadEnvironment(
            f"{path} is not valid TOML", why=str(problem), next_step="mend it", field="file"
        ) from problem


def _refuse_password(line: str) -> None:
    for match in _USER_INFO.finditer(line):
        if not re.fullmatch(r"(?:\$\{[A-Z0-9_]+\}|:|__token__)+", match[2]):
            raise BadEnvironment(
                "an address in the requirements holds a user name or a password",
                why="the definition is on record for ever, for everyone who can read the history",
                next_step="write ${NAME} in its place and set that variable, or use ~/.netrc",
                field="requirements",
            )


def _refuse_folder(line: str) -> BadEnvironment:
    return BadEnvironment(
        f"a folder cannot be installed: {line}",
        why="its content changes, and an environment is known by its content",
        next_step="pip wheel --no-deps FOLDER, and name the wheel; or put the code into the source directory",
        field="requirements",
    )


def _no_file(path: Path) -> BadEnvironment:
    return BadEnvironment(
        f"{path} is no package that can be installed",
        why="there is no such file, or its name does not say what it is",
        next_step="name a wheel or a source archive",
        field="requirements",
    )
