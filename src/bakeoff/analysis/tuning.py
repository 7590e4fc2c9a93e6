"""Tuning: which learning rate is chosen, which is tried next, and what a choice of so many trials is worth.

Everything is a function of stored results, so that a run that was stopped goes on to the same choices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import comb, stdtr

from bakeoff.analysis import words
from bakeoff.analysis.benchmark import grade
from bakeoff.analysis.metrics import is_fraction, lower_is_better
from bakeoff.analysis.result import ALPHA, Doubt, ExpectedBest, Tuned, Tuning
from bakeoff.store.record import Record, Status
from bakeoff.store.store import Store

RESAMPLES = 1000
DIGITS = 3  # of a rate that is not in the grid
LEAST_STEPS = 6  # fewer do not tell whether a loss falls

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tried:
    """One tuning trial: its rate, what became of it, and its validation score, more of it better (None without one)."""

    rate: float
    status: Status | Literal["missing"]
    goodness: float | None = None

    @property
    def worth(self) -> float:
        """What it is chosen by: a run that diverged is worse than any score, one that failed tells nothing."""
        return self.goodness if self.goodness is not None else -math.inf

    @property
    def told(self) -> bool:
        """Whether it says how good the rate is."""
        return self.status in ("done", "diverged")


# --- the choice ---


def best(tried: Sequence[Tried]) -> Tried:
    """The trial with the best score; of equal ones that with the smaller rate, also where none has a score."""
    return min(tried, key=lambda one: (-one.worth, one.rate))


def at_edge(tried: Sequence[Tried]) -> bool:
    """Whether the best rate is the smallest or the largest of those that tell anything: a better one may lie beyond.

    A rate at which training diverged bounds the others.
    """
    rates = [one.rate for one in tried if one.told]
    return not rates or best(tried).rate in (min(rates), max(rates))


def next_round(methods: Mapping[str, Sequence[Tried]]) -> dict[str, float]:
    """One rate more for every method, so that budgets stay equal; none where no method's best lies at its edge.

    Beyond the edge for a method whose best lies there, else between its best and the better of its two neighbours.
    """
    if not any(at_edge(tried) for tried in methods.values()):
        return {}
    return {name: _beyond(tried) if at_edge(tried) else _beside(tried) for name, tried in methods.items()}


def _beyond(tried: Sequence[Tried]) -> float:
    """One geometric step further than the outermost rate on the best one's side."""
    rates, top = sorted(one.rate for one in tried), best(tried).rate
    told = [one.rate for one in tried if one.told] or rates
    up = top == max(told) != min(told)
    outer, inner = (rates[-1], rates[-2]) if up else (rates[0], rates[1])
    return _rounded(outer * outer / inner, rates)


def _beside(tried: Sequence[Tried]) -> float:
    """The geometric mean of the best rate and of its better neighbour, the smaller one where they are equally good."""
    order = sorted((one for one in tried if one.told), key=lambda one: one.rate)
    at = order.index(best(tried))
    near = best([order[at - 1], order[at + 1]])
    return _rounded(math.sqrt(order[at].rate * near.rate), [one.rate for one in tried])


def _rounded(rate: float, taken: Sequence[float]) -> float:
    """To three digits, unless that is a rate that was tried."""
    short = float(f"{rate:.{DIGITS}g}")
    return rate if short in taken else short


def falls(losses: Sequence[float]) -> bool:
    """Whether a training loss falls: its last third lies below its first (one-sided Welch t, 5 %; scipy's `ttest_ind`).

    True also of fewer than 6 steps, which do not tell.
    """
    if len(losses) < LEAST_STEPS:
        return True
    third = len(losses) // 3
    first, last = np.asarray(losses[:third]), np.asarray(losses[-third:])
    a, b = first.var(ddof=1) / third, last.var(ddof=1) / third
    if a + b == 0:
        return bool(first[0] > last[0])
    df = (a + b) ** 2 * (third - 1) / (a**2 + b**2)
    return bool(stdtr(df, (last.mean() - first.mean()) / math.sqrt(a + b)) < ALPHA)


# --- what a budget is worth ---


