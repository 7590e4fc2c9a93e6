"""Families: many comparisons at once, and many benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bakeoff.analysis.statistics.counts import Floats


class WinRate(NamedTuple):
    """The mean share of other methods that a method beats on a benchmark, with its bootstrap interval."""

    mean: float
    low: float
    high: float


def holm(p: ArrayLike) -> Floats:
    """Holm's (1979) adjusted p values, in the order given: the family-wise error over all of them is controlled.

    Sorted ascending, `p_holm(j) = max_(i <= j) min(1, (m - i + 1) p(i))`. Equals R's `p.adjust(p, "holm")`.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    stepped = np.minimum(1.0, values[order] * np.arange(values.size, 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(stepped) if values.size else stepped
    return adjusted


def winner_set(
    means: Mapping[str, float], p_holm: Mapping[tuple[str, str], float | None], alpha: float = 0.05
) -> list[str]:
    """The best mean and every method whose adjusted difference from it is not below `alpha`, in the order of `means`.

    `p_holm` is keyed by unordered pair, from the family of *all* pairs, so that choosing the best by looking is paid
    for. A pair that is absent or None was not separated.
    """
    if not means:
        return []
    best = max(means, key=lambda name: means[name])
    kept: list[str] = []
    for name in means:
        p = p_holm.get((best, name), p_holm.get((name, best)))
        if name == best or p is None or not p < alpha:
            kept.append(name)
    return kept


def win_rates(
    benchmarks: Sequence[Sequence[Floats]],
    clusters: Sequence[ArrayLike | None] | None = None,
    draws: int = 1000,
    level: float = 0.95,
) -> list[WinRate]:
    """Each method's mean win rate over benchmarks: the share of the others whose mean it exceeds, a tie half a win.

    `benchmarks` hold the same methods' arrays [seeds, items] in one order, more of it better. The interval is that of
    the percentiles of `draws` bootstrap samples, in which every benchmark's items (its `clusters`, where it has any)
    are drawn anew, the same for all methods, and every method's runs. The benchmarks are fixed: nothing is said of
    others. HELM's mean win rate (Liang et al. 2022), which has no interval.
    """
    rng = np.random.default_rng(0)
    own = clusters or [None] * len(benchmarks)
    means = [np.array([x.mean() for x in arrays]) for arrays in benchmarks]
    drawn = [_resampled(arrays, of, draws, rng) for arrays, of in zip(benchmarks, own, strict=True)]
    found = np.mean([_wins(one) for one in means], axis=0)
    ends = np.quantile(np.mean([_wins(one) for one in drawn], axis=0), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [WinRate(*map(float, row)) for row in zip(found, *ends, strict=True)]


def _resampled(arrays: Sequence[Floats], clusters: ArrayLike | None, draws: int, rng: np.random.Generator) -> Floats:
    """Bootstrap means [draws, methods] of arrays [seeds, items]: items or clusters drawn together, runs of each."""
    n = arrays[0].shape[1]
    places = np.arange(n) if clusters is None else np.asarray(clusters, dtype=int)
    stacked, groups = np.concatenate(arrays), int(places.max()) + 1
    runs = np.empty((draws, len(stacked)))
    for start in range(0, draws, 100):  # 100 at a time: weights of 10,000 items take 8 MB
        some = min(100, draws - start)
        weights = rng.multinomial(groups, np.full(groups, 1 / groups), size=some)[:, places].astype(float)
        runs[start : start + some] = weights @ stacked.T / weights.sum(axis=1, keepdims=True)
    means, first = [], 0
    for array in arrays:
        k = len(array)
        chosen = rng.integers(k, size=(draws, k))
        means.append(np.take_along_axis(runs[:, first : first + k], chosen, axis=1).mean(axis=1))
        first += k
    return np.stack(means, axis=1)


def _wins(means: Floats) -> Floats:
    """Of means [..., methods] the share of the other methods that each exceeds, ties half; rounding makes no winner."""
    x = np.round(means, 12)
    beaten = (x[..., :, None] > x[..., None, :]).sum(axis=-1)
    tied = (x[..., :, None] == x[..., None, :]).sum(axis=-1) - 1
    return (beaten + tied / 2) / max(1, x.shape[-1] - 1)
