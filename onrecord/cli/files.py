"""`onrecord files`."""

from __future__ import annotations

import sys

import click

from onrecord.cli.common import json_option, open_run, print_json, run_argument
from onrecord.cli.text import Style, columns, narrate, printable, size
from onrecord.documents import file_document


@click.command()
@run_argument
@json_option
def command(run: str, as_json: bool) -> None:
    """List the files of a run that are in the history."""
    found = open_run(run)
    rows = found.workspace.query.files(found.id)
    if as_json:
        print_json([file_document(row) for row in rows])
        return
    if not rows:
        row = found.workspace.query.run(found.id)
        narrate("no files yet" if not row.ended else "what files it had was erased" if row.erased else "no files")
    style = Style(sys.stdout)
    for cells in columns([[size(row.size), printable(row.name)] for row in rows], right=frozenset({0})):
        print(f"{style.dim(cells[0])}  {cells[1]}")
