"""Views: a study's sections with their figures drawn, for the page and for files of figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bakeoff.analysis import pareto
from bakeoff.analysis.grid import Grid
from bakeoff.analysis.result import Cell, Comparison, Curve, Results, Tuning
from bakeoff.report import figures, tables
from bakeoff.report.figures import Looks, Plot
from bakeoff.report.tables import Section


def palette(results: Results) -> Looks:
    """The looks of the methods, the same on the whole page."""
    order = list(dict.fromkeys(run.method for run in results.trials))
    trained = {run.method for run in results.trials if run.seed is not None}
    return figures.looks(order, [name for name in order if name not in trained])


@dataclass(frozen=True)
class Forest:
    """Differences from one method, or all of them, on one axis."""

    against: str
    axis: Markup
    rows: list[tuple[Comparison, Markup]]

    @classmethod
    def of(cls, against: str, pairs: Sequence[Comparison], on: figures.Scale, percent: bool, looks: Looks) -> Forest:
        axis = figures.axis(on, percent, sign=True)
        return cls(against, axis, [(pair, figures.forest(pair, on, looks[pair.a])) for pair in pairs])


@dataclass(frozen=True)
class Front:
    """Scores by one cost (a field of Cell, `told` in words), and what something separably better beats at no more."""

    cost: str
    told: str
    plot: Plot
    beaten: list[tuple[str, str]]


@dataclass(frozen=True)
class Map:
    """A swept method's grid with its figures drawn; `legend` tells the lines of `trend` apart."""

    grid: Grid
    heat: Markup
    ramp: Markup
    trend: Markup
    legend: list[tuple[Markup, str]]
    told: str

    @classmethod
    def of(cls, section: Section, grid: Grid) -> Map:
        shades = [f"m{i % figures.COLOURS + 1} d{i % figures.DASHES}" for i in range(len(grid.rows))]
        return cls(
            grid=grid,
            heat=figures.heat(grid, tables.outlined(section, grid)),
            ramp=figures.ramp(grid),
            trend=figures.trend(grid, shades),
            legend=[(figures.key(s), f"{row:g}") for row, s in zip(grid.rows, shades, strict=True) if grid.spread],
            told=tables.swept_explained(section, grid),
        )


@dataclass(frozen=True)
class View:
    """A benchmark with its figures drawn; `numbers` stand for methods' names in fronts, where these have no room."""

    section: Section
    axis: Markup
    rows: list[tuple[Cell, str, Markup]]  # cell, mark, strip
    fronts: list[Front]
    numbers: dict[str, int]
    forests: list[Forest]
    pairs: Forest
    maps: list[Map]
    items: list[tables.Item]
    wins: list[tuple[str, list[tables.Won | None]]]

    @classmethod
    def of(cls, section: Section, looks: Looks) -> View:
        on = figures.scale([x for c in section.cells for x in (c.mean, c.ci_low, c.ci_high, *c.per_seed)])
        turned = {name: _against(section, name) for name in _references(section)}
        drawn = [pair for pairs in turned.values() for pair in pairs] or section.comparisons
        across, percent = _ends(drawn), section.percent
        return cls(
            section=section,
            axis=figures.axis(on, percent),
            rows=[(c, tables.mark(section, c), figures.dots(c, on, looks[c.method])) for c in section.cells],
            fronts=_fronts(section, looks),
            numbers=figures.numbered(section.cells),
            forests=[Forest.of(name, pairs, across, percent, looks) for name, pairs in turned.items()],
            pairs=Forest.of("", section.comparisons, _ends(section.comparisons), percent, looks),
            maps=[Map.of(section, grid) for grid in tables.swept(section)],
            items=tables.items(section),
            wins=tables.wins(section),
        )


@dataclass(frozen=True)
class Panel:
    """The learning curves of one model and task."""

    title: str
    plot: Plot
    lines: list[Curve]


def views(results: Results) -> list[View]:
    """Every benchmark in study order."""
    looks = palette(results)
    return [View.of(section, looks) for section in tables.sections(results)]


def panels(results: Results) -> list[Panel]:
    """A figure of learning curves per model and task."""
    looks = palette(results)
    models = len({curve.model for curve in results.curves}) > 1
    found: list[Panel] = []
    for model, task in dict.fromkeys((curve.model, curve.task) for curve in results.curves):
        here = [curve for curve in results.curves if (curve.model, curve.task) == (model, task)]
        plot = figures.curves([(curve, looks[curve.method]) for curve in here])
        found.append(Panel(f"{model}, {task}" if models else task, plot, here))
    return found


@dataclass(frozen=True)
class TuningPanel:
    """The tuning curves of one model and task."""

    title: str
    plot: Plot
    lines: list[Tuning]


def tuning_panels(results: Results) -> list[TuningPanel]:
    """A figure of tuning curves per model and task."""
    looks = palette(results)
    models = len({one.model for one in results.tuning}) > 1
    return [
        TuningPanel(
            title=f"{lines[0].model}, {lines[0].task}" if models else lines[0].task,
            plot=figures.tuning([(one, looks[one.method]) for one in lines]),
            lines=lines,
        )
        for lines in tables.tuned(results)
    ]


def _ends(pairs: Sequence[Comparison]) -> figures.Scale:
    return figures.scale([x for pair in pairs for x in (pair.ci_low, pair.ci_high)], floor=0.0)


def _fronts(section: Section, looks: Looks) -> list[Front]:
    """A front for every cost that two methods or more are known by."""
    untrained, numbers = [cell for cell in section.cells if not cell.trained], figures.numbered(section.cells)
    found: list[Front] = []
    for name, told in pareto.COSTS.items():
        points = pareto.front(section.cells, section.comparisons, name, section.verdict.unranked)
        if len(points) > 1:
            plot = figures.pareto(points, untrained, looks, numbers, *tables.COST_LABELS[name])
            beaten = [(point.cell.method, point.beaten_by) for point in points if point.beaten_by]
            found.append(Front(name, told, plot, beaten))
    return found


def _references(section: Section) -> list[str]:
    """What differences are drawn against: the best method (of those ranked, if any are), and the untrained models."""
    sign = 1 if section.cells[0].lower_is_better else -1
    have = sorted((cell for cell in section.cells if cell.mean is not None), key=lambda cell: sign * (cell.mean or 0))
    if len(have) < 2:
        return []
    if len(have) == 2:
        return [have[1].method]
    out = section.verdict.unranked if section.verdict.winner_set else {}
    best = next(cell.method for cell in have if cell.method not in out)
    return list(dict.fromkeys([best, *(cell.method for cell in have if not cell.trained)]))


def _against(section: Section, name: str) -> list[Comparison]:
    return [turned(pair, name) for pair in section.comparisons if name in (pair.a, pair.b)]


def turned(pair: Comparison, reference: str) -> Comparison:
    """The same comparison as (other - reference)."""
    if pair.b == reference:
        return pair
    flip: dict[str, Any] = {"a better": "b better", "b better": "a better"}

    def minus(x: float | None) -> float | None:
        return None if x is None else -x

    return pair.model_copy(
        update={
            "a": pair.b,
            "b": pair.a,
            "difference": minus(pair.difference),
            "ci_low": minus(pair.ci_high),
            "ci_high": minus(pair.ci_low),
            "ci90_low": minus(pair.ci90_high),
            "ci90_high": minus(pair.ci90_low),
            "verdict": flip.get(pair.verdict, pair.verdict),
            "k_a": pair.k_b,
            "k_b": pair.k_a,
            "only_a": pair.only_b,
            "only_b": pair.only_a,
            "items_a": pair.items_b,
            "items_b": pair.items_a,
        }
    )
