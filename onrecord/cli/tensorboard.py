"""`onrecord tensorboard`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from onrecord.cli.common import complete_run, open_workspace
from onrecord.wording import counted, narrate, printable


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...", shell_complete=complete_run)
@click.option("--port", type=click.IntRange(0, 65535), default=6006, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--logdir", type=click.Path(file_okay=False, path_type=Path), help="Keep the copies in this folder.")
@click.option(
    "--export",
    "export_to",
    type=click.Path(file_okay=False, path_type=Path),
    help="Only write the metrics of the runs there as event files, for a TensorBoard elsewhere.",
)
@click.option("--browser", is_flag=True, help="Open it in the browser.")
def command(
    runs: tuple[str, ...], port: int, host: str, logdir: Path | None, export_to: Path | None, browser: bool
) -> None:
    """Show RUNs (default: the last one) in TensorBoard until Ctrl-C: their logs/ and their metrics, as they grow.

    Runs that are started below them appear by themselves. Needs the extra onrecord[tensorboard], --export does not.
    """
    from onrecord.tensorboard import Tensorboard, export_to_tensorboard

    workspace = open_workspace()
    found = [workspace.get_run(run) for run in runs or ("@last",)]
    if export_to is not None:
        written = export_to_tensorboard(found, export_to)
        narrate(printable(f"wrote {counted(len(written), 'event file')} below {export_to}"))
        return
    try:
        with Tensorboard(found, logdir, port, host=host) as board:
            narrate(printable(f"{counted(len(found), 'run')} in {board.local_root}; Ctrl-C ends it"))
            if browser:
                click.launch(board.address)
            while board.is_alive():
                time.sleep(0.5)
    except KeyboardInterrupt:
        # Also one that comes while it starts: what was begun is ended when this process is.
        return
