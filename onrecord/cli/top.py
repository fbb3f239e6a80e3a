"""`onrecord top`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from onrecord.cli.common import json_option, open_workspace, print_json
from onrecord.run_activity import Activity, ActivityWatch
from onrecord.wording import Style, columns, duration, narrate, printable, shortened, size

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLOURS = {"Running": "cyan", "Queued": "dim", "Preparing": "blue", "NotResponding": "magenta",
            "CancelRequested": "yellow", "Finalizing": "cyan"}  # fmt: skip
_HEADS = ("run", "name", "status", "cpu", "memory", "thr", "gpu", "progress", "elapsed")
_RIGHT = frozenset({3, 4, 5, 6, 8})
_PROGRESS_WIDTH = 32
_FIRST_PAUSE_SECONDS = 0.5


@click.command()
@click.option("--once", is_flag=True, help="Print the table once, after one look of half a second, and end.")
@click.option("--interval", type=click.FloatRange(0.2), default=1.0, help="Seconds between looks (default: 1).")
@json_option
def command(once: bool, interval: float, as_json: bool) -> None:
    """Watch the runs that run or wait: CPU, memory, threads, GPU, last metric, time.

    q or Ctrl-C leaves; the runs go on. Without a terminal it prints once.
    """
    watch = ActivityWatch(open_workspace())
    if as_json or once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        watch.look()
        watch.rest(_FIRST_PAUSE_SECONDS)
        found = watch.look()
        if as_json:
            print_json([activity.as_document() for activity in found])
        else:
            _print(found)
        return
    _live(watch, interval)


def _cells(activity: Activity) -> list[str]:
    """One run's cells, in the order of the heads."""
    gpu = "" if activity.gpu_percent is None else f"{activity.gpu_percent:.0f}%"
    return [
        activity.run_id[:10],
        printable(activity.name),
        activity.status,
        "" if activity.cpu_percent is None else f"{activity.cpu_percent:.0f}%",
        "" if activity.rss_bytes is None else size(activity.rss_bytes),
        "" if activity.threads is None else str(activity.threads),
        gpu,
        shortened(printable(activity.progress), _PROGRESS_WIDTH),
        duration(activity.elapsed_seconds),
    ]


def _print(found: list[Activity]) -> None:
    if not found:
        narrate("nothing runs and nothing waits; onrecord ls lists what has ended")
        return
    style = Style(sys.stdout)
    heads, *rows = columns([list(_HEADS), *(_cells(activity) for activity in found)], right=_RIGHT)
    print(style.dim("  ".join(heads).rstrip()))
    for activity, row in zip(found, rows, strict=True):
        row[2] = row[2].replace(activity.status, style.status(activity.status))
        print("  ".join(row).rstrip())


def _live(watch: ActivityWatch, interval: float) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                live.update(_screen(watch, console.size.width), refresh=True)
                key = pressed(pause)
            except KeyboardInterrupt:
                return
            if key in ("q", "Q", "\x1b", "\x03", "\x04"):
                return
            pause = interval


def _screen(watch: ActivityWatch, width: int) -> RenderableType:
    """What the terminal shows now: a line in sum, the runs, and how to leave."""
    from rich.console import Group
    from rich.text import Text

    found = watch.look()
    line = Text.assemble(("onrecord top", "bold"), ("   ", ""), (_in_sum(found), ""))
    line.truncate(width)
    hint = Text("q leaves; the runs go on", style="dim")
    if not found:
        return Group(line, "", Text("nothing runs and nothing waits", style="dim"), "", hint)
    return Group(line, "", _table(found, width), "", hint)


def _in_sum(found: list[Activity]) -> str:
    waiting = sum(activity.status == "Queued" for activity in found)
    cpu = sum(activity.cpu_percent or 0.0 for activity in found)
    memory = sum(activity.rss_bytes or 0 for activity in found)
    return f"{len(found) - waiting} running, {waiting} waiting   cpu {cpu:.0f}%   memory {size(memory)}"


def _table(found: list[Activity], width: int) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, expand=True, pad_edge=False, padding=(0, 1))
    shown = [index for index in range(len(_HEADS)) if not _is_left_out(index, found, width)]
    for index in shown:
        grows = {"name": 2, "progress": 3}.get(_HEADS[index])
        table.add_column(
            _HEADS[index],
            justify="right" if index in _RIGHT else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=grows,
            header_style="dim",
        )
    for activity in found:
        cells: list[Any] = [Text(cell) for cell in _cells(activity)]
        cells[0].stylize("dim")
        cells[2].stylize(_COLOURS.get(activity.status, ""))
        if activity.cpu_percent is not None:
            cells[3] = _bar(activity.cpu_percent, cells[3])
        table.add_row(*(cells[index] for index in shown))
    return table


def _bar(percent: float, label: Any) -> Any:
    """Six cells for one core, full above that, and the number."""
    from rich.text import Text

    eighths = min(round(percent / 100 * 48), 48)
    drawn = "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "")
    return Text.assemble((drawn.ljust(6), "green" if percent < 90 else "yellow"), f"{label.plain:>6}")


def _is_left_out(index: int, found: list[Activity], width: int) -> bool:
    head = _HEADS[index]
    if head == "gpu":
        return all(activity.gpu_percent is None for activity in found)
    # The id and what it does are what a narrow terminal needs most.
    return (head == "thr" and width < 90) or (head == "progress" and width < 76)


@contextmanager
def _keys() -> Iterator[Any]:
    """A function that waits at most so many seconds for a key, and returns it or ""."""
    import select
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)

    def pressed(seconds: float) -> str:
        if not select.select([fd], [], [], seconds)[0]:
            return ""
        import os

        # A closed terminal reads as nothing, for ever.
        return os.read(fd, 32).decode("ascii", "replace")[:1] or "q"

    try:
        tty.setcbreak(fd)
        yield pressed
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
