"""Interrupt: what SIGINT (Ctrl-C) and SIGTERM do, to a program and to the work in it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_TOLD = b"\nStopping: what is done is saved first. Once more stops at once.\n"
EXIT_CODE = 130

_lasts: list[Callable[[], object]] = []


def listen(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Let `handler` have SIGINT and SIGTERM from now on; the handlers that it replaces.

    Outside the main thread, and where a signal is ignored, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    before: dict[int, Any] = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    mine = {one: old for one, old in before.items() if old not in (signal.SIG_IGN, None)}
    for one in mine:
        signal.signal(one, handler)
    return mine


@contextmanager
def lastly(act: Callable[[], object]) -> Iterator[None]:
    """Do something when the block ends, be it that a signal ends the whole program in it."""
    _lasts.append(act)
    try:
        yield
    finally:
        _lasts.remove(act)
        act()


class Stop:
    """A program's handler, while nothing is at work that could be saved: it ends the program at once, with one line.

    No KeyboardInterrupt: that would be lost in a `__del__`, and torch aborts where it comes in a call from C++.
    """

    asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.asked = True
            for act in [*reversed(_lasts), _leave]:
                with suppress(Exception):
                    act()
        os._exit(EXIT_CODE)


def _leave() -> None:
    if os.isatty(1):
        os.write(1, b"\x1b[?25h")  # bars hide the cursor
    os.write(2, b"Interrupted.\n")
    sys.stdout.flush()


class Interrupt:
    """While work goes on: once asks for a stop where nothing is lost, twice stops at once.

    The work calls `check` where it can be taken up again. A process that works for another one (an executor's) heeds
    signals of its own in the same way.
    """

    asked = False

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Listen, and leave the handlers as they were."""
        before = listen(self._ask)
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def check(self) -> None:
        """KeyboardInterrupt where a stop was asked for."""
        if self.asked:
            raise KeyboardInterrupt

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        with suppress(OSError):  # its reader may be gone: the same Ctrl-C ends a `| tee`
            os.write(2, _TOLD)  # no print: a signal may come in the middle of one
