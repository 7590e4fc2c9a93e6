"""Two-way: means and paired differences over items and runs, as the package's first lines have them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # not scipy.stats, which takes a second to import

from bakeoff.analysis.statistics.counts import Floats, Interval, is_binary, is_bounded, student, wilson
from bakeoff.analysis.statistics.power import minimum_detectable_difference

LIMIT = 0.02  # of the scale: so near to its ends a method's runs hardly can vary
SHARES = (0.0, 1.0)  # the scale of fractions
UNEQUAL = 0.05  # Bartlett's p below which run variances are not pooled


class SeedPool(NamedTuple):
    """A variance of run means pooled over methods, its degrees of freedom, and how many methods gave to it."""

    variance: float
    df: int
    methods: int


class Pooling(NamedTuple):
    """Whose run variances are pooled: the pool, whether each method uses it, and Bartlett's p (NaN: not tested)."""

    pool: SeedPool | None
    uses: tuple[bool, ...]
    p: float


class Mean(NamedTuple):
    """A mean over runs and items with the variance of that mean and Satterthwaite's degrees of freedom."""

    mean: float
    variance: float
    df: float


class Parts(NamedTuple):
    """A variance by where it comes from: V_item, V_run, and V_res, which is in both; df of the first two.

    `df_runs` is infinite where nothing varies from run to run.
    """

    items: float
    runs: float
    residual: float
    df_items: float
    df_runs: float


class Difference(NamedTuple):
    """mean(a) - mean(b), its variance, degrees of freedom, interval, two-sided p and minimum detectable difference.

    `parts` are those of its variance.
    """

    difference: float
    variance: float
    df: float
    low: float
    high: float
    p: float
    mde: float
    parts: Parts


class Side(NamedTuple):
    """What a comparison needs of one method's scores: their means over runs [items], and how the runs vary.

    `own` is the variance of the run means (None for one run), `residual` the residual mean square (0 for one run).
    """

    items: Floats
    runs: int
    own: SeedPool | None
    residual: float


class Equivalence(NamedTuple):
    """The 90 % interval of a difference, the p of two one-sided tests against a margin, and whether it is below .05."""

    low: float
    high: float
    p: float
    equivalent: bool


def pooled_seed_variance(methods: Iterable[ArrayLike]) -> SeedPool | None:
    """The variance of run means within methods, weighted by degrees of freedom; None where no method has two runs.

    `methods` are arrays [seeds, items]. `s2 = sum (k_m - 1) s2_m / sum (k_m - 1)`: the within mean square of a one-way
    analysis of variance. It assumes that runs vary alike in every method; `pooling` tells where they do.
    """
    means = [np.asarray(method, dtype=float).mean(axis=1) for method in methods]
    means = [m for m in means if m.size > 1]
    df = sum(m.size - 1 for m in means)
    if df == 0:
        return None
    return SeedPool(sum(float(m.var(ddof=1)) * (m.size - 1) for m in means) / df, df, len(means))


def pooling(methods: Sequence[ArrayLike], scale: tuple[float, float] | None = None) -> Pooling:
    """Which of the methods, arrays [seeds, items], share a run variance: the rule of the module's first lines.

    `scale` as in `at_limit`.
    """
    tables = [_table(method) for method in methods]
    limited = [at_limit(table, scale) for table in tables]
    usual = [table for table, out in zip(tables, limited, strict=True) if len(table) > 1 and not out]
    p = bartlett(usual, 1.0 if scale is None else scale[1] - scale[0])
    pool = None if p < UNEQUAL else pooled_seed_variance(usual)
    return Pooling(pool, tuple(pool is not None and not out for out in limited), p)


def at_limit(scores: ArrayLike, scale: tuple[float, float] | None = None) -> bool:
    """Whether every run mean of [seeds, items] is at the ceiling (the last .02 of the scale), or at the floor.

    `scale` is between what scores can lie, by default 0 and 1 where every score does; one without an end has neither.
    """
    x = _table(scores)
    means = x.mean(axis=1)
    low, high = scale or (SHARES if is_bounded(x) else (-math.inf, math.inf))
    near = LIMIT * (high - low)
    return math.isfinite(near) and bool(np.all(means >= high - near) or np.all(means <= low + near))


