"""Carry packages of the running interpreter into an environment, with what they need, without an index.

So a script has the very version that submitted it, also on a machine without a network and from a checkout that
was never released. What the recipe itself asked for stays; only what is missing is brought along.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from onrecord.executors.environment import package_folder, python_of
from onrecord.executors.environment_errors import EnvironmentBuildFailed
from onrecord.executors.environment_installers import Installer
from onrecord.executors.environment_inventory import installed, normalized, site_packages
from onrecord.executors.environment_steps import Steps

_NAME = re.compile(r"\s*([A-Za-z0-9][\w.\-]*)")
_ABI = "import sys, sysconfig; print(sys.version_info[:2], sysconfig.get_config_var('SOABI'), sys.platform)"
_OLDEST = (3, 11)


def carry(names: Iterable[str], prefix: Path, tool: Installer, steps: Steps, *, same_python: bool) -> None:
    """Copy distributions into an environment. Raises EnvironmentBuildFailed.

    Where the environment's Python is of another version, compiled packages would not work in it: then what they
    need comes from the index, and only the named ones, which are pure Python, are copied.
    """
    site = site_packages(prefix)
    if site is None:
        raise EnvironmentBuildFailed.because("the environment has no folder for packages", steps.log)
    alike = same_python or _abi_of(str(python_of(prefix)), steps) == _own_abi()
    there = set(installed(prefix))
    missing: list[str] = []
    for name in names:
        for needed, requirement in _closure(name):
            if needed in there:
                continue
            found = _distribution(needed)
            if needed == normalized(name):
                _copy_package(name, found, site)
            elif alike and found is not None:
                _copy_files(found, site)
            else:
                missing.append(requirement)
                continue
            steps.say(f"carried along: {needed}{'==' + found.version if found is not None else ''}")
            there.add(needed)
        _write_commands(name, prefix)
    if missing:
        wanted = prefix.parent / "carried.txt"
        wanted.write_text("".join(f"{line}\n" for line in dict.fromkeys(missing)), encoding="utf-8")
        tool.install(steps, prefix, wanted)


def _closure(name: str) -> list[tuple[str, str]]:
    """A distribution and all that it needs, each with the requirement that asks for it."""
    found: dict[str, str] = {normalized(name): name}
    waiting = [normalized(name)]
    while waiting:
        distribution = _distribution(waiting.pop())
        for requirement in (distribution.requires or []) if distribution is not None else []:
            text, _, marker = requirement.partition(";")
            match = _NAME.match(text)
            if match is None or "extra" in marker:
                continue
            needed = normalized(match[1])
            # One that is asked for elsewhere only (another system, an older Python) is not installed here.
            if needed not in found and (_distribution(needed) is not None or not marker.strip()):
                found[needed] = requirement
                waiting.append(needed)
    return list(found.items())


def _distribution(name: str) -> metadata.Distribution | None:
    found = list(metadata.distributions(name=name))
    # A checkout has the beginnings of a distribution (egg-info) beside it, which comes first on the path.
    return next((one for one in found if one.read_text("RECORD") is not None), next(iter(found), None))


def _copy_files(found: metadata.Distribution, site: Path) -> None:
    for file in found.files or []:
        if ".." in file.parts or Path(file).is_absolute():
            # Commands and data outside of the folder of packages name the interpreter that they came with.
            continue
        target = site / file
        source = Path(str(found.locate_file(file)))
        if not source.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
        if file.name == "RECORD" and file.parent.suffix == ".dist-info":
            rows = target.read_text("utf-8").splitlines(keepends=True)
            target.write_text("".join(row for row in rows if not row.startswith("../")), encoding="utf-8")


def _copy_package(name: str, found: metadata.Distribution | None, site: Path) -> None:
    """The package that runs here, installed or from a checkout, as a wheel of it would have it."""
    folder = package_folder(name)
    target = site / name
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    version = found.version if found is not None else str(getattr(sys.modules[name], "__version__", "0"))
    text = found.read_text("METADATA") if found is not None else None
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(text or f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "INSTALLER").write_text("onrecord\n")
    entry_points = found.read_text("entry_points.txt") if found is not None else None
    if entry_points:
        (info / "entry_points.txt").write_text(entry_points)
    files = [path for root in (target, info) for path in sorted(root.rglob("*")) if path.is_file()]
    lines = [_record_line(path, site) for path in files]
    (info / "RECORD").write_text("".join(lines) + f"{info.name}/RECORD,,\n")


def _record_line(path: Path, site: Path) -> str:
    content = path.read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{path.relative_to(site).as_posix()},sha256={digest},{len(content)}\n"


def _write_commands(name: str, prefix: Path) -> None:
    found = _distribution(name)
    for point in found.entry_points if found is not None else []:
        if point.group != "console_scripts":
            continue
        module, _, function = point.value.partition(":")
        path = prefix / "bin" / point.name
        path.write_text(f"#!{python_of(prefix)}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
        path.chmod(0o755)


def _own_abi() -> str:
    return f"{tuple(sys.version_info[:2])} {sysconfig.get_config_var('SOABI')} {sys.platform}"


def _abi_of(python: str, steps: Steps) -> str:
    done = subprocess.run([python, "-I", "-c", _ABI], capture_output=True, text=True, check=False)
    said = done.stdout.strip()
    found = tuple(int(part) for part in re.findall(r"\d+", said.partition(")")[0]))
    if done.returncode != 0 or found < _OLDEST:
        version = ".".join(map(str, found)) or "of an unknown version"
        raise EnvironmentBuildFailed.because(
            "this onrecord cannot be carried into the environment",
            steps.log,
            why=f"its Python is {version}, and onrecord needs {_OLDEST[0]}.{_OLDEST[1]} or newer",
            next_step="choose a newer Python for it, or leave onrecord out: plain scripts run without",
        )
    return said
