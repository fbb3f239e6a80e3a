"""Wheels, conda packages and channels made on the spot, so that no test needs a network."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onrecord.executors.environment import Recipe, base_interpreter
from onrecord.executors.environment_cache import Cache, Held

BASE = base_interpreter()


def wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    files: Mapping[str, str] | None = None,
    requires: Sequence[str] = (),
    command: str = "",
) -> Path:
    """A wheel with a module of its name, whose VERSION is the version; `command`: a console script that prints it."""
    info = f"{name}-{version}.dist-info"
    content = dict(files or {f"{name}.py": f"VERSION = {version!r}\ndef main():\n    print(VERSION)\n"})
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    content[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
    content[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if command:
        content[f"{info}/entry_points.txt"] = f"[console_scripts]\n{command} = {name}:main\n"
    record = "".join(f"{path},sha256={_digest(text.encode())},{len(text.encode())}\n" for path, text in content.items())
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in content.items():
            archive.writestr(inner, text)
    return path


def sdist(folder: Path, name: str, setup: str) -> Path:
    """A source archive that is built by running `setup` in a build backend of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0.tar.gz"
    project = (
        f'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "{name}"\nversion = "1.0"\n'
    )
    backend = f"{setup}\ndef build_wheel(*_, **__): pass\ndef build_sdist(*_, **__): pass\n"
    info = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    with tarfile.open(path, "w:gz") as archive:
        for inner, text in (("pyproject.toml", project), ("backend.py", backend), ("PKG-INFO", info)):
            _add(archive, f"{name}-1.0/{inner}", text.encode())
    return path


def offline(wheels: Path, *lines: str) -> tuple[str, ...]:
    """Lines of a requirements file that looks into a folder only."""
    return ("--no-index", f"--find-links {wheels}", *lines)


def recipe(*lines: str, **more: Any) -> Recipe:
    """A recipe for this interpreter."""
    return Recipe(BASE, lines, **more)


class Said(list[str]):
    """Collects what is told."""

    def __call__(self, text: str) -> None:
        self.append(text)


def ready(
    root: Path, wanted: Recipe, *, tell: Said | None = None, should_stop: Callable[[], bool] = lambda: False
) -> Held:
    """The environment in the cache at `root`, let go of at once."""
    held = Cache(root).ready(wanted, tell=tell if tell is not None else Said(), should_stop=should_stop, label="tests")
    os.close(held.fd)
    return held


# ---- conda ---------------------------------------------------------------------------------------


def conda_channel(folder: Path, packages: Sequence[dict[str, Any]]) -> str:
    """A channel with packages of `name`, `version`, `depends`, `files` (text, or `-> target`); its address."""
    noarch = folder / "noarch"
    noarch.mkdir(parents=True, exist_ok=True)
    records = {}
    for package in packages:
        index = {
            "name": package["name"], "version": package["version"], "build": "0", "build_number": 0,
            "depends": package.get("depends", []), "noarch": "generic", "subdir": "noarch", "arch": None,
            "platform": None, "license": "none", "timestamp": 1_700_000_000_000,
        }  # fmt: skip
        path = noarch / f"{package['name']}-{package['version']}-0.tar.bz2"
        _write_package(path, index, package["files"])
        content = path.read_bytes()
        sums = {"md5": hashlib.md5(content).hexdigest(), "sha256": hashlib.sha256(content).hexdigest()}  # noqa: S324
        records[path.name] = {**index, **sums, "size": len(content)}
    for subdir in ("noarch", "linux-64", "linux-aarch64", "osx-64", "osx-arm64"):
        (folder / subdir).mkdir(exist_ok=True)
        document = {"info": {"subdir": subdir}, "packages": records if subdir == "noarch" else {}, "packages.conda": {}}
        (folder / subdir / "repodata.json").write_text(json.dumps(document))
    return folder.as_uri()


def conda_python(version: str = "") -> dict[str, Any]:
    """A package `python` that is this machine's interpreter, at home in the prefix as in a virtual environment."""
    numbers = version or ".".join(map(str, sys.version_info[:3]))
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {
        "name": "python",
        "version": numbers,
        "files": {
            "bin/python": f"-> {BASE}",
            "pyvenv.cfg": f"home = {Path(BASE).parent}\ninclude-system-site-packages = false\nversion = {numbers}\n",
            f"lib/python{minor}/site-packages/README.txt": "packages\n",
        },
    }


PLACEHOLDER = "/opt/placeholder_" + "x" * 60


def _write_package(path: Path, index: Mapping[str, Any], files: Mapping[str, str]) -> None:
    entries = []
    with tarfile.open(path, "w:bz2") as archive:
        for name, text in files.items():
            entry: dict[str, Any] = {"_path": name, "path_type": "hardlink"}
            if text.startswith("-> "):
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, text[3:]
                archive.addfile(link)
                entry["path_type"] = "softlink"
            else:
                data = text.encode()
                entry |= {"sha256": hashlib.sha256(data).hexdigest(), "size_in_bytes": len(data)}
                if PLACEHOLDER in text:
                    entry |= {"prefix_placeholder": PLACEHOLDER, "file_mode": "text"}
                _add(archive, name, data, mode=0o755 if name.startswith("bin/") else 0o644)
            entries.append(entry)
        _add(archive, "info/index.json", json.dumps(index).encode())
        _add(archive, "info/paths.json", json.dumps({"paths": entries, "paths_version": 1}).encode())


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), mode
    archive.addfile(member, io.BytesIO(data))


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
