"""From sentences to reviews: taught on SST-2 (Socher et al., 2013), tested on IMDB (Maas et al., 2011)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Literal

from bakeoff.data.datasets import read
from bakeoff.errors import InputError
from bakeoff.grading.labels import grade_choice
from bakeoff.study.spec import Decoding
from bakeoff.tasks.task import Completion, Example, Grade, Message, Sources, Task, subset

SST2, IMDB = "stanfordnlp/sst2", "stanfordnlp/imdb"
LABELS = ("negative", "positive")  # a label's place is its number in both datasets
SYSTEM = Message(role="system", content="Decide whether the film review is positive or negative.")
ANSWERS = tuple(Message(role="assistant", content=label) for label in LABELS)
BREAKS = re.compile(r"(?:\s*<br\s*/?>\s*)+")


class Sst2Imdb(Task):
    """67,349 training sentences; tested on the 25,000 reviews of IMDB's test split, half of them positive.

    IMDB writes line breaks as `<br />`; here they are line breaks. Precision, recall and F1 are those of `positive`.
    """

    name = "sst2_imdb"
    kind: ClassVar[Literal["choose", "generate"]] = "choose"
    metrics = ("accuracy", "loss", "f1_binary", "precision_binary", "recall_binary")
    benchmarks = ("imdb",)
    hub_ids = (SST2, IMDB)
    decoding = Decoding(max_new_tokens=16)  # where the label is written
    summary = "sentiment of film reviews, two labels, taught on single sentences"

    def train(self, sources: Sources, limit: int | None) -> list[Example]:
        """SST-2's sentences, named by their row; its files end each in a space, which is dropped."""
        rows = enumerate(read(SST2, "train", sources, fields={"sentence": str, "label": int}))
        return [_example(SST2, f"train-{i}", row["sentence"], row["label"]) for i, row in subset(list(rows), limit)]

    def test(self, benchmark: str, sources: Sources, limit: int | None) -> list[Example]:
        """IMDB's reviews, named by their row."""
        rows = enumerate(read(IMDB, "test", sources, fields={"text": str, "label": int}))
        return [_example(IMDB, f"test-{i}", row["text"], row["label"]) for i, row in subset(list(rows), limit)]

    def grade(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Grade]:
        return [
            Grade(**grade_choice(LABELS, e.answer, c.text, c.logprobs, metrics=self.metrics, positive="positive"))
            for e, c in zip(examples, completions, strict=True)
        ]


def _example(hub_id: str, name: str, text: str, label: int) -> Example:
    if label not in (0, 1):
        raise InputError(f"{hub_id}, row {name}, field 'label'", f"0 (negative) or 1 (positive) is wanted, not {label}")
    user = Message(role="user", content=BREAKS.sub("\n", text).strip())
    return Example(id=name, messages=(SYSTEM, user, ANSWERS[label]), choices=LABELS)
