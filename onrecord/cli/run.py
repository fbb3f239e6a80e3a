"""`onrecord run`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from onrecord.cli import exit_codes
from onrecord.cli.common import (
    default_excludes_option,
    json_option,
    narrate_taken,
    print_json,
    rehash_option,
    warn_of_changed_history,
)
from onrecord.cli.duration import Duration
from onrecord.cli.environment_argument import environment_named
from onrecord.cli.foreground import stream
from onrecord.cli.progress import files_progress_of
from onrecord.cli.text import counted, narrate, printable, size
from onrecord.compute_target import target_named
from onrecord.distributed import Distribution, MpiConfiguration, PyTorchConfiguration, TensorflowConfiguration
from onrecord.documents import run_document
from onrecord.executors.registry import executor_named
from onrecord.experiment import Experiment, checked_experiment_name, experiment_name_of
from onrecord.resources import Resources
from onrecord.run import Run
from onrecord.script_run_config import MAX_DURATION_SECONDS_DEFAULT, ScriptRunConfig
from onrecord.tag_names import checked_tags
from onrecord.workspace import VARIABLE, Workspace, WorkspaceNotFound


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-e", "--experiment", help="The experiment to run under (default: the source folder's name).")
@click.option("-n", "--name", default="", help="A name for this run.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Tag the run; repeatable.")
@click.option(
    "--env",
    metavar="ENV",
    help="An interpreter or virtual environment, requirements.txt, pyproject.toml, pylock.toml, a conda file, or the"
    " NAME[:VERSION] of an environment (default: this interpreter).",
)
@click.option("--source", type=click.Path(path_type=Path), help="The folder to snapshot (default: the current one).")
@click.option("--target", help="The compute target (default: local).")
@click.option("--nproc", type=click.IntRange(1), metavar="N", help="Run the script in N processes at once.")
@click.option("--distributed", type=click.Choice(["mpi", "torch", "tf"]), help="How they meet (default: torch).")
@click.option("--priority", type=int, default=0, metavar="N", help="Start before waiting runs with a lower one.")
@click.option("--cores", type=float, metavar="N", help="Cores it takes of a target with limits (default: 1).")
@click.option("--memory", default="0", metavar="SIZE", help="Memory it takes of a target with limits: 8GB.")
@click.option("--gpus", type=int, default=0, metavar="N", help="GPUs it takes of a target with limits.")
@click.option("--timeout", type=Duration(), metavar="TIME", help="End the run after this long: 90s, 15m, 2h.")
@click.option("-k", "--keep", multiple=True, metavar="FOLDER", help="Record this folder besides outputs and logs.")
@click.option("--checkpoint", is_flag=True, help="Print the history's checkpoint on stderr at the end.")
@default_excludes_option
@rehash_option
@click.option("-d", "--detach", is_flag=True, help="Return at once and print the run's id.")
@json_option
@click.argument("script")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGS]...")
def command(
    experiment: str | None,
    name: str,
    tags: tuple[str, ...],
    env: str | None,
    source: Path | None,
    target: str | None,
    nproc: int | None,
    distributed: str | None,
    priority: int,
    cores: float | None,
    memory: str,
    gpus: int,
    timeout: float | None,
    keep: tuple[str, ...],
    checkpoint: bool,
    default_excludes: bool,
    rehash: bool,
    detach: bool,
    as_json: bool,
    script: str,
    arguments: tuple[str, ...],
) -> int:
    """Run SCRIPT with ARGS from a snapshot of the source folder, and keep everything about it.

    The script's output is passed on untouched and its exit code becomes this command's. The run goes on
    if this command is killed or its terminal closed.
    """
    folder, inside = _source_and_script(source, script)
    config = ScriptRunConfig(
        folder,
        inside,
        list(arguments),
        compute_target=target,
        environment=environment_named(env),
        max_run_duration_seconds=timeout or MAX_DURATION_SECONDS_DEFAULT,
        distributed_job_config=_distribution(nproc, distributed),
        resources=Resources(cores, 0 if memory == "0" else memory, gpus),
        priority=priority,
        directories_to_watch=keep,
        default_excludes=default_excludes,
    )
    # Everything that can be refused is refused before a workspace is made for it.
    wanted = _tags(tags)
    _refuse_unknown(config.checked().target)
    chosen = checked_experiment_name(experiment or experiment_name_of(folder))
    workspace = _workspace()
    warn_of_changed_history(workspace)
    workspace.recover(0)
    with files_progress_of("snapshotting") as progress:
        run = Experiment(workspace, chosen).submit(config, wanted, display_name=name, rehash=rehash, progress=progress)
    _narrate_submit(run, chosen)
    if detach:
        if as_json:
            print_json(_document(run))
        else:
            print(run.id)
        return exit_codes.OK
    code = stream(run, script_output_to_stderr=as_json)
    if checkpoint:
        _narrate_checkpoint(workspace)
    if as_json:
        print_json(_document(run))
    return code


def _narrate_checkpoint(workspace: Workspace) -> None:
    from onrecord.cli.evidence import described
    from onrecord.ledger.history import History

    narrate(f"checkpoint: {described(History(workspace.journal).checkpoint())}")


def _source_and_script(source: Path | None, script: str) -> tuple[Path, str]:
    """The folder to snapshot and the script in it: what `python SCRIPT` would see, as far as one folder can."""
    if source is not None:
        inside = Path(script)
        # Both `--source project train.py` and `--source project project/train.py` mean the same file.
        if not (source / inside).exists() and inside.resolve().is_relative_to(source.resolve()):
            return source, str(inside.resolve().relative_to(source.resolve()))
        return source, script
    here, path = Path.cwd(), Path(script).absolute()
    if not path.is_relative_to(here):
        narrate(printable(f"the source folder is {path.parent}, where the script is (--source chooses another)"))
        return path.parent, path.name
    if here in (Path.home(), Path(here.anchor)) and path.parent != here:
        narrate(printable(f"the source folder is {path.parent}, not all of {here} (--source chooses another)"))
        return path.parent, path.name
    return here, script


def _refuse_unknown(target: str) -> None:
    try:
        workspace = Workspace.from_config()
    except WorkspaceNotFound:
        executor_named(target)
    else:
        target_named(workspace, target)


def _distribution(processes: int | None, scheme: str | None) -> Distribution | None:
    if processes is None and scheme is None:
        return None
    count = processes or 1
    if scheme == "mpi":
        return MpiConfiguration(count)
    if scheme == "tf":
        return TensorflowConfiguration(count, 0)
    return PyTorchConfiguration("Gloo", count)


def _workspace() -> Workspace:
    try:
        return Workspace.from_config()
    except WorkspaceNotFound as problem:
        # One that is named or begun is meant: another one elsewhere would hide the mistake.
        if os.environ.get(VARIABLE) or "config.toml" in problem.why or "is a file" in problem.why:
            raise
        workspace = Workspace.create()
        narrate(printable(f"made a workspace in {workspace.layout.root}"))
        return workspace


def _tags(given: tuple[str, ...]) -> dict[str, str]:
    return checked_tags({key: value for key, _, value in (tag.partition("=") for tag in given)})


def _document(run: Run) -> dict[str, object]:
    query = run.workspace.query
    return run_document(run.workspace, query.run(run.id), query.tags(run.id)[run.id], run.get_properties())


def _narrate_submit(run: Run, experiment: str) -> None:
    taken = run.snapshot
    if taken is None:
        return
    narrate_taken(taken)
    files = counted(taken.files, "file")
    narrate(f"run {run.id} of {experiment}: {files}, {size(taken.bytes)}, {size(taken.bytes_stored)} new")
