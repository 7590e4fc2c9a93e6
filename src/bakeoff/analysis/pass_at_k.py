"""pass@k: the chance that one of k completions of a problem is right, estimated from n of them without bias."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bakeoff.errors import InputError


@dataclass(frozen=True)
class PassAtK:
    """The mean of pass@k over problems; its standard error over problems, None for one problem."""

    k: int
    mean: float
    standard_error: float | None
    problems: int


def pass_at_k(n: int, right: int, k: int) -> float:
    """1 - C(n - right, k) / C(n, k): of all ways to choose k of n completions, those that hold a right one.

    Chen et al. 2021, equation 1, by exact arithmetic. ValueError for n < k, where there is no unbiased estimate (the
    usual code answers 1 there).
    """
    if not 0 <= right <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {right} right among {n}")
    return 1 - math.comb(n - right, k) / math.comb(n, k)


def estimate(passed: Mapping[str, Sequence[bool]], k: int) -> PassAtK:
    """pass@k over problems, from whether each completion of each problem passed.

    InputError, naming the problem, where one has fewer than k completions.
    """
    enough(passed, k)
    each = [pass_at_k(len(found), sum(found), k) for found in passed.values()]
    mean = math.fsum(each) / len(each)
    error = None
    if len(each) > 1:
        error = math.sqrt(math.fsum((one - mean) ** 2 for one in each) / (len(each) - 1) / len(each))
    return PassAtK(k, mean, error, len(each))


def enough(completions: Mapping[str, Sequence[object]], k: int) -> None:
    """InputError where a problem has fewer than k completions."""
    if not completions:
        raise InputError(f"pass@{k}", "there are no problems")
    short = [name for name, found in completions.items() if len(found) < k]
    if short:
        name, least = short[0], min(map(len, completions.values()))
        what = f"{len(short)} of {len(completions)} problems have fewer completions, '{name}' {len(completions[name])}"
        raise InputError(f"pass@{k}", what, f"give k of at most {least}" if least else "give completions of each")
