"""Many points as few: what a chart of them must show, bucket by bucket.

A bucket keeps its first and last value and its least and greatest with their places, so that a line drawn
through them covers every spike (M4, https://doi.org/10.14778/2732951.2732953). NaN, and what is no number,
has no place on a chart and is counted; infinities are values like others.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from onrecord.ledger.events import Series
from onrecord.ledger.shapes import is_int64
from onrecord.ledger.vectors import numpy_for

# Points in a bucket of the lowest level of the stored pyramid, and buckets of a level in one of the next.
SIZE = 256
RATIO = 4


class Bucket(NamedTuple):
    """Neighbouring points of one metric. Steps and values are None where there is none to tell."""

    start: int  # index of the first point within the metric, from 0
    points: int
    nans: int  # points that are NaN, or no number that a float64 holds
    stepless: int  # points without a step
    step: int | None  # of the first point
    at: int  # of the first point, microseconds since the epoch, UTC
    least_step: int | None
    greatest_step: int | None
    first: float | None
    last: float | None
    minimum: float | None
    minimum_index: int | None  # of the first point that has it, within the metric
    minimum_step: int | None
    maximum: float | None
    maximum_index: int | None
    maximum_step: int | None


class Points(NamedTuple):
    """Points as they are summed up: numbers with NaN for what is none; steps of 64 bits or None."""

    numbers: Sequence[float]
    steps: Sequence[int | None]
    times: Sequence[int]

    def part(self, begin: int, end: int) -> Points:
        """Those from index `begin` to `end`."""
        return Points(self.numbers[begin:end], self.steps[begin:end], self.times[begin:end])


def points_of(series: Series) -> Points:
    """The points of a series."""
    numbers: Sequence[float] = series.values
    if series.kind == "int64":
        numbers = array("d", series.values)
    elif series.kind != "float64":
        numbers = [_number(value) for value in series.values]
    steps, times = series.steps, series.times
    if isinstance(steps, list):
        steps = [step if is_int64(step) else None for step in steps]
    if isinstance(times, list):
        times = [max(-(2**63), min(at, 2**63 - 1)) for at in times]
    return Points(numbers, steps, times)


def joined(parts: Sequence[Points]) -> Points:
    """Points that follow one another."""
    if len(parts) == 1:
        return parts[0]
    numbers, times = array("d"), array("q")
    steps: Any = array("q") if all(isinstance(part.steps, array | range) for part in parts) else []
    for part in parts:
        numbers.extend(part.numbers)
        steps.extend(part.steps)
        times.extend(part.times)
    return Points(numbers, steps, times)


def extent(points: Points) -> tuple[float | None, float | None, int | None, int | None]:
    """The least and greatest number, the least and greatest step; None where there is none."""
    numbers, steps = points.numbers, points.steps
    if len(numbers) == 1:
        number = _real(numbers[0])
        return number, number, steps[0], steps[0]
    known: Sequence[int] = steps if isinstance(steps, array | range) else [step for step in steps if step is not None]
    numpy = numpy_for(len(numbers))
    if numpy is None or not isinstance(numbers, array) or not isinstance(steps, array | range):
        real = [number for number in numbers if number == number]
        return (*_ends(real), *_ends(known))
    column = numpy.frombuffer(numbers, "f8")
    low, high = float(numpy.fmin.reduce(column)), float(numpy.fmax.reduce(column))
    ends = numpy.frombuffer(known, "i8") if isinstance(known, array) else numpy.array([known[0], known[-1]])
    return _real(low), _real(high), int(ends.min()), int(ends.max())


def _ends(values: Sequence[Any]) -> tuple[Any, Any]:
    return min(values, default=None), max(values, default=None)


def summed_up(points: Points, start: int, size: int) -> list[Bucket]:
    """Buckets that end where an index within the metric is a multiple of `size`; `start`: of the first point."""
    count = len(points.numbers)
    head = min(-start % size, count)
    whole = head + (count - head) // size * size
    buckets = [_bucket(start, points.part(0, head))] if head else []
    buckets += _whole_buckets(points.part(head, whole), start + head, size)
    if whole < count:
        buckets.append(_bucket(start + whole, points.part(whole, count)))
    return buckets


def merged(buckets: Sequence[Bucket]) -> Bucket:
    """One bucket for several that follow one another."""
    if len(buckets) == 1:
        return buckets[0]
    # By column, for this is done thousands of times for one chart.
    starts, points, nans, stepless, steps, times, least, greatest, firsts, lasts, *extremes = zip(*buckets, strict=True)
    minima, minimum_at, minimum_steps, maxima, maximum_at, maximum_steps = extremes
    low, high = _where(minima, min), _where(maxima, max)
    return Bucket(
        starts[0],
        sum(points),
        sum(nans),
        sum(stepless),
        steps[0],
        times[0],
        least[_where(least, min)],
        greatest[_where(greatest, max)],
        firsts[0],
        lasts[-1],
        minima[low],
        minimum_at[low],
        minimum_steps[low],
        maxima[high],
        maximum_at[high],
        maximum_steps[high],
    )


def _where(column: tuple[Any, ...], choose: Any) -> int:
    """The place of the least or greatest; 0 where there is none."""
    if None not in column:
        return column.index(choose(column))
    known = [value for value in column if value is not None]
    return column.index(choose(known)) if known else 0


def at_most(buckets: Sequence[Bucket], most: int) -> list[Bucket]:
    """The buckets, merged evenly where they are more than `most`."""
    count = len(buckets)
    if count <= most:
        return list(buckets)
    return [merged(buckets[place * count // most : (place + 1) * count // most]) for place in range(most)]


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return float("nan")
    try:
        return float(value)
    except OverflowError:
        return float("nan")


def _bucket(start: int, points: Points) -> Bucket:
    numbers, steps, times = points
    real = [number for number in numbers if number == number]
    known = [step for step in steps if step is not None]
    low, high = _extreme(points, start, min, real), _extreme(points, start, max, real)
    return Bucket(
        start,
        len(numbers),
        len(numbers) - len(real),
        len(steps) - len(known),
        steps[0],
        times[0],
        min(known, default=None),
        max(known, default=None),
        _real(numbers[0]),
        _real(numbers[-1]),
        *low,
        *high,
    )


def _extreme(points: Points, start: int, choose: Any, real: list[float]) -> tuple[float | None, int | None, int | None]:
    if not real:
        return None, None, None
    value = choose(real)
    index = points.numbers.index(value)
    return value, start + index, points.steps[index]


def _real(number: float) -> float | None:
    return number if number == number else None


def _whole_buckets(points: Points, start: int, size: int) -> list[Bucket]:
    count = len(points.numbers)
    numpy = numpy_for(count)
    packed = all(isinstance(column, array) for column in (points.numbers, points.times))
    if numpy is None or not packed or not isinstance(points.steps, array | range) or sys.byteorder == "big":
        return [_bucket(start + at, points.part(at, at + size)) for at in range(0, count, size)]
    numbers = numpy.frombuffer(points.numbers, "f8").reshape(-1, size)
    steps = points.steps
    steps = (
        numpy.arange(count) * steps.step + steps.start if isinstance(steps, range) else numpy.frombuffer(steps, "i8")
    )
    steps, times = steps.reshape(-1, size), numpy.frombuffer(points.times, "i8")[::size]
    rows, starts = numpy.arange(count // size), numpy.arange(start, start + count, size)
    zeros = numpy.zeros(len(rows), "i8")
    columns = [starts, zeros + size, zeros, zeros, steps[:, 0], times]
    columns += [steps.min(axis=1), steps.max(axis=1), numbers[:, 0], numbers[:, -1]]
    for places in (numbers.argmin(axis=1), numbers.argmax(axis=1)):
        columns += [numbers[rows, places], starts + places, steps[rows, places]]
    buckets = list(map(Bucket._make, zip(*(column.tolist() for column in columns), strict=True)))
    for row in numpy.flatnonzero(numpy.isnan(numbers).any(axis=1)).tolist():
        buckets[row] = _bucket(start + row * size, points.part(row * size, (row + 1) * size))
    return buckets
