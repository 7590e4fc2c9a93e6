"""A process that has torch and all else loaded and forks runs of Bakeoff: each takes a second instead of ten.

It computes nothing itself, so that there is one thread to fork. Requests and answers are lines of JSON on its standard
input and output: `{"argv": ..., "cwd": ..., "told": ..., "faults": ...}` forks a run, `{"wait": pid, "seconds": ...}`
waits for one, `{"load": FILE}` imports the modules that a run with `"modules": FILE` had loaded in the end.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

ENDS = signal.SIGINT, signal.SIGTERM


def main() -> None:
    """Serve until the input ends."""
    import torch

    torch.set_num_threads(1)
    import bakeoff.cli  # noqa: F401

    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        if "wait" in asked:
            _answer(_waited(asked["wait"], asked["seconds"]))
        elif "load" in asked:
            _answer({"threads": _load(Path(asked["load"]))})
        else:
            _answer({"pid": _forked(asked)})


def _load(modules: Path) -> int:
    """Import what a file lists; how many threads there are now: a process of several cannot be forked safely."""
    for name in modules.read_text().split():
        with suppress(Exception), warnings.catch_warnings(action="ignore"):
            importlib.import_module(name)
    return len(os.listdir("/proc/self/task"))


def _answer(told: dict[str, Any]) -> None:
    print(json.dumps(told), flush=True)


def _forked(asked: dict[str, Any]) -> int:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)  # until the program listens
    if pid := os.fork():
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid
    code = 70
    try:
        code = _child(asked)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _child(asked: dict[str, Any]) -> int:
    from faults.beside import fork_workers
    from faults.breaks import arm

    os.setsid()
    os.chdir(asked["cwd"])
    for descriptor, name in ((0, os.devnull), (1, asked["told"] + ".out"), (2, asked["told"] + ".err")):
        file = os.open(name, (os.O_WRONLY | os.O_CREAT | os.O_APPEND) if descriptor else os.O_RDONLY)
        os.dup2(file, descriptor)
    for one in ENDS:
        signal.signal(one, signal.default_int_handler if one == signal.SIGINT else signal.SIG_DFL)
    sys.argv = ["bakeoff", *asked["argv"]]
    arm(asked["faults"])
    fork_workers()
    from bakeoff.cli import main, program

    listen = program.listen

    def listening(handler: Any) -> dict[int, Any]:
        before = listen(handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
        return before

    program.listen = listening
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        if modules := asked.get("modules"):
            kept = [name for name in sys.modules if not name.startswith(("__", "toy", "faults"))]
            Path(modules).write_text("\n".join(kept))
    return 0


def _waited(pid: int, seconds: float) -> dict[str, Any]:
    """How the process ended (negative: by that signal); after so many seconds it is killed, and that is said."""
    deadline, late = time.monotonic() + seconds, False
    while True:
        done, status = os.waitpid(pid, 0 if late else os.WNOHANG)
        if done:
            return {"code": os.waitstatus_to_exitcode(status), "late": late}
        if time.monotonic() > deadline:
            late = True
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


if __name__ == "__main__":
    main()
