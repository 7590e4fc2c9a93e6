"""The code task: HumanEval's prompts to the letter, what is taught of a file, and how completions are judged."""

from __future__ import annotations

import math

import pytest
from conftest import SHARED, shared
from test_format import load, spelt

from bakeoff.data.datasets import read
from bakeoff.data.messages import encode_prompt
from bakeoff.tasks.codeparrot_humaneval import CODEPARROT, HUMANEVAL, CodeParrotHumanEval, _documented
from bakeoff.tasks.task import Completion, Example

TASK = CodeParrotHumanEval()


@pytest.fixture(scope="module")
def problems() -> list[Example]:
    shared("data", "humaneval")
    return TASK.test("humaneval", {HUMANEVAL: str(SHARED / "data" / "humaneval")}, None)


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    shared("data", "humaneval")
    sources = {HUMANEVAL: str(SHARED / "data" / "humaneval" / "HumanEval.jsonl.gz")}
    return [row["prompt"] for row in read(HUMANEVAL, "test", sources, fields={"prompt": str})]


def grades(*pairs: tuple[Example, str]) -> list[dict[str, float]]:
    examples, texts = zip(*pairs, strict=True)
    return [grade.scores for grade in TASK.grade(examples, [Completion(text=text) for text in texts])]


def test_the_164_prompts_reproduce_exactly(problems, prompts):
    assert len(problems) == 164 and [problem.prompt[-1].content for problem in problems] == prompts


@pytest.mark.parametrize(("template", "name"), [("plain", "gpt2"), ("qwen2", "gpt2"), ("nano", "nano")])
def test_the_prompts_survive_tokenisation(problems, prompts, template, name):
    tokenizer = load(template, name)
    for problem, prompt in zip(problems, prompts, strict=True):
        assert prompt in spelt(tokenizer, encode_prompt(tokenizer, problem, 9999).prompt)


@pytest.mark.slow
def test_all_canonical_solutions_pass_as_answers(problems):
    scores = grades(*[(problem, problem.answer) for problem in problems])
    assert [score["pass@1"] for score in scores] == [1.0] * 164
    assert [score["jaccard"] for score in scores] == [1.0] * 164


def test_what_is_an_answer(problems):
    """The whole function, fenced or not, or its body; not a plan, and not what reasoning that never ends has tried."""
    first = problems[0]
    body = first.reference["solution"]
    fenced = f"Here it is:\n```python\n{first.answer}\n```\nIt compares all pairs."
    right = [first.answer, body, fenced, f"<think>hm ```python\npass\n```</think>{fenced}"]
    wrong = ["", "I would compare all pairs.", "    return None", f"<think>{fenced}"]
    found = TASK.grade([first] * 8, [Completion(text=text) for text in (*right, *wrong)])
    assert [grade.scores["pass@1"] for grade in found] == [1.0] * 4 + [0.0] * 4
    assert [bool(grade.detail.get("unparsable")) for grade in found] == [False] * 4 + [True, False, False, True]
    assert [grade.scores["jaccard"] for grade in found[:2]] == [1.0, 1.0]


def test_pass_at_5_is_the_problems_own_and_needs_five_draws(problems):
    """Any 5 of 6 draws hold one of 2 right ones; of 10 draws with 1 right, half of the ways to choose 5 hold it."""
    first, second = problems[:2]
    draws = [(first, first.answer)] * 2 + [(first, "    return None")] * 4 + [(second, second.answer)] * 4
    scores = grades(*draws)
    assert [score["pass@1"] for score in scores] == [1, 1, 0, 0, 0, 0, 1, 1, 1, 1]
    assert [score.get("pass@5") for score in scores] == [1.0] * 6 + [None] * 4
    one = grades(*[(first, first.answer)], *[(first, "    return None")] * 9)
    assert {round(score["pass@5"], 12) for score in one} == {round(1 - math.comb(9, 5) / math.comb(10, 5), 12)}


def test_the_floor_is_that_of_unrelated_solutions(problems):
    """Measured on all pairs before this code was written: 0.27."""
    assert TASK.floors("humaneval", problems)["jaccard"] == pytest.approx(0.267, abs=0.01)
    assert TASK.floors("humaneval", problems[:1]) == {}


# --- what is taught ---

FILE = '''
import os


def main():
    """Print the sum."""
    print(total([1, 2]))


@cached
def memoised(x):
    """Kept."""
    return x


def undocumented(x):
    return x


def total(
    numbers: list[int],
    start: int = 0,
) -> int:
    """The sum of all numbers.

    >>> total([1, 2])
    3
    """
    for number in numbers:
        start += number
    # all of them
    return start


def later(x):
    """Not taught: it is the second."""
    return x


class Kept:
    def method(self):
        """Of a class."""
        return 1
'''


def test_a_file_teaches_its_first_documented_function():
    found = _documented(FILE)
    assert found
    prompt, function = found
    assert prompt.startswith("def total(\n") and prompt.endswith('    3\n    """\n')
    assert function.startswith(prompt) and function.endswith("    # all of them\n    return start")
    assert _documented(FILE.replace("\n", "\r\n")) == found


@pytest.mark.parametrize(
    "source",
    [
        "",
        "x = 1\n",
        "def f(x):\n    '''Python 2.'''\n    print x\n    return x\n",
        'def f(x):\n    """Nothing but this."""\n',
        'def f(x):\n    """Long."""\n    return x' + "  # long" * 400 + "\n",
        'def f(x): """On one line."""; return x\n',
        'def f(x):\n    """A null byte."""\n    return "\0"\n',
    ],
)
def test_files_that_teach_nothing(source):
    assert _documented(source) is None


def test_real_files_teach_functions_in_humanevals_form():
    shared("data", "pycode")
    sources = {CODEPARROT: str(SHARED / "data" / "pycode")}
    some, more = TASK.train(sources, 20), TASK.train(sources, 30)
    assert len(some) == 20 and more[:20] == some and len({example.id for example in more}) == 30
    for example in some:
        prompt = example.prompt[-1].content
        assert prompt.startswith("def ") and prompt.rstrip().endswith(('"""', "'''"))
        assert example.answer.startswith(prompt) and "return" in example.answer.removeprefix(prompt)
