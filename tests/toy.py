"""A plugin: two toy tasks in the tiny tokenizer's words, one of labels and one of text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar, Literal

from bakeoff.study.spec import Decoding
from bakeoff.tasks.task import Completion, Example, Grade, Message, Sources, Task


class Toy(Task):
    """Say w3 where the sentence begins with a low word, w4 otherwise."""

    name: ClassVar[str] = "toy"
    kind: ClassVar[Literal["choose", "generate"]] = "choose"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    benchmarks: ClassVar[tuple[str, ...]] = ("toy",)
    summary: ClassVar[str] = "Low words or high words."

    def train(self, sources: Sources, limit: int | None) -> list[Example]:
        return self._rows("train", limit or 40)

    def test(self, benchmark: str, sources: Sources, limit: int | None) -> list[Example]:
        return self._rows(benchmark, limit or 12)

    def grade(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Grade]:
        return [
            Grade(scores={"accuracy": float(c.text.split()[:1] == e.answer.split())})
            for e, c in zip(examples, completions, strict=True)
        ]

    def _rows(self, split: str, count: int) -> list[Example]:
        chance = random.Random(split)
        rows = []
        for i in range(count):
            words = [chance.randrange(5, 97) for _ in range(chance.randint(2, 9))]
            text = " ".join(f"w{w}" for w in words)
            label = "w3" if words[0] < 50 else "w4"
            system, user = Message(role="system", content="w10 w11"), Message(role="user", content=text)
            messages = (system, user, Message(role="assistant", content=label))
            rows.append(Example(id=f"{split}-{i}", messages=messages, choices=("w3", "w4")))
        return rows


class ToyText(Toy):
    """The same, answered in free text."""

    name: ClassVar[str] = "toy_text"
    kind: ClassVar[Literal["choose", "generate"]] = "generate"
    benchmarks: ClassVar[tuple[str, ...]] = ("toy_text", "toy_more")
    decoding: ClassVar[Decoding] = Decoding(max_new_tokens=4)
