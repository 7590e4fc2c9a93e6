"""Aggregates: metrics of a whole benchmark that are no means over its items (F1, BLEU), made fit for intervals.

An aggregate is read off totals: every item adds its counts, those of all its draws together, so leaving an item out is
a subtraction. With `v` the value over n items and `v[-i]` that without item i, the item's *pseudo-value* is

    p[i] = v + (n - 1) (mean_j v[-j] - v[-i])

which is Tukey's (1958), moved so that the mean over items is the value itself and not the jackknife's correction of it.
Their variance over n is the jackknife's variance of the value. So arrays of pseudo-values, [seeds, items], go through
`statistics` as item scores do: items and runs are both random, and an item with several draws is one item.

At its limit an aggregate stays the same whichever item is left out: a precision of 1 of five answers has equal
pseudo-values, and a variance of 0 that is no knowledge. `unseen_variance` is what a comparison adds for it.

A ratio with nothing below the line (precision where no positive was predicted) is 0, scikit-learn's `zero_division=0`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bakeoff.analysis import statistics as st
from bakeoff.store.record import Sample

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Aggregate:
    """A metric as a function of totals.

    `count` turns samples into counts [samples, ...], `value` their sum [..., counts] into values [...]; `undefined`
    says whether a sum leaves a ratio without a value, which then counts as 0; `support` of items' counts [items, ...]
    how many items a share rests on, 0 where it is none. `needs` are the details that hold it all.
    """

    needs: tuple[str, ...]
    count: Callable[[Sequence[Sample]], Floats]
    value: Callable[[Floats], Floats]
    undefined: Callable[[Floats], bool]
    support: Callable[[Floats], int]


@dataclass(frozen=True)
class Tally:
    """One run's counts of an aggregate, [items, ...], in the order of `items`."""

    metric: str
    items: tuple[str, ...]
    counts: Floats

    @property
    def value(self) -> float:
        """The metric over all items."""
        return float(AGGREGATES[self.metric].value(self.counts.sum(axis=0)))

    @property
    def undefined(self) -> bool:
        """Whether a ratio in it has nothing below the line."""
        return AGGREGATES[self.metric].undefined(self.counts.sum(axis=0))

    @property
    def support(self) -> int:
        """How many of the items a share is of: those called positive for precision; of several labels the fewest."""
        return AGGREGATES[self.metric].support(self.counts)

    def of(self, items: Iterable[str]) -> Tally:
        """The same, of some of the items."""
        place = {item: i for i, item in enumerate(self.items)}
        chosen = tuple(items)
        return Tally(self.metric, chosen, self.counts[[place[item] for item in chosen]])

    def pseudo_values(self) -> Floats:
        """One for each item; their mean is the value."""
        value, n = AGGREGATES[self.metric].value, len(self.items)
        total = self.counts.sum(axis=0)
        without = value(total - self.counts)
        return value(total) + (n - 1) * (without.mean() - without)


def unseen_variance(runs: Sequence[Tally]) -> float:
    """What is to be added to the variance of a method's mean over runs for those of them whose pseudo-values are equal.

    Such a value is a share of m items (`support`), m the fewest of these runs: its standard error is taken to be the
    longer arm of Wilson's interval over q = 1.96, which is `q / (m + q^2)` at 0 and 1. The runs have the same items, so
    a part f of all runs adds `f^2` times its square. 0 where no run is such; NaN where m is unknown (a BLEU of 0).
    """
    equal = [run for run in runs if np.ptp(run.pseudo_values()) == 0]
    if not equal:
        return 0.0
    m, value = min(run.support for run in equal), equal[0].value
    low, high = st.wilson(value * m, m)
    return (len(equal) / len(runs) * max(value - low, high - value) / st.student(math.inf)) ** 2 if m else math.nan


def tally(metric: str, samples: Sequence[Sample]) -> Tally | None:
    """The counts of an aggregate in one run's samples of one benchmark; None where no sample holds what it needs.

    Samples without scores, which could not be graded, and samples without the details are left out.
    """
    needs = AGGREGATES[metric].needs
    kept = [sample for sample in samples if sample.scores and all(name in sample.detail for name in needs)]
    if not kept:
        return None
    items = {item: i for i, item in enumerate(dict.fromkeys(sample.id for sample in kept))}
    each = AGGREGATES[metric].count(kept)
    counts = np.zeros((len(items), *each.shape[1:]))
    np.add.at(counts, [items[sample.id] for sample in kept], each)
    return Tally(metric, tuple(items), counts)


