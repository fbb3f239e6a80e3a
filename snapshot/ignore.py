"""Which entries of a source folder belong to a snapshot: git's rules, exactly, and a few defaults below them.

- `.amlignore` at the root takes the place of the root's `.gitignore`; further down `.gitignore` files are
  honoured as git does (the deepest file that says something about a path decides; inside a file the last line).
- As in git, and unlike Azure ML, nothing below an excluded folder can come back: it is never entered. Write
  `data/*` and `!data/keep.txt` instead of `data/` and `!data/keep.txt`.
- The built-in defaults rank below every file, so that `!outputs/` in a user's file brings `outputs/` back.

Source: gitignore(5) and git's dir.c.
"""

from __future__ import annotations

import re

import attrs

from onrecord.snapshot.wildmatch import translate

ROOT_FILE, NESTED_FILE = b".amlignore", b".gitignore"
ALWAYS_OUT = b".onrecord"
VENV_MARK = b"pyvenv.cfg"

DEFAULT_PATTERNS = b"""\
.git
.hg
.svn
__pycache__/
*.pyc
.venv/
venv/
.tox/
.nox/
.conda/
node_modules/
.mypy_cache/
.ruff_cache/
.pytest_cache/
.ipynb_checkpoints/
/outputs/
/logs/
"""


@attrs.frozen
class Rules:
    """What a caller may choose about the rules.

    `defaults`: leave out version control folders, caches, virtual environments and top-level `outputs/` and
    `logs/` unless a line of the user's file says otherwise. `.onrecord` is left out whatever is said here.
    """

    defaults: bool = True


@attrs.frozen
class _Pattern:
    matches: re.Pattern[bytes]
    negated: bool
    folders_only: bool
    by_name: bool


def _parse_line(line: bytes) -> _Pattern | None:
    if line.startswith(b"#"):
        return None
    line = _trim(line.split(b"\0", 1)[0])
    negated = line.startswith(b"!")
    pattern = line[negated:]
    folders_only = pattern.endswith(b"/")
    pattern = pattern[: len(pattern) - folders_only]
    by_name = b"/" not in pattern
    body = translate(pattern[1:] if pattern.startswith(b"/") else pattern)
    if not pattern or body is None:
        return None
    return _Pattern(re.compile(body), negated, folders_only, by_name)


def _trim(line: bytes) -> bytes:
    """Without trailing blanks, unless a backslash protects them."""
    at, first_blank = 0, -1
    while at < len(line):
        if line[at] == b" "[0]:
            first_blank = at if first_blank < 0 else first_blank
        else:
            at += line[at] == b"\\"[0]
            if at >= len(line):
                return line
            first_blank = -1
        at += 1
    return line if first_blank < 0 else line[:first_blank]


class IgnoreFile:
    """The patterns of one ignore file, or of the defaults, anchored at the folder that holds it."""

    def __init__(self, text: bytes, base: bytes = b"") -> None:
        """`base` is that folder's path below the source with a slash at its end; empty for the source."""
        self._base = len(base)
        lines = text.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        parsed = [_parse_line(line.removesuffix(b"\r")) for line in lines]
        patterns = [pattern for pattern in reversed(parsed) if pattern is not None]
        self._patterns = patterns
        self._paths = any(not pattern.by_name for pattern in patterns)
        names = [pattern.matches.pattern for pattern in patterns if pattern.by_name]
        # One test for all patterns on names: most names match none of them.
        self._any_name = re.compile(b"|".join(b"(?:" + name + b")" for name in names)) if names else None

    def verdict(self, path: bytes, name: bytes, is_folder: bool) -> bool | None:
        """True: ignored; False: taken back by a negation; None: this file says nothing about the path."""
        by_name = self._any_name is not None and self._any_name.match(name) is not None
        if not by_name and not self._paths:
            return None
        below = path[self._base :]
        for pattern in self._patterns:
            if pattern.folders_only and not is_folder:
                continue
            if pattern.by_name:
                if by_name and pattern.matches.match(name):
                    return not pattern.negated
            elif pattern.matches.match(below):
                return not pattern.negated
        return None


@attrs.frozen
class Matcher:
    """The rules in force inside one folder: the ignore files from the source down to it, then the defaults."""

    files: tuple[IgnoreFile, ...] = ()
    defaults: IgnoreFile | None = None

    @classmethod
    def start(cls, rules: Rules) -> Matcher:
        """The rules before any ignore file was read."""
        return cls((), IgnoreFile(DEFAULT_PATTERNS) if rules.defaults else None)

    def below(self, text: bytes, base: bytes) -> Matcher:
        """These rules and one more ignore file, found in the folder `base` (with a slash at its end)."""
        return Matcher((IgnoreFile(text, base), *self.files), self.defaults)

    def ignored(self, path: bytes, name: bytes, is_folder: bool) -> bool:
        """Whether an entry is left out; its parent folder is known not to be.

        `path` is relative to the source, without a leading or trailing slash; `name` is its last part. A link
        to a folder is not a folder.
        """
        if name == ALWAYS_OUT:
            return True
        said = self.said(path, name, is_folder)
        if said is None and self.defaults is not None:
            said = self.defaults.verdict(path, name, is_folder)
        return bool(said)

    def said(self, path: bytes, name: bytes, is_folder: bool) -> bool | None:
        """What the user's own files say: True ignored, False taken back, None nothing."""
        for file in self.files:
            verdict = file.verdict(path, name, is_folder)
            if verdict is not None:
                return verdict
        return None
