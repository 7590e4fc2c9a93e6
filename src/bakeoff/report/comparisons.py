"""Comparisons for a terminal and as JSON: what `bakeoff compare` prints."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from bakeoff.analysis import words
from bakeoff.analysis.result import Cell, Check, Comparison, Results
from bakeoff.analysis.scores import Scores
from bakeoff.analysis.sentences import sentence
from bakeoff.analysis.statistics import UNEQUAL
from bakeoff.analysis.verdicts import rank
from bakeoff.analysis.win_rates import win_rates as rates
from bakeoff.report import checklist, tables


def shown(scores: Scores, pairs: Sequence[Comparison]) -> Iterator[RenderableType]:
    """A task's methods with their means, a sentence for each pair, and what these say together."""
    yield _means(scores)
    for note in _notes(scores):
        yield Text(_plain(note), style="dim")
    yield Text()
    for pair in pairs:
        yield _said(pair)
    for told in _together(scores, pairs):
        yield Text(_plain(told))
    yield Text()


def win_rates(every: Sequence[Scores]) -> Iterator[RenderableType]:
    """The methods' mean win rates, where there are several tasks."""
    found = rates(every)
    if not found:
        return
    grid = _grid(f"mean win rate over {found[0].benchmarks} tasks, %")
    grid.add_column("method", overflow="fold", min_width=12)
    for name in ("mean", "95 % interval"):
        grid.add_column(name, justify="right", no_wrap=True)
    for one in found:
        grid.add_row(Text(_plain(one.method)), *tables.win_rate(one))
    yield grid
    yield Text(
        "The share of the other methods whose mean a method exceeds. The tasks are taken as they are.", style="dim"
    )


def _notes(scores: Scores) -> Iterator[str]:
    """Whose run variance the intervals hold."""
    own = scores.own_variance()
    if scores.pool:
        spread = words.number(math.sqrt(scores.pool.variance), scores.percent)
        over = words.count(scores.pool.methods, "method")
        yield f"Seed SD {spread}, pooled over {over} ({scores.pool.df} degrees of freedom)."
    elif scores.bartlett_p < UNEQUAL:
        p = words.p_equals("p", scores.bartlett_p)
        yield f"Run variances differ between methods (Bartlett {p}), so each method keeps its own."
    if own and scores.pool:
        yield f"Their own run variance: {words.listed(own)}."
    if same := scores.identical():
        alike = f"All runs of {words.listed(same)} are the same item by item"
        yield f"{alike}: leave the seed empty if nothing was trained."


def _together(scores: Scores, pairs: Sequence[Comparison]) -> Iterator[str]:
    """What no test separates from the best, and which verdicts rest on pooling."""
    members = scores.winner_set(pairs)
    if len(members) == 1 and len(scores.arrays) > 2:
        yield f"{members[0]} beats every other method."
    elif len(members) > 1:
        yield f"Not told apart at the top: {words.listed(members)}."
    if hanging := [f"{pair.a} against {pair.b}" for pair in pairs if pair.unpooled]:
        named = words.listed(hanging)
        yield f"By each method's own run variance, not the pooled one, this would be decided otherwise: {named}."


def lint(checks: Sequence[Check]) -> Iterator[Text]:
    """What a table's lint says: a line, and what was found."""
    for told in checklist.told(checks):
        yield Text(_plain(told), style="dim")


def of_study(pairs: Sequence[Comparison], results: Results) -> Iterator[Text]:
    """A study's comparisons: a sentence each, and why its report does not rank them; then what its lint says."""
    for pair in pairs:
        against = list(_against(pair, results))
        yield _said(pair, ranked=not against)
        split = next(cell.split for cell in results.cells if _is_at(cell, pair))
        judged = [] if split == "test" else [f"Judged on the {split} split, which is no test set."]
        for told in (*against, *judged):
            yield Text(f"  {_plain(told)}", style="dim")
    yield Text(checklist.line(results.lint), style="dim")


def _against(pair: Comparison, results: Results) -> Iterator[str]:
    """What speaks against ranking one of the two, as in the report."""
    cells = [cell for cell in results.cells if _is_at(cell, pair)]
    _, why = rank(cells, [one for one in results.comparisons if _is_at(one, pair)])
    for reason, names in why.items():
        for name in names:
            if name in (pair.a, pair.b):
                yield f"Not ranked: {name} ({reason})."
    for cell in cells:
        if cell.method in (pair.a, pair.b) and cell.status != "done":
            yield f"{cell.method} has {len(cell.per_seed)} of {words.count(cell.planned_runs, 'run')}."


def _is_at(one: Cell | Comparison, pair: Comparison) -> bool:
    """Whether it is of the same benchmark and metric."""
    return all(getattr(one, name) == getattr(pair, name) for name in ("model", "task", "benchmark", "metric"))


def _said(pair: Comparison, ranked: bool = True) -> Text:
    """A comparison's sentence, bold where one method is better."""
    bold = ranked and pair.verdict in ("a better", "b better")
    return Text(_plain(sentence(pair, ranked)), style="bold" if bold else "")


def _plain(text: str) -> str:
    """One line that no terminal obeys."""
    return tables.inert(text).replace("\n", "\\n").replace("\t", "\\t")


def as_json(pairs: Sequence[Comparison], checks: Sequence[Check]) -> str:
    """`{"comparisons": [...], "lint": [...]}` with the keys of results.json."""
    told = {
        "comparisons": [pair.model_dump(mode="json") for pair in pairs],
        "lint": [check.model_dump(mode="json") for check in checks],
    }
    return json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False)


def _means(scores: Scores) -> Table:
    unit = ", %" if scores.percent else ", lower is better" if scores.lower_is_better else ""
    title = f"{scores.task}: " if scores.task else ""
    n = next(iter(scores.arrays.values())).shape[1]
    grid = _grid(f"{title}{scores.metric}{unit}, n = {n:,}")
    grid.add_column("method", overflow="fold", min_width=12)
    for name in ("mean", "95 % interval", "k"):
        grid.add_column(name, justify="right", no_wrap=True)
    for name, array in scores.arrays.items():
        one = scores.interval(name)
        k = str(len(array)) if scores.trained[name] else "-"
        interval = words.interval(one.low, one.high, scores.percent) if math.isfinite(one.low) else "n/a"
        grid.add_row(Text(_plain(name)), words.number(float(array.mean()), scores.percent), interval, k)
    return grid


def _grid(title: str) -> Table:
    shape: dict[str, Any] = {"box": None, "pad_edge": False, "padding": (0, 2, 0, 0)}
    return Table(title=Text(_plain(title)), title_justify="left", title_style="bold", **shape)
