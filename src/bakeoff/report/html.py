"""Results as one self-contained page: no script, no network, every text escaped by the template engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from bakeoff.analysis import words
from bakeoff.analysis.grid import Grid
from bakeoff.analysis.result import Cell, Comparison, Results
from bakeoff.report import svg, tables
from bakeoff.report.tables import Section

HERE = Path(__file__).parent
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render(results: Results) -> str:
    """The page of a study (page.html.j2, page.css)."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(inert=lambda text: tables.inert(str(text)), detail=_detail, name=_name)
    palette = _Palette(results)
    return environment.get_template("page.html.j2").render(
        r=results,
        policy=POLICY,
        css=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        words=words,
        t=tables,
        sections=[_View.of(section, palette) for section in tables.sections(results)],
        overview=_overview(results),
        panels=_panels(results, palette),
        assumed=tables.assumed(results),
        notes=_notes(results),
        colour=palette.colour,
        key=palette.key,
        how=tables.how_it_ran(results),
        banner=tables.banner(results),
        configured=_configured(results),
    )


class _Palette:
    """The looks of the methods, the same on the whole page."""

    def __init__(self, results: Results):
        order = list(dict.fromkeys(run.method for run in results.trials))
        trained = {run.method for run in results.trials if run.seed is not None}
        self._looks = svg.looks(order, [name for name in order if name not in trained])

    def colour(self, method: str) -> str:
        return self._looks[method]

    def key(self, method: str) -> Markup:
        """The piece of line that stands before a method in a legend."""
        return svg.key(self._looks[method])


@dataclass(frozen=True)
class _View:
    """A benchmark with its figures drawn."""

    section: Section
    axis: Markup
    rows: list[tuple[Cell, str, Markup]]  # cell, mark, strip
    forest_axis: Markup
    forests: list[tuple[str, list[tuple[Comparison, Markup]]]]  # what is compared with, and the differences from it
    pairs_axis: Markup
    pairs: list[tuple[Comparison, Markup]]
    items: list[tuple[str, list[tuple[str, int | None, Any]]]]  # item id, then method, seed, sample
    grids: list[_Map]

    @classmethod
    def of(cls, section: Section, palette: _Palette) -> _View:
        values = [x for c in section.cells for x in (c.mean, c.ci_low, c.ci_high, *c.per_seed)]
        on = svg.scale(values)
        forests = [(name, _against(section, name)) for name in _references(section)]
        drawn = [pair for _, turned in forests for pair in turned] or section.comparisons
        across = svg.scale([x for pair in drawn for x in (pair.ci_low, pair.ci_high)], floor=0.0)
        whole = svg.scale([x for pair in section.comparisons for x in (pair.ci_low, pair.ci_high)], floor=0.0)

        def strips(pairs: Sequence[Comparison], on: svg.Scale) -> list[tuple[Comparison, Markup]]:
            return [(pair, svg.forest(pair, on, palette.colour(pair.a))) for pair in pairs]

        return cls(
            section=section,
            axis=svg.axis(on, section.percent),
            rows=[(c, tables.mark(section, c), svg.dots(c, on, palette.colour(c.method))) for c in section.cells],
            forest_axis=svg.axis(across, section.percent, sign=True),
            forests=[(name, strips(turned, across)) for name, turned in forests],
            pairs=strips(section.comparisons, whole),
            pairs_axis=svg.axis(whole, section.percent, sign=True),
            items=_items(section),
            grids=[_Map.of(section, grid) for grid in tables.swept(section)],
        )


