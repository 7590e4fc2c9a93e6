"""Results for a terminal: a table per benchmark and its verdict, in 80 columns or what there are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bakeoff.analysis import words
from bakeoff.analysis.result import Cell, Results
from bakeoff.report import checklist, tables
from bakeoff.report.tables import Section

# How a table gives way to a narrow console, step by step: columns left out, and lines that a swept name may take.
STEPS: tuple[tuple[Collection[str], int], ...] = (
    ((), 1),
    (("train time",), 1),
    (("train time",), 2),
    (("train time", "seed SD"), 2),
    (("train time", "seed SD"), 9),
)


def table(results: Results) -> Group:
    """What `bakeoff run` and `bakeoff report` print: tables, verdict sentences, then what to doubt."""
    parts: list[RenderableType] = []
    if banner := tables.banner(results):
        parts.append(Padding(Text(banner, style="bold red"), (0, 0, 1, 0)))
    for section in tables.sections(results):
        parts.append(_Scores(section))
        if section.others:
            parts.append(_Others(section))
        parts.append(Padding(Text(tables.inert(section.verdict.sentence)), (0, 0, 1, 0)))
    parts += _win_rates(results)
    if results.beside:
        parts.append(Padding(Text(tables.inert(tables.beside_summary(results))), (0, 0, 1, 0)))
    if results.tuning:
        parts.append(Padding(Text(tables.inert(tables.tuning_summary(results.tuning))), (0, 0, 1, 0)))
    parts.append(Text(_legend(results), style="dim"))
    for doubt in results.doubts:
        parts.append(
            Text(f"{doubt.kind}: {tables.inert(doubt.text)}", style="dim" if doubt.kind == "scope" else "yellow")
        )
    if results.lint:
        parts.append(Text(checklist.line(results.lint), style="dim"))
    parts.append(Text(_more(results), style="dim"))
    return Group(*parts)


def _win_rates(results: Results) -> list[RenderableType]:
    """Over all benchmarks of a model, how often each method's mean exceeds another's."""
    if not results.win_rates:
        return []
    many = len({rate.model for rate in results.win_rates}) > 1
    title = Text("Mean win rate, %")
    grid = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ["model"] * many + ["method"]:
        grid.add_column(name, overflow="fold", min_width=12)
    for name in ("wins", "95 % interval"):
        grid.add_column(name, justify="right", no_wrap=True)
    for rate in results.win_rates:
        grid.add_row(*[Text(rate.model)] * many, Text(rate.method), *tables.win_rate(rate))
    return [grid, Padding(Text(tables.win_rates_explained(results), style="dim"), (0, 0, 1, 0))]


def _legend(results: Results) -> str:
    """What the intervals cover and the marks are, in a line."""
    scopes = {cell.scope for cell in results.cells if cell.mean is not None}
    told: list[str] = []
    if "runs and items" in scopes:
        told.append("95\N{NO-BREAK SPACE}% intervals cover test items and training runs.")
    if "this checkpoint only" in scopes:
        told.append("\N{DAGGER} Test items only: untrained, or one run.")
    if any(tables.FROM_RUNS in tables.training(cell) for cell in results.cells):
        told.append(tables.FROM_RUNS_EXPLAINED)
    return " ".join(told)


def _more(results: Results) -> str:
    """What the report says and the terminal does not."""
    said = ["how intervals and costs are made"]
    if assumed := tables.assumed(results):
        said.append(f"what this study assumes ({words.count(len(assumed), 'note')})")
    return f"The report says {words.listed(said)}."


@dataclass(frozen=True)
class _Scores:
    """A benchmark's table at the console's width."""

    section: Section

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        drawn = [_grid(self.section, *step) for step in STEPS]
        wide = options.update(width=1000)
        fitting = (one for one in drawn if console.measure(one, options=wide).maximum <= options.max_width)
        yield next(fitting, drawn[-1])


@dataclass(frozen=True)
class _Others:
    """The means by a benchmark's other metrics where there is room for them, else their names."""

    section: Section

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        grid.add_column("method", overflow="fold", min_width=12)
        others = list(self.section.others.values())
        for cells in others:
            head = tables.metric(cells[0]).replace(" (lower is better)", "")
            grid.add_column(Text(head), justify="right", no_wrap=True)
        for own in zip(*others, strict=True):
            grid.add_row(Text(own[0].method), *(Text(tables.value(cell)) for cell in own))
        if console.measure(grid, options=options.update(width=1000)).maximum <= options.max_width:
            yield Padding(grid, (1, 0, 0, 0))
        else:
            yield Text(f"Also measured: {words.listed(list(self.section.others))} (on the page).", style="dim")


def _grid(section: Section, without: Collection[str], lines: int) -> Table:
    """The table without some columns, and without those that are empty; a name takes at most `lines`."""
    title = f"{section.title}: {tables.metric(section.cells[0])}, n = {section.verdict.n_items:,}"
    grid = Table(
        title=Text(title), title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    rows = [_row(section, cell, lines) for cell in section.cells]
    names = [name for name in rows[0] if name not in without and any(row[name].plain for row in rows)]
    for name in names:
        if name == "method":
            grid.add_column(name, overflow="fold", min_width=12)
        else:
            grid.add_column(name.strip(), justify="left" if name == " " else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*(row[name] for name in names))
    return grid


def _row(section: Section, cell: Cell, lines: int) -> dict[str, Text]:
    mark = tables.mark(section, cell)
    style = "bold green" if mark == "best" else "green" if mark == "top" else ""
    note = mark or ("not ranked" if tables.unranked(section, cell) and cell.status == "done" else "")
    if cell.status != "done":
        note = cell.status if not note else f"{note}, {cell.status}"
    one = "\N{DAGGER}" if cell.scope == "this checkpoint only" and cell.mean is not None else ""
    interval = tables.interval(cell) + one
    return {
        "method": Text(_broken(cell.method, lines), style=style),
        " ": Text(note, style=style if cell.status == "done" else "yellow"),
        "mean": Text(tables.value(cell) or "n/a", style=style),
        "95 % interval": Text(interval),
        "seed SD": Text(words.number(cell.seed_sd, cell.percent) if cell.seed_sd is not None else ""),
        "k": Text(tables.runs(cell) if cell.trained else "-"),
        "trainable": Text(tables.whole(cell.trainable_params)),
        "train time": Text(tables.training(cell) or "-"),
    }


def _broken(method: str, lines: int) -> str:
    pieces = tables.breakable(method)
    last = "".join(pieces[lines - 1 :])
    return "\n ".join([*pieces[: lines - 1], *([last] if last else [])])
