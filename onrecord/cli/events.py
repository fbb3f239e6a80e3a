"""`onrecord events`."""

from __future__ import annotations

import json
import sys

import click

from onrecord.cli.common import json_option, open_run, print_json, run_argument
from onrecord.documents import event_document, iso
from onrecord.wording import Style, printable


@click.command()
@run_argument
@json_option
def command(run: str, as_json: bool) -> None:
    """Print every event of a run, oldest first (--json: JSON Lines)."""
    found, style = open_run(run), Style(sys.stdout)
    for recorded in found.workspace.journal.read(found.id):
        document = event_document(recorded)
        if as_json:
            print_json(document, line=True)
            continue
        data = json.dumps({key: value for key, value in document["data"].items() if value not in (None, "", [], {})})
        short = data if len(data) <= 160 else data[:157] + "..."
        print(f"{recorded.version:>4}  {style.dim(iso(recorded.at) or '')}  {recorded.type:<21} {printable(short)}")
