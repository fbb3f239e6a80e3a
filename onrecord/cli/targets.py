"""`onrecord targets`."""

from __future__ import annotations

from collections import Counter

import click

from onrecord.cli.common import json_option, open_workspace, print_json
from onrecord.compute_target import ComputeTarget, targets_of
from onrecord.ledger.states import QUEUED
from onrecord.wording import columns, narrate, printable


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List where runs can go, the limits of each, and how many runs are there or wait."""
    workspace = open_workspace()
    running: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    for row in workspace.query.unfinished():
        name = str(workspace.query.config(row.run_id).get("target"))
        (waiting if row.status == QUEUED else running)[name] += 1
    found = targets_of(workspace).values()
    if as_json:
        print_json(
            [{**target._asdict(), "running": running[target.name], "waiting": waiting[target.name]} for target in found]
        )
        return
    rows = [["target", "executor", "limits", "running", "waiting"]]
    for target in found:
        counts = [str(running[target.name]), str(waiting[target.name])]
        rows.append([printable(target.name), target.executor, _limits(target), *counts])
    for line in columns(rows, right=frozenset({3, 4})):
        print("  ".join(line).rstrip())
    if not any(target.is_limited for target in found):
        narrate(f"limits are tables such as [targets.local] with max_concurrent = 2 in {workspace.layout.config}")


def _limits(target: ComputeTarget) -> str:
    parts = []
    if target.max_concurrent is not None:
        parts.append(f"{target.max_concurrent} at once")
    if target.cores is not None:
        parts.append(f"{target.cores:g} cores")
    if target.memory is not None:
        parts.append(f"{target.memory / 1e9:g} GB")
    if target.gpus is not None:
        parts.append(f"GPUs {', '.join(map(str, target.gpus))}" if target.gpus else "no GPUs")
    return ", ".join(parts) or "none"
