"""Small inline figures. Places along a figure are percentages, so that a strip fits its column at any width.

Every function returns `Markup` made of numbers and fixed class names; the text in it is escaped. Colours are the page's
(`--m0` is untrained, `--m1` ... the methods in study order); methods of one colour differ in the dash of their curves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup, escape

from bakeoff.analysis import words
from bakeoff.analysis.grid import Grid
from bakeoff.analysis.result import Cell, Comparison, Curve

COLOURS, DASHES = 8, 6
_MARGIN = 4.0  # percent of the width left free on either side
_GUTTER = 15.0  # percent of a grid's width that its row labels take
_DEEPEST = 0.7  # opacity of the strongest colour: text on it is still read


class Scale(NamedTuple):
    """An axis: its ends and its ticks, in the unit of the scores."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, x: float) -> float:
        """Where x lies, in percent of the figure's width."""
        within = min(max((x - self.low) / (self.high - self.low), 0.0), 1.0)
        return _MARGIN + (100 - 2 * _MARGIN) * within


def scale(values: Iterable[float | None], most: int = 5, floor: float | None = None) -> Scale:
    """An axis over the finite values with about `most` ticks; they lie 1, 2, 2.5 or 5 times a power of ten apart."""
    known = [x for x in values if x is not None and math.isfinite(x)]
    if floor is not None:
        known.append(floor)
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if high - low < 1e-9:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Scale(low, high, tuple(i * step for i in range(first, last + 1)))


def looks(order: Sequence[str], untrained: Collection[str]) -> dict[str, str]:
    """The classes of every method, in study order: `m3 d1`, a colour and a dash pattern.

    Untrained methods are `m0`. A method has the colour of its name without what is swept, so that `lora[r=4]` and
    `lora[r=8]` are alike; methods of one colour differ in the dash.
    """
    bases = list(dict.fromkeys(words.base(name) for name in order if name not in untrained))
    shades = {name: "m0" if name in untrained else f"m{bases.index(words.base(name)) % COLOURS + 1}" for name in order}
    return {
        name: f"{shade} d{sum(shades[other] == shade for other in order[: order.index(name)]) % DASHES}"
        for name, shade in shades.items()
    }


def key(shade: str) -> Markup:
    """A short line as a method's curve is drawn."""
    return Markup(
        '<svg class="key" width="30" height="10" aria-hidden="true"><path class="curve {}" d="M1 5L29 5"/></svg>'
    ).format(shade)


def axis(on: Scale, percent: bool, sign: bool = False) -> Markup:
    """The tick labels that stand above a column of strips, with no more decimals than the steps need."""
    places = _places(on, 100 if percent else 1)

    def label(tick: float) -> str:
        return ("+" if sign and tick > 1e-9 else "") + words.number(tick, percent, places)

    return _strip("axis", 16, "", [_text(on.place(tick), 12, label(tick)) for tick in on.ticks])


def dots(cell: Cell, on: Scale, shade: str) -> Markup:
    """A method's mean (disc), 95 % interval (line) and each run (small rings below)."""
    parts, several = _grid(on, 28), len(cell.per_seed) > 1
    y = 10 if several else 14
    if cell.mean is None:
        return _strip("strip", 28, f"{cell.method}: no result", parts)
    if cell.ci_low is not None and cell.ci_high is not None:
        parts.append(_line(on.place(cell.ci_low), on.place(cell.ci_high), y, "ci" if cell.trained else "ci thin"))
    parts += [_dot(on.place(score), 21, 2.4, "run") for score in cell.per_seed if several]
    parts.append(_dot(on.place(cell.mean), y, 4, "mean"))
    told = f"{cell.method}: {words.score(cell.mean, cell.percent)}, 95 % interval "
    told += words.interval(cell.ci_low, cell.ci_high, cell.percent)
    if several:
        told += "; runs " + ", ".join(words.number(score, cell.percent) for score in cell.per_seed)
    return _strip(f"strip {shade}", 28, told, parts)


def forest(pair: Comparison, on: Scale, shade: str) -> Markup:
    """A difference (disc, hollow where not separated) with its 95 % interval, against a line at zero."""
    parts = _grid(on, 22)
    zero = on.place(0.0)
    parts.append(Markup('<line class="zero" x1="{0}%" x2="{0}%" y1="0" y2="22"/>').format(_n(zero)))
    if pair.difference is None:
        return _strip("strip", 22, f"{pair.a} and {pair.b}: no difference known", parts)
    if pair.ci_low is not None and pair.ci_high is not None:
        parts.append(_line(on.place(pair.ci_low), on.place(pair.ci_high), 11, "ci"))
    parts.append(
        _dot(on.place(pair.difference), 11, 4.4, "mean" if pair.verdict in ("a better", "b better") else "open")
    )
    told = f"{pair.a} minus {pair.b}: {words.signed(pair.difference, pair.percent)}, 95 % interval "
    return _strip(f"strip {shade}", 22, told + words.interval(pair.ci_low, pair.ci_high, pair.percent), parts)


