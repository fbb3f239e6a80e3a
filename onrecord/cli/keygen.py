"""`onrecord keygen`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from onrecord.cli.common import json_option, print_json
from onrecord.cli.evidence import FILE
from onrecord.errors import OnRecordError
from onrecord.wording import narrate, printable


@click.command()
@click.argument("file", type=FILE)
@click.option("--name", help="The key's name (default: the name of this workspace's ledger).")
@json_option
def command(file: Path, name: str | None, as_json: bool) -> None:
    """Make an Ed25519 key to sign checkpoints with: the private key in FILE, the public one on stdout."""
    from onrecord.ledger.note import PrivateKey, is_key_name

    name = name or _origin()
    if not is_key_name(name):
        raise click.UsageError(f"a key cannot be named {name!r}: no spaces, no plus")
    key = PrivateKey(name, os.urandom(32))
    public, secret = str(key.public()), key.secret_text()
    # Never over a key that is there, and never for a moment readable by others.
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(secret + "\n")
    except FileExistsError as problem:
        raise OnRecordError(
            f"{file} exists already",
            why="a key that is overwritten is lost for ever",
            next_step="onrecord keygen ANOTHER-FILE",
            path=file,
        ) from problem
    narrate(printable(f"wrote the private key {file}; keep it secret, and give this to whoever checks:"))
    if as_json:
        print_json({"name": name, "path": str(file.absolute()), "public_key": public})
    else:
        print(public)


def _origin() -> str:
    from onrecord.ledger.history import History
    from onrecord.workspace import Workspace

    try:
        return History(Workspace.from_config().journal).origin()
    except OnRecordError as problem:
        raise click.UsageError("there is no ledger here to name the key after: --name NAME") from problem
