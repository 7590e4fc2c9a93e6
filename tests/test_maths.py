"""Mathematical answers judged: our cases, the public corpus, hostile input, and processes that must end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

import hostile_maths
import pytest
from conftest import ROOT, shared
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bakeoff.cli import main
from bakeoff.errors import InputError
from bakeoff.grading import math as maths
from bakeoff.grading.answers import final_answer, stated
from bakeoff.grading.math import Judged, judge
from bakeoff.grading.notation import clean, value
from bakeoff.grading.verify.pool import Pool

CASES = [json.loads(line) for line in (Path(__file__).parent / "data/maths.jsonl").read_text("utf-8").splitlines()]
needs_math_verify = pytest.mark.skipif(not maths.verifier(), reason="not run: math-verify is not installed")


def one(gold: str, pred: str | None, **options) -> Judged:
    return judge([(gold, pred)], **options)[0]


# --- what is equal ---


@needs_math_verify
def test_our_own_cases():
    verdicts = judge([(case["gold"], stated(case["pred"])) for case in CASES])
    wrong = [(c["gold"], c["pred"], v) for c, v in zip(CASES, verdicts, strict=True) if v.equal is not c["equal"]]
    assert wrong == []
    assert len(CASES) > 250 and min(Counter(case["equal"] for case in CASES).values()) > 100


@needs_math_verify
def test_a_public_corpus():
    rows = [json.loads(line) for line in shared("grading", "equivalence.jsonl").read_text("utf-8").splitlines()]
    rows = [row for row in rows if not row["ambiguous"]]
    verdicts = judge([(row["gold"], stated(row["pred"])) for row in rows])
    right = [row["equal"] is verdict.equal for row, verdict in zip(rows, verdicts, strict=True)]
    assert sum(right) >= 0.97 * len(rows)
    assert all(v.equal is False for row, v in zip(rows, verdicts, strict=True) if row["category"] == "perturb")


@needs_math_verify
@pytest.mark.parametrize(
    ("path", "solution"),
    [("math500/test.jsonl", "solution"), ("math/train.jsonl", "solution"), ("gsm8k/test.jsonl", "answer")],
)
def test_reference_solutions_have_the_reference_answers(path, solution):
    rows = [json.loads(line) for line in shared("data", path).read_text("utf-8").splitlines()]
    pairs = [(row["answer"].rpartition("#### ")[2], final_answer(row[solution])) for row in rows]
    wrong = [(pair, verdict) for pair, verdict in zip(pairs, judge(pairs), strict=True) if not verdict.equal]
    assert [one for one in wrong if ", " not in str(one[0][1])] == []  # a few put several answers in boxes of their own
    assert len(wrong) <= 0.002 * len(rows)


@pytest.mark.parametrize(
    ("gold", "pred", "stage"),
    [
        ("7", None, "no-answer"),
        ("7", " $$ ", "no-answer"),
        ("\\frac{1}{2}", "\\frac{1}{2} ", "exact"),
        ("\\frac{1}{2}", "50\\%", "number"),
        ("7", "8", "number"),
        ("east", "West", "text"),
        ("\\{1,2\\}", "2, 1", "text"),
        ("x+1", "$x + 1.$", "text"),
    ],
)
def test_stages_that_need_no_formulas(gold, pred, stage):
    assert one(gold, pred, verify=False).stage == stage


@needs_math_verify
def test_the_last_stage():
    assert one("x+1", "1+x") == Judged(True, "math-verify")
    assert one("x+1", "x\\frac{") == Judged(False, "math-verify", "the prediction cannot be read as a formula")


def test_without_math_verify_nothing_is_silently_different(monkeypatch):
    monkeypatch.setattr(maths.util, "find_spec", lambda name: None)
    pairs = [("x+1", "1+x"), ("1", "1.0")]
    with pytest.raises(InputError, match=r"1 of 2 answers need math-verify, which is not installed.*\[math\]"):
        judge(pairs)
    assert [v.stage for v in judge(pairs, verify=False)] == ["ungraded", "number"]
    assert judge(pairs[1:])[0].equal is True  # nothing needs it


FRACTIONS = st.fractions(max_denominator=999, min_value=-9999, max_value=9999)


@given(FRACTIONS, st.integers(2, 9))
def test_the_same_number_in_many_spellings(x: Fraction, k: int):
    p, q, sign = abs(x.numerator), x.denominator, "-" if x < 0 else ""
    whole, rest = divmod(p, q)
    spellings = [
        f"{sign}{p}/{q}",
        rf"{sign}\frac{{{p}}}{{{q}}}",
        rf"\dfrac{{{sign}{k * p}}}{{{k * q}}}",
        f"${sign}{p}/{q}$.",
    ]
    spellings += [rf"{sign}{whole}\frac{{{rest}}}{{{q}}}"] if whole and rest else []
    spellings += [f"{sign}{p:,}", f"{sign}{p}.00", rf"\boxed{{{sign}{p}}}"] if q == 1 else []
    for spelling in spellings:
        assert value(clean(spelling)) == x, spelling
        assert one(str(x), spelling, verify=False).equal is True
        assert one(str(x + Fraction(1, 10**9)), spelling, verify=False).equal is False


@given(st.integers(0, 10**30), st.integers(0, 29), st.integers(1, 9))
@example(540, 2, 4)
def test_a_changed_digit_is_never_equal(n: int, place: int, by: int):
    digits = list(str(n))
    place %= len(digits)
    digits[place] = str((int(digits[place]) + by) % 10)
    assert one(str(n), "".join(digits), verify=False).equal is False
    assert one(f"{n}x", "".join(digits) + "x", verify=False).equal is not True


@settings(max_examples=50)
@given(st.text(max_size=60))
@example("\\" * 30)
@example("{}}{")
def test_any_text_is_read_and_is_itself(text: str):
    assert clean(text).isprintable() or "\n" in clean(text)
    assert one(text, text, verify=False).equal is bool(text.strip())


@needs_math_verify
@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=2, max_size=4), st.lists(st.integers(-9, 9), min_size=2, max_size=4))
def test_products_of_polynomials(a: list[int], b: list[int]):
    def written(coefficients: list[int]) -> str:
        return "+".join(f"({c})x^{{{k}}}" for k, c in enumerate(coefficients))

    product = [sum(a[i] * b[k - i] for i in range(len(a)) if 0 <= k - i < len(b)) for k in range(len(a) + len(b) - 1)]
    factored = f"({written(a)})({written(b)})"
    verdicts = judge([(factored, written(product)), (factored, written([product[0] + 1, *product[1:]]))])
    assert [verdict.equal for verdict in verdicts] == [True, False]


# --- what must not hang, crash or guess ---


def check(preds: list[str], golds: list[str], **options) -> Counter:
    """Every hostile answer is refused or ungraded, never equal to what it is not."""
    pairs = [(gold, pred) for pred in preds for gold in golds]
    verdicts = judge(pairs, **options)
    for (gold, pred), verdict in zip(pairs, verdicts, strict=True):
        assert verdict.equal is not True or clean(pred).strip("([{}])-") == gold, (gold, pred[:50], verdict)
        assert (verdict.equal is None) == (verdict.stage == "ungraded")
        assert verdict.equal is not None or verdict.detail
    return Counter(verdict.stage for verdict in verdicts)


@needs_math_verify
def test_hostile_answers_quickly():
    few = [*hostile_maths.TOWERS[:3], "10^7!", *hostile_maths.NESTED, *hostile_maths.FLOODS, *hostile_maths.CODE]
    stages = check(few, ["7"], patience=1.0)
    assert stages["ungraded"] > 0
    assert not Path("/tmp/bakeoff-was-here").exists()


@needs_math_verify
@pytest.mark.slow
def test_ten_thousand_pairs_with_hostile_ones_among_them():
    began = time.monotonic()
    assert check(hostile_maths.ALL, ["7", "x+1", r"\frac{\pi}{2}", "(1,2)"])["ungraded"] > 0
    honest = [(f"{k}x+{k + 1}", f"{k + 1}+x\\cdot {k}") for k in range(5000)] + [
        (str(k), f"{k}.0") for k in range(5000)
    ]
    verdicts = judge(honest)
    assert all(verdict.equal for verdict in verdicts)
    assert Counter(v.stage for v in verdicts) == {"math-verify": 5000, "number": 5000}
    assert time.monotonic() - began < 1200


def processes(pool: Pool) -> list[int]:
    return [worker._process.pid for worker in pool._workers if worker._process]


@needs_math_verify
def test_a_worker_that_hangs_is_killed_and_replaced():
    pool = Pool(jobs=1)
    try:
        hang = ("7", r"\sum_{k=1}^{1000000000} \frac{1}{k^2 + \sin k}")
        late, fine = pool.ask([hang, ("x+1", "1+x")], patience=0.5)
        assert late.equal is None and late.refused and "not decided in 0.5 s" in late.detail
        assert fine.equal is True
        (killed,) = pool.ask([hang], patience=60, seconds=1.0)
        assert killed.equal is None and not killed.refused and "its process was killed" in killed.detail
        (fine,) = pool.ask([("x+1", "1+x")])  # with the time that a new process needs to start on a busy machine
        assert fine.equal is True
    finally:
        pool.close()


@needs_math_verify
@pytest.mark.slow
def test_a_worker_that_dies_is_no_word_on_the_answer():
    pool = Pool(jobs=1)
    try:
        assert pool.ask([("x+1", "1+x")])[0].equal is True
        os.kill(processes(pool)[0], signal.SIGKILL)
        time.sleep(0.2)
        assert pool.ask([("x+1", "1+x")])[0].equal is True
        threading.Timer(0.5, lambda: os.kill(processes(pool)[0], signal.SIGSEGV)).start()
        died = pool.ask([("7", r"\sum_{k=1}^{1000000000} \frac{1}{k^2 + \sin k}")])[0]
        assert died.equal is None and not died.refused and "ended by signal 11" in died.detail
    finally:
        pool.close()


@needs_math_verify
def test_from_threads_at_once():
    found: list[bool | None] = []

    def work(k: int) -> None:
        found.append(one(f"x+{k}y", f"{k}y+x").equal)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4


PROGRAM = r"""
import os, sys
from bakeoff.grading.math import judge
print(judge([("x+1", "1+x")])[0].equal, flush=True)
if "stay" in sys.argv:
    from bakeoff.grading.verify.pool import shared
    print(*[w._process.pid for w in shared()._workers if w._process], flush=True)
    judge([("7", r"\sum_{k=1}^{1000000000} \frac{1}{k^2 + \sin k}")], patience=100, seconds=100)
