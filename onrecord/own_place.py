"""A script that waits for a run which waits for the script's own place: it would wait for ever, so it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onrecord.compute_target import target_named
from onrecord.ledger.errors import UnknownRun
from onrecord.ledger.states import QUEUED
from onrecord.outer_run import outer_run
from onrecord.resources import Room, resources_of
from onrecord.run_errors import WaitsForItself
from onrecord.waiting_runs import gpus_of

if TYPE_CHECKING:
    from onrecord.workspace import Workspace


def refuse_to_wait_for_own_place(workspace: Workspace, run_id: str) -> None:
    """Raise WaitsForItself where a queued run has no room beside the caller's run and those it was started from."""
    outer = outer_run(workspace)
    if outer is None or workspace.query.run(run_id).status != QUEUED:
        return
    config = workspace.query.config(run_id)
    target = target_named(workspace, str(config.get("target")))
    holding = []
    for one in _line(workspace, outer):
        held = workspace.query.config(one)
        if held.get("target") == target.name:
            holding.append((resources_of(held), gpus_of(workspace, one, held)))
    lacking = Room(target, holding).lacks(resources_of(config))
    if lacking:
        raise WaitsForItself(
            f"run {run_id} cannot start before this script has ended, so the script would wait for ever",
            why=f"target {target.name}: {lacking}, all by this script's run {outer} and those that it was started from",
            next_step="raise the limits of the target in config.toml, submit to another target, or end without waiting"
            " (fail_if_child_fails=True waits once the script has ended)",
            run_id=run_id,
            outer=outer,
        )


def _line(workspace: Workspace, run_id: str) -> list[str]:
    """The run and those that it was started from, as far as they have not ended."""
    line: list[str] = []
    parent: str | None = run_id
    while parent is not None and parent not in line:
        try:
            row = workspace.query.run(parent)
        except UnknownRun:
            break
        if not row.ended:
            line.append(parent)
        parent = row.parent
    return line
