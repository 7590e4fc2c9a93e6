"""Several studies on one page: a line for each benchmark, with what may be called best there."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bakeoff.analysis import words
from bakeoff.analysis.summary import Line, Summary
from bakeoff.errors import InputError, suggest
from bakeoff.report import checklist, tables
from bakeoff.report.html import environment, policy, style
from bakeoff.report.markdown import escape, grid
from bakeoff.store import durable

HEADS = ("study", "model", "trained on", "tested on", "best", "metric", "95 % interval", "untrained", "n", "k")
# How the table gives way to a narrow terminal, step by step: columns left out, which are on the page.
STEPS: tuple[Collection[str], ...] = (
    ("model",),
    ("model", "trained on"),
    ("model", "trained on", "untrained"),
    ("model", "trained on", "untrained", "95 % interval"),
    ("model", "trained on", "untrained", "95 % interval", "metric"),
)
NAMED = 3  # so many methods that are not separable are named, of more the best
EXPLAINED = (
    "Best: a winner stands alone, separated from every other ranked method with three seeds or more. Where several "
    "are named, none of them is separable from the first, whose value is shown. k: runs of each trained method. "
    "Benchmarks are not corrected for each other, and different studies are not compared with each other."
)


def write(found: Summary, out: Path, formats: Sequence[str] | None = None) -> list[Path]:
    """Write the summary into a directory in each format (all of them, unless told); the paths written."""
    formats = tuple(FORMATS) if formats is None else formats
    for name in formats:
        if name not in FORMATS:
            raise InputError("--format", f"{name!r} is no report format", suggest(name, FORMATS))
    paths = [out / f"summary.{name}" for name in formats]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("--out", f"{out} cannot be written to ({error.strerror})", "give another directory") from None
    for path in paths:
        durable.write(path, FORMATS[path.suffix[1:]](found).encode("utf-8"))
    return paths


def terminal(found: Summary) -> Group:
    """The table and each benchmark's verdict for a terminal."""
    parts: list[RenderableType] = [Padding(_Lines(found), (0, 0, 1, 0))]
    parts += [Text(f"{line.study}: {tables.inert(line.headline)}") for line in found.lines]
    return Group(
        *parts, *(Text(tables.inert(told), style="dim") for told in linted(found)), Text(EXPLAINED, style="dim")
    )


@dataclass(frozen=True)
class _Lines:
    """The table in the console's width: columns give way before words are broken."""

    found: Summary

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        drawn = [_grid(self.found, without) for without in STEPS]
        wide = options.update(width=1000)
        fitting = (one for one in drawn if console.measure(one, options=wide).minimum <= options.max_width)
        yield next(fitting, drawn[-1])


def _grid(found: Summary, without: Collection[str]) -> Table:
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    heads = [head for head in HEADS if head not in without]
    for head in heads:
        right = head in ("metric", "n", "k", "untrained")
        whole = right or head in ("study", "tested on", "95 % interval")
        own = [head, *(row(line)[HEADS.index(head)] for line in found.lines)]
        pieces = own if whole else " ".join(own).split()
        shown.add_column(
            head,
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=whole,
            min_width=max(map(len, pieces), default=1),
        )
    for line in found.lines:
        texts = {head: tables.inert(text) for head, text in zip(HEADS, row(line), strict=True)}
        won = "bold green" if line.winner else ""
        shown.add_row(*(Text(texts[head], style=won if head == "best" else "") for head in heads))
    return shown


def row(line: Line) -> tuple[str, ...]:
    """A line's texts in the order of `HEADS`."""
    least, most = line.seeds
    return (
        line.study,
        line.model,
        line.trained_on,
        words.place("", line.benchmark, line.benchmark, line.split),
        best(line),
        f"{line.metric} {words.score(line.mean, line.percent)}" if line.best else line.metric,
        words.interval(line.ci_low, line.ci_high, line.percent) if line.best else "",
        words.score(line.untrained_mean, line.percent) if line.untrained else "",
        f"{line.n_items:,}",
        str(least) if least == most else f"{least} to {most}",
    )


def best(line: Line) -> str:
    """The winner, the methods not separable from the best, or that there is no ranking."""
    if line.winner:
        return line.winner
    if not line.winner_set:
        return "no ranking"
    if len(line.winner_set) == 1:
        return f"{line.winner_set[0]} (ahead of those ranked, no winner)"
    shown = line.winner_set if len(line.winner_set) <= NAMED else line.winner_set[:1]
    more = len(line.winner_set) - len(shown)
    return words.listed([*shown, *([f"{more} more"] if more else [])]) + " (not separable)"


def linted(found: Summary) -> list[str]:
    """What each study's lint says: a line, and what was found."""
    return [f"{one.study}: {told}" for one in found.lint for told in checklist.told(one.checks)]


def as_html(found: Summary) -> str:
    """One self-contained page."""
    return environment().get_template("summary.html.j2").render(
        lines=[(line, row(line)) for line in found.lines], heads=HEADS, lint=linted(found), explained=EXPLAINED,
        css=Markup(style()), policy=policy(style()),
    )  # fmt: skip


def as_markdown(found: Summary) -> str:
    """The table, then the verdicts."""
    rows = [[escape(text) for text in row(line)] for line in found.lines]
    verdicts = [f"- {escape(line.study)}: {escape(line.headline)}" for line in found.lines]
    lint = [f"- {escape(told)}" for told in linted(found)]
    return "\n".join(["# Summary", "", *grid(HEADS, rows, "lllllrlrrr"), "", *verdicts, "", *lint, "", EXPLAINED, ""])


def as_json(found: Summary) -> str:
    """`summary.json`: schema 1, full precision."""
    return json.dumps(found.published(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(found: Summary) -> str:
    """A row for each line; lists are joined by spaces, what is unknown is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(Line.model_fields)
    for line in found.lines:
        writer.writerow(_field(getattr(line, name)) for name in Line.model_fields)
    return out.getvalue()


def _field(value: object) -> object:
    text = " ".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else value
    return tables.no_formula(text) if isinstance(text, str) else text


FORMATS: dict[str, Callable[[Summary], str]] = {
    "html": as_html,
    "md": as_markdown,
    "json": as_json,
    "csv": as_csv,
}
