"""What a script's interpreter is and which packages it sees, asked from that interpreter itself.

The question runs in the run's own interpreter, which may be older than this one and need not have
onrecord; so the program below uses nothing but what every Python 3.6 has.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from onrecord.inventory_cache import InventoryCache
from onrecord.layout import Layout, RunFolder

# The answer among the run's files.
NAME = "onrecord/environment.json"
ANSWER = "environment.json"
_TIMEOUT_SECONDS = 120

PROGRAM = """
import json, os, platform, sys
try:
    from importlib import metadata
    packages = {}
    for found in metadata.distributions():
        name = found.metadata["Name"]
        if name and name not in packages:
            packages[name] = found.version
except ImportError:
    import pkg_resources
    packages = {d.project_name: d.version for d in pkg_resources.working_set}
print(json.dumps({
    "python": {
        "version": sys.version, "implementation": sys.implementation.name, "executable": sys.executable,
        "prefix": sys.prefix, "base_prefix": sys.base_prefix, "path": sys.path,
    },
    "platform": {
        "system": platform.system(), "release": platform.release(), "machine": platform.machine(),
        "description": platform.platform(), "processors": os.cpu_count(), "libc": " ".join(platform.libc_ver()),
    },
    "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
}, indent=1, sort_keys=True))
"""


class Inventory:
    """One question in progress; the answer is written to the file `destination`, and kept in `cache`."""

    def __init__(
        self,
        interpreter: str,
        environment: Mapping[str, str],
        working_directory: Path,
        destination: Path,
        cache: InventoryCache | None = None,
    ) -> None:
        self._destination = destination
        self._cache = cache
        self._temporary = destination.with_suffix(".part")
        with self._temporary.open("wb") as output:
            # Beside a script that needs the processor, this can wait.
            self._process = subprocess.Popen(
                [interpreter, "-c", PROGRAM],
                env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
                cwd=working_directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                preexec_fn=None,
            )
        _lower_priority(self._process.pid)

    def finish(self) -> Path | None:
        """Wait for the answer; None when the interpreter gave none."""
        try:
            code = self._process.wait(_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code != 0 or not self._temporary.stat().st_size:
            self._temporary.unlink(missing_ok=True)
            return None
        self._temporary.replace(self._destination)
        if self._cache is not None:
            self._cache.keep(self._destination.read_bytes())
        return self._destination


class Answered(Inventory):
    """A question that needs not be asked: its answer is there."""

    def __init__(self, answer: Path) -> None:
        self._answer = answer

    def finish(self) -> Path | None:
        """The answer."""
        return self._answer


def ask_for_inventory(interpreter: str, environment: Mapping[str, str], folder: RunFolder) -> Inventory | None:
    """Ask what a run's interpreter sees; None where it cannot be started, which the run itself will say."""
    if (folder.records / ANSWER).exists():
        # Of an image it is known beforehand; an earlier conductor may have had the answer too.
        return Answered(folder.records / ANSWER)
    cache = InventoryCache(Layout(folder.path.parents[1]).caches, interpreter, environment, folder.work)
    known = cache.answer()
    try:
        if known is not None:
            part = folder.records / f"{ANSWER}.part"
            part.write_text(known, "utf-8")
            return Answered(part.replace(folder.records / ANSWER))
        return Inventory(interpreter, environment, folder.work, folder.records / ANSWER, cache)
    except OSError:
        return None


def _lower_priority(pid: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, pid, 10)
    except OSError:
        pass
