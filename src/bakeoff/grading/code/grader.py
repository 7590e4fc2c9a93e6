"""Grader: many samples of model-written code, each run against its tests in a sandbox, some at a time.

A sample's code and its tests run in two processes, each in a jail of its own (slot.py); the verdict is the judge's
alone. What holds the code on this machine is a tier (tiers.py), tried from the strongest down and named in each
verdict. docs/code-execution.md tells what is protected from what.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from typing import get_args

from bakeoff.errors import InputError, TrialError
from bakeoff.grading.code import tiers
from bakeoff.grading.code.folder import Folder
from bakeoff.grading.code.slot import Broken, Item, Slot, Verdict
from bakeoff.grading.code.tiers import Tier

# Reads a module that is not loaded beforehand, and writes a file: what an interpreter or a directory that the sample's
# user cannot reach would break.
PROBE = Item(
    "import calendar, tempfile\ndef f(x):\n    with tempfile.TemporaryFile() as file: return file.write(b'a') + x",
    ("assert f(1) == 2",),
    "f",
)
SECONDS, MEMORY = 3.0, 1 << 30


class Grader:
    """Runs samples, `jobs` at a time (one for each CPU), within `timeout` seconds and `memory` bytes each.

    A context manager: on entry the strongest tier that works here is found, or the one that is asked for; on exit all
    that was started has ended. InputError where there is none. `tier` and `reasons`, why not a stronger one, tell.
    """

    def __init__(
        self, jobs: int | None = None, timeout: float = SECONDS, memory: int = MEMORY, tier: Tier | None = None
    ):
        if tier is not None and tier not in get_args(Tier):
            raise InputError("grading code", f"unknown sandbox '{tier}'", "accepted: " + ", ".join(get_args(Tier)))
        self.jobs = jobs or _cpus()
        self.timeout, self.memory = timeout, memory
        self.tier: Tier = tier or "none"
        self.reasons: dict[Tier, str] = {}
        self._asked: Tier | None = tier
        self._slots: list[Slot] = []

    def __enter__(self) -> Grader:
        first = self._first()
        self._slots = [first, *(Slot(self.tier, first.folder) for _ in range(self.jobs - 1))]
        self._free: SimpleQueue[Slot] = SimpleQueue()
        for slot in self._slots:
            self._free.put(slot)
        # The threads live as long as the jails: a jail dies with the thread that started it.
        self._threads = ThreadPoolExecutor(self.jobs, "grader")
        self._closing = False
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._closing = True
        if kind is not None:
            for slot in self._slots:
                slot.kill()
        self._threads.shutdown(cancel_futures=True)
        for slot in self._slots:
            slot.close()
        self._slots = []
        self._files.close()

    def grade(
        self, items: Sequence[Item], done: Callable[[], None] = lambda: None, classic: bool = False
    ) -> list[Verdict]:
        """One verdict for each item, in order; `done` is called after each. InputError for an item without tests.

        A timeout is run once more, alone, before it stands; so is what broke the grader twice. `classic` runs code and
        tests in one namespace instead, as HumanEval's own checker does: then a verdict is only the sample's word.
        """
        for i, item in enumerate(items):
            if not any(test.strip() for test in item.tests):
                raise InputError(f"grading code, item {i} ({item.entry_point})", "no tests", "give at least one")
        if not self._slots:
            raise RuntimeError("a Grader grades inside its `with` block")

        def run(item: Item) -> Verdict:
            verdict = self._run(item, classic)
            done()
            return verdict

        verdicts = list(self._threads.map(run, items))
        for i, verdict in enumerate(verdicts):
            if verdict.label in ("timeout", "harness-error"):  # nothing else runs now
                verdicts[i] = self._threads.submit(self._run, items[i], classic).result()
        return verdicts

    def _run(self, item: Item, classic: bool) -> Verdict:
        slot = self._free.get()
        try:
            verdict = slot.run(item, self.timeout, self.memory, classic)
            if verdict.label == "harness-error" and not self._closing:
                verdict = slot.run(item, self.timeout, self.memory, classic)
            return verdict
        finally:
            self._free.put(slot)

    def _first(self) -> Slot:
        """A slot of the strongest tier that runs a sample, or of the one that is asked for."""
        wanted: tuple[Tier, ...] = (self._asked,) if self._asked else tiers.wanted()
        for tier in wanted:
            with ExitStack() as stack:
                slot, self.reasons[tier] = works(tier, stack.enter_context(tiers.files(tier)))
                if slot is not None:
                    self.tier, self._files = tier, stack.pop_all()
                    return slot
        raise tiers.refuse(self.reasons)

    @property
    def note(self) -> str:
        """What somebody should know before they trust the verdicts; empty in the strongest tier."""
        if self.tier == "none":
            return "UNPROTECTED: model-written code runs as you, with no sandbox"
        if self.tier != tiers.PROTECTED[0] and (reason := self.reasons.get(tiers.PROTECTED[0])):
            return f"sandbox: {self.tier}, since {tiers.PROTECTED[0]} is not to be had here ({reason})"
        return ""


def works(tier: Tier, folder: Folder) -> tuple[Slot | None, str]:
    """A slot of that tier that has run a sample rightly, or why there is none."""
    if reason := tiers.missing(tier):
        return None, reason
    slot = Slot(tier, folder)
    try:
        slot.open()
        verdict = slot.run(PROBE, 10 * SECONDS, MEMORY)
        if verdict.label == "pass":
            return slot, ""
        reason = verdict.detail
    except (Broken, OSError) as error:
        reason = str(error)
    slot.close()
    return None, f"it does not work here: {reason}"


def check(verdicts: Sequence[Verdict], allowed: float = 0.01) -> None:
    """TrialError where the grader broke on more than that share of the samples: what is left would mean too little."""
    broken = [verdict for verdict in verdicts if verdict.label == "harness-error"]
    if broken and len(broken) / len(verdicts) > allowed:
        raise TrialError(f"grading code broke on {len(broken)} of {len(verdicts)} samples: {broken[0].detail}")


def _cpus() -> int:
    """The CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
