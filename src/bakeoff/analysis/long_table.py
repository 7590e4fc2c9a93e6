"""A long table: one row for every (method, seed, item), as any harness can write it, read into Scores."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import IO

import numpy as np

from bakeoff.analysis import statistics as st
from bakeoff.analysis.metrics import is_count, is_fraction, lower_is_better
from bakeoff.analysis.scores import MARGIN, Scores
from bakeoff.errors import InputError, suggest

REQUIRED = ("method", "seed", "item", "score")
OPTIONAL = ("task", "cluster")
FORMATS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
SLIP = 0.85  # as alike as `tasks` and `task`; `mask` and `step` are columns of their own
LARGEST = 1e100  # scores' squares and their sums stay finite

Items = dict[str, float]  # a run's scores by item


@dataclass
class _Task:
    """One task's rows: by method and seed (empty: none) each item's score; its items, each once; their clusters."""

    runs: dict[str, dict[str, Items]] = field(default_factory=dict)
    items: dict[str, str] = field(default_factory=dict)
    clusters: dict[str, str] = field(default_factory=dict)


def read(
    path: str | Path, metric: str = "score", baseline: str | None = None, margin: float | None = None
) -> list[Scores]:
    """A table's tasks in the order of the file; InputError with file, line and column for what is none.

    `metric` names what the scores are: as everywhere, its name says whether less of it is better and whether it is a
    fraction. `margin` is in the unit of the scores; where none is given it is .02 for fractions.
    """
    where = str(path)
    tasks = _rows(Path(path), where)
    found = [_scores(name, task, metric, margin, where) for name, task in tasks.items()]
    for one in found:
        if baseline is not None and baseline not in one.arrays:
            raise InputError("--baseline", f"no method '{baseline}'{_of(one.task)}", suggest(baseline, one.arrays))
        one.baseline = baseline
    return found


def _rows(path: Path, where: str) -> dict[str, _Task]:
    """All rows by task."""
    tasks: dict[str, _Task] = {}
    try:
        with _opened(path, where) as stream:
            lines = csv.reader(stream, delimiter=_delimiter(path), strict=True)
            try:
                place = _columns([name.strip().lower() for name in next(lines, [])], where)
                for cells in lines:
                    _take(cells, place, tasks, where, lines.line_num)
            except csv.Error as error:
                raise InputError(
                    f"{where}:{lines.line_num}", f"cannot be parsed ({error})", "close what is quoted"
                ) from None
    except UnicodeDecodeError as error:
        raise InputError(where, f"not UTF-8 at byte {error.start}", "save the table as UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        what = f"cannot be read ({getattr(error, 'strerror', None) or error})"
        raise InputError(where, what, "give a table that is there and whole") from None
    if not tasks:
        raise InputError(where, "holds no rows", f"the columns are {', '.join(REQUIRED)}, and perhaps task and cluster")
    return tasks


def _opened(path: Path, where: str) -> IO[str]:
    if not path.name.lower().endswith(FORMATS):
        raise InputError(where, "is no name of a table", f"accepted: {', '.join(FORMATS)}")
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return open(path, encoding="utf-8-sig", newline="")


def _delimiter(path: Path) -> str:
    return "\t" if ".tsv" in path.name.lower() else ","


def _columns(head: Sequence[str], where: str) -> dict[str, int]:
    """Where each column lies; columns of other names are passed over, unless they look like a slip."""
    if len(head) == 1 and (other := next((mark for mark in ",;\t" if mark in head[0]), None)):
        name = {",": "commas", ";": "semicolons", "\t": "tabs"}[other]
        raise InputError(f"{where}:1", f"its columns are parted by {name}", "a .csv has commas, a .tsv has tabs")
    for name in REQUIRED:
        if name not in head:
            near = suggest(name, head) if head else ""
            mend = near if near.startswith("did") else f"a table needs {', '.join(REQUIRED)}"
            raise InputError(f"{where}:1", f"no column '{name}'", mend)
    for name in (*REQUIRED, *OPTIONAL):
        if head.count(name) > 1:
            raise InputError(f"{where}:1", f"the column '{name}' is there twice", "drop one of them")
    for name in head:
        meant = get_close_matches(name, OPTIONAL, n=1, cutoff=SLIP)
        if meant and name not in (*REQUIRED, *OPTIONAL):
            raise InputError(f"{where}:1", f"unknown column '{name}'", f"did you mean '{meant[0]}'?")
    return {name: head.index(name) for name in (*REQUIRED, *OPTIONAL) if name in head} | {"": len(head)}


def _take(cells: list[str], place: Mapping[str, int], tasks: dict[str, _Task], where: str, line: int) -> None:
    """One row into its task; blank lines are passed over."""
    if len(cells) != place[""]:
        if not any(cell.strip() for cell in cells):
            return
        what = f"{len(cells)} fields where the header names {place['']}"
        raise InputError(f"{where}:{line}", what, "quote what holds a delimiter, and leave no field out")
    method, item = cells[place["method"]].strip(), cells[place["item"]].strip()
    if not method or not item:
        name = "item" if method else "method"
        if not any(cell.strip() for cell in cells):
            return
        raise InputError(f"{where}:{line}, column '{name}'", "is empty", f"give every row its {name}")
    try:
        score = math.nan if "_" in cells[place["score"]] else float(cells[place["score"]])
    except ValueError:
        score = math.nan
    if not abs(score) <= LARGEST:
        told = repr(cells[place["score"]])
        what = f"{told} is too large to compute with" if math.isfinite(score) else f"{told} is no number"
        raise InputError(f"{where}:{line}, column 'score'", what, "write 1 and 0 for right and wrong")
    seed = cells[place["seed"]].strip()
    name = cells[place["task"]].strip() if "task" in place else ""
    task = tasks.get(name) or tasks.setdefault(name, _Task())
    run = task.runs.setdefault(method, {}).setdefault(seed, {})
    item = task.items.setdefault(item, item)  # one string for all runs: a table of millions of rows fits
    if item in run:
        which = f"item '{item}' of {_run(method, seed)}{_of(name)} is there twice"
        raise InputError(f"{where}:{line}", which, "average its draws first, and give one metric at a time")
    run[item] = score
    if "cluster" in place:
        cluster = cells[place["cluster"]].strip()
        if task.clusters.setdefault(item, cluster) != cluster:
            what = f"item '{item}'{_of(name)} is in '{cluster}' here and in '{task.clusters[item]}' before"
            raise InputError(f"{where}:{line}, column 'cluster'", what, "give an item one cluster in every run")


def _scores(name: str, task: _Task, metric: str, margin: float | None, where: str) -> Scores:
    """A task's arrays, on the items that every run must have."""
    _check(name, task, where)
    items = list(task.items)
    arrays = {
        method: np.array([[run[item] for item in items] for run in runs.values()]) for method, runs in task.runs.items()
    }
    bounded = all(st.is_bounded(array) for array in arrays.values())
    percent = is_fraction(metric) and bounded
    if not bounded and (is_count(metric) or (is_fraction(metric) and _is_percent(arrays))):
        most = max(float(array.max()) for array in arrays.values())
        what = f"{metric}{_of(name)} reaches {most:g}, and is a fraction"
        raise InputError(f"{where}, column 'score'", what, "give scores from 0 to 1: divide percent by 100")
    if percent and margin is not None and margin >= 1:
        what = f"{margin:g} is no difference of fractions below 1"
        raise InputError("--margin", what, f"give {margin / 100:g} for {margin:g} points")
    return Scores(
        task=name,
        benchmark=name,
        metric=metric,
        arrays=arrays,
        trained={method: "" not in runs for method, runs in task.runs.items()},
        percent=percent,
        lower_is_better=lower_is_better(metric),
        clusters=_clusters(name, task, items, where),
        margin=margin if margin is not None else MARGIN if percent else None,
    )


