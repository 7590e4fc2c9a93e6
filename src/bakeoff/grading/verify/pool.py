"""Pool: long-lived worker processes that compare formulas, each killed and replaced when a pair takes too long."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

from bakeoff.grading.verify.worker import PATIENCE

KILLED_AFTER = 15.0  # seconds after which a pair's worker is killed
STARTING = 120.0  # seconds in which a worker must be ready
SERVED = 2000  # pairs after which a worker is replaced
INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "PYTHONHOME",
)  # of the environment: no secrets


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a pair is equal; None where that could not be told, and why in words.

    `refused` says that it is the pair that could not be judged: a worker said so, or spent its processor time on it. A
    process that broke or was too late by the clock says nothing of the pair.
    """

    equal: bool | None
    detail: str = ""
    refused: bool = False


class Broken(Exception):
    """A worker died, or did not answer in time."""


class Worker:
    """One process of `verify/worker.py`, started when it is first asked."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._served = 0

    def ask(self, gold: str, pred: str, patience: float, seconds: float) -> Answer:
        """The verdict on a pair within `seconds`; equal=None where the process had to be killed or broke."""
        try:
            process = self._running()
            assert process.stdin is not None
            process.stdin.write(json.dumps([gold, pred, patience]).encode() + b"\n")
            process.stdin.flush()
            said = json.loads(self._line(seconds))
        except (Broken, OSError, ValueError) as error:
            spent = self._spent()
            self.kill()
            return Answer(None, str(error), spent)
        self._served += 1
        if said.get("spent") or self._served >= SERVED:  # what was cut short may have left half a cache behind
            self.kill()
        return Answer(said["equal"], said["detail"], said["equal"] is None)

    def _spent(self) -> bool:
        """Whether the kernel ended the process for the processor time that a pair took."""
        code = self._process.poll() if self._process else None
        return code is not None and hasattr(signal, "SIGPROF") and code == -signal.SIGPROF

    def kill(self) -> None:
        """End the process at once, from whichever thread; the next question starts another."""
        process, self._process, self._served, self._left = self._process, None, 0, b""
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # pyright: ignore[reportOptionalMemberAccess]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.kill()
            path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
            own = {name: os.environ[name] for name in INHERITED if name in os.environ}
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "bakeoff.grading.verify.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0, start_new_session=True,
                env=own | {"PYTHONPATH": path, "PYTHONHASHSEED": "0"},
            )  # fmt: skip
            self._line(STARTING)
        return self._process

    def _line(self, seconds: float) -> bytes:
        """The next line that the process writes. Broken where there is none in time."""
        process, deadline = self._process, time.monotonic() + seconds
        if process is None or process.stdout is None:
            raise Broken("the worker was killed")
        while b"\n" not in self._left:
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise Broken(f"not decided in {seconds:g} s, and its process was killed")
            part = process.stdout.read(1 << 16)
            if not part:
                raise Broken(self._why(process))
            self._left += part
        line, _, self._left = self._left.partition(b"\n")
        return line

    def _why(self, process: subprocess.Popen[bytes]) -> str:
        """How the process ended."""
        code = process.wait()
        self._errors.seek(0)
        last = self._errors.read()[-2000:].decode(errors="replace").strip().rpartition("\n")[2]
        if code < 0:
            return f"the process that compared it was ended by signal {-code}"
        return f"the process that compared it ended with code {code}: {last}"

    _left = b""


class Pool:
    """So many workers (one a CPU), which stay until the pool is closed."""

    def __init__(self, jobs: int | None = None):
        self._workers = [Worker() for _ in range(jobs or cpus())]
        self._free: SimpleQueue[Worker] = SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)

    def ask(
        self, pairs: Sequence[tuple[str, str]], patience: float = PATIENCE, seconds: float = KILLED_AFTER,
        done: Callable[[], None] = lambda: None,
    ) -> list[Answer]:  # fmt: skip
        """One answer for each pair of clean texts, gold first, in order; `done` is called after each.

        A pair has `patience` seconds of processor time, and `seconds` by the clock before its process is killed.
        """
        closing = threading.Event()

        def run(pair: tuple[str, str]) -> Answer:
            if closing.is_set():
                return Answer(None, "interrupted")
            worker = self._free.get()
            try:
                return worker.ask(*pair, patience, seconds)
            finally:
                self._free.put(worker)
                done()

        threads = ThreadPoolExecutor(len(self._workers), "verify")
        try:
            return list(threads.map(run, pairs))
        except BaseException:
            closing.set()
            self.close()
            raise
        finally:
            threads.shutdown(cancel_futures=True)

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.kill()


_lock = threading.Lock()
_shared: dict[int, Pool] = {}  # by process: a fork must not speak through its parent's pipes


def shared() -> Pool:
    """This process's own pool, kept until it ends."""
    with _lock:
        if os.getpid() not in _shared:
            _shared.clear()
            _shared[os.getpid()] = Pool()
            atexit.register(_shared[os.getpid()].close)
        return _shared[os.getpid()]


def cpus() -> int:
    """The CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
