"""`onrecord verify`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onrecord.anchors import NotKept
from onrecord.cli import exit_codes
from onrecord.cli.common import json_option, open_workspace, print_json
from onrecord.cli.progress import progress_of
from onrecord.wording import Style, counted, narrate, printable

if TYPE_CHECKING:
    from onrecord.verification import Verification


@click.command()
@click.option(
    "--since",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    metavar="CHECKPOINT",
    help="Prove that the history extends the checkpoint in this file; repeatable.",
)
@json_option
def command(since: tuple[Path, ...], as_json: bool) -> int:
    """Compute every hash again, replay every state, read every object; exit code 1 where something is wrong.

    The history must also go on from the last checkpoint in the user's state directory, and from the one in the
    git repository where there is one.
    """
    from onrecord.cli.evidence import read_checkpoint
    from onrecord.verification import verify

    kept = {f"the checkpoint in {path}": read_checkpoint(path) for path in since}
    workspace = open_workspace()
    with progress_of("verifying", "object") as progress:
        result = verify(workspace, kept, progress=progress)
    if as_json:
        print_json(_document(result))
    else:
        _print(result)
    return exit_codes.PROBLEM if result.findings else exit_codes.OK


def _document(result: Verification) -> dict[str, Any]:
    from onrecord.cli.evidence import checkpoint_document

    audit = result.audit
    return {
        "ok": not audit.findings,
        "events": audit.events,
        "runs": audit.runs,
        "objects": len(result.objects),
        "erased": audit.erased,
        "root": audit.root,
        "origin": result.checkpoint.origin if result.checkpoint else None,
        "compared": [{"what": what, **checkpoint_document(old)} for what, old in result.compared.items()],
        "findings": [{"where": finding.where, "problem": finding.problem} for finding in audit.findings],
    }


def _print(result: Verification) -> None:
    from onrecord.verification import GIT, STATE

    style, audit = Style(sys.stdout), result.audit
    events = f"{counted(audit.events, 'event')} of {counted(audit.runs, 'run')}"
    for finding in audit.findings:
        print(f"{style.red('wrong')}  {printable(finding.where)}: {printable(finding.problem)}")
    if audit.findings:
        narrate(f"{counted(len(audit.findings), 'finding')} in {events}")
        changed = {finding.where for finding in audit.findings} & {STATE, GIT, *result.compared}
        if changed:
            narrate("if you restored or replaced this workspace yourself: onrecord checkpoint --accept")
        return
    print(f"{style.green('intact')}  {events}, {counted(len(result.objects), 'object')}; root {audit.root}")
    if not result.kept:
        narrate(printable(f"its checkpoint could not be kept: {NotKept.in_state_directory().why}"))
    for what, old in result.compared.items():
        print(f"{style.green('extends')}  {printable(what)}: {counted(old.size, 'event')}")
