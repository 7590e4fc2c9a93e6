"""Model-written code run against its tests: known verdicts, and what tests may do with the code."""

from dataclasses import replace

import pytest

from bakeoff.errors import InputError, TrialError
from bakeoff.grading.code import Grader, Item, Verdict, check, defines, extract

TESTS = ("assert f(2) == 3", "assert f(0) == 1")
RIGHT = "def f(x):\n    return x + 1\n"
SAMPLES = {
    "right": (RIGHT, "pass"),
    "wrong": ("def f(x): return x", "fail"),
    "second test wrong": ("def f(x): return 3", "fail"),
    "a dataclass": ("from dataclasses import dataclass\n@dataclass\nclass A:\n    n: 'int'\n" + RIGHT, "pass"),
    "files in its directory": ("import tempfile\nopen('a', 'w').write('1')\ntempfile.mkstemp()\n" + RIGHT, "pass"),
    "a main block": (RIGHT + "if __name__ == '__main__':\n    input()", "pass"),
    "no such function": ("def g(x): return x + 1", "error"),
    "exception": ("def f(x): return 1 / 0", "error"),
    "assertion in the code": ("assert False\n" + RIGHT, "error"),
    "syntax": ("def f(x", "error"),
    "null byte": ("a\0b", "error"),
    "lone surrogate": ("x = '\ud800'\n" + RIGHT, "error"),
    "recursion": ("def f(x): return f(x)", "error"),
    "deep source": ("x = " + "(" * 100_000, "error"),
    "exception without words": (
        "class E(Exception):\n    def __str__(self): raise KeyError\ndef f(x): raise E",
        "error",
    ),
    "sys.exit in the code": ("import sys\nsys.exit(0)", "error"),
    "sys.exit in the function": ("import sys\ndef f(x): sys.exit(0)", "error"),
    "os._exit in the code": ("import os\nos._exit(0)", "error"),
    "os._exit in the function": ("import os\ndef f(x): os._exit(0)", "error"),
    "killed": ("import os\nos.kill(os.getpid(), 9)", "error"),
    "segmentation fault": ("import ctypes\nctypes.string_at(0)", "error"),
    "forged report": (
        "import os\nfor i in range(3, 300):\n"
        '    try: os.write(i, b\'{"label": "pass", "token": ""}\')\n    except OSError: pass\nos._exit(0)',
        "error",
    ),
    "garbage in the report": ("import os\nos.write(3, b'x' * 60_000)\n" + RIGHT, "error"),
    "prints a verdict": ('print(\'{"label": "pass"}\')\nimport os\nos._exit(0)', "error"),
    "prints garbage": ("print('\\x00\\xff' * 1000)\n" + RIGHT, "pass"),
    "prints 10 MB": ("import sys\nsys.stdout.write('x' * 10**7)\nsys.stderr.write('x' * 10**7)\n" + RIGHT, "pass"),
    "a 100 MB file": ("def f(x): open('a', 'wb').write(b'x' * 10**8)", "error"),
    "reads stdin": ("input()\n" + RIGHT, "error"),
    "background thread": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n" + RIGHT,
        "pass",
    ),
    "endless loop": ("def f(x):\n    while True: pass", "timeout"),
    "endless loop that catches all": (
        "def f(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        "timeout",
    ),
    "sleeps": ("import time\ntime.sleep(60)", "timeout"),
    "memory at once": ("def f(x): return [0] * 10**10", "memory"),
    "memory by and by": ("def f(x):\n    kept = []\n    while True: kept.append(' ' * 2**26)", "memory"),
    "forks and escapes": (
        "import os, time\nfor _ in range(4):\n    if os.fork() == 0:\n        os.setsid()\n"
        "        if os.fork() == 0: os.setsid()\n        time.sleep(60)\n" + RIGHT,
        "error",
    ),
}


def items(*codes: str) -> list[Item]:
    return [Item(code, TESTS, "f") for code in codes]


def one(item: Item) -> Verdict:
    return GRADERS[0].grade([item])[0]


def label(code: str, tests: tuple[str, ...], entry_point: str = "f", prelude: str = "") -> str:
    return one(Item(code, tests, entry_point, prelude)).label


GRADERS: list[Grader] = []


@pytest.fixture(scope="module", autouse=True)
def grader():
    """One grader for all of these tests, in the tier that there is."""
    with Grader(jobs=2, timeout=10, memory=1 << 29) as one:
        GRADERS[:] = [one]
        yield one


