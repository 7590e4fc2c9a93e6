"""Results for a terminal: a table per benchmark and its verdict, in 100 columns."""

from __future__ import annotations

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bakeoff.analysis import words
from bakeoff.analysis.result import Cell, Results
from bakeoff.report import tables
from bakeoff.report.tables import Section


def table(results: Results) -> Group:
    """What `bakeoff run` and `bakeoff report` print: tables, verdict sentences, then what to doubt."""
    parts: list[Table | Text | Padding] = []
    for section in tables.sections(results):
        parts.append(_table(section))
        parts.append(Padding(Text(tables.inert(section.verdict.sentence)), (0, 0, 1, 0)))
    parts.append(Text(tables.intervals_explained(results), style="dim"))
    for doubt in results.doubts:
        parts.append(
            Text(f"{doubt.kind}: {tables.inert(doubt.text)}", style="dim" if doubt.kind == "scope" else "yellow")
        )
    return Group(*parts)


def _table(section: Section) -> Table:
    unit = " %" if section.percent else ""
    title = f"{section.title}: {section.verdict.metric}{unit}, n = {section.verdict.n_items:,}"
    grid = Table(
        title=Text(title), title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    grid.add_column("method", overflow="fold", min_width=12)
    for name in ("mean", "95 % interval", "seed SD", "k", "trainable", "train time"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("", no_wrap=True)
    for cell in section.cells:
        grid.add_row(*(Text(text, style=style) for text, style in _row(section, cell)))
    return grid


def _row(section: Section, cell: Cell) -> list[tuple[str, str]]:
    mark = tables.mark(section, cell)
    style = "bold green" if mark == "best" else "green" if mark == "top" else ""
    note = mark
    if cell.status != "done":
        note = cell.status if not note else f"{note}, {cell.status}"
    one = "\N{DAGGER}" if cell.scope == "this checkpoint only" and cell.mean is not None else ""
    return [
        (cell.method, style),
        (words.number(cell.mean, cell.percent), style),
        (words.interval(cell.ci_low, cell.ci_high, cell.percent) + one if cell.mean is not None else "", ""),
        (words.number(cell.seed_sd, cell.percent) if cell.seed_sd is not None else "", ""),
        (tables.runs(cell) if cell.trained else "-", ""),
        (tables.whole(cell.trainable_params), ""),
        (tables.duration(cell.train_seconds) if cell.trained else "-", ""),
        (note, style if cell.status == "done" else "yellow"),
    ]
