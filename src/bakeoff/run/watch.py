"""Watch: a run's progress, as bars on a terminal and elsewhere (a log, a notebook) as a line for each trial."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from bakeoff.run.progress import Progress, varied
from bakeoff.store.record import Record
from bakeoff.study.spec import Trial


class Watch(Progress):
    """Two bars: trials of the study, with the time left, and steps of the group, with its mean loss."""

    def __init__(self, console: Console):
        self.console = console
        self._bars = Bars(
            TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), MofNCompleteColumn(),
            TextColumn("{task.fields[told]}", markup=False), TimeElapsedColumn(), TimeRemainingColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._shown = 0.0

    def __enter__(self) -> Watch:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def start(self, trials: int, stored: int) -> None:
        self._done, self._all, self._began = stored, trials, time.monotonic()
        self._trials = self._bars.add_task("trials", total=trials - stored, told=f"{stored} kept" if stored else "")
        self._steps = self._bars.add_task("", total=None, told="", visible=False)

    def more(self, trials: int) -> None:
        self._all += trials
        self._bars.update(self._trials, total=(self._bars.tasks[self._trials].total or 0) + trials)

    def group(self, trials: Sequence[Trial], engine: str) -> None:
        first = trials[0]
        name = f"{first.task} {first.method} {varied(trials)}".rstrip()
        self._bars.reset(self._steps, description=name, total=None, told="", visible=True)

    def step(self, step: int, steps: int, losses: dict[str, float]) -> None:
        if step == steps or time.monotonic() - self._shown > 0.1:
            self._shown = time.monotonic()
            mean = sum(losses.values()) / max(1, len(losses))
            self._bars.update(self._steps, completed=step, total=steps, told=f"loss {mean:.3f}")

    def evaluating(self, benchmark: str) -> None:
        self._bars.update(self._steps, told=f"answering {benchmark}")

    def trial(self, record: Record) -> None:
        self._bars.advance(self._trials)
        self._done += 1
        if self._bars.disable:
            minutes, seconds = divmod(round(time.monotonic() - self._began), 60)
            told = f"{self._done} of {self._all} trials, {minutes}:{seconds:02d}: {record.trial.label()}"
            self.console.print(told if record.status == "done" else f"{told} {record.status}", soft_wrap=True)

    def note(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False)
