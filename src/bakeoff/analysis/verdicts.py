"""Verdicts: what a benchmark's comparisons allow to be said, in sentences drawn from the tests and nothing else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from bakeoff.analysis import sentences, words
from bakeoff.analysis import statistics as st
from bakeoff.analysis.benchmark import Table
from bakeoff.analysis.result import ALPHA, Cell, Comparison, Verdict

Ranked = Sequence[Cell]  # best first
NAMED = 4  # so many methods that tie are named, of more the first
UNDECIDED = ("too few seeds", "rests on pooling")  # an untrained model against a method with two seeds


def verdict(table: Table, cells: Sequence[Cell], pairs: Sequence[Comparison]) -> Verdict:
    """The winner set of a benchmark's headline metric and the sentences that say it."""
    ranked, left_out = rank(cells, pairs)
    members = not_separable(ranked, pairs)
    winner = next((cell for cell in ranked if members == [cell.method]), None)
    if winner and (winner.status != "done" or (winner.trained and len(winner.per_seed) < 3)):
        winner = None
    runs = [run for own in table.planned.values() for run in own]
    missing = sum(run.status == "missing" for run in runs)
    headline, *evidence = _say(table, cells, pairs, ranked, members, left_out)
    if 0 < missing < len(runs):
        winner, headline = None, f"So far, with {len(runs) - missing} of {len(runs)} runs done: {headline}"
    return Verdict(
        model=table.model,
        task=table.task,
        benchmark=table.benchmark,
        metric=table.metric,
        n_items=len(table.items),
        winner_set=tuple(members),
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
    )


