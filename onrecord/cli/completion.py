"""`onrecord completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of a shell, for example: source <(onrecord completion bash)."""
    from onrecord.cli.main import group

    found = get_completion_class(shell)
    # The choice above lists only shells that click knows.
    assert found is not None  # noqa: S101
    click.echo(found(group, {}, "onrecord", "_ONRECORD_COMPLETE").source())
