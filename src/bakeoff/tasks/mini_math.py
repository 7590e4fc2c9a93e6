"""Generated word problems of one or two operations, solved step by step to a line `Final Answer: N`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from bakeoff.data import mini
from bakeoff.grading.answers import final_answer
from bakeoff.grading.math import equal
from bakeoff.study.spec import Decoding
from bakeoff.tasks.task import Completion, Example, Grade, Message, Sources, Task


class MiniMath(Task):
    """1,000 training problems and 200 test problems, or as many as the limits say; no files are read."""

    name = "mini_math"
    version = 2
    kind: ClassVar[Literal["choose", "generate"]] = "generate"
    metrics = ("exact_match",)
    benchmarks = ("mini_math",)
    decoding = Decoding(max_new_tokens=40)
    summary = "generated arithmetic stories, solved step by step"

    def train(self, sources: Sources, limit: int | None) -> list[Example]:
        return _examples("train", limit or 1000)

    def test(self, benchmark: str, sources: Sources, limit: int | None) -> list[Example]:
        return _examples("test", limit or 200)

    def grade(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Grade]:
        return [_grade(e.reference["answer"], c.text) for e, c in zip(examples, completions, strict=True)]


def _examples(split: str, count: int) -> list[Example]:
    """The first `count` rows of a split, or all there are."""
    rows = mini.math(split, min(count, mini.MAXIMUM["math"][split]))
    return [
        Example(
            id=row["id"],
            messages=tuple(Message(**m) for m in row["messages"]),
            reference={"answer": row["answer"]},
        )
        for row in rows
    ]


def _grade(gold: str, text: str) -> Grade:
    """The answer found in `text` against gold; which stage decided is in the detail."""
    answer = final_answer(text)
    if answer is None:
        return Grade(scores={"exact_match": 0.0}, detail={"gold": gold, "answer": None, "unparsable": True})
    right, stage = equal(gold, answer)
    return Grade(scores={"exact_match": float(right)}, detail={"gold": gold, "answer": answer, "stage": stage})
