"""Tuning curves: the best validation score to expect of so many settings tried."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from bakeoff.analysis import words
from bakeoff.analysis.metrics import is_fraction
from bakeoff.analysis.result import Tuning
from bakeoff.report.figures.curves import band, level, stroke
from bakeoff.report.figures.plot import Plot, below, left
from bakeoff.report.figures.scale import Scale, scale
from bakeoff.report.figures.strokes import n


def tuning(lines: Sequence[tuple[Tuning, str]], height: int = 220) -> Plot:
    """Each method's expected best score by the number of settings tried, in its 95 % band."""
    points = [point for one, _ in lines for point in one.expected_best]
    percent = all(is_fraction(one.metric) for one, _ in lines)
    x = _budgets([point.budget for point in points])
    y = scale([v for point in points for v in (point.score, point.low, point.high)], most=4)
    parts = [level(y, tick) for tick in y.ticks]
    for one, shade in lines:
        best, method = one.expected_best, one.method
        if best:
            budgets = [point.budget for point in best]
            parts.append(band(x, y, budgets, [p.low for p in best], [p.high for p in best], shade, method))
            parts.append(stroke(x, y, budgets, [p.score for p in best], shade, method))
            parts += [_spot(x, y, point.budget, point.score, shade, method) for point in best]
    ends = [
        f"{one.method} ends at {words.score(one.expected_best[-1].score, percent)}"
        for one, _ in lines
        if one.expected_best
    ]
    places = y.places(100 if percent else 1)
    return Plot(
        height=height,
        inner=Markup("").join(parts),
        left=left(y, height, [words.number(t, percent, places) for t in y.ticks]),
        below=below([100 * x.share(t) for t in x.ticks], [f"{t:,.0f}" for t in x.ticks]),
        told="expected best validation score by settings tried: " + ", ".join(ends),
        stretched=True,
    )


def _budgets(budgets: Sequence[int]) -> Scale:
    """An axis of whole numbers from 1."""
    most = max(budgets, default=1)
    step = max(1, -(-most // 10))
    return Scale(1 - 0.03 * most, 1.03 * most, tuple(float(b) for b in range(1, most + 1) if b == 1 or b % step == 0))


def _spot(x: Scale, y: Scale, budget: int, score: float, shade: str, method: str) -> Markup:
    """A round dot in a stretched plane: a stroke without length."""
    return Markup('<path class="spot {}" data-method="{}" d="M{} {}h0"/>').format(
        shade, method, n(100 * x.share(budget)), n(100 - 100 * y.share(score))
    )
