"""verify: a study's directory held against its hashes, its plan and itself."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from bakeoff.analysis.table import results
from bakeoff.report.write import as_json
from bakeoff.store import durable
from bakeoff.store.state import STATES, state
from bakeoff.store.store import Store


@dataclass(frozen=True)
class Verified:
    """What was found: in a line, what is damaged, and what else there is to know, a line each."""

    summary: str
    damage: tuple[str, ...]
    remarks: tuple[str, ...]


def verify(store: Store) -> Verified:
    """Read everything and hold it against its hashes; nothing is written."""
    found = store.examine()
    told, damage, remarks = ("the plan is lost", [], []) if "plan.json" in found else _planned(store)
    for path, what in ((store.place(name), what) for name, what in found.items()):
        damage.append(f"{path.relative_to(store.directory)}: {what.removeprefix(f'{path.name}: ')}")
    checkpoints, bad = _checkpoints(store)
    hashed = sum(len(_manifest(store, key)) for key in store.stored())
    summary = f"{told}; {hashed:,} files of {len(store.stored()):,} stored trials are as they were written"
    if checkpoints:
        summary += f", and {checkpoints:,} checkpoint{'s' * (checkpoints > 1)}"
    return Verified(summary, (*damage, *bad), (*remarks, *_strangers(store), *_left(store)))


def _planned(store: Store) -> tuple[str, list[str], list[str]]:
    """The plan's counts, and what of the plan and of results.json does not agree with the trials."""
    plan, now = store.plan(), state(store)
    counts = ", ".join(f"{now.count(one)} {one}" for one in STATES if now.count(one))
    damage = []
    grouped = Counter(key for group in plan["groups"] for key in group)
    known = Counter(row["key"] for row, _, _ in (now.trials if now.decided else now.trials[: now.tuning]))
    if grouped != known:
        damage.append(
            f"plan.json: lists {known.total()} trials, and its groups hold {(known & grouped).total()} of them"
        )
    for row, became, _ in now.trials:
        if became in ("done", "diverged", "failed"):
            trial = store.record(row["key"]).trial
            if any(getattr(trial, name) != row[name] for name in ("model", "task", "method", "seed")):
                damage.append(f"trials/{row['key']}: is of {trial.label()}, and plan.json says otherwise")
    remarks = []
    if now.left_out:
        remarks.append(f"stored trials of earlier forms of the study, in no table: {now.left_out}")
    if now.holder:
        remarks.append(f"a process is running the study ({now.holder}): this is how it stands now")
    if what := _results(store):
        (remarks if now.count("missing") or now.holder else damage).append(what)
    return f"{len(now.trials)} trials planned: {counts}", damage, remarks


def _results(store: Store) -> str:
    """How results.json differs from what the store says; empty where it does not, and where that cannot be told."""
    path = store.directory / "results.json"
    if store.damaged:
        return ""
    if not path.is_file():
        return "results.json: absent; `bakeoff report` writes it"
    if path.read_bytes() == as_json(results(store)).encode():
        return ""
    return (
        "results.json: not what the trials say (edited, older, or another version's); `bakeoff report` writes it anew"
    )


def _checkpoints(store: Store) -> tuple[int, list[str]]:
    """How many checkpoints are whole, and what is wrong with the others."""
    home = store.directory / "checkpoints"
    found = {path: durable.check(path, extra=False) for path in map(home.joinpath, sorted(glob("*/*", root_dir=home)))}
    folders = [path for path in found if path.is_dir()]  # a run at work may have removed some meanwhile
    wrong = {path: found[path] for path in folders if found[path]}
    told = [f"{path.relative_to(store.directory)}: {'; '.join(what)}" for path, what in wrong.items()]
    return len(folders) - len(wrong), told


def _manifest(store: Store, key: str) -> dict[str, durable.Entry]:
    try:
        return durable.manifest(store.trials / key)
    except ValueError:
        return {}


def _strangers(store: Store) -> list[str]:
    """What lies in trials/ that Bakeoff did not write: it does no harm."""
    there = {path.name for path in store.trials.glob("*")} - store.stored() - store.damaged.keys()
    return [f"trials/{name}: not written by Bakeoff" for name in sorted(there)] + [
        f"trials/{key}/{name}: not written by Bakeoff"
        for key in sorted(store.stored())
        if (told := _manifest(store, key))
        for name in durable.strangers(store.trials / key, told)
    ]


def _left(store: Store) -> list[str]:
    """What runs that died have left, and what was set aside."""
    half = _inside(store.directory / "staging") + len(store.partial())
    aside = _inside(store.directory / "damaged")
    who = "the process at work" if store.holder() else "a run that died, which the next one clears away"
    return [
        *([f"half-written files and directories of {who}: {half}"] if half else ()),
        *([f"set aside in damaged/, which nothing reads: {aside}"] if aside else ()),
    ]


def _inside(folder: Path) -> int:
    with suppress(OSError):  # also where it may not be looked into
        return len(list(folder.iterdir()))
    return 0
