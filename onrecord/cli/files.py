"""`onrecord files`."""

from __future__ import annotations

import sys

import click

from onrecord.cli.common import complete_file, json_option, open_run, print_json, run_argument
from onrecord.documents import file_document
from onrecord.ledger.query import FileRow
from onrecord.wording import Style, columns, local_time, narrate, printable, size


@click.command()
@run_argument
@click.option("--all", "everything", is_flag=True, help="Also files that were removed from the run's folder later.")
@click.option(
    "--versions", "name", metavar="NAME", shell_complete=complete_file, help="Every content that the file NAME had."
)
@json_option
def command(run: str, everything: bool, name: str | None, as_json: bool) -> None:
    """List the files of a run that are in the history: by default those of its folder as it is, or was at its end."""
    found = open_run(run)
    rows = found.file_versions(name) if name is not None else found.workspace.query.files(found.id, removed=everything)
    if as_json:
        print_json([file_document(row) for row in rows])
        return
    if not rows:
        row = found.workspace.query.run(found.id)
        narrate("no files yet" if not row.ended else "what files it had was erased" if row.erased else "no files")
    style = Style(sys.stdout)
    table = [_cells(row, versions=name is not None) for row in rows]
    for cells in columns(table, right=frozenset({0, 1} if name is not None else {0})):
        print("  ".join([style.dim(cells[0]), *cells[1:]]).rstrip())


def _cells(row: FileRow, *, versions: bool) -> list[str]:
    removed = f"removed {local_time(row.removed_at)}" if row.removed_at is not None else ""
    if versions:
        return [str(row.version), size(row.size), local_time(row.recorded_at), removed]
    return [size(row.size), printable(row.name), removed]
