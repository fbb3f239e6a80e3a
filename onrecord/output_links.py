"""Symbolic links in the folders of a run that go into the history: what became of them, so that nobody is surprised."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_NAMED = 3
_MOST = 10_000


def link_warnings(work: Path, folders: Iterable[str]) -> list[str]:
    """A sentence on links that lead to files, and one on those that lead nowhere or to folders; empty without links."""
    followed, dropped = list[str](), list[str]()
    for name in _links(work, folders):
        (followed if (work / name).is_file() else dropped).append(name)
    warnings = []
    if followed:
        is_one = len(followed) == 1
        warnings.append(
            f"{'a link was' if is_one else 'links were'} kept as the file that {'it leads' if is_one else 'they lead'}"
            f" to: {_listed(followed)}"
        )
    if dropped:
        is_one = len(dropped) == 1
        warnings.append(
            f"not in the history, because {'it is a link' if is_one else 'they are links'} to a folder or to nothing:"
            f" {_listed(dropped)}"
        )
    return warnings


def _listed(names: list[str]) -> str:
    names.sort()
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _links(work: Path, folders: Iterable[str]) -> Iterator[str]:
    """At most 10,000 names; costs no `stat` of a file."""
    waiting, count, done = list(folders), 0, set[str]()
    while waiting and count < _MOST:
        folder = waiting.pop()
        if folder in done:
            continue
        done.add(folder)
        try:
            entries = list(os.scandir(work / folder))
        except OSError:
            continue
        for entry in entries:
            if entry.is_symlink():
                count += 1
                yield f"{folder}/{entry.name}"
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(f"{folder}/{entry.name}")
