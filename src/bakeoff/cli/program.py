"""The program: how it begins, ends and is stopped. It loads little by itself, so that a signal is heard at once."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import suppress

from bakeoff.run.interrupt import EXIT_CODE, Stop, listen

_GONE = "error: the working directory is gone; change to one that is there (`cd`) and run the same command again"


def main() -> None:
    """The `bakeoff` program. Exit codes: 0 done, 1 some trials failed or diverged, 2 bad input, 130 interrupted.

    The process is its own: SIGINT and SIGTERM stay in its hands until it is gone.
    """
    stop = Stop()
    listen(stop)
    atexit.register(_deaf)
    try:
        code = _code()
    except KeyboardInterrupt:
        code = EXIT_CODE
    if code == EXIT_CODE:
        stop.asked = True
        with suppress(OSError):
            print("Interrupted.", file=sys.stderr)
    _let_go()
    sys.exit(code)


def _deaf() -> None:
    """Python takes its handlers back while it goes; a signal then would be the end of what has ended well."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)


def _code() -> int:
    """Carry the command out; what the program ends with."""
    try:
        os.getcwd()
    except FileNotFoundError:
        print(_GONE, file=sys.stderr)
        return 2
    try:
        from bakeoff.cli.commands import carry_out

        code = carry_out()
        if sys.stdout:
            sys.stdout.flush()  # while a full disk can still be told of
        return code
    except Exception as error:
        from bakeoff.cli.app import told

        return told(error)


def _let_go() -> None:
    """Leave nothing unprinted that Python would complain of in the end: the reader has gone, or there is no room."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
