"""Plots as SVG, drawn on the server: where bars, lines, marks and words stand. Numbers are text already, with full
stops, since a reader's decimal comma would break the drawing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

LEFT, RIGHT, TOP, BOTTOM = 34.0, 440.0, 10.0, 126.0
GAP = 4.0  # between two bars
STUB = 4.0  # half the length of a line with a single point
NICE = (2, 4, 6, 8, 10)  # each has a middle that is a whole number


@dataclass(frozen=True, slots=True)
class Bar:
    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A word at an axis."""

    at: str
    text: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Plot:
    """One drawing. `lines` and `dashed` are lists of points; a gap in the figures breaks them."""

    heights: list[Mark]
    moments: list[Mark]
    bars: list[Bar]
    lines: list[str]
    dashed: list[str]
    areas: list[str]


Number = Callable[[float], str]


def bars(values: Sequence[float], moments: Sequence[str], number: Number) -> Plot:
    top = nice(max(values, default=0))
    width = (RIGHT - LEFT) / max(len(values), 1)
    drawn = [
        Bar(_at(LEFT + width * place + GAP / 2), _at(_y(value, top)), _at(width - GAP), _at(BOTTOM - _y(value, top)))
        for place, value in enumerate(values)
        if value
    ]
    return Plot(_heights(top, number), _moments(moments), drawn, [], [], [])


def lines(
    values: Sequence[float | None],
    moments: Sequence[str],
    number: Number,
    *,
    dashed: Sequence[float | None] = (),
    is_filled: bool = False,
    least: float = 2.0,
) -> Plot:
    known = [value for value in (*values, *dashed) if value is not None]
    top = nice(max(known, default=0), least)
    drawn = list(_lines(values, top))
    areas = [f"{line.split(',')[0]},{_at(BOTTOM)} {line} {_end(line)},{_at(BOTTOM)}" for line in drawn]
    return Plot(
        _heights(top, number), _moments(moments), [], drawn, list(_lines(dashed, top)), areas if is_filled else []
    )


def nice(most: float, least: float = 2.0) -> float:
    """The axis's end: the first of 2, 4, 6, 8, 10 and their multiples by ten that holds the largest figure."""
    most = max(most, least)
    unit = 10.0 ** math.floor(math.log10(most / 2))
    return next(step * size for size in (unit, unit * 10) for step in NICE if step * size >= most * (1 - 1e-9))


def _lines(values: Sequence[float | None], top: float) -> Iterator[str]:
    width = (RIGHT - LEFT) / max(len(values), 1)
    points = [None if value is None else (LEFT + width * (n + 0.5), _y(value, top)) for n, value in enumerate(values)]
    for is_known, run in groupby(points, lambda point: point is not None):
        found = [point for point in run if point]
        if is_known:
            if len(found) == 1:
                x, y = found[0]
                found = [(x - STUB, y), (x + STUB, y)]
            yield " ".join(f"{_at(x)},{_at(y)}" for x, y in found)


def _end(line: str) -> str:
    return line.rsplit(" ", 1)[-1].split(",")[0]


def _y(value: float, top: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * value / top


def _at(place: float) -> str:
    return f"{place:.1f}"


def _heights(top: float, number: Number) -> list[Mark]:
    return [Mark(_at(_y(value, top)), number(value)) for value in (0.0, top / 2, top)]


def _moments(words: Sequence[str]) -> list[Mark]:
    """Evenly from one end to the other; empty words mark nothing."""
    step = (RIGHT - LEFT) / max(len(words) - 1, 1)
    anchors = {len(words) - 1: "end"}
    return [Mark(_at(LEFT + step * n), word, anchors.get(n, "middle")) for n, word in enumerate(words) if word]