def expected_best(values: ArrayLike, budget: int) -> Floats:
    """The mean, over all subsets of `budget` values, of their largest: sum_i C(i-1, B-1) / C(N, B) v_(i).

    Of a table [values, columns] that of every column. Unbiased for the best of B trials where the N tried are drawn at
    random (Dodge et al. 2019 in the form of Tang et al. 2020).
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=0)
    return np.asarray(np.tensordot(_weights(len(ordered), budget), ordered, axes=1))


def _weights(n: int, budget: int) -> Floats:
    """How often the i-th smallest of n values is the largest of a subset of that size."""
    return np.asarray(comb(np.arange(n), budget - 1) / comb(n, budget))


def budget_curve(scores: ArrayLike, values: Sequence[float] | None = None) -> tuple[ExpectedBest, ...]:
    """The expected best for budgets 1 to N, and the 2.5 and 97.5 percentiles over resampled items.

    `scores` [settings, items], more of them better, are the settings' scores on the same items; `values` their means
    where these are not the items' (an aggregate's). The draw is the same every time.
    """
    table = np.asarray(scores, dtype=np.float64)
    n, items = table.shape
    drawn = np.random.default_rng(0).multinomial(items, np.full(items, 1 / items), RESAMPLES) / items
    means = table @ drawn.T  # [settings, resamples]
    shift = np.asarray(table.mean(axis=1) if values is None else values) - table.mean(axis=1)
    curve: list[ExpectedBest] = []
    for budget in range(1, n + 1):
        low, high = np.quantile(expected_best(means + shift[:, None], budget), [0.025, 0.975])
        point = expected_best(table.mean(axis=1) + shift, budget)
        curve.append(ExpectedBest(budget=budget, score=float(point), low=float(low), high=float(high)))
    return tuple(curve)


# --- what a store says of it ---


def outcome(rate: float, record: Record | None) -> Tried:
    """What became of a tuning trial by its record; it is judged by the headline metric of its one benchmark."""
    if record is None:
        return Tried(rate, "missing")
    scored = _headline(record) if record.status == "done" else None  # what diverged may have scores, and is not judged
    return Tried(rate, record.status, None if scored is None else _sign(scored[1]) * scored[2])


def tunings(store: Store, plan: Mapping[str, Any]) -> tuple[Tuning, ...]:
    """How every tuned method of a plan got its learning rate, in study order; nothing where none was tuned."""
    places: dict[tuple[str, str], dict[str, list[_Stored]]] = {}
    for trial in (plan.get("tuning") or {}).get("trials", ()):
        record = store.record(trial["key"]) if store.has(trial["key"]) else None
        one = _Stored(trial, outcome(trial["settings"]["learning_rate"], record), record)
        places.setdefault((trial["model"], trial["task"]), {}).setdefault(trial["method"], []).append(one)
    found: list[Tuning] = []
    for (model, task), methods in places.items():
        most = max(len(own) for own in methods.values())
        for name, own in methods.items():
            own = sorted(own, key=lambda one: one.tried.rate)
            found.append(_tuning(store, {"model": model, "task": task, "method": name}, own, most, plan["tuning"]))
    return tuple(found)


@dataclass(frozen=True)
class _Stored:
    """A tuning trial as planned, as it ended, and its record."""

    planned: Mapping[str, Any]
    tried: Tried
    record: Record | None


def _tuning(
    store: Store, place: Mapping[str, str], own: Sequence[_Stored], most: int, told: Mapping[str, Any]
) -> Tuning:
    """One method's tuning; `most` is how many trials a method of its task was given."""
    tried = [one.tried for one in own]
    top = own[tried.index(best(tried))]
    scored = [found for one in own if one.record and (found := _headline(one.record))]
    metric = scored[0][1] if scored else "score"
    edge, budget = at_edge(tried), sum(one.status != "missing" for one in tried)
    flat = top.tried.status == "done" and not falls([row.loss for row in store.curve(top.planned["key"])])
    points = [
        Tuned(
            settings=one.planned["settings"],
            score=None if one.tried.goodness is None else _sign(metric) * one.tried.goodness,
            status=one.tried.status,
            round=one.planned["round"],
        )
        for one in own
    ]
    return Tuning(
        **place,
        metric=metric,
        lower_is_better=lower_is_better(metric),
        budget=budget,
        select_on=told["select_on"],
        points=tuple(points),
        chosen=dict(top.planned["settings"]),
        edge=edge,
        flat=flat,
        undertuned=_undertuned(tried, edge, flat, budget, most, bool(told["decided"])),
        expected_best=_expected(store, own, metric),
        seed=told["seed"],
        n_items=max(
            (one.record.benchmarks[b].n_items for one in own if one.record for b in one.record.benchmarks), default=0
        ),
    )


