"""run: carry a plan out, keep what is finished, and write the report."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from bakeoff.errors import InputError, suggest
from bakeoff.report import write
from bakeoff.run import plan as planning
from bakeoff.run.group import Workplace
from bakeoff.run.plan import Plan
from bakeoff.run.progress import Progress
from bakeoff.store.record import Record
from bakeoff.store.store import Store
from bakeoff.study.load import dump
from bakeoff.study.spec import Study

ENGINES = ("auto", "lanes", "reference")
EXECUTORS = ("inline",)


@dataclass(frozen=True)
class Outcome:
    """What a run came to: the store, how many trials it ran, how many were there before, and those that failed."""

    store: Store
    ran: int
    kept: int
    failed: tuple[Record, ...]


def run(
    study: Study,
    out: str | Path | None = None,
    *,
    engine: str = "auto",
    executor: str = "inline",
    group_size: int | None = None,
    plan: Plan | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Run every trial of the study that is not stored yet, and write the report. Run again = resume.

    `out` defaults to `runs/<study>`. A group with a trial missing runs again as the group it was, so that its numbers
    are those of an undisturbed run; failed trials are tried again. InputError before anything is written.
    """
    for name, value, accepted in (("--engine", engine, ENGINES), ("--executor", executor, EXECUTORS)):
        if value not in accepted:
            raise InputError(name, f"unknown '{value}'", suggest(value, accepted))
    if group_size is not None and group_size < 1:
        raise InputError("--group-size", f"{group_size} is not 1 or more")
    plan = plan or planning.make(study, group_size)
    planning.check_engine(plan, engine)
    store = Store(out or Path("runs") / study.study)
    if store.directory.exists() and not store.directory.is_dir():
        raise InputError(str(store.directory), "is a file, not a directory", "give another --out")
    progress = progress or Progress()
    with store.lock():
        store.write("study.yaml", dump(study))
        store.write("plan.json", plan.as_json())
        missing = {trial.key() for trial in plan.trials if not _finished(store, trial.key())}
        groups = [(n, group) for n, group in enumerate(plan.groups) if any(t.key() in missing for t in group)]
        progress.start(len(plan.trials), len(plan.trials) - len(missing))
        submit = importlib.import_module(f"bakeoff.run.executors.{executor}").submit
        submit(Workplace(plan, store, engine, executor, progress), groups)
        write(store)
    records = [store.record(trial.key()) for trial in plan.trials]
    failed = tuple(record for record in records if record.status == "failed")
    return Outcome(store, len(missing), len(plan.trials) - len(missing), failed)


def _finished(store: Store, key: str) -> bool:
    return store.has(key) and store.record(key).status != "failed"
