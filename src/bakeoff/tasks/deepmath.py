"""DeepMath-103K (He et al., 2025): mathematics answered step by step, tested on it and on three known benchmarks."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from bakeoff.data.datasets import Row, read
from bakeoff.grading import math, text
from bakeoff.grading.answers import final_answer
from bakeoff.study.spec import Decoding
from bakeoff.tasks.task import Completion, Example, Grade, Message, Sources, Task, subset

DEEPMATH, MATH500 = "zwhe99/DeepMath-103K", "HuggingFaceH4/MATH-500"
GSM8K, AIME24 = "openai/gsm8k", "HuggingFaceH4/aime_2024"
SYSTEM = Message(role="system", content="You are a math problem solver. Provide step-by-step reasoning.")
HELD_OUT = 500  # of DeepMath's one split: its test set
CALCULATED = re.compile(r"<<[^<>]*>>")  # GSM8K's notes for a calculator
COLUMNS = {"question": ("problem",), "final_answer": ("answer",), "r1_solution_1": ("solution",)}


class DeepMath(Task):
    """Trained on DeepMath-103K less 500 problems; tested on these 500, on MATH-500, GSM8K and AIME 2024.

    The chat is the paper's (Popuri et al., appendix A.1). Of the three solutions to a problem the first is taught, its
    written part alone: what follows the reasoning that `</think>` ends.
    """

    name = "deepmath"
    kind: ClassVar[Literal["choose", "generate"]] = "generate"
    metrics = ("exact_match", "strict_match", "answered", "loss", "bleu")
    benchmarks = ("deepmath", "math500", "gsm8k", "aime24")
    hub_ids = (DEEPMATH, MATH500, GSM8K, AIME24)
    decoding = Decoding(max_new_tokens=512)
    summary = "mathematics, solved step by step to a final answer"

    def train(self, sources: Sources, limit: int | None) -> list[Example]:
        math.require(f"the answers of {self.name}")  # what grading needs is missed before anything is trained
        text.bleu_statistics("", "")
        rows = _deepmath(sources)
        tested = {row["question"] for _, row in _held_out(rows)}
        return [_of_deepmath(*one) for one in subset([one for one in rows if one[1]["question"] not in tested], limit)]

    def test(self, benchmark: str, sources: Sources, limit: int | None) -> list[Example]:
        if benchmark == "deepmath":
            return [_of_deepmath(*one) for one in subset(_held_out(_deepmath(sources)), limit)]
        return subset(_BENCHMARKS[benchmark](sources), limit)

    def grade(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Grade]:
        """Answers are judged equal to gold by `grading.math.judge`.

        One that it refuses is not shown to be right, scores 0 and is counted as undecided; where what judges it broke,
        there are no scores.
        """
        found = [final_answer(completion.text) for completion in completions]
        golds = [example.reference["answer"] for example in examples]
        judged = math.judge(list(zip(golds, found, strict=True)))
        return [_grade(*each) for each in zip(examples, completions, found, judged, strict=True)]


def _grade(example: Example, completion: Completion, answer: str | None, judged: math.Judged) -> Grade:
    """A completion's scores, from the answer found in it and the verdict on that."""
    gold, answered = example.reference["answer"], judged.stage != "no-answer"
    detail: dict[str, Any] = {"gold": gold, "pred": answer, "stage": judged.stage}
    said = text.spoken(completion.text)
    detail |= {"bleu": text.bleu_statistics(said, example.answer), "bleu_signature": text.BLEU_SIGNATURE}
    detail |= {} if answered else {"unparsable": True}
    if judged.equal is None:
        detail |= {"why": judged.detail, "undecided": judged.refused}
        if not judged.refused:
            return Grade(scores={}, detail=detail)
    right = {"exact_match": bool(judged.equal), "strict_match": answer == gold, "answered": answered}
    scores = {name: float(one) for name, one in right.items()}
    if completion.loss is not None:
        scores["loss"] = completion.loss
    return Grade(scores=scores, detail=detail)


def _deepmath(sources: Sources) -> list[tuple[int, Row]]:
    """The rows of DeepMath's one split with their numbers; MATH's column names do as well, so that it can stand in."""
    fields = {"question": str, "final_answer": str, "r1_solution_1": str}
    return list(enumerate(read(DEEPMATH, "train", sources, fields=fields, alternatives=COLUMNS)))


def _held_out(rows: Sequence[tuple[int, Row]]) -> list[tuple[int, Row]]:
    """The test set: a fixed draw, at most a fifth of all."""
    count = min(HELD_OUT, len(rows) // 5)
    return [rows[i] for i in sorted(random.Random(0).sample(range(len(rows)), count))]


def _of_deepmath(number: int, row: Row) -> Example:
    solution = row["r1_solution_1"].rpartition("</think>")[2]
    return _example(f"deepmath-{number}", row["question"], solution, row["final_answer"])


def _math500(sources: Sources) -> list[Example]:
    fields = {"problem": str, "solution": str, "answer": str}
    rows = read(MATH500, "test", sources, fields=fields)
    return [_example(f"math500-{i}", r["problem"], r["solution"], r["answer"]) for i, r in enumerate(rows)]


def _gsm8k(sources: Sources) -> list[Example]:
    """The answer stands behind `####` in the solution."""
    rows = read(GSM8K, "test", sources, fields={"question": str, "answer": str}, config="main")
    parts = [CALCULATED.sub("", row["answer"]).rpartition("####") for row in rows]
    return [
        _example(f"gsm8k-{i}", row["question"], solution, answer)
        for i, (row, (solution, _, answer)) in enumerate(zip(rows, parts, strict=True))
    ]


def _aime24(sources: Sources) -> list[Example]:
    """The hub's dataset has its 30 problems in a split `train`; local files may call it test."""
    rows = read(AIME24, ("train", "test"), sources, fields={"problem": str, "solution": str, "answer": str})
    return [_example(f"aime24-{i}", r["problem"], r["solution"], r["answer"]) for i, r in enumerate(rows)]


_BENCHMARKS = {"math500": _math500, "gsm8k": _gsm8k, "aime24": _aime24}


def _example(name: str, problem: str, solution: str, answer: str) -> Example:
    answer = " ".join(answer.split())
    reply = f"{solution.strip()} Final Answer: {answer}"
    messages = (SYSTEM, Message(role="user", content=problem.strip()), Message(role="assistant", content=reply))
    return Example(id=name, messages=messages, reference={"answer": answer})
