"""Score: completions that hold code, judged and scored; what all tasks of code have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bakeoff.grading.code.extract import defines
from bakeoff.grading.code.grader import Grader
from bakeoff.grading.code.slot import Item, Verdict


def judge(items: Sequence[Item]) -> list[Verdict | None]:
    """A verdict for each sample, in order; None where the code does not define its entry point and so was not run."""
    found: list[Verdict | None] = [None] * len(items)
    runnable = [i for i, item in enumerate(items) if defines(item.code, item.entry_point)]
    if runnable:
        with Grader() as grader:
            for i, verdict in zip(runnable, grader.grade([items[i] for i in runnable]), strict=True):
                found[i] = verdict
    return found


def grade_code(item: Item, verdict: Verdict | None) -> dict[str, Any]:
    """One verdict of `judge` as `scores` (pass@1 0 or 1) and `detail`: the code, the verdict and why.

    Code that was not run is wrong and `unparsable`. A harness-error is no word on the code: then there are no scores.
    """
    detail: dict[str, Any] = {"entry_point": item.entry_point, "code": item.code}
    if verdict is None:
        detail |= {"unparsable": True, "why": f"it does not define '{item.entry_point}'"}
    else:
        detail |= {"verdict": verdict.label, "why": verdict.detail, "sandbox": verdict.sandbox}
    if verdict is not None and verdict.label == "harness-error":
        return {"scores": {}, "detail": detail}
    return {"scores": {"pass@1": float(verdict is not None and verdict.label == "pass")}, "detail": detail}
