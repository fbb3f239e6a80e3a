"""`onrecord run`."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, nullcontext, redirect_stdout
from pathlib import Path

import attrs
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
from onrecord.cli.foreground import conclude, stream_attempts
from onrecord.cli.progress import files_progress_of
from onrecord.cli.run_job import RunCommand, apply, distribution, host_names, job_of, resources
from onrecord.compute_target import target_named
from onrecord.documents import run_document
from onrecord.environment_argument import environment_named
from onrecord.executors.registry import INLINE, executor_named
from onrecord.experiment import Experiment, checked_experiment_name, experiment_name_of
from onrecord.run import Run
from onrecord.script_run_config import ScriptRunConfig
from onrecord.snapshot.take import Snapshot
from onrecord.tag_names import checked_tags
from onrecord.wording import counted, narrate, printable, size
from onrecord.workspace import VARIABLE, Workspace, WorkspaceNotFound


@click.command(cls=RunCommand, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-e", "--experiment", help="The experiment to run under (default: the source folder's name).")
@click.option("-n", "--name", default="", help="A name for this run.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Tag the run; repeatable.")
@click.option(
    "--env",
    metavar="ENV",
    help="An interpreter or virtual environment, requirements.txt, pyproject.toml, pylock.toml, a conda file, a"
    " Dockerfile or a folder with one, an image (docker://IMAGE, or with a tag: python:3.12), or the NAME[:VERSION] of"
    " an environment (default: this interpreter).",
)
@click.option(
    "--compat",
    type=click.Choice(["azureml"]),
    help="For scripts that import azureml.core: onrecord stands in for it.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A job as ScriptRunConfig.save wrote it, in YAML; what is given here wins.",
)
@click.option("--command", "shell_text", metavar="TEXT", help="Run TEXT by /bin/sh instead of a script.")
@click.option("--resume-from", metavar="RUN", help="Give the script the outputs of this run: --resume-from FOLDER.")
@click.option("--source", type=click.Path(path_type=Path), help="The folder to snapshot (default: the current one).")
@click.option("--target", help="The compute target (default: local).")
@click.option("--nproc", type=click.IntRange(1), metavar="N", help="Run the script in N processes at once.")
@click.option("--distributed", type=click.Choice(["mpi", "torch", "tf"]), help="How they meet (default: torch).")
@click.option("--hosts", metavar="A,B", help="Run the processes on these hosts, over ssh: a, b:2222, user@c.")
@click.option("--priority", type=int, metavar="N", help="Start before waiting runs with a lower one.")
@click.option("--cores", type=float, metavar="N", help="Cores it takes of a target with limits (default: 1).")
@click.option("--memory", metavar="SIZE", help="Memory it takes of a target with limits: 8GB.")
@click.option("--gpus", type=int, metavar="N", help="GPUs it takes of a target with limits.")
@click.option(
    "--retries", type=click.IntRange(0), default=0, metavar="N", help="Run it again when it fails, N times at most."
)
@click.option("--timeout", type=Duration(), metavar="TIME", help="End the run after this long: 90s, 15m, 2h.")
@click.option("-k", "--keep", multiple=True, metavar="FOLDER", help="Record this folder besides outputs and logs.")
@click.option("--fail-if-child-fails", is_flag=True, help="Fail where a run that SCRIPT submits as its child fails.")
@click.option("--checkpoint", is_flag=True, help="Print the history's checkpoint on stderr at the end.")
@default_excludes_option
@rehash_option
@click.option("-d", "--detach", is_flag=True, help="Return at once and print the run's id.")
@json_option
@click.argument("script", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGS]...")
@click.pass_context
def command(
    context: click.Context,
    experiment: str | None,
    name: str,
    tags: tuple[str, ...],
    env: str | None,
    compat: str | None,
    config: Path | None,
    shell_text: str | None,
    resume_from: str | None,
    source: Path | None,
    target: str | None,
    nproc: int | None,
    distributed: str | None,
    hosts: str | None,
    priority: int | None,
    cores: float | None,
    memory: str | None,
    gpus: int | None,
    retries: int,
    timeout: float | None,
    keep: tuple[str, ...],
    fail_if_child_fails: bool,
    checkpoint: bool,
    default_excludes: bool,
    rehash: bool,
    detach: bool,
    as_json: bool,
    script: str | None,
    arguments: tuple[str, ...],
) -> int:
    """Run SCRIPT with ARGS, or after -- any PROGRAM, from a snapshot of the source folder; keep everything about it.

    In ARGS $NAME and ${NAME} of the run's own environment variables are replaced, in each process by its own.
    The script's output is passed on untouched and its exit code becomes this command's. The run goes on
    if this command is killed or its terminal closed.
    """
    job = job_of(context, config, source, script, arguments, shell_text)
    apply(
        job,
        compute_target=target,
        environment=environment_named(env),
        max_run_duration_seconds=timeout,
        distributed_job_config=distribution(job, nproc, distributed, host_names(hosts)),
        resources=resources(job, cores, memory, gpus),
        priority=priority,
        directories_to_watch=keep,
        resume_from=resume_from,
        default_excludes=None if default_excludes else False,
    )
    if compat is not None:
        job.environment = attrs.evolve(job.environment, compat=compat)
    if hosts:
        job.run_config.hosts = host_names(hosts)
    # Everything that can be refused is refused before a workspace is made for it.
    wanted = _tags(tags)
    _refuse_unknown(job.checked().target)
    chosen = checked_experiment_name(experiment or experiment_name_of(Path(job.source_directory)))
    workspace = _workspace()
    warn_of_changed_history(workspace)
    workspace.recover(0)
    if target_named(workspace, job.compute_target or "local").executor == INLINE:
        if detach:
            raise click.UsageError("An inline run is run by this very command: leave out --detach, or --target inline.")
        run = _run_inline(workspace, chosen, job, wanted, name, rehash, as_json)
        return _concluded(workspace, run, conclude(run), checkpoint, as_json)
    with files_progress_of("snapshotting") as progress:
        run = Experiment(workspace, chosen).submit(
            job,
            wanted,
            display_name=name,
            fail_if_child_fails=fail_if_child_fails,
            retries=retries,
            rehash=rehash,
            progress=progress,
        )
    _narrate_submit(run, run.snapshot, chosen)
    if detach:
        if as_json:
            print_json(_document(run))
        else:
            print(run.id)
        return exit_codes.OK
    run, code = stream_attempts(run, script_output_to_stderr=as_json)
    return _concluded(workspace, run, code, checkpoint, as_json)


def _concluded(workspace: Workspace, run: Run, code: int, checkpoint: bool, as_json: bool) -> int:
    if checkpoint:
        _narrate_checkpoint(workspace)
    if as_json:
        print_json(_document(run))
    return code


def _run_inline(
    workspace: Workspace,
    experiment: str,
    config: ScriptRunConfig,
    tags: dict[str, str],
    name: str,
    rehash: bool,
    as_json: bool,
) -> Run:
    """Run the script in this process; JSON needs stdout for itself."""
    from onrecord.submission import submit

    with ExitStack() as shown:
        progress = shown.enter_context(files_progress_of("snapshotting"))

        def before(run_id: str, snapshot: Snapshot) -> None:
            shown.close()
            _narrate_submit(Run(workspace, run_id), snapshot, experiment)

        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            run_id, _ = submit(
                workspace,
                experiment,
                config,
                name=name,
                tags=tags,
                rehash=rehash,
                progress=progress,
                before_inline=before,
            )
    return Run(workspace, run_id)


def _narrate_checkpoint(workspace: Workspace) -> None:
    from onrecord.cli.evidence import described
    from onrecord.ledger.history import History

    narrate(f"checkpoint: {described(History(workspace.journal).checkpoint())}")


def _refuse_unknown(target: str) -> None:
    try:
        workspace = Workspace.from_config()
    except WorkspaceNotFound:
        executor_named(target)
    else:
        target_named(workspace, target)


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
    tags, children = query.tags(run.id)[run.id], query.children_by_status(run.id)
    return run_document(run.workspace, query.run(run.id), tags, run.get_properties(), children)


def _narrate_submit(run: Run, taken: Snapshot | None, experiment: str) -> None:
    if taken is None:
        return
    narrate_taken(taken)
    files = counted(taken.files, "file")
    narrate(f"run {run.id} of {experiment}: {files}, {size(taken.bytes)}, {size(taken.bytes_stored)} new")
