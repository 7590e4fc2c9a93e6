"""Verdicts: what a benchmark's comparisons allow to be said, in sentences drawn from the tests and nothing else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bakeoff.analysis import sentences, words
from bakeoff.analysis import statistics as st
from bakeoff.analysis.benchmark import Table
from bakeoff.analysis.result import ALPHA, Cell, Comparison, Verdict

Ranked = Sequence[Cell]  # best first
NAMED = 4  # so many methods that tie are named, of more the first
UNDECIDED = ("too few seeds", "rests on pooling")  # a method with two seeds against an untrained one, or not pooled


def verdict(table: Table, cells: Sequence[Cell], pairs: Sequence[Comparison]) -> Verdict:
    """The winner set of a benchmark's headline metric and the sentences that say it."""
    ranked, left_out = rank(cells, pairs)
    case = _Case(table, cells, pairs, ranked, left_out, not_separable(ranked, pairs))
    runs = [run for own in table.planned.values() for run in own]
    missing = sum(run.status == "missing" for run in runs)
    partial = 0 < missing < len(runs)
    winner = None if partial else _winner(case)
    headline, *evidence = _say(case)
    if partial:
        headline = f"So far, with {len(runs) - missing} of {len(runs)} runs done: {headline}"
    return Verdict(
        model=table.model,
        task=table.task,
        benchmark=table.benchmark,
        metric=table.metric,
        n_items=len(table.items),
        winner_set=tuple(case.members),
        winner=winner.method if winner else None,
        sentence=" ".join([headline, *evidence]),
        headline=headline,
        evidence=" ".join(evidence),
        seed_sd=math.sqrt(table.pool.variance) if table.pool else None,
        pool_df=table.pool.df if table.pool else 0,
        pool_methods=table.pool.methods if table.pool else 0,
        family=pairs[0].family if pairs else 0,
        split=table.split,
        bartlett_p=None if math.isnan(table.bartlett_p) else table.bartlett_p,
        own_variance=tuple(table.own_variance()),
        unranked={name: why for why, names in left_out.items() for name in names},
    )


@dataclass(frozen=True)
class _Case:
    """A benchmark's methods as its verdict sees them: `ranked` best first, others by why, `members` not separable."""

    table: Table
    cells: Sequence[Cell]
    pairs: Sequence[Comparison]
    ranked: Ranked
    left_out: Mapping[str, Sequence[str]]
    members: Sequence[str]

    @property
    def best(self) -> Cell:
        return self.ranked[0]

    def outside(self) -> list[Cell]:
        """The methods left out of the ranking that have a result, best first."""
        names = {name for own in self.left_out.values() for name in own}
        return [cell for cell in _best_first(self.cells) if cell.method in names]

    def above(self) -> bool:
        """Whether one of those lies above the best of the ranking."""
        return any(goodness(cell) > goodness(self.best) for cell in self.outside())

    def rivals(self) -> list[str]:
        """Those of them that no test puts the best of the ranking ahead of."""
        return rivals(self.pairs, self.best, self.outside())

    def hanging(self, others: Sequence[str]) -> list[str]:
        """Those methods whose verdict against the best would be the opposite without the pooled run variance."""
        return hanging(self.pairs, self.best.method, others)


def _winner(case: _Case) -> Cell | None:
    """The one method that stands alone, if nothing speaks against naming it."""
    if len(case.members) != 1 or case.best.status != "done" or case.rivals():
        return None
    few = case.best.trained and len(case.best.per_seed) < 3
    return None if few or case.hanging(_names(case.ranked[1:])) else case.best


def rank(cells: Sequence[Cell], pairs: Sequence[Comparison]) -> tuple[list[Cell], dict[str, list[str]]]:
    """The cells that may be ranked, best first, and the others by why not.

    Left out: one seed (nothing is known of the method), a run that collapsed or diverged (a training failure, not a
    skill), an undertuned method (another learning rate may do better), and what cannot be set against the best
    method with two seeds. A ranking takes two cells, one of them trained.
    """
    why: dict[str, list[str]] = {}
    ranked: list[Cell] = []
    for cell in _best_first(cells):
        if cell.trained and cell.constant_seeds:
            why.setdefault("one answer to every item in some run", []).append(cell.method)
        elif cell.diverged_runs:
            why.setdefault("a run diverged", []).append(cell.method)
        elif cell.undertuned:
            why.setdefault(f"undertuned: {cell.undertuned}", []).append(cell.method)
        elif cell.trained and len(cell.per_seed) == 1:
            why.setdefault("one seed", []).append(cell.method)
        else:
            ranked.append(cell)
    best = next((cell.method for cell in ranked if cell.trained), None)
    early = {
        cell.method: pair
        for cell in ranked
        for pair in pairs
        if {pair.a, pair.b} == {best, cell.method} and pair.verdict in UNDECIDED
    }
    for name, pair in early.items():
        why.setdefault(_too_early(pair), []).append(name)
    ranked = [cell for cell in ranked if cell.method not in early]
    testable = all(between(pairs, ranked[0].method, cell.method).p_holm is not None for cell in ranked[1:])
    return (ranked if testable and len(ranked) > 1 and any(cell.trained for cell in ranked) else []), why


