"""Make the working copy of a run and say what is to be started in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onrecord.executors.protocol import Launch
from onrecord.script_environment import command_of, environment_of
from onrecord.snapshot.restore import restore_snapshot
from onrecord.workspace import Workspace

GRACE_SECONDS = 10.0


def prepare(workspace: Workspace, run_id: str, config: Mapping[str, Any]) -> Launch:
    """Restore the run's snapshot beside empty `outputs/` and `logs/`, in place of what was there before.

    Raises the snapshot's errors and OSError.
    """
    folder, row = workspace.layout.run(run_id), workspace.query.run(run_id)
    if folder.work.exists():
        # Only when an earlier conductor died.
        import shutil

        shutil.rmtree(folder.work)
    restore_snapshot(workspace.store, str(row.snapshot_id), folder.work)
    for name in ("outputs", "logs"):
        (folder.work / name).mkdir(exist_ok=True)
    for path in (folder.logs, folder.records):
        path.mkdir(exist_ok=True)
    for path in (folder.stdout, folder.stderr, folder.spool):
        path.touch()
    return Launch(
        command=command_of(config),
        working_directory=folder.work,
        environment=environment_of(config, workspace, row),
        stdout=folder.stdout,
        stderr=folder.stderr,
        control=folder.path,
        time_limit_seconds=config["max_run_duration_seconds"],
        grace_seconds=GRACE_SECONDS,
    )
