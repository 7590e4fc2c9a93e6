"""Progress: what a run tells whoever watches it."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.store.record import Record
from bakeoff.study.spec import Trial


def varied(trials: Sequence[Trial]) -> str:
    """What the trials of a group differ in: `seeds 0, 1`, of tuning `rates 0.001, 0.01`; else nothing."""
    rates = [f"{one.training.learning_rate:g}" for one in trials if one.tunes and one.training]
    seeds = [str(one.seed) for one in trials if one.seed is not None]
    return f"rates {', '.join(rates)}" if rates else f"seeds {', '.join(seeds)}" if seeds else ""


class Progress:
    """Says nothing; a front end overrides what it wants to show."""

    def start(self, trials: int, stored: int) -> None:
        """The run begins: so many trials in all, so many of them already stored."""

    def more(self, trials: int) -> None:
        """So many trials more than was said at the start: tuning goes on."""

    def group(self, trials: Sequence[Trial], engine: str) -> None:
        """A group begins."""

    def step(self, step: int, steps: int, losses: dict[str, float]) -> None:
        """An optimiser step of the group is done; each lane's loss in nats."""

    def evaluating(self, benchmark: str) -> None:
        """The group's lanes answer a benchmark."""

    def trial(self, record: Record) -> None:
        """A trial is stored."""

    def note(self, text: str) -> None:
        """Something the user should know, such as an engine that was chosen for a reason."""
