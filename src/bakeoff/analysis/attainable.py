"""Attainable: which printed values counts of items can give. Exact arithmetic, no statistics."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from bakeoff.analysis.printed import unit

FINEST = 2_000_000  # sums of pass@k values that are enumerated; beyond it the grid is finer than any printed digit


class Confusion(NamedTuple):
    """A binary classifier's counts."""

    tp: int
    fp: int
    fn: int
    tn: int


def counts(value: Decimal, n: int) -> range:
    """Every count c of n with c / n rounding to the printed value (a half either way)."""
    low, high, over = _ends(value)
    return range(max(0, -(-low * n // over)), min(n, high * n // over) + 1)


def is_count(value: float, n: int) -> bool:
    """Whether a value that nobody rounded (to ten digits) is some count of n."""
    return bool(counts(Decimal(f"{value:.10f}"), n))


def cut_off(value: Decimal, n: int) -> range:
    """Every count c of n with c / n being the printed value once further digits are cut off, not rounded."""
    low, size = Fraction(value), Fraction(unit(value))
    return range(math.ceil(low * n), min(n, math.ceil((low + size) * n) - 1) + 1)


def sizes(values: Iterable[Decimal], most: int) -> list[int]:
    """Every n up to `most` for which each of the values is some count of n."""
    found: Iterable[int] = range(1, most + 1)
    for low, high, over in map(_ends, values):
        found = [n for n in found if max(0, -(-low * n // over)) <= min(n, high * n // over)]
    return list(found)


def coarsest(values: Sequence[Decimal], n: int) -> int:
    """The smallest divisor of n for which each of the values is some count of it; n where only n itself gives them."""
    return next((d for d in range(1, n) if n % d == 0 and all(counts(value, d) for value in values)), n)


def pass_at_k(value: Decimal, items: int, draws: int, k: int) -> bool:
    """Whether the mean over `items` of the unbiased pass@k from `draws` completions each can round to the value.

    Every item has c of its draws right and counts `1 - C(draws - c, k) / C(draws, k)`; all sums of `items` such terms
    are enumerated. True without looking where they lie closer than any digits printed. ValueError for draws < k.
    """
    if not 1 <= k <= draws:
        raise ValueError(f"pass@{k} from {draws} draws")
    whole = math.comb(draws, k)
    if whole * items > FINEST:
        return True
    terms = {whole - math.comb(draws - c, k) for c in range(draws + 1)}
    found = counts(value, items * whole)
    if not found:
        return False
    first, last = found[0], found[-1]
    return bool(_sums(frozenset(terms), items) >> first & ((1 << (last - first + 1)) - 1))


def _sums(terms: frozenset[int], many: int) -> int:
    """The sums of `many` of the terms, repeats allowed, as the set bits of a number."""
    found = 1
    for _ in range(many):
        found = functools.reduce(operator.or_, (found << term for term in terms))
    return found


def confusions(
    n: int,
    positives: int,
    accuracy: Decimal,
    precision: Decimal | None = None,
    recall: Decimal | None = None,
    f1: Decimal | None = None,
) -> list[Confusion]:
    """Every confusion table of n items, `positives` of them positive, whose measures round to what was printed.

    Precision without a predicted positive, and F1 without any, count as 0, as scikit-learn has them by default.
    """
    tp = np.arange(positives + 1)
    found: list[Confusion] = []
    for right in counts(accuracy, n):
        fp = tp + (n - positives) - right
        fits = (fp >= 0) & (fp <= n - positives)
        for printed, measured in (
            (precision, tp / np.maximum(tp + fp, 1)),
            (recall, tp / max(positives, 1)),
            (f1, 2 * tp / np.maximum(tp + fp + positives, 1)),
        ):
            if printed is not None:
                fits &= np.abs(measured - float(printed)) <= float(unit(printed)) / 2 + 1e-12
        pairs = zip(tp[fits].tolist(), fp[fits].tolist(), strict=True)
        found += [Confusion(t, f, positives - t, n - positives - f) for t, f in pairs]
    return found


def _ends(value: Decimal) -> tuple[int, int, int]:
    """Half a printed unit below and above the value, as whole numbers over a common third."""
    half = Fraction(unit(value)) / 2
    low, high = Fraction(value) - half, Fraction(value) + half
    over = math.lcm(low.denominator, high.denominator)
    return int(low * over), int(high * over), over
