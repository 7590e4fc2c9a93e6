"""Errand: a group as plain data, for a process that shares nothing with the one that sends it but the directory."""

from __future__ import annotations

from pathlib import Path

import torch

import bakeoff
from bakeoff.errors import BakeoffError, TrialError
from bakeoff.grading.code import tiers
from bakeoff.run import plan as planning
from bakeoff.run.group import Workplace
from bakeoff.run.progress import Progress
from bakeoff.store.store import Store
from bakeoff.study import registry
from bakeoff.study.spec import Frozen, Study, Trial


class Setting(Frozen):
    """What all groups of a run have in common. `unsafe` is `--unsafe-no-sandbox`, `plugins` have their hashes."""

    study: Study
    directory: str
    engine: str
    executor: str
    threads: int
    unsafe: bool
    plugins: tuple[str, ...] = ()
    version: str = bakeoff.__version__
    torch: str = torch.__version__


class Errand(Frozen):
    """One group, its number in the plan, and how it is carried out by itself."""

    number: int
    trials: tuple[Trial, ...]


def setting(place: Workplace) -> Setting:
    """The workplace of this process as data."""
    return Setting(
        study=place.plan.study,
        directory=str(place.store.directory.absolute()),
        engine=place.engine,
        executor=place.executor,
        threads=torch.get_num_threads(),
        unsafe=tiers.wanted() == ("none",),
        plugins=tuple(map(registry.plugin_hash, place.plan.study.plugins)),
    )


def errand(place: Workplace, group: tuple[Trial, ...]) -> Errand:
    """A group of the plan as data."""
    return Errand(number=place.plan.groups.index(group), trials=group)


def workplace(told: Setting, progress: Progress, directory: str | Path | None = None) -> Workplace:
    """The same workplace in this process, with as many threads; results go to `directory` where one is given.

    BakeoffError where other programs are here than where the run began.
    """
    for name, here, there in (("Bakeoff", bakeoff.__version__, told.version), ("torch", torch.__version__, told.torch)):
        if here != there:
            raise BakeoffError(f"{name} {here} is installed here, and the run is one of {there}")
    torch.set_num_threads(told.threads)
    for i, (plugin, sha256) in enumerate(zip(told.study.plugins, told.plugins, strict=True)):
        registry.load_plugin(Path(plugin), f"plugins.{i}", sha256)
    plan = planning.make(told.study)
    return Workplace(plan, Store(directory or told.directory), told.engine, told.executor, progress)


def check(place: Workplace, trials: tuple[Trial, ...]) -> None:
    """TrialError where a trial's data or weights are not those that this process reads."""
    here = {trial.model: trial.weights for trial in place.plan.trials}
    for trial in trials:
        if trial.weights != here.get(trial.model):
            raise TrialError(f"models.{trial.model}.path: other files than when the run began")
        if trial.dataset != place.plan.examples_of(trial).fingerprint:
            raise TrialError(f"tasks.{trial.task}: other data than when the run began")
