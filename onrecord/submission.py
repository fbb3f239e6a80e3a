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
from typing import Any, NamedTuple

import attrs

from onrecord.attempts import checked_retries, properties_of, settings_of
from onrecord.compute_target import ComputeTarget, target_named
from onrecord.conductor_process import FIRST, FIRST_IN_BUILT, NEXT, ConductorProcess, take_lock
from onrecord.errors import OnRecordError
from onrecord.executors.registry import INLINE
from onrecord.git_facts import PREFIX, GitFacts, read_git_facts
from onrecord.layout import RunFolder
from onrecord.ledger.events import FileRecorded, RunQueued, RunSubmitted
from onrecord.ledger.ids import encode, new_id
from onrecord.outer_run import outer_run, wake
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


class _Asked(NamedTuple):
    """What is recorded of a submit besides the job."""

    experiment: str
    name: str
    tags: dict[str, str]
    parent: str | None
    fail_if_child_fails: bool
    retries: int


def submit(
    workspace: Workspace,
    experiment: str,
    config: ScriptRunConfig,
    *,
    name: str = "",
    tags: Mapping[str, str] | None = None,
    parent: str | None = None,
    fail_if_child_fails: bool = False,
    retries: int = 0,
    rehash: bool = False,
    progress: Progress | None = None,
    before_inline: Callable[[str, Snapshot], object] | None = None,
) -> tuple[str, Snapshot]:
    """Put a run on record and start its conductor; returns the run's id and the snapshot it runs from.

    The conductor's interpreter starts while the source is snapshotted, and waits for the run to be in
    the ledger. `parent`: the id of the run that it is started from. `fail_if_child_fails`: it is not Completed where
    a run that is started from it fails, and waits for their ends. Inside a script the conductor of that script's run
    starts it, see `outer_run`. An inline run has ended when this returns; of one that Ctrl-C ended, KeyboardInterrupt
    is raised once that is on record; `before_inline` is called before its script runs. `rehash` and `progress` as
    `snapshot_of` takes them. Raises UnknownRun for the parent, BadConfig, UnknownTarget, the snapshot's and the
    ledger's errors; then there is no run.
    """
    job, retries = config.checked(), checked_retries(retries)
    if parent is not None:
        workspace.query.run(parent)
    asked = _Asked(experiment, name, dict(tags or {}), parent, fail_if_child_fails, retries)
    if job.resume_from is not None:
        from onrecord.resuming import run_to_resume

        job = attrs.evolve(job, resume_from=run_to_resume(workspace, job.resume_from))
    target = target_named(workspace, job.target)
    if job.hosts or target.hosts:
        from onrecord.compat_checks import check_compat
        from onrecord.job_hosts import placed

        if job.environment.compat is not None:
            check_compat(job.environment, job.hosts or target.hosts)

        on_hosts = placed(job.distribution, job.hosts, target, job.environment.needs_build())
        job = attrs.evolve(job, distribution=on_hosts)
    refuse_what_never_fits(target, job.as_document())
    is_inline = target.executor == INLINE
    if is_inline:
        from onrecord.inline_run import refuse_what_cannot_be_inline

        refuse_what_cannot_be_inline(job)
    workspace.journal.database.writable()
    run_id = encode(new_id(time.time_ns() // 1_000_000, os.urandom(10)))
    folder = workspace.layout.run(run_id)
    # The script of an inline run is started here: its conductor only goes with it.
    place = NEXT if is_inline else FIRST_IN_BUILT if job.environment.needs_build() else FIRST
    outer = None if is_inline else outer_run(workspace)
    conductor = None if outer else _start_conductor(workspace, run_id, folder, place)
    try:
        facts = git_question(workspace, job.source)
        # What the snapshot finds stored already must not be erased with another run before this one refers to it.
        with workspace.store.in_use():
            rules = Rules(defaults=job.default_excludes)
            snapshot = snapshot_of(workspace, job.source, rules=rules, rehash=rehash, progress=progress)
            _check_script_is_in(workspace, snapshot, job)
            may_start = _record(workspace, run_id, job, target, snapshot, facts, asked, outer)
    except BaseException:
        if conductor is not None:
            conductor.dismiss()
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    if place == FIRST_IN_BUILT:
        # Whoever waits for the run follows it.
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.notes.touch()
    if conductor is None:
        wake(workspace, str(outer))
    elif is_inline:
        from onrecord.inline_run import run_inline

        if before_inline is not None:
            before_inline(run_id, snapshot)
        run_inline(workspace, run_id, conductor)
    elif may_start:
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
    if job.command is None:
        name, kind = job.script, "script"
    elif "/" in job.command and not job.shell and not os.path.isabs(job.command):  # noqa: PTH117 - a text, not a path
        name, kind = os.path.normpath(job.command), "command"
    else:
        return
    wanted = os.fsencode(name)
    if name.startswith("..") or any(
        entry.path == wanted for entry in walk_snapshot(workspace.store, snapshot.snapshot_id)
    ):
        return
    raise BadConfig(
        f"the {kind} {name} is left out of the snapshot of {job.source}",
        why="the rules in .amlignore or .gitignore, or the built-in ones (outputs/, logs/, virtual environments,"
        " .git …), leave it out, so the run would not have it",
        next_step=f"add the line !{name} to {job.source / '.amlignore'}, or move the {kind}",
        field=kind,
    )


def _record(
    workspace: Workspace,
    run_id: str,
    job: CheckedConfig,
    target: ComputeTarget,
    snapshot: Snapshot,
    question: GitQuestion,
    asked: _Asked,
    outer: str | None,
) -> bool:
    """Put the run on record; whether it may start, or waits for room or for the conductor of an `outer` run."""
    facts = question.answer()
    # Said only where it is so: an ordinary run has the bytes that it always had.
    unusual = {"fail_if_child_fails": True} if asked.fail_if_child_fails else {}
    settings = {**job.as_document(), **unusual, **settings_of(asked.retries)}
    submitted = RunSubmitted(
        experiment=asked.experiment,
        name=asked.name,
        config=settings,
        snapshot_id=snapshot.snapshot_id,
        snapshot={"files": snapshot.files, "bytes": snapshot.bytes, "bytes_stored": snapshot.bytes_stored},
        tags=asked.tags,
        properties={**facts.properties, **properties_of(settings)},
        parent=asked.parent,
        submitted_by={"user": user_name(), "host": socket.gethostname(), "pid": str(os.getpid())},
    )
    # Its conductor is up by now: said here, in the same transaction, it need not be written before the start.
    with admission(workspace, target, submitted.config) as admitted:
        reason = admitted.reason or (f"the conductor of run {outer} starts it" if outer else "")
        place = [RunQueued(reason=reason)] if reason else start_events(admitted.gpus)
        workspace.journal.append(run_id, [submitted, *patch_events(workspace, facts), *place], expected=0)
    return not reason


def patch_events(workspace: Workspace, facts: GitFacts) -> list[FileRecorded]:
    """Store what git says of uncommitted changes; nothing where there is none."""
    if not facts.patch:
        return []
    stored = workspace.store.put_bytes(facts.patch)
    return [FileRecorded(name=PATCH_NAME, digest=stored.digest, size=stored.size, bytes_stored=stored.bytes_stored)]


def git_question(workspace: Workspace, source: Path) -> GitQuestion:
    if not source.is_relative_to(workspace.layout.runs.resolve()):
        return GitQuestion(lambda: read_git_facts(source))
    # A script submits from its working copy: what the repository around the workspace is at by now is not its source.
    facts = _facts_of_run(workspace, source.relative_to(workspace.layout.runs.resolve()).parts[0])
    return GitQuestion(lambda: facts)


def _facts_of_run(workspace: Workspace, run_id: str) -> GitFacts:
    known = workspace.query.properties(run_id)[run_id]
    patch = [row for row in workspace.query.files(run_id) if row.name == PATCH_NAME]
    return GitFacts(
        properties={name: value for name, value in known.items() if name.startswith(PREFIX)},
        patch=workspace.store.read(patch[0].digest) if patch else b"",
    )


class GitQuestion:
    """git is asked while the snapshot is taken: both wait for the disk and for other processes."""

    def __init__(self, ask: Callable[[], GitFacts]) -> None:
        self._question = ask
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
            self._facts = self._question()
        except BaseException as problem:
            self._error = problem


def user_name() -> str:
    """Who runs this process; the number where it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
