"""The generated tasks: splits that never meet, answers that are right, tests that judge."""

import itertools
import re

import pytest

from bakeoff.data import mini

TASKS = {"sentiment": mini.sentiment, "math": mini.math, "code": mini.code}
SPLITS = ["train", "validation", "test"]
each_task = pytest.mark.parametrize("task", TASKS)


def user(row):
    return row["messages"][1]["content"]


def run(source, tests):
    space = {}
    exec("\n".join([source, *tests]), space)


@each_task
def test_splits_are_disjoint_for_any_seeds(task):
    sets = {(split, seed): {user(r) for r in TASKS[task](split, 400, seed)} for split in SPLITS for seed in (0, 1)}
    for (a, first), (b, second) in itertools.combinations(sets.items(), 2):
        assert a[0] == b[0] or not first & second


def test_functions_of_different_splits_compute_different_things():
    """The same code under other names or another verb in train and test would make the test a memory test."""

    def bodies(split):
        rows = mini.code(split, mini.MAXIMUM["code"][split] // 4)
        return {re.sub(r"\b(?!max|min|sum|len|upper|for|in|if|i\b)[a-z]+\b", "v", r) for r in map(_written, rows)}

    found = {split: bodies(split) for split in SPLITS}
    assert all(len(own) > 50 for own in found.values())
    for a, b in itertools.combinations(SPLITS, 2):
        assert not found[a] & found[b]


def _written(row):
    return row["messages"][2]["content"]


@each_task
def test_every_row_belongs_to_its_split_and_is_told_once(task):
    for split in SPLITS:
        rows = TASKS[task](split, 500)
        assert {mini.split_of(r["meaning"]) for r in rows} == {split}
        assert len({user(r) for r in rows}) == len({r["id"] for r in rows}) == 500


@each_task
def test_rows_follow_from_the_seed_and_longer_sets_begin_with_shorter(task):
    make = TASKS[task]
    assert make("train", 50, 3) == make("train", 80, 3)[:50]
    assert make("train", 50, 3) != make("train", 50, 4)
    assert make("train", 0) == []


@each_task
def test_conversations_share_one_system_message_and_are_short(task):
    for split in SPLITS:
        rows = TASKS[task](split, 200)
        assert {tuple(m["role"] for m in r["messages"]) for r in rows} == {("system", "user", "assistant")}
        assert {r["messages"][0]["content"] for r in rows} == {mini.SYSTEM[task]}
        pieces = [len(re.findall(r"\w+|[^\w\s]", user(r) + " " + r["messages"][2]["content"])) for r in rows]
        assert max(pieces) <= (110 if (task, split) == ("sentiment", "test") else 60)


@each_task
def test_what_cannot_be_given_is_refused(task):
    with pytest.raises(ValueError, match="accepted: train, validation, test"):
        TASKS[task]("dev", 3)
    most = mini.MAXIMUM[task]["test"]
    for count in (-1, most + 1):
        with pytest.raises(ValueError, match=f"accepted: 0 to {most}"):
            TASKS[task]("test", count)


def test_thousands_of_rows_exist():
    assert len({r["id"] for r in mini.code("train", 10_000)}) == 10_000
    assert len({r["id"] for r in mini.sentiment("train", 10_000)}) == 10_000
    assert len({r["id"] for r in mini.math("train", 10_000)}) == 10_000


def test_sentiment_is_balanced_and_moves_from_sentences_to_reviews():
    for split in SPLITS:
        rows = mini.sentiment(split, 200)
        assert sum(r["answer"] == "yes" for r in rows) == 100
        assert all(r["messages"][2]["content"] == r["answer"] and r["answer"] in r["choices"] for r in rows)
        sentences = [user(r).count(".") for r in rows]
        assert min(sentences) >= 3 if split == "test" else max(sentences) == 1


def test_math_answers_follow_from_their_steps():
    for row in mini.math("test", 300):
        *steps, last = row["messages"][2]["content"].split("\n")
        right = ""
        for step in steps:
            left, right = step.split(" = ")
            assert eval(left) == int(right) > 0
        assert last == f"Final Answer: {row['answer']}" == f"Final Answer: {right}"
        given = set(re.findall(r"\d+", user(row)))
        assert set(re.findall(r"\d+", " ".join(steps))) >= given
        assert 1 <= len(steps) <= 2


def test_gold_functions_pass_and_wrong_ones_fail():
    for row in mini.code("test", 300):
        gold = row["messages"][2]["content"]
        assert 4 <= len(row["tests"]) <= 8 and row["entry_point"] in gold
        run(gold, row["tests"])
        header = gold.split("\n")[0]
        number = re.findall(r"\d+", gold.split("\n")[1])[0]
        for wrong in (f"{header}\n    return None", re.sub(rf"\b{number}\b", str(int(number) + 1), gold)):
            with pytest.raises((AssertionError, TypeError)):
                run(wrong, row["tests"])
