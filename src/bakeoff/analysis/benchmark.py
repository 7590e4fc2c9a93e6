"""Benchmark: one benchmark's scores by one metric, as cells and comparisons."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

import numpy as np

from bakeoff.analysis import statistics as st
from bakeoff.analysis.aggregates import AGGREGATES, Tally, item_means, tally
from bakeoff.analysis.metrics import is_fraction, lower_is_better
from bakeoff.analysis.result import ALPHA, Cell, CellStatus, Comparison, Decision, Run, Split
from bakeoff.store.record import Record, Sample, Solo

CONSTANT_ITEMS = 10  # below so many items, one answer to all of them is no sign of collapse
SHOWN_ITEMS = 3  # items per benchmark whose completions a report shows


@dataclass
class Graded:
    """One stored trial, reduced: item scores by benchmark and metric, and what was counted on the way.

    An aggregate's item scores are its pseudo-values over all items, made of its `tallies`.
    """

    record: Record
    scores: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)
    tallies: dict[tuple[str, str], Tally] = field(default_factory=dict)
    benchmarks: dict[str, Counted] = field(default_factory=dict)


@dataclass
class Counted:
    samples: int = 0
    draws: int = 1
    fewest: int = 1  # draws of an item
    unparsable: int = 0
    left_out: int = 0  # samples without scores: they could not be graded
    undecided: int = 0  # samples whose answers nothing could judge, and which score 0
    missed: bool = False  # whether any completion fell short by the headline metric
    texts: set[str] = field(default_factory=set)  # at most two: one tells a constant predictor
    answers: Counter[tuple[str, str | None]] = field(default_factory=Counter)  # (gold label, label said or None)
    items: set[str] = field(default_factory=set)
    first: dict[str, Sample] = field(default_factory=dict)  # the first items' first draws

    @property
    def constant(self) -> str | None:
        """The one answer to every item although another was right for some; None where there were several answers.

        A label where the answers are labels, whatever the text around it, else the text. Of few items it tells nothing.
        """
        if len(self.items) < CONSTANT_ITEMS:
            return None
        said = {label for _, label in self.answers}
        if len(said) == 1 and None not in said:
            return said.pop() if len({gold for gold, _ in self.answers}) > 1 else None
        return next(iter(self.texts)) if len(self.texts) == 1 and self.missed else None


def grade(record: Record, samples: Sequence[Sample]) -> Graded:
    """Reduce a trial's samples; of each benchmark, aggregates are those that its record names."""
    graded = Graded(record)
    if record.status != "done":
        return graded
    own: dict[str, list[Sample]] = {}
    for sample in samples:
        own.setdefault(sample.benchmark, []).append(sample)
    for benchmark, here in own.items():
        graded.benchmarks[benchmark] = _counted(here)
        for metric in dict.fromkeys(metric for sample in here for metric in sample.scores):
            graded.scores[benchmark, metric] = item_means(metric, here)
        told = record.benchmarks.get(benchmark)
        for metric in told.metrics if told else ():
            if metric in AGGREGATES and (found := tally(metric, here)):
                graded.tallies[benchmark, metric] = found
                graded.scores[benchmark, metric] = dict(zip(found.items, found.pseudo_values().tolist(), strict=True))
    return graded


def _counted(samples: Sequence[Sample]) -> Counted:
    """One benchmark's samples, counted."""
    counted = Counted(samples=len(samples))
    draws = Counter(sample.id for sample in samples)
    counted.draws, counted.items = max(draws.values()), set(draws)
    counted.fewest = min(draws.values())
    for sample in samples:
        counted.unparsable += bool(sample.detail.get("unparsable"))
        counted.left_out += not sample.scores
        counted.undecided += bool(sample.scores and sample.detail.get("undecided"))
        counted.missed |= _fell_short(sample)
        if len(counted.texts) < 2:
            counted.texts.add(sample.text.strip())
        if "gold" in sample.detail and "chosen" in sample.detail:
            said = None if sample.detail.get("unparsable") else sample.detail["chosen"]
            counted.answers[sample.detail["gold"], said] += 1
        if len(counted.first) < SHOWN_ITEMS:
            counted.first.setdefault(sample.id, sample)
    return counted


