"""Benchmark: what a study's trials scored on one benchmark by one metric, as cells and comparisons."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.analysis import statistics as st
from bakeoff.analysis.aggregates import AGGREGATES, Tally, item_means, tally, unseen_variance
from bakeoff.analysis.metrics import bounds, is_fraction, lower_is_better
from bakeoff.analysis.result import Cell, CellStatus, Run, Split
from bakeoff.analysis.scores import Scores
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
    clusters: dict[str, str] = field(default_factory=dict)  # what an item hangs together with others by
    first: dict[str, Sample] = field(default_factory=dict)  # the first items' first draws

    @property
    def constant(self) -> str | None:
        """The one answer to every item although another was right for some; None where there were several answers.

        A label where the answers are labels, whatever the text around it and leaving out what could not be read as one,
        else the text. Of few items it tells nothing.
        """
        if len(self.items) < CONSTANT_ITEMS:
            return None
        read = {answer: n for answer, n in self.answers.items() if answer[1] is not None}
        said = {label for _, label in read}
        if len(said) == 1 and sum(read.values()) >= CONSTANT_ITEMS:
            return said.pop() if len({gold for gold, _ in read}) > 1 else None
        return next(iter(self.texts)) if len(self.texts) == 1 and self.missed else None


def grade(record: Record, samples: Sequence[Sample]) -> Graded:
    """Reduce a trial's samples; of each benchmark, aggregates are those that its record names.

    What a diverged trial answered is counted and not scored, so that it is in no mean.
    """
    graded = Graded(record)
    if record.status == "failed":
        return graded
    own: dict[str, list[Sample]] = {}
    for sample in samples:
        own.setdefault(sample.benchmark, []).append(sample)
    for benchmark, here in own.items():
        graded.benchmarks[benchmark] = counted(here)
        if record.status != "done":
            continue
        for metric in dict.fromkeys(metric for sample in here for metric in sample.scores):
            graded.scores[benchmark, metric] = item_means(metric, here)
        told = record.benchmarks.get(benchmark)
        for metric in told.metrics if told else ():
            if metric in AGGREGATES and (found := tally(metric, here)):
                graded.tallies[benchmark, metric] = found
                graded.scores[benchmark, metric] = dict(zip(found.items, found.pseudo_values().tolist(), strict=True))
    return graded


def counted(samples: Sequence[Sample]) -> Counted:
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
        if "cluster" in sample.detail:
            counted.clusters[sample.id] = str(sample.detail["cluster"])
        if len(counted.first) < SHOWN_ITEMS:
            counted.first.setdefault(sample.id, sample)
    return counted


def _fell_short(sample: Sample) -> bool:
    """Whether a completion is less than right by its first metric."""
    metric, value = next(iter(sample.scores.items()), ("", 1.0))
    return value > 0 if lower_is_better(metric) else value < 1


class Table(Scores):
    """The scores of one benchmark by one metric, as a study's trials left them, on the items all runs share."""

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
        margin: float | None = None,
    ):
        self.split: Split = split
        self.place = place
        self.planned, self.graded, self.sizes = methods, graded, sizes
        self.benchmark, self.metric, self.aggregate = benchmark, metric, metric in AGGREGATES
        self.done = {
            name: [run for run in runs if run.key in graded and (benchmark, metric) in graded[run.key].scores]
            for name, runs in methods.items()
        }
        every = [self._scores(run) for runs in self.done.values() for run in runs]
        self.items = [item for item in every[0] if all(item in scores for scores in every)] if every else []
        asked = (graded[run.key].benchmarks[benchmark].items for runs in self.done.values() for run in runs)
        self.dropped = len({item for items in asked for item in items}) - len(self.items)
        arrays = {
            name: np.array([self._row(run) for run in runs], dtype=float)
            for name, runs in self.done.items()
            if runs and self.items
        }
        percent = (self.aggregate or all(st.is_bounded(array) for array in arrays.values())) and is_fraction(metric)
        super().__init__(
            model=model,
            task=task,
            benchmark=benchmark,
            metric=metric,
            arrays=arrays,
            trained={name: any(run.seed is not None for run in runs) for name, runs in methods.items()},
            constant={name: [self._is_constant(run) for run in runs] for name, runs in self.done.items()},
            percent=percent,
            lower_is_better=lower_is_better(metric),
            aggregate=self.aggregate,
            unseen={name: self._unseen(name) for name, array in arrays.items() if self.aggregate and _equal(array)},
            clusters=self._clusters(),
            margin=margin if percent else None,
        )

    def _unseen(self, name: str) -> float:
        """What equal pseudo-values of a method's runs do not show of its variance."""
        tallies = [self.graded[run.key].tallies[self.benchmark, self.metric] for run in self.done[name]]
        return unseen_variance([tally.of(self.items) for tally in tallies])

    def _scores(self, run: Run) -> dict[str, float]:
        return self.graded[run.key].scores[self.benchmark, self.metric]

    def _row(self, run: Run) -> list[float]:
        """A run's scores on the shared items; an aggregate's pseudo-values are those of these items alone."""
        scores = self._scores(run)
        if self.aggregate and len(scores) > len(self.items):
            return self.graded[run.key].tallies[self.benchmark, self.metric].of(self.items).pseudo_values().tolist()
        return [scores[item] for item in self.items]

    def _clusters(self) -> NDArray[np.int_] | None:
        """Each item's cluster as a number; None where some item has none."""
        run = next((run for runs in self.done.values() for run in runs), None)
        named = self.graded[run.key].benchmarks[self.benchmark].clusters if run else {}
        if not self.items or any(item not in named for item in self.items):
            return None
        return np.unique([named[item] for item in self.items], return_inverse=True)[1]

    def _is_constant(self, run: Run) -> bool:
        return self.graded[run.key].benchmarks[self.benchmark].constant is not None

    def undefined(self, run: Run) -> bool:
        """Whether the metric has no value for a run (precision, where no positive was predicted): shown as 0."""
        return self.aggregate and self.graded[run.key].tallies[self.benchmark, self.metric].undefined

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
            low, high = _within(bounds(self.metric), self._interval(name, array), float(array.mean()))
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
            return self.interval(name)
        tallies = (self.graded[run.key].tallies[self.benchmark, self.metric] for run in self.done[name])
        n = min(tally.of(self.items).support for tally in tallies) if self.percent else 0
        return st.wilson(float(array[0, 0]) * n, n) if n else st.Interval(math.nan, math.nan)


def _within(limits: tuple[float, float], found: st.Interval, mean: float) -> tuple[float, float]:
    """An interval without what its metric cannot be (a loss below 0); as it is where the mean is that itself."""
    if not limits[0] <= mean <= limits[1]:
        return found
    low, high = np.clip(found, *limits)  # keeps NaN
    return float(low), float(high)


def _equal(array: st.Floats) -> bool:
    """Whether some run of [seeds, items] has the same score on every item."""
    return bool(np.any(np.ptp(array, axis=1) == 0))


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
