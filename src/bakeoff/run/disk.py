"""disk: the room that a run's results need, and the room that there is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bakeoff.errors import InputError
from bakeoff.report.tables.text import size
from bakeoff.run.checkpoint import KEPT
from bakeoff.run.plan import Plan, method_of
from bakeoff.study.spec import Trial

WEIGHT = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}  # bytes of a number
CHECKPOINT = 3  # times an adapter's size: itself, and AdamW's two moments


@dataclass(frozen=True)
class Disk:
    """Bytes: what the trials that are missing will leave, what a group's checkpoints take meanwhile, and what is free.

    What an earlier run left of checkpoints and in staging gives way, and counts as free. An estimate by the numbers
    trained: samples, curves and reports are small beside them where they matter. A file system that counts no space
    (some of the network's) has `free` None.
    """

    adapters: int
    checkpoints: int
    free: int | None

    @property
    def needed(self) -> int:
        return self.adapters + self.checkpoints

    def __str__(self) -> str:
        parts = f"adapters {size(self.adapters)}, a group's checkpoints {size(self.checkpoints)}"
        free = "what is free is not known" if self.free is None else f"{size(self.free)} is free"
        return f"about {size(self.needed)} ({parts}), and {free}"


def disk(plan: Plan, missing: Sequence[Trial], directory: Path) -> Disk:
    """What `missing` trials need where `directory` is or will be."""
    sizes = {trial.key(): _adapter(plan, trial) for trial in missing}
    several = KEPT + 1  # one more is written before the oldest goes
    group = max((sum(sizes.get(trial.key(), 0) for trial in group) for group in plan.groups), default=0)
    path = directory.absolute()
    there = next(place for place in (path, *path.parents) if os.path.exists(place))
    usage = shutil.disk_usage(there)
    passing = sum(_held(directory / name) for name in ("checkpoints", "staging"))
    return Disk(sum(sizes.values()), several * CHECKPOINT * group, usage.free + passing if usage.total else None)


def check(need: Disk, directory: Path) -> None:
    """InputError where there is too little room."""
    if need.free is not None and need.free < need.needed:
        what = f"too little room for what {directory} will hold: it needs {need}"
        mend = "free some, give another directory, or lower it: fewer methods or seeds, a smaller rank, no `full`"
        raise InputError("--out", what, mend)


def _held(folder: Path) -> int:
    """Bytes of the files below a folder; what goes meanwhile is left out."""
    found = 0
    for at, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found += os.lstat(os.path.join(at, name)).st_size
    return found


def _adapter(plan: Plan, trial: Trial) -> int:
    """Bytes of what the trial trains: an adapter in float32 at least, a whole model as it is."""
    weight = WEIGHT[trial.dtype]
    return plan.parameters[trial.model, trial.method] * (weight if method_of(trial).solo else max(4, weight))