def _is_percent(arrays: Mapping[str, st.Floats]) -> bool:
    """Whether right and wrong are written as 100 and 0."""
    return all(bool(np.all((array == 0) | (array == 100))) for array in arrays.values())


def _check(name: str, task: _Task, where: str) -> None:
    """InputError where there is nothing to compare, where runs have other items, or a method's seeds are half there."""
    if len(task.runs) < 2:
        raise InputError(where, f"only one method{_of(name)}, '{next(iter(task.runs))}'", "a comparison needs two")
    for method, runs in task.runs.items():
        if "" in runs and len(runs) > 1:
            what = f"some rows of '{method}'{_of(name)} have a seed and some have none"
            raise InputError(f"{where}, column 'seed'", what, "leave it empty only for a model that is not trained")
    for method, seed, run in _each(task):
        if len(run) < len(task.items):
            absent = next(item for item in task.items if item not in run)
            many = f"{len(task.items) - len(run)} of {len(task.items)} items{_of(name)}"
            what = f"{_run(method, seed)} lacks {many}, first '{absent}'"
            raise InputError(where, what, "every run needs a score for the same items")


def _clusters(name: str, task: _Task, items: Sequence[str], where: str) -> np.ndarray | None:
    """Each item's cluster as a number; None where the task has none."""
    named = [task.clusters.get(item, "") for item in items]
    if not any(named):
        return None
    if not all(named):
        what = f"item '{items[named.index('')]}'{_of(name)} has none, and others have one"
        raise InputError(f"{where}, column 'cluster'", what, "give a cluster to each, of its own where it is alone")
    return np.unique(named, return_inverse=True)[1]


def _each(task: _Task) -> Iterator[tuple[str, str, Items]]:
    return ((method, seed, run) for method, runs in task.runs.items() for seed, run in runs.items())


def _run(method: str, seed: str) -> str:
    return f"'{method}'" + (f", seed {seed}" if seed else "")


def _of(task: str) -> str:
    return f" of task '{task}'" if task else ""