def not_separable(ranked: Ranked, pairs: Sequence[Comparison]) -> list[str]:
    """The best of the methods and those that no test separates from it; nothing where there are no two to compare."""
    means = {cell.method: goodness(cell) for cell in ranked}
    decided = {(p.a, p.b): None if p.verdict in UNDECIDED else p.p_holm for p in pairs}
    return st.winner_set(means, decided, ALPHA) if len(means) > 1 else []


def rivals(pairs: Sequence[Comparison], best: Cell, others: Sequence[Cell]) -> list[str]:
    """Those of the others, which are not ranked, that no test puts the best ahead of."""
    return [cell.method for cell in others if not _ahead(between(pairs, best.method, cell.method), best, cell)]


def _ahead(pair: Comparison, best: Cell, cell: Cell) -> bool:
    decided = pair.verdict not in UNDECIDED and pair.p_holm is not None and pair.p_holm < ALPHA
    return decided and goodness(best) > goodness(cell)


def hanging(pairs: Sequence[Comparison], best: str, others: Sequence[str]) -> list[str]:
    """Those of the others whose verdict against the best would be the opposite without the pooled run variance."""
    return [name for name in others if between(pairs, best, name).unpooled]


def between(pairs: Sequence[Comparison], one: str, other: str) -> Comparison:
    """The comparison of two methods, whichever way round."""
    return next(pair for pair in pairs if {pair.a, pair.b} == {one, other})


def _too_early(pair: Comparison) -> str:
    """Why a method, mostly an untrained model, is not ranked beside one with two seeds."""
    if pair.verdict == "too few seeds":
        return f"two seeds are too few{' to set against an untrained model' if pair.k_b == 1 else ''}"
    gap, where = (
        words.points(abs(pair.difference or 0), pair.percent),
        "above" if (pair.difference or 0) > 0 else "below",
    )
    interval = words.interval(pair.ci_low, pair.ci_high, pair.percent)
    return (
        f"two seeds; {pair.a} lies {gap} {where} it, 95{words.THIN}% CI {interval}, which rests on the seed variance "
        "pooled over methods"
    )


def _say(case: _Case) -> list[str]:
    """The verdict in sentences, the headline first."""
    table, have = case.table, _best_first(case.cells)
    if not have:
        states = Counter(cell.status for cell in case.cells)
        told = [f"{words.count(n, 'method')} {state}" for state, n in states.items()]
        return [f"No result on {table.place}: {words.listed(told)}."]
    if len(have) == 1:
        only = have[0]
        said = [
            f"Only {only.method} has a result on {table.place} ({_value(table, only)}): nothing to compare it with."
        ]
    elif len(case.members) == 1:
        said = _one_winner(case)
    elif case.members:
        said = _no_single_winner(case)
    else:
        said = _no_ranking(table, have, case.pairs)
    if len(_tied(have)) == len(have) > 1 and all(cell.unparsable == 1 for cell in have):
        every = "both methods" if len(have) == 2 else f"all {len(have)} methods"
        said[0] = f"No completion on {table.place} could be read: {every} are at {_value(table, have[0])}."
    if case.members:
        said += [f"Not ranked: {words.listed(names)} ({why})." for why, names in case.left_out.items()]
    lost = [
        f"{c.method} ({len(c.per_seed)} of {words.count(c.planned_runs, 'run')})"
        for c in case.cells
        if c.status != "done"
    ]
    if lost:
        said.append(f"Without every planned result: {words.listed(lost)}.")
    return said


