"""A pylock.toml (PEP 751) for programs that do not read one."""

from __future__ import annotations

import tomllib
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from onrecord.executors.environment_errors import BadEnvironment


def as_requirements(text: str) -> list[str]:
    """Lines of a requirements file that ask for the same versions with the same hashes, and for nothing else.

    Packages are looked for where the lock says they are indexed, in folders that it names by `file:` URLs, and
    in the configured index. Raises BadEnvironment for a lock that has something without a hash (a repository, a
    folder), which only uv installs.
    """
    try:
        lock = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise _unusable(str(problem)) from problem
    packages = lock.get("packages")
    if not str(lock.get("lock-version", "")).startswith("1.") or not isinstance(packages, list):
        raise _unusable("it is not of version 1.x of the format")
    options: dict[str, None] = {}
    lines, all_are_here = [], True
    for package in packages:
        hashes = []
        for file in [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]:
            hashes += [f"--hash={kind}:{value}" for kind, value in sorted(file.get("hashes", {}).items())]
            place = _place_of(file)
            options.update(dict.fromkeys(place))
            all_are_here = all_are_here and bool(place)
        if not hashes or "version" not in package:
            raise _unusable(f"{package.get('name', 'a package')} is not pinned by version and hash in it")
        if "index" in package:
            options[f"--extra-index-url {package['index']}"] = None
        marker = f" ; {package['marker']}" if "marker" in package else ""
        lines.append(f"{package['name']}=={package['version']}{marker} {' '.join(hashes)}")
    # Then no index is asked, and a machine without a network does not wait for one.
    return [*(["--no-index"] if all_are_here else []), *options, *lines]


def _place_of(file: dict[str, Any]) -> list[str]:
    url = urlsplit(str(file.get("url", "")))
    path = unquote(url.path) if url.scheme == "file" else str(file.get("path", ""))
    return [f"--find-links {PurePosixPath(path).parent}"] if path else []


def _unusable(why: str) -> BadEnvironment:
    return BadEnvironment(
        "pip cannot install from this pylock.toml",
        why=why,
        next_step="pip install 'onrecord[uv]'   (uv installs from any of them)",
        field="pylock",
    )
