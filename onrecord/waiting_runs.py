"""Runs that wait for room on their target, without anybody who watches them.

A run that does not fit is recorded as Queued and has no process. Whoever makes room starts the next one: the
conductor of a run that ends, or any command that finds room. Both decide under one lock, from what the ledger
says; the order is by priority (greater first), then by time, and a run that needs much is not overtaken.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from onrecord.compute_target import ComputeTarget, target_named
from onrecord.conductor_process import FIRST, FIRST_IN_BUILT, ConductorProcess, take_lock
from onrecord.errors import OnRecordError, in_one_line
from onrecord.ledger.errors import IllegalTransition
from onrecord.ledger.states import CANCEL_REQUESTED, FINALIZING, NOT_STARTED, QUEUED
from onrecord.outer_run import outer_run, wake
from onrecord.resources import Room, resources_of

if TYPE_CHECKING:
    from onrecord.ledger.events import Event
    from onrecord.ledger.query import RunRow
    from onrecord.workspace import Workspace


class Admission:
    """Whether a new run may start: `reason` says what it waits for and is empty when it may; its `gpus`."""

    def __init__(self, reason: str = "", gpus: tuple[int, ...] = ()) -> None:
        self.reason = reason
        self.gpus = gpus


@contextmanager
def admission(workspace: Workspace, target: ComputeTarget, config: dict[str, Any]) -> Iterator[Admission]:
    """Decide on a new run; the caller records it inside the block, in which nobody else decides."""
    if not target.is_limited:
        yield Admission()
        return
    with _deciding(workspace):
        wanted, waiting, room = resources_of(config), *_state(workspace, target)
        lacking = room.lacks(wanted)
        ahead = sum(_priority(other) >= _priority(config) for _, other in waiting)
        if lacking or ahead:
            behind = f"{ahead} waiting before it" if ahead else ""
            yield Admission(f"{target.name}: {', '.join(filter(None, (lacking, behind)))}")
        else:
            yield Admission("", room.gpus_for(wanted))


def start_waiting(workspace: Workspace) -> list[str]:
    """Start what waits and has room now; returns their ids. Errors of one target do not keep others from starting."""
    if workspace.journal.database.read_only or _left_to_outer(workspace):
        return []
    queued = [row.run_id for row in workspace.query.unfinished() if row.status == QUEUED]
    targets = {str(workspace.query.config(run_id).get("target")) for run_id in queued}
    started: list[str] = []
    for name in sorted(targets):
        try:
            target = target_named(workspace, name)
        except OnRecordError:
            # It is no longer described: its runs wait until it is again, or until they are canceled.
            continue
        with _deciding(workspace):
            started += _start_in_order(workspace, target)
    return started


def _left_to_outer(workspace: Workspace) -> bool:
    outer = outer_run(workspace)
    if outer is not None:
        wake(workspace, outer)
    return outer is not None


def _start_in_order(workspace: Workspace, target: ComputeTarget) -> list[str]:
    waiting, room = _state(workspace, target)
    started: list[str] = []
    for row, config in waiting:
        wanted = resources_of(config)
        if room.lacks(wanted):
            break
        gpus = room.gpus_for(wanted)
        if _start(workspace, row.run_id, config, gpus):
            room.take(wanted, gpus)
            started.append(row.run_id)
    return started


def _start(workspace: Workspace, run_id: str, config: dict[str, Any], gpus: tuple[int, ...]) -> bool:
    from onrecord.ledger.events import RunQueued
    from onrecord.preparation import needs_build

    lock = take_lock(workspace.layout.run(run_id).lock)
    if lock is None:
        return False
    try:
        workspace.journal.append(run_id, start_events(gpus))
    except IllegalTransition:
        # Its end was asked for meanwhile.
        os.close(lock)
        return False
    place = FIRST_IN_BUILT if needs_build(config) else FIRST
    try:
        ConductorProcess(workspace.layout, run_id, place, lock).go()
    except OSError as problem:
        workspace.journal.append(
            run_id, [RunQueued(reason=f"its conductor could not be started: {in_one_line(problem)}")]
        )
        return False
    return True


def start_events(gpus: tuple[int, ...]) -> list[Event]:
    """What is recorded of a run that may start, with the GPUs that it was given."""
    from onrecord.ledger.events import RunPlaced, RunPreparing

    return [*([RunPlaced(gpus=list(gpus))] if gpus else []), RunPreparing()]


def _state(workspace: Workspace, target: ComputeTarget) -> tuple[list[tuple[RunRow, dict[str, Any]]], Room]:
    """The runs that wait for a target, the next one first, and the room that is left."""
    waiting, running = [], []
    for row, config in _unfinished(workspace):
        if config.get("target") != target.name:
            continue
        if row.status == QUEUED:
            waiting.append((row, config))
        elif row.status == FINALIZING and config.get("fail_if_child_fails"):
            # Its script has ended, and it waits for its children: they may wait for its place.
            continue
        elif row.status != NOT_STARTED and not (row.status == CANCEL_REQUESTED and row.started_at is None):
            running.append((resources_of(config), gpus_of(workspace, row.run_id, config)))
    # Stable: the ledger gives the newest first.
    waiting.reverse()
    waiting.sort(key=lambda entry: -_priority(entry[1]))
    return waiting, Room(target, running)


def gpus_of(workspace: Workspace, run_id: str, config: dict[str, Any]) -> tuple[int, ...]:
    """The numbers of the GPUs that a run was given."""
    if not resources_of(config).gpus:
        return ()
    found: tuple[int, ...] = ()
    for recorded in workspace.journal.read(run_id):
        found = tuple(getattr(recorded.event, "gpus", found))
    return found


def _unfinished(workspace: Workspace) -> list[tuple[RunRow, dict[str, Any]]]:
    return [(row, workspace.query.config(row.run_id)) for row in workspace.query.unfinished()]


def _priority(config: dict[str, Any]) -> int:
    return int(config.get("priority", 0))


@contextmanager
def _deciding(workspace: Workspace) -> Iterator[None]:
    fd = os.open(workspace.layout.queue_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
