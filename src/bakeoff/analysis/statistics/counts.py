"""Counts: intervals and exact tests of right and wrong items, of one checkpoint or of two; Student's interval."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # not scipy.stats, which takes a second to import

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A confidence interval; NaN at both ends where the data allow none."""

    low: float
    high: float


class McNemar(NamedTuple):
    """Items only a got right, items only b got right, and the exact two-sided p of such a split."""

    only_a: int
    only_b: int
    p: float


def wilson(successes: float, n: float, level: float = 0.95, df: float = math.inf) -> Interval:
    """Wilson's score interval of a proportion, `successes` of `n`.

    With p = successes / n and q the two-sided normal quantile (Student's where `df` is finite):
    `(p + q^2/2n +- q sqrt(p(1-p)/n + q^2/4n^2)) / (1 + q^2/n)`. Both arguments may be fractional (an effective sample
    size). Source: Wilson 1927; equals `scipy.stats.binomtest(...).proportion_ci(method="wilson")`.
    """
    if n <= 0:
        return Interval(math.nan, math.nan)
    q, p = student(df, level), successes / n
    centre = p + q * q / (2 * n)
    half = q * math.sqrt(max(p * (1 - p), 0.0) / n + q * q / (4 * n * n))
    scale = 1 + q * q / n
    low = 0.0 if successes <= 0 else (centre - half) / scale
    high = 1.0 if successes >= n else (centre + half) / scale
    return Interval(low, high)


def t_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Student's interval of the mean of independent values: `mean +- t_(n-1) sd / sqrt(n)`. NaN below two values."""
    x = np.asarray(values, dtype=float)
    if x.size < 2:
        return Interval(math.nan, math.nan)
    half = student(x.size - 1, level) * float(x.std(ddof=1)) / math.sqrt(x.size)
    return Interval(float(x.mean()) - half, float(x.mean()) + half)


def is_binary(scores: ArrayLike) -> bool:
    """Whether every score is 0 or 1."""
    x = np.asarray(scores, dtype=float)
    return bool(np.all((x == 0) | (x == 1)))


def is_bounded(scores: ArrayLike) -> bool:
    """Whether every score lies between 0 and 1."""
    x = np.asarray(scores, dtype=float)
    return bool(np.all((x >= 0) & (x <= 1)))


def student(df: float, level: float = 0.95) -> float:
    """The two-sided quantile of Student's t: 1.96 for many degrees of freedom."""
    upper = 0.5 + level / 2
    return float(special.ndtri(upper) if math.isinf(df) else special.stdtrit(df, upper))


def mcnemar(a: ArrayLike, b: ArrayLike) -> McNemar:
    """The exact McNemar test for two checkpoints' 0/1 scores [items]: are items won by one alone split evenly?

    `p` is the two-sided binomial p of `only_a` out of `only_a + only_b` at 1/2, 1 where there are none. Source:
    McNemar 1947; equals `scipy.stats.binomtest`.
    """
    x, y = np.asarray(a, dtype=float).ravel(), np.asarray(b, dtype=float).ravel()
    only_a, only_b = int(np.sum(x > y)), int(np.sum(y > x))
    return McNemar(only_a, only_b, split_p(only_a, only_b))


def split_p(only_a: int, only_b: int) -> float:
    """The exact two-sided p that so many items were won by one alone, if each went either way by a coin."""
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def fisher(a: int, n_a: int, b: int, n_b: int) -> float:
    """Fisher's exact two-sided p for `a` of `n_a` against `b` of `n_b`, as if the items were not the same.

    The sum of all tables with these margins that are no likelier than this one; equals `scipy.stats.fisher_exact`.
    """
    right, total = a + b, n_a + n_b
    x = np.arange(max(0, right - n_b), min(right, n_a) + 1)
    logs = _log_choose(n_a, x) + _log_choose(n_b, right - x) - _log_choose(total, np.array(right))
    own = logs[a - x[0]]
    return min(1.0, float(np.exp(logs[logs <= own + 1e-7]).sum()))


def newcombe(a: float, n_a: int, b: float, n_b: int, level: float = 0.95) -> Interval:
    """Newcombe's (1998, method 10) interval of a / n_a - b / n_b, from the two Wilson intervals."""
    own, other = wilson(a, n_a, level), wilson(b, n_b, level)
    return apart(a / n_a, own, b / n_b, other)


def apart(x: float, own: Interval, y: float, other: Interval) -> Interval:
    """The interval of x - y for independent estimates with intervals of their own (square-and-add, Newcombe 1998).

    `x - y - sqrt((x - low_x)^2 + (high_y - y)^2)` to `x - y + sqrt((high_x - x)^2 + (y - low_y)^2)`.
    """
    low = math.hypot(x - own.low, other.high - y)
    high = math.hypot(own.high - x, y - other.low)
    return Interval(x - y - low, x - y + high)


def _log_choose(n: int, k: NDArray[np.int_]) -> Floats:
    return special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
