"""Differences as text: git applies them, and gets the other tree."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshot_trees import Tree, dug_up, full, plant, sides

from onrecord.snapshot.diff import diff
from onrecord.snapshot.lines import hunks
from onrecord.snapshot.patch import LONGEST, patch, quoted
from onrecord.snapshot.store import Store

LINES = b"".join(b"line %d\n" % number for number in range(40))
BEFORE: Tree = {
    b"a b": b"1\n2\n",
    b"deleted": b"gone\n",
    b"empty": b"",
    b"from": {b"x": LINES, b"y": b"y\n", b"deep": {b"z": b"z\n"}},
    b"latin": b"caf\xe9\n",
    b"link": ("link", b"old"),
    b"long": LINES,
    b"mode": b"#!/bin/sh\n",
    b"no newline": b"a\nb",
    b'odd\n"\\\xff': b"odd\n",
    b"turns": {b"into": b"a file\n"},
    b"type": b"target",
    b"windows": b"1\r\n2\r\n",
}
AFTER: Tree = {
    b"a b": b"1\n3\n",
    b"empty": b"no more\n",
    b"latin": b"caf\xe8\n",
    b"link": ("link", b"new"),
    b"long": LINES.replace(b"line 3\n", b"").replace(b"line 30\n", b"line 30\nand more\n\x1b[31m\n"),
    b"mode": (b"#!/bin/sh\n", True),
    b"new": {b"\xc3\xbc": b"new", b"none": b""},
    b"no newline": b"a\nb\n",
    b'odd\n"\\\xff': b"odder\n",
    b"to": {b"here": {b"x": LINES, b"y": (b"y\n", True), b"deep": {b"z": b"z\n"}}},
    b"turns": b"into\n",
    b"type": ("link", b"target"),
    b"windows": b"1\r\n2\n",
}


def text_of(store: Store, before: Tree, after: Tree, base: Path, *, binary: bool = False) -> bytes:
    pair = sides(store, before, after, base)
    return b"".join(line.text + b"\n" for line in patch(diff(*pair, fold=False), *pair, binary=binary))


def applied(text: bytes, work: Path, *options: str) -> None:
    words = ["git", "apply", "--whitespace=nowarn", *options, "-"]
    said = subprocess.run(words, cwd=work, input=text, capture_output=True, check=False)
    assert said.returncode == 0, said.stderr + text[:5000]


@pytest.mark.parametrize(("before", "after"), [(BEFORE, AFTER), (AFTER, BEFORE), ({}, BEFORE), (AFTER, {})])
def test_git_applies_a_patch_and_gets_the_other_tree(store: Store, tmp_path: Path, before: Tree, after: Tree) -> None:
    text = text_of(store, before, after, tmp_path / "t")
    work = plant(tmp_path / "work", before)
    applied(text, work)
    assert dug_up(work) == full(after)


def test_a_patch_reads_as_gits_own(store: Store, tmp_path: Path) -> None:
    before: Tree = {b"f": b"1\n2\n3\n4\n5\n", b"old": b"x\n"}
    after: Tree = {b"f": b"1\n2\nthree\n4\n5\n", b"new": (b"x\n", True)}
    assert text_of(store, before, after, tmp_path / "t").decode().splitlines() == [
        "diff --git a/f b/f",
        "--- a/f",
        "+++ b/f",
        "@@ -1,5 +1,5 @@",
        " 1",
        " 2",
        "-3",
        "+three",
        " 4",
        " 5",
        "diff --git a/old b/new",
        "old mode 100644",
        "new mode 100755",
        "similarity index 100%",
        "rename from old",
        "rename to new",
    ]


def test_binary_and_huge_files_are_only_said_to_differ(store: Store, tmp_path: Path) -> None:
    before: Tree = {b"data": b"\0" * 10, b"huge": b"x" * (LONGEST + 1), b"gone": b"\0"}
    after: Tree = {b"data": b"\0" * 11, b"huge": b"y" * 10}
    assert text_of(store, before, after, tmp_path / "t").decode().splitlines() == [
        "diff --git a/data b/data",
        "Binary files a/data and b/data differ",
        "diff --git a/gone b/gone",
        "deleted file mode 100644",
        "Binary files a/gone and /dev/null differ",
        "diff --git a/huge b/huge",
        "Files a/huge and b/huge differ (more than 5000000 bytes)",
    ]


NOISE = bytes(range(256)) * 40
BINARY_BEFORE: Tree = {
    b"data": b"\0" * 10, b"gone": NOISE, b"huge": b"x\n" * LONGEST, b"m o": b"\0a", b"text": b"1\n", b"type": b"\0t",
}  # fmt: skip
BINARY_AFTER: Tree = {
    b"data": NOISE[:53] + b"\0", b"huge": b"y", b"m o": (b"\0b", True), b"new": {b"\xc3\xbc": NOISE[::-1]},
    b"text": b"2\n", b"type": ("link", b"t"), b"turned": (b"\0", True),
}  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after"),
    [(BINARY_BEFORE, BINARY_AFTER), (BINARY_AFTER, BINARY_BEFORE), ({}, BINARY_BEFORE), (BINARY_AFTER, {})],
)
def test_with_binary_files_whole_git_applies_the_patch_forward_and_back(
    store: Store, tmp_path: Path, before: Tree, after: Tree
) -> None:
    text = text_of(store, before, after, tmp_path / "t", binary=True)
    work = plant(tmp_path / "work", before)
    applied(text, work)
    assert dug_up(work) == full(after)
    applied(text, work, "--reverse")
    assert dug_up(work) == full(before)


def rebuilt(old: list[bytes], new: list[bytes]) -> list[bytes]:
    """The new text, from the old one and what the hunks say."""
    out, at = list[bytes](), 0
    for hunk in hunks(old, new):
        assert hunk[0].start >= at
        out += old[at : hunk[0].start]
        for piece in hunk:
            equal = piece.tag == "equal"
            assert not equal or old[piece.start : piece.stop] == new[piece.other_start : piece.other_stop]
            out += old[piece.start : piece.stop] if equal else new[piece.other_start : piece.other_stop]
        assert all(one.stop == two.start and one.other_stop == two.other_start for one, two in pairwise(hunk))
        at = hunk[-1].stop
    return out + old[at:]


TEXT = st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), max_size=30)


@given(old=TEXT, new=TEXT)
def test_hunks_lead_from_one_text_to_the_other(old: list[bytes], new: list[bytes]) -> None:
    assert rebuilt(old, new) == new
    assert (list(hunks(old, new)) == []) == (old == new)


def test_long_texts_are_compared_in_little_time_and_hunks_stay_small() -> None:
    old = [b"%d" % number for number in range(100_000)]
    new = [line if number % 500 else b"changed %d" % number for number, line in enumerate(old)]
    assert rebuilt(old, new) == new
    assert [sum(piece.stop - piece.start for piece in hunk) for hunk in hunks(old, new)][1:] == [7] * 199
    # Nothing unique in common: one text in place of the other, rather than hours of looking.
    assert rebuilt([b"a", b"b"] * 5_000, [b"b", b"c"] * 5_000) == [b"b", b"c"] * 5_000


def test_moved_lines_leave_the_longer_part_in_place() -> None:
    old = [b"%d" % number for number in range(20)]
    new = [*old[15:], *old[:15]]
    assert sum(piece.stop - piece.start for hunk in hunks(old, new) for piece in hunk if piece.tag == "delete") == 5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"plain", b"plain"),
        ("ü".encode(), "ü".encode()),
        (b'a"b', b'"a\\"b"'),
        (b"\x1b[31m", b'"\\033[31m"'),
        ("\u202e".encode(), b'"\\342\\200\\256"'),
    ],
)
def test_names_that_could_drive_a_terminal_are_quoted(name: bytes, expected: bytes) -> None:
    assert quoted(name) == expected
