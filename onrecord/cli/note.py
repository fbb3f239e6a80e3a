"""`onrecord note`."""

from __future__ import annotations

import sys

import click

from onrecord.cli.common import json_option, open_run, print_json, run_argument
from onrecord.documents import note_document
from onrecord.wording import Style, local_time, narrate, printable


@click.command()
@run_argument
@click.argument("text", required=False)
@click.option("--description", is_flag=True, help="Not a note: TEXT is the run's description from now on.")
@json_option
def command(run: str, text: str | None, description: bool, as_json: bool) -> None:
    """Add a note to a run, TEXT or - for stdin; without one, print the run's notes.

    A note has its time and its author, and is never changed. A description replaces the former one; an empty TEXT
    takes it away.
    """
    found = open_run(run)
    if text == "-":
        text = sys.stdin.buffer.read().decode("utf-8", "replace").rstrip("\n")
    if text is not None and description:
        found.description = text
    elif text is not None:
        found.add_note(text)
    if as_json:
        notes = [note_document(note) for note in found.notes]
        print_json({"run_id": found.id, "description": found.description, "notes": notes})
    elif text is not None:
        narrate(printable(f"{'described' if description else 'noted'}; onrecord show {found.id[:10]}"))
    elif description:
        print("\n".join(map(printable, found.description.split("\n"))))
    else:
        style = Style(sys.stdout)
        for note in found.notes:
            print(style.dim(printable(f"{local_time(note.at)} {note.author}")))
            for line in note.text.split("\n"):
                print(f"  {printable(line)}".rstrip())
