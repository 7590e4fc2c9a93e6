"""The keeper: a process that makes a directory and removes it when the last process that uses it is gone.

Its standard input is a pipe whose other end those processes hold, and the kernel closes that end however they die. On
the directory the keeper holds a lock: where the keeper itself was killed, the next one removes what it left.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import signal
import sys
import tempfile
import time

PREFIX = "bakeoff-code-"
DONE = b"."
TRIES = 100  # each after 20 ms, where a process that was just killed still adds something

_numbers = itertools.count()


def main() -> None:
    """Make a directory in the one that is named, tell its path or why there is none, and wait for DONE or the end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    place = sys.argv[1]
    try:
        sweep(place)
        folder = make(place)
    except OSError as error:
        sys.exit(f"{error.strerror or error}")
    with contextlib.suppress(BrokenPipeError):
        os.write(1, os.fsencode(folder))
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (1, 2):
        os.dup2(null, standard)
    while os.read(0, 1) not in (b"", DONE):
        pass
    remove(folder)


def make(place: str) -> str:
    """A new directory, locked as long as this process lives."""
    while True:
        folder = tempfile.mkdtemp(prefix=PREFIX, dir=place)
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            os.chmod(folder, 0o711)  # not there any more where another's sweep came between
            return folder


def sweep(place: str) -> None:
    """Remove this user's directories of earlier keepers that no longer live."""
    for name in os.listdir(place):
        if not name.startswith(PREFIX):
            continue
        folder = os.path.join(place, name)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            stack.callback(os.close, lock)
            if os.fstat(lock).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(folder, tries=1)


def remove(folder: str, tries: int = TRIES) -> None:
    """Remove a directory and all in it."""
    for _ in range(tries):
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                clear(os.path.join(folder, name), folder)
            os.rmdir(folder)
        if not os.path.lexists(folder):
            return
        time.sleep(0.02)


def clear(folder: str, home: str) -> None:
    """Remove a directory in `home` that a sample filled, however deep: what is nested comes up before it is removed.

    No link is followed, not even one that comes in a directory's place meanwhile: nobody else can write to `home`.
    """
    left = [folder]
    while left:
        place = left.pop()
        if os.path.islink(place):
            os.unlink(place)
            continue
        os.chmod(place, 0o700)
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    left.append(os.path.join(home, f"left-{os.getpid()}-{next(_numbers)}"))
                    _move(entry.path, left[-1])
                else:
                    os.unlink(entry.path)
        os.rmdir(place)


def _move(folder: str, to: str) -> None:
    try:
        os.rename(folder, to)
    except PermissionError:  # to move a directory of one's own is to write to it; root need not be let
        os.chmod(folder, 0o700)
        os.rename(folder, to)
