"""bakeoff grade-code and doctor: files in, verdicts and pass@k out, and one line for what cannot be graded."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mutants
import pytest
from conftest import shared

import bakeoff
from bakeoff.cli import main
from bakeoff.errors import InputError
from bakeoff.grading import json_lines
from bakeoff.grading.code import file, rows, tiers
from bakeoff.grading.code.grader import Grader

PROMPT = "def f(x):\n    '''One more.'''\n"
CHECK = "def check(candidate):\n    assert candidate(2) == 3\n"
ROW = {"task_id": "a", "prompt": PROMPT, "completion": "    return x + 1\n", "test": CHECK, "entry_point": "f"}
LIAR = "class Y:\n    def __eq__(self, o): return True\ndef f(x): return Y()\n"


@pytest.fixture
def graded(tmp_path, capsys, monkeypatch):
    """Run grade-code on rows; exit code, what it printed, what it wrote, what it complained."""

    def run(given: list, *options: str):
        path = tmp_path / "in.jsonl"
        path.write_text("\n".join(json.dumps(row) if isinstance(row, dict) else row for row in given))
        monkeypatch.setattr(sys, "argv", ["bakeoff", "grade-code", str(path), *options])
        with pytest.raises(SystemExit) as ended:
            main()
        out = tmp_path / "in.graded.jsonl"
        told = capsys.readouterr()
        written = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
        return ended.value.code, told.out, written, told.err

    return run


def test_verdicts_and_pass_at_k(graded):
    wrong = ROW | {"completion": "    return x\n"}
    mbpp = {"task_id": 7, "prompt": "Write a function to add one.", "completion": "def g(x): return x + 1",
            "test": "assert g(1) == 2\nassert g(2) == 3"}  # fmt: skip
    code, told, written, _ = graded([ROW, wrong, mbpp, mbpp | {"extra": [1]}], "--k", "1,2", "--jobs", "2")
    assert code == 0
    assert "pass@1: 75.0 % (standard error 25.0) over 2 problems" in told
    assert "pass@2: 100.0 % (standard error 0.0) over 2 problems" in told
    assert "4 completions: 3 pass, 1 fail" in told and "sandbox: " in told
    assert [row["verdict"] for row in written] == ["pass", "fail", "pass", "pass"]
    assert written[3]["extra"] == [1] and written[1]["detail"].startswith("AssertionError")
    assert all(row["seconds"] >= 0 for row in written)  # 0 where it had ended by the time that it was listened to
    assert all(row["sandbox"] in tiers.PROTECTED for row in written)


def test_problems_on_which_the_sandbox_breaks_are_left_out_and_said(graded):
    """One of 100 rows: its tests can be parsed and not run."""
    test = "assert f(2) == 3"
    rows = [ROW | {"task_id": i, "test": test if i else f"{test}\nreturn"} for i in range(100)]
    code, told, written, _ = graded(rows)
    assert code == 0 and [row["verdict"] for row in written[:2]] == ["harness-error", "pass"]
    left = "1 left out, where the sandbox broke and fewer than 1 verdicts remain"
    assert f"pass@1: 100.0 % (standard error 0.0) over 99 problems; {left}\n" in told
    code, _, written, complaints = graded(rows[:20])
    assert code != 0 and "grading code broke on 1 of 20 samples" in complaints and len(written) == 20


def test_mbpps_own_fields(graded):
    row = {
        "task_id": 8,
        "prompt": "identify",
        "completion": "def g(x): return x + 1",
        "test_list": ["assert g(Two.n) == 3"],
    }
    code, told, _, _ = graded([row | {"test_setup_code": "import math\nclass Two: n = math.floor(2.5)"}])
    assert code == 0 and "1 completions: 1 pass" in told


def test_official_semantics_beside_the_strict_ones(graded):
    liar = {"task_id": "b", "prompt": "", "completion": LIAR, "test": "assert f(2) == 3", "entry_point": "f"}
    code, told, written, _ = graded([ROW, liar], "--also-official-semantics")
    assert code == 0 and "pass@1: 50.0 %" in told
    assert "1 verdicts differ" in told and "row 2, b: fail here, pass there" in told
    assert [row["official"] for row in written] == ["pass", "pass"]


def test_unprotected_only_when_asked_for_and_never_silently(graded):
    code, told, written, complaints = graded([ROW], "--unsafe-no-sandbox")
    assert code == 0 and "UNPROTECTED" in complaints and "sandbox: none" in told
    assert written[0]["verdict"] == "pass" and written[0]["sandbox"] == "none"
    assert tiers.wanted() == tiers.PROTECTED  # and only for that one command


def test_no_sandbox_is_one_clear_line(graded, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    code, _, written, complaints = graded([ROW])
    assert code == 2 and not written
    assert (
        complaints.count("\n") == 1 and "apt install bubblewrap" in complaints and "--unsafe-no-sandbox" in complaints
    )


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ([], (), "holds no rows"),
        (["{"], (), "in.jsonl:1: not JSON"),
        (["[1]"], (), "in.jsonl:1: not a JSON object"),
        ([ROW, {"task_id": "a", "prompt": PROMPT, "test": CHECK}], (), "in.jsonl:2: no field 'completion'"),
        ([{**ROW, "test": ""}], (), "'test' is empty: everything would pass"),
        ([{**ROW, "test": "def check(:"}], (), "'test' is not Python"),
        ([{**ROW, "test": "x = 1"}], (), "'test' neither uses 'f' nor defines 'check'"),
        ([{**ROW, "test": [1]}], (), "neither text nor a list of texts"),
        ([{k: v for k, v in ROW.items() if k != "test"} | {"tests": CHECK}], (), "did you mean 'tests'?"),
        ([{k: v for k, v in ROW.items() if k != "entry_point"}], (), "no field 'entry_point'"),
        ([{**ROW, "entry_point": "f()"}], (), "'entry_point' is no name"),
        ([{**ROW, "completion": None, "prompt": 3}], (), "'prompt' is no text"),
        ([{**ROW, "task_id": [1]}], (), "'task_id' is neither text nor a number"),
        ([ROW, {**ROW, "test": CHECK + "\n"}], (), "task 'a' has other tests than in line 1"),
        ([ROW], ("--k", "2"), "pass@2: 1 of 1 problems have fewer completions"),
        ([ROW], ("--k", "0"), "'0' is not a whole number of 1 or more"),
        ([ROW], ("--timeout", "nan"), "--timeout: 'nan' is no number above 0; give one such as 3"),
        ([ROW], ("--out", "/nowhere/x"), "no such directory"),
        ([ROW], ("--out", "/tmp"), "is a directory"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_run(graded, monkeypatch, given, options, said):
    monkeypatch.setattr(file, "grader", None)
    code, _, written, complaints = graded(given, *options)
    assert code == 2 and not written
    assert said in complaints and complaints.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="not run: this system makes no files without a name")
def test_a_file_of_verdicts_has_no_name_until_it_is_whole(tmp_path):
    """So a kill -9 leaves none; and what was there stays if there is an error."""
    path, seen = tmp_path / "out.jsonl", []

    def rows(last: int) -> Iterator[dict]:
        for i in range(3):
            seen.append(os.listdir(tmp_path))
            yield {"i": 1 // (last - i)}

    json_lines.write(path, rows(3))
    json_lines.write(path, rows(4))
    assert seen == [[]] * 3 + [["out.jsonl"]] * 3
    whole = path.read_text()
    with pytest.raises(ZeroDivisionError):
        json_lines.write(path, rows(2))
    assert os.listdir(tmp_path) == ["out.jsonl"] and path.read_text() == whole != ""


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "latin").write_bytes(b'{"task_id": "\xe9"}')
    for name, said in (("missing", "no such file"), (".", "is a directory"), ("latin", "not UTF-8 at byte 13")):
        with pytest.raises(InputError, match=said):
            rows.read(tmp_path / name)
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(ROW))
    with pytest.raises(InputError, match="is FILE itself"):
        file.ask(path, path, "1", 3)


@pytest.mark.parametrize(
    ("prompt", "completion", "code"),
    [
        (PROMPT, "    return x\n", PROMPT + "    return x\n"),
        ("Add one.", "def f(x): return x", "def f(x): return x"),
        (PROMPT, "Sure:\n```python\ndef f(x):\n    return x\n```\n", PROMPT + "\ndef f(x):\n    return x\n"),
        ("Add one.", "```python\ndef f(x): return x\n```", "def f(x): return x"),
        (PROMPT, "    return '```'\n", PROMPT + "    return '```'\n"),
    ],
)
def test_the_program_that_a_completion_stands_for(prompt, completion, code):
    assert rows.program(prompt, completion, "f") == code


def test_doctor(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bakeoff", "doctor"])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().out
    assert ended.value.code == 0 and "Model-written code runs in: " in told
    monkeypatch.setattr(shutil, "which", lambda name: None)
    if not tiers.missing("landlock"):
        with pytest.raises(SystemExit):
            main()
        told = capsys.readouterr().out
        assert f"Model-written code runs in: landlock\nFor the stronger one, {tiers.INSTALL}\n" in told
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().out
    assert ended.value.code == 1
    assert "bubblewrap (namespaces, seccomp, no capabilities): no: bubblewrap is not installed" in told
    assert "Model-written code is refused here" in told


# ---- HumanEval ----------------------------------------------------------------------------------------------------


def humaneval(path: Path, completion: Callable[[dict], str]) -> Path:
    """HumanEval with a completion for each problem, as a file."""
    with gzip.open(shared("data", "humaneval", "HumanEval.jsonl.gz"), "rt") as problems, open(path, "w") as out:
        for problem in map(json.loads, problems):
            row = {name: problem[name] for name in ("task_id", "prompt", "test", "entry_point")}
            out.write(json.dumps(row | {"completion": completion(problem)}) + "\n")
    return path


def verdicts(path: Path, classic: bool = False, timeout: float = 3.0) -> list[str]:
    items = [row.item for row in rows.read(path)]
    with Grader(timeout=timeout) as grader:
        return [verdict.label for verdict in grader.grade(items, classic=classic)]


def test_humanevals_own_solutions_pass(tmp_path):
    path = humaneval(tmp_path / "x.jsonl", lambda problem: problem["canonical_solution"])
    assert verdicts(path, timeout=15) == ["pass"] * 164


def test_none_solves_no_problem_of_humaneval(tmp_path):
    path = humaneval(tmp_path / "x.jsonl", lambda problem: "    return None\n")
    assert set(verdicts(path)) <= {"fail", "error"}


@pytest.mark.slow
def test_humanevals_own_solutions_pass_the_classic_way_too(tmp_path):
    path = humaneval(tmp_path / "x.jsonl", lambda problem: problem["canonical_solution"])
    assert verdicts(path, classic=True) == ["pass"] * 164


@pytest.mark.slow
@pytest.mark.parametrize("number", range(6))
def test_mutated_solutions_get_the_verdict_that_plain_python_gives_them(tmp_path, number):
    path = humaneval(tmp_path / "x.jsonl", lambda problem: mutants.mutated(problem, number))
    environment = os.environ | {"PYTHONPATH": str(Path(bakeoff.__file__).parents[1])}
    plain = subprocess.run(
        [sys.executable, mutants.__file__, str(path)], capture_output=True, text=True, check=True, env=environment
    )
    truth = json.loads(plain.stdout)
    found = [label == "pass" for label in verdicts(path)]
    assert 0 < sum(truth) < 164
    assert [i for i, (one, other) in enumerate(zip(truth, found, strict=True)) if one != other] == []
