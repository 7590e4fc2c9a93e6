"""Ended: how a group ended, and when so many ended alike that it is not the trials' doing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bakeoff.run.group import Workplace, carry_out
from bakeoff.run.memory import TooLarge
from bakeoff.study.spec import Trial

RUNNING = 3  # groups one after another that fail for the same reason: the next would too

Group = tuple[Trial, ...]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A group that was carried out: `failed` says why, where all its trials failed for one reason.

    `memory` says why instead where memory ran out for several trials at once: none is stored, and fewer may do.
    """

    group: Group
    failed: str = ""
    memory: str = ""


Submit = Callable[[Sequence[Group]], Iterator[Ended]]
"""What an executor does: carries groups of the plan out, each told as it ends."""


def attend(place: Workplace, number: int, group: Group) -> Ended:
    """Carry a group out in this process."""
    try:
        records = carry_out(place, number, group)
    except TooLarge as error:
        return Ended(group=group, memory=str(error))
    reasons = {record.reason if record.status == "failed" else "" for record in records}
    return Ended(group=group, failed=reasons.pop() if len(reasons) == 1 else "")


class Streak:
    """Groups that fail for the same reason, one after another; numbers in a reason (bytes, addresses) may differ."""

    def __init__(self) -> None:
        self._reason, self._count = "", 0

    def add(self, ended: Ended) -> bool:
        """Whether it is long enough to stop."""
        if ended.memory:  # it is tried again
            return False
        reason = re.sub(r"\d+", "#", ended.failed)
        self._count = self._count + 1 if reason == self._reason else 1
        self._reason = reason
        return bool(reason) and self._count >= RUNNING
