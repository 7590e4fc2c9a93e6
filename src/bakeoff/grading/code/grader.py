"""Grader: many samples of model-written code, each run against its unit tests in a process of its own.

A few lean worker interpreters are started once (worker.py: the standard library alone, an environment with no
secrets). A worker forks for each sample, so that a sample costs milliseconds; the process that holds torch never
forks. The forked process has its own session and temporary directory, limits on memory, CPU time, file size and open
files, no standard streams and no other descriptor of the grader's; its whole process group, and on Linux whatever
left that group, is killed when it has reported or at its deadline on the worker's monotonic clock.

What this protects from: code that hangs, eats memory, floods its output, crashes the interpreter, ends its process
early, reads stdin, or leaves threads and processes behind. A verdict never follows from an exit status or from
output: a pass needs a random token that the worker draws after the fork and that is read only when every test is done.

What it does not protect from: code that sets out to do harm or to cheat. A sample runs as the same user and can read
and write that user's files, use the network, and signal its processes; run as root it may also start processes
without limit until its deadline. It shares an interpreter with its tests, so it can define an `__eq__` that is always
true, patch what the tests call, or look for the token in the harness. Only grade code that you would run yourself.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from bakeoff.errors import InputError

Label = Literal["pass", "fail", "error", "timeout", "memory", "harness-error"]

WORKER = Path(__file__).with_name("worker.py")
GRACE = 10.0  # seconds beyond a sample's own in which a worker must answer, its start included
INHERITED = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")
ENVIRONMENT = {"LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Item:
    """One sample: code that should define `entry_point`, and tests: Python statements run after it, where it ran."""

    code: str
    tests: tuple[str, ...]
    entry_point: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a sample, in how many seconds, and why, in words.

    "fail" is a failed assertion, "error" any other exception or an early end, "timeout" the deadline or the CPU limit,
    "memory" the memory limit. "harness-error" says that the grader itself broke, twice: it is no word on the sample.
    """

    label: Label
    seconds: float
    detail: str = ""


class Grader:
    """Runs samples on `jobs` worker processes (one for each CPU) within `timeout` seconds and `memory` bytes each.

    A context manager: the workers start on entry and have ended, with all that they started, on exit.
    """

    def __init__(self, jobs: int | None = None, timeout: float = 3.0, memory: int = 1 << 30):
        if not hasattr(os, "fork"):
            raise InputError("grading code", f"{sys.platform} cannot fork processes", "use Linux or macOS")
        self.jobs = jobs or _cpus()
        self.timeout, self.memory = timeout, memory
        self._workers: list[_Worker] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Grader:
        self._folder = tempfile.TemporaryDirectory(prefix="bakeoff-code-", ignore_cleanup_errors=True)
        self._workers = [_Worker(self._folder.name) for _ in range(self.jobs)]
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            worker.hang_up()
        for worker in self._workers:
            worker.end()
        self._workers = []
        if self._folder is not None:
            self._folder.cleanup()

    def grade(self, items: Sequence[Item]) -> list[Verdict]:
        """One verdict for each item, in order. InputError for an item without tests, which would always pass."""
        for i, item in enumerate(items):
            if not item.tests:
                raise InputError(f"grading code, item {i} ({item.entry_point})", "no tests", "give at least one")
        if not self._workers:
            raise RuntimeError("a Grader grades inside its `with` block")
        waiting, tries, verdicts = deque(range(len(items))), Counter[int](), dict[int, Verdict]()
        try:
            while len(verdicts) < len(items):
                for worker in self._workers:
                    if worker.task is None and waiting:
                        task = waiting.popleft()
                        worker.send(task, items[task], self.timeout, self.memory)
                for task, verdict in self._answers():
                    tries[task] += 1
                    if verdict.label == "harness-error" and tries[task] == 1:
                        waiting.appendleft(task)
                    else:
                        verdicts[task] = verdict
        except BaseException:
            self.__exit__()  # workers that still run samples of this call cannot serve another
            raise
        return [verdicts[task] for task in range(len(items))]

    def _answers(self) -> list[tuple[int, Verdict]]:
        """Wait until workers have answered; a broken one is replaced, and its task's verdict is "harness-error"."""
        busy = [(place, worker) for place, worker in enumerate(self._workers) if worker.task is not None]
        poll = select.poll()
        for _, worker in busy:
            poll.register(worker.stdout, select.POLLIN)
        poll.poll(max(0.0, min(worker.deadline for _, worker in busy) - time.monotonic()) * 1000 + 1)
        answers = []
        for place, worker in busy:
            task = worker.task
            try:
                verdict = worker.receive()
            except _Broken as error:
                verdict = Verdict("harness-error", self.timeout, str(error))
                worker.end(patience=0)
                self._workers[place] = _Worker(worker.folder)
            if task is not None and verdict is not None:
                answers.append((task, verdict))
        return answers


class _Broken(Exception):
    """A worker died, fell silent or spoke nonsense."""


class _Worker:
    """One worker process and the task it is on."""

    def __init__(self, folder: str):
        self.folder = folder
        own = tempfile.mkdtemp(dir=folder)
        environment = ENVIRONMENT | {name: os.environ[name] for name in INHERITED if name in os.environ}
        self.process = subprocess.Popen(
            # Isolated like -I, which would also ignore PYTHONHASHSEED: the order of sets must not differ between runs.
            [sys.executable, "-s", "-P", "-B", str(WORKER), own],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=own,
            start_new_session=True,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        os.set_blocking(self.stdout.fileno(), False)
        self.task: int | None = None
        self.deadline = 0.0
        self.heard = b""

    def send(self, task: int, item: Item, timeout: float, memory: int) -> None:
        """Give it a task. That it has died shows when its answer is read."""
        self.task, self.deadline = task, time.monotonic() + timeout + GRACE
        sample: dict[str, Any] = {"code": item.code, "tests": item.tests, "entry_point": item.entry_point}
        line = json.dumps({"id": task, "timeout": timeout, "memory": memory, **sample})
        with contextlib.suppress(BrokenPipeError):
            self.stdin.write(line.encode() + b"\n")
            self.stdin.flush()

    def receive(self) -> Verdict | None:
        """The verdict on its task, and it is free; None where it is not done. Raises _Broken."""
        part = self.stdout.read()  # None where there is nothing yet
        self.heard += part or b""
        line, complete, rest = self.heard.partition(b"\n")
        if complete:
            verdict = self._verdict(line)
            self.task, self.heard = None, rest
            return verdict
        if part == b"":
            raise _Broken("the worker process died")
        if time.monotonic() > self.deadline:
            raise _Broken("the worker process fell silent")
        return None

    def hang_up(self) -> None:
        """Tell it to end, with whatever it is running."""
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.stdin.write(b"\n")
            self.stdin.close()

    def end(self, patience: float = 5.0) -> None:
        """Wait for it to end, at most `patience` seconds, then kill it."""
        self.hang_up()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.stdout.close()

    def _verdict(self, line: bytes) -> Verdict:
        try:
            answer = json.loads(line)
            if answer["id"] != self.task or answer["label"] not in get_args(Label):
                raise _Broken("the worker process answered another question")
            return Verdict(answer["label"], float(answer["seconds"]), str(answer["detail"]))
        except (ValueError, KeyError, TypeError) as error:
            raise _Broken("the worker process spoke nonsense") from error


def _cpus() -> int:
    """The CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
