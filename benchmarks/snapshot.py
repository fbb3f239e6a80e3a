"""Snapshots against git, restic, borg, DVC, rsync, cp and b3sum, on the same trees in one run.

    python benchmarks/snapshot.py [--size S|L|B] [--rounds 5] [--folder DIR] [--peers git,restic] [--dvc PATH]

S: 2,000 files of 30 MB in all; L: 50,000 files, 430 MB; B: 4 files of 512 MB. The rounds of the contenders are
interleaved and medians are given, one JSON object a line, `ratio` being ours divided by the other's. Ours is a
library call in a warm process and durable (fsync); the others are whole processes, and ours as a whole process
stands beside them. git, cp, rsync, borg and DVC flush nothing or little; `cp -a and fsync` does. A contender that
is not installed is skipped with a line. A round of L takes about a minute without DVC, which takes longer.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from figures import print_figure
from snapshot_peers import TAKE, Dvc, Git, Peer, available, command

from onrecord.snapshot.ignore import Matcher, Rules

WORDS = [b"def", b"return", b"self", b"for", b"in", b"loss", b"model", b"(x)", b"=", b"+", b"import", b"\n    "]
TREES = {"S": (2_000, 30_000_000), "L": (50_000, 430_000_000), "B": (4, 4 * (512 << 20))}
Timings = dict[str, dict[str, list[float]]]

# Ours divided by the other's, at most.
GOALS = {
    ("S", "no change", "git"): 1.5,
    ("L", "no change", "git"): 1.0,
    ("L", "no change", "restic"): 1 / 6,
    ("L", "no change", "borg"): 1 / 6,
    ("L", "no change", "dvc"): 1 / 6,
    ("L", "one change", "git"): 1.5,
    ("L", "first", "git"): 0.27,
    ("L", "first", "restic"): 0.45,
    ("L", "first", "cp -a"): 0.6,
    ("B", "first", "cp -a and fsync"): 1.3,
    ("B", "first", "restic"): 0.36,
    ("B", "first", "git"): 0.05,
}


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


def timed(timings: dict[str, list[float]], name: str, work: Callable[[], None]) -> None:
    start = time.perf_counter()
    work()
    timings.setdefault(name, []).append(time.perf_counter() - start)


def one_turn(peer: type[Peer], base: Path, source: Path, round_: int, timings: Timings) -> None:
    os.sync()
    one = peer(base / "turn", source)
    # Files younger than a tick of the clock would be read again: the racy rule, not the usual case.
    time.sleep(0.2)
    mine = timings.setdefault(peer.name, {})
    timed(mine, "first", one.take)
    if one.again:
        timed(mine, "no change", one.take)
        victim = next(one.source.rglob("file0.py"))
        with victim.open("r+b") as out:
            out.write(b"%d" % round_)
        time.sleep(0.2)
        timed(mine, "one change", one.take)
    if one.gives_back:
        timed(mine, "restore", one.restore)
    shutil.rmtree(base / "turn")


def report(size: str, timings: Timings) -> None:
    ours = {work: statistics.median(values) for work, values in timings["onrecord"].items()}
    for name, works in timings.items():
        for work, values in works.items():
            if name == "onrecord" or work not in ours:
                continue
            theirs, goal = statistics.median(values), GOALS.get((size, work, name))
            said = "" if goal is None else f"at most {goal:.3g} times"
            held = goal is None or ours[work] <= goal * theirs
            print_figure(f"{work}, {size}", "s", ours[work], theirs, name, said, held)
    more = ours["one change"] - ours["no change"]
    print_figure(
        f"one change, {size}", "s", ours["one change"], ours["no change"], "no change", "30 ms more", more <= 0.03
    )


def report_store(base: Path, source: Path, size: str) -> None:
    """What one snapshot takes on the disk, beside git's pack and beside eight snapshots at once."""
    alone, together = base / "alone", base / "together"
    words = [sys.executable, "-c", TAKE, source]
    command(*words, alone / "objects", alone / "cache")
    processes = [subprocess.Popen([*words, together / "objects", together / f"cache{number}"]) for number in range(8)]
    if any(process.wait() for process in processes):
        raise SystemExit("one of eight snapshots at once failed")
    one, eight = disk_bytes(alone / "objects"), disk_bytes(together / "objects")
    print_figure(f"store after 8 at once, {size}", "bytes", eight, one, "one", "at most 1.1 times", eight <= 1.1 * one)
    git = Git(base / "git", source)
    git.take()
    tree = subprocess.run([*git.words, "write-tree"], check=True, capture_output=True, text=True).stdout.strip()
    name = ("-c", "user.name=a", "-c", "user.email=a")
    commit = subprocess.run(
        [*git.words, *name, "commit-tree", "-m", "x", tree], check=True, capture_output=True, text=True
    )
    command(*git.words, "update-ref", "refs/heads/main", commit.stdout.strip())
    command(*git.words, "repack", "-adq")
    packed = disk_bytes(base / "git" / "git" / "objects")
    print_figure(f"store, {size}", "bytes", one, packed, "git repack -ad", "at most 1.15 times", one <= 1.15 * packed)
    for folder in (alone, together, base / "git"):
        shutil.rmtree(folder)


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def report_memory(base: Path, source: Path, size: str) -> None:
    """The most memory that a process taking its first snapshot, or any process it starts, has held."""
    words = [sys.executable, "-c", TAKE, source, base / "memory" / "objects", base / "memory" / "cache"]
    process = subprocess.Popen(words)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss / 1024
    shutil.rmtree(base / "memory")
    print_figure(f"peak memory, {size}", "MB", peak, 200, "limit", "at most 200 MB", peak <= 200)


