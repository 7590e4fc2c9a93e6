"""What the stored results say, as plain frozen data, from Run and Cell to Results."""

from __future__ import annotations

from math import isfinite
from statistics import fmean
from typing import Any, Literal

from bakeoff.analysis.statistics import t_interval
from bakeoff.store.record import Prompt, Sample, Solo, Status
from bakeoff.study.spec import Frozen

ALPHA = 0.05

CellStatus = Literal["done", "incomplete", "failed", "diverged", "missing"]
Scope = Literal["runs and items", "this checkpoint only"]
Split = Literal["test", "validation"]
Decision = Literal[
    "a better",
    "b better",
    "not separable",
    "rests on pooling",
    "too few seeds",
    "these checkpoints only",
    "not testable",
]
"""What a comparison may say.

- `a better`, `b better`: the Holm-adjusted p is below 0.05.
- `not separable`: the test ran, and it is not.
- `rests on pooling`: a method with two seeds against an untrained model; the run variance is that pooled over several
  methods, so the interval may be read, but nothing is decided by it.
- `too few seeds`: a method with two seeds whose run variance is not pooled, against any other: it has one degree of
  freedom.
- `these checkpoints only`: one seed of a trained method; items alone were tested, nothing is said of the methods.
- `not testable`: fewer than two items.
"""


class Run(Frozen):
    """One planned trial and what became of it. `missing`: in the plan, not (or no longer) in the store."""

    key: str
    model: str
    task: str
    method: str
    seed: int | None
    status: Status | Literal["missing"]
    reason: str = ""


class Cell(Frozen):
    """One method on one benchmark by one metric.

    `mean` is over runs of item means (an item's score is the mean of its draws), `per_seed` those run means in the
    order of `seeds` (one value and no seed for an untrained method). The interval is `statistics.mean_interval`:
    over runs and items where two runs or more exist, else over items alone (`scope`). `status` is `incomplete` where
    some planned runs have no result; mean and interval are then those of the others. `train_seconds` is the mean over
    runs (of an equal share of the pass where `lanes` trained together), `tokens_per_second` trained tokens over
    training seconds: what the run took. What the method costs is `solo`, and `solo_train_seconds`, a run's steps at its
    pace (without it the run's own time where no pass was shared). `peak_bytes` is solo's, or the largest of the runs
    where each had the device to itself; `adapter_bytes` the largest of the runs, `trainable_percent` is of
    `total_params`, which counts the adapter too. `constant_seeds` counts runs with one answer to every item,
    `diverged_runs` those that diverged and have no score. `split` is what it was judged on: the test set, or training
    examples held out. `text_loss` is the base's loss of the study's held-out text (nats per token), `text_loss_changes`
    what training added to it, by run in the order of `seeds`. `floor` is what unrelated answers score by this metric.
    `percent` says that the metric is a fraction, `lower_is_better` which way it counts. In `undefined_seeds` runs it
    has no value (precision where no positive was predicted) and counts as 0; no interval where that is all of them.
    `undertuned` is why its learning rate is not to be leaned on (`Tuning`): it is shown and not ranked.
    """

    model: str
    task: str
    benchmark: str
    method: str
    metric: str
    mean: float | None
    ci_low: float | None
    ci_high: float | None
    per_seed: tuple[float, ...]
    seeds: tuple[int, ...]
    n_items: int
    trainable_params: int | None
    total_params: int | None
    trainable_percent: float | None
    adapter_bytes: int | None
    train_seconds: float | None
    tokens_per_second: float | None
    peak_bytes: int | None
    status: CellStatus
    # beyond the published keys
    scope: Scope = "runs and items"
    trained: bool = True
    planned_runs: int = 0
    seed_sd: float | None = None
    seed_min: float | None = None
    seed_max: float | None = None
    draws: int = 1
    unparsable: float = 0.0
    constant_seeds: int = 0
    lanes: int = 1
    percent: bool = True
    diverged_runs: int = 0
    split: Split = "test"
    lower_is_better: bool = False
    undefined_seeds: int = 0
    solo_train_seconds: float | None = None
    solo: Solo | None = None
    text_loss: float | None = None
    text_loss_changes: tuple[float, ...] = ()
    floor: float | None = None
    undertuned: str | None = None

    @property
    def text_loss_change(self) -> float | None:
        """What training added to the loss of held-out text, the mean over runs."""
        return fmean(self.text_loss_changes) if self.text_loss_changes else None

    @property
    def text_loss_after(self) -> float | None:
        """The loss of held-out text after training, the mean over runs."""
        change = self.text_loss_change
        return None if self.text_loss is None or change is None else self.text_loss + change

    @property
    def text_loss_interval(self) -> tuple[float | None, float | None]:
        """The 95 % interval of that change over runs alone (Student's): the texts are taken as they are."""
        low, high = t_interval(self.text_loss_changes)
        return (low, high) if isfinite(low) else (None, None)


