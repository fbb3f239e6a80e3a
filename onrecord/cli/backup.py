"""`onrecord backup`."""

from __future__ import annotations

from pathlib import Path

import click

from onrecord.cli import exit_codes
from onrecord.cli.common import json_option, open_workspace, print_json
from onrecord.wording import counted, narrate, printable


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def command(file: Path, as_json: bool) -> int:
    """Copy the ledger, as it is now, to the new FILE and verify the copy; runs may go on meanwhile.

    In it is all that the history says: runs, states, tags, metrics, hashes. The contents of sources and outputs
    are not: they are the files in .onrecord/objects, which never change and can be copied with any tool. To go
    back to a copy, put it in the place of .onrecord/ledger.db and remove the -wal and -shm files beside that.
    """
    from onrecord.ledger.audit import audit
    from onrecord.ledger.journal import Journal

    journal = open_workspace().journal
    journal.copy_to(file)
    with Journal(file, read_only=True) as copied:
        result = audit(copied)
    if as_json:
        findings = [{"where": finding.where, "problem": finding.problem} for finding in result.findings]
        document = {"file": str(file.absolute()), "events": result.events, "runs": result.runs, "root": result.root}
        print_json({"ok": not findings, **document, "findings": findings})
    else:
        for finding in result.findings:
            print(f"wrong  {printable(finding.where)}: {printable(finding.problem)}")
        events = f"{counted(result.events, 'event')} of {counted(result.runs, 'run')}"
        narrate(f"{events} in {printable(str(file))}; root {result.root}")
    return exit_codes.PROBLEM if result.findings else exit_codes.OK
