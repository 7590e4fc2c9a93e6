"""Pareto front: score over cost, with the intervals of the scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from bakeoff.analysis import words
from bakeoff.analysis.pareto import Point
from bakeoff.analysis.result import Cell
from bakeoff.report.figures.looks import Looks
from bakeoff.report.figures.plot import Plot, below, down, left
from bakeoff.report.figures.scale import Scale, decades, scale
from bakeoff.report.figures.strokes import across, dot, joined, text, upright

_TALL, _LETTER = 230, 1.95  # a letter's width is in percent of the narrowest plane, 320 pixels
_OVER, _UNDER, _DISC = 10, 3, 6  # pixels that a label takes above and below its base line, and a disc from its middle
_LONGEST = 22  # letters of a label
MANY = 8  # points, beyond which discs have numbers for names
Box = tuple[float, float, float, float]  # start and end in percent, top and bottom in pixels
Shown = Callable[[float], str]


def pareto(
    points: Sequence[Point],
    untrained: Sequence[Cell],
    looks: Looks,
    numbers: Mapping[str, int],
    tick: Shown,
    full: Shown,
    height: int = _TALL,
) -> Plot:
    """Filled: nothing that costs no more is separably better. Hollow: something is. Dashed lines: untrained models.

    Discs have their methods' names beside them, or their `numbers` where there are any.
    """
    cells = [*(point.cell for point in points), *untrained]
    percent = all(cell.percent for cell in cells)
    x = decades([point.cost for point in points])
    y = _scores(points, untrained)
    parts = [across(0, 100, down(y, height, mark), "tick") for mark in y.ticks]
    parts += [_untrained(cell, y, height) for cell in untrained if cell.mean is not None]
    parts += [_drawn(point, x, y, height, looks[point.cell.method], full) for point in points]
    parts += _labels(points, numbers, x, y, height, [down(y, height, c.mean) for c in untrained if c.mean is not None])
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


def numbered(cells: Sequence[Cell]) -> dict[str, int]:
    """The numbers that stand for trained methods in a front, in study order; nothing where names have room."""
    names = [cell.method for cell in cells if cell.trained and cell.mean is not None]
    return {name: i for i, name in enumerate(names, start=1)} if len(names) > MANY else {}


def _labels(
    points: Sequence[Point], numbers: Mapping[str, int], x: Scale, y: Scale, height: int, lines: Sequence[float]
) -> list[Markup]:
    """Names or numbers beside discs, moved so that none covers another or a disc, while there is room.

    The front's come first. Intervals are kept clear while that is possible. Methods on one spot share a label.
    """
    spots: dict[tuple[float, float], list[str]] = {}
    for point in sorted(points, key=lambda point: point.beaten_by is not None):
        at = x.place(point.cost), down(y, height, point.cell.mean or 0)
        spots.setdefault(at, []).append(point.cell.method)
    solid = [(60.0, 100.0, at - 4 - _OVER, at) for at in lines]  # the untrained models' names
    solid += [(at - 1.3, at + 1.3, mid - _DISC, mid + _DISC) for at, mid in spots]
    thin = [(0.0, 100.0, at - 1, at + 1) for at in lines] + [
        (x.place(p.cost) - 0.4, x.place(p.cost) + 0.4, down(y, height, p.cell.ci_high), down(y, height, p.cell.ci_low))
        for p in points
        if p.cell.ci_low is not None and p.cell.ci_high is not None
    ]
    drawn: list[Markup] = []
    for (at, mid), names in spots.items():
        shown = _runs([numbers[name] for name in names]) if numbers else ", ".join(map(_short, names))
        found = _free(at, mid, _cut(shown), solid + thin, height) or _free(at, mid, _cut(shown), solid, height)
        if found is None:
            continue  # no room: the tooltip has the name
        box, right = found
        solid.append(box)
        label = text(at, box[3] - _UNDER, _cut(shown), "start" if right else "end", 9 if right else -9)
        drawn.append(Markup('<g class="label" data-method="{}">{}</g>').format(names[0], label))
    return drawn


def _runs(numbers: Sequence[int]) -> str:
    """`1, 3`, and `1 to 4` where more than two follow one another."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def _short(method: str) -> str:
    """A name for a label: what is swept by its values alone."""
    swept = words.swept(method)
    return f"{words.base(method)} {', '.join(swept.values())}" if swept else method


def _cut(label: str) -> str:
    return label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _free(at: float, mid: float, label: str, taken: Sequence[Box], height: int) -> tuple[Box, bool] | None:
    """The place nearest to a disc's side that touches nothing taken, and whether it is at its right; None for none."""
    wide = 3 + _LETTER * len(label)
    sides = [(at + 1.4, at + 1.4 + wide, True), (at - 1.4 - wide, at - 1.4, False)]
    within = [(start, end, right) for start, end, right in sides if start >= 0 and end <= 100]
    for step in sorted(range(-26, 27), key=abs):
        base = mid + 4 + step
        if not _OVER <= base <= height - _UNDER:
            continue
        for start, end, right in within:
            box = (start, end, base - _OVER, base + _UNDER)
            if not any(a < end and start < b and top < box[3] and box[2] < bottom for a, b, top, bottom in taken):
                return box, right
    return None
