"""Submits runs one after the other and says their ids: WORKSPACE SOURCE SCRIPT COUNT [zombies].

With `zombies` it waits for each and says last how many dead children it has not collected, beyond the newest.
"""

import sys
from pathlib import Path

from onrecord import Experiment, ScriptRunConfig, Workspace


def dead_children() -> int:
    table = [path.read_text().rpartition(")")[2].split() for path in Path("/proc/self/task").glob("*/stat")]
    parent = int(Path("/proc/self/stat").read_text().split()[0])
    count = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        count += fields[0] == "Z" and int(fields[1]) == parent
    return count if table else 0


workspace, source, script, count, *more = sys.argv[1:]
experiment = Experiment(Workspace(workspace), "crash")
for _ in range(int(count)):
    run = experiment.submit(ScriptRunConfig(source_directory=source, script=script))
    print(run.id, flush=True)
    if more:
        run.wait_for_completion()
if more:
    print(max(0, dead_children() - 2))
