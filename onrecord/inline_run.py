"""A run whose script is run by the process that submits it, while a conductor goes with it as with any other.

The conductor is a process of its own here too: it puts on record that the script runs, takes in metrics and files,
passes on a request to cancel, and tells the truth when this process dies in the middle.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.executors.inline import InlineExecutor
from onrecord.preparation import Start, StartFailure, start_script
from onrecord.script_run_config import BadConfig

if TYPE_CHECKING:
    from onrecord.conductor_process import ConductorProcess
    from onrecord.script_run_config import CheckedConfig
    from onrecord.workspace import Workspace


def refuse_what_cannot_be_inline(job: CheckedConfig) -> None:
    """Raise BadConfig for a job that needs another process than this one."""
    if job.distribution is not None:
        raise BadConfig(
            "a job of several processes cannot be run inline",
            why="inline runs the script in the process that submits it",
            next_step="onrecord run --target local …   (compute_target= in Python)",
            field="distributed_job_config",
        )
    if job.command is not None or job.launcher is not None:
        raise BadConfig(
            "only a Python script can be run inline",
            why="inline runs the script in the process that submits it, which is Python",
            next_step="onrecord run --target local …   (compute_target= in Python)",
            field="compute_target",
        )
    if job.environment.needs_build() or not _is_this_interpreter(job.environment.interpreter(), job.source):
        raise BadConfig(
            "a run in another interpreter cannot be inline",
            why=f"inline runs the script in the process that submits it, which is {sys.executable}",
            next_step="leave out the environment, or: onrecord run --target local …   (compute_target= in Python)",
            field="environment",
        )


def _is_this_interpreter(given: str, source: Path) -> bool:
    found = source / given if "/" in given else shutil.which(given)
    if found is None:
        return False
    # By folder: the interpreters of two virtual environments may be links to the same file.
    here, there = Path(sys.executable).absolute(), Path(os.path.abspath(found))  # noqa: PTH100
    return here.parent == there.parent and here.resolve() == there.resolve()


def run_inline(workspace: Workspace, run_id: str, conductor: ConductorProcess) -> None:
    """Run the script of a run that is on record, to its end and the end of the run.

    Raises KeyboardInterrupt, after that, where Ctrl-C ended it.
    """
    config = workspace.query.config(run_id)
    if config.get("compat"):
        from onrecord.azureml import install

        install()
    told: list[bool] = []

    def begun() -> None:
        told.append(True)
        conductor.go()

    outcome, interrupt = None, None
    try:
        outcome = start_script(workspace, run_id, config, InlineExecutor(begun))
    except KeyboardInterrupt as pressed:
        interrupt = pressed
    if isinstance(outcome, StartFailure):
        from onrecord.companion import accompany

        accompany(workspace, run_id, -1, Start(outcome))
        conductor.dismiss()
        return
    if not told:
        begun()
    _wait_for_the_end(workspace, run_id)
    if interrupt is not None:
        raise interrupt


def _wait_for_the_end(workspace: Workspace, run_id: str) -> None:
    from onrecord.run import Run
    from onrecord.script_output import Follower

    # What it printed was seen while it ran.
    Follower(Run(workspace, run_id), lambda _: None, lambda _: None).follow()
