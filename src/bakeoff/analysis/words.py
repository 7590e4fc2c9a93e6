"""Numbers and test results as words: the sentences a report may say, each drawn from a test and from nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MINUS, THIN = "\N{MINUS SIGN}", "\N{NO-BREAK SPACE}"


def number(x: float | None, percent: bool = True, places: int | None = None) -> str:
    """A score without its unit: a fraction as percent with one decimal, anything else with two; `n/a` for None."""
    if x is None or not math.isfinite(x):
        return "n/a"
    shown = f"{x * 100:.{1 if places is None else places}f}" if percent else f"{x:.{2 if places is None else places}f}"
    if float(shown) == 0:
        shown = shown.lstrip("-")
    return shown.replace("-", MINUS)


def signed(x: float | None, percent: bool = True) -> str:
    """A difference with its sign: `+3.1`; zero has none."""
    shown = number(x, percent)
    return "+" + shown if x is not None and x > 0 and float(shown) != 0 else shown


def score(x: float | None, percent: bool = True) -> str:
    """A score with its unit: `91.2 %`."""
    return number(x, percent) + (THIN + "%" if percent and x is not None else "")


def points(x: float | None, percent: bool = True) -> str:
    """A difference of scores with its unit, percentage points for fractions: `3.1 points`."""
    return number(x, percent) + (THIN + "points" if percent else "")


def p_value(p: float | None) -> str:
    """A p value to three decimals, `< 0.001` below them."""
    if p is None or math.isnan(p):
        return "n/a"
    return "<" + THIN + "0.001" if p < 0.001 else f"{p:.3f}"


def p_equals(name: str, p: float | None) -> str:
    """`name = 0.004`, or `name < 0.001`."""
    shown = p_value(p)
    return f"{name} {shown}" if shown.startswith("<") else f"{name} = {shown}"


def interval(low: float | None, high: float | None, percent: bool = True) -> str:
    """`[1.2, 5.0]`."""
    return f"[{number(low, percent)}, {number(high, percent)}]"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else ""


def count(n: int, noun: str) -> str:
    """`1 run`, `3 runs`, `12,000 items`."""
    return f"{n:,}{THIN}{noun}" + ("" if n == 1 else "s")


def overlap(where: str, exact: int, ngram13: int, of: int) -> str:
    """`2 of 872 test items of sst2 are also in the training set, and 5 share 13 words in a row with it.`"""
    if not exact and not ngram13:
        return (
            f"None of {count(of, 'test item')} of {where} is in the training set or shares 13 words in a row with it."
        )
    if not exact:
        return (
            f"None of {count(of, 'test item')} of {where} is in the training set, but {ngram13:,} "
            f"{'shares' if ngram13 == 1 else 'share'} 13 words in a row with it."
        )
    there = f"{exact:,} of {count(of, 'test item')} of {where} {'is' if exact == 1 else 'are'} also in the training set"
    return f"{there}, and {ngram13:,} {'shares' if ngram13 == 1 else 'share'} 13 words in a row with it."


def place(model: str, task: str, benchmark: str, split: str = "test") -> str:
    """Where scores were taken: `sst2`, `gpt2, sst2 (imdb)`, `sst2, validation split`."""
    name = benchmark if benchmark == task else f"{task} ({benchmark})"
    return ", ".join([*([model] if model else []), name, *([f"{split} split"] if split != "test" else [])])


def base(method: str) -> str:
    """A method's name without what is swept: `lora` of `lora[r=8]`."""
    return method.split("[", 1)[0]


def swept(method: str) -> dict[str, str]:
    """What a method's name says of its sweep: `r: 4` of `lora[r=4]`."""
    _, _, inside = method.partition("[")
    pairs = (pair.partition("=") for pair in inside.rstrip("]").split(","))
    return {name: value for name, equals, value in pairs if equals}


def seeds(ks: Iterable[int]) -> str:
    """How many runs: `k = 3 seeds each`, or the range where it differs."""
    known = sorted(set(ks))
    if not known:
        return "no training"
    if len(known) == 1:
        return f"k = {known[0]}{THIN}seed" + ("" if known[0] == 1 else "s each")
    return f"k = {known[0]} to {known[-1]}{THIN}seeds"


def settings(values: Mapping[str, Any]) -> str:
    """Hyperparameters in a line, `r 8, lora_alpha 16`; what is off (None, False, empty) is left out."""
    on = {name: value for name, value in values.items() if value not in (None, "", [], (), {}) and value is not False}
    return ", ".join(f"{name} {_setting(value)}" for name, value in on.items())


def _setting(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False).replace('"', "")
