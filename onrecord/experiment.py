"""An experiment: the name that runs of one question share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from onrecord.errors import OnRecordError
from onrecord.experiment_labels import ExperimentLabels
from onrecord.experiment_logging import ExperimentLogging
from onrecord.run import Run
from onrecord.script_run_config import ScriptRunConfig
from onrecord.tag_names import checked_tags
from onrecord.workspace import Workspace

_NAME = re.compile(r"[a-zA-Z0-9][\w\-]{0,254}")


class BadExperimentName(OnRecordError):
    """A name that an experiment cannot have. Attribute: `name`."""


class Experiment(ExperimentLabels, ExperimentLogging):
    """Runs under one name: 1 to 255 letters, digits, `_` and `-`, the first one a letter or a digit."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        self.workspace = workspace
        self.name = checked_experiment_name(name)

    def submit(
        self,
        config: ScriptRunConfig,
        tags: Mapping[str, object] | None = None,
        *,
        display_name: str = "",
        rehash: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Run:
        """Snapshot the source, put the run on record, start it, and return at once.

        The run goes on when this process ends. `rehash`: every file of the source is read, also those whose size
        and times are those of the last snapshot. `progress` is told, while the source is snapshotted, the files
        and bytes looked at so far. Raises BadConfig, BadTag, UnknownTarget, SnapshotError, LedgerFull …;
        then nothing was recorded.
        """
        from onrecord.submission import submit

        plain = checked_tags(tags or {})
        run_id, snapshot = submit(
            self.workspace, self.name, config, name=display_name, tags=plain, rehash=rehash, progress=progress
        )
        run = Run(self.workspace, run_id)
        run.snapshot = snapshot
        return run

    def get_runs(self, tags: str | Mapping[str, str] | None = None, status: str | None = None) -> Iterator[Run]:
        """The experiment's runs, newest first; `tags`: a name that must be there, or names with their values."""
        wanted = {tags: None} if isinstance(tags, str) else dict(tags or {})
        for row in self.workspace.query.runs(experiment=self.name, tags=wanted, status=status):
            yield Run(self.workspace, row.run_id)

    def __repr__(self) -> str:
        return f"Experiment({self.workspace!r}, {self.name!r})"


def checked_experiment_name(name: object) -> str:
    """The name, or BadExperimentName."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise BadExperimentName(
        f"{name!r} cannot be the name of an experiment",
        why="a name has 1 to 255 letters, digits, _ and -, and starts with a letter or a digit",
        next_step=f"for example {_suggestion(str(name))}",
        name=name,
    )


def experiment_name_of(folder: Path) -> str:
    """The name of an experiment for runs of a folder."""
    return re.sub(r"[^\w\-]+", "_", folder.resolve().name, flags=re.ASCII).strip("_-")[:255] or "default"


def _suggestion(name: str) -> str:
    clean = re.sub(r"[^\w\-]+", "_", name).strip("_-")[:255]
    return clean or "my_experiment"