def bartlett(methods: Sequence[ArrayLike], width: float = 1.0) -> float:
    """Bartlett's (1937) p that the run variances of the methods, arrays [seeds >= 2, items], are equal; NaN below two.

    `T = (N ln s2 - sum df_m ln s2_m) / (1 + (sum 1/df_m - 1/N) / 3(M - 1))`, N the sum of df_m = k_m - 1 and s2 the
    pooled variance, is chi-squared with M - 1 degrees of freedom; equals `scipy.stats.bartlett` of the run means.
    Means of 0/1 scores lie 1/n apart and may agree by chance, so s2_m is at least 1 / 12n^2, the variance of rounding;
    `width` is that of another scale (infinite: nothing is rounded, and s2_m is at least a millionth of s2).
    """
    tables = [_table(method) for method in methods]
    if len(tables) < 2:
        return math.nan
    df = np.array([len(table) - 1 for table in tables])
    own, total = np.array([table.mean(axis=1).var(ddof=1) for table in tables]), df.sum()
    if math.isfinite(width):
        own = np.maximum(own, [width**2 / (12 * table.shape[1] ** 2) for table in tables])
    else:
        own = np.maximum(own, max(1e-6 * float(df @ own) / total, 1e-300))
    pooled = float(df @ own) / total
    found = total * math.log(pooled) - float(df @ np.log(own))
    scale = 1 + (float(np.sum(1 / df)) - 1 / total) / (3 * (len(tables) - 1))
    return float(special.chdtrc(len(tables) - 1, max(found, 0.0) / scale))


def two_way_mean(scores: ArrayLike, pool: SeedPool | None = None, clusters: ArrayLike | None = None) -> Mean:
    """The mean of [seeds, items] over both, with the two-way variance of the module's first lines.

    The run variance is `pool`'s, or the method's own without one. One run carries none: the statement is then about
    that checkpoint only. `clusters` has each item's cluster as a number from 0.
    """
    own = side(scores)
    variance, df = combined(_parts(own.items, [own], [pool], clusters), _alone([own], [pool]))
    return Mean(float(own.items.mean()), variance, df)


def mean_interval(
    scores: ArrayLike,
    pool: SeedPool | None = None,
    level: float = 0.95,
    fraction: bool | None = None,
    clusters: ArrayLike | None = None,
) -> Interval:
    """The interval of the mean of [seeds, items] over both items and runs.

    For a `fraction`, whose mean lies between 0 and 1 (by default where every score does; pseudo-values of F1 do not,
    and losses may by chance), it is Wilson's interval with the effective sample size `mean (1 - mean) / V`, V from
    `two_way_mean`, and Student's quantile at its df (Dean and Pagano 2015 on clustered proportions): it stays within 0
    and 1. At the ceiling or the floor the size is at most n, as where every item was right, and the quantile normal:
    one miss changes little. One run of 0/1 scores: Wilson's own. Other scores: `mean +- t_df sqrt(V)`. Of items in
    `clusters` (as in `two_way_mean`) there are only as many as clusters.
    """
    x = _table(scores)
    k, n = x.shape
    mean, variance, df = two_way_mean(x, pool, clusters)
    if clusters is not None:
        n = int(np.max(np.asarray(clusters))) + 1
    if is_bounded(x) if fraction is None else fraction:
        if k == 1 and is_binary(x) and clusters is None:
            return wilson(float(x.sum()), n, level)
        if math.isnan(variance):
            return Interval(math.nan, math.nan)
        size = mean * (1 - mean) / variance if variance > 0 else math.inf
        if at_limit(x, SHARES) or size in (0, math.inf):
            size, df = min(n, size) or n, math.inf
        return wilson(mean * size, size, level, df)
    half = student(df, level) * math.sqrt(variance) if variance >= 0 else math.nan
    return Interval(mean - half, mean + half)


