"""`onrecord logs`."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from onrecord.cli.common import json_option, open_run, print_json, run_argument
from onrecord.run import Run
from onrecord.run_errors import UnknownFile
from onrecord.script_output import Follower
from onrecord.wording import narrate, printable


@click.command()
@run_argument
@click.option("-f", "--follow", "follows", is_flag=True, help="Go on until the run has ended.")
@json_option
def command(run: str, follows: bool, as_json: bool) -> None:
    """Print what a script wrote: its stdout on stdout, its stderr on stderr (--json: JSON Lines)."""
    found = open_run(run)
    lines = [_Lines("stdout"), _Lines("stderr")]
    stdout, stderr = (lines[0].take, lines[1].take) if as_json else (_writer(1), _writer(2))
    if follows and not found.has_ended():
        Follower(found, stdout, stderr, lambda text: narrate(printable(text))).follow()
    else:
        stdout(_kept(found, "logs/stdout.txt"))
        stderr(_kept(found, "logs/stderr.txt"))
    if as_json:
        for rest in lines:
            rest.end()


class _Lines:
    """Bytes to one JSON line for each line."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._rest = b""

    def take(self, piece: bytes) -> None:
        *whole, self._rest = (self._rest + piece).split(b"\n")
        for line in whole:
            print_json({"stream": self._stream, "line": line.decode("utf-8", "replace")}, line=True)

    def end(self) -> None:
        if self._rest:
            self.take(b"\n")


def _kept(run: Run, name: str) -> bytes:
    folder = run.workspace.layout.run(run.id)
    path = folder.stdout if name.endswith("stdout.txt") else folder.stderr
    if path.exists():
        return path.read_bytes()
    try:
        return run.read_file(name)
    except UnknownFile:
        return b""


def _writer(descriptor: int) -> Callable[[bytes], None]:
    stream = sys.stdout if descriptor == 1 else sys.stderr

    def write(piece: bytes) -> None:
        stream.buffer.write(piece)
        stream.buffer.flush()

    return write
