"""Checkpoints in the project's own git repository: commits behind the ref `refs/onrecord/checkpoints`.

Made by plumbing alone: the work tree, the index, HEAD and the branches stay as they are. Each commit has one file
for each workspace, named by where that lies in the repository, so that another ledger in its place is noticed; the
history of the ref is the history of checkpoints. `git push REMOTE refs/onrecord/checkpoints` takes it to others.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import quote

from onrecord.errors import OnRecordError
from onrecord.ledger.checkpoint import Checkpoint, parse_checkpoint

REF = "refs/onrecord/checkpoints"
_TIMEOUT_SECONDS = 60
# A repository's own configuration must not be able to run programs here.
_SAFE = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_NOBODY = ("-c", "user.name=onrecord", "-c", "user.email=onrecord@localhost")
_ENTRY = re.compile(r"100644 blob ([0-9a-f]+)\t(workspace\S*)")


class GitAnchorFailed(OnRecordError):
    """git did not do what was asked. Attribute: `folder`."""


def kept_in_git(folder: Path) -> Checkpoint | None:
    """The last checkpoint of the workspace in `folder`, in the repository that holds it; None where there is none.

    Raises BadEvidence where the ref holds something else.
    """
    try:
        return parse_checkpoint(_git(folder, "cat-file", "blob", f"{REF}:{_name(folder)}"))
    except GitAnchorFailed:
        return None


def keep_in_git(folder: Path, checkpoint: Checkpoint) -> str:
    """Commit a checkpoint of the workspace in `folder`; returns the commit's id. Raises GitAnchorFailed."""
    before = _try(folder, "rev-parse", "--verify", "--quiet", f"{REF}^{{commit}}")
    entries = dict[str, str]()
    if before:
        for line in _git(folder, "ls-tree", "--full-tree", before).splitlines():
            if found := _ENTRY.fullmatch(line):
                entries[found[2]] = found[1]
    blob = _git(folder, "hash-object", "-w", "--stdin", "--no-filters", given=str(checkpoint)).strip()
    entries[_name(folder)] = blob
    listing = "".join(f"100644 blob {entries[name]}\t{name}\n" for name in sorted(entries))
    tree = _git(folder, "mktree", given=listing).strip()
    message = f"onrecord checkpoint: {checkpoint.size} events\n\n{checkpoint}"
    known = _try(folder, "config", "user.email") or os.environ.get("GIT_COMMITTER_EMAIL")
    parents = ("-p", before) if before else ()
    commit = _git(folder, *(() if known else _NOBODY), "commit-tree", tree, *parents, given=message).strip()
    # The third argument: another process that was quicker is noticed, not undone.
    _git(folder, "update-ref", "--no-deref", "-m", "onrecord checkpoint", REF, commit, before or "0" * len(commit))
    return commit


def _name(folder: Path) -> str:
    """The file's name: `workspace` for one at the top of the repository, `workspace:a%2Fb` for one in a/b."""
    inside = quote(_git(folder, "rev-parse", "--show-prefix").strip("\n").rstrip("/"), safe="")
    return f"workspace:{inside}" if inside else "workspace"


def _try(folder: Path, *words: str) -> str:
    try:
        return _git(folder, *words).strip()
    except GitAnchorFailed:
        return ""


def _git(folder: Path, *words: str, given: str = "") -> str:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *_SAFE, *words],
            input=given.encode(),
            env=environment,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise _failed(folder, str(problem)) from problem
    if done.returncode:
        raise _failed(folder, done.stderr.decode("utf-8", "replace").strip())
    return done.stdout.decode("utf-8", "replace")


def _failed(folder: Path, why: str) -> GitAnchorFailed:
    return GitAnchorFailed(
        f"the checkpoint could not be kept in the git repository of {folder}",
        why=why or "git gave no reason",
        next_step=f"git -C {folder} status   (or keep it elsewhere: onrecord checkpoint -o FILE)",
        folder=folder,
    )
