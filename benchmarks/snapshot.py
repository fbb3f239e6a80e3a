"""Snapshots against git and cp, on the same trees in one run.

    python benchmarks/snapshot.py [--size S|L|B] [--rounds 5] [--folder DIR]

S: 2,000 files of 30 MB in all; L: 50,000 files, 430 MB; B: 4 files of 512 MB. The rounds of the contenders are
interleaved and medians are given, one JSON object a line; `ratio` is ours divided by the other. Ours is a
library call in a warm process and durable (fsync); git and cp are whole processes and fsync nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from onrecord.snapshot.restore import restore_snapshot
from onrecord.snapshot.store import Store
from onrecord.snapshot.take import take_snapshot

WORDS = [b"def", b"return", b"self", b"for", b"in", b"loss", b"model", b"(x)", b"=", b"+", b"import", b"\n    "]
TREES = {"S": (2_000, 30_000_000), "L": (50_000, 430_000_000), "B": (4, 4 * (512 << 20))}
Timings = dict[str, list[float]]


def make_tree(folder: Path, files: int, size: int) -> None:
    """Half of the files are text that compresses, half are noise; 20 files a folder."""
    chance = random.Random(1)
    text = b" ".join(chance.choices(WORDS, k=400_000))
    for at in range(files):
        place = folder / f"d{at // 400}" / f"d{at // 20}"
        if at % 20 == 0:
            place.mkdir(parents=True, exist_ok=True)
        width = int(size / files * chance.choice((0.2, 0.5, 1, 2.3))) if files > 4 else size // files
        with (place / f"file{at}.py").open("wb") as out:
            while width > 0:
                piece = min(width, 1 << 20)
                start = chance.randrange(max(1, len(text) - piece))
                out.write(chance.randbytes(piece) if at % 2 else b"# %d\n" % at + text[start : start + piece])
                width -= piece


def command(*words: object, cwd: Path | None = None) -> None:
    subprocess.run(list(map(str, words)), cwd=cwd, check=True, capture_output=True)


class Ours:
    def __init__(self, base: Path, source: Path) -> None:
        self.store, self.cache, self.source, self.base = Store(base / "objects"), base / "cache", source, base

    def take(self) -> None:
        self.taken = take_snapshot(self.source, self.store, cache=self.cache)

    def restore(self) -> None:
        restore_snapshot(self.store, self.taken.snapshot_id, self.base / "out")


class Git:
    def __init__(self, base: Path, source: Path) -> None:
        self.base, self.words = base, ("git", f"--git-dir={base}/git", f"--work-tree={source}")
        base.mkdir(parents=True, exist_ok=True)
        command("git", "init", "-q", "--bare", base / "git")

    def take(self) -> None:
        command(*self.words, "add", "-A")
        command(*self.words, "write-tree")

    def restore(self) -> None:
        command(*self.words, "checkout-index", "-a", f"--prefix={self.base}/out/")


class Copy:
    def __init__(self, base: Path, source: Path) -> None:
        self.base, self.source = base, source
        base.mkdir(parents=True, exist_ok=True)

    def take(self) -> None:
        command("cp", "-a", self.source, self.base / "copy")

    def restore(self) -> None:
        command("cp", "-a", self.base / "copy", self.base / "out")


CONTENDERS: dict[str, Callable[[Path, Path], Ours | Git | Copy]] = {"onrecord": Ours, "git": Git, "cp -a": Copy}


def timed(timings: Timings, name: str, work: Callable[[], None]) -> None:
    start = time.perf_counter()
    work()
    timings.setdefault(name, []).append(time.perf_counter() - start)


def run_round(base: Path, source: Path, round_: int, timings: dict[str, Timings]) -> None:
    names = list(CONTENDERS)
    for name in names[round_ % 3 :] + names[: round_ % 3]:
        os.sync()
        one = CONTENDERS[name](base / str(names.index(name)), source)
        mine = timings.setdefault(name, {})
        timed(mine, "first", one.take)
        if not isinstance(one, Copy):
            timed(mine, "no change", one.take)
            victim = next(source.rglob("file0.py"))
            victim.write_bytes(victim.read_bytes()[:-1] + b"%d" % round_)
            timed(mine, "one change", one.take)
        timed(mine, "restore", one.restore)
        shutil.rmtree(base / str(names.index(name)))


def report(size: str, timings: dict[str, Timings]) -> None:
    ours = timings["onrecord"]
    for work, values in ours.items():
        row: dict[str, object] = {"tree": size, "work": work, "onrecord_s": round(statistics.median(values), 4)}
        for name in ("git", "cp -a"):
            if work in timings[name]:
                theirs = statistics.median(timings[name][work])
                row[f"{name}_s"] = round(theirs, 4)
                row[f"ratio_to_{name}"] = round(statistics.median(values) / theirs, 3)
        print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=TREES, default="S")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        source = Path(name) / "source"
        make_tree(source, *TREES[given.size])
        # Files younger than a tick of the clock would be read again: the racy rule, not the usual case.
        time.sleep(0.2)
        timings: dict[str, Timings] = {}
        for round_ in range(given.rounds):
            run_round(Path(name), source, round_, timings)
        report(given.size, timings)


if __name__ == "__main__":
    main()
