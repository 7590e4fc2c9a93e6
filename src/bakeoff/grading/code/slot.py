"""Slot: two zygotes in jails of their own, candidate and judge, which serve one sample at a time."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any, Literal, get_args

from bakeoff.grading.code import tiers
from bakeoff.grading.code.folder import Folder
from bakeoff.grading.code.jail.judge import BEGAN
from bakeoff.grading.code.jail.zygote import GOODBYE, HEAD

Label = Literal["pass", "fail", "error", "timeout", "memory", "harness-error"]

SERVED = 500  # samples after which a jail is replaced
PATIENCE = 60.0  # seconds in which a jail must start, shut a sample in, or end one
ENDING = 5.0  # seconds in which a jail must end by itself
CODE_CHARACTERS = 32_000_000
REPORT_BYTES = 1 << 16
DETAIL = 600


@dataclass(frozen=True, slots=True)
class Item:
    """One sample: code that should define `entry_point`, and tests: Python statements that use it.

    `prelude` is the problem's own Python, such as a prompt's imports and helpers, for the tests to use; the code does
    not get it from here. Where the tests define a function `check`, it is called with the entry point, as HumanEval's.
    An empty `entry_point` is for tests that use the code's names by themselves, as MBPP's.
    """

    code: str
    tests: tuple[str, ...]
    entry_point: str = ""
    prelude: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a sample, in how many seconds, why, in words, and in which tier of sandbox.

    "fail" is a failed assertion, "error" any other exception or an early end, "timeout" the deadline, "memory" the
    memory limit. "harness-error" says that the grader itself broke, twice: it is no word on the sample.
    """

    label: Label
    seconds: float
    detail: str = ""
    sandbox: str = ""


class Broken(Exception):
    """A jail would not start, died, fell silent or spoke nonsense."""


class Jail:
    """One zygote process, and the control socket to it."""

    def __init__(self, tier: tiers.Tier, role: str, number: int, folder: Folder):
        command, environment = tiers.start(tier, role, number, folder.path)
        self.served = 0
        self._errors = _nameless()
        self.control, other = socket.socketpair()
        self.control.settimeout(PATIENCE)
        with other:
            self.process = subprocess.Popen(
                command, stdin=other.fileno(), stdout=folder.held, stderr=self._errors, env=environment, cwd="/",
                start_new_session=True,
            )  # fmt: skip

    def ready(self) -> None:
        """Wait until it has started."""
        if "hello" not in self._hear():
            raise Broken("the jail did not start")

    def begin(self, job: dict[str, Any], descriptors: Sequence[int]) -> None:
        """Ask for a sample; `started` waits for it."""
        self.served += 1
        data = json.dumps(job).encode()
        try:
            socket.send_fds(self.control, [HEAD.pack(len(data))], descriptors)
            self.control.sendall(data)
        except OSError as error:
            raise Broken(self._why(error)) from None

    def started(self) -> None:
        """Wait until the sample is shut in."""
        answer = self._hear()
        if answer.get("started") is not True:
            raise Broken(f"a sample could not be shut in: {answer.get('failed')}")

    def stop(self) -> None:
        """Kill the sample; `ended` waits for it."""
        with contextlib.suppress(OSError):
            self.control.sendall(b".")

    def ended(self) -> int:
        """Wait until the sample is gone; its exit code, negative for a signal."""
        return int(self._hear().get("ended", 0))

    def close(self) -> None:
        """End it, with whatever it runs."""
        with contextlib.suppress(OSError):
            self.control.sendall(GOODBYE)
        self.control.close()
        try:
            self.process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._errors.close()

    def _hear(self) -> dict[str, Any]:
        try:
            return json.loads(self._exactly(HEAD.unpack(self._exactly(HEAD.size))[0]))
        except (OSError, EOFError) as error:
            raise Broken(self._why(error)) from None

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.control.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def _why(self, error: Exception) -> str:
        """The last line it wrote before it broke, or that it fell silent."""
        if isinstance(error, TimeoutError):
            return "the jail fell silent"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        self._errors.seek(0)
        lines = self._errors.read()[-4000:].decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "the jail died")


