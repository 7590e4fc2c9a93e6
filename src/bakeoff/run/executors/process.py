"""process: groups one after another in a process beside this one, so that what breaks there ends one group.

The process keeps its model from group to group, and is replaced when it dies or a group fails in it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import bakeoff
from bakeoff.errors import BakeoffError, StorageError, TrialError
from bakeoff.run import memory
from bakeoff.run.ended import Ended, Group, Submit
from bakeoff.run.errand import errand, setting
from bakeoff.run.group import Workplace, fail
from bakeoff.run.worker import Line, held

PATIENCE = 2.0  # seconds for a worker that is to end, and has nothing to save


@contextmanager
def opened(place: Workplace) -> Iterator[Submit]:
    """Groups are carried out in their order; in the end no process is left."""
    crew = _Crew(place)
    try:
        yield crew.submit
    finally:
        crew.dismiss()


class _Crew:
    """At most one worker at a time."""

    def __init__(self, place: Workplace):
        self._place = place
        self._worker: _Worker | None = None

    def submit(self, groups: Sequence[Group]) -> Iterator[Ended]:
        for group in groups:
            ended = self._carried_out(group)
            if ended.failed or ended.memory:  # it may have broken more than the group: a GPU's state, a library's
                self.dismiss()
            yield ended

    def dismiss(self) -> None:
        if self._worker:
            self._worker.end()
            self._worker = None

    def _carried_out(self, group: Group) -> Ended:
        if self._worker is None:
            self._place.interrupt.check()
            self._worker = _Worker(self._place)
        killed = memory.kills()
        ended = self._worker.carry_out(group)
        if ended is None:
            reason, short = _died(self._worker.end(), killed)
            self._place.interrupt.check()  # who stops everything may have hit the worker first
            if short and len(group) > 1:
                return Ended(group=group, memory=reason)
            fail(self._place, self._place.plan.groups.index(group), group, TrialError(reason))
            return Ended(group=group, failed=reason)
        return ended


class _Worker:
    """A process that carries groups out; it dies when this one does, since that closes its socket."""

    def __init__(self, place: Workplace):
        self._place, self._stopped = place, False
        ours, theirs = socket.socketpair()
        root = str(Path(bakeoff.__file__).parent.parent)
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        with held():  # until the worker listens
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bakeoff.run.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a terminal's Ctrl-C is for this process alone
                env={**os.environ, "PYTHONPATH": path},
            )
        theirs.close()
        self._socket, self._line = ours, Line(ours)
        try:
            self._begin(memory.kills())
        except BaseException:
            self.end()
            raise

    def _begin(self, killed: int | None) -> None:
        """Wait until it is ready; BakeoffError says why it is not."""
        first = None
        with suppress(BrokenPipeError, ConnectionResetError):
            self._line.tell("setting", setting(self._place).model_dump(mode="json"))
            first = self._line.hear()
        self._place.interrupt.check()
        if first is None:
            raise BakeoffError(f"--executor process: the worker did not start; {_died(self.end(), killed)[0]}")
        if first[0] == "refused":
            raise BakeoffError(first[1])

    def carry_out(self, group: Group) -> Ended | None:
        """How the group ended; None where the process died over it."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._line.tell("group", errand(self._place, group).model_dump(mode="json"))
            while message := self._line.hear(self._gone):
                if ended := self._heard(group, *message):
                    return ended
        return None

    def _gone(self) -> bool:
        """Whether the process has ended; a child of its own may hold its end of the line open.

        Where a stop was asked for, it is told: it saves first, and says that it was interrupted.
        """
        if self._place.interrupt.asked and not self._stopped:
            self._stopped = True
            self._line.tell("stop")
        return self._process.poll() is not None

    def end(self) -> int:
        """Let the process end, by force where it does not, and the code that it ended with."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _heard(self, group: Group, what: str, *told: Any) -> Ended | None:
        progress = self._place.progress
        match what:
            case "ended":
                return Ended(group=group, failed=told[0], memory=told[1])
            case "storage":
                raise StorageError(*told)
            case "interrupted":
                raise KeyboardInterrupt
            case "begins":
                progress.group(group, told[0])
            case "trial":
                progress.trial(self._place.store.record(told[0]))
            case _:
                getattr(progress, what)(*told)


def _died(code: int, killed: int | None) -> tuple[str, bool]:
    """Why a worker died, by the code that it ended with, and whether that was most likely for want of memory."""
    if code >= 0:
        return f"its process ended by itself with the code {code}", False
    if code != -signal.SIGKILL:
        names = {one.value: one.name for one in signal.Signals}
        return f"its process died of {names.get(-code, f'signal {-code}')}", False
    if killed is None:
        return "its process was killed (SIGKILL); whether for want of memory this system does not tell", False
    if (memory.kills() or 0) > killed:
        return "out of memory: the kernel killed its process (SIGKILL)", True
    return "its process was killed (SIGKILL), but not by the kernel for want of memory", False
