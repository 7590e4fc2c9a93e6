"""Labels judged: one answer, scored by likelihood or written as text. (Many: analysis/aggregates.)"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from bakeoff.grading.text import spoken

_ARTICLE = r"(?![ \t]+(?!is\b|because\b|since\b|as\b)\w)"  # what an A or I is not, before a word of the same line


def label_in(text: str, choices: Sequence[str]) -> str | None:
    """The label that a text says: itself where it is one, else the first that stands in it as a word; None without one.

    Looked for outside a `<think>` block, in upper or lower case. Where labels are letters their case counts, and an A
    that begins a phrase ("A nerve ...") is none. Nothing is made of words around a label: "not positive" says positive.
    """
    text = spoken(text).strip()
    if text in choices:
        return text
    found = _pattern(tuple(choices)).search(text)
    return None if found is None else choices[int((found.lastgroup or "")[1:])]


def grade_choice(
    choices: Sequence[str],
    gold: str,
    text: str,
    logprobs: Sequence[float] = (),
    *,
    metrics: Sequence[str] = ("accuracy",),
    positive: str = "",
) -> dict[str, Any]:
    """One answer as `scores`, those of `metrics` that it has, and `detail`: gold, what was chosen, and the margin.

    `accuracy` is 0 or 1. `loss` (nats, only where labels were scored) is the gold label's negative log-likelihood among
    the labels, `log(sum exp(logprobs)) - logprobs[gold]`: ln 2 where two are equally likely, what a classifier's
    cross-entropy over these labels is. `margin` (nats) is the gold label's log-probability less the best of the
    others': above 0 where gold was preferred. A text that says no label is wrong, `unparsable`, and chose None.
    `positive` is kept for precision, recall and F1 of one label.
    """
    chosen = label_in(text, choices)
    scores: dict[str, float] = {"accuracy": float(chosen == gold)}
    detail: dict[str, Any] = {"gold": gold, "chosen": chosen}
    if positive:
        detail["positive"] = positive
    if chosen is None:
        detail["unparsable"] = True
    if logprobs:
        by_label = dict(zip(choices, logprobs, strict=True))
        scores["loss"] = _log_sum(logprobs) - by_label[gold]
        detail["margin"] = by_label[gold] - max(p for label, p in by_label.items() if label != gold)
    return {"scores": {name: scores[name] for name in metrics if name in scores}, "detail": detail}


@lru_cache(maxsize=64)
def _pattern(choices: tuple[str, ...]) -> re.Pattern[str]:
    """What finds any of the labels as a word, longer ones before shorter; group `l3` is the label of number 3."""
    letters = all(len(label) == 1 for label in choices)
    ordered = sorted(range(len(choices)), key=lambda i: -len(choices[i]))
    words = "|".join(f"(?P<l{i}>{_spelled(choices[i])})" for i in ordered)
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.NOFLAG if letters else re.IGNORECASE)


def _spelled(label: str) -> str:
    """A label as a pattern: any space for a space, and no article or pronoun where it is one of these letters."""
    spelled = r"\s+".join(map(re.escape, label.split()))
    return spelled + (_ARTICLE if label in ("A", "I") else "")


def _log_sum(logs: Sequence[float]) -> float:
    """log(sum(exp(logs))), whatever their size."""
    most = max(logs)
    return most + math.log(sum(math.exp(value - most) for value in logs))
