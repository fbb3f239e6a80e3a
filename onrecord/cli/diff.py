"""`onrecord diff`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from onrecord.cli import exit_codes
from onrecord.cli.common import complete_run, json_option, open_workspace, print_json

if TYPE_CHECKING:
    from onrecord.comparison import Compared, Comparison
    from onrecord.snapshot.diff import Change
    from onrecord.snapshot.manifest import Entry


@click.command()
@click.argument("before", metavar="RUN", shell_complete=complete_run)
@click.argument("after", metavar="[OTHER]", required=False, shell_complete=complete_run)
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("-p", "--text", is_flag=True, help="Show the lines that differ, as a patch in git's format.")
@click.option("--binary", is_flag=True, help="The same with files that are no text, so that git apply takes them too.")
@click.option("--source", "source_only", is_flag=True, help="Compare the files only, not how they were run.")
@json_option
def command(
    before: str,
    after: str | None,
    paths: tuple[str, ...],
    text: bool,
    binary: bool,
    source_only: bool,
    as_json: bool,
) -> int:
    """Show what differs from RUN to OTHER: files, parameters, settings, git commit, packages.

    Each is a run, the id of a snapshot, or a folder as it is now: ./ or any name with a slash. Without OTHER, a run
    is compared with the folder that it was started from. PATHs narrow it to these files and folders. Exit code 0:
    nothing differs, 1: something does, 2: it could not be compared.
    """
    from onrecord.comparison import compare

    found = compare(open_workspace(), before, after, paths=paths, source_only=source_only)
    text = text or binary
    if as_json:
        print_json(_document(found, text, binary))
    else:
        from onrecord.cli.diff_text import print_comparison, print_patch

        print_comparison(found, sys.stdout, files=not text)
        if text:
            print_patch(found, sys.stdout, binary=binary)
    return exit_codes.OK if found.equal else exit_codes.DIFFERENT


def _document(found: Comparison, text: bool, binary: bool) -> dict[str, Any]:
    document = {
        "equal": found.equal,
        "before": _side_document(found.before),
        "after": _side_document(found.after),
        "facts": [fact._asdict() for fact in found.facts],
        "files": [_change_document(change) for change in found.files],
    }
    if text:
        lines = [line.text.decode("utf-8", "surrogateescape") for line in found.patch(binary=binary)]
        document["patch"] = "".join(line + "\n" for line in lines)
    return document


def _side_document(compared: Compared) -> dict[str, Any]:
    root = compared.side.root
    return {
        "run_id": compared.run.id if compared.run is not None else None,
        "snapshot_id": compared.snapshot_id,
        "folder": str(compared.folder) if compared.folder is not None else None,
        "files": root.files,
        "bytes": root.size,
    }


def _change_document(change: Change) -> dict[str, Any]:
    return {
        "path": os.fsdecode(change.path),
        "change": change.kind,
        "differs": list(change.aspects),
        "files": change.files,
        "before": _entry_document(change.before),
        "after": _entry_document(change.after),
    }


def _entry_document(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {
        "path": os.fsdecode(entry.path),
        "type": entry.kind,
        "executable": entry.executable,
        "size": entry.size,
        "digest": entry.digest or None,
        "target": os.fsdecode(entry.target) if entry.kind == "link" else None,
    }
