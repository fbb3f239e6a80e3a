# ruff: noqa: E501
from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

import pytest
from git_oracle import git_ignored, make_repository, our_ignored, random_tree
from hypothesis import given, settings
from hypothesis import strategies as st
from snapshot_trees import plant

from onrecord.snapshot.ignore import IgnoreFile, Matcher, Rules
from onrecord.snapshot.manifest import walk_snapshot
from onrecord.snapshot.take import take_snapshot

# Up to 2.39.5 git takes `a**/b` for `a` followed by `**/b`, against its manual and newer releases.
OLD_GIT_DIFFERS = re.compile(rb"[^/*\n]\*\*+(/|\\/)")

# lines of the ignore file, path (a slash at its end: a folder), whether it is ignored
CASES = [
    ("a", "a", True), ("a", "b", False), ("a", "d/a", True), ("a", "a/", True), ("a", "ab", False),
    ("/a", "a", True), ("/a", "d/a", False), ("a/", "a", False), ("a/", "a/", True), ("a/", "d/a/", True),
    ("d/a", "d/a", True), ("d/a", "x/d/a", False), ("/d/a", "d/a", True), ("d/a/", "d/a", False), ("d/a/", "d/a/", True),
    ("*.o", "x.o", True), ("*.o", "d/x.o", True), ("*.o", "x.oo", False), ("/*.o", "x.o", True), ("/*.o", "d/x.o", False),
    ("d/*.o", "d/x.o", True), ("d/*.o", "d/e/x.o", False), ("*", "anything", True), ("*a*b", "xaxb", True), ("*a*b", "xaxbx", False),
    ("?", "a", True), ("?", "ab", False), ("d?a", "d/a", False), ("d/?", "d/a", True), ("**", "d/a", True),
    ("**/a", "a", True), ("**/a", "x/y/a", True), ("**/x/a", "y/x/a", True), ("a/**", "a/", False), ("a/**", "a/b", True),
    ("a/**", "a/b/c", True), ("a/**/b", "a/b", True), ("a/**/b", "a/x/b", True), ("a/**/b", "a/x/y/b", True), ("a/**/b", "ab", False),
    ("a**/b", "ax/b", True), ("a**/b", "ax/y/b", False), ("a/b**", "a/bc", True), ("a**b", "axb", True), ("***/a", "x/a", True),
    ("[ab]", "a", True), ("[ab]", "c", False), ("[!ab]", "c", True), ("[!ab]", "a", False), ("[^ab]", "c", True),
    ("[a-c]", "b", True), ("[z-a]", "z", True), ("[z-a]", "m", False), ("[]]", "]", True), ("[!]]", "]", False),
    ("[]-]", "-", True), ("[a-]", "-", True), ("[--0]", "0", True), ("[", "[", False), ("a[", "a[", False),
    ("[[:alpha:]]", "q", True), ("[[:alpha:]]", "1", False), ("[[:foo:]]", "f", False), ("[[:digit:]a]", "a", True), ("[[:", "[", False),
    ("[\\]]", "]", True), ("[\\-]", "-", True), ("[a\\-z]", "m", False), ("[[]", "[", True), ("d[/]a", "d/a", False),
    ("\\!a", "!a", True), ("\\#a", "#a", True), ("#a", "#a", False), ("\\a", "a", True), ("\\*", "*", True),
    ("\\*", "a", False), ("a\\", "a\\", False), ("a\\\\", "a\\", True), ("\\", "\\", False), ("!", "!", False),
    ("a ", "a", True), ("a ", "a ", False), ("a\\ ", "a ", True), ("a\\  ", "a ", True), (" a", " a", True),
    (" a", "a", False), ("a\t", "a", False), ("a b", "a b", True), ("a\r", "a", True), ("a\r\n!a\r", "a", False),
    ("", "a", False), ("/", "a", False), ("/", "a/", False), ("//a", "a", False), ("a//", "a/", False),
    ("\ufeffa", "a", True), ("b\n\ufeffa", "a", False), ("a\n!a", "a", False), ("!a\na", "a", True), ("*\n!a", "a", False),
    ("*\n!a", "b", True), ("*.o\n!x.o", "d/x.o", False), ("é", "é", True), ("?", "é", False), ("A", "a", False),
    ("a\0b", "a", True), ("/*\n!/d/", "d/", False), ("/*\n!/d/", "e", True), ("d/\n!d/a", "d/", True), ("*a*a*a*a*a*a*a*a*b", "a" * 200, False),
]  # fmt: skip


def ignored(lines: str, path: str) -> bool:
    matcher = Matcher.start(Rules(defaults=False)).below(lines.encode(), b"")
    name = path.rstrip("/").encode()
    return matcher.ignored(name, name.rpartition(b"/")[2], path.endswith("/"))


