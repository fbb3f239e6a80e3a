"""Answers of interpreters that were asked before, good as long as nothing that they looked at has changed.

To ask costs a process and 0.1 s of processor time for each run; to look at the folders on the interpreter's path costs
a `stat` each. Installers put a package's metadata into a folder of its own, named after its version, so the folder
around it changes whenever a package comes, goes or is replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# What is this young may change once more without its time showing it.
_RACY_NANOSECONDS = 2_000_000_000
_METADATA = (".dist-info", ".egg-info", ".egg", ".egg-link", ".zip", ".whl")
_Stamp = list[str | int]


class InventoryCache:
    """The place of one interpreter's answer, for the variables that it would be asked with, in `folder`."""

    def __init__(self, folder: Path, interpreter: str, environment: Mapping[str, str], work: Path) -> None:
        self._asked_at = time.time_ns()
        found = shutil.which(interpreter, path=environment.get("PATH", os.defpath))
        relevant = sorted(item for item in environment.items() if item[0].startswith("PYTHON") or item[0] in _VARIABLES)
        uname = os.uname()
        self._key = [found, relevant, [uname.release, uname.version, uname.machine], os.cpu_count()]
        self._is_usable = found is not None and _adds_nothing(environment, work)
        self._interpreter = found or interpreter
        name = hashlib.sha256(json.dumps(self._key).encode()).hexdigest()[:32]
        self._path = folder / f"inventory-{name}.json"

    def answer(self) -> str | None:
        """The answer, where it would be the same if it were asked for now."""
        if not self._is_usable:
            return None
        try:
            entry = json.loads(self._path.read_bytes())
            if entry["key"] != json.loads(json.dumps(self._key)):
                return None
            stamps = entry["stamps"]
            return str(entry["answer"]) if _stamps([stamp[0] for stamp in stamps]) == stamps else None
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return None

    def keep(self, answer: bytes) -> None:
        """Keep an answer for the next run; not where something that it came from is too young, or on a full disk."""
        if not self._is_usable:
            return
        try:
            text = answer.decode()
            stamps = _stamps(_looked_at(json.loads(text), self._interpreter))
            if any(int(stamp[1]) > self._asked_at - _RACY_NANOSECONDS for stamp in stamps):
                return
            entry = json.dumps({"key": self._key, "stamps": stamps, "answer": text})
            self._path.parent.mkdir(exist_ok=True)
            part = self._path.with_suffix(f".{os.getpid()}.part")
            part.write_text(entry, "utf-8")
            part.replace(self._path)
        except (OSError, ValueError, KeyError, TypeError):
            return


_VARIABLES = frozenset({"HOME", "VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__"})


def _adds_nothing(environment: Mapping[str, str], work: Path) -> bool:
    """Whether the run's own folder, which is another one each time, has no part in the answer."""
    parts = environment.get("PYTHONPATH", "").split(os.pathsep)
    if any(part and not part.startswith(os.sep) for part in parts):
        return False
    try:
        return not any(name.endswith(_METADATA) for name in os.listdir(work))  # noqa: PTH208 - names are enough
    except OSError:
        return False


def _looked_at(answer: Mapping[str, Any], interpreter: str) -> Sequence[str]:
    python = answer["python"]
    prefixes = [f"{prefix}/pyvenv.cfg" for prefix in (python["prefix"], python["base_prefix"])]
    return [interpreter, os.path.realpath(interpreter), *prefixes, *(path for path in python["path"] if path)]


def _stamps(paths: Sequence[str]) -> list[_Stamp]:
    """What tells that a file or a folder has changed; of what is not there, that it is not."""
    stamps: list[_Stamp] = []
    for path in paths:
        try:
            found = os.stat(path)  # noqa: PTH116 - twenty of them for each run
            stamps.append([path, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size])
        except OSError:
            stamps.append([path, 0, 0, 0, 0])
    return stamps
