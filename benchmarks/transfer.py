"""Sending a tree to another host beside rsync, and collecting garbage beside git and restic; one JSON object a line.

    python benchmarks/transfer.py [--rounds 5] [--folder DIR] [--only ssh|gc]

ssh: tree S (2,000 files of 30 MB) to an sshd on this machine, the first time and again with one change; the rounds are
interleaved, medians are given, and `ratio` is ours divided by the other. Ours opens the connection, sends, and is
durable there (fsync); rsync is a whole process, and fsyncs nothing. `push` is a library call in a warm process, the
snapshot is taken before; `take and push` is with it.
gc: 50,000 objects of 200 to 4,000 bytes in 50 packs, half of them in no snapshot any more, beside `git gc --prune=now`
and `restic prune` of the same files.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "hosts"))

import ssh_host

from onrecord.snapshot.remote_ssh import SshShelf
from onrecord.snapshot.shelf import ShelfRemote
from onrecord.snapshot.store import Store
from onrecord.snapshot.sweep import Wanted
from onrecord.snapshot.take import take_snapshot
from onrecord.snapshot.transfer import send
from snapshot import command, make_tree, timed

Timings = dict[str, list[float]]
FILES, VERSIONS = 1_000, 50


def over_ssh(base: Path, rounds: int) -> None:
    """Tree S to this machine over ssh."""
    host = ssh_host.started(base / "host")
    ours, theirs = Timings(), Timings()
    try:
        for round_ in range(rounds):
            folder = base / str(round_)
            source = folder / "source"
            make_tree(source, 2_000, 30_000_000)
            store = Store(folder / "objects")
            for which in ("first", "one change"):
                if which == "one change":
                    victim = next(source.rglob("file0.py"))
                    victim.write_bytes(victim.read_bytes()[:-1] + b"%d" % round_)
                work: list[Callable[[], None]] = [
                    partial(_push, ours, which, store, source, host, folder),
                    partial(timed, theirs, which, partial(_rsync, source, host, folder)),
                ]
                for one in work if round_ % 2 else reversed(work):
                    os.sync()
                    one()
            store.close()
            shutil.rmtree(folder)
    finally:
        host.stop()
    for which in ("first", "one change"):
        row = {"work": f"ssh, {which}", "rsync_s": _median(theirs[which])}
        row |= {"push_s": _median(ours[which]), "take_and_push_s": _median(ours[f"{which} with take"])}
        print(json.dumps({**row, "ratio": round(row["push_s"] / row["rsync_s"], 2), "rounds": rounds}))


def _push(timings: Timings, which: str, store: Store, source: Path, host: ssh_host.SshHost, folder: Path) -> None:
    start = time.perf_counter()
    snapshot = take_snapshot(source, store, cache=folder / "cache").snapshot_id
    taken = time.perf_counter()
    far = ShelfRemote(SshShelf(ssh_host.NAME, str(folder / "far"), command=host.command))
    send(store, far, [snapshot])
    far.close()
    end = time.perf_counter()
    timings.setdefault(which, []).append(end - taken)
    timings.setdefault(f"{which} with take", []).append(end - start)


def _rsync(source: Path, host: ssh_host.SshHost, folder: Path) -> None:
    command("rsync", "-a", "-e", host.words, f"{source}/", f"{ssh_host.NAME}:{folder}/copy/")


def collecting(base: Path, rounds: int) -> None:
    """Half of 50,000 objects are of no use any more."""
    timings: dict[str, list[float]] = {}
    freed: dict[str, int] = {}
    for round_ in range(rounds):
        folder = base / f"gc{round_}"
        for name, prepare in (("onrecord", _ours), ("git", _git), ("restic", _restic)):
            if shutil.which(name) is None and name != "onrecord":
                continue
            place = folder / name
            collect = prepare(place)
            before = _disk_bytes(place)
            os.sync()
            timed(timings, name, collect)
            freed[name] = before - _disk_bytes(place)
            shutil.rmtree(place)
    for name in timings:
        seconds = _median(timings[name])
        ratio = round(_median(timings["onrecord"]) / seconds, 2)
        row = {"work": "gc", "who": name, "seconds": seconds, "ratio": ratio, "freed_bytes": freed[name]}
        print(json.dumps({**row, "objects": FILES * VERSIONS, "rounds": rounds}))


def _contents(version: int) -> list[bytes]:
    chance = random.Random(version)
    return [chance.randbytes(chance.randrange(200, 4000)) for _ in range(FILES)]


def _ours(place: Path) -> Callable[[], None]:
    store, kept = Store(place / "objects"), set[str]()
    for version in range(VERSIONS):
        with store.writer() as writer:
            digests = [writer.add(content).hex() for content in _contents(version)]
            writer.commit()
        # Two in three versions go whole, or for the most part: half of all objects.
        kept.update(digests[: (FILES, FILES // 4, FILES // 4)[version % 3]])
    store.close()
    return lambda: _swept(place, kept)


def _swept(place: Path, kept: set[str]) -> None:
    with Store(place / "objects") as store:
        store.sweep(lambda: Wanted(contents=kept), before=time.time() + 10)


def _files_kept(version: int) -> int:
    return (FILES, FILES // 4, FILES // 4)[version % 3]


def _write(folder: Path, contents: list[bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for at, content in enumerate(contents):
        (folder / str(at)).write_bytes(content)


def _git(place: Path) -> Callable[[], None]:
    words = ("git", "-C", place / "work", "-c", "gc.auto=0", "-c", "user.name=a", "-c", "user.email=a@b")
    (place / "work").mkdir(parents=True)
    command(*words, "init", "-q")
    tree = place / "work" / "tree"
    for version in range(VERSIONS):
        # What stays on one branch, what goes on another.
        contents = _contents(version)
        for branch, some in (("kept", contents[: _files_kept(version)]), ("gone", contents)):
            _write(tree, some)
            command(*words, "add", "-A")
            command(*words, "commit", "-q", "--allow-empty", "-m", branch)
            command(*words, "tag", f"{branch}{version}")
            command(*words, "update-ref", "-d", "HEAD")
    command(*words, "repack", "-adq")
    for version in range(VERSIONS):
        command(*words, "tag", "-d", f"gone{version}")
    command(*words, "rm", "-rq", "--cached", "--ignore-unmatch", "tree")
    command(*words, "reflog", "expire", "--expire=now", "--all")
    shutil.rmtree(tree)
    return lambda: command(*words, "gc", "-q", "--prune=now")


def _restic(place: Path) -> Callable[[], None]:
    os.environ["RESTIC_PASSWORD"] = "benchmark"  # noqa: S105
    words = ("restic", "-q", "--no-cache", "-r", place / "repository")
    place.mkdir(parents=True)
    command(*words, "init")
    for version in range(VERSIONS):
        contents = _contents(version)
        for tag, some in (("gone", contents), ("kept", contents[: _files_kept(version)])):
            _write(place / "tree", some)
            command(*words, "backup", "--tag", tag, place / "tree")
    shutil.rmtree(place / "tree")
    command(*words, "forget", "--tag", "gone", "--keep-tag", "kept")
    return lambda: command(*words, "prune", "--max-unused", "20%")


def _disk_bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", choices=("ssh", "gc"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onrecord-transfer-", dir=given.folder) as folder:
        if given.only != "gc":
            over_ssh(Path(folder), given.rounds)
        if given.only != "ssh":
            collecting(Path(folder), min(given.rounds, 2))


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as problem:
        raise SystemExit(problem.stderr.decode()) from problem