def side(scores: ArrayLike) -> Side:
    """One method's [seeds, items], reduced to what all its comparisons share."""
    x = _table(scores)
    if len(x) == 1:
        return Side(x[0], 1, None, 0.0)
    return Side(x.mean(axis=0), len(x), _own(x), _residual(x))


def paired_difference(
    a: ArrayLike | Side,
    b: ArrayLike | Side,
    pools: tuple[SeedPool | None, SeedPool | None] = (None, None),
    level: float = 0.95,
    clusters: ArrayLike | None = None,
) -> Difference:
    """mean(a) - mean(b) for [seeds, items] on the same items, as a statement about the *methods*.

    With `D[i] = mean_s a[s, i] - mean_s b[s, i]`: `V_item = var(D) / n`, `V_run = s2_a / k_a + s2_b / k_b`,
    `V_res = r_a / (k_a n) + r_b / (k_b n)`; V, df as in the module's first lines, a t interval and its p. The numbers
    of runs may differ. s2 of each side is that of its pool, or the method's own where that is None; df_run is the
    pool's where both share it, else by Satterthwaite. A side of one run carries no run variance: right for a model
    that is not trained; of a trained one the result speaks of that checkpoint only.

    Where all items (or clusters, as in `two_way_mean`) differ alike (V_item = 0), two pseudo-items at +1 and -1 stand
    in, after Bonett and Price (2012): that nothing varied in n items is no proof that nothing varies.
    """
    x, y = (one if isinstance(one, Side) else side(one) for one in (a, b))
    if x.items.size != y.items.size:
        raise ValueError(f"a has {x.items.size} items and b {y.items.size}; a paired difference needs the same items")
    d = x.items - y.items
    parts = _parts(d, [x, y], pools, clusters)
    variance, df = combined(parts, _alone([x, y], pools))
    mean = float(d.mean())
    if math.isnan(variance):
        return Difference(mean, variance, df, math.nan, math.nan, math.nan, math.nan, parts)
    half = student(df, level) * math.sqrt(variance)
    p = 2 * float(special.stdtr(df, -abs(mean) / math.sqrt(variance)))
    mde = minimum_detectable_difference(variance, df)
    return Difference(mean, variance, df, mean - half, mean + half, p, mde, parts)


def combined(parts: Parts, alone: bool = False) -> tuple[float, float]:
    """V and df, as in the module's first lines; `alone`: V_run is from the few runs of one method by itself."""
    variance = parts.items + max(parts.runs - parts.residual, 0.0)
    noise = parts.items**2 / parts.df_items + parts.runs**2 / parts.df_runs
    if noise == 0:
        return variance, parts.df_items
    df = variance**2 / noise
    if alone and parts.runs > 0:
        df = min(df, parts.df_runs * variance / parts.runs)
    return variance, max(df, min(parts.df_items, parts.df_runs))


def redesigned(parts: Parts, k: int, seeds: float, items: float) -> Parts:
    """The parts that a design of `seeds` times the k runs and `items` times the items would have (infinite: no end).

    Item effects go with the items, run effects with the runs, and residual noise with both.
    """
    residual = parts.residual / (seeds * items)
    return Parts(
        items=max(parts.items - parts.residual, 0.0) / items + residual,
        runs=max(parts.runs - parts.residual, 0.0) / seeds + residual,
        residual=residual,
        df_items=(parts.df_items + 1) * items - 1,
        df_runs=parts.df_runs * (k * seeds - 1) / (k - 1) if k > 1 else parts.df_runs,
    )


def widened(found: Difference, variance: float) -> Difference:
    """The same difference where V is larger by `variance`, of infinite degrees of freedom; NaN: nothing can be said.

    It is the items' in the parts of V.
    """
    if variance == 0:
        return found
    items = found.parts.items + variance
    parts = found.parts._replace(items=items, df_items=found.parts.df_items * (items / found.parts.items) ** 2)
    total = found.variance + variance
    df = total**2 / (found.variance**2 / found.df) if found.variance > 0 else math.inf
    if math.isnan(total):
        return Difference(found.difference, total, df, math.nan, math.nan, math.nan, math.nan, parts)
    half = student(df) * math.sqrt(total)
    p = 2 * float(special.stdtr(df, -abs(found.difference) / math.sqrt(total)))
    low, high = found.difference - half, found.difference + half
    return Difference(found.difference, total, df, low, high, p, minimum_detectable_difference(total, df), parts)


