"""Interrupt: Ctrl-C or SIGTERM once asks the work to stop where nothing is lost, twice stops it at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_TOLD = b"\nStopping: what is done is saved first. Once more stops at once.\n"


class Interrupt:
    """Whether somebody asked for a stop. The work calls `check` where it can be taken up again.

    A process that works for another one (an executor's) heeds signals of its own in the same way.
    """

    asked = False

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Listen to SIGINT and SIGTERM. Outside the main thread, and where a signal is ignored, nothing is changed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
        mine = [one for one, handler in before.items() if handler not in (signal.SIG_IGN, None)]
        try:
            for one in mine:
                signal.signal(one, self._ask)
            yield
        finally:
            for one in mine:
                signal.signal(one, before[one])

    def check(self) -> None:
        """KeyboardInterrupt where a stop was asked for."""
        if self.asked:
            raise KeyboardInterrupt

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        os.write(2, _TOLD)  # no print: a signal may come in the middle of one