def curves(lines: Sequence[tuple[Curve, str]], height: int = 220) -> Markup:
    """Training loss over steps: a line per method, its mean over runs, in a band from the lowest to the highest run."""
    x = scale([step for curve, _ in lines for step in (curve.step[0], curve.step[-1])], floor=0.0)
    y = scale([v for curve, _ in lines for v in (*curve.low, *curve.high)], most=4)

    def across(step: float) -> float:
        return 100 * (step - x.low) / (x.high - x.low)

    def down(loss: float) -> float:
        return 100 - 100 * (loss - y.low) / (y.high - y.low)

    def path(points: Iterable[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{_n(across(step))} {_n(down(loss))}" for step, loss in points)

    inner = [Markup('<line class="tick" x1="0" x2="100" y1="{0}" y2="{0}"/>').format(_n(down(t))) for t in y.ticks]
    for curve, shade in lines:
        if curve.runs > 1:
            band = path(
                [*zip(curve.step, curve.high, strict=True), *reversed([*zip(curve.step, curve.low, strict=True)])]
            )
            inner.append(Markup('<path class="band {}" d="{}Z"/>').format(shade, band))
    for curve, shade in lines:
        inner.append(
            Markup('<path class="curve {}" d="{}"/>').format(shade, path(zip(curve.step, curve.mean, strict=True)))
        )
    told = "training loss by step: " + ", ".join(f"{curve.method} ends at {curve.mean[-1]:.3f}" for curve, _ in lines)
    places = _places(y)
    left = Markup("").join(
        Markup('<text x="34" y="{}" text-anchor="end">{}</text>').format(
            _n(8 + (height - 16) * down(t) / 100 + 4), f"{t:.{places}f}"
        )
        for t in y.ticks
    )
    below = Markup("").join(
        Markup('<text x="{}%" y="12" text-anchor="{}">{}</text>').format(
            _n(across(t)), "start" if across(t) < 3 else "end" if across(t) > 97 else "middle", f"{t:,.0f}"
        )
        for t in x.ticks
    )
    return Markup(
        '<div class="plot"><svg class="axis-y" width="38" height="{h}" aria-hidden="true">{left}</svg>'
        '<svg class="plane" width="100%" height="{h}" viewBox="0 -{pad} 100 {all}" preserveAspectRatio="none" '
        'role="img" aria-label="{told}">{inner}</svg>'
        '<svg class="axis-x" width="100%" height="16" aria-hidden="true">{below}</svg></div>'
    ).format(
        h=height, left=left, told=told, inner=Markup("").join(inner), below=below,
        pad=_n(100 * 8 / (height - 16)), all=_n(100 * height / (height - 16)),
    )  # fmt: skip


def heat(grid: Grid, outlined: Collection[str]) -> Markup:
    """A swept method as a map: the value in each cell, the better the stronger its colour.

    Cells of the methods `outlined` have a border; what else is known of a cell is its tooltip.
    """
    tall, wide = 36, (100 - _GUTTER) / len(grid.columns)
    parts = [_text(_middle(grid, j), 14, f"{value:g}") for j, value in enumerate(grid.columns)]
    for i, row in enumerate(grid.rows):
        y = 22 + i * tall
        parts.append(_text(_GUTTER - 1.5, y + tall / 2 + 4, f"{row:g}", "end"))
        for j, column in enumerate(grid.columns):
            cell = grid.cells.get((row, column))
            if cell is not None:
                parts.append(_tile(grid, cell, _GUTTER + j * wide, y, wide, tall, cell.method in outlined))
    told = f"{grid.metric} of {grid.family} by {grid.down} (down) and {grid.across} (across)"
    return _strip("heat", 22 + len(grid.rows) * tall, told, parts)


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
            _n(_GUTTER + 12 + 2.5 * i), _n(_DEEPEST * (faint + (1 - faint) * i / 11))
        )
        for i in range(12)
    ]
    order = ", lower is better" if grid.lower else ""
    ends = [
        _text(_GUTTER + 11, 10, words.number(worst, grid.percent, grid.places), "end"),
        _text(_GUTTER + 43, 10, words.number(best, grid.percent, grid.places) + order, "start"),
    ]
    return _strip("ramp", 14, "", [*tiles, *ends])


def trend(grid: Grid, shades: Sequence[str], height: int = 170) -> Markup:
    """The same cells as lines across, one for each row (in `shades`), with their 95 % intervals."""
    y = scale([x for c in grid.cells.values() for x in (c.mean, c.ci_low, c.ci_high)], most=4)
    places = _places(y, 100 if grid.percent else 1)

    def down(value: float) -> float:
        return 6 + (height - 12) * (1 - (value - y.low) / (y.high - y.low))

    parts: list[Markup] = []
    for tick in y.ticks:
        line = Markup('<line class="tick" x1="{}%" x2="100%" y1="{y}" y2="{y}"/>')
        parts += [line.format(_n(_GUTTER), y=_n(down(tick)))]
        parts += [_text(_GUTTER - 1.5, down(tick) + 4, words.number(tick, grid.percent, places), "end")]
    for i, (row, shade) in enumerate(zip(grid.rows, shades, strict=True)):
        aside = (i - (len(grid.rows) - 1) / 2) * 1.1  # so that intervals of neighbours can be told apart
        points = [(_middle(grid, j) + aside, grid.cells.get((row, column))) for j, column in enumerate(grid.columns)]
        parts.append(Markup('<g class="{}">{}</g>').format(shade, Markup("").join(_line_of(points, down, shade))))
    told = f"{grid.metric} of {grid.family} by {grid.across}, a line for each {grid.down}"
    return _strip("trend", height, told, parts)


