"""`onrecord tag`."""

from __future__ import annotations

import click

from onrecord.cli.common import json_option, open_run, print_json, run_argument
from onrecord.tag_names import checked_tags
from onrecord.wording import printable


@click.command()
@run_argument
@click.argument("tags", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-r", "--remove", multiple=True, metavar="KEY", help="Remove this tag; repeatable.")
@json_option
def command(run: str, tags: tuple[str, ...], remove: tuple[str, ...], as_json: bool) -> None:
    """Set tags of a run to new values, and remove others; without any, print them."""
    wanted = checked_tags({name: value for name, _, value in (tag.partition("=") for tag in tags)})
    found = open_run(run)
    if wanted or remove:
        from onrecord.ledger.events import RunTagged

        # In one event: nobody sees the one without the other.
        found.workspace.journal.append(found.id, [RunTagged(tags=wanted, removed=list(remove))])
    now = found.get_tags()
    if as_json:
        print_json({"run_id": found.id, "tags": now})
        return
    for name, value in now.items():
        print(printable(f"{name}={value}" if value else name))
