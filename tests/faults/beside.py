"""A worker of the process executor that is forked from its run instead of started anew: at once, and armed.

What makes it a process of its own is as the executor asks: its session, its standard output, no file of the run's but
the socket. Its number is written to the log. A run's `worker={...}` are the Faults of its first worker, with `every` of
all its workers; with `started=True` they are started as ever, and not armed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

from faults.breaks import Points


def fork_workers() -> None:
    """Let this run, which is armed, fork its workers."""
    from bakeoff.run.executors import process

    if _told().get("started"):
        return
    process.subprocess = cast(  # pyright: ignore[reportPrivateImportUsage]
        Any, SimpleNamespace(**{**vars(subprocess), "Popen": Forked})
    )


class Forked:
    """What the executor uses of subprocess.Popen."""

    many = 0

    def __init__(self, command: Sequence[str], *, pass_fds: Sequence[int], **_: Any):
        self.returncode: int | None = None
        Forked.many += 1
        self.pid = os.fork()
        if not self.pid:
            _work(command, pass_fds)

    def poll(self) -> int | None:
        """How it ended, negative by that signal; None where it has not."""
        if self.returncode is None and (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.returncode = os.waitstatus_to_exitcode(ended[1])
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """How it ended; subprocess.TimeoutExpired where it does not in so many seconds."""
        deadline = time.monotonic() + (timeout or 1e9)
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("worker", timeout or 0)
            time.sleep(0.005)
        return code

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


def _told() -> dict[str, Any]:
    """What this run is told, the Faults and more."""
    from bakeoff.store import durable

    return cast(dict[str, Any], cast(Points, durable.armed).faults)


def _work(command: Sequence[str], kept: Sequence[int]) -> None:
    """Be the worker, and end."""
    code = 1
    try:
        from bakeoff.run import worker
        from bakeoff.store import durable

        os.setsid()
        points = cast(Points, durable.armed)
        os.dup2(2, 1)
        for number in [int(name) for name in os.listdir("/proc/self/fd")]:
            if number > 2 and number not in kept and number != points.log:
                with suppress(OSError):  # one is what listed them
                    os.close(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        points.note(f"worker {os.getpid()}")
        points.passages.clear()
        faults = _told().get("worker", {})
        points.faults.pop("point", None)  # the run's own
        if Forked.many == 1 or "every" in faults:
            points.faults.update(faults)
        sys.argv = ["worker", command[-1]]
        worker.main()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
