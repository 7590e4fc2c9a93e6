"""Rows: completions to grade as JSON lines, in HumanEval's form or MBPP's, and the same rows with their verdicts."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakeoff.errors import InputError, suggest
from bakeoff.grading import json_lines
from bakeoff.grading.code.extract import defines, extract
from bakeoff.grading.code.slot import Item, Verdict

FIELDS = ("task_id", "prompt", "completion", "test", "entry_point")
LIST = "test_list"  # MBPP's name for tests that are one assert each
EXAMPLE = 'a line is {"task_id": ..., "prompt": ..., "completion": ..., "test": ..., "entry_point": ...}'


@dataclass(frozen=True)
class Row:
    """One line of a file: what it said, and the sample it stands for."""

    task_id: str
    data: Mapping[str, Any]
    item: Item


def read(path: Path) -> list[Row]:
    """Every row of a file. InputError with file and line for what cannot be graded."""
    rows: list[Row] = []
    first: dict[str, tuple[int, Item]] = {}
    for number, data in json_lines.read(path, EXAMPLE):
        row = _row(data, f"{path}:{number}")
        line, item = first.setdefault(row.task_id, (number, row.item))
        if (row.item.tests, row.item.entry_point) != (item.tests, item.entry_point):
            raise InputError(
                f"{path}:{number}", f"task '{row.task_id}' has other tests than in line {line}", "name it anew"
            )
        rows.append(row)
    if not rows:
        raise InputError(str(path), "holds no rows", EXAMPLE)
    return rows


def write(
    path: Path, rows: Iterable[Row], verdicts: Sequence[Verdict], classic: Sequence[Verdict] | None = None
) -> None:
    """Write the rows with verdict, seconds, detail and sandbox, at once and complete; `classic` under `official`."""
    others = [{"official": verdict.label} for verdict in classic] if classic else [{} for _ in verdicts]
    json_lines.write(path, [_told(*one) for one in zip(rows, verdicts, others, strict=True)])


def _told(row: Row, verdict: Verdict, other: Mapping[str, str]) -> dict[str, Any]:
    told = {"verdict": verdict.label, "seconds": round(verdict.seconds, 4), "detail": verdict.detail}
    return {**row.data, **told, "sandbox": verdict.sandbox, **other}


def passed(rows: Iterable[Row], verdicts: Iterable[Verdict]) -> dict[str, list[bool]]:
    """Whether each completion of each task passed; those on which the grader broke are not counted."""
    found: dict[str, list[bool]] = {}
    for row, verdict in zip(rows, verdicts, strict=True):
        own = found.setdefault(row.task_id, [])
        if verdict.label != "harness-error":
            own.append(verdict.label == "pass")
    return found


def program(prompt: str, completion: str, entry_point: str) -> str:
    """The code that a completion stands for.

    A fenced block that defines the entry point is a program by itself; otherwise the completion goes on where a prompt
    that begins the function ends, and any other prompt is only a request.
    """
    if entry_point and "```" in completion:
        code = extract(completion, entry_point)
        if defines(code, entry_point):
            return f"{prompt}\n{code}\n" if _begins(prompt, entry_point) else code
    if _begins(prompt, entry_point):
        return prompt + completion
    return completion if entry_point or "```" not in completion else extract(completion, "")


def _begins(prompt: str, entry_point: str) -> bool:
    return bool(entry_point) and defines(prompt, entry_point)


def _row(data: Mapping[str, Any], where: str) -> Row:
    if "test" not in data and LIST not in data:
        raise InputError(where, "no field 'test'", _near("test", data))
    for name in ("task_id", "completion"):
        if name not in data:
            raise InputError(where, f"no field '{name}'", _near(name, data))
    for name in ("prompt", "completion", "entry_point", "test_setup_code"):
        if not isinstance(data.get(name) or "", str):
            raise InputError(where, f"'{name}' is no text")
    task_id = data["task_id"]
    if isinstance(task_id, bool) or not isinstance(task_id, str | int):
        raise InputError(where, "'task_id' is neither text nor a number")
    prompt, entry_point = data.get("prompt") or "", data.get("entry_point") or ""
    tests = _tests(data.get("test", data.get(LIST)), entry_point, where)
    code = program(prompt, data["completion"], entry_point)
    tests = (data["test_setup_code"], *tests) if data.get("test_setup_code") else tests
    prelude = prompt if _begins(prompt, entry_point) else ""
    return Row(str(task_id), data, Item(code, tests, entry_point, prelude))


def _tests(given: Any, entry_point: str, where: str) -> tuple[str, ...]:
    """The tests as text that Python can read and that can judge something."""
    tests = [given] if isinstance(given, str) else given
    if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
        raise InputError(where, "'test' is neither text nor a list of texts")
    if not any(test.strip() for test in tests):
        raise InputError(where, "'test' is empty: everything would pass")
    used: set[str] = set()
    defined: set[str] = set()
    for test in tests:
        try:
            tree = ast.parse(test)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise InputError(where, f"'test' is not Python ({error})") from None
        used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        defined |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if entry_point and not entry_point.isidentifier():
        raise InputError(where, f"'entry_point' is no name: {entry_point[:60]!r}")
    if entry_point and entry_point not in used and "check" not in defined:
        mend = "tests define check(candidate), as HumanEval's, or use the function by its name, as MBPP's"
        raise InputError(where, f"'test' neither uses '{entry_point}' nor defines 'check'", mend)
    if not entry_point and "check" in defined - used:
        raise InputError(where, "no field 'entry_point'")
    return tuple(tests)


def _near(name: str, data: Mapping[str, Any]) -> str:
    near = suggest(name, data) if data else ""
    return f"{EXAMPLE}; {near}" if near.startswith("did you mean") else EXAMPLE