class Variance(Frozen):
    """The variance of a difference by where it comes from (`statistics.Parts`): items, runs, and noise in both.

    `df_items` and `df_runs` are the degrees of freedom of the first two; None where nothing varies from run to run.
    """

    items: float
    runs: float
    residual: float
    df_items: float
    df_runs: float | None


class Comparison(Frozen):
    """Two methods on one benchmark by its headline metric: `difference` is mean(a) - mean(b) on the same items.

    `test` is how p came about; `p_holm` adjusts it within the `family` of all tested pairs of this model, task and
    benchmark. `verdict` is a `Decision`. `seed_variance` says whose run variance V holds: that pooled over methods,
    each method's own, one of either, or none. `mde` is the difference that one such comparison, before the correction
    for its family, detects with 80 % power; None where no possible difference is so large. Ends of intervals lie within
    what a difference can be. `equivalent` says whether the difference lies within `margin` of 0 by two
    one-sided tests (`p_equivalence`, of this pair alone), which is where the 90 % interval lies within it; None where
    no margin was declared or there is no verdict about methods. `clusters` counts those of the items, if there are any.
    `items_a` and `items_b` are the items that a and b win, by the mean over runs; None for an aggregate.
    `variance` is that of the difference in parts (of one seed it holds no run variance). `unpooled` is what it would be
    if each method kept its own run variance, given only where the verdict would then be the opposite.
    """

    model: str
    task: str
    benchmark: str
    metric: str
    a: str
    b: str
    difference: float | None
    ci_low: float | None
    ci_high: float | None
    p: float | None
    p_holm: float | None
    family: int
    verdict: Decision
    # beyond the published keys
    test: Literal["two-way t", "paired t over items", "exact McNemar"]
    seed_variance: Literal["pooled", "own", "mixed", "none"]
    df: float | None
    mde: float | None
    n_items: int
    k_a: int
    k_b: int
    only_a: int | None = None
    only_b: int | None = None
    percent: bool = True
    lower_is_better: bool = False
    items_a: int | None = None
    items_b: int | None = None
    margin: float | None = None
    ci90_low: float | None = None
    ci90_high: float | None = None
    p_equivalence: float | None = None
    equivalent: bool | None = None
    clusters: int | None = None
    variance: Variance | None = None
    unpooled: Variance | None = None


