"""MedMCQA (Pal et al., 2022): questions of Indian medical entrance exams, four options each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from bakeoff.data.datasets import Row, read
from bakeoff.errors import InputError
from bakeoff.grading.labels import grade_choice
from bakeoff.study.spec import Decoding
from bakeoff.tasks.task import Completion, Example, Grade, Message, Sources, Task, subset

HUB_ID = "openlifescienceai/medmcqa"
LETTERS = ("A", "B", "C", "D")
OPTIONS = ("opa", "opb", "opc", "opd")
FIELDS: dict[str, type] = {"id": str, "question": str, **dict.fromkeys(OPTIONS, str), "cop": int}
SYSTEM = Message(role="system", content="Answer the medical question with the letter of the right option.")
HELD_OUT = 4  # of one file, one row in so many is the test set


class MedMcqa(Task):
    """182,822 training questions; tested on the 4,183 of the validation split, since the test answers are not public.

    The options are listed under the question and the letters are scored, in the words of lm-evaluation-harness's
    `medmcqa`. Where `data:` gives one split alone (a file, or a folder without a training split), a fixed draw holds a
    quarter of its rows out as the test set and the rest is trained on; every report says so.
    """

    name = "medmcqa"
    kind: ClassVar[Literal["choose", "generate"]] = "choose"
    metrics = ("accuracy", "f1_macro")
    benchmarks = ("medmcqa",)
    hub_ids = (HUB_ID,)
    decoding = Decoding(max_new_tokens=16)  # where the letter is written
    summary = "medical multiple-choice questions, four options"

    def train(self, sources: Sources, limit: int | None) -> list[Example]:
        return _examples(_halves(sources)[0] if _alone(sources) else _rows("train", sources), limit)

    def test(self, benchmark: str, sources: Sources, limit: int | None) -> list[Example]:
        return _examples(_halves(sources)[1] if _alone(sources) else _rows("validation", sources), limit)

    def remark(self, sources: Sources) -> str:
        if not _alone(sources):
            return ""
        train, test = map(len, _halves(sources))
        return (
            f"training and test set both come from one split: {test:,} of its {train + test:,} rows, by a fixed draw, "
            "are held out as the test set, so scores are not comparable with those on MedMCQA's own."
        )

    def grade(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Grade]:
        return [
            Grade(**grade_choice(LETTERS, e.answer, c.text, c.logprobs, metrics=self.metrics))
            for e, c in zip(examples, completions, strict=True)
        ]


def _alone(sources: Sources) -> bool:
    """Whether there is one split to train and to test on: a file, or a folder without a training split."""
    given = sources.get(HUB_ID)
    if not isinstance(given, str):
        return False
    path = Path(given).expanduser()
    there = (*path.glob("*"), *path.glob("data/*"))
    return path.is_file() or not any(child.name.startswith("train") for child in there)


def _halves(sources: Sources) -> tuple[list[Row], list[Row]]:
    """The rows of the one split there is, to train on and to test on."""
    rows = _rows(("validation", "train"), sources)
    held = set(random.Random(0).sample(range(len(rows)), len(rows) // HELD_OUT))
    return [row for i, row in enumerate(rows) if i not in held], [row for i, row in enumerate(rows) if i in held]


def _rows(split: str | Sequence[str], sources: Sources) -> list[Row]:
    """A split's rows with `cop` counted from 0.

    The hub counts the right option from 0, the authors' own files from 1. A split with a 0 in it counts from 0, one
    with a 4 from 1; with both or neither it is an error.
    """
    rows = read(HUB_ID, split, sources, fields=FIELDS)
    found = {row["cop"] for row in rows}
    first = {(True, False): 0, (False, True): 1}.get((0 in found, 4 in found))
    if first is None or not found <= set(range(first, first + 4)):
        what = f"cannot tell where it counts from: it holds {sorted(found)[:8]}"
        mend = "0 to 3 or 1 to 4 are wanted, with 0 or 4 among them"
        raise InputError(f"{HUB_ID}, split {rows.source.split}, field 'cop'", what, mend)
    return [{**row, "cop": row["cop"] - first} for row in rows]


def _examples(rows: Sequence[Row], limit: int | None) -> list[Example]:
    return [_example(row) for row in subset(rows, limit)]


def _example(row: Row) -> Example:
    options = "\n".join(f"{letter}. {row[name].strip()}" for letter, name in zip(LETTERS, OPTIONS, strict=True))
    user = Message(role="user", content=f"Question: {row['question'].strip()}\nChoices:\n{options}\nAnswer:")
    answer = Message(role="assistant", content=LETTERS[row["cop"]])
    return Example(id=row["id"], messages=(SYSTEM, user, answer), choices=LETTERS)
