"""What git says about which paths are ignored, and trees and patterns made at random to ask it about."""

# Paths are bytes here, which pathlib cannot hold.
# ruff: noqa: PTH102, PTH112, PTH113, PTH114, PTH118, PTH211
from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

from onrecord.snapshot.ignore import Matcher, Rules

NAMES = ["a", "b", "ab", "abc", "a.b", "x.pyc", "a b", "[a]", "a-b", "A", "-", "!a", "#a", "a\\", "*", "é", "a ", "]"]
PIECES = [
    "a",
    "b",
    "c",
    "ab",
    "*",
    "**",
    "?",
    "[ab]",
    "[!a]",
    "[^b]",
    "[a-c]",
    "[z-a]",
    "[[:alpha:]]",
    "[",
    "[]a]",
    ".b",
    "[[:foo:]]",
    "[a",
    "\\a",
    "\\*",
    "\\",
    "\\ ",
    " ",
    "[\\]]",
    "[a-]",
    "[-a]",
    "x",
    ".pyc",
    "é",
    "-",
    "A",
    "[[:upper:]a]",
    "[!]",
    "[a-\\c]",
    "\\\\",
    "#",
    "!",
    "[[:",
    "[*]",
    "\t",
    "]",
    "[/]",
    "[[]",
    "[^]a]",
]


def environment() -> dict[str, str]:
    return {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nonexistent", "GIT_OPTIONAL_LOCKS": "0"}


def make_repository(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "init", "-q", str(root)], check=True, env=environment())


def git_ignored(root: Path, paths: list[bytes]) -> set[bytes]:
    """The paths below `root` that `git check-ignore` reports."""
    command = ["git", "-c", "core.excludesFile=/dev/null", "check-ignore", "--no-index", "-z", "--stdin"]
    done = subprocess.run(
        command,
        check=False,
        cwd=root,
        input=b"".join(path + b"\0" for path in paths),
        capture_output=True,
        env=environment(),
    )
    assert done.returncode in (0, 1), done.stderr
    return set(done.stdout.split(b"\0")) - {b""}


def our_ignored(root: Path, paths: list[bytes]) -> set[bytes]:
    """The same by our matcher, asked as a walk asks: a parent before what it holds."""
    out: set[bytes] = set()
    matchers: dict[bytes, Matcher] = {b"": _with_file(Matcher.start(Rules(defaults=False)), root, b"")}
    for path in sorted(paths, key=lambda p: p.count(b"/")):
        parent, _, name = path.rpartition(b"/")
        full = os.path.join(os.fsencode(root), path)
        folder = os.path.isdir(full) and not os.path.islink(full)
        if parent in out or matchers[parent].ignored(path, name, folder):
            out.add(path)
        elif folder:
            matchers[path] = _with_file(matchers[parent], root, path)
    return out


def _with_file(matcher: Matcher, root: Path, folder: bytes) -> Matcher:
    file = os.path.join(os.fsencode(root), folder, b".gitignore")
    if not os.path.isfile(file) or os.path.islink(file):
        return matcher
    return matcher.below(Path(os.fsdecode(file)).read_bytes(), folder + b"/" if folder else b"")


def random_line(chance: random.Random) -> str:
    if chance.random() < 0.3:
        line = chance.choice(NAMES)
    else:
        line = "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 4)))
    if chance.random() < 0.45:
        line = "/".join(
            [
                line,
                *(
                    "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 2)))
                    for _ in range(chance.randint(1, 2))
                ),
            ]
        )
    return (
        chance.choice(["", "", "", "!", "/", "!/", "**/"])
        + line
        + chance.choice(["", "", "", "/", "/**", "/*", " ", "  ", "\\ ", "\r"])
    )


def random_lines(chance: random.Random) -> bytes:
    lines = [random_line(chance) for _ in range(chance.randint(1, 6))]
    if chance.random() < 0.1:
        lines[0] = "\ufeff" + lines[0]
    return "\n".join(lines).encode() + chance.choice([b"", b"\n"])


def random_tree(chance: random.Random, root: Path) -> list[bytes]:
    """Make folders, files and links below `root` with ignore files among them; returns every path made."""
    folders, paths = [b""], []
    base = os.fsencode(root)
    for _ in range(chance.randint(4, 22)):
        parent = chance.choice(folders)
        name = chance.choice(NAMES).encode()
        path = parent + b"/" + name if parent else name
        full = os.path.join(base, path)
        if os.path.lexists(full) or path.count(b"/") > 4:
            continue
        kind = chance.random()
        if kind < 0.5:
            os.mkdir(full)
            folders.append(path)
        elif kind < 0.57:
            os.symlink(chance.choice(["a", ".", "nowhere"]), full)
        else:
            Path(os.fsdecode(full)).touch()
        paths.append(path)
    for folder in folders:
        if not folder or chance.random() < 0.25:
            Path(os.fsdecode(os.path.join(base, folder, b".gitignore"))).write_bytes(random_lines(chance))
    return paths