def _fell_short(sample: Sample) -> bool:
    """Whether a completion is less than right by its first metric."""
    metric, value = next(iter(sample.scores.items()), ("", 1.0))
    return value > 0 if lower_is_better(metric) else value < 1


class Table:
    """The scores of one benchmark by one metric: per method an array [seeds, items] on the items all runs share."""

    def __init__(
        self,
        model: str,
        task: str,
        benchmark: str,
        metric: str,
        split: Split,
        place: str,
        methods: Mapping[str, Sequence[Run]],
        graded: Mapping[str, Graded],
        sizes: Mapping[str, Mapping[str, int]],
    ):
        self.model, self.task, self.benchmark, self.metric = model, task, benchmark, metric
        self.split: Split = split
        self.place = place
        self.planned, self.graded, self.sizes = methods, graded, sizes
        self.aggregate, self.lower_is_better = metric in AGGREGATES, lower_is_better(metric)
        self.done = {
            name: [run for run in runs if run.key in graded and (benchmark, metric) in graded[run.key].scores]
            for name, runs in methods.items()
        }
        every = [self._scores(run) for runs in self.done.values() for run in runs]
        self.items = [item for item in every[0] if all(item in scores for scores in every)] if every else []
        asked = (graded[run.key].benchmarks[benchmark].items for runs in self.done.values() for run in runs)
        self.dropped = len({item for items in asked for item in items}) - len(self.items)
        self.arrays = {
            name: np.array([self._row(run) for run in runs], dtype=float)
            for name, runs in self.done.items()
            if runs and self.items
        }
        self.trained = {name: any(run.seed is not None for run in runs) for name, runs in methods.items()}
        self.constant = {name: [self._is_constant(run) for run in runs] for name, runs in self.done.items()}
        bounded = self.aggregate or all(st.is_bounded(array) for array in self.arrays.values())
        self.percent = bounded and is_fraction(metric)
        varied = {
            name: array[[not constant for constant in self.constant[name]]]
            for name, array in self.arrays.items()
            if self.trained[name] and not all(self.constant[name])
        }
        self.pool, uses, self.bartlett_p = st.pooling(list(varied.values()), self.percent)
        self.pooled = {name for name, used in zip(varied, uses, strict=True) if used and not any(self.constant[name])}

    def _scores(self, run: Run) -> dict[str, float]:
        return self.graded[run.key].scores[self.benchmark, self.metric]

    def _row(self, run: Run) -> list[float]:
        """A run's scores on the shared items; an aggregate's pseudo-values are those of these items alone."""
        scores = self._scores(run)
        if self.aggregate and len(scores) > len(self.items):
            return self.graded[run.key].tallies[self.benchmark, self.metric].of(self.items).pseudo_values().tolist()
        return [scores[item] for item in self.items]

    def _is_constant(self, run: Run) -> bool:
        return self.graded[run.key].benchmarks[self.benchmark].constant is not None

    def undefined(self, run: Run) -> bool:
        """Whether the metric has no value for a run (precision, where no positive was predicted): shown as 0."""
        return self.aggregate and self.graded[run.key].tallies[self.benchmark, self.metric].undefined

    def seed_pool(self, name: str) -> st.SeedPool | None:
        """The run variance to use for a method: the pool, or None for its own; a collapsed run keeps it out."""
        return self.pool if name in self.pooled else None

    def own_variance(self) -> list[str]:
        """Trained methods of several runs that keep their own run variance, in study order."""
        return [n for n, array in self.arrays.items() if self.trained[n] and len(array) > 1 and n not in self.pooled]

    def cells(self) -> list[Cell]:
        """A cell for every planned method."""
        return [self._cell(name) for name in self.planned]

    def _cell(self, name: str) -> Cell:
        runs, array = self.done[name], self.arrays.get(name)
        records = [self.graded[run.key].record for run in runs]
        known = records or [self.graded[run.key].record for run in self.planned[name] if run.key in self.graded]
        counted = [self.graded[run.key].benchmarks[self.benchmark] for run in runs]
        seconds = sum(record.cost.train_seconds for record in records)
        tokens = sum(record.cost.train_tokens for record in records)
        solo = next((record.cost.solo for record in known if record.cost.solo), None)
        planned = self.sizes.get(name, {})
        counted_there = bool(known and known[0].total_params)
        total = known[0].total_params if counted_there else planned.get("total")
        trainable = known[0].trainable_params if counted_there else planned.get("trainable")
        per_seed = [float(mean) for mean in array.mean(axis=1)] if array is not None else []
        undefined = sum(self.undefined(run) for run in runs)
        low = high = math.nan
        if array is not None and undefined < len(runs):
            low, high = self._interval(name, array)
        trained = self.trained[name]
        texts = [record.text_loss for record in records if record.text_loss]
        return Cell(
            model=self.model,
            task=self.task,
            benchmark=self.benchmark,
            method=name,
            metric=self.metric,
            mean=float(np.mean(per_seed)) if per_seed else None,
            ci_low=_finite(low),
            ci_high=_finite(high),
            per_seed=tuple(per_seed),
            seeds=tuple(run.seed for run in runs if run.seed is not None) if per_seed else (),
            n_items=len(self.items) if per_seed else 0,
            trainable_params=trainable,
            total_params=total,
            trainable_percent=100 * trainable / total if total and trainable is not None else None,
            adapter_bytes=max((record.cost.adapter_bytes for record in records), default=None),
            train_seconds=seconds / len(records) if records else None,
            tokens_per_second=tokens / seconds if seconds > 0 and tokens else None,
            peak_bytes=_peak(records, solo),
            status=_cell_status(self.planned[name], runs),
            scope="runs and items" if len(per_seed) > 1 else "this checkpoint only",
            trained=trained,
            planned_runs=len(self.planned[name]),
            seed_sd=float(np.std(per_seed, ddof=1)) if len(per_seed) > 1 else None,
            seed_min=min(per_seed, default=None),
            seed_max=max(per_seed, default=None),
            draws=max((c.draws for c in counted), default=1),
            unparsable=sum(c.unparsable for c in counted) / max(1, sum(c.samples for c in counted)),
            constant_seeds=sum(self.constant[name]),
            diverged_runs=sum(run.status == "diverged" for run in self.planned[name]),
            split=self.split,
            lanes=max((record.cost.lanes for record in records), default=1),
            percent=self.percent,
            lower_is_better=self.lower_is_better,
            undefined_seeds=undefined,
            solo_train_seconds=_alone(records, solo) if trained else None,
            solo=solo,
            text_loss=texts[0].before if texts else None,
            text_loss_changes=tuple(text.change for text in texts) if trained else (),
        )

    def _interval(self, name: str, array: Any) -> st.Interval:
        """The interval of a method's mean.

        Pseudo-values that are all the same (a precision of 1) tell nothing of what leaving items out can do: the
        interval is then Wilson's for the items that the share rests on, and none where it is no share (BLEU).
        """
        if not self.aggregate or np.ptp(array) > 0:
            return st.mean_interval(array, self.seed_pool(name), fraction=self.percent)
        tallies = (self.graded[run.key].tallies[self.benchmark, self.metric] for run in self.done[name])
        n = min(tally.of(self.items).support for tally in tallies) if self.percent else 0
        return st.wilson(float(array[0, 0]) * n, n) if n else st.Interval(math.nan, math.nan)

    def comparisons(self) -> list[Comparison]:
        """Every pair with results, Holm-adjusted within the family of those that could be tested.

        `a` is the one earlier in the study; an untrained method is always `b`.
        """
        pairs = [self._pair(*self._orient(x, y)) for x, y in combinations(self.arrays, 2)]
        tested = [i for i, pair in enumerate(pairs) if pair["p"] is not None]
        for i, adjusted in zip(tested, st.holm([pairs[i]["p"] for i in tested]), strict=True):
            pairs[i]["p_holm"] = float(adjusted)
        return [Comparison(**pair, family=len(tested), verdict=self._decide(pair)) for pair in pairs]

    def _orient(self, x: str, y: str) -> tuple[str, str]:
        return (y, x) if self.trained[y] and not self.trained[x] else (x, y)

    def _pair(self, a: str, b: str) -> dict[str, Any]:
        x, y = self.arrays[a], self.arrays[b]
        one_run = any(self.trained[name] and len(self.arrays[name]) == 1 for name in (a, b))
        test, split = "two-way t", None
        if one_run or len(x) == len(y) == 1:
            found = st.paired_difference(x.mean(axis=0, keepdims=True), y.mean(axis=0, keepdims=True))
            source, test = "none", "paired t over items"
            binary = st.is_binary(x) and st.is_binary(y) and not self.aggregate
            if len(x) == len(y) == 1 and binary and x.shape[1] > 1:
                split, test = st.mcnemar(x, y), "exact McNemar"
        else:
            found = st.paired_difference(x, y, (self.seed_pool(a), self.seed_pool(b)))
            source = self._source(a, b)
        return {
            "model": self.model,
            "task": self.task,
            "benchmark": self.benchmark,
            "metric": self.metric,
            "a": a,
            "b": b,
            "difference": found.difference,
            "ci_low": _finite(found.low),
            "ci_high": _finite(found.high),
            "p": split.p if split else _finite(found.p),
            "p_holm": None,
            "test": test,
            "seed_variance": source,
            "df": _finite(found.df),
            "mde": _finite(found.mde),
            "n_items": x.shape[1],
            "k_a": len(x),
            "k_b": len(y),
            "only_a": split.only_a if split else None,
            "only_b": split.only_b if split else None,
            "percent": self.percent,
            "lower_is_better": self.lower_is_better,
        }

    def _source(self, a: str, b: str) -> Literal["pooled", "own", "mixed"]:
        shared = {name in self.pooled for name in (a, b) if self.trained[name]}
        return "mixed" if len(shared) > 1 else "pooled" if shared == {True} else "own"

    def _decide(self, pair: Mapping[str, Any]) -> Decision:
        if pair["p_holm"] is None:
            return "not testable"
        runs = [pair[k] for name, k in (("a", "k_a"), ("b", "k_b")) if self.trained[pair[name]]]
        if any(k == 1 for k in runs):
            return "these checkpoints only"
        if len(runs) == 1 and runs[0] == 2:
            pooled = self.pool is not None and self.pool.methods > 1 and pair["seed_variance"] == "pooled"
            return "rests on pooling" if pooled else "too few seeds"
        if not pair["p_holm"] < ALPHA:
            return "not separable"
        return "a better" if (pair["difference"] > 0) != self.lower_is_better else "b better"

    def hang_on_pooling(self, pairs: Sequence[Comparison]) -> list[str]:
        """Pairs whose verdict would change if each method kept its own run variance instead of the pooled one."""
        tested = [pair for pair in pairs if pair.p is not None]
        own = [
            st.paired_difference(self.arrays[pair.a], self.arrays[pair.b]).p
            if pair.seed_variance in ("pooled", "mixed")
            else pair.p
            for pair in tested
        ]
        return [
            f"{pair.a} against {pair.b}"
            for pair, adjusted in zip(tested, st.holm([p for p in own if p is not None]), strict=True)
            if pair.verdict in ("a better", "b better", "not separable")
            and (pair.verdict != "not separable") != (adjusted < ALPHA)
        ]


def _cell_status(planned: Sequence[Run], done: Sequence[Run]) -> CellStatus:
    if len(done) == len(planned):
        return "done"
    if done:
        return "incomplete"
    statuses = {run.status for run in planned}
    return "diverged" if "diverged" in statuses else "failed" if "failed" in statuses else "missing"


def _alone(records: Sequence[Record], solo: Solo | None) -> float | None:
    """Training seconds of a run by itself: its steps at the solo pace, else its own time where it shared no pass."""
    if not records:
        return None
    if solo and solo.step_seconds is not None:
        return solo.step_seconds * sum(record.cost.train_steps for record in records) / len(records)
    own = [record.cost.train_seconds for record in records if record.cost.lanes == 1]
    return sum(own) / len(own) if own else None


def _peak(records: Sequence[Record], solo: Solo | None) -> int | None:
    """The most memory of the solo steps, else of runs that shared no pass."""
    if solo and solo.peak_bytes is not None:
        return solo.peak_bytes
    own = [r.cost.peak_bytes for r in records if r.cost.peak_bytes is not None and r.cost.lanes == 1]
    return max(own, default=None)


def _finite(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None