class Slot:
    """A place where one sample runs at a time. Its jails are started when needed, and replaced when broken or worn."""

    _numbers = itertools.count()

    def __init__(self, tier: tiers.Tier, folder: Folder):
        self.tier: tiers.Tier = tier
        self.folder = folder
        self._seen_tests = False
        self._candidate: Jail | None = None
        self._judge: Jail | None = None

    def run(self, item: Item, seconds: float, memory: int, classic: bool = False) -> Verdict:
        """The verdict on one sample; "harness-error" where the jails broke, which are new for the next."""
        if len(item.code) > CODE_CHARACTERS:
            return Verdict("error", 0.0, f"the code is longer than {CODE_CHARACTERS:,} characters", self.tier)
        if self._seen_tests and not classic:  # they may lie about in the memory of a zygote that has passed them on
            self.close()
        self._seen_tests = classic
        began = time.monotonic()
        try:
            candidate, judge = self.open()
            label, detail, taken = (_classic if classic else _judged)(candidate, judge, item, seconds, memory)
        except (Broken, OSError, ValueError) as error:
            self.close()
            label, detail, taken = "harness-error", str(error), time.monotonic() - began
        detail = "".join(c if c.isprintable() else "\ufffd" for c in detail)[:DETAIL]
        return Verdict(label, taken, detail, self.tier)

    def open(self) -> tuple[Jail, Jail]:
        """Its two jails, started. Broken says why they would not start."""
        if self._candidate is not None and self._candidate.served >= SERVED:
            self.close()
        if self._candidate is None or self._judge is None:
            self._candidate = Jail(self.tier, "candidate", next(self._numbers), self.folder)
            self._judge = Jail(self.tier, "judge", next(self._numbers), self.folder)
            self._candidate.ready()
            self._judge.ready()
        return self._candidate, self._judge

    def kill(self) -> None:
        """End its processes at once, from whichever thread; whoever uses it finds it broken."""
        for jail in (self._candidate, self._judge):
            if jail is not None:
                jail.process.kill()

    def close(self) -> None:
        """End its jails."""
        for jail in (self._candidate, self._judge):
            if jail is not None:
                jail.close()
        self._candidate = self._judge = None


Found = tuple[Label, str, float]


def _judged(candidate: Jail, judge: Jail, item: Item, seconds: float, memory: int) -> Found:
    """Run the code in one jail and its tests in the other, joined by two pipes; only the judge reports."""
    limits = {"seconds": seconds, "memory": memory, "entry_point": item.entry_point}
    tests = {"role": "judge", "tests": item.tests, "prelude": item.prelude, **limits}
    with ExitStack() as stack:
        ask, reply, report = (_pipe(stack) for _ in range(3))
        judge.begin(tests, [reply.read, ask.write, report.write])
        candidate.begin({"role": "candidate", "code": item.code, **limits}, [ask.read, reply.write])
        judge.started()
        candidate.started()
        for pipe in (ask, reply):
            pipe.hand_over(both=True)
        said, taken = _listen(report, seconds)
    candidate.stop()
    judge.stop()
    left, _ = candidate.ended(), judge.ended()
    if said is None:
        return "timeout", f"not done in {seconds:g} s", taken
    if not said.startswith(BEGAN):
        raise Broken((_verdict(said) or ("", "the judge died before it began"))[1])
    label, detail = _verdict(said[len(BEGAN) :]) or ("error", "the judge could not take what the code gave it")
    if detail.startswith("it ended") and left:
        detail += f" (signal {-left})" if left < 0 else f" (exit code {left})"
    return _own_word(label), detail, taken


def _classic(candidate: Jail, judge: Jail, item: Item, seconds: float, memory: int) -> Found:
    """Run code and tests in one namespace, in the candidate's jail; the sample itself reports."""
    job = {"role": "classic", "code": item.code, "tests": item.tests, "entry_point": item.entry_point}
    with ExitStack() as stack:
        report = _pipe(stack)
        candidate.begin(job | {"seconds": seconds, "memory": memory}, [report.write])
        candidate.started()
        said, taken = _listen(report, seconds)
    candidate.stop()
    candidate.ended()
    if said is None:
        return "timeout", f"not done in {seconds:g} s", taken
    label, detail = _verdict(said) or ("error", "it ended without a verdict")
    return _own_word(label), detail, taken


def _own_word(label: Label) -> Label:
    """No sample may say of itself that the grader broke, or that its time was over."""
    return "error" if label in ("harness-error", "timeout") else label


def _nameless() -> IO[bytes]:
    """A file that is nowhere to be found, and gone with the last process that holds it."""
    return open(os.memfd_create("errors"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()


class _Pipe:
    """A pipe's two descriptors, each closed once."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        self._open = {self.read, self.write}

    def hand_over(self, both: bool = False) -> None:
        """Close here what a sample now holds: the end to write to, or both."""
        for end in self._open & ({self.read, self.write} if both else {self.write}):
            self._open.remove(end)
            os.close(end)

    def close(self) -> None:
        self.hand_over(both=True)


def _pipe(stack: ExitStack) -> _Pipe:
    pipe = _Pipe()
    stack.callback(pipe.close)
    return pipe


def _listen(report: _Pipe, seconds: float) -> tuple[bytes | None, float]:
    """All that is reported until the reporter ends, None at the deadline; and the seconds it took."""
    report.hand_over()
    began = time.monotonic()
    poll, said = select.poll(), b""
    poll.register(report.read, select.POLLIN)
    while len(said) <= REPORT_BYTES:
        left = seconds - (time.monotonic() - began)
        if left <= 0:
            return None, time.monotonic() - began
        if poll.poll(left * 1000):
            part = os.read(report.read, REPORT_BYTES)
            if not part:
                break
            said += part
    return said, time.monotonic() - began


def _verdict(said: bytes) -> tuple[Label, str] | None:
    """A reported label and detail; None where it is none."""
    try:
        found = json.loads(said)
        label, detail = found["label"], found["detail"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (label, detail) if label in get_args(Label) and isinstance(detail, str) else None
