"""Comparisons for a terminal and as JSON: what `bakeoff compare` prints."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from bakeoff.analysis import words
from bakeoff.analysis.result import Comparison
from bakeoff.analysis.scores import Scores
from bakeoff.analysis.sentences import sentence
from bakeoff.report import tables


def shown(scores: Scores, pairs: Sequence[Comparison]) -> Iterator[RenderableType]:
    """A task's methods with their means, then a sentence for each pair."""
    yield _means(scores)
    if scores.pool:
        spread = words.number(math.sqrt(scores.pool.variance), scores.percent)
        over = words.count(scores.pool.methods, "method")
        yield Text(f"Seed SD {spread}, pooled over {over} ({scores.pool.df} degrees of freedom).", style="dim")
    yield Text()
    for pair in pairs:
        yield said(pair)
    yield Text()


def said(pair: Comparison) -> Text:
    """A comparison's sentence, bold where one method is better."""
    return Text(tables.inert(sentence(pair)), style="bold" if pair.verdict in ("a better", "b better") else "")


def as_json(pairs: Sequence[Comparison]) -> str:
    """`{"comparisons": [...]}` with the keys of results.json."""
    told = {"comparisons": [pair.model_dump(mode="json") for pair in pairs]}
    return json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False)


def _means(scores: Scores) -> Table:
    unit = ", %" if scores.percent else ", lower is better" if scores.lower_is_better else ""
    title = f"{scores.task}: " if scores.task else ""
    n = next(iter(scores.arrays.values())).shape[1]
    grid = Table(
        title=Text(tables.inert(f"{title}{scores.metric}{unit}, n = {n:,}")),
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    grid.add_column("method", overflow="fold", min_width=12)
    for name in ("mean", "95 % interval", "k"):
        grid.add_column(name, justify="right", no_wrap=True)
    for name, array in scores.arrays.items():
        one = scores.interval(name)
        k = str(len(array)) if scores.trained[name] else "-"
        interval = words.interval(one.low, one.high, scores.percent) if math.isfinite(one.low) else "n/a"
        grid.add_row(Text(tables.inert(name)), words.number(float(array.mean()), scores.percent), interval, k)
    return grid
