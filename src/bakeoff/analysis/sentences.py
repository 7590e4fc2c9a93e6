"""Sentences: what one comparison of two methods may say, and nothing stronger."""

from __future__ import annotations

import math

from bakeoff.analysis import statistics as st
from bakeoff.analysis import words
from bakeoff.analysis.result import Comparison

OF_POWER = f"with 80{words.THIN}% power"
SEED_SDS = (0.0, 0.008, 0.025)  # of run means: none, usual, high (assumed where nothing has been run yet)
ASSUMED = (
    f"Detectable {OF_POWER} in one comparison, before correction for the family, if half the items are right, two "
    "methods' items correlate by a half and items are independent (those of one text are not, and tell less; where a "
    "task names its clusters, each counts as one item, as if its items were all alike). The seed SDs are assumptions: "
    "the report has the measured one."
)


def sentence(pair: Comparison, ranked: bool = True) -> str:
    """A comparison in words: who beats whom and by how much, or what could not be told and what could have been.

    Of methods that are not both to be `ranked` none beats the other: their scores alone are told.
    """
    if pair.verdict == "not testable" or pair.difference is None:
        few = "one cluster" if pair.clusters == 1 else "fewer than two items"
        return f"{pair.a} and {pair.b}{_on(pair)} cannot be compared: {few}."
    if pair.verdict == "these checkpoints only":
        return f"{_checkpoints(pair)} One seed says nothing about the methods."
    if pair.verdict in ("a better", "b better"):
        told = _beats(pair) if ranked else _scored(pair)
        return f"{told}, {_interval(pair)}, {_holm(pair)}, {basis(pair)}.{_within(pair)}{_flag(pair)}"
    scored = f"{_scored(pair)}, {_interval(pair)}"
    if pair.verdict == "not separable":
        return f"{scored}; not separable, {_holm(pair)}, {basis(pair)}. {detectable(pair)}{_within(pair)}{_flag(pair)}"
    return f"{scored}; no verdict: {_too_few(pair)}. ({basis(pair)})"


def basis(pair: Comparison) -> str:
    """`n = 1,319 items, k = 5 seeds each`, with the clusters where there are any."""
    in_clusters = f" in {words.count(pair.clusters, 'cluster')}" if pair.clusters else ""
    return f"n = {words.count(pair.n_items, 'item')}{in_clusters}, {_seeds(pair)}"


def detectable(pair: Comparison) -> str:
    """`This design could detect 4.9 points with 80 % power, before correction for the family.`"""
    if pair.mde is None:
        return f"No difference is so large that this design would detect it {OF_POWER}."
    family = ", before correction for the family" if pair.family > 1 else ""
    return f"This design could detect {words.points(pair.mde, pair.percent)} {OF_POWER}{family}."


def equivalent(pair: Comparison) -> str:
    """`equivalent within ±2.0 points (90 % CI [-0.6, 0.7])`; nothing where they are not shown to be."""
    if not pair.equivalent:
        return ""
    interval = _told(pair, pair.ci90_low, pair.ci90_high)
    return f"equivalent within {margin(pair)} (90{words.THIN}% CI {interval})"


def margin(pair: Comparison) -> str:
    """`±2.0 points`."""
    return f"\N{PLUS-MINUS SIGN}{words.points(pair.margin, pair.percent)}"


def planned(place: str, n: int, k: int, methods: int, clusters: int | None = None) -> str:
    """What a study of `methods` trained k times could detect on n items, for each of `SEED_SDS`.

    Items in `clusters` are counted as so few: at worst those of one are all alike.
    """
    drawn = n if clusters is None else clusters
    found = [words.points(st.planned_difference(drawn, k, methods, sd)) for sd in SEED_SDS]
    inside = "" if clusters is None else f" in {words.count(clusters, 'cluster')}"
    size = f"{place}, n = {words.count(n, 'item')}{inside}, {words.seeds([k])}"
    if drawn < 2 or not methods:
        return f"{size}: nothing to detect"
    if k == 1:
        return f"{size}: {found[0]} between two checkpoints; one seed says nothing about the methods"
    spread = [f"{one} at a seed SD of {words.points(sd)}" for one, sd in zip(found[1:], SEED_SDS[1:], strict=True)]
    return f"{size}: {found[0]} if runs were all alike, {words.listed(spread)}"


