"""Python functions: taught on CodeParrot's files, tested on HumanEval (Chen et al., 2021) in a sandbox."""

from __future__ import annotations

import ast
import random
import re
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import ClassVar, Literal

from bakeoff.analysis.pass_at_k import pass_at_k
from bakeoff.data.datasets import read
from bakeoff.grading.code import Item, Verdict, grade_code, judge
from bakeoff.grading.code.rows import program
from bakeoff.grading.text import jaccard, spoken, unrelated_floor
from bakeoff.study.spec import Decoding
from bakeoff.tasks.task import Completion, Example, Grade, Message, Sources, Task, subset

CODEPARROT, HUMANEVAL = "codeparrot/codeparrot-clean", "openai/openai_humaneval"
FILES = 50_000  # of the first 500,000 of CodeParrot's 5,361,373, by a fixed draw
LONGEST = 2_000  # characters of a function that is taught: HumanEval's have 132 to 1,993
SYSTEM = Message(role="system", content="Complete the Python function that begins here, and answer with all of it.")

_FUNCTION = re.compile(r"^def .*?(?=^[^\s)\]}#]|\Z)", re.MULTILINE | re.DOTALL)  # up to the next statement
_DOCSTRING = re.compile(r"""(?:\s*import\s\w+\n)?\s*[rRuU]?(\"{3}|'{3}).*?\1[^\n]*\n""", re.DOTALL)


class CodeParrotHumanEval(Task):
    """Trained on one documented function of each of 50,000 files, of those that have one; tested on HumanEval's 164.

    The user's turn is a function's header and docstring, HumanEval's prompt to the letter; the answer is the whole
    function. Taught is a file's first function at its top level that has a docstring, no decorator, returns a value
    and is no longer than 2,000 characters. Both pass@1 and pass@5 are estimated without bias from 10 draws at
    temperature 0.2, which the paper behind HumanEval found best for pass@1; a study's `decoding` may say otherwise,
    and with fewer than 5 draws there is no pass@5.
    """

    name = "codeparrot_humaneval"
    kind: ClassVar[Literal["choose", "generate"]] = "generate"
    metrics = ("pass@1", "pass@5", "jaccard")
    benchmarks = ("humaneval",)
    hub_ids = (CODEPARROT, HUMANEVAL)
    decoding = Decoding(max_new_tokens=512, temperature=0.2, top_p=0.95, samples=10)
    summary = "Python functions from header and docstring, judged by unit tests"
    runs_code = True

    def train(self, sources: Sources, limit: int | None) -> list[Example]:
        return list(islice(_functions(sources), limit))

    def test(self, benchmark: str, sources: Sources, limit: int | None) -> list[Example]:
        fields = {"task_id": str, "prompt": str, "entry_point": str, "canonical_solution": str, "test": str}
        return [_problem(row) for row in subset(read(HUMANEVAL, ("test", "HumanEval"), sources, fields=fields), limit)]

    def grade(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Grade]:
        """Runs every completion with its problem's tests, sandboxed; no scores where the sandbox broke."""
        items = [_item(e, c.text) for e, c in zip(examples, completions, strict=True)]
        verdicts = judge(items)
        passed: dict[str, list[bool]] = {}
        for example, verdict in zip(examples, verdicts, strict=True):
            if verdict is None or verdict.label != "harness-error":
                passed.setdefault(example.id, []).append(verdict is not None and verdict.label == "pass")
        each = zip(examples, completions, items, verdicts, strict=True)
        return [_grade(e, c.text, item, verdict, passed.get(e.id, ())) for e, c, item, verdict in each]

    def floors(self, benchmark: str, examples: Sequence[Example]) -> dict[str, float]:
        solutions = [example.reference["solution"] for example in examples]
        return {"jaccard": unrelated_floor(solutions)} if len(solutions) > 1 else {}


def _grade(example: Example, text: str, item: Item, verdict: Verdict | None, passed: Sequence[bool]) -> Grade:
    """A completion's scores; `passed` tells of all draws of its problem, whose pass@5 each of them carries."""
    grade = grade_code(item, verdict)
    if grade["scores"]:
        if len(passed) >= 5:
            grade["scores"]["pass@5"] = pass_at_k(len(passed), sum(passed), 5)
        written = _body(spoken(text), example.reference["entry_point"])
        grade["scores"]["jaccard"] = jaccard(written, example.reference["solution"])
    return Grade(**grade)


def _item(example: Example, text: str) -> Item:
    """A completion as a program with its problem's tests; one that says nothing is no program."""
    prompt, entry_point, said = example.prompt[-1].content, example.reference["entry_point"], spoken(text)
    code = program(prompt, said, entry_point) if said.strip() else ""
    return Item(code, (example.reference["test"],), entry_point, prompt)


def _body(text: str, entry_point: str) -> str:
    """What stands in a function below its header and docstring; the text itself where it has no such function."""
    head = re.search(rf"^(?:async\s+)?def\s+{re.escape(entry_point)}\b.*?:[ \t]*\n", text, re.MULTILINE | re.DOTALL)
    if head is None:
        return text
    rest = text[head.end() :]
    docstring = _DOCSTRING.match(rest)
    return re.split(r"^(?=\S)", rest[docstring.end() if docstring else 0 :], maxsplit=1, flags=re.MULTILINE)[0]


def _problem(row: dict[str, str]) -> Example:
    whole = row["prompt"] + row["canonical_solution"]
    messages = (SYSTEM, Message(role="user", content=row["prompt"]), Message(role="assistant", content=whole.strip()))
    reference = {"entry_point": row["entry_point"], "test": row["test"], "solution": row["canonical_solution"]}
    return Example(id=row["task_id"], messages=messages, reference=reference)


def _functions(sources: Sources) -> Iterator[Example]:
    """An example of each file that has one, in a fixed random order."""
    rows = list(enumerate(read(CODEPARROT, "train", sources, fields={"content": str}, sample=FILES)))
    random.Random(0).shuffle(rows)
    for number, row in rows:
        if found := _documented(row["content"]):
            prompt, function = found
            messages = (Message(role="user", content=prompt), Message(role="assistant", content=function))
            yield Example(id=f"codeparrot-{number}", messages=(SYSTEM, *messages))


def _documented(source: str) -> tuple[str, str] | None:
    """The first function of a file that can be taught: its header with the docstring, and all of it."""
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    for found in _FUNCTION.finditer(source):
        function = found.group().strip()
        above = source[: found.start()].rstrip("\n").rpartition("\n")[2]
        if above.startswith("@") or len(function) > LONGEST or not ('"""' in function or "'''" in function):
            continue
        if lines := _docstring_lines(function):
            return "\n".join(function.split("\n")[:lines]) + "\n", function
    return None


def _docstring_lines(function: str) -> int:
    """The number of lines down to the end of the docstring; 0 for what does not return a value below one."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in strings
            body = ast.parse(function).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef) or not ast.get_docstring(body[0]):
        return 0
    first, *rest = body[0].body
    returns = any(isinstance(node, ast.Return) and node.value for part in rest for node in ast.walk(part))
    return (first.end_lineno or 0) if returns and rest[0].lineno > (first.end_lineno or 0) else 0
