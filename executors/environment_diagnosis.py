"""From what an installer printed to what was missing, and what to do about it."""

from __future__ import annotations

import re
from typing import NamedTuple

_NETWORK = re.compile(
    r"error sending request|failed to fetch|connection (?:refused|broken|reset|error)|dns error|name resolution"
    r"|network is unreachable|timed out|could not connect|connect error|temporary failure|certificate verify",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"(?:Failed to fetch:? `?|for url \()(\S+?)[`)]*$|connection broken by .*: (/\S+)$", re.MULTILINE)
_NOT_FOUND = re.compile(
    r"No matching distribution found for (\S+)|Because (\S+) was not found"
    r"|there (?:is|are) no versions? of (\S+?)(?: and|,|$)|No candidates were found for (\S+)"
)
_ERROR = re.compile(r"^\s*(?:\xd7|error:|ERROR:|cause:|Caused by:|├─▶|╰─▶)\s*", re.MULTILINE | re.IGNORECASE)
_LONGEST = 600
WHEELS = "or name a folder of wheels: the lines --no-index and --find-links FOLDER (pip download -d FOLDER fills one)"


class Diagnosis(NamedTuple):
    """Why a step failed, and what to type next, where that can be told."""

    why: str
    next_step: str


def diagnosed(log: str) -> Diagnosis:
    """The reason in the end of a log: no network, a package that is not there, or the last error as it is."""
    missing = dict.fromkeys(next(part for part in found if part) for found in _NOT_FOUND.findall(log))
    names = ", ".join(missing)
    if _NETWORK.search(log):
        addresses = dict.fromkeys(first or second for first, second in _ADDRESS.findall(log))
        packages = names or ", ".join(dict.fromkeys(address.rstrip("/").rpartition("/")[2] for address in addresses))
        reached = next((address for address in addresses if "://" in address), "")
        where = f"the index cannot be reached ({reached})" if reached else "the index cannot be reached"
        return Diagnosis(
            f"{where}; could not be had: {packages or 'a package'}", f"repeat it when there is a network, {WHEELS}"
        )
    if names:
        return Diagnosis(
            f"not found: {names}. {_last_error(log)}"[:_LONGEST], f"check the name and the version, {WHEELS}"
        )
    return Diagnosis(_last_error(log), "")


def _last_error(log: str) -> str:
    """The last error with what the installer says to it, on one line."""
    lines = [line.rstrip() for line in log.splitlines() if line.strip() and not line.startswith("onrecord: ")]
    starts = [place for place, line in enumerate(lines) if re.match(r"\s*(?:\xd7|error\b)", line, re.IGNORECASE)]
    said = lines[starts[-1] :] if starts else lines[-1:]
    return " ".join(_ERROR.sub("", line).strip() for line in said)[:_LONGEST]
