"""From a configuration to a run on record, or to an error that leaves nothing behind."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onrecord.compute_target import ComputeTarget, target_named
from onrecord.conductor_process import FIRST, FIRST_IN_BUILT, ConductorProcess, take_lock
from onrecord.errors import OnRecordError
from onrecord.git_facts import GitFacts, read_git_facts
from onrecord.layout import RunFolder
from onrecord.ledger.events import FileRecorded, RunQueued, RunSubmitted
from onrecord.ledger.ids import encode, new_id
from onrecord.resources import refuse_what_never_fits
from onrecord.script_run_config import BadConfig, CheckedConfig, ScriptRunConfig
from onrecord.snapshot.digest import digest_bytes
from onrecord.snapshot.ignore import Rules
from onrecord.snapshot.manifest import walk_snapshot
from onrecord.snapshot.take import Snapshot, take_snapshot
from onrecord.waiting_runs import admission, start_events
from onrecord.workspace import Workspace

Progress = Callable[[int, int], None]
PATCH_NAME = "onrecord/git.patch"


def submit(
    workspace: Workspace,
    experiment: str,
    config: ScriptRunConfig,
    *,
    name: str = "",
    tags: Mapping[str, str] | None = None,
    rehash: bool = False,
    progress: Progress | None = None,
) -> tuple[str, Snapshot]:
    """Put a run on record and start its conductor; returns the run's id and the snapshot it runs from.

    The conductor's interpreter starts while the source is snapshotted, and waits for the run to be in
    the ledger. `rehash` and `progress` as `snapshot_of` takes them. Raises BadConfig, UnknownTarget, the
    snapshot's and the ledger's errors; then there is no run.
    """
    job = config.checked()
    target = target_named(workspace, job.target)
    refuse_what_never_fits(target, job.as_document())
    workspace.journal.database.writable()
    run_id = encode(new_id(time.time_ns() // 1_000_000, os.urandom(10)))
    folder = workspace.layout.run(run_id)
    place = FIRST_IN_BUILT if job.environment.needs_build() else FIRST
    conductor = _start_conductor(workspace, run_id, folder, place)
    try:
        facts = GitQuestion(job.source)
        # What the snapshot finds stored already must not be erased with another run before this one refers to it.
        with workspace.store.in_use():
            rules = Rules(defaults=job.default_excludes)
            snapshot = snapshot_of(workspace, job.source, rules=rules, rehash=rehash, progress=progress)
            _check_script_is_in(workspace, snapshot, job)
            may_start = _record(workspace, run_id, job, target, snapshot, facts.answer(), experiment, name, tags or {})
    except BaseException:
        conductor.dismiss()
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    if place == FIRST_IN_BUILT:
        # Whoever waits for the run follows it.
        folder.notes.touch()
    if may_start:
        conductor.go()
    else:
        conductor.dismiss()
    return run_id, snapshot


def snapshot_of(
    workspace: Workspace,
    source: Path,
    *,
    rules: Rules | None = None,
    rehash: bool = False,
    progress: Progress | None = None,
) -> Snapshot:
    """Snapshot a folder into the workspace's objects, with the cache of what was seen there before.

    `rehash`: every file is read, whatever the cache says. `progress` is told the files and bytes looked at so far.
    """
    cache = cache_of(workspace, source)
    return take_snapshot(source, workspace.store, cache=cache, rules=rules, rehash=rehash, progress=progress)


def cache_of(workspace: Workspace, source: Path) -> Path:
    """Where what was seen in a source folder, an absolute path, is kept for its next snapshot."""
    return workspace.layout.caches / digest_bytes(os.fsencode(source))[:32]


def rules_of(config: Mapping[str, Any]) -> Rules:
    """The rules under which the source of a run with this configuration was taken."""
    return Rules(defaults=config.get("default_excludes", True) is not False)


def _start_conductor(workspace: Workspace, run_id: str, folder: RunFolder, place: str) -> ConductorProcess:
    try:
        lock = take_lock(folder.lock)
        # A new id's lock is nobody else's.
        assert lock is not None  # noqa: S101
        return ConductorProcess(workspace.layout, run_id, place, lock)
    except OSError as problem:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise OnRecordError(
            f"cannot make the folder of a new run in {workspace.layout.runs}",
            why=str(problem),
            next_step=f"check the space and the permissions of {workspace.layout.root}; nothing was recorded",
        ) from problem


def _check_script_is_in(workspace: Workspace, snapshot: Snapshot, job: CheckedConfig) -> None:
    wanted = os.fsencode(job.script)
    if not any(entry.path == wanted for entry in walk_snapshot(workspace.store, snapshot.snapshot_id)):
        raise BadConfig(
            f"the script {job.script} is left out of the snapshot of {job.source}",
            why="the rules in .amlignore or .gitignore, or the built-in ones (outputs/, logs/, virtual environments,"
            " .git …), leave it out, so the run would not have it",
            next_step=f"add the line !{job.script} to {job.source / '.amlignore'}, or move the script",
            field="script",
        )


def _record(
    workspace: Workspace,
    run_id: str,
    job: CheckedConfig,
    target: ComputeTarget,
    snapshot: Snapshot,
    facts: GitFacts,
    experiment: str,
    name: str,
    tags: Mapping[str, str],
) -> bool:
    """Put the run on record; whether it may start, or waits for room."""
    submitted = RunSubmitted(
        experiment=experiment,
        name=name,
        config=job.as_document(),
        snapshot_id=snapshot.snapshot_id,
        snapshot={"files": snapshot.files, "bytes": snapshot.bytes, "bytes_stored": snapshot.bytes_stored},
        tags=dict(tags),
        properties=facts.properties,
        submitted_by={"user": user_name(), "host": socket.gethostname(), "pid": str(os.getpid())},
    )
    # Its conductor is up by now: said here, in the same transaction, it need not be written before the start.
    with admission(workspace, target, submitted.config) as admitted:
        place = [RunQueued(reason=admitted.reason)] if admitted.reason else start_events(admitted.gpus)
        workspace.journal.append(run_id, [submitted, *patch_events(workspace, facts), *place], expected=0)
    return not admitted.reason


def patch_events(workspace: Workspace, facts: GitFacts) -> list[FileRecorded]:
    """Store what git says of uncommitted changes; nothing where there is none."""
    if not facts.patch:
        return []
    stored = workspace.store.put_bytes(facts.patch)
    return [FileRecorded(name=PATCH_NAME, digest=stored.digest, size=stored.size, bytes_stored=stored.bytes_stored)]


class GitQuestion:
    """git is asked while the snapshot is taken: both wait for the disk and for other processes."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._facts = GitFacts()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._ask, name="onrecord-git", daemon=True)
        self._thread.start()

    def answer(self) -> GitFacts:
        """Wait for the answer; raises what git's question raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._facts

    def _ask(self) -> None:
        try:
            self._facts = read_git_facts(self._source)
        except BaseException as problem:
            self._error = problem


def user_name() -> str:
    """Who runs this process; the number where it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
