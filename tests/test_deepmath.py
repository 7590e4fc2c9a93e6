"""The mathematics task on its real benchmarks: the paper's chat, gold answers, and how completions are scored."""

from __future__ import annotations

import json

import pytest
from conftest import SHARED, shared

from bakeoff.data.datasets import read
from bakeoff.grading import math
from bakeoff.tasks.deepmath import AIME24, DEEPMATH, GSM8K, MATH500, DeepMath
from bakeoff.tasks.task import Completion, Example

FOLDERS = {DEEPMATH: "math", MATH500: "math500", GSM8K: "gsm8k", AIME24: "aime24"}


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    for folder in FOLDERS.values():
        shared("data", folder)
    return {hub_id: str(SHARED / "data" / folder) for hub_id, folder in FOLDERS.items()}


@pytest.fixture(scope="module")
def tested(sources) -> dict[str, list[Example]]:
    return {name: DeepMath().test(name, sources, None) for name in DeepMath.benchmarks}


def graded(example: Example, *texts: str) -> list[dict[str, float]]:
    grades = DeepMath().grade([example] * len(texts), [Completion(text=text) for text in texts])
    return [grade.scores for grade in grades]


def test_the_chat_is_the_papers(sources):
    example = DeepMath().train(sources, 1)[0]
    row = next(
        row
        for row in read(DEEPMATH, "train", sources, fields={"problem": str, "solution": str, "answer": str})
        if row["problem"].strip() == example.prompt[-1].content
    )
    assert [(message.role, message.content) for message in example.messages] == [
        ("system", "You are a math problem solver. Provide step-by-step reasoning."),
        ("user", row["problem"].strip()),
        ("assistant", f"{row['solution'].strip()} Final Answer: {row['answer']}"),
    ]


def test_every_benchmark_is_there_and_none_of_its_problems_is_taught(sources, tested):
    assert {name: len(rows) for name, rows in tested.items()} == {
        "deepmath": 500, "math500": 500, "gsm8k": 1319, "aime24": 30,
    }  # fmt: skip
    train = DeepMath().train(sources, None)
    questions = {example.prompt[-1].content for example in train}
    assert not questions & {example.prompt[-1].content for rows in tested.values() for example in rows}
    assert 3682 - 500 - 5 < len(train) <= 3682 - 500


def test_gold_answers(tested):
    assert tested["gsm8k"][0].reference == {"answer": "18"}
    assert tested["gsm8k"][0].answer.endswith("at the farmer\u2019s market. Final Answer: 18")
    assert not any("<<" in example.answer for example in tested["gsm8k"])
    assert tested["math500"][0].reference["answer"] == r"\left( 3, \frac{\pi}{2} \right)"
    assert all(len(example.reference["answer"]) == 3 for example in tested["aime24"])


@pytest.mark.slow
def test_reference_answers_are_right_everywhere(tested):
    for rows in tested.values():
        grades = DeepMath().grade(rows, [Completion(text=row.answer) for row in rows])
        assert all(grade.scores["exact_match"] == grade.scores["strict_match"] == 1 for grade in grades)


def test_a_gold_answer_with_leading_zeros_is_a_number(tested):
    example = next(row for row in tested["aime24"] if row.reference["answer"].startswith("0"))
    gold = int(example.reference["answer"])
    same, padded, wrong, none = graded(
        example, f"Final Answer: {gold}", f"Final Answer: {gold:03}", f"Final Answer: {gold + 1}", f"It is {gold}."
    )
    assert same == {"exact_match": 1, "strict_match": 0, "answered": 1}
    assert padded == {"exact_match": 1, "strict_match": 1, "answered": 1}
    assert wrong == {"exact_match": 0, "strict_match": 0, "answered": 1}
    assert none == {"exact_match": 0, "strict_match": 0, "answered": 0}


def test_an_answer_stands_behind_the_reasoning(tested):
    example = tested["gsm8k"][0]
    ended, open_ = graded(
        example, "<think>Final Answer: 3</think>So Final Answer: 18", "<think>It may be Final Answer: 18"
    )
    assert (ended["exact_match"], open_["exact_match"], open_["answered"]) == (1, 0, 0)


def test_details_are_kept(tested):
    (grade,) = DeepMath().grade([tested["gsm8k"][0]], [Completion(text="so Final Answer: 18.0", loss=2.5)])
    assert grade.scores["loss"] == 2.5
    assert {name: grade.detail[name] for name in ("gold", "pred", "stage")} == {
        "gold": "18", "pred": "18.0", "stage": "number",
    }  # fmt: skip
    assert len(grade.detail["bleu"]) == 10 and "tok:13a" in grade.detail["bleu_signature"]


def test_an_answer_that_cannot_be_judged_is_not_right_and_is_counted(tested):
    """Nobody gains by an answer that is left out, and a model that repeats a digit for ever fails no trial."""
    answers = ["9^9^9^9", "1 + " * 500 + "1", "3" * 1400 + "x", "0." + "x" * 6000]
    found = DeepMath().grade(tested["gsm8k"][:1] * 4, [Completion(text=f"Final Answer: {one}") for one in answers])
    assert [grade.scores["exact_match"] for grade in found] == [0, 0, 0, 0]
    assert [grade.scores["answered"] for grade in found] == [1, 1, 1, 1]
    undecided = [grade for grade in found if grade.detail.get("undecided")]
    assert len(undecided) >= 2 and all(grade.detail["stage"] == "ungraded" for grade in undecided)


def test_where_what_judges_breaks_there_are_no_scores(tested, monkeypatch):
    """It says nothing of the answer, which is neither right nor wrong."""
    hard = math.Judged(equal=None, stage="ungraded", detail="no answer in 15 s")
    monkeypatch.setattr(math, "judge", lambda pairs: [hard for _ in pairs])
    (unjudged,) = DeepMath().grade(tested["gsm8k"][:1], [Completion(text="Final Answer: 9^9^9^9")])
    assert unjudged.scores == {} and unjudged.detail["why"] == "no answer in 15 s"


def test_the_hubs_columns_are_read_and_reasoning_is_not_taught(tmp_path):
    rows = [
        {
            "question": f"What is {i} + 1?",
            "final_answer": str(i + 1),
            "difficulty": 5.0,
            "topic": "Arithmetic",
            "r1_solution_1": f"Okay, {i} and one more...</think>\n\nThe sum is \\boxed{{{i + 1}}}.",
        }
        for i in range(10)
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train = DeepMath().train({DEEPMATH: str(tmp_path)}, None)
    test = DeepMath().test("deepmath", {DEEPMATH: str(tmp_path)}, None)
    assert (len(train), len(test)) == (8, 2)
    number = int(train[0].id.removeprefix("deepmath-"))
    assert train[0].answer == f"The sum is \\boxed{{{number + 1}}}. Final Answer: {number + 1}"
