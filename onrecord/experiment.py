"""An experiment: the name that runs of one question share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.errors import OnRecordError
from onrecord.experiment_labels import ExperimentLabels
from onrecord.experiment_logging import ExperimentLogging
from onrecord.run import Run
from onrecord.script_run_config import ScriptRunConfig
from onrecord.tag_names import checked_tags
from onrecord.workspace import Workspace

if TYPE_CHECKING:
    from onrecord.ledger.filter_tree import Filter
    from onrecord.run_listing import Wanted

ACTIVE_ONLY, ALL, ARCHIVED_ONLY = "ActiveOnly", "All", "ArchivedOnly"
_NAME = re.compile(r"[a-zA-Z0-9][\w\-]{0,254}")


class BadExperimentName(OnRecordError):
    """A name that an experiment cannot have. Attribute: `name`."""


class BadView(OnRecordError):
    """Experiments cannot be listed like that. Attribute: `view_type`."""


class Experiment(ExperimentLabels, ExperimentLogging):
    """Runs under one name: 1 to 255 letters, digits, `_` and `-`, the first one a letter or a digit."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        self.workspace = workspace
        self.name = checked_experiment_name(name)

    @property
    def id(self) -> str:
        """Its name: no two experiments of a workspace have the same one."""
        return self.name

    @property
    def workspace_object(self) -> Workspace:
        """The same as `workspace`."""
        return self.workspace

    def refresh(self) -> None:
        """Nothing to do: every question reads the ledger as it is now."""

    def submit(
        self,
        config: ScriptRunConfig,
        tags: Mapping[str, object] | None = None,
        *,
        display_name: str = "",
        parent: str | None = None,
        fail_if_child_fails: bool = False,
        retries: int = 0,
        rehash: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Run:
        """Snapshot the source, put the run on record, start it, and return at once.

        The run goes on when this process ends. `parent`: the id of the run that it is started from. With
        `fail_if_child_fails` it ends as Failed where a run that is started from it fails, and waits for those that
        have not ended; without it they are named in a warning. `retries`: how often it is submitted again when it
        fails, each time as a child run of its own (`run.get_attempts()`); one that was canceled or ran past its time
        limit is not, nor one whose script could not be started. `rehash`: every file of the source is read, also those
        whose size and times are those of the last snapshot. `progress` is told, while the source is snapshotted, the
        files and bytes looked at so far. Raises BadConfig, BadTag, UnknownTarget, UnknownRun for the parent,
        SnapshotError, LedgerFull …; then nothing was recorded.
        """
        from onrecord.submission import submit

        plain = checked_tags(tags or {})
        run_id, snapshot = submit(
            self.workspace,
            self.name,
            config,
            name=display_name,
            tags=plain,
            parent=parent,
            fail_if_child_fails=fail_if_child_fails,
            retries=retries,
            rehash=rehash,
            progress=progress,
        )
        run = Run(self.workspace, run_id)
        run.snapshot = snapshot
        return run

    def get_runs(
        self,
        type: str | None = None,
        tags: Wanted = None,
        properties: Wanted = None,
        include_children: bool = False,
        status: str | None = None,
        *,
        filter: str | Filter | None = None,
    ) -> Iterator[Run]:
        """The experiment's runs, newest first or in the filter's order, read page by page while they are asked for.

        `tags` and `properties`: a name that must be there, several of them, or names with their values; all
        conditions must hold. Runs that were started from another run are left out, unless `include_children` or the
        filter asks for them. `filter`: for example `metrics.loss < 0.5 order by metrics.loss limit 10`
        (docs/filters.md). Raises BadListing, BadFilter.
        """
        from onrecord.run_listing import Listing

        return Listing(
            self.workspace,
            experiment=self.name,
            run_type=type,
            tags=tags,
            properties=properties,
            status=status,
            include_children=include_children,
            wanted=filter,
        ).runs()

    # Last, because no annotation after it can name the built-in list.
    @staticmethod
    def list(
        workspace: Workspace,
        experiment_name: str | None = None,
        view_type: str = ACTIVE_ONLY,
        tags: Wanted = None,
    ) -> list[Experiment]:
        """The experiments of a workspace that have runs, by name; only the one of that name where it is given.

        `view_type`: `ActiveOnly`, `ArchivedOnly` or `All`. `tags` as in `get_runs`, of the experiments. Raises BadView.
        """
        return [one for one in _named(workspace, experiment_name) if _is_shown(one, view_type, tags)]

    def _repr_html_(self) -> str:
        from onrecord.run_card import experiment_html

        return experiment_html(self)

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


def _named(workspace: Workspace, name: str | None) -> list[Experiment]:
    return [Experiment(workspace, one) for one in workspace.query.experiments() if name is None or one == name]


def _is_shown(experiment: Experiment, view_type: str, tags: Wanted) -> bool:
    if view_type not in (ACTIVE_ONLY, ALL, ARCHIVED_ONLY):
        raise BadView(
            f"there is no view {view_type!r}",
            why=f"it is {ACTIVE_ONLY}, {ARCHIVED_ONLY} or {ALL}",
            next_step=f'Experiment.list(workspace, view_type="{ALL}")',
            view_type=view_type,
        )
    if view_type != ALL and (getattr(experiment, "archived_time", None) is not None) != (view_type == ARCHIVED_ONLY):
        return False
    known: Mapping[str, str] = getattr(experiment, "tags", {})
    return all(name in known and value in (None, known[name]) for name, value in _pairs(tags))


def _pairs(tags: Wanted) -> list[tuple[str, object]]:
    if isinstance(tags, Mapping):
        return list(tags.items())
    return [(name, None) for name in ([tags] if isinstance(tags, str) else tags or ())]
