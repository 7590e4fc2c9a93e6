"""Standing: which methods are not separable from the best by a metric that is no headline, where a sweep is a grid."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.analysis import statistics as st
from bakeoff.analysis.benchmark import Table
from bakeoff.analysis.grid import typical_width
from bakeoff.analysis.metrics import lower_is_better
from bakeoff.analysis.result import ALPHA, Cell, Standing
from bakeoff.analysis.verdicts import UNDECIDED


def standing(table: Table, cells: Sequence[Cell]) -> Standing | None:
    """The winner set of one metric of a benchmark, by the tests that headlines get; None where nothing can be ranked.

    Left out are methods with one seed or undertuned, and runs that collapsed or diverged, as in a verdict.
    """
    fit = [cell for cell in cells if cell.mean is not None and not cell.diverged_runs and not cell.undertuned]
    fit = [cell for cell in fit if not cell.trained or (len(cell.per_seed) > 1 and not cell.constant_seeds)]
    if len(fit) < 2:
        return None
    sign = -1 if lower_is_better(table.metric) else 1
    means = {cell.method: sign * cell.mean for cell in fit if cell.mean is not None}
    pairs = table.comparisons()
    decided = {(pair.a, pair.b): None if pair.verdict in UNDECIDED else pair.p_holm for pair in pairs}
    return Standing(
        model=table.model,
        task=table.task,
        benchmark=table.benchmark,
        metric=table.metric,
        members=tuple(st.winner_set(means, decided, ALPHA)),
        family=pairs[0].family if pairs else 0,
        width=typical_width(pairs),
    )