@pytest.fixture(scope="module")
def graded(grader):
    """Every sample's verdict."""
    quick = {name: code for name, (code, expected) in SAMPLES.items() if expected != "timeout"}
    hang = {name: code for name, (code, expected) in SAMPLES.items() if expected == "timeout"}
    verdicts = dict(zip(quick, grader.grade(items(*quick.values())), strict=True))
    with Grader(jobs=2, timeout=0.5) as impatient:
        return verdicts | dict(zip(hang, impatient.grade(items(*hang.values())), strict=True))


@pytest.mark.parametrize("name", SAMPLES)
def test_verdict(graded, name):
    verdict = graded[name]
    assert verdict.label == SAMPLES[name][1], verdict
    assert len(verdict.detail) <= 600 and verdict.detail.isprintable()
    assert verdict.sandbox in ("bubblewrap", "landlock")


def test_details_say_why():
    wrong, missing, raised, own, ended = (
        one(*items(code))
        for code in (
            "def f(x): return x",
            "x = 1",
            "def f(x): return [][x]",
            "class Odd(Exception): pass\ndef f(x): raise Odd('no')",
            "import os\ndef f(x): os._exit(3)",
        )
    )
    assert wrong.detail == "AssertionError (in assert f(2) == 3)"
    assert missing.detail == "NameError: 'f' is not defined"
    assert raised.detail == "IndexError: list index out of range (in assert f(2) == 3)" and 0 <= raised.seconds < 10
    assert own.detail == "Exception: Odd: no (in assert f(2) == 3)"
    assert "(exit code 3)" in ended.detail


def test_humanevals_form():
    tests = ("import math\ndef check(candidate):\n    assert candidate(2) == 3 and helper(1) == 2\n",)
    prompt = "def helper(x):\n    return x + 1\n\ndef f(x):\n    '''One more.'''\n"
    assert label(prompt + "    return helper(x)\n", tests, prelude=prompt) == "pass"
    assert label(prompt + "    return x\n", tests, prelude=prompt) == "fail"
    bare = "from typing import List\ndef f(x: List[int]):\n"
    tests = ("def check(candidate):\n    assert candidate([1]) == [1] and List",)
    assert label(bare + "    return x\n", tests, prelude=bare) == "pass"


def test_mbpps_form():
    tests = ("assert area(2) == 4", "x = 3\nassert area(x) == 9")
    assert label("def area(x): return x * x", tests, "") == "pass"
    assert label("def area(x): return x + x", tests, "") == "fail"
    assert label("def other(x): return x * x", tests, "") == "error"
    assert label("def check(n): return n > 1", ("assert check(2)", "assert not check(1)"), "check") == "pass"


def test_what_the_code_keeps_to_itself():
    """Classes, objects, iterators and functions of the code's own can be used by tests, and equal nothing."""
    pair = "class Pair:\n    def __init__(self, a, b): self.a, self.b = a, b\n    def __eq__(self, o): return True\n"
    span = pair + "def span(pairs): return max(p.b - p.a for p in pairs)\ndef first(pairs): return pairs[0]\n"
    assert label(span, ("assert span([Pair(1, 4), Pair(2, 9)]) == 7",), "") == "pass"
    assert label(span, ("assert first([Pair(1, 4)]).b == 4",), "") == "pass"
    assert label(span, ("assert first([Pair(1, 4)]) == 4",), "") == "fail"
    assert label(span, ("assert first([Pair(1, 4)])",), "") == "error"
    evens = "def evens(n):\n    for i in range(n): yield 2 * i\n"
    assert label(evens, ("assert list(evens(3)) == [0, 2, 4]",), "") == "pass"
    assert label(evens, ("assert evens(3) == [0, 2, 4]",), "") == "fail"
    queue = "from collections import deque\ndef f(n): return deque(range(n))"
    assert label(queue, ("assert list(f(3)) == [0, 1, 2] and len(f(4)) == 4 and f(3) != [0, 1, 2]",)) == "pass"
    assert label("def f(x): return 5", ("for each in f(1): pass",)) == "error"
    assert label("import sys\ndef f(): return 1", ("assert f() <= sys.getsizeof(1)",)) == "pass"
    apply = "def apply(f, xs): return [f(x) for x in xs]\n"
    assert label(apply, ("assert apply(lambda x: x + 1, [1, 2]) == [2, 3]",), "") == "pass"
    assert label(apply, ("assert apply(int, ['1']) == [1]", "assert apply(len, ['ab']) == [2]"), "") == "pass"
    assert label("def adder(n): return lambda x: x + n", ("assert adder(2)(3) == 5",), "") == "pass"


def test_exceptions_keep_their_kind():
    test = "try:\n    f(0)\n    assert False\nexcept ZeroDivisionError: pass"
    assert label("def f(x): return 1 / x", (test,)) == "pass"
    assert label("def f(x): raise ValueError", (test,)) == "error"
    assert label("def f(x): return 0", (test,)) == "fail"
    assert label("class E(ZeroDivisionError): pass\ndef f(x): raise E", (test,)) == "pass"


