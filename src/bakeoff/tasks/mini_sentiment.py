"""Generated film reviews: taught on single sentences, tested on long reviews."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from bakeoff.data import mini
from bakeoff.grading.labels import grade_choice
from bakeoff.study.spec import Decoding
from bakeoff.tasks.task import Completion, Example, Grade, Message, Sources, Task


class MiniSentiment(Task):
    """1,000 training sentences and 200 test reviews, or as many as the limits say; no files are read."""

    name = "mini_sentiment"
    kind: ClassVar[Literal["choose", "generate"]] = "choose"
    metrics = ("accuracy",)
    benchmarks = ("mini_sentiment",)
    decoding = Decoding(max_new_tokens=16)  # where the label is written
    summary = "sentiment of generated film reviews, short to long; yes if the writer liked the film, else no"

    def train(self, sources: Sources, limit: int | None) -> list[Example]:
        return _examples("train", limit or 1000)

    def test(self, benchmark: str, sources: Sources, limit: int | None) -> list[Example]:
        return _examples("test", limit or 200)

    def grade(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Grade]:
        graded = zip(examples, completions, strict=True)
        return [Grade(**grade_choice(e.choices, e.answer, c.text, c.logprobs)) for e, c in graded]


def _examples(split: str, count: int) -> list[Example]:
    """The first `count` rows of a split, or all there are."""
    rows = mini.sentiment(split, min(count, mini.MAXIMUM["sentiment"][split]))
    return [
        Example(id=row["id"], messages=tuple(Message(**m) for m in row["messages"]), choices=tuple(row["choices"]))
        for row in rows
    ]
