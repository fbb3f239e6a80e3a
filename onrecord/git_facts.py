"""What git knows about a source folder: where it comes from, which commit, and what differs from it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import attrs

PREFIX = "onrecord.git."
# Names that users of Azure ML ask for; readable, never stored.
ALIASES = {
    "onrecord.git.repository_uri": ("azureml.git.repository_uri", "mlflow.source.git.repoURL"),
    "onrecord.git.branch": ("azureml.git.branch", "mlflow.source.git.branch"),
    "onrecord.git.commit": ("azureml.git.commit", "mlflow.source.git.commit"),
    "onrecord.git.dirty": ("azureml.git.dirty",),
}
# A repository's own configuration must not be able to run programs or wait for locks here.
_SAFE = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "diff.external="]
_ENVIRONMENT = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "GIT_EXTERNAL_DIFF": ""}
_TIMEOUT_SECONDS = 60


@attrs.frozen
class GitFacts:
    """`properties` by their `onrecord.git.*` names; `patch`: what `git apply` needs to make the dirty tree again."""

    properties: dict[str, str] = attrs.field(factory=dict)
    patch: bytes = b""


def read_git_facts(source: Path) -> GitFacts:
    """The facts of the repository that holds `source`; empty when there is none, or no git.

    `dirty` and the patch look at `source` alone; files that git does not track count as dirty and are
    part of the snapshot, not of the patch.
    """
    if not _in_repository(source):
        return GitFacts()
    try:
        # GitPython raises ImportError where there is no git to run.
        from git import Git
        from git.exc import CommandError
    except ImportError:
        return GitFacts()
    git = _Reader(Git(source), CommandError)
    commit = git.ask("rev-parse", "--verify", "HEAD")
    status = git.ask("status", "--porcelain", "--untracked-files=normal", "--", ".")
    facts = {
        "repository_uri": without_credentials(git.ask("ls-remote", "--get-url")),
        "branch": git.ask("symbolic-ref", "--short", "--quiet", "HEAD"),
        "commit": commit,
        "dirty": "" if status is None else str(bool(status)),
    }
    # Without a remote, git repeats the name `origin` in place of an address.
    if facts["repository_uri"] == "origin":
        facts["repository_uri"] = ""
    patch = git.patch() if commit and status else b""
    return GitFacts({PREFIX + name: value for name, value in facts.items() if value}, patch)


def with_aliases(properties: dict[str, str]) -> dict[str, str]:
    """`properties` with the names that Azure ML and MLflow give to the same facts."""
    known = dict(properties)
    for name, aliases in ALIASES.items():
        if name in properties:
            for alias in aliases:
                known.setdefault(alias, properties[name])
    return known


def without_credentials(address: str | None) -> str:
    """A repository's address without user names, passwords, tokens and queries that may hold them.

    >>> without_credentials("https://me:secret@example.org/a.git?token=1")
    'https://example.org/a.git'
    >>> without_credentials("git@example.org:team/a.git")
    'git@example.org:team/a.git'
    """
    address = re.sub(r"^([a-zA-Z][a-zA-Z0-9+.-]*://)[^/]*@", r"\1", address or "")
    address = re.sub(r"^((?:https?|ftps?)://[^?#]*)[?#].*$", r"\1", address)
    # scp-like addresses: `git@host:` names no secret, `user:secret@host:` does.
    return re.sub(r"^[^/@:]+:[^/@]*@", "", address)


def _in_repository(source: Path) -> bool:
    return bool(os.environ.get("GIT_DIR")) or any((folder / ".git").exists() for folder in (source, *source.parents))


class _Reader:
    def __init__(self, git: Any, failure: type[Exception]) -> None:
        self._git = git
        self._failure = failure

    def ask(self, *words: str) -> str | None:
        """The answer without its newline, or None when git refuses."""
        answer = self._run(*words)
        return None if answer is None else answer.decode("utf-8", "surrogateescape").rstrip("\n")

    def patch(self) -> bytes:
        # Paths from the top of the repository: `git apply` takes them as such wherever it is called, and passes
        # over others without a word. The rest undoes settings that give patches it cannot read.
        form = ("--binary", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--submodule=short")
        prefixes = ("--src-prefix=a/", "--dst-prefix=b/")
        return self._run("diff", *form, *prefixes, "HEAD", "--", ".") or b""

    def _run(self, *words: str) -> bytes | None:
        try:
            answer: bytes = self._git.execute(
                ["git", *_SAFE, *words],
                env=_ENVIRONMENT,
                stdout_as_string=False,
                strip_newline_in_stdout=False,
                kill_after_timeout=_TIMEOUT_SECONDS,
            )
        except (self._failure, OSError):
            return None
        return answer
