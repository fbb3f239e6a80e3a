"""The command's entry: sub-commands loaded when they are used, errors told once and clearly."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click

from onrecord import __version__
from onrecord.cli import exit_codes
from onrecord.errors import OnRecordError

# Name -> (module, what it does): the help text needs no module to be imported.
COMMANDS = {
    "init": ("onrecord.cli.init", "Make a workspace in a folder."),
    "run": ("onrecord.cli.run", "Run a script and keep everything about it."),
    "ls": ("onrecord.cli.ls", "List runs, newest first."),
    "show": ("onrecord.cli.show", "Show one run."),
    "top": ("onrecord.cli.top", "Watch what runs and what waits."),
    "events": ("onrecord.cli.events", "Print the events of a run."),
    "logs": ("onrecord.cli.logs", "Print what a script printed."),
    "files": ("onrecord.cli.files", "List the files of a run."),
    "get": ("onrecord.cli.get", "Copy a file out of a run."),
    "tag": ("onrecord.cli.tag", "Set and remove tags of a run."),
    "note": ("onrecord.cli.note", "Add a note to a run, or describe it."),
    "rename": ("onrecord.cli.rename", "Give a run another display name."),
    "models": ("onrecord.cli.models", "Models: list, show, download, register and delete them."),
    "metrics": ("onrecord.cli.metrics", "Print what a run logged."),
    "tensorboard": ("onrecord.cli.tensorboard", "Show runs in TensorBoard, also while they are on."),
    "cancel": ("onrecord.cli.cancel", "End a run and all its processes."),
    "env": ("onrecord.cli.env", "Environments: list, show, build and remove them."),
    "snapshot": ("onrecord.cli.snapshot", "Snapshot a folder without running anything."),
    "diff": ("onrecord.cli.diff", "Show what differs between two runs, or a run and a folder."),
    "restore": ("onrecord.cli.restore", "Write a snapshot, or a run's source, into a folder."),
    "verify": ("onrecord.cli.verify", "Check that the history is what was written."),
    "checkpoint": ("onrecord.cli.checkpoint", "Print what names the whole history, to be kept elsewhere."),
    "receipt": ("onrecord.cli.receipt", "Print the receipt of a run: what others can check by themselves."),
    "prove": ("onrecord.cli.prove", "Print the proof that the history extends a checkpoint."),
    "check-checkpoint": ("onrecord.cli.check_checkpoint", "Check the signatures of a checkpoint."),
    "check-receipt": ("onrecord.cli.check_receipt", "Check a receipt, without the workspace."),
    "check-proof": ("onrecord.cli.check_proof", "Check a proof, without the workspace."),
    "keygen": ("onrecord.cli.keygen", "Make a key to sign checkpoints with."),
    "backup": ("onrecord.cli.backup", "Copy the ledger to a file, also while runs go on."),
    "rebuild": ("onrecord.cli.rebuild", "Make the read models again from the events."),
    "export": ("onrecord.cli.export", "Write runs into one file that proves itself."),
    "import": ("onrecord.cli.import_", "Take runs in from such a file."),
    "archive": ("onrecord.cli.archive", "Leave runs out of lists."),
    "reactivate": ("onrecord.cli.reactivate", "Have archived runs in lists again."),
    "delete": ("onrecord.cli.delete", "Delete runs with their files; their proofs stay."),
    "erase": ("onrecord.cli.erase", "Erase what is known of a run; its proofs stay."),
    "retain": ("onrecord.cli.retain", "Erase runs that ended long ago."),
    "targets": ("onrecord.cli.targets", "List where runs can go, and who waits."),
    "push": ("onrecord.cli.push", "Send files and sources of runs to another place."),
    "pull": ("onrecord.cli.pull", "Bring back files and sources of runs from there."),
    "gc": ("onrecord.cli.gc", "Remove files that no run refers to any more."),
    "completion": ("onrecord.cli.completion", "Print the shell completion for bash, zsh or fish."),
}
# Commands whose exit code 1 says something else than that they failed.
_FAILURES = {"run": exit_codes.BEFORE_THE_SCRIPT, "diff": exit_codes.TROUBLE}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        known = COMMANDS.get(cmd_name)
        if known is None:
            return None
        command: click.Command = import_module(known[0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest command named where there is none."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as problem:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS) if args else []
            if not near:
                raise
            raise click.UsageError(f"No such command {args[0]!r}. Did you mean '{near[0]}'?", ctx) from problem

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", message="onrecord %(version)s")
def group() -> None:
    """Every run, on record: run training scripts and keep a verifiable history of them, offline.

    A run is named by its id, a unique start of it, @last, or @best:METRIC. Every command that prints data takes --json.
    """


def run(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    _prepare_streams()
    failure = _FAILURES.get(arguments[0] if arguments else "", exit_codes.PROBLEM)
    try:
        code = group.main(args=list(arguments), prog_name="onrecord", standalone_mode=False)
        # Now, while a reader that has gone or a full disk can still be told.
        sys.stdout.flush()
    except click.UsageError as problem:
        problem.show()
        return exit_codes.USAGE
    except click.ClickException as problem:
        problem.show()
        return problem.exit_code
    except (click.Abort, KeyboardInterrupt):
        return exit_codes.CANCELED
    except OnRecordError as problem:
        _tell(str(problem))
        return failure
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_codes.OK
    except OSError as problem:
        _tell(f"{problem.filename or 'the operating system'}: {problem.strerror or problem}")
        return failure
    except Exception as problem:
        # Without importing sqlite3 for commands that need none.
        sqlite = sys.modules.get("sqlite3")
        if sqlite is None or not isinstance(problem, sqlite.Error):
            raise
        _tell(f"the ledger's tables are not as onrecord made them\n  why: {problem}\n  next: onrecord rebuild")
        return failure
    return code if isinstance(code, int) else exit_codes.OK


def _prepare_streams() -> None:
    """Closed streams are there and lead nowhere; what a terminal's encoding lacks is written as escapes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - for as long as this process lives
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _tell(text: str) -> None:
    from onrecord.wording import Style, printable

    # An error names what it was given, and that may hold anything.
    clean = "\n".join(printable(line) for line in text.split("\n"))
    print(f"{Style(sys.stderr).red('onrecord:')} {clean}", file=sys.stderr)
