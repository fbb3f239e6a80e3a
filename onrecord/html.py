"""Pieces of HTML that look the same wherever a notebook is shown: no script, no style sheet, nothing from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

from onrecord.wording import printable

_COLOURS = {
    "Completed": "#1a7f37",
    "Failed": "#cf222e",
    "Canceled": "#6e7781",
    "CancelRequested": "#9a6700",
    "NotResponding": "#9a6700",
    "Running": "#0969da",
    "Finalizing": "#0969da",
}
_OTHER_COLOUR = "#8250df"
_LEFT = ' style="text-align:left;vertical-align:middle;padding:2px 14px 2px 0"'


def escape(text: str) -> str:
    """Text as HTML, lines as they are; control characters, which no page may have, are spelled out."""
    return html.escape("\n".join(printable(line) for line in text.split("\n")))


def badge(status: str) -> str:
    """A run's status in its colour, with its name for whoever sees no colours."""
    colour = _COLOURS.get(status, _OTHER_COLOUR)
    return f'<span style="color:{colour};font-weight:600">●&nbsp;{escape(status)}</span>'


def code(text: str, title: str = "") -> str:
    """Something to copy."""
    hint = f' title="{escape(title)}"' if title else ""
    return f"<code{hint}>{escape(text)}</code>"


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table: the names of its columns as text, its cells as HTML."""
    names = "".join(f"<th{_LEFT}>{escape(name)}</th>" for name in head)
    lines = "".join("<tr>" + "".join(f"<td{_LEFT}>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table>"


def facts(values: Mapping[str, str]) -> str:
    """Names as text and values as HTML, one a line; those without a value are left out."""
    lines = "".join(
        f"<tr><th{_LEFT}>{escape(name)}</th><td{_LEFT}>{value}</td></tr>" for name, value in values.items() if value
    )
    return f"<table><tbody>{lines}</tbody></table>"
