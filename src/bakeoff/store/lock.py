"""Lock: the right to write a study, held by the kernel for one process, and free as soon as that process is gone.

It is `flock` on `DIR/.lock`: no file to clean up after a crash, no time after which it expires, and a process that
is stopped still holds it. What the file says of its holder is for people only.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_UNKNOWN = errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP  # of a file system that keeps no locks
PATIENCE = 0.3  # seconds: whoever looks at a lock (`holder`) has it for a moment
_held: set[int] = set()  # descriptors, which a forked child must not keep: the lock would outlive its holder


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as far as its file tells."""

    pid: int | None = None
    host: str = ""
    since: str = ""

    def __str__(self) -> str:
        here = f" on {self.host}" if self.host else ""
        return f"pid {self.pid}{here}, since {self.since}" if self.pid else "unknown"


class Held(Exception):
    """Another process holds the lock."""

    def __init__(self, holder: Holder):
        self.holder = holder
        super().__init__(str(holder))


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock at `path`; Held where another process has it, OSError where its file cannot be had.

    Where the file system keeps no locks nothing is held, and `holder` finds nobody.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    _held.add(file)
    try:
        _take(file)
        _tell(file, Holder(os.getpid(), socket.gethostname(), datetime.now(UTC).isoformat(timespec="seconds")))
        yield
        _tell(file, None)
    finally:
        _held.discard(file)
        os.close(file)  # and the lock is free


def holder(path: Path) -> Holder | None:
    """Who holds the lock at `path`; None where nobody does."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _told(file)
    except OSError:
        return None
    finally:
        os.close(file)
    return None


def _take(file: int) -> None:
    """Take the lock, or raise Held; a moment's patience is for those who only look."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Held(_told(file)) from None
            time.sleep(0.02)
        except OSError as error:
            if error.errno in _UNKNOWN:
                return
            raise
        else:
            return


def _tell(file: int, holder: Holder | None) -> None:
    with suppress(OSError):  # a full disk: the lock holds all the same
        os.truncate(file, 0)
        os.pwrite(file, json.dumps(holder.__dict__).encode() if holder else b"", 0)


def _told(file: int) -> Holder:
    try:
        told = json.loads(os.pread(file, 1000, 0))
        return Holder(int(told["pid"]), str(told["host"]), str(told["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Holder()


def _let_go() -> None:
    """In a forked child: close what the parent holds. The parent's own lock stays."""
    for file in _held:
        os.close(file)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
