"""`onrecord check-checkpoint`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from onrecord.cli.common import json_option, print_json
from onrecord.cli.evidence import (
    GIVEN_FILE,
    checkpoint_document,
    read_checkpoint,
    read_public_keys,
    say_it_holds,
    signer_of,
    trust_options,
)
from onrecord.wording import Style


@click.command()
@click.argument("file", type=GIVEN_FILE)
@trust_options
@json_option
def command(file: Path, keys: tuple[str, ...], allowed_signers: Path | None, as_json: bool) -> None:
    """Check the signatures of a checkpoint in FILE; without keys only that it can be read. Needs no workspace."""
    from onrecord.ledger.note import verify

    checkpoint, trusted = read_checkpoint(file), read_public_keys(keys)
    signed = [key.name for key in verify(checkpoint.as_note(), trusted)] if trusted else []
    principal = signer_of(file, allowed_signers)
    if as_json:
        print_json({**checkpoint_document(checkpoint), "signed_by": signed, "ssh_signed_by": principal})
        return
    vouched = [*signed, *([principal] if principal else [])]
    style = Style(sys.stdout)
    print(f"{style.green('signed')}  by {', '.join(vouched)}" if vouched else "a checkpoint (no signature was checked)")
    say_it_holds([("ledger", checkpoint.origin), ("events", str(checkpoint.size)), ("root", checkpoint.root.hex())])
