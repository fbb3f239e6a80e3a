"""The logs of a run, from the history and, while it goes on, from its folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onrecord.run_details import RunDetails

_MOST_BYTES = 1024 * 1024
_OWN = ("logs/stdout.txt", "logs/stderr.txt")


def texts_of_logs(run: RunDetails) -> dict[str, str]:
    """Each log by its name, at most its last 1 MiB; bytes that are not UTF-8 are replaced."""
    texts = {}
    for name, path in _growing(run).items():
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _MOST_BYTES))
            texts[name] = file.read().decode("utf-8", "replace")
    for name in _recorded(run):
        if name not in texts:
            texts[name] = run.read_file(name)[-_MOST_BYTES:].decode("utf-8", "replace")
    return dict(sorted(texts.items()))


def copy_logs(run: RunDetails, destination: Path) -> list[Path]:
    """Copy each log to its name below the folder, which is made where it is missing."""
    growing, copies = _growing(run), []
    for name in sorted({*growing, *_recorded(run)}):
        copy = destination / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if name in growing:
            shutil.copyfile(growing[name], copy)
        else:
            run.download_file(name, copy)
        copies.append(copy)
    return copies


def _recorded(run: RunDetails) -> list[str]:
    return [name for name in run.get_file_names() if name.startswith("logs/")]


def _growing(run: RunDetails) -> dict[str, Path]:
    """What is in the history only once the run has ended."""
    if run.has_ended():
        return {}
    folder = run.workspace.layout.run(run.id)
    return {name: folder.path / name for name in _OWN if (folder.path / name).exists()}
