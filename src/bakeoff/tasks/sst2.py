"""SST-2 (Socher et al., 2013; GLUE): the sentiment of single sentences from film reviews."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from bakeoff.data.datasets import read
from bakeoff.errors import InputError
from bakeoff.grading.labels import grade_choice
from bakeoff.study.spec import Decoding
from bakeoff.tasks.task import Completion, Example, Grade, Message, Sources, Task, subset

HUB_ID = "stanfordnlp/sst2"
LABELS = ("negative", "positive")  # a label's place is its number in the dataset
SYSTEM = Message(role="system", content="Decide whether the sentence from a film review is positive or negative.")
ANSWERS = tuple(Message(role="assistant", content=label) for label in LABELS)


class Sst2(Task):
    """67,349 training sentences; tested on the 872 of the validation split, since the test labels are not public."""

    name = "sst2"
    kind: ClassVar[Literal["choose", "generate"]] = "choose"
    metrics = ("accuracy",)
    benchmarks = ("sst2",)
    hub_ids = (HUB_ID,)
    decoding = Decoding(max_new_tokens=16)  # where the label is written
    summary = "sentiment of film-review sentences, two labels"

    def train(self, sources: Sources, limit: int | None) -> list[Example]:
        return _examples(sources, "train", limit)

    def test(self, benchmark: str, sources: Sources, limit: int | None) -> list[Example]:
        return _examples(sources, "validation", limit)

    def grade(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Grade]:
        graded = zip(examples, completions, strict=True)
        return [Grade(**grade_choice(e.choices, e.answer, c.text, c.logprobs)) for e, c in graded]


def _examples(sources: Sources, split: str, limit: int | None) -> list[Example]:
    """A split's sentences as chats, named by their row; the files end each sentence in a space, which is dropped."""
    rows = read(HUB_ID, split, sources, fields={"sentence": str, "label": int})
    chosen = subset(list(enumerate(rows)), limit)
    return [_example(f"{split}-{i}", row["sentence"].strip(), row["label"]) for i, row in chosen]


def _example(name: str, sentence: str, label: int) -> Example:
    if label not in (0, 1):
        raise InputError(f"{HUB_ID}, row {name}, field 'label'", f"0 (negative) or 1 (positive) is wanted, not {label}")
    return Example(id=name, messages=(SYSTEM, Message(role="user", content=sentence), ANSWERS[label]), choices=LABELS)
