"""Results: what a study's store says, as one table of cells, comparisons, verdicts and doubts.

Everything is recomputed from the graded samples; a record contributes status, sizes and costs. Order is the study's,
the headline metric first. Scores are as graded: fractions 0 to 1, higher better, unless `metrics` says otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from bakeoff.analysis import doubts as doubt
from bakeoff.analysis import wins, words
from bakeoff.analysis.benchmark import Counted, Graded, Table, grade
from bakeoff.analysis.beside import beside
from bakeoff.analysis.grid import grids
from bakeoff.analysis.lint import lint
from bakeoff.analysis.result import (
    Cell,
    Comparison,
    Confusion,
    Curve,
    Doubt,
    Results,
    Run,
    Split,
    Standing,
    Tuning,
    Verdict,
)
from bakeoff.analysis.scores import MARGIN
from bakeoff.analysis.shown import asked, shown
from bakeoff.analysis.standing import standing
from bakeoff.analysis.tuning import doubts as tuning_doubts
from bakeoff.analysis.tuning import tunings
from bakeoff.analysis.verdicts import verdict
from bakeoff.analysis.win_rates import win_rates
from bakeoff.store.record import Record
from bakeoff.store.store import Store

__all__ = ["Cell", "Comparison", "Confusion", "Curve", "Doubt", "Results", "Run", "Verdict", "results"]

CURVE_POINTS = 80


def results(store: Store) -> Results:
    """Read a study's plan, records, samples and curves, and compute everything a report shows."""
    plan = store.plan()
    stored = dict.fromkeys(trial["key"] for trial in plan["trials"] if store.has(trial["key"]))
    graded = {key: grade(store.record(key), store.samples(key)) for key in stored}
    runs = [_run(trial, graded) for trial in plan["trials"]]
    tuned = tunings(store, plan)
    many = len({run.model for run in runs}) > 1
    found: list[_Found] = []
    curves: list[Curve] = []
    for model, task in dict.fromkeys((run.model, run.task) for run in runs):
        methods = _by_method([run for run in runs if (run.model, run.task) == (model, task)])
        undertuned = {one.method: one.undertuned for one in tuned if (one.model, one.task) == (model, task)}
        found += _of_task(plan, model, task, many, methods, graded, undertuned)
        curves += [c for name, group in methods.items() if (c := _curve(store, model, task, name, group))]
    cells = tuple(cell for one in found for cell in one.cells)
    headlines, verdicts = [one.headline for one in found], tuple(one.verdict for one in found)
    doubts = _doubts(plan, runs, graded, found, tuned)
    return Results(
        study=plan["study"],
        cells=cells,
        comparisons=tuple(pair for one in found for pair in one.comparisons),
        verdicts=verdicts,
        confusions=tuple(answers for one in found for answers in one.confusions),
        doubts=tuple(doubts),
        trials=tuple(runs),
        curves=tuple(curves),
        samples=tuple(shown(store, headlines)),
        provenance=_provenance(plan, graded),
        standings=tuple(stand for one in found for stand in one.standings),
        beside=beside(plan, cells, {key: known.record for key, known in graded.items()}),
        lint=lint(plan, runs, graded, cells, verdicts, doubts),
        win_rates=tuple(win_rates(headlines, {(c.model, c.method) for c in cells if c.undertuned or c.diverged_runs})),
        tuning=tuned,
        asked=tuple(asked(store, headlines)),
    )


