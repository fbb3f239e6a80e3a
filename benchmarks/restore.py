"""Restoring a snapshot against `git checkout-index -a` and `cp -a` of the same tree, in one run.

    python benchmarks/restore.py [--size S|L|B|start] [--rounds 3] [--folder DIR]

S: 2,000 files of 30 MB in all; L: 50,000 files, 430 MB; B: 4 files of 512 MB, whose blocks `cp -a` shares where
the file system can, so that it is also asked not to; start: 20 files, as a run's start restores them. The rounds
are interleaved and medians are given, one JSON line a figure, seconds of wall time and of processor time. Ours is a
library call in a warm process that checks every hash; git and cp are whole processes. Nothing is removed before the
end: ext4 does not give out again the inodes of files that were removed in the last minutes, and looks past each of
them (50,000 of them make any of the three ten times slower).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from figures import print_figure

from onrecord.snapshot.restore import restore_snapshot
from onrecord.snapshot.store import Store
from onrecord.snapshot.take import take_snapshot
from snapshot import TREES, command, make_tree

GOALS = {("L", "git"): 0.4, ("L", "cp -a"): 0.45, ("B", "cp -a"): 0.6, ("B", "cp -a --reflink=never"): 0.6}
Restore = Callable[[Path], None]


def contenders(base: Path, size: str) -> dict[str, Restore]:
    """Each with its own copy of the tree, taken already."""
    source = base / "source"
    make_tree(source, *TREES.get(size, (20, 60_000)))
    store = Store(base / "objects")
    taken = take_snapshot(source, store).snapshot_id
    git = ("git", f"--git-dir={base}/git", f"--work-tree={source}")

    def ours(out: Path) -> None:
        assert restore_snapshot(store, taken, out) > 0

    found: dict[str, Restore] = {"onrecord": ours, "cp -a": lambda out: command("cp", "-a", source, out)}
    if size == "B":
        found["cp -a --reflink=never"] = lambda out: command("cp", "-a", "--reflink=never", source, out)
    else:
        command("git", "init", "-q", "--bare", base / "git")
        command(*git, "add", "-A")
        found["git"] = lambda out: command(*git, "checkout-index", "-a", f"--prefix={out}/")
    return found


def measured(work: Restore, out: Path) -> tuple[float, float]:
    """Seconds of wall time and of processor time, children included."""
    os.sync()
    before, start = os.times(), time.perf_counter()
    work(out)
    wall, after = time.perf_counter() - start, os.times()
    return wall, sum(after[:4]) - sum(before[:4])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=[*TREES, "start"], default="S")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        base = Path(name)
        found = contenders(base, given.size)
        seconds: dict[str, list[tuple[float, float]]] = {who: [] for who in found}
        names = list(found)
        for round_ in range(given.rounds):
            for who in names[round_ % len(names) :] + names[: round_ % len(names)]:
                seconds[who].append(measured(found[who], base / f"out{round_}-{names.index(who)}"))
        report(given.size, seconds)


def report(size: str, seconds: dict[str, list[tuple[float, float]]]) -> None:
    for who in [name for name in seconds if name != "onrecord"]:
        for at, unit in enumerate(("s", "s of processor time")):
            ours, theirs = (statistics.median(pair[at] for pair in seconds[name]) for name in ("onrecord", who))
            goal = GOALS.get((size, who)) if at == 0 else None
            words = f"at most {goal}x" if goal else "none"
            print_figure(f"restore {size}", unit, ours, theirs, who, words, goal is None or ours <= goal * theirs)


if __name__ == "__main__":
    main()