# --- inside ---


def _beats(pair: Comparison) -> str:
    first, second = (pair.a, pair.b) if pair.verdict == "a better" else (pair.b, pair.a)
    return f"{first} beats {second} by {_gap(pair)}{_on(pair)}"


def _scored(pair: Comparison) -> str:
    if pair.difference == 0:
        return f"{pair.a} and {pair.b} scored the same{_on(pair)}"
    first, second = (pair.a, pair.b) if (pair.difference or 0) > 0 else (pair.b, pair.a)
    way = " (lower is better)" if pair.lower_is_better else ""
    return f"{first} scored {_gap(pair)} above {second}{way}{_on(pair)}"


def _checkpoints(pair: Comparison) -> str:
    """What two checkpoints did: items won by one alone, or a difference over items."""
    which = f"On these checkpoints{',' if pair.task else ''}{_on(pair)}{',' if pair.task else ''}"
    if pair.only_a is None or pair.only_b is None:
        told = _scored(pair).removesuffix(_on(pair))
        return f"{which} {told}, {_interval(pair)} over items alone, {_holm(pair)}, {basis(pair)}."
    return (
        f"{which} {pair.a} answered {words.count(pair.only_a, 'item')} that {pair.b} missed, and {pair.b} "
        f"{pair.only_b:,} that {pair.a} missed (exact McNemar {words.p_equals('p', pair.p)}, {_holm(pair)}), "
        f"n = {words.count(pair.n_items, 'item')}."
    )


def _gap(pair: Comparison) -> str:
    unit = f"{words.THIN}points" if pair.percent else ""
    return words.number(abs(pair.difference or 0), pair.percent, _places(pair)) + unit


def _places(pair: Comparison) -> int:
    """Decimals: one of percentage points, else two, and more where a difference would be shown as 0."""
    usual, size = 1 if pair.percent else 2, abs(pair.difference or 0) * (100 if pair.percent else 1)
    return usual if not size else min(max(usual, math.ceil(-math.log10(size))), 12)


def _on(pair: Comparison) -> str:
    return f" on {words.place(pair.model, pair.task, pair.benchmark)}" if pair.task else ""


def _interval(pair: Comparison) -> str:
    return f"95{words.THIN}% CI {_told(pair, pair.ci_low, pair.ci_high)}"


def _told(pair: Comparison, low: float | None, high: float | None) -> str:
    """An interval of a - b the way round in which the sentence tells the difference: never below 0."""
    if (pair.difference or 0) < 0 and low is not None and high is not None:
        low, high = -high, -low
    places = _places(pair)
    return f"[{words.number(low, pair.percent, places)}, {words.number(high, pair.percent, places)}]"


def _holm(pair: Comparison) -> str:
    return f"{words.p_equals('p_holm', pair.p_holm)} (family of {pair.family})"


def _seeds(pair: Comparison) -> str:
    """How many runs each has. One run beside several, in a verdict about methods, is that of an untrained one."""
    one_seed = pair.verdict == "these checkpoints only"
    if pair.k_a == pair.k_b == 1:
        return "one run each" if one_seed else "neither trained"
    if pair.k_a == pair.k_b:
        return words.seeds([pair.k_a])
    if pair.k_b == 1 and not one_seed:
        return f"k = {pair.k_a}{words.THIN}seeds ({pair.b} is untrained)"
    return f"k = {pair.k_a} and {pair.k_b}{words.THIN}seeds"


def _too_few(pair: Comparison) -> str:
    """Why two seeds give no verdict."""
    if pair.verdict == "rests on pooling":
        why = "the interval rests on the seed variance pooled over methods"
        return f"two seeds are too few to set against an untrained model, {why}"
    against = " to set against an untrained model" if pair.k_b == 1 else ""
    return f"two seeds are too few{against}, they tell too little of run-to-run variance, which is not pooled here"


def _flag(pair: Comparison) -> str:
    return " Two seeds: the interval rests on the pooled seed variance." if 2 in (pair.k_a, pair.k_b) else ""


def _within(pair: Comparison) -> str:
    told = equivalent(pair)
    return f" The two are {told}." if told else ""
