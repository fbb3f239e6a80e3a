"""Submits one run, says its id once submit() has returned, and stays: WORKSPACE SOURCE SCRIPT ARGUMENTS..."""

import sys
import time

from onrecord import Experiment, ScriptRunConfig, Workspace

workspace, source, script, *arguments = sys.argv[1:]
config = ScriptRunConfig(source_directory=source, script=script, arguments=arguments)
run = Experiment(Workspace(workspace), "crash").submit(config)
print(run.id, flush=True)
time.sleep(300)
