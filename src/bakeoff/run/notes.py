"""notes: what a run should tell first of the directory it goes on in, damage and edits of the study, in a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bakeoff.run.plan import Plan, same_trials, trials_of
from bakeoff.store.store import Store

SHOWN = 8  # labels in a line


def damaged(plan: Plan, store: Store) -> list[str]:
    """What `store.examine` found damaged, and what becomes of it."""
    labels = {trial.key(): f"{trial.label()} ({trial.key()[:8]})" for trial in trials_of(plan)}
    found = {name: _told(name, what, labels.get(name)) for name, what in store.damaged.items()}
    if store.damaged.get("plan.json") == "plan.json: absent":
        found["plan.json"] += f", with {_trials(len(store.stored() & labels.keys()))}"
    return [*found.values()]


def _told(name: str, what: str, label: str | None) -> str:
    if label:
        return f"{label} is damaged ({what}): set aside in damaged/ and trained anew"
    if what == f"{name}: absent":
        return f"{name} is absent: made anew from the study"
    if name == "plan.json":
        return f"damaged: {what}: set aside in damaged/ and made anew from the study"
    if len(name) == 64:
        return f"trials/{name} is damaged ({what}) and no trial of this study: set aside in damaged/"
    return f"damaged: {what}: set aside in damaged/ and written anew"


def edited(plan: Plan, earlier: Mapping[str, Any], store: Store) -> list[str]:
    """What an edit of the study since its earlier plan.json brings: trials that are new, and stored ones left out."""
    tuning = earlier.get("tuning")
    before = {row["key"] for row in (*earlier["trials"], *(tuning["trials"] if tuning else ()))}
    now = {trial.key(): trial for stage in plan.stages for trial in stage}
    chosen = plan.decided and (not tuning or tuning["decided"])  # else trials come by being chosen, not by an edit
    if now.keys() == before or (same_trials(plan, earlier) and not chosen):
        return []
    new = [trial.label() for key, trial in now.items() if key not in before and not store.has(key)]
    left = len(store.stored() - now.keys())
    return [
        *([f"new in this study: {_listed(new)}"] if new else ()),
        *([f"{_trials(left)} of an earlier form of the study: kept in trials/, and in no table"] if left else ()),
    ]


def _trials(n: int) -> str:
    return f"{n:,} stored trial" + ("" if n == 1 else "s")


def _listed(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:SHOWN])
    return shown if len(labels) <= SHOWN else f"{shown} and {len(labels) - SHOWN} more"
