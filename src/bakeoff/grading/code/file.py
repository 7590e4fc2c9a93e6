"""A file of completions, graded: what `bakeoff grade-code` does."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bakeoff.analysis.pass_at_k import PassAtK, enough, estimate
from bakeoff.errors import InputError
from bakeoff.grading import json_lines
from bakeoff.grading.code import rows as files
from bakeoff.grading.code import tiers
from bakeoff.grading.code.grader import Grader, check
from bakeoff.grading.code.rows import Row
from bakeoff.grading.code.slot import Verdict

SHOWN = 20  # differences that are listed


@dataclass(frozen=True)
class Asked:
    """A file that can be graded, where the verdicts go, and for which k."""

    rows: list[Row]
    out: Path
    ks: tuple[int, ...]


@dataclass(frozen=True)
class Graded:
    """What came of it."""

    asked: Asked
    verdicts: list[Verdict]
    classic: list[Verdict] | None
    rates: list[PassAtK]
    seconds: float


def ask(path: Path, out: Path | None, k: str, timeout: float) -> Asked:
    """Check everything before anything is run. InputError says what is wrong."""
    ks = tuple(dict.fromkeys(_whole(part) for part in k.split(",")))
    if not 0 < timeout <= 3600 or not math.isfinite(timeout):
        raise InputError("--timeout", f"{timeout:g} is not between 0 and 3600 seconds")
    rows = files.read(path)
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.task_id, []).append(row)
    for one in ks:
        enough(found, one)
    return Asked(rows, json_lines.destination(path, out), ks)


@contextmanager
def grader(jobs: int | None, timeout: float, unsafe: bool) -> Iterator[Grader]:
    with tiers.unprotected(unsafe), Grader(jobs=jobs, timeout=timeout) as one:
        yield one


def grade(asked: Asked, grader: Grader, official: bool) -> Graded:
    """Judge every row, write the verdicts, and estimate each pass@k. TrialError where the grader broke too often."""
    items = [row.item for row in asked.rows]
    began = time.monotonic()
    verdicts = grader.grade(items)
    seconds = time.monotonic() - began
    classic = grader.grade(items, classic=True) if official else None
    files.write(asked.out, asked.rows, verdicts, classic)
    check(verdicts)
    passed = files.passed(asked.rows, verdicts)
    rates = [estimate({name: own for name, own in passed.items() if len(own) >= k}, k) for k in asked.ks]
    return Graded(asked, verdicts, classic, rates, seconds)


def told(found: Graded) -> Iterator[str]:
    """The outcome in lines for a person."""
    asked, labels = found.asked, Counter(verdict.label for verdict in found.verdicts)
    problems = len({row.task_id for row in asked.rows})
    for rate in found.rates:
        error = "" if rate.standard_error is None else f" (standard error {100 * rate.standard_error:.1f})"
        left = problems - rate.problems
        lost = f"; {left} left out, where the sandbox broke and fewer than {rate.k} verdicts remain" if left else ""
        yield f"pass@{rate.k}: {100 * rate.mean:.1f} %{error} over {rate.problems} problems{lost}"
    shown = ", ".join(f"{count} {label}" for label, count in labels.most_common())
    rate = f"{len(asked.rows) / found.seconds:.0f} a second"
    yield f"{len(asked.rows)} completions: {shown}; {rate}; sandbox: {found.verdicts[0].sandbox}"
    if found.classic is not None:
        yield from _differences(asked.rows, found.verdicts, found.classic)
    yield f"wrote {asked.out}"


def _differences(rows: list[Row], strict: list[Verdict], classic: list[Verdict]) -> Iterator[str]:
    """Where the classic way would have passed what the judge does not, or the other way round."""
    pairs = zip(rows, strict, classic, strict=True)
    other = [(i, *pair) for i, pair in enumerate(pairs, 1) if (pair[1].label == "pass") != (pair[2].label == "pass")]
    yield f"official semantics (one namespace, the code's own word): {len(other)} verdicts differ"
    for i, row, here, there in other[:SHOWN]:
        yield f"  row {i}, {row.task_id}: {here.label} here, {there.label} there; {here.detail or there.detail}"
    if len(other) > SHOWN:
        yield f"  and {len(other) - SHOWN} more"


def _whole(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise InputError("--k", f"'{text}' is not a whole number of 1 or more", "give for example --k 1,5")
    return int(text)