@pytest.mark.parametrize(("lines", "path", "expected"), CASES)
def test_a_pattern_by_hand(lines, path, expected):
    assert ignored(lines, path) is expected


def test_git_agrees_with_the_cases_by_hand(tmp_path):
    make_repository(tmp_path / "git")
    for at, (lines, path, expected) in enumerate(CASES):
        name = path.rstrip("/")
        if OLD_GIT_DIFFERS.search(lines.encode()) or (len(name.split("/")) > 1 and expected is False):
            continue  # of a path further down git also says what it says of the folders above
        folder = tmp_path / "git" / str(at)
        full = folder / name
        (full if path.endswith("/") else full.parent).mkdir(parents=True)
        if not path.endswith("/"):
            full.touch()
        (folder / ".gitignore").write_bytes(lines.encode())
        asked = f"{at}/{name}".encode()
        assert (asked in git_ignored(tmp_path / "git", [asked])) is expected, (lines, path)


def test_random_trees_and_patterns_agree_with_git(tmp_path, long_form):
    root = tmp_path / "git"
    make_repository(root)
    asked = hits = trees = 0
    for seed in range(12_000 if long_form else 250):
        for path in root.iterdir():
            if path.name != ".git":
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        paths = random_tree(random.Random(seed), root)
        files = {path.relative_to(root): path.read_bytes() for path in root.rglob(".gitignore")}
        if not paths or any(map(OLD_GIT_DIFFERS.search, files.values())):
            continue
        expected = git_ignored(root, paths)
        assert our_ignored(root, paths) == expected, (seed, files)
        asked, hits, trees = asked + len(paths), hits + len(expected), trees + 1
    assert 0.03 < hits / asked < 0.9
    assert trees >= (10_000 if long_form else 200)


@settings(max_examples=300, deadline=None)
@given(text=st.binary(max_size=60), path=st.binary(min_size=1, max_size=30), folder=st.booleans())
def test_no_ignore_file_raises_anything(text, path, folder):
    IgnoreFile(text).verdict(path, path.rpartition(b"/")[2], folder)


@settings(max_examples=200, deadline=None)
@given(text=st.text("[]!^-:a*?\\/# .", max_size=20), path=st.text("ab/-", min_size=1, max_size=10))
def test_no_pattern_of_special_characters_raises_anything(text, path):
    IgnoreFile(text.encode()).verdict(path.encode(), path.rpartition("/")[2].encode(), False)


def taken(store, source: Path, **rules: bool) -> list[bytes]:
    snapshot = take_snapshot(source, store, rules=Rules(**rules))
    return [entry.path for entry in walk_snapshot(store, snapshot.snapshot_id)]


def test_amlignore_takes_the_place_of_the_gitignore_at_the_root_only(store, source):
    plant(source, {b".gitignore": b"a\n", b".amlignore": b"b\n", b"a": b"", b"b": b"",
                   b"d": {b".gitignore": b"c\n", b".amlignore": b"a\n", b"a": b"", b"b": b"", b"c": b""}})  # fmt: skip
    assert taken(store, source) == [b".amlignore", b".gitignore", b"a", b"d", b"d/.amlignore", b"d/.gitignore", b"d/a"]


def test_as_in_git_nothing_below_an_excluded_folder_comes_back(store, source):
    plant(source, {b".amlignore": b"data/\n!data/keep.txt\n", b"data": {b"keep.txt": b"", b"x": b""}})
    assert taken(store, source) == [b".amlignore"]
    (source / ".amlignore").write_text("data/*\n!data/keep.txt\n")
    assert taken(store, source) == [b".amlignore", b"data", b"data/keep.txt"]


def test_the_deepest_ignore_file_decides(store, source):
    plant(
        source,
        {b".gitignore": b"*.log\n/d/x\n", b"d": {b".gitignore": b"!a.log\n", b"a.log": b"", b"b.log": b"", b"x": b""}},
    )
    assert taken(store, source) == [b".gitignore", b"d", b"d/.gitignore", b"d/a.log"]


def test_an_ignore_file_that_is_a_link_or_a_folder_is_not_read(store, source, tmp_path):
    (tmp_path / "rules").write_text("a\n")
    plant(source, {b".gitignore": ("link", b"../rules"), b"a": b"", b"d": {b".gitignore": {}, b"a": b""}})
    assert b"a" in taken(store, source) and b"d/a" in taken(store, source)


def test_an_ignored_folder_is_never_entered(store, source):
    plant(source, {b".gitignore": b"locked/\n", b"locked": {b"fifo": b""}, b"a": b""})
    (source / "locked" / "fifo").unlink()
    import os

    os.mkfifo(source / "locked" / "fifo")
    assert take_snapshot(source, store).skipped == ()
