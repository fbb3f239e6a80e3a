"""`onrecord receipt`."""

from __future__ import annotations

from pathlib import Path

import click

from onrecord.cli.common import json_option, open_run, print_json, run_argument
from onrecord.cli.evidence import (
    checkpoint_document,
    output_option,
    read_private_key,
    signing_options,
    write_evidence,
)
from onrecord.ledger.checkpoint import parse_checkpoint


@click.command()
@run_argument
@output_option
@signing_options
@click.option("--full", is_flag=True, help="With every event of the run, not only those that moved its state.")
@json_option
def command(
    run: str, output: Path | None, key_file: Path | None, ssh_key: Path | None, full: bool, as_json: bool
) -> None:
    """Print the receipt of a run that has ended: what was run and how it ended, with the proof that it is on record.

    Its holder checks it without this workspace: onrecord check-receipt FILE.
    """
    from onrecord import anchors
    from onrecord.ledger.history import History

    found = open_run(run)
    history = History(found.workspace.journal)
    problem = anchors.move_on(found.workspace)
    if problem:
        raise anchors.HistoryChanged.of(found.workspace, problem)
    checkpoint = history.checkpoint()
    if key_file is not None:
        from onrecord.ledger.note import format_note, sign

        checkpoint = parse_checkpoint(format_note(sign(checkpoint.as_note(), read_private_key(key_file))))
    receipt = str(history.receipt(found.id, checkpoint, full=full))
    if output is not None or not as_json:
        write_evidence(receipt, output, ssh_key)
    if as_json:
        print_json({"run_id": found.id, "checkpoint": checkpoint_document(checkpoint), "receipt": receipt})