def rank(cells: Sequence[Cell], pairs: Sequence[Comparison]) -> tuple[list[Cell], dict[str, list[str]]]:
    """The cells that may be ranked, best first, and the others by why not.

    Left out: one seed (nothing is known of the method), a run that collapsed or diverged (a training failure, not a
    skill), an undertuned method (another learning rate may do better), and an untrained model where the best method has
    two seeds. A ranking takes two cells, one of them trained.
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
    early = {pair.b: pair for pair in pairs if pair.a == best and pair.verdict in UNDECIDED}
    for pair in early.values():
        why.setdefault(_too_early(pair), []).append(pair.b)
    ranked = [cell for cell in ranked if cell.method not in early]
    testable = all(between(pairs, ranked[0].method, cell.method).p_holm is not None for cell in ranked[1:])
    return (ranked if testable and len(ranked) > 1 and any(cell.trained for cell in ranked) else []), why


def not_separable(ranked: Ranked, pairs: Sequence[Comparison]) -> list[str]:
    """The best of the methods and those that no test separates from it; nothing where there are no two to compare."""
    means = {cell.method: _goodness(cell) for cell in ranked}
    decided = {(p.a, p.b): None if p.verdict in UNDECIDED else p.p_holm for p in pairs}
    return st.winner_set(means, decided, ALPHA) if len(means) > 1 else []


def between(pairs: Sequence[Comparison], one: str, other: str) -> Comparison:
    """The comparison of two methods, whichever way round."""
    return next(pair for pair in pairs if {pair.a, pair.b} == {one, other})


def _too_early(pair: Comparison) -> str:
    """Why an untrained model is not ranked beside a method with two seeds."""
    if pair.verdict == "too few seeds":
        return "two seeds are too few to set against an untrained model"
    gap, where = (
        words.points(abs(pair.difference or 0), pair.percent),
        "above" if (pair.difference or 0) > 0 else "below",
    )
    interval = words.interval(pair.ci_low, pair.ci_high, pair.percent)
    return (
        f"two seeds; {pair.a} lies {gap} {where} it, 95{words.THIN}% CI {interval}, which rests on the seed variance "
        "pooled over methods"
    )


def _say(
    table: Table,
    cells: Sequence[Cell],
    pairs: Sequence[Comparison],
    ranked: Ranked,
    members: Sequence[str],
    left_out: Mapping[str, Sequence[str]],
) -> list[str]:
    """The verdict in sentences, the headline first."""
    have = _best_first(cells)
    if not have:
        states = Counter(cell.status for cell in cells)
        told = [f"{words.count(n, 'method')} {state}" for state, n in states.items()]
        return [f"No result on {table.place}: {words.listed(told)}."]
    if len(have) == 1:
        only = have[0]
        said = [
            f"Only {only.method} has a result on {table.place} ({_value(table, only)}): nothing to compare it with."
        ]
    elif len(members) == 1:
        said = _one_winner(table, ranked, pairs)
    elif members:
        said = _no_single_winner(table, ranked, pairs, members)
    else:
        said = _no_ranking(table, have, pairs)
    if members:
        said += [f"Not ranked: {words.listed(names)} ({why})." for why, names in left_out.items()]
    lost = [
        f"{c.method} ({len(c.per_seed)} of {words.count(c.planned_runs, 'run')})" for c in cells if c.status != "done"
    ]
    if lost:
        said.append(f"Without every planned result: {words.listed(lost)}.")
    return said


def _one_winner(table: Table, ranked: Ranked, pairs: Sequence[Comparison]) -> list[str]:
    best, second = ranked[0], ranked[1]
    pair = between(pairs, best.method, second.method)
    gap = words.points(abs(pair.difference or 0), table.percent)
    if len(ranked) == 2:
        headline = f"{best.method} beats {second.method} by {gap} on {table.place} ({_value(table, best)})."
        return [headline, f"Its lead: {_lead(pair, best)}; {_basis(table, ranked)}.", *_two_seeds(ranked)]
    headline = f"{best.method} beats every other ranked method on {table.place} ({_value(table, best)})."
    lead = f"It leads the next best, {second.method}, by {gap}, {_lead(pair, best)}; {_basis(table, ranked)}."
    return [headline, lead, *_two_seeds(ranked)]


def _no_single_winner(table: Table, ranked: Ranked, pairs: Sequence[Comparison], members: Sequence[str]) -> list[str]:
    best, tied = ranked[0], _tied(ranked)
    rest = [cell for cell in ranked if cell.method in members and cell.method not in tied]
    near = between(pairs, best.method, rest[0].method if rest else tied[1])
    gap = words.points(abs(near.difference or 0), table.percent)
    others = f"{words.listed([cell.method for cell in rest])} {'is' if len(rest) == 1 else 'are'} not separable from"
    if len(tied) == 1:
        top = f"{best.method} scored {_most(table)} ({_value(table, best)}), but {others} it"
    else:
        top = f"{_together(tied)} tie at {_value(table, best)}" + (f"; {others} {best.method}" if rest else "")
    worse = "above" if table.lower_is_better else "below"
    lead = (
        f"{rest[0].method} is {gap} {worse} {best.method}" if rest else f"{best.method} and {tied[1]} differ by {gap}"
    )
    headline = f"No single winner on {table.place}: {top}."
    if len(tied) == len(ranked) > 2:
        headline = f"Nothing is told apart on {table.place}: all {len(ranked)} methods are at {_value(table, best)}."
    said = [headline, f"{lead}, {_lead(near, best)}; {_basis(table, ranked)}."]
    if near.mde is not None:
        said.append(
            f"Such a comparison detects {words.points(near.mde, table.percent)} with "
            f"80{words.THIN}% power, before correction for the family."
        )
    same = {cell.method: pair for cell in ranked[1:] if (pair := between(pairs, best.method, cell.method)).equivalent}
    if same:
        within = sentences.margin(next(iter(same.values())))
        named = words.listed(list(same))
        said.append(f"Equivalent to {best.method} within {within} (the 90{words.THIN}% CI lies inside): {named}.")
    untrained = [cell.method for cell in ranked if cell.method in members and not cell.trained]
    if untrained:
        said.append(f"Training is not shown to help: {words.listed(untrained)} is untrained.")
    below = [cell.method for cell in ranked if cell.method not in members]
    if below:
        said.append(f"Separated from the best: {words.listed(below)}.")
    return said + _two_seeds(ranked)


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
        why = "No verdict: two seeds are too few to set against an untrained model"
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


def _basis(table: Table, ranked: Ranked) -> str:
    """`n = 500 items, k = 3 seeds each, seed SD 1.3`."""
    ks = words.seeds(len(cell.per_seed) for cell in ranked if cell.trained)
    alone = table.pool and table.pool.methods == 1 and table.own_variance()
    spread = (
        f", seed SD {words.number(math.sqrt(table.pool.variance), table.percent)}" if table.pool and not alone else ""
    )
    clusters = "" if table.clusters is None else f" in {words.count(int(table.clusters.max()) + 1, 'cluster')}"
    return f"n = {words.count(len(table.items), 'item')}{clusters}, {ks}{spread}"


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
    return sorted((cell for cell in cells if cell.mean is not None), key=_goodness, reverse=True)


def _goodness(cell: Cell) -> float:
    """The mean, more of it better."""
    return (-1 if cell.lower_is_better else 1) * (cell.mean or 0)


def _most(table: Table) -> str:
    return "lowest" if table.lower_is_better else "highest"


def _together(tied: Sequence[str]) -> str:
    return words.listed(tied) if len(tied) <= NAMED else f"{tied[0]} and {len(tied) - 1} others"


def _tied(ranked: Ranked) -> list[str]:
    """The methods with the best mean: one, or several that tie."""
    best = ranked[0].mean or 0
    return [cell.method for cell in ranked if math.isclose(cell.mean or 0, best, abs_tol=1e-9)]
