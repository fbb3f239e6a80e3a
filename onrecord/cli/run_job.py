"""The job that a command line of `onrecord run` describes: a file, what is to be run, and what the options change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from onrecord.distributed import Distribution, MpiConfiguration, PyTorchConfiguration, TensorflowConfiguration
from onrecord.resources import Resources
from onrecord.script_run_config import ScriptRunConfig
from onrecord.wording import narrate, printable

_IS_COMMAND = "onrecord.command"


class RunCommand(click.Command):
    """A command that knows whether its words came after `--`, where they are a program and not a script."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; `--` and what follows it is the end of the line, for options end at the first word."""
        given = list(args)
        rest = super().parse_args(ctx, args)
        script = ctx.params.get("script")
        words = len(ctx.params.get("arguments") or ()) + (script is not None)
        place = len(given) - words
        ctx.meta[_IS_COMMAND] = bool(words) and place > 0 and given[place - 1] == "--"
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """The two ways to say what is run."""
        return ["[OPTIONS]", "SCRIPT [ARGS]...  |  -- PROGRAM [ARGS]..."]


def job_of(
    context: click.Context,
    config: Path | None,
    source: Path | None,
    script: str | None,
    arguments: tuple[str, ...],
    shell_text: str | None,
) -> ScriptRunConfig:
    """The job of a file, or a new one, with what the words say is to be run. Raises UsageError, BadConfig."""
    job = ScriptRunConfig.load(config) if config is not None else ScriptRunConfig()
    if shell_text is not None and script is not None:
        raise click.UsageError("Either SCRIPT or --command, not both: a command is the whole of what is run.")
    is_command = bool(context.meta.get(_IS_COMMAND))
    if source is not None:
        job.source_directory = source
    if script is None and shell_text is None:
        if config is None:
            raise click.UsageError("Missing SCRIPT. Or a program: onrecord run -- make train")
        return job
    job.script, job.arguments, job.command = None, None, None
    if is_command or shell_text is not None:
        job.command = shell_text if shell_text is not None else [script, *arguments]
        if config is None and source is None:
            _refuse_everything()
    elif config is not None and source is None:
        job.script, job.arguments = script, list(arguments)
    else:
        folder, job.script = source_and_script(source, str(script))
        job.source_directory, job.arguments = folder, list(arguments)
    return job


def _refuse_everything() -> None:
    here = Path.cwd()
    if here in (Path.home(), Path(here.anchor)):
        raise click.UsageError(
            f"Everything in {here} would be snapshotted. --source chooses the folder of the project."
        )


def source_and_script(source: Path | None, script: str) -> tuple[Path, str]:
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


def apply(job: ScriptRunConfig, **options: Any) -> None:
    """Set what was given on the command line; None and what is empty leave the job as it is."""
    for name, value in options.items():
        if value is not None and value != ():
            setattr(job, name, value)


def resources(job: ScriptRunConfig, cores: float | None, memory: str | None, gpus: int | None) -> Resources:
    """What the run takes, with what was given on the command line instead of what the job says."""
    known = job.resources
    return Resources(
        known.cores if cores is None else cores,
        known.memory if memory is None else 0 if memory == "0" else memory,
        known.gpus if gpus is None else gpus,
    )


def distribution(
    job: ScriptRunConfig, processes: int | None, scheme: str | None, hosts: Sequence[str]
) -> Distribution | None:
    """The processes that --nproc, --distributed and --hosts ask for; None where they leave them as the job has them."""
    if processes is None and scheme is None and (not hosts or job.distributed_job_config is not None):
        return None
    nodes = len(hosts) or 1
    count = processes or nodes
    if scheme == "mpi":
        return MpiConfiguration(count)
    if scheme == "tf":
        return TensorflowConfiguration(count, 0)
    return PyTorchConfiguration("Gloo", count, nodes)


def host_names(text: str | None) -> list[str]:
    """The hosts of `--hosts a,b`. Raises UsageError where it names none."""
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    if text is not None and not names:
        raise click.UsageError("--hosts names no host. For example: --hosts a,b:2222")
    return names
