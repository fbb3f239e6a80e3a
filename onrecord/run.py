"""A run: what a script records into, and what a person reads back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from onrecord.run_archive import RunArchive
from onrecord.run_attempts import RunAttempts
from onrecord.run_children import RunChildren
from onrecord.run_errors import NothingKnown
from onrecord.run_family import RunFamily
from onrecord.run_logging import RunLogging
from onrecord.run_models import RunModels
from onrecord.run_snapshot import RunSnapshot
from onrecord.workspace import Workspace

if TYPE_CHECKING:
    from onrecord.comparison import Comparison
    from onrecord.environment import Environment
    from onrecord.experiment import Experiment
    from onrecord.run_listing import Wanted
    from onrecord.snapshot.take import Snapshot


class Run(RunLogging, RunModels, RunArchive, RunFamily, RunSnapshot, RunChildren, RunAttempts):
    """One run of a workspace. Cheap to make; every question reads the ledger as it is now."""

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        super().__init__(workspace, run_id)
        self.snapshot: Snapshot | None = None

    @staticmethod
    def get_context(allow_offline: bool = True) -> Run:
        """In a script: the run that it belongs to, in each of its processes and threads.

        Started by hand in a workspace, a run of its own that begins at the first thing recorded in it; without a
        workspace, in a REPL or in a test, one that is kept until the process ends. Raises NotInARun where
        there is no run and `allow_offline` is false.
        """
        from onrecord.context import current_run

        return current_run(allow_offline)

    @classmethod
    def get_submitted_run(cls) -> Run:
        """The run that the script belongs to. Raises NotInARun in one that was started by hand."""
        run = cls.get_context(allow_offline=False)
        assert isinstance(run, Run)  # noqa: S101
        return run

    @staticmethod
    def get(workspace: Workspace, run_id: str) -> Run:
        """The run with this id, as `workspace.get_run`. Raises UnknownRun, AmbiguousRun, BadRunId."""
        return workspace.get_run(run_id)

    @property
    def experiment(self) -> Experiment:
        """The experiment it belongs to."""
        from onrecord.experiment import Experiment

        return Experiment(self.workspace, self._row().experiment)

    @property
    def number(self) -> int:
        """Its place among the experiment's runs, from 1."""
        return self._row().number

    @property
    def name(self) -> str:
        """The same as `display_name`."""
        return self.display_name

    def get_environment(self) -> Environment:
        """The environment that the run was submitted with, as it was defined then; changing it changes no run.

        Raises NothingKnown where the run has none, or where it was erased.
        """
        from onrecord.environment import environment_from

        document = self.workspace.query.config(self.id).get("environment")
        if document is None:
            raise NothingKnown(
                f"run {self.id} does not say what environment it had",
                why="it was not submitted from a configuration, or what it said was erased",
                next_step=f"onrecord show {self.id}",
                run_id=self.id,
            )
        return environment_from(document)

    def diff(
        self,
        other: Run | str | os.PathLike[str] | None = None,
        *,
        paths: Sequence[str | os.PathLike[str]] = (),
        source_only: bool = False,
    ) -> Comparison:
        """What differs from this run to another one: source, parameters, settings, git, packages.

        `other`: a run or its id, a snapshot's id, or a folder as it is now (a path); by default the folder that
        this run was submitted from. The answer's `files`, `facts` and `patch()` say it; nothing is stored. `paths`
        narrow it to some files. Raises NothingKnown for a run without a source, UnknownRun, PathNotThere …
        """
        from onrecord.comparison import compare

        return compare(self.workspace, self, other, paths=paths, source_only=source_only)

    # Last, because no annotation after it can name the built-in list.
    @staticmethod
    def list(
        experiment: Experiment,
        type: str | None = None,
        tags: Wanted = None,
        properties: Wanted = None,
        status: str | None = None,
        include_children: bool = False,
        _rehydrate_runs: bool = True,
    ) -> Iterator[Run]:
        """The runs of an experiment, newest first, as `Experiment.get_runs`. Raises BadListing."""
        return experiment.get_runs(
            type=type, tags=tags, properties=properties, status=status, include_children=include_children
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other.id == self.id and other.workspace.path == self.workspace.path

    def __hash__(self) -> int:
        return hash(self.id)

    def _repr_html_(self) -> str:
        from onrecord.run_card import run_html

        return run_html(self)

    def __repr__(self) -> str:
        row = self._row()
        return f"Run({row.experiment!r}, {self.id!r}, {row.status!r})"