def equivalence(found: Difference, margin: float, alpha: float = 0.05) -> Equivalence:
    """Two one-sided tests (Schuirmann 1987) of whether a difference lies within -margin to +margin.

    `p = max(P(T > (D + margin) / sqrt V), P(T < (D - margin) / sqrt V))`, T Student's at the difference's df; it is
    below `alpha` exactly where the 1 - 2 alpha interval lies inside the margin. A p that is not low says nothing.
    """
    se, df = math.sqrt(found.variance), found.df
    if not se > 0:
        return Equivalence(math.nan, math.nan, math.nan, False)
    half = student(df, 1 - 2 * alpha) * se
    p = max(float(special.stdtr(df, -(margin + sign * found.difference) / se)) for sign in (1, -1))
    return Equivalence(found.difference - half, found.difference + half, p, p < alpha)


def _parts(d: Floats, sides: Sequence[Side], pools: Sequence[SeedPool | None], clusters: ArrayLike | None) -> Parts:
    """The variance of mean(d), d [items] being made of the run means of `sides`, each with its pool or its own s2."""
    v_item, n = _item_variance(d, clusters)
    if n < 2:
        return Parts(math.nan, math.nan, math.nan, math.nan, math.nan)
    scale = max(float(np.abs(one.items).max()) for one in sides)
    if len(sides) > 1 and v_item <= (1e-12 * scale) ** 2:  # nothing but rounding
        d = d if clusters is None else np.full(n, d.mean())
        v_item = ((float(np.sum(d**2)) + 2) / (n + 2) - (float(np.sum(d)) / (n + 2)) ** 2) / (n + 2)
    runs = [(one, source) for one, pool in zip(sides, pools, strict=True) if (source := one.own and (pool or one.own))]
    parts = [source.variance / one.runs for one, source in runs]
    if runs and all(source is runs[0][1] for _, source in runs):
        spread = sum(parts) ** 2 / runs[0][1].df
    else:
        spread = sum(part**2 / source.df for part, (_, source) in zip(parts, runs, strict=True))
    v_res = sum(one.residual / (one.runs * one.items.size) for one, _ in runs)
    if clusters is not None:  # residuals that make up for each other within clusters are not in V_item
        v_res = min(v_res, v_item)
    df_runs = sum(parts) ** 2 / spread if spread > 0 else math.inf
    return Parts(v_item, float(sum(parts)), float(v_res), float(n - 1), df_runs)


def _alone(sides: Sequence[Side], pools: Sequence[SeedPool | None]) -> bool:
    """Whether the only run variance is that of one method's own runs."""
    found = [pool or one.own for one, pool in zip(sides, pools, strict=True) if one.own]
    return len(found) == 1 and found[0] is not None and found[0].methods == 1


def _item_variance(d: Floats, clusters: ArrayLike | None) -> tuple[float, int]:
    """V_item of mean(d), and how many items or clusters were sampled."""
    if clusters is None:
        return float(d.var(ddof=1)) / d.size if d.size > 1 else math.nan, d.size
    sums = np.bincount(np.asarray(clusters, dtype=int), weights=d - d.mean())
    n = sums.size
    return float(sums @ sums) * n / (n - 1) / d.size**2 if n > 1 else math.nan, n


def _own(table: Floats) -> SeedPool:
    return SeedPool(float(table.mean(axis=1).var(ddof=1)), len(table) - 1, 1)


def _residual(table: Floats) -> float:
    """The residual mean square of an additive [seeds, items] table; of one item there is none."""
    k, n = table.shape
    if n == 1:
        return 0.0
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    return float(np.sum(rest**2)) / ((k - 1) * (n - 1))


def _table(scores: ArrayLike) -> Floats:
    x = np.asarray(scores, dtype=float)
    if x.ndim != 2 or not x.size:
        raise ValueError(f"scores have shape {list(x.shape)}; they must be [seeds, items], at least one of each")
    return x
