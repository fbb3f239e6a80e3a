"""What differs between two runs, snapshots or folders: their sources, and how they were to be run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from onrecord.errors import OnRecordError
from onrecord.git_facts import PREFIX
from onrecord.inventory import NAME as INVENTORY
from onrecord.ledger.arguments import parameters
from onrecord.run import Run
from onrecord.run_source import is_snapshot_id, snapshot_of_run
from onrecord.snapshot.diff import Change, diff
from onrecord.snapshot.errors import shown
from onrecord.snapshot.folder_side import FolderSide
from onrecord.snapshot.ignore import Rules
from onrecord.snapshot.patch import Line, patch
from onrecord.snapshot.side import Side, StoredSide, entry_at
from onrecord.submission import cache_of, rules_of
from onrecord.workspace import Workspace

_SETTINGS = (
    "script", "command", "launcher", "target", "interpreter", "max_run_duration_seconds", "directories_to_watch",
    "resume_from",
)  # fmt: skip
_GIT = ("commit", "branch", "dirty", "repository_uri")

Reference = Run | str | os.PathLike[str]


class PathNotThere(OnRecordError):
    """A path that neither side has. Attribute: `path`."""


class Fact(NamedTuple):
    """One thing that differs besides the source; None where one of the two does not have it.

    `group` is params, arguments, settings, variables, python, packages or git.
    """

    group: str
    name: str
    before: str | None
    after: str | None


class Compared(NamedTuple):
    """One side: `label` for people, and what it is: a run, a snapshot's id (64 hex digits), or a folder as it is."""

    label: str
    side: Side
    run: Run | None = None
    snapshot_id: str | None = None
    folder: Path | None = None


class Comparison(NamedTuple):
    """What differs. `files`: by path, with whole folders that were renamed as one change."""

    before: Compared
    after: Compared
    facts: list[Fact]
    files: list[Change]
    paths: tuple[bytes, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing differs that was compared."""
        return not self.facts and not self.files

    def patch(self, *, binary: bool = False) -> Iterator[Line]:
        """The differences of the files as lines of a patch in git's format, made as they are read.

        `binary`: with what is no text, or longer than 5 MB, instead of only saying that it differs.
        """
        sides = self.before.side, self.after.side
        return patch(diff(*sides, self.paths, fold=False), *sides, binary=binary)


def compare(
    workspace: Workspace,
    before: Reference,
    after: Reference | None = None,
    *,
    paths: Sequence[str | os.PathLike[str]] = (),
    source_only: bool = False,
) -> Comparison:
    """Compare two of: a run (or its id, a unique start of it, `@last` …), a snapshot's id, a folder as it is now.

    A text names a folder when it is `.` or `..` or has a slash in it. Without `after`, a run is compared with the
    folder it was submitted from, a snapshot with the current folder; nothing is stored. `paths` narrow the
    comparison to the sources, and to these files and folders in them. Raises UnknownRun, NothingKnown for a run
    without a source, PathNotThere, SourceError and the store's errors.
    """
    first = _compared(workspace, before)
    second = _compared(workspace, _its_folder(first) if after is None else after, _rules(first))
    wanted = tuple(os.fsencode(path) for path in paths)
    for path in wanted:
        _refuse_unknown(path, first, second)
    facts = [] if wanted or source_only else list(_facts(first.run, second.run))
    return Comparison(first, second, facts, diff(first.side, second.side, wanted), wanted)


def _compared(workspace: Workspace, what: Reference, rules: Rules | None = None) -> Compared:
    if isinstance(what, Run):
        return _of_run(what)
    text = os.fspath(what)
    if not isinstance(what, str) or text in (".", "..") or (os.sep in text and not text.startswith("@")):
        folder = Path(text).absolute()
        side = FolderSide(folder, workspace.store, cache=cache_of(workspace, folder.resolve()), rules=rules)
        return Compared(f"{text} as it is now", side, folder=folder)
    if is_snapshot_id(text):
        return Compared(f"snapshot {text[:12]}", StoredSide(workspace.store, text), snapshot_id=text)
    return _of_run(workspace.get_run(text))


def _of_run(run: Run) -> Compared:
    snapshot_id = snapshot_of_run(run)
    return Compared(
        f"{run.id[:10]} ({run.display_name})", StoredSide(run.workspace.store, snapshot_id), run, snapshot_id
    )


def _rules(compared: Compared) -> Rules | None:
    return None if compared.run is None else rules_of(compared.run.workspace.query.config(compared.run.id))


def _its_folder(compared: Compared) -> Path:
    if compared.run is None:
        return compared.folder or Path()
    source = str(compared.run.workspace.query.config(compared.run.id).get("source_directory", ""))
    if source and Path(source).is_dir():
        return Path(source)
    raise OnRecordError(
        f"the folder that run {compared.run.id} was submitted from is not there",
        why=f"it was {shown(source)}" if source else "the run does not say which it was",
        next_step=f"name the folder to compare with: onrecord diff {compared.run.id[:10]} ./",
        path=source,
    )


def _refuse_unknown(path: bytes, *compared: Compared) -> None:
    if not any(entry_at(one.side, path) for one in compared):
        raise PathNotThere(
            f"there is no {shown(path)} in {compared[0].label}, and none in {compared[1].label}",
            why="paths are named from the top of the source folder",
            next_step="the same command without it lists what differs",
            path=shown(path),
        )


# ---- what differs besides the source -----------------------------------------------------------------


def _facts(before: Run | None, after: Run | None) -> Iterator[Fact]:
    if before is None or after is None:
        return
    old, new = _known(before), _known(after)
    if old["params"] != new["params"]:
        # Parameters are what the arguments say, one by one.
        del old["arguments"], new["arguments"]
    for group in old:
        for name in [*old[group], *(name for name in new[group] if name not in old[group])]:
            values = old[group].get(name), new[group].get(name)
            if values[0] != values[1]:
                yield Fact(group, name, *values)


def _known(run: Run) -> dict[str, dict[str, str]]:
    """What a run was to run, and in what: groups in the order in which they matter."""
    config, properties = run.workspace.query.config(run.id), run.workspace.query.properties(run.id)[run.id]
    words = [str(word) for word in config.get("arguments", ())]
    variables = config.get("environment", {}).get("environment_variables", {})
    variables = {**variables, **config.get("environment_variables", {})}
    python, packages = _inventory(run)
    return {
        "params": parameters(words),
        "arguments": {"arguments": " ".join(map(_as_word, words))},
        "settings": {name: _as_text(config[name]) for name in _SETTINGS if config.get(name)},
        "variables": {name: str(value) for name, value in variables.items()},
        "git": {name: properties[PREFIX + name] for name in _GIT if PREFIX + name in properties},
        "python": python,
        "packages": packages,
    }


def _as_word(word: str) -> str:
    from shlex import quote

    return quote(word)


def _as_text(value: Any) -> str:
    return f"{value:.15g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def _inventory(run: Run) -> tuple[dict[str, str], dict[str, str]]:
    """The version of a run's interpreter, and of its packages; empty where nobody asked, or it was erased."""
    try:
        found = json.loads(run.read_file(INVENTORY))
        version, packages = found["python"]["version"].split()[0], found["packages"]
        return {"python": str(version)}, {str(name): str(version) for name, version in packages.items()}
    except (OnRecordError, ValueError, LookupError, TypeError, AttributeError):
        return {}, {}
