"""What taking a run's files in costs, one JSON line for each piece of work.

    python benchmarks/capture.py [--folder DIR] [--files N] [--log-looks N] [--only burst,unchanged,log,promptness,idle]

`burst`: a folder of N small files, captured whole, beside `cp -a` of the same folder, in turn. `unchanged`: a look
at them when nothing changed. `log`: a log that grows between looks, with the bytes that the store takes. `promptness`:
seconds from the last write to a small file until the ledger has it, in a real run. `idle`: the share of a core that a
conductor takes while its script only sleeps, with N files in the folder. CPU seconds are those of this process and
its children, or of the conductor.
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
from collections.abc import Callable, Iterator
from pathlib import Path

from onrecord import Experiment, Run, ScriptRunConfig, Workspace, settling
from onrecord.capture import Capture
from onrecord.ledger.events import RunSubmitted
from onrecord.ledger.ids import encode, new_id

ROUNDS = 3
SLEEPER = """
import os, sys, time
from pathlib import Path
for number in range(int(sys.argv[1])):
    folder = Path(f"outputs/{number // 1000}"); folder.mkdir(exist_ok=True)
    (folder / f"{number}.txt").write_text(f"{number}\\n")
Path(sys.argv[2]).touch()
time.sleep(600)
"""
WRITER = """
import os, sys, time
from pathlib import Path
time.sleep(1.5)
for number in range(int(sys.argv[1])):
    Path(f"outputs/{number}.txt").write_text(str(time.time_ns()))
    time.sleep(0.37)
time.sleep(6)
"""


def say(work: str, **figures: object) -> None:
    """One line of results."""
    rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}
    print(json.dumps({"work": work, **rounded}), flush=True)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds, of this process and of its children."""
    cpu, wall = os.times(), time.monotonic()
    work()
    now = os.times()
    return time.monotonic() - wall, sum(now[:4]) - sum(cpu[:4])


