"""Make the working copy of a run and start its script in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from onrecord.errors import OnRecordError, in_one_line
from onrecord.executors.errors import AlreadyStarted
from onrecord.executors.protocol import Executor, Launch
from onrecord.executors.registry import LOCAL, executor_named
from onrecord.layout import RunFolder
from onrecord.ledger.states import CANCEL_REQUESTED
from onrecord.script_environment import Words, environment_of, words_of
from onrecord.snapshot.restore import restore_snapshot
from onrecord.workspace import Workspace

if TYPE_CHECKING:
    from onrecord.inventory import Inventory

GRACE_SECONDS = 10.0
# Less than that, so that the processes of a job are ended by the one that can tell them apart.
RANKS_GRACE_SECONDS = 8.0


_OF_ENVIRONMENTS = frozenset(
    {"EnvironmentBuildFailed", "BadEnvironment", "ImageUnavailable", "ImageUnfit", "NoContainerEngine", "EngineFailed"}
)


class StartFailure(NamedTuple):
    """Why no script was started: `code`, `message` and perhaps `details`, as a failed run has them."""

    code: str
    message: str
    details: str = ""


class Start(NamedTuple):
    """What came of a start: the launch that is under way, or why none is; None where none was made."""

    outcome: Launch | StartFailure | Exception | None = None
    inventory: Inventory | None = None


def start_script(
    workspace: Workspace, run_id: str, config: Mapping[str, Any], executor: Executor
) -> Launch | StartFailure | None:
    """Prepare the run and set its script on its way; None when someone asked for the run's end before."""
    try:
        if needs_build(config):
            # Nothing of this is imported for a run in an interpreter as it is.
            from onrecord.built_environment import make_ready

            ready = make_ready(workspace, run_id, config)
            if ready is None:
                return None
            config = ready
        launch = prepare(workspace, run_id, config)
    except (OnRecordError, OSError) as problem:
        return _failure(problem)
    if workspace.query.run(run_id).status == CANCEL_REQUESTED:
        return None
    try:
        executor.start(launch)
    except AlreadyStarted:
        pass
    except OnRecordError as problem:
        return StartFailure("StartFailed", in_one_line(problem))
    return launch


def executor_of(workspace: Workspace, target: str) -> Executor:
    """The executor of a compute target. Raises UnknownTarget, BadTarget, BrokenTarget."""
    if target == LOCAL:
        return executor_named(LOCAL)
    from onrecord.compute_target import target_named

    return executor_named(target_named(workspace, target).executor)


def needs_build(config: Mapping[str, Any]) -> bool:
    """Whether the run's environment is one that is built, and not an interpreter as it is."""
    environment = config["environment"]
    if uses_container(environment):
        return True
    python = environment.get("python", {})
    return not python.get("user_managed_dependencies") and ("conda_dependencies" in python or "pylock" in python)


def uses_container(environment: Mapping[str, Any]) -> bool:
    """Whether an environment's document asks for a container."""
    docker = environment.get("docker") or {}
    has_image = any(name in docker for name in ("base_image", "base_dockerfile", "build_context"))
    return bool(docker.get("enabled", has_image))


def _failure(problem: Exception) -> StartFailure:
    # By name: its class is imported only where something is built.
    if isinstance(problem, OnRecordError) and type(problem).__name__ in _OF_ENVIRONMENTS:
        details = str(getattr(problem, "details", ""))
        return StartFailure("EnvironmentBuildFailed", in_one_line(problem), details)
    return StartFailure("PreparationFailed", in_one_line(problem))


def prepare(workspace: Workspace, run_id: str, config: Mapping[str, Any]) -> Launch:
    """Restore the run's snapshot beside empty `outputs/` and `logs/`, in place of what was there before.

    Raises the snapshot's errors, CannotResume and OSError.
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
    if config.get("resume_from"):
        from onrecord.resuming import bring_outputs

        bring_outputs(workspace, config["resume_from"], folder.resumed)
    words = words_of(config, str(folder.resumed) if config.get("resume_from") else "")
    environment = environment_of(config, workspace, row)
    command, cleanup = _command(config, words, folder, environment), tuple[str, ...]()
    if config.get("container"):
        from onrecord.container_launch import contained

        command, cleanup = contained(command, config, workspace, folder, environment, RANKS_GRACE_SECONDS)
    return Launch(
        command=command,
        working_directory=folder.work,
        environment=environment,
        stdout=folder.stdout,
        stderr=folder.stderr,
        control=folder.path,
        time_limit_seconds=config["max_run_duration_seconds"],
        grace_seconds=GRACE_SECONDS,
        cleanup=cleanup,
    )


def _command(
    config: Mapping[str, Any], words: Words, folder: RunFolder, environment: dict[str, str]
) -> tuple[str, ...]:
    """The command line of the one process that is started; where there are several, each replaces its own `$NAME`."""
    if not config.get("distribution"):
        seen: Mapping[str, str] = environment
        if config.get("container"):
            from onrecord.container_launch import variables_inside

            seen = variables_inside(config, environment)
        command = words.expanded(seen)
        if config.get("framework"):
            from onrecord.spark_command import submitted_by_spark

            command = submitted_by_spark(command, config, folder, environment)
        return command
    if config["distribution"].get("hosts"):
        from onrecord.job_hosts import hosts_command

        return hosts_command(words, config, folder, environment, RANKS_GRACE_SECONDS)
    from onrecord.rank_plan import ranked_command

    return ranked_command(words, config, folder, environment, RANKS_GRACE_SECONDS)
