"""`onrecord init`."""

from __future__ import annotations

from pathlib import Path

import click

from onrecord.cli.common import json_option, print_json
from onrecord.layout import FOLDER, Layout
from onrecord.wording import narrate, printable
from onrecord.workspace import Workspace


@click.command()
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
@json_option
def command(folder: Path, as_json: bool) -> None:
    """Make a workspace in FOLDER (default: the current one). Where there is one, nothing changes."""
    existed = Layout(folder.absolute() / FOLDER).config.is_file()
    workspace = Workspace.create(folder, exist_ok=True)
    if as_json:
        print_json({"path": str(workspace.path), "created": not existed})
    else:
        narrate(printable(f"{'there is a workspace in' if existed else 'made a workspace in'} {workspace.path}"))
