"""Scores: one benchmark's scores by one metric, and every comparison of methods that is made of them.

Where they came from does not matter here: a study's store (`benchmark.Table`), anybody's long table (`long_table`), a
simulation (`scripts/coverage.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bakeoff.analysis import statistics as st
from bakeoff.analysis.metrics import bounds
from bakeoff.analysis.result import ALPHA, Comparison, Decision, Variance

MARGIN = 0.02  # differences of fractions up to it count as none, where nobody says otherwise
DECIDED = ("a better", "b better", "not separable")  # verdicts about methods


@dataclass(kw_only=True)
class Scores:
    """Per method an array [seeds, items] on the same items.

    `trained` says which methods have a run-to-run variance at all, `constant` which of their runs gave one answer to
    everything (all of them did not, where nothing is said). Scores of an `aggregate` are pseudo-values, and `unseen` is
    the variance of a method's mean that equal ones do not show.
    `clusters` numbers each item's cluster from 0. With a `baseline` the family is that method against every other, else
    all pairs. Differences within `margin` are none.
    """

    model: str = ""
    task: str = ""
    benchmark: str = ""
    metric: str = "score"
    arrays: Mapping[str, st.Floats]
    trained: Mapping[str, bool]
    constant: Mapping[str, Sequence[bool]] = field(default_factory=dict)
    percent: bool = True
    lower_is_better: bool = False
    aggregate: bool = False
    unseen: Mapping[str, float] = field(default_factory=dict)
    clusters: NDArray[np.int_] | None = None
    margin: float | None = None
    baseline: str | None = None

    # --- run variances ---

    @cached_property
    def _pooling(self) -> tuple[st.SeedPool | None, frozenset[str], float]:
        """The pool of run variances, who uses it, and Bartlett's p; collapsed and identical runs are kept out."""
        varied = {
            name: array[[not constant for constant in self._constant(name)]]
            for name, array in self.arrays.items()
            if self.trained[name] and not all(self._constant(name)) and name not in self.identical()
        }
        pool, uses, p = st.pooling(list(varied.values()), self.scale)
        using = (name for name, used in zip(varied, uses, strict=True) if used and not any(self._constant(name)))
        return pool, frozenset(using), p

    @property
    def pool(self) -> st.SeedPool | None:
        """The run variance that methods share; None where they share none."""
        return self._pooling[0]

    @property
    def pooled(self) -> frozenset[str]:
        """The methods that use the pool."""
        return self._pooling[1]

    @property
    def bartlett_p(self) -> float:
        """Bartlett's p that run variances are equal; NaN where fewer than two can be compared."""
        return self._pooling[2]

    def seed_pool(self, name: str) -> st.SeedPool | None:
        """The run variance to use for a method: the pool, or None for its own; a collapsed run keeps it out."""
        return self.pool if name in self.pooled else None

    def own_variance(self) -> list[str]:
        """Trained methods of several runs that keep their own run variance, in order."""
        return [n for n, array in self.arrays.items() if self.trained[n] and len(array) > 1 and n not in self.pooled]

    def identical(self) -> list[str]:
        """Trained methods of several runs that scored the same on every item: such runs are no sign of training."""
        several = (name for name, array in self.arrays.items() if self.trained[name] and len(array) > 1)
        return [name for name in several if not np.any(np.ptp(self.arrays[name], axis=0))]

    @property
    def scale(self) -> tuple[float, float]:
        """Between what the scores lie, by the metric's name; infinite where it does not end."""
        return st.SHARES if self.percent else bounds(self.metric)

    def _constant(self, name: str) -> Sequence[bool]:
        return self.constant.get(name, [False] * len(self.arrays[name]))

    # --- one method ---

    def interval(self, name: str) -> st.Interval:
        """The interval of a method's mean over runs and items."""
        return st.mean_interval(self.arrays[name], self.seed_pool(name), fraction=self.percent, clusters=self.clusters)

    @cached_property
    def _sides(self) -> dict[str, st.Side]:
        return {name: st.side(array) for name, array in self.arrays.items()}

    @cached_property
    def _binary(self) -> dict[str, bool]:
        return {name: not self.aggregate and st.is_binary(array) for name, array in self.arrays.items()}

    # --- two methods ---

    def comparisons(self) -> list[Comparison]:
        """Every pair of the family, Holm-adjusted within those that could be tested.

        `a` is the one that comes first; a baseline is `b`, and so is an untrained method beside a trained one.
        """
        pairs = [self._pair(*self._orient(x, y)) for x, y in self._family()]
        tested = [pair for pair, _ in pairs if pair["p"] is not None]
        for pair, adjusted in zip(tested, st.holm([pair["p"] for pair in tested]), strict=True):
            pair["p_holm"] = float(adjusted)
        return self._by_own([self._decided(pair, found, len(tested)) for pair, found in pairs])

    def winner_set(self, pairs: Sequence[Comparison]) -> list[str]:
        """The best mean and what no test separates from it; nothing where not every pair has a verdict on methods."""
        if self.baseline is not None or any(pair.verdict not in DECIDED for pair in pairs):
            return []
        sign = -1 if self.lower_is_better else 1
        means = {name: sign * float(array.mean()) for name, array in self.arrays.items()}
        return st.winner_set(means, {(pair.a, pair.b): pair.p_holm for pair in pairs}, ALPHA)

    def _family(self) -> list[tuple[str, str]]:
        if self.baseline is None:
            return list(combinations(self.arrays, 2))
        return [(name, self.baseline) for name in self.arrays if name != self.baseline]

    def _orient(self, x: str, y: str) -> tuple[str, str]:
        return (y, x) if self.trained[y] and not self.trained[x] else (x, y)

    def _pair(self, a: str, b: str) -> tuple[dict[str, Any], st.Difference]:
        """A comparison's facts, not yet adjusted and decided, and the difference that they tell."""
        x, y = self._sides[a], self._sides[b]
        one_run = any(self.trained[name] and self._sides[name].runs == 1 for name in (a, b))
        test, split = "two-way t", None
        if one_run or x.runs == y.runs == 1:
            found = self._widened(st.paired_difference(_merged(x), _merged(y), clusters=self.clusters), a, b)
            source, test = "none", "paired t over items"
            binary = self._binary[a] and self._binary[b] and self.clusters is None
            if x.runs == y.runs == 1 and binary and x.items.size > 1:
                won = (y, x) if self.lower_is_better else (x, y)  # of errors the 0 is the right answer
                split, test = st.mcnemar(won[0].items, won[1].items), "exact McNemar"
        else:
            found = self._difference(a, b)
            source = self._source(a, b)
        facts = {
            "model": self.model,
            "task": self.task,
            "benchmark": self.benchmark,
            "metric": self.metric,
            "a": a,
            "b": b,
            "difference": found.difference,
            "ci_low": self._within(found.low),
            "ci_high": self._within(found.high),
            "p": split.p if split else _finite(found.p),
            "p_holm": None,
            "test": test,
            "seed_variance": source,
            "df": _finite(found.df),
            "mde": None if self._widest < found.mde else _finite(found.mde),
            "n_items": x.items.size,
            "k_a": x.runs,
            "k_b": y.runs,
            "only_a": split.only_a if split else None,
            "only_b": split.only_b if split else None,
            "percent": self.percent,
            "lower_is_better": self.lower_is_better,
            "clusters": None if self.clusters is None else int(self.clusters.max()) + 1,
            "variance": _variance(found.parts),
        }
        return facts, found

    def _difference(self, a: str, b: str, own: bool = False) -> st.Difference:
        """a - b over items and runs, with the run variances that the rule gives them, or with each method's `own`."""
        pools = (None, None) if own else (self.seed_pool(a), self.seed_pool(b))
        return self._widened(st.paired_difference(self._sides[a], self._sides[b], pools, clusters=self.clusters), a, b)

    def _widened(self, found: st.Difference, a: str, b: str) -> st.Difference:
        return st.widened(found, self.unseen.get(a, 0.0) + self.unseen.get(b, 0.0))

    @property
    def _widest(self) -> float:
        """No difference is larger: 1 for shares of items (an aggregate may be a correlation)."""
        return 1.0 if self.percent and not self.aggregate else math.inf

    def _within(self, end: float) -> float | None:
        """An interval's end, no farther out than a difference can be."""
        return max(-self._widest, min(end, self._widest)) if math.isfinite(end) else None

    def _source(self, a: str, b: str) -> Literal["pooled", "own", "mixed"]:
        shared = {name in self.pooled for name in (a, b) if self.trained[name]}
        return "mixed" if len(shared) > 1 else "pooled" if shared == {True} else "own"

    def _decided(self, pair: Mapping[str, Any], found: st.Difference, family: int) -> Comparison:
        verdict = self._decide(pair)
        if self.margin is None or verdict not in DECIDED:
            return Comparison(**pair, family=family, verdict=verdict)
        within = st.equivalence(found, self.margin)
        return Comparison(
            **pair,
            family=family,
            verdict=verdict,
            margin=self.margin,
            ci90_low=self._within(within.low),
            ci90_high=self._within(within.high),
            p_equivalence=_finite(within.p),
            equivalent=within.equivalent,
        )

    def _decide(self, pair: Mapping[str, Any]) -> Decision:
        if pair["p_holm"] is None:
            return "not testable"
        runs = [pair[k] for name, k in (("a", "k_a"), ("b", "k_b")) if self.trained[pair[name]]]
        if any(k == 1 for k in runs):
            return "these checkpoints only"
        if 2 in runs:
            if pair["seed_variance"] != "pooled" or self.pool is None or self.pool.methods < 2:
                return "too few seeds"
            if len(runs) == 1:
                return "rests on pooling"
        if not pair["p_holm"] < ALPHA:
            return "not separable"
        return "a better" if (pair["difference"] > 0) != self.lower_is_better else "b better"

    def _by_own(self, pairs: Sequence[Comparison]) -> list[Comparison]:
        """The pairs, those marked whose verdict would be the opposite if each method kept its own run variance."""
        if self.pool is None or self.pool.methods < 2:
            return list(pairs)
        own = {
            (pair.a, pair.b): self._difference(pair.a, pair.b, own=True)
            for pair in pairs
            if pair.p is not None and pair.seed_variance in ("pooled", "mixed")
        }
        tested = [pair for pair in pairs if pair.p is not None]
        p = [own[pair.a, pair.b].p if (pair.a, pair.b) in own else pair.p for pair in tested]
        opposite = {
            (pair.a, pair.b): _variance(own[pair.a, pair.b].parts) if (pair.a, pair.b) in own else pair.variance
            for pair, adjusted in zip(tested, st.holm([one for one in p if one is not None]), strict=True)
            if pair.verdict in DECIDED and (pair.verdict != "not separable") != (adjusted < ALPHA)
        }
        return [pair.model_copy(update={"unpooled": opposite.get((pair.a, pair.b))}) for pair in pairs]


def _merged(side: st.Side) -> st.Side:
    """A method's runs as one: items alone are then tested."""
    return side._replace(runs=1, own=None, residual=0.0)


def _variance(parts: st.Parts) -> Variance | None:
    if math.isnan(parts.items):
        return None
    return Variance(**{**parts._asdict(), "df_runs": _finite(parts.df_runs)})


def _finite(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None
