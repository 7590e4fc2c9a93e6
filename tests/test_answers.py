"""Final answers found in text, and mathematical answers judged equal."""

import pytest

from bakeoff.grading.answers import final_answer, stated
from bakeoff.grading.math import equal, normalise, number


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("2 * 7 = 14\n14 - 7 = 7\nFinal Answer: 7", "7"),
        ("Final Answer: 3\nWait.\nFinal Answer: 4.", "4"),
        ("final answer:\n  $1,234$.", "1,234"),
        ("**Final Answer:** -0.5", "-0.5"),
        ("**Final Answer**: 12", "12"),
        ("Final Answer: The final answer is $\\frac{1}{2}$. I hope it is correct.", "\\frac{1}{2}"),
        ("Final Answer: 5\nQuestion: and now?\nFinal Answer: 6", "5"),
        ("so \\boxed{\\frac{1}{2}} it is", "\\frac{1}{2}"),
        ("\\boxed{1} and then \\boxed{2}", "2"),
        ("Final Answer: \\boxed{42}", "42"),
        ("Janet has 18.\n#### 18", "18"),
        ("<think>Final Answer: 1</think> Final Answer: 2", "2"),
        ("<think>Final Answer: 1", None),
        ("Final Answer: 7\nFinal Answer:", "7"),
        ("\\boxed{1} then \\boxed{2 never closed", "1"),
        ("<think>a</think>7 <think>Final Answer: 1", None),
        ("<think>\\boxed{1}</think>\\boxed{2}<think>\\boxed{3}", "2"),
        ("\\fbox{3}", "3"),
        ("\\boxed{1} and \\boxed{2}", "1, 2"),
        ("$\\boxed{x=1}$, $\\boxed{x=\\frac{1}{2}}$", "x=1, x=\\frac{1}{2}"),
        ("\\boxed{5}. So\n\\boxed{5}", "5"),
        ("The final answer is $\\frac{1}{2}$. I hope it is correct.", "\\frac{1}{2}"),
        ("**Step 1:** add\nSo she has **12 apples**.", "12 apples"),
        ("**Step 1:** add\nwhat is **left**", None),
        ("the answer is 7", None),
        ("Final Answer:", None),
        ("", None),
    ],
)
def test_final_answer(text, answer):
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("7", "7"),
        ("x = 7", "x = 7"),
        ("So the answer is $18 per day.", "$18 per day"),
        ("The answer is not 3. The correct answer is: 3.5. Good.", "3.5"),
        ("The final answer to this is 4", "4"),
        ("Final Answer:", None),
        ("\\boxed{}", None),
        ("<think>7", None),
        ("First we add the two numbers and then divide what we have got by the third one of them.", None),
        ("\\begin{pmatrix} 1 \\\\\n 2 \\end{pmatrix}", "\\begin{pmatrix} 1 \\\\\n 2 \\end{pmatrix}"),
        ("", None),
    ],
)
def test_the_answer_of_a_text_that_may_be_only_that(text, answer):
    assert stated(text) == answer


@pytest.mark.parametrize(
    ("gold", "pred", "verdict"),
    [
        ("7", "7", (True, "number")),
        ("7", "8", (False, "number")),
        ("1234", "$1,234.", (True, "number")),
        ("0.5", "1/2", (True, "number")),
        ("1/2", "\\dfrac{1}{2}", (True, "number")),
        ("-3/4", "-\\frac{3}{4}", (True, "number")),
        ("3/4", "-\\frac{3}{-4}", (True, "number")),
        ("25", "025", (True, "number")),
        ("1018", "1\\,018", (True, "number")),
        ("0.333", "1/3", (False, "number")),
        ("-5", "\N{MINUS SIGN}5", (True, "number")),
        ("18", "18x", (False, "text")),
        ("2x+3", "2x-3", (False, "text")),
        ("2x+3", "2x + 3.", (True, "text")),
        ("56", "5 6", (False, "text")),
        ("50", "50\\%", (False, "text")),
        ("\\text{east}", "east", (True, "text")),
        ("\\left(1,2\\right)", "(1, 2)", (True, "text")),
        ("1", "1/0", (False, "text")),
        ("7", "9^9^9^9", (False, "text")),
    ],
)
def test_equal(gold, pred, verdict):
    assert equal(gold, pred) == verdict
    assert equal(pred, gold) == verdict


def test_numbers_are_plain():
    for text in ("1e999999999", "nan", "inf", "", ".", "1,23", "1_000", "9" * 500):
        assert number(text) is None, text
    assert normalise("\\dfrac{1}{2} \\$ .") == "\\frac{1}{2}"