class Desk:
    """A workspace with one run, and the folders of its working copy."""

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace.create(folder)
        self.run_id = encode(new_id(time.time_ns() // 1_000_000, os.urandom(10)))
        self.workspace.journal.append(self.run_id, [RunSubmitted(experiment="benchmark", config={})])
        self.work = self.workspace.layout.run(self.run_id).work
        (self.work / "outputs").mkdir(parents=True)

    def capture(self) -> Capture:
        """A capture that knows nothing yet."""
        journal = self.workspace.journal
        return Capture(self.work, self.workspace.store, lambda events: journal.append(self.run_id, events))


def plant(folder: Path, files: int) -> None:
    """Small files of 1 to 8 kB, a thousand a folder."""
    chance = random.Random(1)
    for number in range(files):
        inner = folder / str(number // 1000)
        inner.mkdir(parents=True, exist_ok=True)
        (inner / f"{number}.txt").write_bytes(chance.randbytes(chance.randrange(500, 4_000)).hex().encode())


def burst(folder: Path, files: int) -> None:
    """All files at once, and a look at them afterwards."""
    ours, theirs, looks = [], [], []
    for number in range(ROUNDS):
        desk = Desk(folder / f"burst {number}")
        plant(desk.work / "outputs", files)
        os.sync()
        capture = desk.capture()
        ours.append(timed(lambda capture=capture: capture.look(final=True)))
        copy = folder / "copy"
        theirs.append(timed(lambda desk=desk, copy=copy: subprocess.run(["cp", "-a", desk.work, copy], check=True)))
        for path in (desk.work / "outputs").rglob("*.txt"):
            os.utime(path, (1e9, 1e9))
        capture.look(final=False)
        looks.append(timed(lambda capture=capture: capture.look(final=False))[1])
        shutil.rmtree(copy)
        shutil.rmtree(folder / f"burst {number}")
    wall, cpu = (statistics.median(values) for values in zip(*ours, strict=True))
    cp_wall, cp_cpu = (statistics.median(values) for values in zip(*theirs, strict=True))
    say("burst", files=files, seconds=wall, cpu=cpu, cp_seconds=cp_wall, cp_cpu=cp_cpu, times_cp_cpu=cpu / cp_cpu)
    say("unchanged", files=files, cpu=statistics.median(looks))


def log(folder: Path, looks: int) -> None:
    """A log that grows by 20 kB of text, or of noise, between looks."""
    settling.LIVE_SECONDS = 0.0
    settling._PART_OF_AGE = 0.0
    chance = random.Random(2)
    for kind in ("text", "noise"):
        desk = Desk(folder / kind)
        path, capture = desk.work / "outputs/train.log", desk.capture()
        cpu = 0.0
        with path.open("ab", buffering=0) as file:
            for _ in range(looks):
                noise = chance.randbytes(20_000)
                file.write(noise if kind == "noise" else noise[:5_000].hex().encode() + b"step loss accuracy\n" * 526)
                cpu += timed(lambda capture=capture: (capture.look(final=False), capture.look(final=False)))[1]
        capture.look(final=True)
        size = path.stat().st_size
        objects = desk.workspace.layout.objects
        stored = sum(one.stat().st_size for one in objects.rglob("*") if one.is_file() and "index" not in one.name)
        versions = len(Run(desk.workspace, desk.run_id).file_versions("outputs/train.log"))
        say("log", kind=kind, looks=looks, versions=versions, size=size, stored=stored, ratio=stored / size, cpu=cpu)


def submitted(folder: Path, script: str, *arguments: str) -> Run:
    """A real run of a script."""
    workspace = Workspace.create(folder)
    source = folder / "source"
    source.mkdir()
    (source / "train.py").write_text(script)
    return Experiment(workspace, "benchmark").submit(ScriptRunConfig(source, "train.py", arguments=list(arguments)))


def promptness(folder: Path, files: int) -> None:
    """From the write to the ledger; two seconds of it are spent waiting whether more comes."""
    run = submitted(folder / "prompt", WRITER, str(files))
    run.wait_for_completion()
    ended = next(one.at for one in run.workspace.journal.read(run.id) if one.type == "run.finalizing")
    delays = [
        row.recorded_at / 1e6 - int(run.read_file(row.name)) / 1e9
        for row in run.workspace.query.files(run.id)
        if row.name.startswith("outputs/") and row.recorded_at < ended
    ]
    say("promptness", files=files, live=len(delays), median=statistics.median(delays), worst=max(delays))


def conductors(run: Run) -> Iterator[int]:
    """The conductor's process."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().decode()
        except (OSError, UnicodeDecodeError):
            continue
        if entry.name.isdigit() and run.id in words and "conductor" in words:
            yield int(entry.name)


def cpu_of(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle(folder: Path, files: int) -> None:
    """A conductor's share of a core while nothing happens, after it has taken everything in."""
    ready = folder / "ready"
    run = submitted(folder / f"idle {files}", SLEEPER, str(files), str(ready))
    while not ready.exists() or len(run.get_file_names()) < files:
        time.sleep(0.2)
    ready.unlink()
    time.sleep(12)
    pid = next(conductors(run))
    before, begun = cpu_of(pid), time.monotonic()
    time.sleep(60)
    say("idle", files=files, cpu_share=(cpu_of(pid) - before) / (time.monotonic() - begun), cpu_in_all=cpu_of(pid))
    run.cancel()
    while not run.has_ended():
        time.sleep(0.1)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--log-looks", type=int, default=1_000)
    parser.add_argument("--only", default="burst,log,promptness,idle")
    given = parser.parse_args()
    wanted = given.only.split(",")
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        if "burst" in wanted or "unchanged" in wanted:
            burst(folder, given.files)
        if "promptness" in wanted:
            promptness(folder, 30)
        if "idle" in wanted:
            idle(folder, 0)
            idle(folder, given.files)
        if "log" in wanted:
            log(folder, given.log_looks)


if __name__ == "__main__":
    sys.exit(main())
