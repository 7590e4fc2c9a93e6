"""inline: groups one after another in this process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bakeoff.run.group import Workplace, carry_out
from bakeoff.store.record import Record
from bakeoff.study.spec import Trial


def submit(place: Workplace, groups: Iterable[tuple[int, Sequence[Trial]]]) -> list[Record]:
    """Run numbered groups in their order; the records of all their trials."""
    return [record for number, trials in groups for record in carry_out(place, number, trials)]
