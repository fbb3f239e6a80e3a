"""`onrecord check-proof`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from onrecord.cli.common import json_option, print_json
from onrecord.cli.evidence import (
    GIVEN_FILE,
    checkpoint_document,
    described,
    read_checkpoint,
    read_public_keys,
    read_text,
    say_it_holds,
)
from onrecord.ledger.note import verify
from onrecord.ledger.proof_text import parse_consistency_proof
from onrecord.ledger.receipt import join
from onrecord.wording import Style, counted, narrate


@click.command()
@click.argument("file", type=GIVEN_FILE)
@click.option("--checkpoint", "known", type=GIVEN_FILE, metavar="FILE", help="The older checkpoint, as you kept it.")
@click.option("--key", "keys", multiple=True, metavar="KEY|FILE", help="The newer one must be signed by this key.")
@json_option
def command(file: Path, known: Path | None, keys: tuple[str, ...], as_json: bool) -> None:
    """Check the proof in FILE that one history extends another. Needs no workspace."""
    proof, trusted = parse_consistency_proof(read_text(file)), read_public_keys(keys)
    proof.check()
    if known is not None:
        join(read_checkpoint(known), proof.new, proof)
    signed = [key.name for key in verify(proof.new.as_note(), trusted)] if trusted else []
    if as_json:
        old = {"old_size": proof.old_size, "old_root": proof.old_root.hex()}
        print_json({**old, "new": checkpoint_document(proof.new), "signed_by": signed})
        return
    print(f"{Style(sys.stdout).green('extends')}")
    say_it_holds(
        [("from", f"{counted(proof.old_size, 'event')}, root {proof.old_root.hex()}"), ("to", described(proof.new))]
    )
    if known is None:
        narrate("compare the older root with your checkpoint, or name it: --checkpoint FILE")
