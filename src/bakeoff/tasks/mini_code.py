"""Generated Python functions to write from a header and a docstring, judged by unit tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from bakeoff.data import mini
from bakeoff.grading.code import Item, extract, grade_code, judge
from bakeoff.study.spec import Decoding
from bakeoff.tasks.task import Completion, Example, Grade, Message, Sources, Task


class MiniCode(Task):
    """1,000 training functions and 200 test functions, or as many as the limits say; no files are read."""

    name = "mini_code"
    version = 3
    kind: ClassVar[Literal["choose", "generate"]] = "generate"
    metrics = ("pass@1",)
    benchmarks = ("mini_code",)
    decoding = Decoding(max_new_tokens=32)
    summary = "generated Python functions, judged by unit tests"
    runs_code = True

    def train(self, sources: Sources, limit: int | None) -> list[Example]:
        return _examples("train", limit or 1000)

    def test(self, benchmark: str, sources: Sources, limit: int | None) -> list[Example]:
        return _examples("test", limit or 200)

    def grade(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Grade]:
        """Runs the code of all completions that hold any, sandboxed; no scores where the sandbox broke."""
        items = [_item(e, c.text) for e, c in zip(examples, completions, strict=True)]
        return [Grade(**grade_code(item, verdict)) for item, verdict in zip(items, judge(items), strict=True)]


def _examples(split: str, count: int) -> list[Example]:
    """The first `count` rows of a split, or all there are."""
    rows = mini.code(split, min(count, mini.MAXIMUM["code"][split]))
    return [
        Example(
            id=row["id"],
            messages=tuple(Message(**m) for m in row["messages"]),
            reference={"entry_point": row["entry_point"], "tests": row["tests"]},
        )
        for row in rows
    ]


def _item(example: Example, text: str) -> Item:
    """The code of a completion with its example's tests."""
    entry_point = example.reference["entry_point"]
    return Item(extract(text, entry_point), tuple(example.reference["tests"]), entry_point)
