"""Recommend: a method for each benchmark within limits of cost, or what is missing to name one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

from bakeoff.analysis import sentences, words
from bakeoff.analysis.lint import SEEDS
from bakeoff.analysis.needed import Needed, needed, said
from bakeoff.analysis.result import Cell, Comparison, Results, Split, Verdict
from bakeoff.analysis.verdicts import between, goodness, hanging, not_separable, rank, rivals
from bakeoff.study.spec import Frozen

Basis = Literal["better", "cheapest", "only"]


class Limits(Frozen):
    """What a method may cost at most; None where anything will do.

    `params` are trained numbers, `memory` the bytes of training's peak (`Cell.peak_bytes`), `latency` the time of one
    answer to that without the method (`Solo.inference_ratio`), `latency_seconds` that time itself.
    """

    params: int | None = None
    memory: int | None = None
    latency: float | None = None
    latency_seconds: float | None = None


class Cost(Frozen):
    """What a method costs, as its cell has it; None where that was not measured. An untrained model trains nothing."""

    params: int | None
    memory: int | None
    latency: float | None
    latency_seconds: float | None


class Excluded(Frozen):
    """A method that was not considered, and why."""

    method: str
    why: str


class Recommendation(Frozen):
    """The method for one benchmark, or none (`method` None), and the sentences that say why.

    `basis` is what it is recommended for: separably `better` than every other that fits, the `cheapest` of several that
    are equivalent, or the `only` one that fits. `comparison` is that with the `runner_up` (beside an `only` one: what
    misses the limits by least), as in results.json; where nothing is recommended, of the best two. `nearest` is, where
    nothing fits, what misses the limits by least.
    """

    model: str
    task: str
    benchmark: str
    metric: str
    split: Split
    method: str | None = None
    basis: Basis | None = None
    runner_up: str | None = None
    sentence: str
    evidence: str
    mean: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    cost: Cost | None = None
    runner_up_cost: Cost | None = None
    comparison: Comparison | None = None
    needed: Needed | None = None
    nearest: Excluded | None = None
    excluded: tuple[Excluded, ...]


def recommend(results: Results, limits: Limits | None = None) -> tuple[Recommendation, ...]:
    """A recommendation for every benchmark of a study, in its order; every p is of the whole family, limits or not."""
    return tuple(_Choice(results, verdict, limits or Limits()).made() for verdict in results.verdicts)


class _Choice:
    """One benchmark's methods: those that could be ranked, those of them that fit the limits, and the others by why."""

    def __init__(self, results: Results, verdict: Verdict, limits: Limits):
        place = (verdict.model, verdict.task, verdict.benchmark, verdict.metric)
        self.verdict = verdict
        self.limited = limits != Limits()
        cells = [c for c in results.cells if (c.model, c.task, c.benchmark, c.metric) == place]
        self.pairs = [p for p in results.comparisons if (p.model, p.task, p.benchmark, p.metric) == place]
        self.have = sorted((cell for cell in cells if cell.mean is not None), key=goodness, reverse=True)
        self.ranked, why = rank(cells, self.pairs)
        names = {name for own in why.values() for name in own}
        may = [cell for cell in self.have if cell.method in names]
        self.outside = [cell for cell in may if all(x == math.inf for x, _ in _beyond(_cost(cell), limits))]
        beyond = {cell.method: _beyond(_cost(cell), limits) for cell in self.ranked}
        self.fit = [cell for cell in self.ranked if not beyond[cell.method]]
        self.missed = sorted((max(missed)[0], name, _told(missed)) for name, missed in beyond.items() if missed)
        self.unmeasured = [name for name, missed in beyond.items() if missed and min(missed)[0] == math.inf]
        self.excluded = [
            *(Excluded(method=cell.method, why=f"no result ({cell.status})") for cell in cells if cell.mean is None),
            *(Excluded(method=name, why=reason) for reason, names in why.items() for name in names),
            *(Excluded(method=name, why=told) for _, name, told in self.missed),
        ]
        models = {cell.model for cell in results.cells}
        self.place = words.place(
            verdict.model if len(models) > 1 else "", verdict.task, verdict.benchmark, verdict.split
        )
        runs = [run for run in results.trials if (run.model, run.task) == (verdict.model, verdict.task)]
        self.lost, self.runs = sum(run.status == "missing" for run in runs), len(runs)

    def made(self) -> Recommendation:
        """The recommendation."""
        if self.lost:
            told = f"{words.count(self.lost, 'run')} of {self.runs} not in the store; run the study again"
            return self._abstain(f"{told}.", self._top())
        if not self.ranked:
            return self._unranked()
        if not self.fit and len(self.unmeasured) == len(self.ranked):
            return self._abstain("no method that could be ranked has a measurement of what the limits are on.")
        if unknown := self._may_be_best():
            it = "it may" if len(unknown) == 1 else "they may"
            return self._abstain(f"what the limits are on was not measured for {words.listed(unknown)}: {it} fit.")
        if not self.fit:
            return self._nothing_fits()
        members = not_separable(self.fit, self.pairs)
        near = [cell for cell in self.fit if cell.method in members] or self.fit
        if len(near) > 1:
            return self._cheapest(near) if self._alike(near) else self._undecided(near)
        best = near[0]
        if doubt := _unfit(best):
            return self._abstain(f"{best.method} leads, but {doubt}.", self.fit[:2])
        if others := self._rivals(best):
            return self._rivalled(best, others)
        if others := hanging(self.pairs, best.method, [cell.method for cell in self.fit[1:]]):
            return self._hangs(best, others)
        if len(self.fit) == 1:
            nearest = next(cell for cell in self.ranked if cell.method == self.missed[0][1])
            return self._take(best, "only", nearest, "no other method that could be ranked fits the limits")
        others = "that fits the limits" if self.limited else "that could be ranked"
        return self._take(best, "better", self.fit[1], f"it beats every other method {others}")

    def _top(self) -> Sequence[Cell]:
        """The two between which it would be decided: the best of those ranked, or else of all that have a score."""
        return (self.ranked or self.have)[:2]

    def _rivals(self, best: Cell) -> list[str]:
        """Methods that are not ranked, may fit, and that no test puts the best behind."""
        return rivals(self.pairs, best, self.outside)

    # --- the outcomes ---

    def _unranked(self) -> Recommendation:
        """Nothing is ranked: too few seeds, which more would mend, or training that no seed mends."""
        few = [cell for cell in self.have if cell.trained and len(cell.per_seed) < SEEDS]
        flawed = [name for name, why in self.verdict.unranked.items() if not why.startswith(("one seed", "two seeds"))]
        if flawed:
            mend = f"No number of seeds or items mends that: {words.listed(flawed)} would have to be trained otherwise."
            return self._abstain(f"{self.verdict.headline} {mend}")
        more = f" It takes {SEEDS} seeds of every method." if few else ""
        return self._abstain(f"{self.verdict.headline}{more}", self._top())

    def _rivalled(self, best: Cell, others: Sequence[str]) -> Recommendation:
        """The best that is ranked may not be the best: what is not ranked may be as good."""
        why = self.verdict.unranked
        told = words.listed([f"{name} ({why.get(name, 'not ranked')})" for name in others])
        verb = "is" if len(others) == 1 else "are"
        seeds = [name for name in others if why.get(name, "").startswith(("one seed", "two seeds"))]
        text = f"{best.method} leads those ranked, but no test puts it ahead of {told}, which {verb} not ranked."
        if len(seeds) == len(others):
            return self._abstain(f"{text} To decide takes {SEEDS} seeds of {words.listed(others)}.")
        return self._abstain(f"{text} To decide, {words.listed(others)} would have to be trained otherwise.")

    def _hangs(self, best: Cell, others: Sequence[str]) -> Recommendation:
        """The lead would be lost without pooling."""
        second = next(cell for cell in self.fit if cell.method in others)
        own = f"with each method's own, {best.method} would not be separable from {words.listed(others)}"
        return self._abstain(
            f"{best.method} leads, but that rests on run variance pooled over methods: {own}.", [best, second]
        )

    def _may_be_best(self) -> list[str]:
        """The methods that exceed no limit that was measured of them, and would not be separable from the best."""
        fit = [cell for cell in self.ranked if cell in self.fit or cell.method in self.unmeasured]
        members = not_separable(fit, self.pairs) or [cell.method for cell in fit]
        return [name for name in members if name in self.unmeasured]

    def _nothing_fits(self) -> Recommendation:
        _, name, told = self.missed[0]
        nearest = Excluded(method=name, why=told)
        return self._abstain(f"nothing that could be ranked fits the limits. Nearest: {name} ({told}).", (), nearest)

    def _undecided(self, near: Sequence[Cell]) -> Recommendation:
        best, *rest = near
        others = words.listed([cell.method for cell in rest])
        verb = "is" if len(rest) == 1 else "are"
        return self._abstain(f"{others} {verb} not separable from the best, {best.method}.", near[:2])

    def _cheapest(self, near: Sequence[Cell]) -> Recommendation:
        chosen, *rest = sorted(near, key=_price)
        runner_up = next(cell for cell in near if cell is not chosen)
        named = words.listed([f"{cell.method} {cell.trainable_params:,}" for cell in rest])
        within = sentences.margin(between(self.pairs, chosen.method, runner_up.method))
        fewest = "the fewest" if _price(chosen)[0] < _price(rest[0])[0] else "no more"
        why = (
            f"for its cost. It and {words.listed([cell.method for cell in rest])} are equivalent within {within}, and "
            f"of them it trains {fewest} parameters ({chosen.trainable_params:,}; {named})"
        )
        return self._take(chosen, "cheapest", runner_up, why)

    def _alike(self, near: Sequence[Cell]) -> bool:
        """Whether each two of these are equivalent, nothing speaks against any of them, and all have a price."""
        pairs = (between(self.pairs, a.method, b.method) for a, b in combinations(near, 2))
        known = all(cell.trainable_params is not None and not _unfit(cell) for cell in near)
        return known and all(pair.equivalent and not pair.unpooled for pair in pairs) and not self._rivals(near[0])

    # --- in words ---

    def _take(self, cell: Cell, basis: Basis, runner_up: Cell | None, why: str) -> Recommendation:
        pair = between(self.pairs, cell.method, runner_up.method) if runner_up else None
        evidence = [sentences.sentence(pair)] if pair else []
        if self.ranked[0] not in (*self.fit, runner_up):
            least = between(self.pairs, self.ranked[0].method, cell.method)
            evidence.append(f"Without the limits: {sentences.sentence(least)}")
        return self._found(
            method=cell.method,
            basis=basis,
            runner_up=runner_up.method if runner_up else None,
            sentence=f"{cell.method} on {self.place}: {why}.",
            evidence=" ".join(evidence),
            mean=cell.mean,
            ci_low=cell.ci_low,
            ci_high=cell.ci_high,
            cost=_cost(cell),
            runner_up_cost=_cost(runner_up) if runner_up else None,
            comparison=pair,
        )

    def _abstain(self, why: str, two: Sequence[Cell] = (), nearest: Excluded | None = None) -> Recommendation:
        """No recommendation; of the best `two`, what would decide between them."""
        pair = between(self.pairs, two[0].method, two[1].method) if len(two) == 2 else None
        told_apart = pair is not None and pair.verdict in ("a better", "b better") and not pair.unpooled
        would = needed(pair, sum(cell.trained for cell in two)) if pair and not (self.lost and told_apart) else None
        evidence = [sentences.sentence(pair, ranked=False)] if pair else []
        evidence += [said(would, pair)] if pair and would else []
        if self.lost and told_apart:
            evidence += ["The runs there are tell the two apart: those that are missing may be all that it takes."]
        evidence += ["No study decides between two that score the same."] if pair and pair.difference == 0 else []
        return self._found(
            runner_up=two[1].method if pair else None,
            sentence=f"No recommendation on {self.place}: {why}",
            evidence=" ".join(evidence),
            comparison=pair,
            needed=would,
            nearest=nearest,
        )

    def _found(self, **told: Any) -> Recommendation:
        verdict = self.verdict
        return Recommendation(
            model=verdict.model,
            task=verdict.task,
            benchmark=verdict.benchmark,
            metric=verdict.metric,
            split=verdict.split,
            excluded=tuple(self.excluded),
            **told,
        )


