"""`onrecord get`."""

from __future__ import annotations

import sys

import click

from onrecord.cli.common import complete_file, json_option, open_run, print_json, run_argument
from onrecord.wording import narrate, printable


@click.command()
@run_argument
@click.argument("name", shell_complete=complete_file)
@click.argument("destination", required=False, type=click.Path(allow_dash=True))
@click.option("--version", type=int, help="An earlier content of it, from 1 (onrecord files RUN --versions NAME).")
@json_option
def command(run: str, name: str, destination: str | None, version: int | None, as_json: bool) -> None:
    """Copy the file NAME of a run to DESTINATION: a file, a folder, or - for stdout.

    Folders on the way to DESTINATION that are missing are made.
    """
    found = open_run(run)
    if destination == "-":
        for piece in found.read_file_pieces(name, version=version):
            sys.stdout.buffer.write(piece)
        return
    path = found.download_file(name, destination, version=version)
    if as_json:
        print_json({"run_id": found.id, "name": name, "path": str(path.absolute())})
    else:
        narrate(printable(f"wrote {path}"))
