"""What is in an environment that conda made, read from its folder: conda itself is not asked."""

from __future__ import annotations

import json
import os
from pathlib import Path

from onrecord.conda_dependencies import CondaDependencies
from onrecord.executors.environment_errors import BadEnvironment
from onrecord.executors.environment_inventory import normalized, site_packages


def dependencies_of(name: str) -> CondaDependencies:
    """The packages of a conda environment, by name or folder, each in its version and build. Raises BadEnvironment.

    Those that pip put there are asked of pip again; one that pip took from a folder cannot be, and is refused.
    """
    prefix = _prefix_of(name)
    found = CondaDependencies()
    from_conda: set[str] = set()
    for path in sorted(prefix.glob("conda-meta/*.json")):
        record = json.loads(path.read_bytes())
        found.add_conda_package(f"{record['name']}={record['version']}={record['build']}")
        channel = str(record.get("channel") or "").removesuffix(f"/{record.get('subdir')}").rstrip("/")
        if channel:
            found.add_channel(channel)
        from_conda.add(normalized(record["name"]))
    site = site_packages(prefix)
    for folder in sorted(site.glob("*.dist-info")) if site is not None else []:
        if (folder / "INSTALLER").is_file() and (folder / "INSTALLER").read_text().strip() == "conda":
            continue
        package, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
        if normalized(package) in from_conda:
            continue
        if (folder / "direct_url.json").is_file() and '"dir_info"' in (folder / "direct_url.json").read_text():
            raise BadEnvironment(
                f"{package} in {prefix} was installed from a folder",
                why="it could not be installed again from its name and version",
                next_step="list the dependencies in a conda file: Environment.from_conda_specification",
                field="conda_environment_name",
            )
        found.add_pip_package(f"{package}=={version}")
    return found


def _prefix_of(name: str) -> Path:
    candidates = [Path(name)] if os.sep in name else [folder / name for folder in _folders()]
    registered = _registered()
    candidates += [path for path in registered if path.name == name]
    for path in candidates:
        if (path / "conda-meta").is_dir():
            return path
    known = [str(path) for path in registered if (path / "conda-meta").is_dir()]
    raise BadEnvironment(
        f"there is no conda environment {name}",
        why=f"known ones: {', '.join(known)}" if known else "conda made none on this machine that could be found",
        next_step="give its folder: from_existing_conda_environment(name, '/path/to/envs/NAME')",
        field="conda_environment_name",
    )


def _folders() -> list[Path]:
    """Where conda keeps environments: CONDA_ENVS_PATH, beside the active one, and below the installation."""
    given = [Path(part) for part in os.environ.get("CONDA_ENVS_PATH", "").split(os.pathsep) if part]
    active, program = os.environ.get("CONDA_PREFIX"), os.environ.get("CONDA_EXE")
    if active:
        given += [Path(active).parent, Path(active) / "envs"]
    if program:
        given.append(Path(program).parent.parent / "envs")
    return [*given, Path.home() / ".conda" / "envs"]


def _registered() -> list[Path]:
    # https://docs.conda.io/projects/conda: every environment that conda makes is entered here.
    try:
        lines = (Path.home() / ".conda" / "environments.txt").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [Path(line.strip()) for line in lines if line.strip()]