# --- costs ---


def _cost(cell: Cell) -> Cost:
    if not cell.trained:
        return Cost(params=0, memory=0, latency=1.0, latency_seconds=cell.solo and cell.solo.inference_seconds)
    return Cost(
        params=cell.trainable_params,
        memory=cell.peak_bytes,
        latency=cell.solo and cell.solo.inference_ratio,
        latency_seconds=cell.solo and cell.solo.inference_seconds,
    )


def _beyond(cost: Cost, limits: Limits) -> list[tuple[float, str]]:
    """Every limit that a cost is not within: by what factor (infinite where it was not measured), and in words."""
    found: list[tuple[float, str]] = []
    for name, (what, amount) in _COSTS.items():
        limit, spent = getattr(limits, name), getattr(cost, name)
        if limit is None:
            continue
        if spent is None:
            found.append((math.inf, f"{what} was not measured"))
        elif spent > limit:
            found.append((spent / max(limit, 1e-9), f"{what} is {amount(spent)}, the limit {amount(limit)}"))
    return found


def _told(missed: Sequence[tuple[float, str]]) -> str:
    return words.listed([text for _, text in missed])


def _price(cell: Cell) -> tuple[float, float]:
    """What is cheap: few trained parameters, then little memory."""
    cost = _cost(cell)
    return cost.params or 0, math.inf if cost.memory is None else cost.memory


def _unfit(cell: Cell) -> str:
    """Why a method that leads is not to be recommended all the same; nothing where it may be."""
    if cell.status != "done":
        return f"only {len(cell.per_seed)} of its {words.count(cell.planned_runs, 'run')} have a score"
    if cell.trained and len(cell.per_seed) < SEEDS:
        return f"on {words.count(len(cell.per_seed), 'seed')}, and it takes {SEEDS}"
    return ""


_COSTS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "params": ("its number of trained parameters", lambda x: f"{x:,.0f}"),
    "memory": ("its peak memory in training", lambda x: f"{x / 1e6:,.1f}{words.THIN}MB"),
    "latency": ("its time for an answer, relative to the bare model's,", lambda x: f"{x:.2f}"),
    "latency_seconds": ("its time for an answer", lambda x: f"{x * 1000:,.1f}{words.THIN}ms"),
}
"""What a limit is on, and its numbers in words."""