def _doubts(
    plan: Mapping[str, Any],
    runs: Sequence[Run],
    graded: Mapping[str, Graded],
    found: Sequence[_Found],
    tuned: Sequence[Tuning],
) -> list[Doubt]:
    return (
        doubt.of_plan(plan)
        + doubt.of_trials(runs)
        + tuning_doubts(tuned)
        + doubt.of_weights(runs, graded, plan)
        + doubt.gathered([(one.place, one.told) for one in found])
        + doubt.of_overlap(_overlaps(plan))
        + doubt.of_scope(runs, graded, plan.get("protocol"), tuned)
    )


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What one benchmark of one model adds to the results; `told` are its doubts."""

    headline: Table
    place: str
    cells: list[Cell]
    comparisons: list[Comparison]
    verdict: Verdict
    standings: list[Standing]
    told: doubt.Told
    confusions: list[Confusion]


def _of_task(
    plan: Mapping[str, Any],
    model: str,
    task: str,
    many: bool,
    methods: Mapping[str, Sequence[Run]],
    graded: Mapping[str, Graded],
    undertuned: Mapping[str, str | None],
) -> list[_Found]:
    """Every benchmark of a model's task; `many`: there are other models, so that places name theirs.

    `undertuned` says by method why it is not to be ranked.
    """
    here = [run for runs in methods.values() for run in runs]
    split, sizes = _split(plan, task, here, graded), plan.get("parameters", {}).get(model, {})
    found: list[_Found] = []
    for benchmark, metrics in _asked(plan, task, here, graded).items():
        place = words.place(model if many else "", task, benchmark, split)
        about = (split, place, methods, graded, sizes, plan.get("equivalence_margin", MARGIN))
        tables = [Table(model, task, benchmark, metric, *about) for metric in metrics]
        rows = [_rows(table, _floor(plan, task, benchmark, table.metric), undertuned) for table in tables]
        headline, pairs = rows[0], wins.counted(tables[0], tables[0].comparisons())
        known = [(table, cells) for table, cells in zip(tables, rows, strict=True) if _is_shown(cells, headline)]
        told = doubt.of_benchmark(tables[0], headline, pairs)
        found.append(
            _Found(
                headline=tables[0],
                place=place,
                cells=[cell for _, cells in known for cell in cells],
                comparisons=pairs,
                verdict=verdict(tables[0], headline, pairs),
                standings=_standings(known[1:]),
                told=told + [one for table, cells in known for one in doubt.of_metric(table, cells)],
                confusions=_confusions(model, task, benchmark, methods, graded),
            )
        )
    return found


def _by_method(runs: Sequence[Run]) -> dict[str, list[Run]]:
    return {name: [run for run in runs if run.method == name] for name in dict.fromkeys(run.method for run in runs)}


def _rows(table: Table, floor: float | None, undertuned: Mapping[str, str | None]) -> list[Cell]:
    cells = table.cells()
    return [cell.model_copy(update={"floor": floor, "undertuned": undertuned.get(cell.method)}) for cell in cells]


def _is_shown(cells: Sequence[Cell], headline: Sequence[Cell]) -> bool:
    """Whether a metric has a value; the headline's cells stay without one."""
    return cells is headline or any(cell.mean is not None for cell in cells)


def _standings(others: Sequence[tuple[Table, Sequence[Cell]]]) -> list[Standing]:
    """How swept methods stand by a benchmark's other metrics."""
    found = [standing(table, cells) for table, cells in others if grids(cells)]
    return [one for one in found if one is not None]


def _run(trial: Mapping[str, Any], graded: Mapping[str, Graded]) -> Run:
    labels = {name: trial[name] for name in ("key", "model", "task", "method")}
    known = graded.get(trial["key"])
    status, reason = (known.record.status, known.record.reason) if known else ("missing", "")
    return Run(**labels, seed=trial.get("seed"), status=status, reason=reason)


def _asked(
    plan: Mapping[str, Any], task: str, here: Sequence[Run], graded: Mapping[str, Graded]
) -> dict[str, list[str]]:
    """The benchmarks of a task and their metrics, headline first: the plan's, then others that were graded."""
    told = plan.get("tasks", {}).get(task, {})
    found = [place for run in here if run.key in graded for place in graded[run.key].scores]
    benchmarks = dict.fromkeys([*told.get("benchmarks", []), *(name for name, _ in found)])
    if found:  # a benchmark that nothing was graded on is not part of this run (`split: validation`)
        benchmarks = {name: None for name in benchmarks if any(name == other for other, _ in found)}
    asked: dict[str, list[str]] = {}
    for benchmark in benchmarks or {task: None}:
        scored = dict.fromkeys(metric for name, metric in found if name == benchmark)
        planned = [metric for metric in told.get("metrics", []) if metric in scored or not scored]
        asked[benchmark] = list(dict.fromkeys([*planned, *scored])) or ["score"]
    return asked


def _split(plan: Mapping[str, Any], task: str, here: Sequence[Run], graded: Mapping[str, Graded]) -> Split:
    """What a task was judged on, by the plan, or by a stored trial where the plan does not say."""
    planned: Split | None = plan.get("tasks", {}).get(task, {}).get("split")
    stored: list[Split] = [graded[run.key].record.trial.task_spec.split for run in here if run.key in graded]
    return planned or (stored[0] if stored else "test")


def _floor(plan: Mapping[str, Any], task: str, benchmark: str, metric: str) -> float | None:
    """What unrelated answers score, where the plan tells."""
    return plan.get("tasks", {}).get(task, {}).get("floors", {}).get(benchmark, {}).get(metric)


def _curve(store: Store, model: str, task: str, method: str, runs: Sequence[Run]) -> Curve | None:
    rows = [curve for run in runs if run.status == "done" and (curve := store.curve(run.key))]
    if not rows:
        return None
    length = min(len(curve) for curve in rows)
    edges = [int(x) for x in np.linspace(0, length, min(length, CURVE_POINTS) + 1).round()]
    loss = np.array([_binned([row.loss for row in curve[:length]], edges) for curve in rows])  # [runs, points]
    return Curve(
        model=model,
        task=task,
        method=method,
        runs=len(rows),
        step=tuple(_binned([float(row.step) for row in rows[0][:length]], edges)),
        mean=tuple(float(x) for x in loss.mean(axis=0)),
        low=tuple(float(x) for x in loss.min(axis=0)),
        high=tuple(float(x) for x in loss.max(axis=0)),
    )


