"""One answer against its labels: scored, or found in text."""

import math

import pytest

from bakeoff.grading.labels import grade_choice, label_in

FEELING, LETTERS = ("negative", "positive"), ("A", "B", "C", "D")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("positive", "positive"),
        ("  Positive.\n", "positive"),
        ("**NEGATIVE**", "negative"),
        ("The review is negative, not positive", "negative"),
        ("not positive", "positive"),  # nothing is made of the words around it
        ("positively", None),
        ("nonnegative", None),
        ("", None),
        ("I cannot say", None),
        ("<think>negative? yes</think> positive", "positive"),
        ("<think>it is positive", None),  # reasoning that does not end is no answer
    ],
)
def test_words(text, label):
    assert label_in(text, FEELING) == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("B", "B"),
        ("(C)", "C"),
        ("D. Aspirin", "D"),
        ("The answer is B.", "B"),
        ("Answer: C", "C"),
        ("**A**", "A"),
        ("A\nFor a nerve", "A"),
        ("A is right", "A"),
        ("The answer is A because of B", "A"),
        ("C because of B", "C"),
        ("A nerve of type B", "B"),
        ("A nerve", None),
        ("a", None),
        ("BC", None),
        ("vitamin B12", None),
        ("E", None),
    ],
)
def test_letters(text, label):
    assert label_in(text, LETTERS) == label


def test_longer_labels_come_first_and_spaces_do_not_count():
    choices = ("positive", "very positive", "[x]")
    assert label_in("It is Very\n positive", choices) == "very positive"
    assert label_in("so: [X]", choices) == "[x]"


def test_choice():
    right = grade_choice(("no", "yes"), "yes", "yes", (-2.0, -0.5))
    assert right == {"scores": {"accuracy": 1.0}, "detail": {"gold": "yes", "chosen": "yes", "margin": 1.5}}
    wrong = grade_choice(("no", "yes"), "yes", "maybe")
    assert wrong["scores"] == {"accuracy": 0.0}
    assert wrong["detail"] == {"gold": "yes", "chosen": None, "unparsable": True}
    written = grade_choice(("no", "yes"), "yes", "Yes, I think", positive="yes")
    assert written["detail"] == {"gold": "yes", "chosen": "yes", "positive": "yes"}


def test_loss_is_the_cross_entropy_among_the_labels():
    import torch

    logprobs = (-310.0, -305.5, -307.25)
    for i, gold in enumerate("abc"):
        found = grade_choice("abc", gold, "b", logprobs, metrics=("accuracy", "loss", "f1_macro"))
        wanted = torch.nn.functional.cross_entropy(torch.tensor([logprobs], dtype=torch.float64), torch.tensor([i]))
        assert found["scores"] == {"accuracy": float(gold == "b"), "loss": pytest.approx(wanted.item(), abs=1e-12)}
    even = grade_choice(FEELING, "positive", "negative", (-7.0, -7.0), metrics=("loss",))
    assert even["scores"]["loss"] == pytest.approx(math.log(2))
    assert grade_choice(FEELING, "positive", "negative", metrics=("accuracy", "loss"))["scores"] == {"accuracy": 0.0}
