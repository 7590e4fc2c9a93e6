"""Pareto front: score over cost, with the intervals of the scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from bakeoff.analysis import words
from bakeoff.analysis.pareto import Point
from bakeoff.analysis.result import Cell
from bakeoff.report.figures.looks import Looks
from bakeoff.report.figures.plot import Plot, below, down, left
from bakeoff.report.figures.scale import Scale, decades, scale
from bakeoff.report.figures.strokes import across, dot, joined, text, upright

_TALL, _LETTER, _LINE = 230, 1.75, 12  # a letter's width is in percent of a plane
_LONGEST = 22  # letters of a label
Shown = Callable[[float], str]


def pareto(
    points: Sequence[Point], untrained: Sequence[Cell], looks: Looks, tick: Shown, full: Shown, height: int = _TALL
) -> Plot:
    """Filled: nothing that costs no more is separably better. Hollow: something is. Dashed lines: untrained models."""
    cells = [*(point.cell for point in points), *untrained]
    percent = all(cell.percent for cell in cells)
    x = decades([point.cost for point in points])
    y = _scores(points, untrained)
    parts = [across(0, 100, down(y, height, mark), "tick") for mark in y.ticks]
    parts += [_untrained(cell, y, height) for cell in untrained if cell.mean is not None]
    parts += [_drawn(point, x, y, height, looks[point.cell.method], full) for point in points]
    parts += _labels(points, x, y, height, [down(y, height, c.mean) for c in untrained if c.mean is not None])
    places = y.places(100 if percent else 1)
    return Plot(
        height=height,
        inner=joined(parts),
        left=left(y, height, [words.number(t, percent, places) for t in y.ticks]),
        below=below([x.place(t) for t in x.ticks], [tick(t) for t in x.ticks]),
        told="scores by cost: " + "; ".join(_told(point, full) for point in points),
    )


def _scores(points: Sequence[Point], untrained: Sequence[Cell]) -> Scale:
    """An axis over the trained methods' intervals, and the untrained models that are no farther than these are wide."""
    known = [v for point in points for v in (point.cell.mean, point.cell.ci_low, point.cell.ci_high) if v is not None]
    wide = max(known) - min(known)
    near = [c.mean for c in untrained if c.mean is not None and min(known) - wide <= c.mean <= max(known) + wide]
    return scale([*known, *near], most=4)


def _untrained(cell: Cell, y: Scale, height: int) -> Markup:
    """A dashed line; where it lies off the plane, its value at that edge."""
    share, told = y.share(cell.mean or 0), f"{cell.method}, untrained"
    if not 0 <= share <= 1:
        arrow, edge = ("\N{DOWNWARDS ARROW}", height - 4) if share < 0 else ("\N{UPWARDS ARROW}", 12)
        value = words.score(cell.mean, cell.percent)
        return _quiet(text(0, edge, f"{arrow} {told}: {value}", "start", 2))
    at = down(y, height, cell.mean or 0)
    return joined([across(0, 100, at, "untrained"), _quiet(text(100, at - 4, told, "end"))])


def _quiet(label: Markup) -> Markup:
    return Markup('<g class="label quiet">{}</g>').format(label)


def _drawn(point: Point, x: Scale, y: Scale, height: int, shade: str, full: Shown) -> Markup:
    cell, at, front = point.cell, x.place(point.cost), point.ranked and point.beaten_by is None
    parts = [Markup("<title>{}</title>").format(_told(point, full))]
    if cell.ci_low is not None and cell.ci_high is not None:
        ends = down(y, height, cell.ci_low), down(y, height, cell.ci_high)
        parts.append(upright(at, *ends, "ci" if front else "ci thin"))
    disc = "mean" if front else "open" if point.ranked else "open dotted"  # dotted: not ranked
    parts.append(dot(at, down(y, height, cell.mean or 0), 5, disc))
    return Markup('<g class="{}" data-method="{}">{}</g>').format(shade, cell.method, joined(parts))


def _told(point: Point, full: Shown) -> str:
    cell = point.cell
    told = f"{cell.method}: {words.score(cell.mean, cell.percent)} "
    told += f"{words.interval(cell.ci_low, cell.ci_high, cell.percent)} for {full(point.cost)}"
    told += "" if point.ranked else "; not ranked"
    return told + (f"; beaten by {point.beaten_by}, which costs no more" if point.beaten_by else "")


def _labels(points: Sequence[Point], x: Scale, y: Scale, height: int, lines: Sequence[float]) -> list[Markup]:
    """Names beside discs, moved up or down so that none covers another, while there is room; the front's first."""
    order = sorted(points, key=lambda point: point.beaten_by is not None)
    taken = [(60.0, 100.0, at - 4) for at in lines]  # start and end in percent, base line: the untrained models'
    drawn: list[Markup] = []
    for point in order:
        name, at = _short(point.cell.method), x.place(point.cost)
        right = at + _LETTER * len(name) < 97
        start, end = (at + 1, at + 3 + _LETTER * len(name)) if right else (at - 3 - _LETTER * len(name), at - 1)
        base = _free(down(y, height, point.cell.mean or 0) + 4, start, end, taken, height)
        if base is None:
            continue  # no room: the tooltip has the name
        taken.append((start, end, base))
        mark = Markup('<g class="label" data-method="{}">{}</g>')
        label = text(at, base, name, "start" if right else "end", 9 if right else -9)
        drawn.append(mark.format(point.cell.method, label))
    return drawn


def _short(method: str) -> str:
    """A name for a label: what is swept by its values alone, the whole cut where it is long."""
    swept = words.swept(method)
    name = f"{words.base(method)} {', '.join(swept.values())}" if swept else method
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _free(
    base: float, start: float, end: float, taken: Sequence[tuple[float, float, float]], height: int
) -> float | None:
    """The base line nearest to the wished one that no label within `start` to `end` is near; None where all are."""
    near = [line for a, b, line in taken if a < end and start < b]
    steps = sorted(range(-26, 27), key=abs)
    free = (base + step for step in steps if 10 <= base + step <= height - 2)
    return next((at for at in free if all(abs(at - line) >= _LINE for line in near)), None)
