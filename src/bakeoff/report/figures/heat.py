"""Heat map of a method swept over two numbers, and the same cells as lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise

from markupsafe import Markup

from bakeoff.analysis import words
from bakeoff.analysis.grid import Grid
from bakeoff.analysis.result import Cell
from bakeoff.report.figures.scale import scale
from bakeoff.report.figures.strokes import across, dot, joined, n, strip, text, upright

_GUTTER = 15.0  # percent of a grid's width that its row labels take
_DEEPEST = 0.7  # opacity of the strongest colour: text on it is still read
_TALL, _LINE, _HEAD = 38, 13, 22  # pixels of a row of values, of a line of their intervals, of the labels above them
_NARROW, _LETTER = 310.0, 5.9  # pixels of all columns on a narrow page, and of a letter of an interval
TREND = 170  # pixels that the lines take


def heat(grid: Grid, outlined: Collection[str]) -> Markup:
    """A swept method as a map: in each cell its value, the better the stronger its colour, over its 95 % interval.

    Cells of the methods `outlined` have a border; what else is known of a cell is its tooltip.
    """
    wide, tall = (100 - _GUTTER) / len(grid.columns), _tall(grid)
    parts = [text(_middle(grid, j), 14, f"{value:g}") for j, value in enumerate(grid.columns)]
    for i, row in enumerate(grid.rows):
        y = _HEAD + i * tall
        parts.append(text(_GUTTER - 1.5, y + tall / 2 + 4, f"{row:g}", "end"))
        for j, column in enumerate(grid.columns):
            cell = grid.cells.get((row, column))
            if cell is not None:
                parts.append(_tile(grid, cell, _GUTTER + j * wide, y, wide, cell.method in outlined))
    told = f"{grid.metric} of {grid.family} by {grid.down} (down) and {grid.across} (across)"
    return strip("heat", heat_height(grid), told, parts)


def heat_height(grid: Grid) -> int:
    """How many pixels tall a map is."""
    return _HEAD + len(grid.rows) * _tall(grid)


def ramp(grid: Grid) -> Markup:
    """The colours of a heat map from the faintest to the strongest, with the values that they stand for.

    Nothing where all values are the same.
    """
    if not grid.spread:
        return Markup()
    best = grid.best.mean if grid.best and grid.best.mean is not None else math.nan
    worst = best + grid.span if grid.lower else max(0.0, best - grid.span)
    faint = grid.strength_of(worst, best)
    tiles = [
        Markup('<rect class="tile" x="{}%" y="0" width="2.5%" height="12" stroke="none" fill-opacity="{}"/>').format(
            n(_GUTTER + 12 + 2.5 * i), n(_DEEPEST * (faint + (1 - faint) * i / 11))
        )
        for i in range(12)
    ]
    order = ", lower is better" if grid.lower else ""
    ends = [
        text(_GUTTER + 11, 10, words.number(worst, grid.percent, grid.places), "end"),
        text(_GUTTER + 43, 10, words.number(best, grid.percent, grid.places) + order, "start"),
    ]
    return strip("ramp", 14, "", [*tiles, *ends])


def trend(grid: Grid, shades: Sequence[str], height: int = TREND) -> Markup:
    """The same cells as lines across, one for each row (in `shades`), with their 95 % intervals.

    Nothing where all values are the same.
    """
    if not grid.spread:
        return Markup()
    y = scale([x for c in grid.cells.values() for x in (c.mean, c.ci_low, c.ci_high)], most=4)
    places = y.places(100 if grid.percent else 1)

    def down(value: float) -> float:
        return 6 + (height - 12) * (1 - (value - y.low) / (y.high - y.low))

    parts: list[Markup] = []
    for tick in y.ticks:
        parts += [across(_GUTTER, 100, down(tick), "tick")]
        parts += [text(_GUTTER - 1.5, down(tick) + 4, words.number(tick, grid.percent, places), "end")]
    for i, (row, shade) in enumerate(zip(grid.rows, shades, strict=True)):
        aside = (i - (len(grid.rows) - 1) / 2) * 1.1  # so that intervals of neighbours can be told apart
        points = [(_middle(grid, j) + aside, grid.cells.get((row, column))) for j, column in enumerate(grid.columns)]
        parts.append(Markup('<g class="{}">{}</g>').format(shade, joined(_line_of(points, down, shade))))
    told = f"{grid.metric} of {grid.family} by {grid.across}, a line for each {grid.down}"
    return strip("trend", height, told, parts)


# --- inside ---


def _bounds(grid: Grid, cell: Cell) -> list[str]:
    """A cell's interval in the lines that it takes: in two where not all of the grid's fit their columns in one."""
    every = [words.interval(c.ci_low, c.ci_high, c.percent) for c in grid.cells.values() if c.mean is not None]
    own = words.interval(cell.ci_low, cell.ci_high, cell.percent)
    fits = max(map(len, every), default=0) * _LETTER * len(grid.columns) <= _NARROW
    return [own] if fits else own.replace(", ", ",\n").split("\n")


def _tall(grid: Grid) -> int:
    return _TALL + _LINE * max(len(_bounds(grid, cell)) for cell in grid.cells.values())


def _tile(grid: Grid, cell: Cell, x: float, y: float, wide: float, outlined: bool) -> Markup:
    strength = grid.strength(cell)
    shown = cell.status if strength is None else words.number(cell.mean, cell.percent, grid.places)
    told = f"{cell.method}: {cell.status}"
    if strength is not None:
        told = f"{cell.method}: {words.score(cell.mean, cell.percent)}, 95 % interval "
        told += f"{words.interval(cell.ci_low, cell.ci_high, cell.percent)}, {words.count(len(cell.per_seed), 'run')}"
    tall, bounds = _tall(grid), [] if strength is None else _bounds(grid, cell)
    base = y + (tall - _LINE * len(bounds)) / 2 + 4.5
    lines = [
        Markup('<text class="{}" x="{}%" y="{}" text-anchor="middle">{}</text>').format(
            "value" if i == 0 else "bounds", n(x + wide / 2), n(base + i * (_LINE + 0.5)), line
        )
        for i, line in enumerate([shown, *bounds])
    ]
    return Markup(
        '<g data-method="{method}"><title>{}</title>'
        '<rect class="tile" x="{x}%" y="{y}" width="{w}%" height="{h}" fill-opacity="{o}"/>{frame}{}</g>'
    ).format(
        told, joined(lines), method=cell.method, x=n(x + 0.25), y=n(y + 1), w=n(wide - 0.5), h=n(tall - 2),
        o=n(_DEEPEST * (strength or 0)),
        frame=Markup('<rect class="frame" x="{}%" y="{}" width="{}%" height="{}"/>').format(
            n(x + 0.6), n(y + 3), n(wide - 1.2), n(tall - 6)) if outlined else "",
    )  # fmt: skip


def _line_of(points: Sequence[tuple[float, Cell | None]], down: Callable[[float], float], shade: str) -> list[Markup]:
    """A row's segments, intervals and discs; no segment leads over a cell without a result."""
    known = [(x, cell, cell.mean) if cell and cell.mean is not None else None for x, cell in points]
    drawn: list[Markup] = []
    for one, after in pairwise(known):
        if one and after:
            ends = (n(one[0]), n(after[0]), n(down(one[2])), n(down(after[2])))
            drawn.append(Markup('<line class="curve {}" x1="{}%" x2="{}%" y1="{}" y2="{}"/>').format(shade, *ends))
    for x, cell, mean in filter(None, known):
        if cell.ci_low is not None and cell.ci_high is not None:
            drawn.append(upright(x, down(cell.ci_low), down(cell.ci_high), "ci thin"))
        drawn.append(dot(x, down(mean), 3.6, "mean"))
    return drawn


def _middle(grid: Grid, column: int) -> float:
    """Where a column's middle lies, in percent of the width."""
    return _GUTTER + (column + 0.5) * (100 - _GUTTER) / len(grid.columns)
