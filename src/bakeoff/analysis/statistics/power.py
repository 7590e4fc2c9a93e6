"""Power: the true difference that a design finds."""

from __future__ import annotations

import math

from bakeoff.analysis.statistics.counts import student


def minimum_detectable_difference(
    variance: float, df: float = math.inf, level: float = 0.95, power: float = 0.8
) -> float:
    """The true difference a design finds with probability `power`: `(t_(1 - alpha/2) + t_power) sqrt(V)`.

    `variance` is that of the estimated difference, `df` its degrees of freedom (infinite: z). Of one comparison, before
    any correction for a family.
    """
    return (student(df, level) + student(df, 2 * power - 1)) * math.sqrt(variance)


def planned_difference(n: int, k: int, methods: int, seed_sd: float = 0.0) -> float:
    """What two of `methods` must differ by to be told apart with 80 % power, before anything is run.

    Of n items scored 0 or 1 and k runs each. It assumes that half the items are right and that two methods' items
    correlate by a half, so `V = 2 (1/4) (1 - 1/2) / n + 2 seed_sd^2 / k`, with the run variance pooled over the
    methods; a `seed_sd` of .008 is .8 points. One run: items alone.
    """
    if n < 2:
        return math.nan
    v_item, v_run = 0.25 / n, 2 * seed_sd**2 / k if k > 1 else 0.0
    noise = v_item**2 / (n - 1) + (v_run**2 / (methods * (k - 1)) if v_run else 0.0)
    return minimum_detectable_difference(v_item + v_run, (v_item + v_run) ** 2 / noise)
