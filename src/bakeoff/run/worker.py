"""Worker: the process of the `process` executor. It is given groups and tells what becomes of them, in lines of JSON.

A line is a list, its name first. Asked: `["setting", Setting]` once, then `["group", Errand]` again and again, and
`["stop"]` where the run was asked to stop. Told: what Progress has, and how a group ended. It ends when the other end
of its socket closes.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from bakeoff.errors import BakeoffError, StorageError, TrialError
from bakeoff.grading.code import tiers
from bakeoff.models.quiet import quiet_libraries
from bakeoff.run.ended import Ended, attend
from bakeoff.run.errand import Errand, Setting, check, workplace
from bakeoff.run.group import Workplace, fail
from bakeoff.run.progress import Progress
from bakeoff.store.record import Record
from bakeoff.study.spec import Trial

TICK = 0.2  # seconds between two looks at whether anything else is to be done
_ENDS = (signal.SIGINT, signal.SIGTERM)


class Line:
    """One end of the socket between a run and its worker."""

    def __init__(self, end: socket.socket):
        self._end, self._got = end, b""

    def tell(self, *message: Any) -> None:
        """Send one message; OSError where nobody listens."""
        self._end.sendall(json.dumps(message).encode() + b"\n")

    def hear(self, gone: Callable[[], bool] = lambda: False) -> list[Any] | None:
        """The next message; None when the other end is closed, or `gone`, which is asked now and then, and silent."""
        while b"\n" not in self._got:
            silent = gone()  # asked first: what was said before the end is heard
            try:
                more = self._end.recv(2**20) if select.select([self._end], [], [], TICK)[0] else None
            except OSError:
                return None
            if more == b"" or (more is None and silent):
                return None
            self._got += more or b""
        line, self._got = self._got.split(b"\n", 1)
        return json.loads(line)


class _Lifeline(Line):
    """The worker's end: nothing is left to be done where nobody listens any more, and no trial is to fail of that."""

    def tell(self, *message: Any) -> None:
        try:
            super().tell(*message)
        except OSError:
            os._exit(0)


class Telling(Progress):
    """Progress, told over the line."""

    def __init__(self, line: Line):
        self._tell = line.tell

    def group(self, trials: Sequence[Trial], engine: str) -> None:
        self._tell("begins", engine)

    def step(self, step: int, steps: int, losses: dict[str, float]) -> None:
        self._tell("step", step, steps, losses)

    def evaluating(self, benchmark: str) -> None:
        self._tell("evaluating", benchmark)

    def trial(self, record: Record) -> None:
        self._tell("trial", record.key)

    def note(self, text: str) -> None:
        self._tell("note", text)


@contextmanager
def held() -> Iterator[None]:
    """What asks for an end waits until the context closes; in a process started within it, until that listens."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main() -> None:
    """Work for whoever holds the other end of the socket that is inherited as this number."""
    _die_with_parent()
    line = _Lifeline(socket.socket(fileno=int(sys.argv[1])))
    asked: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
    _, told = line.hear() or os._exit(0)
    quiet_libraries()
    try:
        place = workplace(Setting.model_validate_json(json.dumps(told)), Telling(line))
    except BakeoffError as error:
        return line.tell("refused", str(error))
    except Exception as error:  # where memory is short, anything
        return line.tell("refused", f"--executor process: the worker did not start; {type(error).__name__}: {error}")
    _heed(place)
    line.tell("ready")
    threading.Thread(target=_listen, args=(line, asked, place), daemon=True).start()
    with tiers.unprotected(told["unsafe"]):
        while True:
            _, errand = asked.get()
            _carry_out(line, place, Errand.model_validate_json(json.dumps(errand)))


def _die_with_parent() -> None:
    """Have the kernel kill this process with the run's, even where it is stopped; elsewhere the socket tells it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _heed(place: Workplace) -> None:
    """A Ctrl-C is for the run, which tells; a SIGTERM that came here too, or here alone, asks for a stop."""

    def ask(number: int, frame: FrameType | None) -> None:
        place.interrupt.asked = True

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, ask)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)


def _listen(line: Line, asked: queue.SimpleQueue[list[Any]], place: Workplace) -> None:
    """Take what is asked while the work goes on; with the run, its worker ends at once."""
    try:
        while message := line.hear():
            if message[0] == "stop":
                place.interrupt.asked = True
            else:
                asked.put(message)
    finally:
        os._exit(0)


def _carry_out(line: Line, place: Workplace, errand: Errand) -> None:
    try:
        ended = _ended(place, errand)
        line.tell("ended", ended.failed, ended.memory)
    except StorageError as error:
        line.tell("storage", str(error.path), error.what, error.mend)
    except KeyboardInterrupt:
        line.tell("interrupted")


def _ended(place: Workplace, errand: Errand) -> Ended:
    try:
        check(place, errand.trials)
    except TrialError as error:
        fail(place, errand.number, errand.trials, error)
        return Ended(group=errand.trials, failed=str(error))
    return attend(place, errand.number, errand.trials)


if __name__ == "__main__":
    main()
