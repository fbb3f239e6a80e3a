"""What every benchmark here shares: one JSON line a figure, ours beside its reference from the same run."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence


def print_figure(
    figure: str, unit: str, ours: float, reference: float, reference_name: str, goal: str, held: bool
) -> None:
    """Print one figure with its reference, their ratio and difference, and whether the goal holds."""
    document = {
        "figure": figure,
        "unit": unit,
        "ours": round(ours, 3),
        "reference": round(reference, 3),
        "reference_name": reference_name,
        "ratio": round(ours / reference, 3) if reference else None,
        "difference": round(ours - reference, 3),
        "goal": goal,
        "held": held,
    }
    print(json.dumps(document), flush=True)


def interleaved(rounds: int, measures: Sequence[Callable[[], float]]) -> list[float]:
    """The median of each measure, taken in turns so that a noisy minute hits all of them."""
    taken: list[list[float]] = [[] for _ in measures]
    for _ in range(rounds):
        for values, measure in zip(taken, measures, strict=True):
            values.append(measure())
    return [statistics.median(values) for values in taken]