class Verdict(Frozen):
    """What one benchmark says: the sentence (headline, then evidence), and the methods not separable from the best.

    `winner_set` is empty where nothing can be ranked (one seed); a method with one seed, or with a run that collapsed
    or diverged, is not in it. `winner` is set only where it stands alone, with three seeds or more and every planned
    run in hand, is ahead by test of those left out too, and would be without the pooling of run variances. `unranked`
    says by method why it is left out of the ranking. `seed_sd` is the pooled one; `bartlett_p` tells whether run
    variances differ (None: fewer than two to compare), and `own_variance` names the methods that keep their own
    (`statistics.pooling`). `split` as in `Cell`.
    """

    model: str
    task: str
    benchmark: str
    metric: str
    n_items: int
    winner_set: tuple[str, ...]
    winner: str | None
    sentence: str
    headline: str
    evidence: str
    seed_sd: float | None
    pool_df: int
    pool_methods: int
    family: int
    bartlett_p: float | None = None
    own_variance: tuple[str, ...] = ()
    split: Split = "test"
    unranked: dict[str, str] = {}


class WinRate(Frozen):
    """A method's mean win rate over the benchmarks of one model: of the other methods, the share whose mean it exceeds.

    By headline metrics, a tie half a win, over `benchmarks` on each of which all of the methods have a score: one and
    its `opponents`. The interval is a bootstrap's over items and runs (`statistics.win_rates`), over items alone where
    some trained method has one run (`scope`); the benchmarks are taken as they are.
    """

    model: str
    method: str
    mean: float
    ci_low: float
    ci_high: float
    benchmarks: int
    opponents: int
    scope: Scope


class Standing(Frozen):
    """The methods not separable from the best by a metric that is no headline.

    `family` is Holm's, of this metric alone; `width` the median width of the 95 % intervals of its differences.
    """

    model: str
    task: str
    benchmark: str
    metric: str
    members: tuple[str, ...]
    family: int
    width: float


class Beside(Frozen):
    """A published value beside what was measured; `verdict` is what the two allow to be said.

    `printed` has its digits, `low` and `high` are its Wilson interval where it is a share of a known number of items
    (`inferred`: not stated, but concluded). What was measured is a Cell's. `difference` is measured - published with
    its interval (`analysis.beside`), None where `reason` says why they cannot be compared. `remark` is what a verdict
    leaves open.
    """

    model: str
    task: str
    benchmark: str
    method: str
    metric: str
    printed: str
    value: float
    low: float | None
    high: float | None
    n: int | None
    inferred: bool
    source: str
    mean: float | None
    ci_low: float | None
    ci_high: float | None
    n_items: int
    runs: int
    trained: bool
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    verdict: Literal["agrees", "differs", "cannot be compared"]
    reason: str
    percent: bool = True
    remark: str = ""


class Confusion(Frozen):
    """What one method answered on a benchmark whose answers are labels, its runs and draws taken together.

    `counts[i][j]` completions of items whose gold label is `labels[i]` said `labels[j]`; the last column counts those
    that said no label. `labels` are those that are gold or were said, sorted. `items[i]` is how many of the benchmark's
    items have that gold label. `constant` names the labels that some run said to everything, `constant_runs` counts
    such runs.
    """

    model: str
    task: str
    benchmark: str
    method: str
    labels: tuple[str, ...]
    items: tuple[int, ...]
    counts: tuple[tuple[int, ...], ...]
    runs: int
    constant: tuple[str, ...] = ()
    constant_runs: int = 0


class Doubt(Frozen):
    """A reason to hold back: `kind` for programs, `text` for people."""

    kind: str
    text: str


class Check(Frozen):
    """One thing that every report is checked for (`analysis.lint`): what was looked at, or what was found.

    `doubts` are the kinds of those `Doubt`s that tell more of what was found.
    """

    name: str
    state: Literal["clean", "found", "not applicable"]
    text: str
    doubts: tuple[str, ...] = ()


class Curve(Frozen):
    """Training loss of one method on one task (nats per target token): the mean over runs, and their extremes.

    Steps are binned into at most 80 points: each value is the mean of a run's losses in the bin.
    """

    model: str
    task: str
    method: str
    runs: int
    step: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


class Shown(Frozen):
    """A method's first completions of a few items (`shown.chosen`), the same for every method, from its first seed.

    `means` are the items' headline scores over all its runs; empty where items have none (F1).
    """

    model: str
    task: str
    benchmark: str
    method: str
    seed: int | None
    samples: tuple[Sample, ...]
    means: tuple[float, ...] = ()


