"""Pulse: what a run is at, kept in progress.json while it runs, for whoever asks from outside."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from bakeoff.errors import StorageError
from bakeoff.run.progress import Progress, varied
from bakeoff.store.record import Record
from bakeoff.store.state import PROGRESS, At
from bakeoff.store.store import Store
from bakeoff.study.spec import Trial

EVERY = 1.0  # seconds between writes while only steps go by
_UNSEEN = OSError, UnicodeError, SystemExit  # of a screen that is gone or full (Rich exits where nobody reads a pipe)


class Pulse(Progress):
    """Passes everything on to `inner`, and writes it down: at most once a second, and never to be waited for.

    A full disk is for others to report: what is said here is only news. So the work goes on where nobody sees it.
    """

    def __init__(self, inner: Progress, store: Store):
        self._inner, self._store = inner, store
        self._running: dict[str, None] = {}
        self._about: dict[str, Any] = {}
        self._began = time.monotonic()
        self._written, self._seconds = -EVERY, 0.0

    def __enter__(self) -> Pulse:
        if self._store.holder() is None:  # though this process took it
            alone = "see to it that no other process runs the study"
            self.note(f"{self._store.directory}: its file system keeps no locks: {alone}")
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            (self._store.directory / PROGRESS).unlink()

    def start(self, trials: int, stored: int) -> None:
        with suppress(*_UNSEEN):
            self._inner.start(trials, stored)

    def more(self, trials: int) -> None:
        with suppress(*_UNSEEN):
            self._inner.more(trials)

    def group(self, trials: Sequence[Trial], engine: str) -> None:
        with suppress(*_UNSEEN):
            self._inner.group(trials, engine)
        self._running |= dict.fromkeys(trial.key() for trial in trials if not self._store.finished(trial.key()))
        self._about = {"group": _named(trials), "engine": engine}
        self._write()

    def step(self, step: int, steps: int, losses: dict[str, float]) -> None:
        with suppress(*_UNSEEN):
            self._inner.step(step, steps, losses)
        self._about |= {"step": step, "steps": steps, "benchmark": ""}
        if time.monotonic() - self._written >= EVERY:
            self._write()

    def evaluating(self, benchmark: str) -> None:
        with suppress(*_UNSEEN):
            self._inner.evaluating(benchmark)
        self._about |= {"benchmark": benchmark}
        self._write()

    def trial(self, record: Record) -> None:
        self._running.pop(record.key, None)
        if record.provenance.resumed_at:  # its seconds are those of all sittings: counting begins anew after it
            self._began, self._seconds = time.monotonic(), 0.0
        else:
            self._seconds += record.cost.train_seconds + record.cost.eval_seconds
        with suppress(*_UNSEEN):
            self._inner.trial(record)

    def note(self, text: str) -> None:
        with suppress(*_UNSEEN):
            self._inner.note(text)

    def _write(self) -> None:
        self._written = time.monotonic()
        told = At(
            running=tuple(self._running),
            elapsed_seconds=self._written - self._began,
            counted_seconds=self._seconds,
            **self._about,
        )
        with suppress(StorageError):
            self._store.write(PROGRESS, told.model_dump_json() + "\n", sync=False)


def _named(trials: Sequence[Trial]) -> str:
    """A group for people: `task/method/seeds 0, 1`."""
    first = trials[0]
    several = f"{first.task}/{first.method}/{varied(trials)}"
    return first.label() if len(trials) == 1 else several
