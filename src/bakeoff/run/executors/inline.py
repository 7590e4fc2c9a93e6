"""inline: groups one after another in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bakeoff.run.ended import Ended, Group, Submit, attend
from bakeoff.run.group import Workplace


@contextmanager
def opened(place: Workplace) -> Iterator[Submit]:
    """Groups are carried out in their order."""

    def submit(groups: Sequence[Group]) -> Iterator[Ended]:
        return (attend(place, place.plan.groups.index(group), group) for group in groups)

    yield submit