def measured(metrics: Iterable[str], samples: Sequence[Sample]) -> dict[str, float]:
    """Those of `metrics` that one run's samples of one benchmark hold: aggregates, and means over items."""
    found: dict[str, float] = {}
    for metric in metrics:
        if metric in AGGREGATES:
            if counted := tally(metric, samples):
                found[metric] = counted.value
        elif scores := item_means(metric, samples):
            found[metric] = float(np.mean(list(scores.values())))
    return found


def item_means(metric: str, samples: Iterable[Sample]) -> dict[str, float]:
    """Each item's score: the mean over those of its draws that have one."""
    draws: dict[str, list[float]] = {}
    for sample in samples:
        if metric in sample.scores:
            draws.setdefault(sample.id, []).append(sample.scores[metric])
    return {item: sum(values) / len(values) for item, values in draws.items()}


# --- labels: precision, recall, F1 ---


def _positive(samples: Sequence[Sample]) -> Floats:
    """[samples, 1, 3] of the positive label: said and gold, said, gold."""
    return _labels(samples, [samples[0].detail["positive"]])


def _every_label(samples: Sequence[Sample]) -> Floats:
    """[samples, labels, 3] of every label that is some sample's gold one, the same for every method."""
    return _labels(samples, sorted({sample.detail["gold"] for sample in samples}))


def _labels(samples: Sequence[Sample], labels: Sequence[str]) -> Floats:
    gold = np.array([[sample.detail["gold"] == label for label in labels] for sample in samples])
    said = np.array([[sample.detail["chosen"] == label for label in labels] for sample in samples])
    return np.stack([said & gold, said, gold], axis=-1).astype(float)


def _below(kind: str, totals: Floats) -> Floats:
    """Twice what stands below the line of precision and recall; precision and recall's own sum for F1."""
    _, said, gold = np.moveaxis(totals, -1, 0)
    return {"f1": said + gold, "precision": 2 * said, "recall": 2 * gold}[kind]


def _ratio(kind: str, totals: Floats) -> Floats:
    """The mean over labels of `2 hits / below`, from totals [..., labels, 3]."""
    above, below = 2 * totals[..., 0], _below(kind, totals)
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0).mean(axis=-1)


def _lacking(kind: str, totals: Floats) -> bool:
    return bool(np.any(_below(kind, totals) == 0))


def _support(kind: str, counts: Floats) -> int:
    return int((_below(kind, counts) > 0).sum(axis=0).min())


# --- BLEU ---


def _bleu_counts(samples: Sequence[Sample]) -> Floats:
    """[samples, 10]: length, reference length, matching n-grams and n-grams for n = 1 to 4."""
    return np.array([sample.detail["bleu"] for sample in samples], dtype=float)


def bleu(totals: Floats) -> Floats:
    """Corpus BLEU, 0 to 100, of totals [..., 10]; equals sacrebleu's with its defaults (exponential smoothing).

    The geometric mean of the four n-gram precisions times `exp(1 - reference length / length)` where the text is
    shorter. A precision of 0 is `1 / (2^j n-grams)`, it being the j-th such; without any match, or n-grams, BLEU is 0.
    """
    length, reference = totals[..., 0], totals[..., 1]
    right, grams = totals[..., 2:6], totals[..., 6:10]
    halvings = 2.0 ** np.cumsum(right == 0, axis=-1)
    above = np.where(right == 0, 1 / halvings, right)
    defined = (grams > 0).all(axis=-1) & (right > 0).any(axis=-1) & (length > 0)
    precision = np.divide(above, grams, out=np.ones_like(above), where=grams > 0)
    short = np.divide(reference, length, out=np.ones_like(length), where=length > 0)
    score = 100 * np.exp(np.minimum(0.0, 1 - short) + np.log(precision).mean(axis=-1))
    return np.where(defined, score, 0.0)


def _of_labels(kind: str, average: str) -> Aggregate:
    needs = ("gold", "chosen", "positive") if average == "binary" else ("gold", "chosen")
    count = _positive if average == "binary" else _every_label
    return Aggregate(needs, count, partial(_ratio, kind), partial(_lacking, kind), partial(_support, kind))


AGGREGATES: Mapping[str, Aggregate] = {
    **{f"{kind}_{a}": _of_labels(kind, a) for kind in ("f1", "precision", "recall") for a in ("binary", "macro")},
    "bleu": Aggregate(("bleu",), _bleu_counts, bleu, lambda totals: False, lambda counts: 0),
}
"""The aggregates by name. A sample's details `gold` and `chosen` are its labels. `*_binary` are of the label that
`positive` names, `*_macro` unweighted means over all gold labels: scikit-learn's with `labels=` these."""
