"""What several commands share: opening the workspace, naming a run, printing JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from onrecord.errors import OnRecordError
from onrecord.workspace import Workspace

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from onrecord.run import Run
    from onrecord.snapshot.take import Snapshot

Function = TypeVar("Function", bound=Callable[..., Any])


def open_workspace() -> Workspace:
    """The workspace of the current folder, with runs that lost their conductor taken care of."""
    workspace = Workspace.from_config()
    workspace.recover()
    return workspace


def warn_of_changed_history(workspace: Workspace) -> None:
    """Say it loudly where the ledger has gone back behind its last checkpoint. Costs two small reads.

    Commands that write call this. They go on: a run that is refused is lost, and the checkpoint stays as it is.
    """
    from onrecord.anchors import HistoryChanged, problem_at_a_glance
    from onrecord.wording import Style, printable

    problem = problem_at_a_glance(workspace)
    if problem:
        style = Style(sys.stderr)
        for line in str(HistoryChanged.of(workspace, problem)).split("\n"):
            click.echo(f"{style.red('onrecord:')} {printable(line)}", err=True)


def open_run(text: str) -> Run:
    """The run that `text` names, in the workspace of the current folder."""
    return open_workspace().get_run(text)


def print_json(document: Any, *, line: bool = False) -> None:
    """One JSON document on stdout; on one line for JSON Lines."""
    text = json.dumps(document, indent=None if line else 2, ensure_ascii=True)
    sys.stdout.write(text + "\n")
    if line:
        sys.stdout.flush()


def json_option(function: Function) -> Function:
    """The option --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def yes_option(function: Function) -> Function:
    """The option --yes."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")(function)


def default_excludes_option(function: Function) -> Function:
    """The option --no-default-excludes."""
    return click.option(
        "--no-default-excludes",
        "default_excludes",
        flag_value=False,
        default=True,
        help="Leave out only what ignore files name: keep .git, venvs, caches, outputs/, logs/.",
    )(function)


def rehash_option(function: Function) -> Function:
    """The option --rehash."""
    return click.option("--rehash", is_flag=True, help="Read every file, also those that look unchanged.")(function)


def narrate_taken(taken: Snapshot) -> None:
    """Say what a snapshot left out, and what is remarkable about it."""
    from onrecord.wording import narrate, printable

    for skipped in taken.skipped:
        narrate(printable(f"not in the snapshot: {skipped.path} ({skipped.reason})"))
    for warning in taken.warnings:
        for line in warning.split("\n"):
            narrate(printable(line))


def confirm(what: str, yes: bool) -> None:
    """Go on only when the user agrees to `what`, which begins with a verb.

    Raises Abort, and UsageError where nobody can be asked.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"There is no terminal to ask on whether to {what}. --yes agrees to it.")
    click.confirm(f"{what[0].upper()}{what[1:]}? This cannot be undone.", abort=True, err=True)


def state_named(given: str | None) -> str | None:
    """The state that was meant, in whatever case it was written. Raises OnRecordError."""
    from onrecord.ledger.states import ALL_STATES

    if given is None:
        return None
    for state in ALL_STATES:
        if state.lower() == given.lower().replace("_", "").replace("-", ""):
            return state
    raise OnRecordError(
        f"there is no status '{given}'",
        why=f"a run is {', '.join(ALL_STATES)}",
        next_step="onrecord ls --status Failed",
    )


def run_argument(function: Function) -> Function:
    """The argument RUN, with its completion."""
    return click.argument("run", metavar="RUN", shell_complete=complete_run)(function)


def complete_run(ctx: click.Context, parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """Ids of runs that start with what was typed, newest first."""
    from click.shell_completion import CompletionItem

    try:
        rows = Workspace.from_config().query.runs(limit=200)
    except OnRecordError:
        return []
    found = [
        CompletionItem(row.run_id, help=f"{row.experiment} {row.status}")
        for row in rows
        if row.run_id.startswith(start.lower())
    ]
    return [CompletionItem("@last", help="the newest run")] * "@last".startswith(start) + found


def complete_file(ctx: click.Context, parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """Names of the run's files that start with what was typed."""
    from click.shell_completion import CompletionItem

    try:
        names = Workspace.from_config().get_run(ctx.params["run"]).get_file_names()
    except (OnRecordError, KeyError):
        return []
    return [CompletionItem(name) for name in names if name.startswith(start)]