@dataclass(frozen=True)
class _Map:
    """A swept method's grid with its figures drawn; `legend` tells the lines of `trend` apart."""

    grid: Grid
    heat: Markup
    ramp: Markup
    trend: Markup
    legend: list[tuple[Markup, str]]
    told: str

    @classmethod
    def of(cls, section: Section, grid: Grid) -> _Map:
        shades = [f"m{i % svg.COLOURS + 1} d{i % svg.DASHES}" for i in range(len(grid.rows))]
        return cls(
            grid=grid,
            heat=svg.heat(grid, tables.outlined(section, grid)),
            ramp=svg.ramp(grid),
            trend=svg.trend(grid, shades),
            legend=[(svg.key(shade), f"{row:g}") for row, shade in zip(grid.rows, shades, strict=True)],
            told=tables.swept_explained(section, grid),
        )


def _references(section: Section) -> list[str]:
    """What differences are drawn against: the best method, and the untrained models."""
    sign = 1 if section.cells[0].lower_is_better else -1
    have = sorted((cell for cell in section.cells if cell.mean is not None), key=lambda cell: sign * (cell.mean or 0))
    if len(have) < 2:
        return []
    if len(have) == 2:
        return [have[1].method]
    return list(dict.fromkeys([have[0].method, *(cell.method for cell in have if not cell.trained)]))


def _against(section: Section, name: str) -> list[Comparison]:
    return [_turned(pair, name) for pair in section.comparisons if name in (pair.a, pair.b)]


def _turned(pair: Comparison, reference: str) -> Comparison:
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
            "verdict": flip.get(pair.verdict, pair.verdict),
            "k_a": pair.k_b,
            "k_b": pair.k_a,
            "only_a": pair.only_b,
            "only_b": pair.only_a,
        }
    )


def _items(section: Section) -> list[tuple[str, list[tuple[str, int | None, Any]]]]:
    ids = dict.fromkeys(sample.id for shown in section.samples for sample in shown.samples)
    return [
        (item, [(s.method, s.seed, sample) for s in section.samples for sample in s.samples if sample.id == item])
        for item in ids
    ]


def _overview(results: Results) -> list[tuple[Section, dict[str, Cell]]]:
    """Benchmarks x methods, where there is more than one benchmark."""
    found = tables.sections(results)
    return [(section, {cell.method: cell for cell in section.cells}) for section in found] if len(found) > 1 else []


def _panels(results: Results, palette: _Palette) -> list[dict[str, Any]]:
    """A learning-curve figure per model and task, with its legend."""
    panels: list[dict[str, Any]] = []
    models = len({curve.model for curve in results.curves}) > 1
    for model, task in dict.fromkeys((curve.model, curve.task) for curve in results.curves):
        here = [(c, palette.colour(c.method)) for c in results.curves if (c.model, c.task) == (model, task)]
        panels.append({"title": f"{model}, {task}" if models else task, "figure": svg.curves(here), "legend": here})
    return panels


def _notes(results: Results) -> list[tuple[str, str]]:
    """The runner's remarks on models, methods and tasks, as label and text."""
    told = results.provenance.get("notes") or {}
    return [
        (f"{kind[:-1]} {name}", str(text))
        for kind in ("models", "methods", "tasks")
        for name, text in (told.get(kind) or {}).items()
    ]


def _configured(results: Results) -> list[tuple[str, str, str, str]]:
    """Every method as it was trained: name, kind, hyperparameters, training; what is off is left out."""
    return [
        (name, how["use"], words.settings(how["config"]), words.settings(how["training"] or {}))
        for name, how in results.provenance["methods"].items()
    ]


def _name(method: str) -> Markup:
    """A method's name that breaks nowhere but before `[` and after a comma; what is swept is set smaller."""
    plain, *swept = tables.breakable(method)
    small = Markup('<wbr><span class="swept">{}</span>')
    return Markup("").join([escape(plain), *(small.format(piece) for piece in swept)])


def _detail(detail: dict[str, Any]) -> Sequence[tuple[str, str]]:
    """A sample's details for people: short values as they are, others as JSON, cut."""
    rows: list[tuple[str, str]] = []
    for name, value in detail.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        rows.append((name, text if len(text) <= 160 else text[:160] + " ..."))
    return rows
