"""`onrecord gc`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onrecord.cli.common import json_option, open_workspace, print_json
from onrecord.cli.duration import Duration
from onrecord.cli.progress import progress_of
from onrecord.wording import counted, narrate, size

if TYPE_CHECKING:
    from onrecord.snapshot.sweep import Swept


@click.command()
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would go.")
@click.option(
    "--grace",
    type=Duration(may_be_zero=True),
    default="14d",
    show_default=True,
    metavar="TIME",
    help="Keep what is newer: 12h, 30d, 0s.",
)
@json_option
def command(dry_run: bool, grace: float, as_json: bool) -> None:
    """Remove files and sources that no run refers to any more, once they are older than the grace period.

    Safe at any time, also beside runs. What stays after runs were erased without --files goes, and snapshots that
    belong to no run.
    """
    from onrecord.collecting import collect

    workspace = open_workspace()
    with progress_of("regaining space") as progress:
        done = collect(workspace, grace_seconds=grace, dry_run=dry_run, progress=progress)
    if as_json:
        print_json({"dry_run": dry_run, **done._asdict()})
    else:
        _tell(done, dry_run)


def _tell(done: Swept, dry_run: bool) -> None:
    verb = "would remove" if dry_run else "removed"
    narrate(f"{verb} {_some(done.removed_objects, done.removed_bytes)}")
    narrate(f"referred to by runs: {_some(done.needed_objects, done.needed_bytes)}")
    if done.young_objects:
        narrate(f"within the grace period: {_some(done.young_objects, done.young_bytes)}")
    if done.waiting_objects:
        waiting = _some(done.waiting_objects, done.waiting_bytes)
        narrate(f"in packs that are mostly of use: {waiting}; removed when more of their pack can go")


def _some(objects: int, size_in_bytes: int) -> str:
    return f"{counted(objects, 'object')} ({size(size_in_bytes)})"
