"""The folders that an interactive run keeps: of the folder that its process works in, and only what is new there."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onrecord.errors import OnRecordError
from onrecord.kept_folders import FOLDERS, Seen, walk
from onrecord.layout import FOLDER as WORKSPACE_FOLDER

if TYPE_CHECKING:
    from onrecord.capture import Capture
    from onrecord.workspace import Workspace


class BadOutputs(OnRecordError):
    """What cannot be a folder of outputs. Attribute: `outputs`."""


# A folder to look in, and the names in it that are kept.
Kept = tuple[str, tuple[str, ...]]


def kept_folders(outputs: object, *, default: bool) -> list[Kept]:
    """The folders of an `outputs` argument: None is the `default`, True is `outputs/`, False none, else a path.

    With a folder of outputs goes `logs/`. Raises BadOutputs.
    """
    if outputs is None:
        outputs = default
    if outputs is False:
        return []
    here = os.path.abspath(".")  # noqa: PTH100 - one that was removed has a name all the same
    if outputs is True:
        return [(here, FOLDERS)]
    if not isinstance(outputs, str | os.PathLike) or not os.fspath(outputs):
        raise BadOutputs(
            f"outputs={outputs!r} is no folder",
            why="it is None, True, False or a path",
            next_step='start_logging(outputs="results")',
            outputs=outputs,
        )
    folder = Path(os.path.abspath(os.fspath(outputs)))  # noqa: PTH100 - without following links
    _refuse(folder, Path(here))
    if folder.is_relative_to(here) and folder != Path(here):
        return [(here, (folder.relative_to(here).as_posix(), "logs"))]
    return [(str(folder.parent), (folder.name,)), (here, ("logs",))]


def _refuse(folder: Path, here: Path) -> None:
    if folder.exists() and not folder.is_dir():
        why = "it is a file"
    elif here.is_relative_to(folder) or (folder / WORKSPACE_FOLDER).exists():
        why = "the current folder or a workspace is in it, and would be taken for outputs"
    else:
        return
    raise BadOutputs(
        f"{folder} cannot be a folder of outputs",
        why=why,
        next_step='a folder of its own: outputs="results"',
        outputs=str(folder),
    )


def remember_what_was_there(kept: Sequence[Kept], path: Path) -> None:
    """Write down what the folders hold now: as long as it stays so, it is not the run's. Raises OSError."""
    before = {root: {place.name: list(place.seen) for place in walk(Path(root), names)} for root, names in kept}
    if any(before.values()):
        path.write_text(json.dumps(before))


def captures_of(workspace: Workspace, run_id: str) -> list[Capture]:
    """What captures the folders of a run, with what is on record already."""
    kept = workspace.query.config(run_id).get("kept_folders") or []
    if not kept:
        return []
    from onrecord.capture import Capture

    before = _read(workspace.layout.run(run_id).before)

    def record(events: Sequence[Any]) -> None:
        workspace.journal.append(run_id, events)

    captures = []
    for root, names in kept:
        there = {name: Seen(*seen) for name, seen in before.get(root, {}).items()}
        capture = Capture(Path(root), workspace.store, record, tuple(names), before=there)
        capture.already_recorded(workspace.query.files(run_id))
        captures.append(capture)
    return captures


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