class Asked(Frozen):
    """What the items of `Shown` ask, in their order; a store of an earlier version does not tell."""

    model: str
    task: str
    benchmark: str
    prompts: tuple[Prompt, ...]


class Tuned(Frozen):
    """One tuning trial: its settings and its validation score (None without one). Round 0 is the grid as declared."""

    settings: dict[str, Any]
    score: float | None
    status: Status | Literal["missing"]
    round: int


class ExpectedBest(Frozen):
    """The best validation score to expect of `budget` settings drawn from those tried, and a 95 % band over items."""

    budget: int
    score: float
    low: float
    high: float


class Tuning(Frozen):
    """How a method's settings were chosen on a task: by `metric` on what `select_on` names, never on the test set.

    `points` are its tuning trials by settings, ascending; `budget` counts those that ran, diverged and failed ones too;
    `chosen` are the best one's settings, the smaller value where two tie. `edge`: these lie at the end of the grid.
    `flat`: the training loss does not fall with them. `undertuned` is why the method is not ranked (None: it is).
    All have one `seed`, and were judged on `n_items` held-out training examples.
    """

    model: str
    task: str
    method: str
    metric: str
    lower_is_better: bool
    budget: int
    select_on: str
    points: tuple[Tuned, ...]
    chosen: dict[str, Any]
    edge: bool
    flat: bool
    undertuned: str | None
    expected_best: tuple[ExpectedBest, ...]
    seed: int = 0
    n_items: int = 0


class Results(Frozen):
    """All a report shows. `published()` is `results.json`."""

    study: str
    cells: tuple[Cell, ...]
    comparisons: tuple[Comparison, ...]
    verdicts: tuple[Verdict, ...]
    confusions: tuple[Confusion, ...]
    doubts: tuple[Doubt, ...]
    trials: tuple[Run, ...]
    curves: tuple[Curve, ...]
    samples: tuple[Shown, ...]
    provenance: dict[str, Any]
    standings: tuple[Standing, ...] = ()
    beside: tuple[Beside, ...] = ()
    tuning: tuple[Tuning, ...] = ()
    lint: tuple[Check, ...] = ()
    win_rates: tuple[WinRate, ...] = ()
    asked: tuple[Asked, ...] = ()

    def published(self) -> dict[str, Any]:
        """The content of `results.json`: schema 1, full precision; samples and prompts are left to their own files.

        Curves are rounded to six digits. Some numbers are there for readers alone, worked out of their neighbours: a
        cell's `text_loss_change`, the mean of `text_loss_changes`, with `text_loss_change_low` and `_high`, its 95 %
        interval over runs; `text_loss_after`; `added_bytes` of its `solo`; and the `shares` of a gold label's items
        that `counts` of answers are.
        """
        data = self.model_dump(mode="json", exclude={"samples", "asked"})
        for cell, told in zip(self.cells, data["cells"], strict=True):
            told["text_loss_change"], told["text_loss_after"] = cell.text_loss_change, cell.text_loss_after
            told["text_loss_change_low"], told["text_loss_change_high"] = cell.text_loss_interval
            if cell.solo:
                told["solo"]["added_bytes"] = cell.solo.added_bytes
        for told in data["confusions"]:
            told["shares"] = [[count / (sum(row) or 1) for count in row] for row in told["counts"]]
        for curve in data["curves"]:
            curve |= {name: [float(f"{x:.6g}") for x in curve[name]] for name in ("step", "mean", "low", "high")}
        order = ("study", "cells", "comparisons", "verdicts", "standings", "confusions", "doubts", "trials")
        order = (*order, "provenance", "beside", "tuning", "lint", "win_rates", "curves")
        return {"schema": 1, **{name: data[name] for name in order}}
