"""Figures as SVG files that stand alone: a title, the figure of the page, its labels, in light colours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from bakeoff.analysis import words
from bakeoff.analysis.result import Results
from bakeoff.report import figures, tables
from bakeoff.report.figures import Looks
from bakeoff.report.figures.curves import MANY
from bakeoff.report.figures.heat import TREND, heat_height
from bakeoff.report.figures.plot import BELOW
from bakeoff.report.figures.strips import DOTS, FOREST
from bakeoff.report.html import asset
from bakeoff.report.views import Forest, Map, View, palette, panels, tuning_panels, views

WIDE, EDGE = 760, 16  # pixels
_NAMES, _NUMBERS = 230, 130  # columns beside strips
_HEAD = 62  # under which a figure begins
_COSTS = {"trainable_params": "parameters", "peak_bytes": "memory", "solo_train_seconds": "time"}  # in files' names
_NAME = re.compile(r"(\d+-(scores|differences|pareto|sweep)(-[A-Za-z0-9-]*)?|(learning|tuning)-\d+)\.svg")
_START = f'<?xml version="1.0" encoding="UTF-8"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="{WIDE}" '
_FONT = 'font-family="system-ui,Helvetica,Arial,sans-serif"'


def render(results: Results) -> dict[str, str]:
    """Every figure of the page by the name of its file in `figures/`."""
    looks = palette(results)
    found: dict[str, str] = {}
    for i, view in enumerate(views(results), start=1):
        found |= {f"{i}-{name}.svg": text for name, text in _of_view(view, looks).items()}
    for i, panel in enumerate(panels(results), start=1):
        note = "training loss, nats per target token, by optimiser step"
        note += "; bands: lowest to highest run" if len(panel.lines) <= MANY else ""
        legend = [(figures.key(looks[line.method]), line.method) for line in panel.lines]
        found[f"learning-{i}.svg"] = _plot(f"Learning: {panel.title}", note, panel.plot, legend)
    for i, panel in enumerate(tuning_panels(results), start=1):
        note = f"best validation {panel.lines[0].metric} to expect, by settings tried; bands: 95 % over items"
        legend = [(figures.key(looks[line.method]), line.method) for line in panel.lines]
        found[f"tuning-{i}.svg"] = _plot(f"Tuning: {panel.title}", note, panel.plot, legend)
    return found


def is_own(name: str, data: bytes) -> bool:
    """Whether a file of that name is a figure that a report wrote."""
    return bool(_NAME.fullmatch(name)) and data.startswith(_START.encode())


def _of_view(view: View, looks: Looks) -> dict[str, str]:
    section = view.section
    found = {"scores": _scores(view)} if any(cell.mean is not None for cell in section.cells) else {}
    for i, forest in enumerate(view.forests):
        found["differences" + (f"-{_slug(forest.against)}" if i else "")] = _forest(view, forest)
    for front in view.fronts:
        note = f"hollow: dominated by a separably better method that costs no more; by {front.told}"
        found[f"pareto-{_COSTS[front.cost]}"] = _plot(
            f"{section.title}: {tables.metric(section.cells[0])}",
            note,
            front.plot,
            [(_line(30, 9, str(number), "end"), name) for name, number in view.numbers.items()],
        )
    for map in view.maps:
        found[f"sweep-{_slug(map.grid.family)}-{_slug(map.grid.metric)}"] = _map(view, map)
    return found


def _scores(view: View) -> str:
    section = view.section
    note = f"{tables.metric(section.cells[0])}; disc: mean, line: 95 % interval, rings: runs; "
    note += f"n = {words.count(section.verdict.n_items, 'item')}"
    rows = [
        (cell.method, strip, f"{tables.value(cell) or cell.status} {tables.interval(cell)}")
        for cell, _, strip in view.rows
    ]
    return _strips(section.title, note, view.axis, rows, DOTS)


def _forest(view: View, forest: Forest) -> str:
    note = f"difference from {forest.against} with its 95 % interval; filled: stands after Holm's correction "
    note += f"(family of {view.section.verdict.family})"
    rows = [
        (pair.a, strip, f"{words.signed(pair.difference, pair.percent)} "
         f"{words.interval(pair.ci_low, pair.ci_high, pair.percent)}")
        for pair, strip in forest.rows
    ]  # fmt: skip
    return _strips(view.section.title, note, forest.axis, rows, FOREST)


def _strips(title: str, note: str, axis: Markup, rows: Sequence[tuple[str, Markup, str]], tall: int) -> str:
    """Strips under one another, names at their left and numbers at their right."""
    wide = WIDE - 2 * EDGE - _NAMES - _NUMBERS
    parts = [_inside(axis, EDGE + _NAMES, _HEAD, wide, 16)]
    for i, (name, strip, numbers) in enumerate(rows):
        y = _HEAD + 18 + i * tall
        parts += [_line(EDGE, y + tall / 2 + 4, name, "start"), _inside(strip, EDGE + _NAMES, y, wide, tall)]
        parts.append(_line(WIDE - EDGE, y + tall / 2 + 4, numbers, "end"))
    return _file(title, note, parts, _HEAD + 18 + len(rows) * tall)


def _plot(title: str, note: str, plot: figures.Plot, legend: Sequence[tuple[Markup, str]] = ()) -> str:
    parts = [
        Markup('<g transform="translate({} 0)">{}</g>').format(EDGE, plot.alone(_HEAD, WIDE - 2 * EDGE)),
        *_legend(legend, _HEAD + plot.height + BELOW + 14),
    ]
    return _file(title, note, parts, _HEAD + plot.height + BELOW + 20 * ((len(legend) + 2) // 3))


def _map(view: View, map: Map) -> str:
    tall, wide = heat_height(map.grid), WIDE - 2 * EDGE
    note = f"{map.grid.metric}{', %' if map.grid.percent else ''} [95 % interval]; {map.grid.down} down, "
    note += f"{map.grid.across} across; border: best, or not separable from it"
    parts = [
        _inside(map.heat, EDGE, _HEAD, wide, tall),
        _inside(map.ramp, EDGE, _HEAD + tall + 8, wide, 14),
        _inside(map.trend, EDGE, _HEAD + tall + 40, wide, TREND),
        *_legend([(key, f"{map.grid.down} {value}") for key, value in map.legend], _HEAD + tall + TREND + 60),
    ]
    height = _HEAD + tall + (TREND + 50 + 20 * ((len(map.legend) + 2) // 3) if map.trend else 0)
    return _file(f"{view.section.title}: {map.grid.family}", note, parts, height)


def _legend(lines: Sequence[tuple[Markup, str]], y: float) -> list[Markup]:
    """Keys in three columns."""
    column = (WIDE - 2 * EDGE) / 3
    return [
        Markup('<svg x="{}" y="{}" width="{}" height="20">{}{}</svg>').format(
            f"{EDGE + i % 3 * column:g}", f"{y + i // 3 * 20:g}", f"{column:g}", key, _line(38, 9, name, "start")
        )
        for i, (key, name) in enumerate(lines)
    ]


def _inside(figure: Markup, x: float, y: float, wide: float, tall: float) -> Markup:
    return Markup('<svg x="{}" y="{}" width="{}" height="{}">{}</svg>').format(
        f"{x:g}", f"{y:g}", f"{wide:g}", f"{tall:g}", figure
    )


def _line(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text class="row" x="{}" y="{}" text-anchor="{}">{}</text>').format(f"{x:g}", f"{y:g}", anchor, text)


def _file(title: str, note: str, parts: Iterable[Markup], height: float) -> str:
    """A whole SVG file."""
    text = Markup(
        _START + 'height="{h}" viewBox="0 0 {w} {h}" {font}>'
        "<title>{title}</title><style>{css}</style>"
        '<rect width="{w}" height="{h}" fill="#fff"/>'
        '<text class="title" x="{edge}" y="24">{title}</text><text x="{edge}" y="42">{note}</text>{parts}</svg>\n'
    ).format(
        w=WIDE, h=f"{height + EDGE:g}", font=Markup(_FONT), title=escape(title), css=_light(), edge=EDGE,
        note=escape(note), parts=Markup("").join(parts),
    )  # fmt: skip
    return tables.inert(text)


def _light() -> Markup:
    """The figures' style sheet in light colours, without variables and media queries: many readers know none."""
    light, _, rest = asset("figure.css").partition("@media (prefers-color-scheme:dark)")
    root, _, rules = light.partition("}\n")
    colours = dict(re.findall(r"--(\w+):(#\w+)", root))
    own = "svg .title{fill:var(--ink);font-size:15px;font-weight:600}svg .row{fill:var(--ink);font-size:12px}"
    css = (rules + rest.partition("}}\n")[2] + own).replace("--c:", "color:").replace("var(--c)", "currentColor")
    return Markup(re.sub(r"var\(--(\w+)\)", lambda found: colours[found[1]], css))


def _slug(name: str) -> str:
    plain = "".join(character if character.isalnum() and character.isascii() else "-" for character in name)
    return plain[:60]
