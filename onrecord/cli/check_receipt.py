"""`onrecord check-receipt`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

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
    signer_of,
    trust_options,
)
from onrecord.documents import iso
from onrecord.ledger.proof_text import parse_consistency_proof
from onrecord.ledger.receipt import Confirmed, check
from onrecord.wording import Style, counted, local_time, narrate


@click.command()
@click.argument("file", type=GIVEN_FILE)
@trust_options
@click.option(
    "--checkpoint", "known", type=GIVEN_FILE, metavar="FILE", help="A checkpoint that you kept, to compare with."
)
@click.option(
    "--proof", type=GIVEN_FILE, metavar="FILE", help="What onrecord prove wrote, between that one and this one."
)
@json_option
def command(
    file: Path,
    keys: tuple[str, ...],
    allowed_signers: Path | None,
    known: Path | None,
    proof: Path | None,
    as_json: bool,
) -> None:
    """Check the receipt of a run in FILE and print what it confirms. Needs no workspace."""
    principal = signer_of(file, allowed_signers)
    confirmed = check(
        read_text(file),
        keys=read_public_keys(keys),
        checkpoint=read_checkpoint(known) if known else None,
        proof=parse_consistency_proof(read_text(proof)) if proof else None,
    )
    if as_json:
        print_json(_document(confirmed, principal))
        return
    print(f"{Style(sys.stdout).green('confirmed')}")
    say_it_holds(_facts(confirmed, principal))
    if not (confirmed.keys or principal or known):
        narrate("nothing vouches for its checkpoint: compare that with one that you kept, or name a --key")


def _document(confirmed: Confirmed, principal: str | None) -> dict[str, Any]:
    run = confirmed.run
    return {
        "run_id": run.run_id,
        "experiment": run.experiment,
        "name": run.name,
        "status": run.status,
        "exit_code": run.exit_code,
        "signal": run.signal,
        "error": json.loads(run.error) if run.error else None,
        "snapshot_id": run.snapshot_id,
        "created_at": iso(run.created_at),
        "started_at": iso(run.started_at),
        "ended_at": iso(run.ended_at),
        "events": confirmed.events,
        "run_root": confirmed.run_root.hex(),
        "full": confirmed.full,
        "erased": confirmed.erased,
        "checkpoint": checkpoint_document(confirmed.checkpoint),
        "signed_by": [key.name for key in confirmed.keys],
        "ssh_signed_by": principal,
        "joined_to": checkpoint_document(confirmed.known) if confirmed.known else None,
    }


def _facts(confirmed: Confirmed, principal: str | None) -> list[tuple[str, str]]:
    run = confirmed.run
    unknown = "no exit code" if not confirmed.erased else "exit code not known"
    ended = f"exit code {run.exit_code}" if run.exit_code is not None else unknown
    facts = [
        ("run", run.run_id),
        ("experiment", run.experiment or "not known"),
        ("status", f"{run.status}, {ended}"),
        ("snapshot", run.snapshot_id or "-"),
        ("submitted", local_time(run.created_at)),
        ("ended", local_time(run.ended_at)),
        ("events", f"{confirmed.events}, root {confirmed.run_root.hex()}"),
        ("in", described(confirmed.checkpoint)),
    ]
    if confirmed.erased:
        erased = counted(confirmed.erased, "event")
        facts.append(("erased", f"{erased} shown without content, which is not confirmed"))
    signers = [*(key.name for key in confirmed.keys), *([principal] if principal else [])]
    if signers:
        facts.append(("signed by", ", ".join(signers)))
    if confirmed.known:
        facts.append(("joined to", described(confirmed.known)))
    return facts
