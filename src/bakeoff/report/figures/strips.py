"""Strips: figures of one row with an interval each, which fit a column of a table."""

from __future__ import annotations

from markupsafe import Markup

from bakeoff.analysis import words
from bakeoff.analysis.result import Cell, Comparison
from bakeoff.report.figures.scale import Scale
from bakeoff.report.figures.strokes import across, dot, strip, text, ticks, upright

DOTS, FOREST = 28, 22  # their heights


def axis(on: Scale, percent: bool, sign: bool = False) -> Markup:
    """The tick labels that stand above a column of strips, with no more decimals than the steps need."""
    places = on.places(100 if percent else 1)

    def label(tick: float) -> str:
        return ("+" if sign and tick > 1e-9 else "") + words.number(tick, percent, places)

    return strip("axis", 16, "", [text(on.place(tick), 12, label(tick)) for tick in on.ticks])


def dots(cell: Cell, on: Scale, shade: str) -> Markup:
    """A method's mean (disc), 95 % interval (line) and each run (small rings below)."""
    parts, several = ticks(on, DOTS), len(cell.per_seed) > 1
    y = 10 if several else 14
    if cell.mean is None:
        return strip("strip", DOTS, f"{cell.method}: no result", parts)
    if cell.ci_low is not None and cell.ci_high is not None:
        parts.append(across(on.place(cell.ci_low), on.place(cell.ci_high), y, "ci" if cell.trained else "ci thin"))
    parts += [dot(on.place(score), 21, 2.4, "run") for score in cell.per_seed if several]
    parts.append(dot(on.place(cell.mean), y, 4, "mean"))
    told = f"{cell.method}: {words.score(cell.mean, cell.percent)}, 95 % interval "
    told += words.interval(cell.ci_low, cell.ci_high, cell.percent)
    if several:
        told += "; runs " + ", ".join(words.number(score, cell.percent) for score in cell.per_seed)
    return strip(f"strip {shade}", DOTS, told, parts)


def forest(pair: Comparison, on: Scale, shade: str) -> Markup:
    """A difference (disc, hollow where not separated) with its 95 % interval, against a line at zero."""
    parts = [*ticks(on, FOREST), upright(on.place(0.0), 0, FOREST, "zero")]
    if pair.difference is None:
        return strip("strip", FOREST, f"{pair.a} and {pair.b}: no difference known", parts)
    if pair.ci_low is not None and pair.ci_high is not None:
        parts.append(across(on.place(pair.ci_low), on.place(pair.ci_high), 11, "ci"))
    parts.append(
        dot(on.place(pair.difference), 11, 4.4, "mean" if pair.verdict in ("a better", "b better") else "open")
    )
    told = f"{pair.a} minus {pair.b}: {words.signed(pair.difference, pair.percent)}, 95 % interval "
    return strip(f"strip {shade}", FOREST, told + words.interval(pair.ci_low, pair.ci_high, pair.percent), parts)