def _one_winner(case: _Case) -> list[str]:
    table, best, second = case.table, case.best, case.ranked[1]
    pair = between(case.pairs, best.method, second.method)
    gap = words.points(abs(pair.difference or 0), table.percent)
    rivals, lead, hangs = _rivals(case), f"{_lead(pair, best)}; {_basis(table, pair)}", _pooled(case, case.ranked[1:])
    if len(case.ranked) == 2:
        headline = f"{best.method} beats {second.method} by {gap} on {table.place} ({_value(table, best)}){rivals}."
        return [headline, f"Its lead: {lead}.", *hangs, *_two_seeds(case.ranked)]
    headline = f"{best.method} beats every other ranked method on {table.place} ({_value(table, best)}){rivals}."
    leads = f"It leads the next best ranked, {second.method}, by {gap}, {lead}."
    return [headline, leads, *hangs, *_two_seeds(case.ranked)]


def _rivals(case: _Case) -> str:
    """What a headline adds where a method that is not ranked may be as good as the best that is."""
    rivals = case.rivals()
    if not rivals:
        return ""
    which = "which is not ranked" if len(rivals) == 1 else "which are not ranked"
    named = words.listed(rivals) if len(rivals) <= NAMED else f"{rivals[0]} and {len(rivals) - 1} others"
    return f", but no test puts it ahead of {named}, {which}"


def _pooled(case: _Case, others: Ranked) -> list[str]:
    """That the verdict on these against the best rests on the pooled run variance, where it does."""
    hanging = case.hanging(_names(others))
    if not hanging:
        return []
    named = words.listed(hanging) if len(hanging) <= NAMED else f"{len(hanging)} methods"
    return [
        f"This rests on run variance pooled over methods: with each method's own, {case.best.method} against {named} "
        "would get the opposite verdict."
    ]


def _no_single_winner(case: _Case) -> list[str]:
    table, ranked, best, tied = case.table, case.ranked, case.best, _tied(case.ranked)
    rest = [cell for cell in ranked if cell.method in case.members and cell.method not in tied]
    second = rest[0] if rest else ranked[1]
    near = between(case.pairs, best.method, second.method)
    gap = words.points(abs(near.difference or 0), table.percent)
    worse = "above" if table.lower_is_better else "below"
    lead = f"{second.method} is {gap} {worse} {best.method}" if rest else f"{best.method} and {tied[1]} differ by {gap}"
    said = [_top(case, tied, rest), f"{lead}, {_lead(near, best)}; {_basis(table, near)}."]
    if len(rest) > NAMED:
        said.append(f"Not separable from {best.method}: {words.listed(_names(rest))}.")
    said += _pooled(case, ranked[1:])
    if near.mde is not None:
        said.append(
            f"Such a comparison detects {words.points(near.mde, table.percent)} with "
            f"80{words.THIN}% power, before correction for the family."
        )
    same = {
        cell.method: pair for cell in ranked[1:] if (pair := between(case.pairs, best.method, cell.method)).equivalent
    }
    if same:
        within = sentences.margin(next(iter(same.values())))
        named = words.listed(list(same))
        said.append(f"Equivalent to {best.method} within {within} (the 90{words.THIN}% CI lies inside): {named}.")
    untrained = [cell.method for cell in ranked if cell.method in case.members and not cell.trained]
    if untrained:
        said.append(f"Training is not shown to help: {words.listed(untrained)} is untrained.")
    below = [cell.method for cell in ranked if cell.method not in case.members]
    if below:
        said.append(f"Separated from the best: {words.listed(below)}.")
    return said + _two_seeds(ranked)


def _top(case: _Case, tied: Sequence[str], rest: Ranked) -> str:
    """The headline where several methods are not separable: who is best, and who cannot be told from it."""
    table, best = case.table, case.best
    value, others = _value(table, best), f"{len(case.ranked) - len(tied)} others{' ranked' if case.left_out else ''}"
    if len(tied) == len(case.ranked) > 2:
        ranked = "ranked methods" if case.left_out else "methods"
        return f"Nothing is told apart on {table.place}: all {len(tied)} {ranked} are at {value}."
    named = words.listed(_names(rest)) if len(rest) <= NAMED else f"{len(rest)} of {others}"
    near = f"{named} {'is' if len(rest) == 1 else 'are'} not separable from"
    if len(tied) == 1:
        of = " of those ranked" if case.above() else ""
        top = f"{best.method} scored {_most(table)}{of} ({value}), but {near} it"
    else:
        of = f", the {_most(table)} of those ranked" if case.above() else ""
        top = f"{_together(tied)} tie at {value}{of}" + (f"; {near} {best.method}" if rest else "")
    return f"No single winner on {table.place}: {top}."


