"""A metric as a small curve: in SVG for pages, in block characters for terminals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onrecord.html import escape

_BLOCKS = "▁▂▃▄▅▆▇█"
_MARGIN = 2.0


def svg_sparkline(values: Sequence[float | None], *, width: int = 120, height: int = 24, label: str = "") -> str:
    """An inline SVG of the values in their order, without script or style sheet; a gap where a value is none.

    `label` is read by screen readers and shown under the mouse. Empty where there is no finite value.
    """
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    across = (width - 2 * _MARGIN) / max(len(values) - 1, 1)
    points = [
        None
        if value is None or not math.isfinite(value)
        else (_MARGIN + index * across, height - _MARGIN - _share(value, low, high) * (height - 2 * _MARGIN))
        for index, value in enumerate(values)
    ]
    lines = "".join(
        f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in piece)}" fill="none" stroke="#4078c0"'
        ' stroke-width="1.5" stroke-linejoin="round"/>'
        for piece in _pieces(points)
        if len(piece) > 1
    )
    end = next(point for point in reversed(points) if point is not None)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        f' role="img" style="vertical-align:middle"><title>{escape(label)}</title>{lines}'
        f'<circle cx="{end[0]:.1f}" cy="{end[1]:.1f}" r="2" fill="#4078c0"/></svg>'
    )


def text_sparkline(values: Sequence[float | None]) -> str:
    """The values as one character each; a blank where a value is none.

    >>> text_sparkline([0.0, 0.5, None, 1.0])
    '▁▅ █'
    """
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    return "".join(
        " "
        if value is None or not math.isfinite(value)
        else _BLOCKS[min(int(_share(value, low, high) * len(_BLOCKS)), len(_BLOCKS) - 1)]
        for value in values
    )


def _share(value: float, low: float, high: float) -> float:
    # Halved first: the difference of two finite numbers may be none.
    return 0.5 if high == low else (value / 2 - low / 2) / (high / 2 - low / 2)


def _pieces(points: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    pieces: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            pieces.append([])
        else:
            pieces[-1].append(point)
    return pieces
