"""What is installed in an environment, read from the files that installers leave (PEP 376, PEP 627)."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path


def normalized(name: str) -> str:
    """A distribution's name as it is compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def site_packages(prefix: Path) -> Path | None:
    """The folder that packages are installed into; None where there is none yet."""
    return next(iter(sorted(prefix.glob("lib/python3*/site-packages"))), None)


def installed(prefix: Path) -> dict[str, str]:
    """Versions by name, of what pip or uv installed and of conda's packages, which are named `conda:NAME`."""
    found: dict[str, str] = {}
    for folder in _dist_infos(prefix):
        name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
        found[normalized(name)] = version
    for path in prefix.glob("conda-meta/*.json"):
        try:
            record = json.loads(path.read_bytes())
            found[f"conda:{record['name']}"] = f"{record['version']}={record.get('build', '')}"
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return dict(sorted(found.items()))


def problems_of(prefix: Path, *, read: bool = True) -> Iterator[str]:
    """Files that are not as they were installed; with `read` by their content, else by their size only."""
    for folder in _dist_infos(prefix):
        record = folder / "RECORD"
        try:
            rows = list(csv.reader(record.read_text("utf-8").splitlines()))
        except OSError:
            # conda's own packages may come without it.
            continue
        for row in rows:
            if len(row) != 3 or not row[1] or row[0].endswith(".pyc"):
                continue
            problem = _problem_of(folder.parent / row[0], row[1], row[2], read=read)
            if problem:
                yield problem
    for path in prefix.glob("conda-meta/*.json"):
        yield from _conda_problems(prefix, path)


def _problem_of(path: Path, digest: str, size: str, *, read: bool) -> str:
    try:
        if path.parent.name == "bin" and path.parent.parent.name != "site-packages":
            # Installers write the interpreter into these when they have taken their measure.
            return "" if path.exists() else f"{path}: it is gone"
        if size and path.stat().st_size != int(size):
            return f"{path}: {path.stat().st_size} bytes, {size} were installed"
        if read and digest.startswith("sha256="):
            content = hashlib.sha256(path.read_bytes()).digest()
            if base64.urlsafe_b64encode(content).rstrip(b"=").decode() != digest.removeprefix("sha256="):
                return f"{path}: not the content that was installed"
    except OSError as problem:
        return f"{path}: {problem.strerror}"
    return ""


def _conda_problems(prefix: Path, path: Path) -> Iterator[str]:
    try:
        files = json.loads(path.read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        yield f"{path}: {problem}"
        return
    for name in files:
        if not name.endswith(".pyc") and not (prefix / name).exists() and not (prefix / name).is_symlink():
            yield f"{prefix / name}: it is gone"


def _dist_infos(prefix: Path) -> list[Path]:
    site = site_packages(prefix)
    return sorted(site.glob("*.dist-info")) if site is not None else []
