"""Learning curves: training loss over steps, a line for each method in a band over its runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from bakeoff.analysis.result import Curve
from bakeoff.report.figures.plot import Plot, below, left
from bakeoff.report.figures.scale import Scale, scale
from bakeoff.report.figures.strokes import n

MANY = 6  # lines, beyond which a band is drawn only for the one pointed at


def curves(lines: Sequence[tuple[Curve, str]], height: int = 220) -> Plot:
    """Each method's mean over runs, in a band from the lowest run to the highest."""
    many = " many" if len(lines) > MANY else ""
    x = scale([step for curve, _ in lines for step in (curve.step[0], curve.step[-1])], floor=0.0)
    y = scale([v for curve, _ in lines for v in (*curve.low, *curve.high)], most=4)
    parts = [level(y, tick) for tick in y.ticks]
    for curve, shade in lines:
        if curve.runs > 1:
            parts.append(band(x, y, curve.step, curve.low, curve.high, shade + many, curve.method))
    parts += [stroke(x, y, curve.step, curve.mean, shade, curve.method) for curve, shade in lines]
    told = "training loss by step: " + ", ".join(f"{curve.method} ends at {curve.mean[-1]:.3f}" for curve, _ in lines)
    places = y.places()
    return Plot(
        height=height,
        inner=Markup("").join(parts),
        left=left(y, height, [f"{t:.{places}f}" for t in y.ticks]),
        below=below([100 * x.share(t) for t in x.ticks], [f"{t:,.0f}" for t in x.ticks]),
        told=told,
        stretched=True,
    )


def level(y: Scale, tick: float) -> Markup:
    """A line across a stretched plane."""
    return Markup('<line class="tick" x1="0" x2="100" y1="{0}" y2="{0}"/>').format(n(100 - 100 * y.share(tick)))


def stroke(x: Scale, y: Scale, xs: Sequence[float], ys: Sequence[float], shade: str, method: str) -> Markup:
    """A method's line in a stretched plane."""
    return Markup('<path class="curve {}" data-method="{}" d="{}"/>').format(
        shade, method, _path(x, y, zip(xs, ys, strict=True))
    )


def band(
    x: Scale, y: Scale, xs: Sequence[float], low: Sequence[float], high: Sequence[float], shade: str, method: str
) -> Markup:
    """A method's band in a stretched plane."""
    edge = [*zip(xs, high, strict=True), *reversed([*zip(xs, low, strict=True)])]
    return Markup('<path class="band {}" data-method="{}" d="{}Z"/>').format(shade, method, _path(x, y, edge))


def _path(x: Scale, y: Scale, points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{n(100 * x.share(a), 1)} {n(100 - 100 * y.share(b), 1)}" for a, b in points)
