"""`onrecord prove`."""

from __future__ import annotations

from pathlib import Path

import click

from onrecord.cli.common import json_option, open_workspace, print_json
from onrecord.cli.evidence import GIVEN_FILE, checkpoint_document, output_option, read_checkpoint, write_evidence


@click.command()
@click.argument("old", type=GIVEN_FILE)
@click.argument("new", type=GIVEN_FILE, required=False)
@output_option
@json_option
def command(old: Path, new: Path | None, output: Path | None, as_json: bool) -> None:
    """Print the proof that the history of checkpoint NEW (default: all there is) extends that of checkpoint OLD.

    Its holder checks it without this workspace: onrecord check-proof FILE.
    """
    from onrecord.ledger.history import History

    history = History(open_workspace().journal)
    newer = read_checkpoint(new) if new else history.checkpoint()
    proof = history.consistency(read_checkpoint(old), newer)
    if output is not None or not as_json:
        write_evidence(str(proof), output)
    if as_json:
        document = {"old_size": proof.old_size, "old_root": proof.old_root.hex()}
        print_json({**document, "new": checkpoint_document(newer), "proof": str(proof)})
