"""Runs erased everywhere: in the ledger, among the objects, and in their folders.

What the ledger forgets can no longer be asked of it, so the objects that are to go are written down first, in
`.onrecord/erasing/`. An erasure that was cut off is finished by the next one.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from onrecord.conductor_process import take_lock
from onrecord.errors import OnRecordError
from onrecord.exporting import referred_to
from onrecord.layout import RunFolder
from onrecord.ledger.erasure import erase, refuse_living, scrub
from onrecord.ledger.errors import RunNotEnded
from onrecord.ledger.events import PayloadErased
from onrecord.ledger.origin import stored_events
from onrecord.ledger.references import references_in
from onrecord.model_registry import refuse_runs_of_models
from onrecord.snapshot.gc import needed_by
from onrecord.snapshot.manifest import objects_of
from onrecord.submission import user_name
from onrecord.workspace import Workspace

# What the conductor still has to do after it sealed the run.
_CONDUCTOR_SECONDS = 10.0
# Each holds a descriptor.
_AT_ONCE = 100


class Erased(NamedTuple):
    """What an erasure did: payloads by run (none: it was erased already), objects removed, and bytes freed by that.

    `problems`: whole sentences about what could not be found.
    """

    events: dict[str, int]
    objects: int
    bytes: int
    problems: list[str]


def erase_runs(
    workspace: Workspace,
    run_ids: Sequence[str],
    *,
    files: bool = False,
    reason: str = "",
    experiment_too: bool = False,
    wait_seconds: float = 10.0,
) -> Erased:
    """Erase runs that have ended; when it returns, no file of the workspace holds what was erased.

    Erasing what was erased already does what was left undone. `wait_seconds`: for readers that are in the middle of
    a query. Raises RunNotEnded and RunHasModels before anything is erased; ErasureUnfinished when old copies are left.
    """
    workspace.journal.database.writable()
    refuse_living(workspace.journal, run_ids)
    if files:
        refuse_runs_of_models(workspace, run_ids)
    total = Erased({}, 0, 0, [])
    for start in range(0, len(run_ids), _AT_ONCE):
        some = run_ids[start : start + _AT_ONCE]
        with ExitStack() as held:
            for run_id in some:
                _hold_folder(workspace, run_id, held)
            total = _erase_some(workspace, some, files, reason, experiment_too, held, total)
    scrub(workspace.journal, wait_seconds)
    return total


def _erase_some(
    workspace: Workspace,
    run_ids: Sequence[str],
    files: bool,
    reason: str,
    experiment_too: bool,
    held: ExitStack,
    before: Erased,
) -> Erased:
    task, done = None, dict(before.events)
    if files or _tasks(workspace):
        held.enter_context(workspace.store.in_use(alone=True))
        _finish_tasks(workspace)
        task = _Task.plan(workspace, run_ids) if files else None
    for run_id in run_ids:
        versions = erase(
            workspace.journal, run_id, reason=reason, by=user_name(), files=files, experiment_too=experiment_too
        )
        done[run_id] = len(versions)
        if not files:
            _clear_folder(workspace.layout.run(run_id), everything=False)
    if task is None:
        return before._replace(events=done)
    objects, freed = task.carry_out(workspace)
    return Erased(done, before.objects + objects, before.bytes + freed, before.problems + task.problems)


class _Task:
    """The objects of runs that are about to be erased, on the disk until they are removed."""

    def __init__(self, path: Path, run_ids: Sequence[str], digests: Iterable[str]) -> None:
        self._path = path
        self._run_ids = run_ids
        self._digests = sorted(digests)
        self.problems: list[str] = []

    @classmethod
    def plan(cls, workspace: Workspace, run_ids: Sequence[str]) -> _Task:
        digests, problems = set[str](), list[str]()
        for run_id in run_ids:
            if workspace.query.run(run_id).erased and not _files_erased(workspace, run_id):
                problems.append(f"which files {run_id} had is not known any more: it was erased without them before")
            named = referred_to(stored_events(workspace.journal, run_id))
            digests |= named.contents
            for snapshot_id in named.snapshots:
                try:
                    digests.update(objects_of(workspace.store, snapshot_id))
                except OnRecordError as problem:
                    text = f"the source of {run_id} was not found whole, and parts may be left: {problem.what}"
                    problems.append(text)
        digests = workspace.store.with_parts(digests)
        # Asked now as well, because a listing that cannot be read must be told before anything is erased.
        digests -= _needed(workspace, digests, run_ids)
        task = cls(workspace.layout.erasing / f"{os.urandom(8).hex()}.json", run_ids, digests)
        task.problems = problems
        task._write()
        return task

    @classmethod
    def read(cls, path: Path) -> _Task | None:
        """The task that was written down; None for one that was cut off while it was written, and so never begun."""
        try:
            found = json.loads(path.read_bytes())
        except ValueError:
            return None
        return cls(path, found["runs"], found["objects"])

    def _write(self) -> None:
        self._path.parent.mkdir(exist_ok=True)
        with self._path.open("w") as file:
            json.dump({"objects": self._digests, "runs": list(self._run_ids)}, file)
            file.flush()
            os.fsync(file.fileno())
        for folder in (self._path.parent, self._path.parent.parent):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def carry_out(self, workspace: Workspace) -> tuple[int, int]:
        """Remove what no run refers to any more; how many objects, and the bytes freed."""
        going = set(self._digests)
        done = workspace.store.remove(going - _needed(workspace, going, ()))
        # What was seen in folders that were snapshotted: names of files, and objects that may be gone now.
        shutil.rmtree(workspace.layout.caches, ignore_errors=True)
        workspace.layout.caches.mkdir(exist_ok=True)
        for run_id in self._run_ids:
            if workspace.query.run(run_id).erased:
                _clear_folder(workspace.layout.run(run_id), everything=True)
        self._path.unlink()
        return done


def _tasks(workspace: Workspace) -> list[Path]:
    return sorted(workspace.layout.erasing.glob("*.json"))


def _finish_tasks(workspace: Workspace) -> None:
    for path in _tasks(workspace):
        task = _Task.read(path)
        if task is None:
            path.unlink()
        else:
            task.carry_out(workspace)


def _needed(workspace: Workspace, digests: set[str], without: Sequence[str]) -> set[str]:
    """Those of some objects that runs other than `without` refer to."""
    if not digests:
        return set()
    named = references_in(workspace.journal, without=without)
    found = digests & named.files
    rest = digests - found
    return found | (rest & needed_by(workspace.store, named.snapshots, named.possible) if rest else set())


def _files_erased(workspace: Workspace, run_id: str) -> bool:
    events = (recorded.event for recorded in workspace.journal.read(run_id))
    return any(isinstance(event, PayloadErased) and event.files for event in events)


def _hold_folder(workspace: Workspace, run_id: str, held: ExitStack) -> None:
    """Hold the run's lock, which its conductor lets go of a moment after the run has ended."""
    folder, deadline = workspace.layout.run(run_id), time.monotonic() + _CONDUCTOR_SECONDS
    while folder.path.exists():
        lock = take_lock(folder.lock)
        if lock is not None:
            held.callback(os.close, lock)
            return
        if time.monotonic() > deadline:
            raise RunNotEnded(
                f"run {run_id} has ended, but its conductor is still at work",
                why="it may still write what would be erased",
                next_step="the same command again, in a moment",
                run_id=run_id,
                status=workspace.query.run(run_id).status,
            )
        time.sleep(0.05)


def _clear_folder(folder: RunFolder, *, everything: bool) -> None:
    """Remove a run's folder, or what repeats the ledger in it: points, arguments, the conductor's words."""
    if not folder.path.exists():
        return
    if everything:
        _remove_tree(folder.path)
        return
    for path in list(folder.path.iterdir()):
        if path in (folder.work, folder.logs, folder.lock):
            continue
        if path.is_dir() and not path.is_symlink():
            _remove_tree(path)
        else:
            path.unlink(missing_ok=True)


def _remove_tree(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except PermissionError:
        # A script may have made folders of its own that cannot be written.
        for folder, _, _ in os.walk(path):
            Path(folder).chmod(0o700)
        shutil.rmtree(path)
