"""A file of mathematical answers, judged: what `bakeoff grade-math` does."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakeoff.errors import InputError, suggest
from bakeoff.grading import json_lines
from bakeoff.grading.answers import final_answer, stated
from bakeoff.grading.math import Judged, judge, verifier
from bakeoff.grading.verify.pool import PATIENCE

EXAMPLE = 'a line is {"gold": "1/2", "pred": "so it is \\\\boxed{0.5}"}'
SHOWN = 10  # ungraded rows that are listed


@dataclass(frozen=True)
class Asked:
    """A file that can be judged, and where the verdicts go."""

    rows: list[Mapping[str, Any]]
    out: Path


@dataclass(frozen=True)
class Graded:
    """What came of it: a verdict for each row, and the answer that was found in its `pred`."""

    asked: Asked
    answers: list[str | None]
    verdicts: list[Judged]
    seconds: float
    verifier: str


def ask(path: Path, out: Path | None) -> Asked:
    """Check everything before anything is judged. InputError says what is wrong."""
    out = json_lines.destination(path, out)
    rows = [_row(data, f"{path}:{number}") for number, data in json_lines.read(path, EXAMPLE)]
    if not rows:
        raise InputError(str(path), "holds no rows", EXAMPLE)
    return Asked(rows, out)


def grade(
    asked: Asked, jobs: int | None, verify: bool, seconds: float = PATIENCE, done: Callable[[], None] = lambda: None
) -> Graded:
    """Judge every row and write them. `done` is called after each."""
    answers = [stated(_text(row["pred"])) for row in asked.rows]
    golds = [final_answer(_text(row["gold"])) or _text(row["gold"]) for row in asked.rows]
    pairs = list(zip(golds, answers, strict=True))
    began = time.monotonic()
    verdicts = judge(pairs, jobs=jobs, verify=verify, patience=seconds, done=done)
    taken = time.monotonic() - began
    json_lines.write(asked.out, [told(*one) for one in zip(asked.rows, answers, verdicts, strict=True)])
    return Graded(asked, answers, verdicts, taken, verifier() if verify else "")


def told(row: Mapping[str, Any], answer: str | None, verdict: Judged) -> dict[str, Any]:
    """A row with its verdict; its own `equal`, where it has one, is kept as `label`."""
    own = {("label" if name == "equal" else name): value for name, value in row.items()}
    return own | {"answer": answer, "equal": verdict.equal, "stage": verdict.stage, "detail": verdict.detail}


def report(found: Graded) -> Iterator[str]:
    """The outcome in lines for a person."""
    verdicts, count = found.verdicts, Counter(_outcome(verdict) for verdict in found.verdicts)
    shown = ", ".join(f"{count[name]} {name}" for name in ("equal", "wrong", "no answer", "ungraded"))
    yield f"{len(verdicts)} answers: {shown}; {len(verdicts) / max(found.seconds, 1e-3):.0f} a second"
    stages = ", ".join(f"{n} {stage}" for stage, n in Counter(verdict.stage for verdict in verdicts).most_common())
    yield f"decided by: {stages}"
    yield found.verifier or "formulas were not compared: without math-verify"
    yield from _ungraded(verdicts)
    yield from _agreement(found)
    yield f"wrote {found.asked.out}"


def _outcome(verdict: Judged) -> str:
    if verdict.stage == "no-answer":
        return "no answer"
    return "ungraded" if verdict.equal is None else "equal" if verdict.equal else "wrong"


def _ungraded(verdicts: Sequence[Judged]) -> Iterator[str]:
    """Why rows are ungraded, and which."""
    left = [(i, verdict.detail) for i, verdict in enumerate(verdicts, 1) if verdict.equal is None]
    for i, detail in left[:SHOWN]:
        yield f"  row {i} is ungraded: {detail}"
    if len(left) > SHOWN:
        yield f"  and {len(left) - SHOWN} more"


def _agreement(found: Graded) -> Iterator[str]:
    """How often the verdicts are those that the file itself holds."""
    labels = [row.get("equal") for row in found.asked.rows]
    both = [(label, v.equal) for label, v in zip(labels, found.verdicts, strict=True) if isinstance(label, bool)]
    if both:
        same = sum(label is verdict for label, verdict in both)
        yield f"the file's own `equal`, kept as `label`: {same} of {len(both)} agree ({100 * same / len(both):.1f} %)"


def _row(data: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    for name in ("gold", "pred"):
        if name not in data:
            near = suggest(name, data) if data else ""
            raise InputError(where, f"no field '{name}'", f"{EXAMPLE}; {near}" if near.startswith("did") else EXAMPLE)
    if not _is_text(data["gold"]) or not _text(data["gold"]).strip():
        raise InputError(where, "'gold' is neither text nor a number" if data["gold"] != "" else "'gold' is empty")
    if data["pred"] is not None and not _is_text(data["pred"]):
        raise InputError(where, "'pred' is neither text nor a number nor null")
    return data


def _is_text(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
