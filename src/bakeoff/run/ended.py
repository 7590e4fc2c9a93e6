"""Ended: how a group ended, and when so many ended alike that it is not the trials' doing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bakeoff.run.group import Workplace, carry_out
from bakeoff.run.memory import TooLarge, short
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
    """Groups that fail for the same reason, one after another; numbers in a reason (bytes, addresses) may differ.

    Trials of one method that are each too large for the memory count as one: the next method may well do.
    """

    def __init__(self) -> None:
        self._reason, self._count, self._method = "", 0, set[tuple[str, str, str]]()

    def add(self, ended: Ended) -> bool:
        """Whether it is long enough to stop."""
        if ended.memory:  # it is tried again
            return False
        reason, method = re.sub(r"\d+", "#", ended.failed), _method(ended.group)
        if reason != self._reason:
            self._reason, self._count, self._method = reason, 0, set[tuple[str, str, str]]()
        self._count += not (short(reason) and method == self._method)
        self._method = method
        return bool(reason) and self._count >= RUNNING


def _method(group: Group) -> set[tuple[str, str, str]]:
    return {(one.model, one.task, one.method) for one in group}
