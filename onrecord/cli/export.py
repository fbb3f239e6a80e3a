"""`onrecord export`."""

from __future__ import annotations

from pathlib import Path

import click

from onrecord.cli.common import complete_run, json_option, open_workspace, print_json
from onrecord.cli.progress import progress_of
from onrecord.wording import counted, narrate, printable, size


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...", shell_complete=complete_run)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--children", is_flag=True, help="Also the runs that were started from them.")
@click.option("--force", is_flag=True, help="Replace FILE.")
@json_option
def command(runs: tuple[str, ...], file: Path, children: bool, force: bool, as_json: bool) -> None:
    """Write runs that have ended, with their files and sources, into FILE (default: all runs).

    FILE is a tar archive that proves itself; the same runs always make the same bytes.
    """
    from onrecord.exporting import export_runs, with_descendants

    workspace = open_workspace()
    found = [workspace.get_run(run).id for run in runs] or [row.run_id for row in workspace.query.runs()]
    if children:
        found = with_descendants(workspace, found)
    if not found:
        narrate("there are no runs")
        return
    with progress_of("writing") as progress:
        done = export_runs(workspace, found, file, overwrite=force, progress=progress)
    if as_json:
        print_json({"path": str(file.absolute()), **done._asdict()})
    else:
        what = f"{counted(done.runs, 'run')}, {counted(done.objects, 'object')}"
        narrate(printable(f"wrote {what} into {file} ({size(done.bytes)})"))
