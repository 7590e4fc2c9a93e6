"""State: how far a study is: what became of each trial, what is at work, and for how long yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from bakeoff.errors import DamageError
from bakeoff.store.lock import Holder
from bakeoff.store.record import Record
from bakeoff.store.store import Store
from bakeoff.study.spec import Frozen

PROGRESS = "progress.json"
STATES = ("done", "diverged", "failed", "damaged", "running", "missing")


class At(Frozen):
    """progress.json: what a run is at. `counted_seconds` are the finished trials' own, in `elapsed_seconds` of it."""

    running: tuple[str, ...] = ()
    group: str = ""
    engine: str = ""
    step: int = 0
    steps: int = 0
    benchmark: str = ""
    elapsed_seconds: float = 0.0
    counted_seconds: float = 0.0

    def __str__(self) -> str:
        doing = f"answering {self.benchmark}" if self.benchmark else f"step {self.step:,} of {self.steps:,}"
        return f"{self.group}: {doing}" if self.group and (self.benchmark or self.steps) else self.group or "preparing"


@dataclass(frozen=True)
class State:
    """Each planned trial (tuning's first) with what became of it, and why; and who is at work, on what.

    `left_out` counts the stored trials of earlier forms of the study. `seconds_left` is None where nothing tells.
    """

    study: str
    trials: tuple[tuple[Mapping[str, Any], str, str], ...]
    tuning: int
    decided: bool
    left_out: int
    holder: Holder | None
    at: At | None
    seconds_left: float | None

    def count(self, state: str) -> int:
        """How many trials are in that state."""
        return sum(one == state for _, one, _ in self.trials)


def state(store: Store) -> State:
    """How far the study is, as its directory tells now."""
    plan, holder = store.plan(), store.holder()
    at = _at(store) if holder else None
    tuning = plan.get("tuning") or {"trials": [], "decided": True}
    rows = [*tuning["trials"], *plan["trials"]]
    told = [_became(store, row["key"], at) for row in rows]
    return State(
        study=plan["study"],
        trials=tuple((row, became, why) for row, (became, why, _) in zip(rows, told, strict=True)),
        tuning=len(tuning["trials"]),
        decided=tuning["decided"],
        left_out=len(store.stored() - {row["key"] for row in rows}),
        holder=holder,
        at=at,
        seconds_left=_left(rows, [record for _, _, record in told], at),
    )


def _at(store: Store) -> At:
    try:
        return At.model_validate_json((store.directory / PROGRESS).read_bytes())
    except (OSError, ValidationError):  # not yet there, or of another version: it is only news
        return At()


def _became(store: Store, key: str, at: At | None) -> tuple[str, str, Record | None]:
    """A trial's state, the reason of what went wrong, and its record."""
    if at and key in at.running:
        return "running", "", None
    if key in store.damaged:
        return "damaged", store.damaged[key], None
    if not store.has(key):
        return "missing", "", None
    try:
        record = store.record(key)
    except DamageError as error:
        return "damaged", str(error), None
    return record.status, record.reason, record


def _left(rows: Sequence[Mapping[str, Any]], records: Sequence[Record | None], at: At | None) -> float | None:
    """Seconds until the rest is done, at the finished trials' times: those of the same method first, then of any.

    What a run takes beside its trials' own times, or saves by running several at once, goes on as it went so far.
    """
    spent: dict[tuple[str, ...], list[float]] = {}
    for row, record in zip(rows, records, strict=True):
        if record and record.status != "failed":
            for kind in ((row["model"], row["task"], row["method"]), (row["model"], row["task"]), ()):
                spent.setdefault(kind, []).append(record.cost.train_seconds + record.cost.eval_seconds)
    if not spent:
        return None
    seconds = 0.0
    for row, record in zip(rows, records, strict=True):
        if record is None or (record.status == "failed" and at is None):  # a run tries what failed before it
            kinds = ((row["model"], row["task"], row["method"]), (row["model"], row["task"]), ())
            known = next(spent[kind] for kind in kinds if kind in spent)
            seconds += sum(known) / len(known)
    return seconds * (at.elapsed_seconds / at.counted_seconds if at and at.counted_seconds else 1.0)
