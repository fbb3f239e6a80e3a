"""Text for people: colours where they are wanted, columns that line up, sizes and times that read well."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import TextIO

_LEAST_WIDTH = 12
_STATUS_COLOURS = {
    "Completed": "32", "Failed": "31", "Canceled": "33", "Running": "36", "Finalizing": "36",
    "CancelRequested": "33", "NotResponding": "35",
}  # fmt: skip


class Style:
    """Colours for one stream: none where it is not a terminal or NO_COLOR is set (https://no-color.org)."""

    def __init__(self, stream: TextIO) -> None:
        wanted = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self.coloured = wanted and (stream.isatty() or bool(os.environ.get("FORCE_COLOR")))

    def paint(self, text: str, code: str) -> str:
        """`text` in the colour of an SGR code, where colours are wanted."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.coloured and text else text

    def red(self, text: str) -> str:
        """An error."""
        return self.paint(text, "31")

    def green(self, text: str) -> str:
        """All is well."""
        return self.paint(text, "32")

    def yellow(self, text: str) -> str:
        """Something changed."""
        return self.paint(text, "33")

    def cyan(self, text: str) -> str:
        """Something moved, or where something is."""
        return self.paint(text, "36")

    def dim(self, text: str) -> str:
        """Less important."""
        return self.paint(text, "2")

    def bold(self, text: str) -> str:
        """A heading."""
        return self.paint(text, "1")

    def status(self, status: str, width: int = 0) -> str:
        """A run's status in its colour, padded to `width` first."""
        return self.paint(status.ljust(width), _STATUS_COLOURS.get(status, "0"))


def narrate(text: str) -> None:
    """Say something about what is being done, on stderr; what came from outside goes through `printable` first."""
    style = Style(sys.stderr)
    print(f"{style.dim('onrecord:')} {text}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """`text` with control characters and undecodable bytes spelled out, so that no name can drive a terminal."""
    clean = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    return clean.encode("utf-8", "backslashreplace").decode()


def columns(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[list[str]]:
    """The cells padded so that columns line up, the last one not padded; columns in `right` to the right."""
    if not rows:
        return []
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    last = len(widths) - 1
    return [
        [
            cell.rjust(widths[index]) if index in right else cell if index == last else cell.ljust(widths[index])
            for index, cell in enumerate(row)
        ]
        for row in rows
    ]


def fitted(rows: Sequence[Sequence[str]], shrinking: Sequence[int], stream: TextIO) -> list[list[str]]:
    """The cells, those of some columns cut short so that rows fit on the stream where that is a terminal.

    `shrinking`: the columns that may be cut, the one to cut first first; each keeps 12 characters.
    """
    cut = [list(row) for row in rows]
    if not cut or not stream.isatty():
        return cut
    widths = [max(len(row[index]) for row in cut) for index in range(len(cut[0]))]
    excess = sum(widths) + 2 * (len(widths) - 1) - shutil.get_terminal_size().columns
    for index in shrinking:
        width = max(min(widths[index], _LEAST_WIDTH), widths[index] - max(excess, 0))
        excess -= widths[index] - width
        for row in cut:
            row[index] = shortened(row[index], width)
    return cut


def shortened(text: str, width: int) -> str:
    """At most `width` characters, an ellipsis in place of what was cut."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def counted(count: int, noun: str) -> str:
    """A number and its noun, in the plural where it needs one: 1 file, 2 files, 1,234 objects."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"


def size(count: int) -> str:
    """Bytes as people write them: 12 B, 3.4 kB, 1.2 GB (powers of 1,000)."""
    amount, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 999.95 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{count} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def duration(seconds: float | None) -> str:
    """Seconds as 0.42 s, 12.3 s, 4m 05s, 2h 03m, 3d 04h; `-` for None."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m" if hours < 24 else f"{hours // 24}d {hours % 24:02d}h"


def ago(microseconds: int) -> str:
    """How long ago, for a time within a week: `now`, `5 min ago`, `3 h ago`, `2 d ago`; else the date."""
    seconds = time.time() - microseconds / 1e6
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (129600, 3600, "h"), (604800, 86400, "d")):
        if seconds < limit:
            return "now" if seconds < 1 else f"{int(seconds // unit)} {name} ago"
    return datetime.fromtimestamp(microseconds / 1e6).strftime("%Y-%m-%d")


def metric(value: object) -> str:
    """A metric's value: numbers to six significant digits, anything else as it is."""
    return f"{value:.6g}" if isinstance(value, float) else printable(str(value))


def local_time(microseconds: int | None) -> str:
    """Local date and time to the second; `-` for None."""
    if microseconds is None:
        return "-"
    return datetime.fromtimestamp(microseconds / 1e6).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
