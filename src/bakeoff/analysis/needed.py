"""Needed: how large a study would decide between two methods, or what nobody can know yet."""

from __future__ import annotations

import math

from bakeoff.analysis import sentences, words
from bakeoff.analysis import statistics as st
from bakeoff.analysis.lint import SEEDS
from bakeoff.analysis.result import ALPHA, Comparison
from bakeoff.study.spec import Frozen

MOST_SEEDS = 1000  # more are not looked for


class Assumed(Frozen):
    """What would decide if run means had this standard deviation: seeds on the present items, items with three seeds.

    None where no number does.
    """

    seed_sd: float
    seeds: int | None
    items: int | None


class Needed(Frozen):
    """How large a study would decide between two methods if they truly differ by what was observed.

    That is, would find them different with 80 % power at `level`, which is .05 by the size of the family. `seeds` are
    runs of each trained method on the present `n` items, `items` those at the present `k` runs; None where no number
    does it, as items do not with fewer than three runs. `seeds_floor` and `items_floor` are the differences that
    endless seeds, or endless items, would detect. `unpooled`: with each method's own run variance, not the pooled one.
    One seed tells nothing of run variance, so neither can be said then: `assumed` has seeds for variances that `plan`
    assumes, of fractions.
    """

    a: str
    b: str
    difference: float
    level: float
    k: int
    n: int
    seeds: int | None
    items: int | None
    seeds_floor: float
    items_floor: float
    unpooled: bool = False
    assumed: tuple[Assumed, ...] = ()


def needed(pair: Comparison, trained: int = 2) -> Needed | None:
    """What would decide between two methods; None where they scored the same, or nothing is known of the items.

    Where their verdict hangs on pooling, what would decide without it. `trained` says how many of the two are.
    """
    told = pair.unpooled or pair.variance
    if told is None or not pair.difference:
        return None
    gap, level = abs(pair.difference), ALPHA / pair.family
    k, n = max(pair.k_a, pair.k_b), pair.n_items
    df_runs = math.inf if told.df_runs is None else told.df_runs
    parts = st.Parts(told.items, told.runs, told.residual, told.df_items, df_runs)
    one_seed = pair.verdict == "these checkpoints only"
    alone = min(pair.k_a, pair.k_b) == 1 and df_runs == k - 1  # one method's own run variance

    def detected(seeds: float = 1, items: float = 1) -> float:
        """The difference found at so many times the seeds and items."""
        design = st.combined(st.redesigned(parts, k, seeds, items), alone)
        return st.minimum_detectable_difference(*design, level=1 - level)

    more = (math.ceil(n * 1.01**i) for i in range(1, 1000))  # to 20,000 times as many, in steps of a hundredth
    enough = (s for s in range(max(k + 1, SEEDS), MOST_SEEDS) if not one_seed and detected(seeds=s / k) <= gap)
    return Needed(
        a=pair.a,
        b=pair.b,
        difference=pair.difference,
        level=level,
        k=min(pair.k_a, pair.k_b) if one_seed else k,
        n=n,
        seeds=next(enough, None),
        items=next((m for m in more if k >= SEEDS and not one_seed and detected(items=m / n) <= gap), None),
        seeds_floor=detected(seeds=math.inf),
        items_floor=detected(items=math.inf),
        unpooled=pair.unpooled is not None,
        assumed=_assumed(parts, n, gap, level, trained) if one_seed and pair.percent else (),
    )


def _assumed(parts: st.Parts, n: int, gap: float, level: float, trained: int) -> tuple[Assumed, ...]:
    """What would decide between two methods, so many of them trained, if their runs varied as `plan` assumes.

    All that differs from item to item is taken for the items': of one run, nobody knows what of it is noise.
    """

    def detected(k: int, sd: float, items: float = 1) -> float:
        design = st.Parts(
            parts.items / items, trained * sd**2 / k, 0.0, (parts.df_items + 1) * items - 1, trained * (k - 1)
        )
        return st.minimum_detectable_difference(*st.combined(design, trained == 1), level=1 - level)

    def seeds(sd: float) -> int | None:
        return next((k for k in range(SEEDS, MOST_SEEDS) if detected(k, sd) <= gap), None)

    def items(sd: float) -> int | None:
        more = (math.ceil(n * 1.01**i) for i in range(1000))
        return next((m for m in more if detected(SEEDS, sd, m / n) <= gap), None)

    return tuple(Assumed(seed_sd=sd, seeds=seeds(sd), items=items(sd)) for sd in sentences.SEED_SDS if sd > 0)


def said(found: Needed, pair: Comparison) -> str:
    """What would decide between two methods, in a sentence."""
    if pair.verdict == "these checkpoints only":
        return _said_of_one(found, pair)
    gap = words.points(abs(found.difference), pair.percent)
    items, seeds = words.count(found.n, "item"), words.count(found.k, "seed")
    if found.seeds is not None:
        by_seeds = f"{words.count(found.seeds, 'seed')} each ({found.seeds - found.k:,} more) on these {items}"
    elif found.seeds_floor > abs(found.difference):
        by_seeds = f"no number of seeds on these {items}, which are too few"
    else:
        by_seeds = f"more than {words.count(MOST_SEEDS, 'seed')} on these {items}"
    if found.items is not None:
        by_items = f"about {words.count(found.items, 'item')} ({found.items - found.n:,} more) with these {seeds}"
    elif found.k < SEEDS:
        by_items = f"no number of items with {seeds}, which are too few"
    elif found.items_floor > abs(found.difference):
        by_items = f"no number of items with these {seeds}, because run-to-run variance alone is too large"
    else:
        by_items = f"far more items than these {found.n:,} with these {seeds}"
    own = ", by each method's own run variance" if found.unpooled else ""
    return (
        f"If {found.a} and {found.b} truly differ by the {gap} observed, what would tell them apart "
        f"{sentences.OF_POWER}{own}, at .05 / {pair.family} for the family: {by_seeds}; {by_items}."
    )


def _said_of_one(found: Needed, pair: Comparison) -> str:
    """What can be said of the seeds needed where there is one: the least, and what it would be on assumptions."""
    least = f"One seed tells nothing of run-to-run variance, so what would decide is not known: at least {SEEDS} seeds"
    if not found.assumed:
        return f"{least} ({SEEDS - found.k} more)."
    gap, items = words.points(abs(found.difference), pair.percent), words.count(found.n, "item")
    each = [f"at a seed SD of {words.points(one.seed_sd)} {_enough(one, items)}" for one in found.assumed]
    return (
        f"{least} ({SEEDS - found.k} more). If {found.a} and {found.b} truly differ by the {gap} observed, what would "
        f"tell them apart {sentences.OF_POWER}, at .05 / {pair.family} for the family, on two assumptions: "
        f"{'; '.join(each)}."
    )


def _enough(one: Assumed, items: str) -> str:
    """`4 seeds each on these 120 items, or about 190 items with 3 seeds`."""
    by = [] if one.seeds is None else [f"{words.count(one.seeds, 'seed')} each on these {items}"]
    if one.items is not None and one.seeds != SEEDS:
        by.append(f"about {words.count(one.items, 'item')} with {words.count(SEEDS, 'seed')} each")
    return ", or ".join(by) or "neither seeds nor items alone"