def _no_ranking(table: Table, have: Ranked, pairs: Sequence[Comparison]) -> list[str]:
    """Nothing can be said of the methods: why, and what these runs did."""
    best, second = have[0], have[1]
    pair = between(pairs, best.method, second.method)
    trained = [cell for cell in have if cell.trained]
    if not trained:
        why = "Nothing was trained"
    elif all(len(cell.per_seed) == 1 for cell in trained):
        why = "One seed says nothing about the methods"
    elif any(cell.constant_seeds for cell in trained):
        why = "No ranking: some runs gave one answer to every item"
    elif any(cell.diverged_runs for cell in trained):
        why = "No ranking: some runs diverged"
    elif any(cell.undertuned for cell in trained):
        why = "No ranking: methods are undertuned"
    elif any(len(cell.per_seed) == 2 for cell in trained):
        why = "No verdict: two seeds are too few" + (" to set against an untrained model" if pair.k_b == 1 else "")
    else:
        why = "No verdict: too few runs and items to compare methods"
    who = "on these checkpoints" if pair.verdict == "these checkpoints only" else "here"
    tied = _tied(have)
    top = (
        f"{best.method} scored {_most(table)}"
        if len(tied) == 1
        else f"{_together(tied)} tie for the {_most(table)} score"
    )
    headline = f"{why}; {who} {top} on {table.place} ({_value(table, best)})."
    subject = "It" if len(tied) == 1 else best.method
    if pair.only_a is not None and pair.only_b is not None:
        ahead, behind = (pair.only_a, pair.only_b) if pair.a == best.method else (pair.only_b, pair.only_a)
        told = (
            f"{subject} answered {words.count(ahead, 'item')} that {second.method} missed, and missed {behind} that "
            f"{second.method} answered (exact McNemar {words.p_equals('p', pair.p)}, "
            f"{words.p_equals('p_holm', pair.p_holm)} in a family of {pair.family})"
        )
    else:
        gap = words.points(abs(pair.difference or 0), table.percent)
        better = "below" if table.lower_is_better else "above"
        told = f"{subject} is {gap} {better}" if len(tied) == 1 else f"{subject} differs by {gap} from"
        told += f" {second.method}, {_lead(pair, best)}"
        told += " over items alone" if pair.seed_variance == "none" else ""
    return [headline, f"{told}; n = {words.count(len(table.items), 'item')}."]


def _two_seeds(ranked: Ranked) -> list[str]:
    if not any(cell.trained and len(cell.per_seed) == 2 for cell in ranked):
        return []
    return ["Two seeds tell little of run-to-run variance, which is pooled over methods where it can be."]


def _value(table: Table, cell: Cell) -> str:
    return f"{words.score(cell.mean, table.percent)} {table.metric}"


def _basis(table: Table, pair: Comparison) -> str:
    """`n = 500 items, k = 3 seeds each, seed SD 1.3`: what a comparison rests on."""
    alone = table.pool and table.pool.methods == 1 and table.own_variance()
    spread = (
        f", seed SD {words.number(math.sqrt(table.pool.variance), table.percent)}" if table.pool and not alone else ""
    )
    return f"{sentences.basis(pair)}{spread}"


def _lead(pair: Comparison, first: Cell) -> str:
    """The interval of the first's lead over the other, whichever way the pair is stored, and its adjusted p."""
    low, high = pair.ci_low, pair.ci_high
    if (pair.a != first.method) != pair.lower_is_better and low is not None and high is not None:
        low, high = -high, -low
    return (
        f"95{words.THIN}% CI {words.interval(low, high, pair.percent)}, "
        f"{words.p_equals('p_holm', pair.p_holm)} (family of {pair.family})"
    )


def _best_first(cells: Sequence[Cell]) -> list[Cell]:
    return sorted((cell for cell in cells if cell.mean is not None), key=goodness, reverse=True)


def goodness(cell: Cell) -> float:
    """The mean, more of it better."""
    return (-1 if cell.lower_is_better else 1) * (cell.mean or 0)


def _names(cells: Sequence[Cell]) -> list[str]:
    return [cell.method for cell in cells]


def _most(table: Table) -> str:
    return "lowest" if table.lower_is_better else "highest"


def _together(tied: Sequence[str]) -> str:
    return words.listed(tied) if len(tied) <= NAMED else f"{tied[0]} and {len(tied) - 1} others"


def _tied(ranked: Ranked) -> list[str]:
    """The methods with the best mean: one, or several that tie."""
    best = ranked[0].mean or 0
    return [cell.method for cell in ranked if math.isclose(cell.mean or 0, best, abs_tol=1e-9)]
