"""A run: what a script records into, and what a person reads back."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onrecord.errors import OnRecordError
from onrecord.metric_values import as_v1, checked_name, checked_step, checked_value
from onrecord.spool import NO_STEP, SpoolWriter
from onrecord.tag_names import checked_tags
from onrecord.workspace import Workspace

if TYPE_CHECKING:
    from onrecord.comparison import Comparison
    from onrecord.environment import Environment
    from onrecord.experiment import Experiment
    from onrecord.ledger.buckets import Bucket
    from onrecord.ledger.query import FileRow, RunRow
    from onrecord.offline_run import OfflineRun
    from onrecord.snapshot.take import Snapshot


class RunFailedError(OnRecordError):
    """A run that was waited for has failed. Attributes: `run_id`, `exit_code`, `signal`, `error`."""


class UnknownFile(OnRecordError):
    """The run has no file of this name. Attributes: `run_id`, `name`, `candidates`."""


class PropertyExists(OnRecordError):
    """A property is written once. Attributes: `run_id`, `name`, `value` (the one that stays)."""


class NothingKnown(OnRecordError):
    """The run does not say what is asked for. Attribute: `run_id`."""


class NotInARun(OnRecordError):
    """The script was not started by onrecord."""


class Run:
    """One run of a workspace. Cheap to make; every question reads the ledger as it is now."""

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self.workspace = workspace
        self.id = run_id
        self.snapshot: Snapshot | None = None
        self._write_point: Callable[[str, object, int], None] | None = None

    @staticmethod
    def get_context(allow_offline: bool = True) -> Run | OfflineRun:
        """In a script: the run that it belongs to; started by hand, a run that is kept in memory.

        Raises NotInARun where there is no run and `allow_offline` is false.
        """
        from onrecord.context import current_run

        return current_run(allow_offline)

    # ---- what it is ----------------------------------------------------------------------------

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
    def display_name(self) -> str:
        """The name given at submit, or the experiment's name with the run's number."""
        return self._row().display_name

    @property
    def status(self) -> str:
        """NotStarted, Queued, Preparing, Running, CancelRequested, Finalizing, Completed, Failed, Canceled,
        or NotResponding where nobody conducts it."""
        return self.get_status()

    def get_status(self) -> str:
        """The same as `status`."""
        from onrecord.documents import status_of

        return status_of(self.workspace, self._row())

    def has_ended(self) -> bool:
        """Whether it is Completed, Failed or Canceled."""
        return self._row().ended

    def get_details(self) -> dict[str, Any]:
        """Everything about it, with Azure ML's names where it has one (runId, status, startTimeUtc …)."""
        from onrecord.documents import details_document

        return details_document(self)

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

    def get_warnings(self) -> list[str]:
        """What its conductor could not do, or what a reader should know; empty until it has ended."""
        row = self._row()
        # The terminal event is the last one before the seal; later facts only add to the reading.
        for recorded in self.workspace.journal.read(self.id, after=max(0, row.sealed - 1)):
            warnings = getattr(recorded.event, "warnings", None)
            if warnings is not None:
                return list(warnings)
        return []

    def get_snapshot_id(self) -> str | None:
        """The snapshot of its source: 64 hex digits."""
        return self._row().snapshot_id

    def restore_snapshot(self, path: str | os.PathLike[str], snapshot_id: str | None = None) -> Path:
        """Write its source as it was at submit into the empty folder `path`; returns the folder.

        Raises NothingKnown where it has none, or had one that was erased; the snapshot's errors.
        """
        from onrecord.run_source import snapshot_of_run
        from onrecord.snapshot.restore import restore_snapshot

        destination = Path(path)
        restore_snapshot(self.workspace.store, snapshot_id or snapshot_of_run(self), destination)
        return destination

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

    # ---- its end -------------------------------------------------------------------------------

    def wait_for_completion(
        self, show_output: bool = False, wait_post_processing: bool = False, raise_on_error: bool = True
    ) -> dict[str, Any]:
        """Wait until it has ended and its outputs are in the history; returns `get_details()`.

        `show_output` prints what the script prints. Ctrl-C stops the waiting, never the run. Raises
        RunFailedError for a failed run, not for a canceled one, unless `raise_on_error` is false.
        `wait_post_processing` is accepted for Azure ML's sake: outputs are always waited for.
        """
        from onrecord.script_output import Follower

        try:
            if show_output:
                print(f"RunId: {self.id}\n", flush=True)
                Follower(self, _print_bytes, _print_bytes, notes=_print_bytes).follow()
            else:
                Follower(self, _ignore, _ignore).follow()
        except KeyboardInterrupt:
            print(f"\nrun {self.id} goes on; onrecord logs -f {self.id} follows it", file=sys.stderr)
            raise
        row = self._row()
        if show_output:
            print(f"\nExecution Summary\n=================\nRunId: {self.id}\nStatus: {row.status}", flush=True)
        if raise_on_error and row.status == "Failed":
            raise self._failure(row)
        return self.get_details()

    def cancel(self) -> None:
        """Ask for its end: SIGTERM to all its processes, SIGKILL ten seconds later. Nothing where it has ended."""
        from onrecord.ledger.errors import IllegalTransition
        from onrecord.ledger.events import CancelRequested

        try:
            self.workspace.journal.append(self.id, [CancelRequested(by=f"pid {os.getpid()}")])
        except IllegalTransition:
            # It has ended, is ending, or was asked already, by someone who may have died before the next lines.
            if self._row().status != "CancelRequested":
                return
        folder = self.workspace.layout.run(self.id)
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.cancel.touch()
        self.workspace.recover(0)

    def erase(self, *, files: bool = False, reason: str = "", experiment_too: bool = False) -> None:
        """Erase what is known of it: arguments, tags, metrics, errors; its place and its proofs stay.

        `files`: also its files and its source, as far as no other run has them, and its folder. `experiment_too`:
        also which experiment it belonged to. Raises RunNotEnded, ErasureUnfinished.
        """
        from onrecord.erasure import erase_runs

        erase_runs(self.workspace, [self.id], files=files, reason=reason, experiment_too=experiment_too)

    # ---- tags and properties -------------------------------------------------------------------

    @property
    def tags(self) -> dict[str, str]:
        """Its tags."""
        return self.get_tags()

    def get_tags(self) -> dict[str, str]:
        """Its tags."""
        return self.workspace.query.tags(self.id)[self.id]

    def tag(self, key: str, value: object = None) -> None:
        """Set one tag; without a value it is empty."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags to new values. Raises BadTag for an empty name."""
        from onrecord.ledger.events import RunTagged

        self.workspace.journal.append(self.id, [RunTagged(tags=checked_tags(tags))])

    def remove_tags(self, tags: list[str]) -> None:
        """Remove tags by name; names that are not there are ignored."""
        from onrecord.ledger.events import RunTagged

        self.workspace.journal.append(self.id, [RunTagged(removed=[str(name) for name in tags])])

    @property
    def properties(self) -> dict[str, str]:
        """Its properties, as `get_properties()`."""
        return self.get_properties()

    def get_properties(self) -> dict[str, str]:
        """Its properties; git facts under `onrecord.git.*` and under Azure ML's and MLflow's names."""
        from onrecord.git_facts import with_aliases

        return with_aliases(self.workspace.query.properties(self.id)[self.id])

    def add_properties(self, properties: Mapping[str, object]) -> None:
        """Add properties; each is written once. Raises PropertyExists, and then none is added."""
        from onrecord.ledger.errors import StaleVersion
        from onrecord.ledger.events import PropertiesAdded

        plain = {str(key): str(value) for key, value in properties.items()}
        while True:
            head, known = self._row().head, self.workspace.query.properties(self.id)[self.id]
            self._refuse_known(known, plain)
            try:
                self.workspace.journal.append(self.id, [PropertiesAdded(properties=plain)], expected=head)
            except StaleVersion:
                continue
            return

    # ---- metrics -------------------------------------------------------------------------------

    def log(self, name: str, value: Any, description: str = "", step: int | None = None) -> None:
        """Log one value: a number, text, truth value or None; NaN and infinities are kept.

        When the call returns, kill -9 of this process cannot lose the point. Raises BadMetric.
        """
        kind = type(value)
        if (kind is not float and kind is not int) or type(name) is not str:
            value = checked_value(checked_name(name), value)
        if step is None:
            step = NO_STEP
        elif type(step) is not int or not NO_STEP < step < 2**63:
            step = checked_step(name, step)
        (self._write_point or self._open_spool())(name, value, step)

    def get_metrics(self, name: str | None = None) -> dict[str, Any]:
        """Values by metric: one that was logged once as itself, several as a list in the order of logging."""
        self._take_in_points()
        if name is None:
            return {key: as_v1(pieces) for key, pieces in self.workspace.query.metrics(self.id).items()}
        pieces = self.workspace.query.points(self.id, name)
        return {name: as_v1(pieces)} if pieces else {}

    def get_metric_overview(
        self, name: str, buckets: int = 1000, *, from_step: int | None = None, to_step: int | None = None
    ) -> list[Bucket]:
        """A metric in at most `buckets` buckets: enough for a chart of millions of points in milliseconds.

        Each has the first, last, least and greatest value of some neighbouring points, and where they are; of
        a range of steps, both ends included, where one is given. Empty where there are none. Raises BadBuckets.
        """
        self._take_in_points()
        return self.workspace.query.downsampled(self.id, name, buckets, from_step=from_step, to_step=to_step)

    # ---- files ---------------------------------------------------------------------------------

    def get_file_names(self) -> list[str]:
        """Names of its files in the history, sorted: `outputs/…`, `logs/…`, `onrecord/…`."""
        return [row.name for row in self.workspace.query.files(self.id)]

    def file_versions(self, name: str) -> list[FileRow]:
        """Every content that a file of the run had, oldest first, also of one that was removed. Raises UnknownFile."""
        found = self.workspace.query.file_versions(self.id, name)
        return found or [self._file(name)]

    def download_file(
        self, name: str, output_file_path: str | os.PathLike[str] | None = None, *, version: int | None = None
    ) -> Path:
        """Copy a file of the run to `output_file_path`: a file, or a folder to put it in.

        The default is the file's own name in the current folder. Folders are made as needed; the content
        is verified. `version`: an earlier one, from 1. Returns the path. Raises UnknownFile.
        """
        row = self._file(name, version)
        base = name.rsplit("/", 1)[-1]
        given = os.fspath(output_file_path) if output_file_path is not None else base
        destination = Path(given)
        if destination.is_dir() or given.endswith(("/", os.sep)):
            destination = destination / base
        destination.parent.mkdir(parents=True, exist_ok=True)
        self.workspace.store.copy_to(row.digest, destination)
        return destination

    def read_file(self, name: str, *, version: int | None = None) -> bytes:
        """The content of a file of the run, verified; `version`: an earlier one, from 1. Raises UnknownFile."""
        return self.workspace.store.read(self._file(name, version).digest)

    def read_file_pieces(self, name: str, *, version: int | None = None) -> Iterator[bytes]:
        """The same in pieces of a few megabytes; ObjectCorrupt after the last one when they were wrong."""
        return self.workspace.store.pieces(self._file(name, version).digest)

    # ---- inside --------------------------------------------------------------------------------

    def _take_in_points(self) -> None:
        from onrecord.ingest import has_more, ingest

        spool = self.workspace.layout.run(self.id).spool
        if has_more(spool, self.workspace.query.spool_position(self.id)):
            ingest(self.workspace.journal, self.id, spool)

    def _row(self) -> RunRow:
        return self.workspace.query.run(self.id)

    def _open_spool(self) -> Callable[[str, object, int], None]:
        path = self.workspace.layout.run(self.id).spool
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write_point = write = SpoolWriter(path).write
        return write

    def _file(self, name: str, version: int | None = None) -> FileRow:
        versions = self.workspace.query.file_versions(self.id, name)
        if versions and version is None and versions[-1].removed_at is None:
            return versions[-1]
        if versions and version is not None and 1 <= version <= len(versions):
            return versions[version - 1]
        if versions:
            raise self._no_such_version(versions, version)
        files = self.get_file_names()
        from difflib import get_close_matches

        near = get_close_matches(name, files) or list(files)[:10]
        raise UnknownFile(
            f"run {self.id} has no file '{name}'",
            why=f"near ones: {', '.join(near)}" if near else "it has no files in the history",
            next_step=f"onrecord files {self.id}",
            run_id=self.id,
            name=name,
            candidates=near,
        )

    def _no_such_version(self, versions: Sequence[FileRow], version: int | None) -> UnknownFile:
        import shlex

        name, last = versions[-1].name, versions[-1].version
        return UnknownFile(
            f"run {self.id} has no version {version} of '{name}'"
            if version is not None
            else f"the file '{name}' of run {self.id} was removed",
            why=f"its versions are 1 to {last}" if last > 1 else "it had one content, version 1",
            next_step=f"onrecord get {self.id} {shlex.quote(name)} --version {last}",
            run_id=self.id,
            name=name,
            candidates=[],
        )

    def _refuse_known(self, known: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        for name in wanted:
            if name in known:
                raise PropertyExists(
                    f"run {self.id} has the property '{name}' already",
                    why=f"properties are written once; its value stays {known[name]!r}",
                    next_step=f"use a tag for what changes: run.tag({name!r}, …)",
                    run_id=self.id,
                    name=name,
                    value=known[name],
                )

    def _failure(self, row: RunRow) -> RunFailedError:
        error = row.error or {}
        details = error.get("details", "")
        return RunFailedError(
            f"run {self.id} failed: {error.get('message', 'no reason was recorded')}",
            why=f"its last words:\n{details}" if details else "",
            next_step=f"onrecord logs {self.id}",
            run_id=self.id,
            exit_code=row.exit_code,
            signal=row.signal,
            error=error,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other.id == self.id and other.workspace.path == self.workspace.path

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        row = self._row()
        return f"Run({row.experiment!r}, {self.id!r}, {row.status!r})"


def _print_bytes(piece: bytes) -> None:
    # Not a real stdout in a notebook or under pytest: then as text.
    raw = getattr(sys.stdout, "buffer", None)
    if raw is None:
        sys.stdout.write(piece.decode("utf-8", "replace"))
    else:
        sys.stdout.flush()
        raw.write(piece)
    sys.stdout.flush()


def _ignore(piece: bytes) -> None:
    del piece