def _undertuned(tried: Sequence[Tried], edge: bool, flat: bool, budget: int, most: int, decided: bool) -> str | None:
    """Why a method's choice is not to be leaned on; None where it is."""
    rate = best(tried).rate
    if budget < most:
        return (
            f"{budget} of its {most} tuning trials are there"
            if len(tried) == most
            else f"it had {budget} trials, others {most}"
        )
    if not decided:
        return "its tuning is not finished"
    if best(tried).goodness is None:
        return "no learning rate that it tried gave a score"
    if edge:
        side = "largest" if rate == max(one.rate for one in tried if one.told) else "smallest"
        return f"its best learning rate, {rate:g}, is the {side} that it tried"
    return f"its training loss does not fall at its best learning rate, {rate:g}" if flat else None


def _expected(store: Store, own: Sequence[_Stored], metric: str) -> tuple[ExpectedBest, ...]:
    """The budget curve in the metric's own direction; a rate at which training diverged counts as the worst one."""
    rows: list[dict[str, float]] = []
    values: list[float] = []
    for one in own:
        if one.record and one.tried.goodness is not None and (found := _headline(one.record)):
            scores = grade(one.record, store.samples(one.record.key)).scores.get((found[0], metric), {})
            rows.append({item: _sign(metric) * score for item, score in scores.items()})
            values.append(one.tried.goodness)
    items = sorted(set.intersection(*(set(row) for row in rows))) if rows else []
    if not items:
        return ()
    lost = sum(one.tried.status == "diverged" for one in own)
    worst = values.index(min(values))
    table = [[row[item] for item in items] for row in [*rows, *[rows[worst]] * lost]]
    curve = budget_curve(table, [*values, *[values[worst]] * lost])
    if _sign(metric) > 0:
        return curve
    return tuple(ExpectedBest(budget=p.budget, score=-p.score, low=-p.high, high=-p.low) for p in curve)


def _headline(record: Record) -> tuple[str, str, float] | None:
    """The benchmark, the metric and the value that a tuning trial is judged by."""
    for benchmark, told in record.benchmarks.items():
        for metric, value in told.metrics.items():
            return (benchmark, metric, value) if math.isfinite(value) else None
    return None


def _sign(metric: str) -> int:
    return -1 if lower_is_better(metric) else 1


# --- what speaks against leaning on it ---


def doubts(found: Sequence[Tuning]) -> list[Doubt]:
    """Methods that are undertuned, and pairs of which the better one depends on how many rates are tried."""
    told: list[Doubt] = []
    many = len({one.model for one in found}) > 1
    for model, task in dict.fromkeys((one.model, one.task) for one in found):
        here = [one for one in found if (one.model, one.task) == (model, task)]
        place = words.place(model if many else "", task, task)
        for one in here:
            if one.undertuned:
                told.append(Doubt(kind="undertuned", text=f"{place}: {one.method} is not ranked: {one.undertuned}."))
        crossing = [sentence for a, b in combinations(here, 2) if (sentence := _crossing(a, b))]
        told += [Doubt(kind="tuning budget", text=f"{place}: {sentence}") for sentence in crossing]
    return told


def _crossing(a: Tuning, b: Tuning) -> str:
    """That either of two methods is clearly ahead at some budget (their bands do not meet); else nothing."""
    ahead: dict[int, tuple[ExpectedBest, ExpectedBest]] = {}
    for x, y in zip(a.expected_best, b.expected_best, strict=False):
        if x.low > y.high or y.low > x.high:
            ahead.setdefault(1 if x.score > y.score else -1, (x, y))
    if len(ahead) < 2:
        return ""

    def said(x: ExpectedBest, y: ExpectedBest) -> str:
        scores = [words.score(one.score, is_fraction(a.metric)) for one in (x, y)]
        return f"with {words.count(x.budget, 'trial')} {a.method} may expect {scores[0]} and {b.method} {scores[1]}"

    first, second = sorted(ahead.values(), key=lambda pair: pair[0].budget)
    return f"which of {a.method} and {b.method} is better depends on the budget: {said(*first)}, {said(*second)}."
