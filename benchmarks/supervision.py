"""What it costs to supervise one run: processor time and memory of its supervisor and its conductor together.

For a script that sleeps and for one that is busy in four processes, logs and writes files, each watched from a minute's
age on by default. Memory is what the two add to the machine (PSS: pages that processes share are divided among them).
Usage:
    python benchmarks/supervision.py [--seconds 60] [--settle 30]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from figures import print_figure

from onrecord import Experiment, Run, ScriptRunConfig, Workspace
from onrecord.executors.records import read_supervisor

IDLE = "import time\ntime.sleep(3600)\n"
BUSY = """\
import os, time
import onrecord
run = onrecord.Run.get_context()
for _ in range(3):
    if os.fork() == 0:
        while True:
            sum(range(10_000)); time.sleep(0.001)
step = 0
while True:
    sum(range(10_000)); time.sleep(0.01); step += 1
    run.log("loss", 1 / step, step=step)
    if step % 100 == 0:
        print("step", step)
        with open("outputs/model.bin", "wb") as file:
            file.write(os.urandom(100_000))
"""
SHARE_GOAL, MEMORY_GOAL_MB = 0.01, 30.0
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time, to the nanosecond where the kernel keeps it so."""
    try:
        return (
            sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9
        )
    except OSError:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1000


def conductor_of(run: Run) -> int:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if run.id.encode() in words and any(b"onrecord.conductor" in word for word in words):
                return int(folder.name)
    raise RuntimeError("the run has no conductor")


def measure(kind: str, script: str, settle: float, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        (source / "train.py").write_text(script)
        workspace = Workspace.create(Path(folder))
        run = Experiment(workspace, "supervision").submit(ScriptRunConfig(source, "train.py"))
        time.sleep(settle)
        supervisor = read_supervisor(workspace.layout.run(run.id).path)
        assert supervisor is not None
        pids = [supervisor.pid, conductor_of(run)]
        before, begun = [cpu_seconds(pid) for pid in pids], time.monotonic()
        time.sleep(seconds)
        used = [cpu_seconds(pid) - was for pid, was in zip(pids, before, strict=True)]
        share = sum(used) / (time.monotonic() - begun)
        memory = sum(memory_mb(pid, "Pss") for pid in pids)
        own = sum(memory_mb(pid, "Private_Clean") + memory_mb(pid, "Private_Dirty") for pid in pids)
        run.cancel()
        run.wait_for_completion(raise_on_error=False)
    print_figure(f"{kind} script: supervision", "% of a core", 100 * share, 100 * used[0] / seconds,
                 "its supervisor alone", "<= 1", share <= SHARE_GOAL)  # fmt: skip
    print_figure(f"{kind} script: memory", "MB", memory, own, "what no other process shares", "<= 30",
                 memory <= MEMORY_GOAL_MB)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--settle", type=float, default=60.0)
    given = parser.parse_args()
    for kind, script in (("idle", IDLE), ("busy", BUSY)):
        measure(kind, script, given.settle, given.seconds)


if __name__ == "__main__":
    main()
