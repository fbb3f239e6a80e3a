"""Models of a workspace: registered from files of a run or of this machine, found by name and version, deleted."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from onrecord.errors import OnRecordError
from onrecord.file_names import checked_file_name
from onrecord.ledger import models as stored
from onrecord.ledger.events import ModelChanged, ModelDeleted, ModelRegistered
from onrecord.ledger.models import ModelRow
from onrecord.run_errors import RunHasModels
from onrecord.snapshot.errors import shown
from onrecord.tag_names import checked_tags, checked_text
from onrecord.workspace import Workspace

_NAME = re.compile(r"[a-zA-Z0-9][\w.\-]{0,254}", re.ASCII)
_LONGEST_TEXT = 1_000_000


class BadModelName(OnRecordError):
    """A name that a model cannot have. Attribute: `name`."""


class UnknownModel(OnRecordError):
    """No model of this name or version. Attributes: `name`, `version`, `candidates`."""


class ModelPathNotFound(OnRecordError):
    """There is nothing that the model could be made of. Attributes: `path`, `candidates`."""


class Words(NamedTuple):
    """What is said of a model when it is registered."""

    description: str = ""
    framework: str = ""
    framework_version: str = ""
    tags: Mapping[str, object] | None = None
    properties: Mapping[str, object] | None = None


def register_from_run(workspace: Workspace, run_id: str, name: str, path: str | None, words: Words) -> ModelRow:
    """A new version made of a file of a run, or of all below a folder of it; `path` is the model's name by default.

    While the run goes on, files that lie in its folder are taken as they are now. Raises BadModelName,
    ModelPathNotFound, BadFileName.
    """
    _checked_name(name)
    # As scripts write it that look at the path from their own folder.
    wanted = checked_file_name((name if path is None else os.fspath(path)).removeprefix("./").rstrip("/"))
    if not workspace.query.run(run_id).ended:
        _take_in(workspace, run_id, wanted)
    # What the run's files are now must not be erased with it before the model refers to them.
    with workspace.store.in_use():
        rows = [row for row in workspace.query.files(run_id) if row.name == wanted or row.name.startswith(f"{wanted}/")]
        if not rows:
            raise _no_such_path(workspace, run_id, wanted)
        top = f"{wanted.rpartition('/')[0]}/".lstrip("/")
        contents = {row.name.removeprefix(top): row.digest for row in rows}
        sizes = {row.name.removeprefix(top): row.size for row in rows}
        return _register(workspace, name, wanted, run_id, contents, sizes, words)


def register_from_files(workspace: Workspace, name: str, path: str | os.PathLike[str], words: Words) -> ModelRow:
    """A new version made of a file of this machine, or of all below a folder.

    Raises BadModelName, ModelPathNotFound, BadUpload.
    """
    from onrecord.uploading import Upload, checked_uploads, files_below, store_contents

    _checked_name(name)
    given = Path(path)
    if not given.exists():
        raise ModelPathNotFound(
            f"there is nothing at {shown(given)} to make the model {name} of",
            why="Model.register takes a file or a folder of this machine",
            next_step="run.register_model(name, model_path) takes files of a run",
            path=os.fspath(given),
            candidates=[],
        )
    base = given.absolute().name
    if given.is_dir():
        uploads = [Upload(f"{base}/{one}", at) for one, at in files_below(given, workspace.layout.root)]
    else:
        uploads = [Upload(base, given)]
    if not uploads:
        raise ModelPathNotFound(
            f"the folder {shown(given)} is empty", next_step="name a folder with files", path=str(given), candidates=[]
        )
    checked_uploads(workspace, uploads)
    with workspace.store.in_use():
        found = store_contents(workspace, uploads)
        contents = {one.name: content.digest for one, content in zip(uploads, found, strict=True)}
        sizes = {one.name: content.size for one, content in zip(uploads, found, strict=True)}
        return _register(workspace, name, os.fspath(path), None, contents, sizes, words)


def _register(
    workspace: Workspace,
    name: str,
    path: str,
    run: str | None,
    contents: dict[str, str],
    sizes: dict[str, int],
    words: Words,
) -> ModelRow:
    tags, properties = checked_tags(words.tags or {}), checked_tags(words.properties or {})
    description = checked_text("description", words.description, _LONGEST_TEXT)
    framework, framework_version = str(words.framework), str(words.framework_version)

    def made(number: int) -> ModelRegistered:
        return ModelRegistered(
            name=name, number=number, path=path, run=run, contents=contents, sizes=sizes, description=description,
            framework=framework, framework_version=framework_version, tags=tags, properties=properties, by=_who(),
        )  # fmt: skip

    return stored.register(workspace.journal, name, made)


def _take_in(workspace: Workspace, run_id: str, wanted: str) -> None:
    """Record what lies in the folder of a run that goes on: its conductor may not have seen it yet."""
    from onrecord.kept_folders import look_at
    from onrecord.uploading import Upload, upload

    places = list(look_at(workspace.layout.run(run_id).work, [wanted]))
    if places:
        upload(workspace, run_id, [Upload(place.name, place.path) for place in places])


def find(workspace: Workspace, name: str, version: str | int | None = None) -> ModelRow:
    """One version of a model: the newest that is not deleted, unless another is asked for. Raises UnknownModel."""
    every = [row for row in stored.models(workspace.journal) if row.name == name]
    there = [row for row in every if row.deleted_at is None]
    if version is None and there:
        return there[-1]
    found = next((row for row in every if str(row.number) == str(version)), None)
    if found is not None and found.deleted_at is None:
        return found
    raise _unknown(workspace, name, version, every)


def models(workspace: Workspace, name: str | None = None) -> list[ModelRow]:
    """Every version that is not deleted, newest first."""
    rows = [row for row in stored.models(workspace.journal) if row.deleted_at is None and name in (None, row.name)]
    return rows[::-1]


def change(workspace: Workspace, change: ModelChanged | ModelDeleted) -> ModelRow:
    """Say something new of a version. Raises UnknownModel where it is not, or was deleted; PropertyExists."""

    def check(row: ModelRow | None) -> None:
        if row is None or row.deleted_at is not None:
            raise _unknown(workspace, change.name, change.number, [] if row is None else [row])
        if isinstance(change, ModelChanged):
            _refuse_known_properties(row, change)

    return stored.change(workspace.journal, change, check)


def delete(workspace: Workspace, name: str, number: int) -> None:
    """A version is no longer to be had; files of a run stay with it."""
    change(workspace, ModelDeleted(name=name, number=number, by=_who()))


def refuse_runs_of_models(workspace: Workspace, run_ids: Sequence[str]) -> None:
    """Refuse runs whose files models are made of. Raises RunHasModels."""
    for row in models(workspace):
        if row.run in run_ids:
            names = [f"{one.name}:{one.number}" for one in models(workspace) if one.run == row.run]
            raise RunHasModels(
                f"the files of run {row.run} cannot be erased: models are made of them",
                why=f"they are {', '.join(names[:10])}{' …' if len(names) > 10 else ''}",
                next_step=f"onrecord models delete {' '.join(names[:10])}   (then the same again)",
                run_id=row.run,
                models=names,
            )


def _refuse_known_properties(row: ModelRow, change: ModelChanged) -> None:
    from onrecord.run_errors import PropertyExists

    for name in change.properties:
        if name in row.properties:
            raise PropertyExists(
                f"the model {row.name}:{row.number} has the property '{name}' already",
                why=f"properties are written once; its value stays {row.properties[name]!r}",
                next_step=f"use a tag for what changes: model.add_tags({{{name!r}: …}})",
                run_id=row.run,
                name=name,
                value=row.properties[name],
            )


def _unknown(workspace: Workspace, name: str, version: object, every: Sequence[ModelRow]) -> UnknownModel:
    from difflib import get_close_matches

    there = [str(row.number) for row in every if row.deleted_at is None]
    if every and any(str(row.number) == str(version) for row in every):
        what, why = f"version {version} of the model {name} was deleted", ""
    elif there:
        what, why = f"the model {name} has no version {version}", f"its versions are {', '.join(there[-10:])}"
    elif every:
        what, why = f"every version of the model {name} was deleted", "a new one can be registered"
    else:
        near = get_close_matches(str(name), sorted({row.name for row in models(workspace)}), cutoff=0.5)
        there, what = near, f"there is no model {shown(str(name))}"
        why = f"near ones: {', '.join(near)}" if near else ""
    return UnknownModel(what, why=why, next_step="onrecord models ls", name=name, version=version, candidates=there)


def _no_such_path(workspace: Workspace, run_id: str, path: str) -> ModelPathNotFound:
    from difflib import get_close_matches

    names = [row.name for row in workspace.query.files(run_id)]
    near = get_close_matches(path, names, 5, 0.5) or [name for name in names if not name.startswith("logs/")][:10]
    return ModelPathNotFound(
        f"run {run_id} has neither a file nor a folder '{shown(path)}'",
        why=f"near ones: {', '.join(map(shown, near))}" if near else "it has no files in the history",
        next_step=f"onrecord files {run_id[:10]}   (or give model_path)",
        path=path,
        candidates=near,
    )


def _checked_name(name: object) -> str:
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise BadModelName(
        f"{name!r} cannot be the name of a model",
        why="a name has 1 to 255 letters, digits, _, . and -, and starts with a letter or a digit",
        next_step="for example my-model",
        name=name,
    )


def _who() -> str:
    from onrecord.submission import user_name

    return user_name()