"""


def started(*arguments: str) -> subprocess.Popen[str]:
    """A program from stdin, whose main module nobody can import, and which has no `if __name__` guard."""
    process = subprocess.Popen(
        [sys.executable, "-", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(PROGRAM)
    process.stdin.close()
    return process


@needs_math_verify
def test_a_main_module_that_cannot_be_imported():
    process = started()
    assert process.stdout is not None and process.stdout.read() == "True\n"
    assert process.wait() == 0


@needs_math_verify
def test_a_killed_parent_leaves_no_worker():
    process = started("stay")
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert workers
    time.sleep(0.5)  # it is computing now
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- grade-math ---


@pytest.fixture
def graded(tmp_path, capsys, monkeypatch):
    """Run grade-math on rows; exit code, what it printed, what it wrote, what it complained."""

    def run(given: list, *options: str):
        path = tmp_path / "in.jsonl"
        path.write_text("\n".join(json.dumps(row) if isinstance(row, dict) else row for row in given))
        monkeypatch.setattr(sys, "argv", ["bakeoff", "grade-math", str(path), *options])
        with pytest.raises(SystemExit) as ended:
            main()
        out, told = tmp_path / "in.graded.jsonl", capsys.readouterr()
        written = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
        return ended.value.code, told.out, written, told.err

    return run


@needs_math_verify
def test_a_file_of_answers_and_completions(graded):
    rows = [
        {"gold": "x+1", "pred": "So it is $\\boxed{1+x}$.", "id": 3},
        {"gold": 18, "pred": "She pays 20 dollars and gets two back.\nFinal Answer: 18 dollars", "equal": True},
        {"gold": "He has 1 of 2.\n#### 1/2", "pred": 0.5, "equal": False},
        {"gold": "7", "pred": "<think>is it 7?"},
        {"gold": "7", "pred": None},
        {"gold": "7", "pred": "9^{9^{9^{9}}}"},
    ]
    code, told, written, _ = graded(rows, "--jobs", "1")
    assert code == 0
    assert "6 answers: 3 equal, 0 wrong, 2 no answer, 1 ungraded" in told
    assert "math-verify 0." in told and "row 6 is ungraded: a number in it has too many digits" in told
    assert "1 of 2 agree (50.0 %)" in told
    assert [row["equal"] for row in written] == [True, True, True, False, False, None]
    assert [row["stage"] for row in written] == [
        "math-verify",
        "number",
        "number",
        "no-answer",
        "no-answer",
        "ungraded",
    ]
    assert written[0]["id"] == 3 and written[0]["answer"] == "1+x" and "label" not in written[0]
    assert written[2]["label"] is False


def test_without_math_verify_the_file_says_so(graded, monkeypatch):
    monkeypatch.setattr(maths.util, "find_spec", lambda name: None)
    rows = [{"gold": "x+1", "pred": "1+x"}, {"gold": "1", "pred": "1.0"}]
    code, _, written, complaint = graded(rows)
    assert code == 2 and not written
    assert complaint.count("\n") == 1 and "1 of 2 answers need math-verify" in complaint
    code, told, written, _ = graded(rows, "--without-math-verify")
    assert code == 0 and "formulas were not compared: without math-verify" in told
    assert [row["stage"] for row in written] == ["ungraded", "number"]


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ([], (), "holds no rows"),
        (["{"], (), "in.jsonl:1: not JSON"),
        (["[1]"], (), "in.jsonl:1: not a JSON object"),
        ([{"gold": "1", "pred": "1"}, {"gold": "1"}], (), "in.jsonl:2: no field 'pred'"),
        ([{"golds": "1", "pred": "1"}], (), "did you mean 'golds'?"),
        ([{"gold": [1], "pred": "1"}], (), "'gold' is neither text nor a number"),
        ([{"gold": "", "pred": "1"}], (), "'gold' is empty"),
        ([{"gold": None, "pred": "1"}], (), "'gold' is neither text nor a number"),
        ([{"gold": "1", "pred": {}}], (), "'pred' is neither text nor a number nor null"),
        ([{"gold": "1", "pred": "1"}], ("--out", "/nowhere/x"), "no such directory"),
        ([{"gold": "1", "pred": "1"}], ("--out", "/tmp"), "is a directory"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(graded, given, options, said):
    code, _, written, complaint = graded(given, *options)
    assert code == 2 and not written
    assert said in complaint and complaint.count("\n") == 1
