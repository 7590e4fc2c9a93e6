"""Work: what is missing of a plan, stage by stage, through an executor; contained where something breaks."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from bakeoff.run import plan as planning
from bakeoff.run.choose import advanced
from bakeoff.run.ended import RUNNING, Ended, Streak, Submit
from bakeoff.run.group import Workplace
from bakeoff.run.plan import trials_of


@dataclass(frozen=True)
class Done:
    """How many trials were tried, and why the run paused with some left, where it did."""

    ran: int
    paused: str = ""


def work(place: Workplace) -> Done:
    """Run what is missing, stage by stage, since the trials of a stage decide on the next.

    A group that is too large for the memory goes on in halves, down to one trial, which fails alone. The same failure
    in three groups running pauses the run: the rest is left as it is, to be run when that is mended.
    """
    opened = importlib.import_module(f"bakeoff.run.executors.{place.executor}").opened
    ran: set[str] = set()
    streak = Streak()
    with opened(place) as submit:
        while missing := _missing(place, ran):
            left = set(missing)
            while left:
                if paused := _round(place, submit, left, streak):
                    return Done(len(ran | missing - left), paused)
            ran |= missing
            _advance(place)
    return Done(len(ran))


def _round(place: Workplace, submit: Submit, left: set[str], streak: Streak) -> str:
    """Try every group that holds one of the trials that are `left`; why the run pauses, where it does."""
    groups = [group for group in place.plan.groups if any(trial.key() in left for trial in group)]
    for ended in submit(groups):
        if ended.memory:
            _halve(place, ended)
        else:
            left -= {trial.key() for trial in ended.group}
        if streak.add(ended):
            many = sum(trial.key() in left for trial in trials_of(place.plan))
            return (
                f"paused: {RUNNING} groups running failed in the same way, and {many} trials are left to be run; mend "
                f"what it was and run the same command again: {ended.failed}"
            )
    return ""


def _halve(place: Workplace, ended: Ended) -> None:
    """Two groups for one in the plan, on disk too, so that a resumed run has the same."""
    first, second = planning.halves(ended.group)
    place.plan = place.plan.halved(ended.group)
    place.store.write("plan.json", place.plan.as_json())
    trial = ended.group[0]
    place.progress.note(
        f"{trial.task}/{trial.method}: {len(ended.group)} trials in one pass are too much for the memory; they go on "
        f"as {len(first)} and {len(second)} ({ended.memory})"
    )


def _missing(place: Workplace, ran: set[str]) -> set[str]:
    """The trials without a result, of the first stage that has any; what failed in this run is not tried again."""
    for stage in place.plan.stages:
        if missing := {t.key() for t in stage if not place.store.finished(t.key())} - ran:
            return missing
    return set()


def _advance(place: Workplace) -> None:
    """Put what stored results decide into the plan, on disk too, and tell it."""
    before, place.plan = place.plan, advanced(place.plan, place.store)
    if place.plan.stages == before.stages:
        return
    place.store.write("plan.json", place.plan.as_json())
    if (more := len(trials_of(place.plan)) - len(trials_of(before))) > 0:
        place.progress.more(more)
    place.progress.note(planning.told_of_tuning(place.plan))
