"""The process that takes one run from submission to its end, detached from whoever submitted it.

Everything it does can be done again by another conductor: it looks at what the ledger and the run's
folder say and goes on from there. A run's first conductor starts the script before all else, which is what
the submitter waits for: nothing that is imported here may need what comes later, least of all attrs.
Arguments: the workspace's folder, the run's id, `first`, `first-in-built` or `next`, and the descriptors that carry
the word to start, the answer, and the run's lock; of an interactive run also one that is its process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onrecord.conductor_process import FIRST_IN_BUILT, NEXT, sign
from onrecord.executors.protocol import Executor, Launch, Started, Waiting
from onrecord.executors.registry import LOCAL, executor_named
from onrecord.layout import RunFolder
from onrecord.ledger.errors import UnknownRun
from onrecord.ledger.states import PREPARING, QUEUED
from onrecord.preparation import Start, executor_of, needs_build, start_script
from onrecord.run_types import INTERACTIVE
from onrecord.script_environment import has_inventory, is_python
from onrecord.workspace import Workspace

if TYPE_CHECKING:
    from onrecord.inventory import Inventory

# What comes next takes 35 ms of processor time, which a machine with one core then has for the script. With two it
# goes on beside it: a short run ends 25 ms earlier, and the first line of a script comes no later.
_SUPERVISOR_COMES_UP_SECONDS = 0.25
_SCRIPT_COMES_UP_SECONDS = 0.0 if (os.cpu_count() or 1) > 1 else 0.04


def main(arguments: Sequence[str]) -> int:
    """Wait for the word, then conduct the run to its end."""
    root, run_id, place, *descriptors = arguments
    word, answer, lock, *more = (int(text) for text in descriptors)
    for fd in (word, answer, lock, *more):
        # Whatever is started from here must not keep the lock of a conductor that has died.
        os.set_inheritable(fd, False)
    # While the submitter takes its snapshot.
    sign(lock)
    executor_named(LOCAL)
    if place == FIRST_IN_BUILT:
        from onrecord import built_environment  # noqa: F401
    is_told = bool(os.read(word, 1))
    workspace = Workspace(Path(root).parent)
    try:
        row = workspace.query.run(run_id)
    except UnknownRun:
        import shutil

        # The submitter died before the run was on record.
        shutil.rmtree(workspace.layout.run(run_id).path, ignore_errors=True)
        return 0
    if row.run_type == INTERACTIVE:
        from onrecord.interactive_companion import attend

        attend(workspace, run_id, word, answer, *more)
        return 0
    if row.status == QUEUED:
        # The submitter died before it could say so: the run has no conductor until there is room for it.
        os.close(lock)
        from onrecord.waiting_runs import start_waiting

        start_waiting(workspace)
        return 0
    start = _first_start(workspace, run_id, is_told) if place != NEXT and row.status == PREPARING else Start()
    # Imported once the script is on its way.
    from onrecord.companion import accompany

    accompany(workspace, run_id, answer, start)
    return 0


def _first_start(workspace: Workspace, run_id: str, is_told: bool) -> Start:
    """Start the script without a look around: nobody else can have started anything."""
    try:
        if not is_told:
            # The submitter died, perhaps before what it had recorded was on the disk.
            workspace.journal.database.sync()
        config = workspace.query.config(run_id)
        executor = executor_of(workspace, config["target"])
        outcome = start_script(workspace, run_id, config, executor)
        if not isinstance(outcome, Launch):
            return Start(outcome)
        interpreter = _interpreter_of(workspace, config, outcome)
        return Start(outcome, _stand_back(executor, outcome, interpreter, workspace.layout.run(run_id)))
    except Exception as problem:
        return Start(problem)


def _interpreter_of(workspace: Workspace, config: dict[str, Any], launch: Launch) -> str:
    """The interpreter that is asked what it sees; empty where the run has none of its own.

    In a job of several processes, and in a command, the command line begins with another program.
    """
    if is_python(config) and not config.get("distribution"):
        return launch.command[0]
    if needs_build(config):
        from onrecord.built_environment import adopted

        config = adopted(workspace, config)
    return str(config["interpreter"]) if has_inventory(config) else ""


def _stand_back(executor: Executor, launch: Launch, interpreter: str, folder: RunFolder) -> Inventory | None:
    """Leave the processor to the supervisor and the script until they have come up.

    The question for the inventory, which has little priority, goes on meanwhile; it takes longest.
    """
    progress = executor.wait(launch.control, _SUPERVISOR_COMES_UP_SECONDS, Waiting())
    inventory = None
    if interpreter:
        from onrecord.inventory import ask_for_inventory

        inventory = ask_for_inventory(interpreter, launch.environment, folder)
    if isinstance(progress, Started):
        executor.wait(launch.control, _SCRIPT_COMES_UP_SECONDS, progress)
    return inventory