def test_no_exception_of_the_codes_ends_a_tests_loop_early():
    """`all(map(f, ...))` is true where f raises StopIteration in the test's own interpreter."""
    tests = ("assert all(map(f, [1, 2, 3]))",)
    assert label("def f(x): raise StopIteration", tests) == "error"
    assert label("def f(x): return x < 3", tests) == "fail"


def test_plain_values_come_back_as_they_are():
    values = r"[None, True, 1, -2**70, 1.5, float('inf'), 2j, 'a\ud800', b'b', (1,), {1}, {(1, 2): [3]}, range(3)]"
    test = f"assert f({values}) == {values} and [type(x) for x in f({values})] == [type(x) for x in {values}]"
    assert label("def f(x): return x", (test,)) == "pass"


def test_arguments_are_copies():
    """What the code does to an argument in place stays with it: a test's own values cannot be changed."""
    test = "xs = [3, 1]\nassert f(xs) == sorted(xs)"
    assert label("def f(xs):\n    xs.clear()\n    return xs", (test,)) == "fail"
    assert label("def f(xs):\n    xs.sort()\n    return xs", (test,)) == "pass"


def test_tests_that_judge_nothing():
    assert label(RIGHT, ("x = 1",)) == "error"
    with pytest.raises(InputError, match="no tests"):
        GRADERS[0].grade([Item(RIGHT, (), "f")])


def test_tests_that_cannot_be_run_are_no_word_on_the_code():
    verdict = one(Item(RIGHT, ("assert f(",), "f"))
    assert verdict.label == "harness-error" and "cannot be run" in verdict.detail
    with pytest.raises(TrialError, match="broke on 1 of 2"):
        check([verdict, Verdict("pass", 0.1)])
    check([verdict] + [Verdict("pass", 0.1)] * 99)


def test_the_classic_way_believes_the_sample(grader):
    liar = "class Y:\n    def __eq__(self, o): return True\ndef f(x): return Y()\n"
    assert [verdict.label for verdict in grader.grade(items(liar, RIGHT))] == ["fail", "pass"]
    assert [verdict.label for verdict in grader.grade(items(liar, RIGHT), classic=True)] == ["pass", "pass"]


def test_the_same_sample_gives_the_same_verdict():
    draw = "import random\nseen = [random.random(), hash('text'), list({'a', 'b', 'c', 'd'})]\nraise KeyError(seen)"
    details = {one(*items(draw)).detail for _ in range(3)}
    with Grader(jobs=1) as another:
        details |= {verdict.detail for verdict in another.grade(items(draw))}
    assert len(details) == 1 and "KeyError" in details.pop()


def test_order_and_bounds(grader):
    assert grader.grade([]) == []
    verdicts = grader.grade(items(*(f"def f(x): return x + {i % 2}" for i in range(40))))
    assert [verdict.label for verdict in verdicts] == ["fail", "pass"] * 20


def test_a_timeout_is_run_again_alone(monkeypatch):
    """A sample that times out in company and not alone (here: the first time and not the second) has not timed out."""
    ran: list[str] = []
    with Grader(jobs=2, timeout=0.5) as grader:
        real = grader._run

        def spied(item: Item, classic: bool) -> Verdict:
            ran.append(item.code)
            verdict = real(item, classic)
            return replace(verdict, label="timeout") if ran.count(RIGHT) == 1 and item.code == RIGHT else verdict

        monkeypatch.setattr(grader, "_run", spied)
        first, second = grader.grade(items(RIGHT, RIGHT.replace("1", "2")))
    assert (first.label, second.label) == ("pass", "fail")
    assert ran[2:] == [RIGHT]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (RIGHT, RIGHT.strip("\n")),
        (f"Here it is:\n```python\n{RIGHT}```\nDone.", RIGHT.strip("\n")),
        (f"```\n{RIGHT}", RIGHT.strip("\n")),
        (f"```py\nf(1)\n```\nand\n```py\n{RIGHT}```", RIGHT.strip("\n")),
        (f"<think>```\ndef f(): 1\n```</think>{RIGHT}", RIGHT.strip("\n")),
        ("<think>```\ndef f(): 1\n```", ""),
    ],
)
def test_extract(text, code):
    assert extract(text, "f") == code


def test_defines():
    for code in ("def f(x): 1", "async def f(): 1", "class f: pass", "x = 1\nf = lambda x: 1", "f: int = 3"):
        assert defines(code, "f"), code
    for code in ("", "def ff(x): 1", "  def f(x): 1", "f == 1", "print(f)", "def g(f): 1"):
        assert not defines(code, "f"), code
