"""Submits runs one after the other and says their ids: WORKSPACE SOURCE SCRIPT COUNT."""

import sys

from onrecord import Experiment, ScriptRunConfig, Workspace

workspace, source, script, count = sys.argv[1:]
experiment = Experiment(Workspace(workspace), "crash")
for _ in range(int(count)):
    run = experiment.submit(ScriptRunConfig(source_directory=source, script=script))
    print(run.id, flush=True)
