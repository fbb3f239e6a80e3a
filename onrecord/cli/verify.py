"""`onrecord verify`."""

from __future__ import annotations

import sys

import click

from onrecord.cli import exit_codes
from onrecord.cli.common import json_option, open_workspace, print_json
from onrecord.cli.text import Style, narrate, printable


@click.command()
@json_option
def command(as_json: bool) -> int:
    """Compute every hash again, replay every state, read every object; exit code 1 where something is wrong."""
    from onrecord.verification import verify

    result = verify(open_workspace())
    if as_json:
        print_json(
            {
                "ok": not result.findings,
                "events": result.events,
                "runs": result.runs,
                "objects": len(result.objects),
                "erased": result.erased,
                "root": result.root,
                "findings": [{"where": finding.where, "problem": finding.problem} for finding in result.findings],
            }
        )
        return exit_codes.PROBLEM if result.findings else exit_codes.OK
    style = Style(sys.stdout)
    for finding in result.findings:
        print(f"{style.red('wrong')}  {printable(finding.where)}: {printable(finding.problem)}")
    if result.findings:
        narrate(f"{len(result.findings)} findings in {result.events} events of {result.runs} runs")
        return exit_codes.PROBLEM
    print(
        f"{style.green('intact')}  {result.events} events of {result.runs} runs, {len(result.objects)} objects;"
        f" root {result.root}"
    )
    return exit_codes.OK
