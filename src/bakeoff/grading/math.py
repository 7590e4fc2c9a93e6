"""Mathematical answers judged equal: exact numbers first, else their text without typography, else as formulas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from typing import Literal

from bakeoff.errors import InputError, extra
from bakeoff.grading.alike import alike
from bakeoff.grading.notation import clean, measure, normalise, number, value
from bakeoff.grading.verify import pool

__all__ = ["Judged", "Stage", "equal", "judge", "normalise", "number", "require", "verifier"]

Stage = Literal["no-answer", "exact", "number", "text", "math-verify", "ungraded"]
LONGEST = 1500  # characters of an answer that is read as a formula
ENDLESS = 5000  # characters of an answer that is looked at in any way but letter by letter
REMEMBERED = 200_000  # pairs


@dataclass(frozen=True, slots=True)
class Judged:
    """Whether an answer equals gold, which stage decided, and what there is to say about it.

    Stages: "no-answer" (there is none: False), "exact" (the same text), "number" (two numbers, compared exactly),
    "text" (the same but for typography, names, units and order, or different words), "math-verify" (formulas), and
    "ungraded": nothing could decide, `equal` is None. Ungraded is no word on the answer: count and report it.
    `refused` says that an ungraded answer was too long or too hard to be judged, by rules that hold on any machine, and
    not that what judges it broke.
    """

    equal: bool | None
    stage: Stage
    detail: str = ""
    refused: bool = False


def judge(
    pairs: Sequence[tuple[str, str | None]], *, jobs: int | None = None, verify: bool = True,
    patience: float = pool.PATIENCE, seconds: float = pool.KILLED_AFTER, done: Callable[[], None] = lambda: None,
) -> list[Judged]:  # fmt: skip
    """One verdict for each (gold, prediction), in order; a prediction of None is no answer. `done` after each.

    What the first stages cannot decide is compared by math-verify in worker processes (the process's own, one a CPU,
    unless `jobs` says how many to start for this call), `patience` seconds of processor time for a pair and `seconds`
    by the clock. InputError where that is needed and not installed; with `verify=False` such pairs are "ungraded".
    """
    first = [_first(gold, pred) for gold, pred in pairs]
    open_ = {(clean(g), clean(p or "")) for (g, p), found in zip(pairs, first, strict=True) if found is None}
    if open_ and verify:
        require(f"{sum(found is None for found in first)} of {len(pairs)} answers")
    for found in first:
        if found is not None:
            done()
    answers = _verified(sorted(open_), jobs, patience, seconds, done) if verify else {}
    none = Judged(None, "ungraded", "needs math-verify, which was not used")
    return [
        answers.get((clean(gold), clean(pred or "")), none) if found is None else found
        for (gold, pred), found in zip(pairs, first, strict=True)
    ]


def equal(gold: str, pred: str) -> tuple[bool, Literal["number", "text"]]:
    """Whether two answers are equal, and which stage decided: `number` where both are plain numbers, else `text`.

    Numbers (`1,234`, `-0.50`, `3/4`, `\\frac{3}{4}`) are compared exactly, never rounded; text is compared without
    spaces, dollars, a full stop at its end and LaTeX's spacing, sizing and wrapping commands. A percentage is text:
    50% is neither 50 nor 1/2. Algebra is not tried here, so equal formulas written differently are told apart.
    """
    a, b = number(gold), number(pred)
    if a is not None and b is not None:
        return a == b, "number"
    return normalise(gold) == normalise(pred), "text"


def require(what: str) -> None:
    """InputError where math-verify, which `what` needs, is not installed."""
    if util.find_spec("math_verify") is None:
        raise InputError("grading mathematics", f"{what} need math-verify, which is not installed", extra("math"))


def verifier() -> str:
    """What compares formulas here, with versions; empty where nothing does."""
    try:
        names = ("math-verify", "latex2sympy2_extended", "sympy")
        return ", ".join(f"{name} {metadata.version(name)}" for name in names)
    except metadata.PackageNotFoundError:
        return ""


def _first(gold: str, pred: str | None) -> Judged | None:
    """What can be said without reading a formula; None where that does not decide."""
    if pred is None or not pred.strip():
        return Judged(False, "no-answer")
    if gold.strip() == pred.strip():
        return Judged(True, "exact")
    if max(len(gold), len(pred)) > ENDLESS:
        return Judged(None, "ungraded", f"longer than {ENDLESS:,} characters", refused=True)
    a, b = clean(gold), clean(pred)
    if not b:
        return Judged(False, "no-answer")
    verdict = alike(a, b, lambda *_: None)
    if verdict is None:
        if max(len(a), len(b)) > LONGEST:
            return Judged(None, "ungraded", f"longer than {LONGEST:,} characters", refused=True)
        return None
    numbers = all(value(measure(text)[0]) is not None for text in (a, b))
    return Judged(verdict, "number" if numbers else "text")


_known: dict[tuple[str, str], Judged] = {}


def _verified(
    pairs: Sequence[tuple[str, str]], jobs: int | None, patience: float, seconds: float, done: Callable[[], None]
) -> dict[tuple[str, str], Judged]:
    """The verdicts of math-verify on different pairs, each asked once; decided ones are remembered."""
    asked = [pair for pair in pairs if pair not in _known]
    workers = pool.Pool(jobs) if jobs and asked else pool.shared()
    try:
        answers = workers.ask(asked, patience, seconds, done) if asked else []
    finally:
        if jobs and asked:
            workers.close()
    found = {
        pair: Judged(a.equal, "ungraded" if a.equal is None else "math-verify", a.detail, a.refused)
        for pair, a in zip(asked, answers, strict=True)
    }
    found |= {pair: _known[pair] for pair in pairs if pair in _known}
    if len(_known) > REMEMBERED:
        _known.clear()
    _known.update((pair, one) for pair, one in found.items() if one.equal is not None)
    return found