# --- inside ---


def _tile(grid: Grid, cell: Cell, x: float, y: float, wide: float, tall: float, outlined: bool) -> Markup:
    strength = grid.strength(cell)
    shown = cell.status if strength is None else words.number(cell.mean, cell.percent, grid.places)
    told = f"{cell.method}: {cell.status}"
    if strength is not None:
        told = f"{cell.method}: {words.score(cell.mean, cell.percent)}, 95 % interval "
        told += f"{words.interval(cell.ci_low, cell.ci_high, cell.percent)}, {words.count(len(cell.per_seed), 'run')}"
    return Markup(
        '<g><title>{}</title><rect class="tile" x="{x}%" y="{y}" width="{w}%" height="{h}" fill-opacity="{o}"/>{frame}'
        '<text class="value" x="{middle}%" y="{base}" text-anchor="middle">{}</text></g>'
    ).format(
        told, shown, x=_n(x + 0.25), y=_n(y + 1), w=_n(wide - 0.5), h=_n(tall - 2), o=_n(_DEEPEST * (strength or 0)),
        middle=_n(x + wide / 2), base=_n(y + tall / 2 + 4.5),
        frame=Markup('<rect class="frame" x="{}%" y="{}" width="{}%" height="{}"/>').format(
            _n(x + 0.6), _n(y + 3), _n(wide - 1.2), _n(tall - 6)) if outlined else "",
    )  # fmt: skip


def _line_of(points: Sequence[tuple[float, Cell | None]], down: Callable[[float], float], shade: str) -> list[Markup]:
    """A row's segments, intervals and discs; no segment leads over a cell without a result."""
    known = [(x, cell, cell.mean) if cell and cell.mean is not None else None for x, cell in points]
    drawn: list[Markup] = []
    for one, after in pairwise(known):
        if one and after:
            ends = (_n(one[0]), _n(after[0]), _n(down(one[2])), _n(down(after[2])))
            drawn.append(Markup('<line class="curve {}" x1="{}%" x2="{}%" y1="{}" y2="{}"/>').format(shade, *ends))
    for x, cell, mean in filter(None, known):
        if cell.ci_low is not None and cell.ci_high is not None:
            upright = Markup('<line class="ci thin" x1="{x}%" x2="{x}%" y1="{}" y2="{}"/>')
            drawn.append(upright.format(_n(down(cell.ci_low)), _n(down(cell.ci_high)), x=_n(x)))
        drawn.append(_dot(x, down(mean), 3.6, "mean"))
    return drawn


def _middle(grid: Grid, column: int) -> float:
    """Where a column's middle lies, in percent of the width."""
    return _GUTTER + (column + 0.5) * (100 - _GUTTER) / len(grid.columns)


def _strip(classes: str, height: int, told: str, parts: Iterable[Markup]) -> Markup:
    says = Markup('role="img" aria-label="{}"').format(told) if told else Markup('aria-hidden="true"')
    title = Markup("<title>{}</title>").format(told) if told else Markup("")
    return Markup('<svg class="{}" width="100%" height="{}" {}>{}{}</svg>').format(
        classes, height, says, title, Markup("").join(parts)
    )


def _grid(on: Scale, height: int) -> list[Markup]:
    return [
        Markup('<line class="tick" x1="{0}%" x2="{0}%" y1="0" y2="{1}"/>').format(_n(on.place(t)), height)
        for t in on.ticks
    ]


def _line(start: float, end: float, y: float, classes: str) -> Markup:
    return Markup('<line class="{}" x1="{}%" x2="{}%" y1="{y}" y2="{y}"/>').format(classes, _n(start), _n(end), y=_n(y))


def _dot(x: float, y: float, radius: float, classes: str) -> Markup:
    return Markup('<circle class="{}" cx="{}%" cy="{}" r="{}"/>').format(classes, _n(x), _n(y), _n(radius))


def _text(x: float, y: float, text: str, anchor: str = "middle") -> Markup:
    return Markup('<text x="{}%" y="{}" text-anchor="{}">{}</text>').format(_n(x), _n(y), anchor, escape(text))


def _places(on: Scale, times: float = 1.0) -> int:
    """How many decimals tell the ticks apart without rounding them."""
    step = (on.ticks[1] - on.ticks[0]) * times if len(on.ticks) > 1 else 0.01
    return next((d for d in range(6) if abs(round(step, d) - step) < 1e-6 * step), 6)


def _n(x: float) -> str:
    return f"{x:.2f}".rstrip("0").rstrip(".")
