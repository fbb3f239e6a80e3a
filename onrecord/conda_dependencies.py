"""What is to be installed in an environment, as Azure ML and conda write it down: channels, packages, and pip's part.

conda itself is never needed. Where there are no conda packages besides python and pip, there is nothing for
conda to do at all, and the environment is a virtual environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from onrecord.executors.environment_errors import BadEnvironment

FILE_NAME = "conda_dependencies.yml"
_NAME = re.compile(r"\s*(?:[\w.\-/]+::)?([A-Za-z0-9_][\w.\-]*)")
# What conda environments have and nobody asked conda for.
NOT_FOR_CONDA = frozenset({"python", "pip"})


class CondaDependencies:
    """Channels, conda packages and lines of a requirements file, in order.

    >>> wanted = CondaDependencies.create(pip_packages=["scikit-learn==1.5.0"])
    >>> wanted.add_pip_package("scikit-learn>=1.6")
    >>> wanted.as_dict()
    {'dependencies': [{'pip': ['scikit-learn>=1.6']}]}
    """

    def __init__(
        self,
        conda_dependencies_file_path: str | os.PathLike[str] | None = None,
        _underlying_structure: Mapping[str, Any] | None = None,
    ) -> None:
        self._channels: list[str] = []
        self._conda: list[str] = []
        self._pip: list[str] = []
        if conda_dependencies_file_path is not None:
            self._take(_read_yaml(Path(conda_dependencies_file_path)))
        elif _underlying_structure is not None:
            self._take(_underlying_structure)

    @staticmethod
    def create(
        pip_indexurl: str | None = None,
        pip_packages: Iterable[str] | None = None,
        conda_packages: Iterable[str] | None = None,
        python_version: str | None = None,
        pin_sdk_version: bool = True,
    ) -> CondaDependencies:
        """Dependencies from lists. `python_version`: for example 3.11; without one, the Python that submits.

        `pin_sdk_version` is accepted for Azure ML's sake: `onrecord` is always the version that submits.
        """
        del pin_sdk_version
        made = CondaDependencies()
        if python_version is not None:
            made.set_python_version(python_version)
        for package in conda_packages or ():
            made.add_conda_package(package)
        if pip_indexurl is not None:
            made.set_pip_index_url(pip_indexurl)
        for line in pip_packages or ():
            made.add_pip_package(line)
        return made

    @staticmethod
    def merge_requirements(requirements: Iterable[str]) -> list[str]:
        """Requirements with those of one package in one line: `a>=1`, `a<2` become `a>=1,<2`."""
        merged: dict[str, tuple[str, list[str]]] = {}
        for line in requirements:
            match = _NAME.match(line)
            if match is None:
                continue
            name, rest = match[1], line[match.end() :].strip()
            merged.setdefault(_key(name), (name, []))[1].extend([rest] if rest else [])
        return [name + ",".join(dict.fromkeys(rests)) for name, rests in merged.values()]

    # ---- what there is -------------------------------------------------------------------------

    @property
    def conda_channels(self) -> list[str]:
        """Channels, the first one preferred."""
        return list(self._channels)

    @property
    def conda_packages(self) -> list[str]:
        """conda's match specifications, without pip's part."""
        return list(self._conda)

    @property
    def pip_packages(self) -> list[str]:
        """Requirements for pip, without options."""
        return [line for line in self._pip if not line.startswith("-")]

    @property
    def pip_options(self) -> list[str]:
        """Options as a requirements file has them: `--index-url …`, `--find-links …`, `--pre`."""
        return [line for line in self._pip if line.startswith("-")]

    def pip_lines(self) -> list[str]:
        """The lines of a requirements file: options and requirements in the order in which they were added."""
        return list(self._pip)

    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return not (self._conda or self._pip)

    def get_python_version(self) -> str | None:
        """What is asked of Python's version: `3.11`, `>=3.9,<3.12`; None where anything will do."""
        for package in self._conda:
            match = _NAME.match(package)
            if match and match[1].lower() == "python":
                return re.sub(r"^=(?!=)", "", package[match.end() :].strip()) or None
        return None

    def as_dict(self) -> dict[str, Any]:
        """The content of a conda environment file, without a name."""
        dependencies: list[Any] = [*self._conda, *([{"pip": list(self._pip)}] if self._pip else [])]
        channels = {"channels": list(self._channels)} if self._channels else {}
        return {**channels, "dependencies": dependencies}

    # ---- changes -------------------------------------------------------------------------------

    def set_python_version(self, version: str) -> None:
        """Ask for a version of Python: `3.11`, `3.11.7`, or conditions such as `>=3.9,<3.12`."""
        text = str(version).strip()
        self.add_conda_package(f"python{'' if text[:1] in '=<>!~' else '='}{text}")

    def add_channel(self, channel: str) -> None:
        """Look for conda packages there too, after the channels that are there already."""
        if channel not in self._channels:
            self._channels.append(channel)

    def remove_channel(self, channel: str) -> None:
        """Do not look there."""
        self._channels = [one for one in self._channels if one != channel]

    def add_conda_package(self, conda_package: str) -> None:
        """Ask for a conda package, in place of what was asked of the same one before."""
        self._conda = _put(self._conda, conda_package)

    def remove_conda_package(self, conda_package: str) -> None:
        """Do not ask for it; a name or the whole specification."""
        self._conda = _without(self._conda, conda_package)

    def add_pip_package(self, pip_package: str) -> None:
        """Ask pip for a package, in place of what was asked of the same one before; options are taken too."""
        self._pip = [*self._pip, pip_package] if pip_package.startswith("-") else _put(self._pip, pip_package)

    def remove_pip_package(self, pip_package: str) -> None:
        """Do not ask for it; a name or the whole requirement."""
        self._pip = _without(self._pip, pip_package)

    def set_pip_requirements(self, pip_requirements: Iterable[str]) -> None:
        """Ask for these lines instead of all that was asked of pip."""
        self._pip = [str(line) for line in pip_requirements]

    def set_pip_index_url(self, index_url: str) -> None:
        """The index to ask instead of the configured one; an address, or the option as a file has it."""
        url = index_url.removeprefix("--index-url").strip()
        self._pip = [f"--index-url {url}", *(line for line in self._pip if not line.startswith("--index-url"))]

    def set_pip_option(self, pip_option: str) -> None:
        """Add an option, as a requirements file has it, before the requirements."""
        if pip_option not in self._pip:
            self._pip = [*self.pip_options, pip_option, *self.pip_packages]

    def remove_pip_option(self, pip_option: str) -> None:
        """Take an option out."""
        self._pip = [line for line in self._pip if line != pip_option]

    # ---- files ---------------------------------------------------------------------------------

    def serialize_to_string(self) -> str:
        """The text of a conda environment file."""
        import yaml

        return str(yaml.safe_dump(self.as_dict(), sort_keys=False, allow_unicode=True))

    def save(self, path: str | os.PathLike[str] | None = None) -> str:
        """Write a conda environment file; `path` is a file, or a folder for conda_dependencies.yml."""
        target = Path(path if path is not None else ".")
        if target.is_dir():
            target /= FILE_NAME
        target.write_text(self.serialize_to_string(), encoding="utf-8")
        return str(target)

    def save_to_file(
        self, base_directory: str | os.PathLike[str], conda_file_path: str | os.PathLike[str] | None = None
    ) -> str:
        """Write it into a folder, which is made; returns the file's name in it."""
        name = os.fspath(conda_file_path or FILE_NAME)
        target = Path(base_directory) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        self.save(target)
        return name

    def _take(self, document: Mapping[str, Any]) -> None:
        dependencies = document.get("dependencies") or []
        channels = document.get("channels") or []
        if not isinstance(dependencies, list) or not isinstance(channels, list):
            raise _unreadable("its dependencies and channels are lists")
        self._channels = [str(channel) for channel in channels]
        for item in dependencies:
            if isinstance(item, str):
                self._conda.append(item)
            elif isinstance(item, Mapping) and set(item) == {"pip"} and isinstance(item["pip"] or [], list):
                self._pip += [str(line) for line in item["pip"] or []]
            else:
                raise _unreadable(f"{item!r} is neither a package nor a list for pip")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CondaDependencies) and other.as_dict() == self.as_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"CondaDependencies({self.as_dict()!r})"


def _read_yaml(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise _unreadable(str(problem), path) from problem
    if not isinstance(document, dict):
        raise _unreadable("it holds no mapping with the key dependencies", path)
    return document


def _unreadable(why: str, path: Path | None = None) -> BadEnvironment:
    return BadEnvironment(
        f"{path or 'this'} is no conda environment file",
        why=why,
        next_step="see https://docs.conda.io/projects/conda/en/latest/user-guide/tasks/manage-environments.html",
        field="conda_dependencies",
    )


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _name_of(line: str) -> str:
    match = _NAME.match(line)
    return _key(match[1]) if match else line


def _put(lines: list[str], line: str) -> list[str]:
    name, text = _name_of(line), line.strip()
    if not text:
        raise BadEnvironment("a package without a name", next_step="name one", field="conda_dependencies")
    if not any(_name_of(one) == name for one in lines if not one.startswith("-")):
        return [*lines, text]
    found = [text if not one.startswith("-") and _name_of(one) == name else one for one in lines]
    return list(dict.fromkeys(found))


def _without(lines: list[str], wanted: str) -> list[str]:
    return [line for line in lines if line != wanted and (line.startswith("-") or _name_of(line) != wanted.lower())]
