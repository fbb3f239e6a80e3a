"""Why a script did not find a file that its author has: it was left out of the snapshot, or lies outside the source."""

from __future__ import annotations

import os
import re
from pathlib import Path

_NOT_FOUND = re.compile(r"No such file or directory:? (?:b?')?([^'\n]+?)'?\s*$", re.M)


def missing_file_hint(last_words: str, work: Path, source: Path) -> str | None:
    """A sentence that explains the last "No such file" of a failed script, or None where it cannot be explained.

    >>> missing_file_hint("ValueError: 3", Path("/w"), Path("/s")) is None
    True
    """
    found = _NOT_FOUND.findall(last_words)
    if not found:
        return None
    missing = Path(os.path.normpath(work / found[-1]))
    inside = os.path.relpath(missing, work)
    original = Path(os.path.normpath(source / inside))
    if missing.exists() or not original.exists():
        return None
    if inside.startswith(".."):
        return (
            f"{original} exists, but lies outside the source folder {source}, of which alone the run has a copy;"
            f" submit from a folder that holds both (onrecord run --source {os.path.commonpath([original, source])} …)"
        )
    return (
        f"{original} exists, but was left out of the snapshot by .gitignore, .amlignore or the built-in rules;"
        " an .amlignore that keeps it takes the place of .gitignore (for one file: the line"
        f" !{inside})"
    )