def report_flushes(base: Path, source: Path, size: str) -> None:
    """Flushes of a first snapshot into a store that exists, counted by strace."""
    if shutil.which("strace") is None:
        print('{"skipped": "flushes", "why": "strace is not installed"}')
        return
    (base / "empty").mkdir(parents=True)
    objects, trace = base / "flushes" / "objects", base / "trace"
    command(sys.executable, "-c", TAKE, base / "empty", objects, base / "flushes" / "cache0")
    words = ["strace", "-f", "-e", "trace=fsync,fdatasync,syncfs,sync", "-o", trace]
    command(*words, sys.executable, "-c", TAKE, source, objects, base / "flushes" / "cache")
    lines = [line for line in trace.read_text().splitlines() if "sync(" in line or "syncfs(" in line]
    # Closing the last connection to the index flushes twice more, after the snapshot is durable.
    count = len([line for line in lines if "resumed" not in line]) - 2
    shutil.rmtree(base / "flushes")
    print_figure(f"flushes of a first snapshot, {size}", "calls", count, 8, "limit", "fewer than 8", count < 8)


def report_rules() -> None:
    """Processor time of the ignore rules for 50,000 paths."""
    user = b"*.log\n/data/*\n!/data/keep.txt\nbuild/\n*.tmp\n**/cache/*.bin\ndocs/**/out\n*.ckpt\n"
    matcher = Matcher.start(Rules()).below(user, b"")
    asked = [(b"d%d/d%d/file%d.py" % (at // 400, at // 20, at), b"file%d.py" % at) for at in range(50_000)]
    taken = []
    for _ in range(5):
        begun = time.process_time()
        for path, name in asked:
            matcher.ignored(path, name, False)
        taken.append(time.process_time() - begun)
    spent = statistics.median(taken)
    print_figure("ignore rules, 50,000 paths", "s of CPU", spent, 0.1, "limit", "at most 0.1 s", spent <= 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=TREES, default="S")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--peers", help="names of contenders with commas between; all by default")
    parser.add_argument("--dvc", help="the dvc command, where it is not on PATH")
    given = parser.parse_args()
    if given.dvc:
        Dvc.program = given.dvc
    peers = list(available(set(given.peers.split(",")) if given.peers else None))
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        base, source = Path(name), Path(name) / "source"
        make_tree(source, *TREES[given.size])
        timings: Timings = {}
        for round_ in range(given.rounds):
            turn = round_ % len(peers)
            for peer in peers[turn:] + peers[:turn]:
                one_turn(peer, base, source, round_, timings)
        report(given.size, dict(sorted(timings.items(), key=lambda item: item[0] != "onrecord")))
        report_memory(base, source, given.size)
        report_flushes(base, source, given.size)
        if given.size == "B":
            return
        report_store(base, source, given.size)
        report_rules()


if __name__ == "__main__":
    main()