def _binned(values: Sequence[float], edges: Sequence[int]) -> list[float]:
    return [float(np.mean(values[i:j])) for i, j in pairwise(edges)]


def _confusions(
    model: str, task: str, benchmark: str, methods: Mapping[str, Sequence[Run]], graded: Mapping[str, Graded]
) -> list[Confusion]:
    """Every method's answers on a benchmark of labels; nothing on another one."""
    found = {name: _counted(runs, benchmark, graded) for name, runs in methods.items()}
    pairs = {pair for runs in found.values() for run in runs for pair in run.answers}
    labels = tuple(sorted({label for pair in pairs for label in pair if label is not None}))
    place = {"model": model, "task": task, "benchmark": benchmark, "labels": labels}
    return [
        Confusion(**place, method=name, **_answers(runs, labels)) for name, runs in found.items() if labels and runs
    ]


def _counted(runs: Sequence[Run], benchmark: str, graded: Mapping[str, Graded]) -> list[Counted]:
    """What was counted in those runs that answered a benchmark."""
    known = [graded[run.key].benchmarks for run in runs if run.key in graded]
    return [benchmarks[benchmark] for benchmarks in known if benchmark in benchmarks]


def _answers(runs: Sequence[Counted], labels: Sequence[str]) -> dict[str, Any]:
    """The counts of a method's runs on a benchmark of these labels."""
    answers = sum((run.answers for run in runs), Counter[tuple[str, str | None]]())
    constant = [run.constant for run in runs if run.constant is not None]
    draws = sum(run.draws for run in runs)
    counts = tuple(tuple(answers[gold, said] for said in (*labels, None)) for gold in labels)
    return {
        "counts": counts,
        "items": tuple(sum(row) // draws for row in counts),
        "runs": len(runs),
        "constant": tuple(dict.fromkeys(constant)),
        "constant_runs": len(constant),
    }


def _provenance(plan: Mapping[str, Any], graded: Mapping[str, Graded]) -> dict[str, Any]:
    """How it ran: every distinct value over the stored trials, and each trial's key."""
    records = [known.record for known in graded.values()]
    how = [record.provenance for record in records]
    versions: dict[str, list[str]] = {}
    for one in how:
        for name, version in one.versions.items():
            if version not in versions.setdefault(name, []):
                versions[name].append(version)
    return {
        "bakeoff": plan.get("bakeoff"),
        "engines": sorted({one.engine for one in how}),
        "executors": sorted({one.executor for one in how}),
        "devices": sorted({one.device for one in how}),
        "sandboxes": sorted({name for one in how for name in one.sandboxes}),
        "threads": sorted({one.threads for one in how}),
        "platforms": sorted({one.platform for one in how}),
        "group_sizes": sorted({one.group_size for one in how}),
        "versions": {name: sorted(found) for name, found in sorted(versions.items())},
        "weights": sorted({record.trial.weights for record in records}),
        "datasets": sorted({record.trial.dataset for record in records}),
        "signatures": _signatures(graded),
        "dtypes": sorted({record.trial.dtype for record in records}),
        "first_started": min((one.started for one in how), default=None),
        "last_started": max((one.started for one in how), default=None),
        "methods": _methods(records),
        "trials_planned": len(plan["trials"]),
        "trials_stored": len(records),
        "overlaps": _overlaps(plan),
        "trained_on": {
            task: told["trained_on"] for task, told in plan.get("tasks", {}).items() if "trained_on" in told
        },
        "notes": {name: told for name, told in plan.get("notes", {}).items() if name != "paths"},
        "forgetting": plan.get("forgetting"),
        "parameters": plan.get("parameters") or {},
    }


def _overlaps(plan: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """What the plan counted of test items in the training set, by the place that scores are told by."""
    return {
        words.place("", task, benchmark, told["split"]): found
        for task, told in plan.get("tasks", {}).items()
        for benchmark, found in told.get("overlap", {}).items()
    }


def _signatures(graded: Mapping[str, Graded]) -> list[str]:
    """How BLEU was computed, in sacrebleu's words, of every sample that is shown."""
    shown = [sample for one in graded.values() for c in one.benchmarks.values() for sample in c.first.values()]
    return sorted({str(sample.detail["bleu_signature"]) for sample in shown if "bleu_signature" in sample.detail})


def _methods(records: Sequence[Record]) -> dict[str, Any]:
    """Each method's kind, hyperparameters and training, from its first stored trial."""
    told: dict[str, Any] = {}
    for record in records:
        trial = record.trial
        training = trial.training.model_dump(mode="json") if trial.training else None
        told.setdefault(trial.method, {"use": trial.method_use, "config": trial.method_config, "training": training})
    return told
