"""run: carry a plan out, keep what is finished, and write the report."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from bakeoff.errors import InputError, suggest
from bakeoff.grading.code import Grader, tiers
from bakeoff.report import write
from bakeoff.run import plan as planning
from bakeoff.run.checkpoint import sweep
from bakeoff.run.choose import advanced
from bakeoff.run.disk import Disk, check, disk
from bakeoff.run.group import Workplace
from bakeoff.run.notes import damaged, edited
from bakeoff.run.plan import Plan, trials_of
from bakeoff.run.progress import Progress
from bakeoff.run.pulse import Pulse
from bakeoff.run.work import work
from bakeoff.store.record import Record
from bakeoff.store.store import Store
from bakeoff.study.spec import Study

ENGINES = ("auto", "lanes", "reference")
EXECUTORS = ("inline", "process", "ray")


@dataclass(frozen=True)
class Outcome:
    """What a run came to: the store, how many trials it ran, how many were there before, and those without a result.

    `failed` holds the records of failed and of diverged trials, of tuning trials those that failed. `paused` says why
    trials were left to be run later, where any were.
    """

    store: Store
    ran: int
    kept: int
    failed: tuple[Record, ...]
    paused: str = ""


@dataclass(frozen=True)
class Job:
    """A run that can begin: everything is checked and nothing is written. `notes` are what to know first."""

    plan: Plan
    store: Store
    engine: str
    executor: str
    need: Disk
    notes: tuple[str, ...] = ()


def run(
    study: Study,
    out: str | Path | None = None,
    *,
    engine: str = "auto",
    executor: str = "inline",
    group_size: int | None = None,
    progress: Progress | None = None,
    unsafe_no_sandbox: bool = False,
) -> Outcome:
    """Run every trial of the study that is not stored yet, and write the report. Run again = resume.

    `out` defaults to `runs/<study>`. A group with a trial missing runs again as the group it was, from its latest
    checkpoint if it has one, so that its numbers are those of an undisturbed run; failed trials are tried again,
    diverged ones are not: they would diverge again. On the main thread SIGINT and SIGTERM end the run with a
    KeyboardInterrupt: the first one once the step under way is done and saved, the second one at once.
    InputError before anything is written. `unsafe_no_sandbox` runs what a model wrote unprotected, as the report says.
    """
    job = prepare(study, out, engine=engine, executor=executor, group_size=group_size)
    return execute(job, progress, unsafe_no_sandbox)


def prepare(
    study: Study,
    out: str | Path | None = None,
    *,
    engine: str = "auto",
    executor: str = "inline",
    group_size: int | None = None,
) -> Job:
    """All that comes before the first write: the options, the directory, the plan. InputError says what is wrong."""
    for name, value, accepted in (("--engine", engine, ENGINES), ("--executor", executor, EXECUTORS)):
        if value not in accepted:
            raise InputError(name, f"unknown '{value}'", suggest(value, accepted))
    if group_size is not None and group_size < 1:
        raise InputError("--group-size", f"{group_size} is not 1 or more")
    if out == "":
        raise InputError("--out", "is empty", "name a directory")
    store = Store(Path("runs") / study.study if out is None else out)
    earlier = store.earlier(study.study)
    store.examine()
    notes = unusable_gpu()
    plan = planning.make(study, group_size)
    planning.check_engine(plan, engine)
    if earlier and planning.same_trials(plan, earlier):
        plan = planning.in_groups(plan, earlier)
        if group_size not in (None, plan.group_size):
            notes.append(
                f"--group-size {group_size} is not used: {store.directory} goes on in its groups of up to "
                f"{plan.group_size}, for the same numbers; another --out starts with new groups"
            )
    plan = advanced(plan, store)
    missing = [trial for trial in trials_of(plan) if not store.finished(trial.key())]  # a newer Bakeoff's are refused
    need = disk(plan, missing, store.directory)
    check(need, store.directory)
    notes += [*damaged(plan, store), *(edited(plan, earlier, store) if earlier else ())]
    return Job(plan, store, engine, executor, need, tuple(notes))


def unusable_gpu() -> list[str]:
    """Why the trials run on the CPU, where there is a GPU that torch cannot use: a driver too old, and the like."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return []
    reasons = [" ".join(str(one.message).split(" (Triggered internally")[0].split()) for one in told]
    return [f"the trials run on the CPU: {reason}" for reason in reasons if "CUDA" in reason]


def execute(job: Job, progress: Progress | None = None, unsafe_no_sandbox: bool = False) -> Outcome:
    """Carry a prepared run out, and write its report. InputError where a task runs code and there is no sandbox."""
    with tiers.unprotected(unsafe_no_sandbox):
        note = _sandbox(job.plan, job.store)
        return _execute(job, progress or Progress(), [*job.notes, *([note] if note else ())])


def _sandbox(plan: Plan, store: Store) -> str:
    """What the user should know of the sandbox that missing trials need; empty where all is well."""
    if not any(plan.tasks[trial.task].runs_code and not store.finished(trial.key()) for trial in trials_of(plan)):
        return ""
    with Grader(jobs=1) as grader:
        return grader.note


def _execute(job: Job, progress: Progress, notes: list[str]) -> Outcome:
    store = job.store
    with store.lock():
        plan = _as_it_is_now(job.plan, store)
        store.repair()
        store.clear_staging()
        plan = advanced(plan, store)
        store.write("plan.json", plan.as_json())  # first: a directory with a plan is a study's, and can be resumed
        for name, text in plan.files.items():
            store.write(name, text)
        with Pulse(progress, store) as pulse:
            for note in notes:
                pulse.note(note)
            pulse.start(len(trials_of(plan)), sum(store.finished(trial.key()) for trial in trials_of(plan)))
            place = Workplace(plan, store, job.engine, job.executor, pulse)
            with place.interrupt.heeded():
                done = work(place)
        sweep(store, [one for one in place.plan.groups if not all(store.finished(trial.key()) for trial in one)])
        write(store)
    records = [store.record(trial.key()) for trial in trials_of(place.plan) if store.has(trial.key())]
    failed = tuple(one for one in records if one.status in _lost(place.plan.tunes(one.trial)))
    return Outcome(store, done.ran, len(records) - done.ran, failed, done.paused)


def _as_it_is_now(plan: Plan, store: Store) -> Plan:
    """The plan in the groups of what another process may have begun since it was prepared."""
    earlier = store.earlier(plan.study.study)
    return planning.in_groups(plan, earlier) if earlier and planning.same_trials(plan, earlier) else plan


def _lost(tunes: bool) -> tuple[str, ...]:
    """How a trial ends that the user should hear of: that a learning rate diverges is what tuning asks."""
    return ("failed",) if tunes else ("failed", "diverged")
