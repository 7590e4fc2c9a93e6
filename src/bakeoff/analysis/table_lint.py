"""Table lint: what anybody's long table is checked for. The checks are those of a study's report (`lint`) and the same
by name; what scores alone cannot tell is said to be not applicable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

import numpy as np

from bakeoff.analysis import attainable, words
from bakeoff.analysis.benchmark import CONSTANT_ITEMS
from bakeoff.analysis.metrics import is_count, of_draws
from bakeoff.analysis.pass_at_k import pass_at_k
from bakeoff.analysis.printed import unit
from bakeoff.analysis.result import Check
from bakeoff.analysis.scores import Scores
from bakeoff.analysis.statistics import Floats

MOST_DRAWS = 100  # completions of an item; a table does not say how many there were
LEAST = 0.25  # of the items right, and wrong: two good runs may well miss the same few
UNTOLD = ("trained parameters", "frozen part", "percentages")


def lint(tasks: Sequence[Scores]) -> tuple[Check, ...]:
    """The checklist of a long table, all of its tasks together."""
    untold = [_none(name, "a table of scores does not say") for name in UNTOLD]
    return (
        _values(tasks),
        _draws(tasks),
        _constant(tasks),
        *untold,
        _leaders(tasks),
        _lost(tasks),
        _missing(tasks),
        _none("overlap", "a table of scores does not say"),
    )


def _values(tasks: Sequence[Scores]) -> Check:
    """Of a metric that counts completions, an item's score is a count of its draws."""
    if not is_count(tasks[0].metric):
        return _none("values", "`--metric` names nothing that counts completions (accuracy, exact_match)")
    runs = list(_runs(tasks))
    off = [label for label, scores in runs if not attainable.sizes(_printed(scores), MOST_DRAWS)]
    none = f"in which no number of draws up to {MOST_DRAWS} gives every item's {tasks[0].metric}"
    return _found(
        "values", off, none, f"In {words.count(len(runs), 'run')} every item's score can be a count of draws."
    )


def _draws(tasks: Sequence[Scores]) -> Check:
    """An item's pass@k is without bias from k draws or more, and has then few possible values."""
    k = of_draws(tasks[0].metric)
    if k is None or k == 1:
        return _none("pass@k", "no pass@k with k above 1")
    grids = [np.array([pass_at_k(n, right, k) for right in range(n + 1)]) for n in range(k, MOST_DRAWS + 1)]
    off = [label for label, scores in _runs(tasks) if not any(_lies_on(scores, grid) for grid in grids)]
    none = f"in which no {k} to {MOST_DRAWS} draws of every item give its pass@{k} without bias"
    return _found("pass@k", off, none, f"Every item's score can be pass@{k} of {k} draws or more, which are not told.")


def _constant(tasks: Sequence[Scores]) -> Check:
    """Runs with one answer to every item are right on the same items, or on just those where the other is wrong."""
    looked, alike = 0, []
    for task in tasks:
        seen: dict[bytes, str] = {}
        for label, scores in _runs([task]):
            right = scores == 1
            if len(scores) < CONSTANT_ITEMS or not np.all(right | (scores == 0)) or not _is_mixed(right):
                continue
            looked += 1
            for pattern, how in ((right, "right on the very items of"), (~right, "right just where wrong is")):
                if other := seen.get(pattern.tobytes()):
                    alike.append(f"{label} {how} {other}")
            seen.setdefault(right.tobytes(), label)
    none = f"no run has {CONSTANT_ITEMS} scores of 0 and 1, a quarter of each"
    clean = (
        f"No two of {words.count(looked, 'run')} are right on the very same items, or just where the other is wrong, "
    )
    return _found(
        "constant predictor",
        alike,
        "as runs with one answer to every item are",
        f"{clean}as runs with one answer to every item are." if looked else "",
        none,
    )


def _leaders(tasks: Sequence[Scores]) -> Check:
    """The method with the best mean has several runs, or is not trained."""
    single = []
    for task in tasks:
        sign = -1 if task.lower_is_better else 1
        best = max(task.arrays, key=lambda name: sign * float(task.arrays[name].mean()))
        if task.trained[best] and len(task.arrays[best]) == 1:
            single.append(_at(task, best))
    clean = f"Of {words.count(len(tasks), 'task')} none is led by one seed."
    return _found("winner's seeds", single, "leads with one seed", clean)


def _lost(tasks: Sequence[Scores]) -> Check:
    """Every trained method of a task has as many runs: of one with fewer, those that failed may have been left out."""
    fewer, several = [], 0
    for task in tasks:
        counts = {name: len(array) for name, array in task.arrays.items() if task.trained[name]}
        most = max(counts.values(), default=0)
        several += len(counts) > 1
        fewer += [f"{_at(task, name)} {k} of {most}" for name, k in counts.items() if k < most]
    clean = "Every trained method of a task has as many runs." if several else ""
    why = "fewer runs than others: those that failed or diverged may be hidden from the mean"
    return _found("lost runs", fewer, why, clean, "no two methods are trained")


def _missing(tasks: Sequence[Scores]) -> Check:
    items = sum(next(iter(task.arrays.values())).shape[1] for task in tasks)
    told = f"Every run has a score for each of its task's items ({items:,} in all): else the table is refused."
    return Check(name="missing items", state="clean", text=told)


# --- inside ---


def _runs(tasks: Sequence[Scores]) -> Iterator[tuple[str, Floats]]:
    """Every run by a name for people, and its items' scores."""
    for task in tasks:
        for name, array in task.arrays.items():
            for number, scores in enumerate(array):
                yield _at(task, name) + (f", run {number + 1}" if len(array) > 1 else ""), scores


def _at(task: Scores, method: str) -> str:
    return f"{task.task}: {method}" if task.task else method


def _printed(scores: Floats) -> list[Decimal]:
    """The distinct scores with the digits they were written with, ten at most."""
    return [Decimal(f"{x:.10f}").normalize() for x in np.unique(scores).tolist()]


def _lies_on(scores: Floats, grid: Floats) -> bool:
    """Whether each score is a value of the grid, rounded to the digits it was written with."""
    values = _printed(scores)
    half = np.array([min(float(unit(value)), 0.1) / 2 for value in values])
    near = np.abs(np.array([float(value) for value in values])[:, None] - grid).min(axis=1)
    return bool(np.all(near <= half + 1e-12))


def _is_mixed(right: np.ndarray) -> bool:
    return LEAST <= float(right.mean()) <= 1 - LEAST


def _found(name: str, those: Sequence[str], why: str, clean: str, none: str = "nothing to look at") -> Check:
    """Found where some are, with up to four by name; not applicable where nothing was looked at."""
    if those:
        shown = words.listed([*those[:4], *([f"{len(those) - 4} more"] if len(those) > 4 else [])])
        return Check(name=name, state="found", text=f"{shown}: {why}.")
    return Check(name=name, state="clean", text=clean) if clean else _none(name, none)


def _none(name: str, why: str) -> Check:
    return Check(name=name, state="not applicable", text=f"{why[0].upper()}{why[1:]}.")
