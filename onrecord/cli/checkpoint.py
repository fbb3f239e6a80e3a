"""`onrecord checkpoint`."""

from __future__ import annotations

from pathlib import Path

import click

from onrecord.cli.common import json_option, open_workspace, print_json
from onrecord.cli.evidence import (
    checkpoint_document,
    described,
    output_option,
    read_private_key,
    signing_options,
    write_evidence,
)
from onrecord.ledger.checkpoint import Checkpoint, parse_checkpoint
from onrecord.wording import narrate


@click.command()
@output_option
@signing_options
@click.option("--git", "in_git", is_flag=True, help="Keep it in the git repository too: refs/onrecord/checkpoints.")
@click.option("--accept", is_flag=True, help="Go on from this ledger, also where it was restored from a backup.")
@json_option
def command(
    output: Path | None, key_file: Path | None, ssh_key: Path | None, in_git: bool, accept: bool, as_json: bool
) -> None:
    """Print the checkpoint of the whole history: its name, its size and its root, as a C2SP note.

    Who keeps it can tell later whether the history was changed behind it: onrecord verify --since FILE.
    """
    checkpoint = _checkpoint(accept)
    if key_file is not None:
        from onrecord.ledger.note import format_note, sign

        checkpoint = parse_checkpoint(format_note(sign(checkpoint.as_note(), read_private_key(key_file))))
    document = checkpoint_document(checkpoint)
    if in_git:
        from onrecord.git_anchor import REF, keep_in_git

        document["commit"] = keep_in_git(open_workspace().path, checkpoint)
        narrate(f"kept in {REF} as {document['commit'][:12]}")
    if output is not None or not as_json:
        write_evidence(str(checkpoint), output, ssh_key)
    if as_json:
        print_json({**document, "note": str(checkpoint)})


def _checkpoint(accept: bool) -> Checkpoint:
    """The ledger's checkpoint, kept as the last one. Raises HistoryChanged unless it is accepted as it is."""
    from onrecord import anchors
    from onrecord.ledger.history import History

    workspace = open_workspace()
    checkpoint = History(workspace.journal).checkpoint()
    if accept:
        if not anchors.keep(workspace, checkpoint, go_back=True):
            raise anchors.NotKept.in_state_directory()
        narrate(f"from now on this history is expected: {described(checkpoint)}")
        return checkpoint
    problem = anchors.move_on(workspace)
    if problem:
        raise anchors.HistoryChanged.of(workspace, problem)
    return checkpoint
