"""Course: how far trials that run as one have come in training and answering, kept by checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from bakeoff.engine.evaluate import Questions
from bakeoff.engine.state import restore, state
from bakeoff.engine.train import Learner, Progress
from bakeoff.errors import TrialError
from bakeoff.run.checkpoint import Answers, Checkpoint, Checkpoints, Made, State
from bakeoff.tasks.task import Completion

if TYPE_CHECKING:
    from bakeoff.run.group import Workplace

_NOT_OURS = TrialError, LookupError, TypeError, ValueError  # of what is read: another form than its reader has


class Misfit(Exception):
    """A checkpoint was of another form than its trials, which may be half in it: nothing of them is to be used."""


Answered = Sequence[Sequence[Sequence[Completion]]]  # [lanes][examples][draws]


class Course:
    """Learners (None where nothing is trained), answers, and the time they took: the newest checkpoint's, or a start.

    `train_seconds`, `eval_seconds` and the peak of memory are those of all sittings together; `resumed_at` has the step
    at which each but the first went on.
    """

    def __init__(
        self, place: Workplace, made: Made, learners: Sequence[Learner | None], peak: Callable[[], int | None]
    ):
        self.place, self.learners, self.peak = place, list(learners), peak
        self.checkpoints = Checkpoints(place.store, made, place.progress.note, place.checkpoint_seconds)
        self.answers: dict[tuple[str, int], Answers] = {}
        self.train_seconds = self.eval_seconds = self._writing = 0.0
        self.resumed_at: tuple[int, ...] = ()
        self._peak: int | None = None
        self._news = False  # since the last checkpoint
        if found := self.checkpoints.latest():
            try:
                self._resume(found)
            except _NOT_OURS as error:
                self.checkpoints.drop()
                place.progress.note(f"{self.checkpoints.directory}: not used ({error}); training starts anew")
                raise Misfit from error

    def train(self, work: Callable[[Progress], object]) -> None:
        """Let `work` train the learners to their last step; it calls its argument after each one."""
        self._mark = time.perf_counter()
        work(self._stepped)

    def answered(self, ask: Questions, answer: Callable[[Questions], Answered]) -> Answered:
        """Every lane's completions of a portion: those kept, else `answer`'s, which are kept from now on."""
        self.beat()
        key = ask.benchmark, ask.portion
        if key not in self.answers:
            started, written = time.perf_counter(), self._writing
            lanes = tuple(tuple(tuple(draws) for draws in lane) for lane in answer(ask))
            self.eval_seconds += time.perf_counter() - started - (self._writing - written)
            self.answers[key] = Answers(benchmark=ask.benchmark, portion=ask.portion, lanes=lanes)
            self._news = True
            self.beat()
        return self.answers[key].lanes

    def beat(self) -> None:
        """Called between steps and passes: writes a checkpoint where one is due, or before a stop that was asked for.

        A portion under way is given up then: it may take minutes.
        """
        if self._news and (self.place.interrupt.asked or self.checkpoints.due()):
            started = time.perf_counter()
            self.checkpoints.write(self._checkpoint())
            self._writing += time.perf_counter() - started
            self._news = False
        self.place.interrupt.check()

    def peak_bytes(self) -> int | None:
        """The peak of memory over all sittings; None where it is not told."""
        known = [one for one in (self._peak, self.peak()) if one is not None]
        return max(known, default=None)

    def _stepped(self, step: int, steps: int, losses: dict[str, float]) -> None:
        self.train_seconds += time.perf_counter() - self._mark
        self.place.progress.step(step, steps, losses)
        self._news = True
        self.beat()
        self._mark = time.perf_counter()

    def _checkpoint(self) -> Checkpoint:
        states = [({}, None) if one is None else state(one) for one in self.learners]
        told = State(
            made=self.checkpoints.made,
            threads=torch.get_num_threads(),
            learners=tuple(plain for _, plain in states),
            train_seconds=self.train_seconds,
            eval_seconds=self.eval_seconds,
            peak_bytes=self.peak_bytes(),
            resumed_at=self.resumed_at,
        )
        tensors = {f"{i}/{name}": tensor for i, (own, _) in enumerate(states) for name, tensor in own.items()}
        return Checkpoint(told, tensors, tuple(self.answers.values()))

    def _resume(self, found: Checkpoint) -> None:
        for i, (learner, told) in enumerate(zip(self.learners, found.state.learners, strict=True)):
            if learner is not None and told is not None:
                start = f"{i}/"
                own = {name.removeprefix(start): t for name, t in found.tensors.items() if name.startswith(start)}
                restore(learner, own, told)
        self.answers = {(one.benchmark, one.portion): one for one in found.answers}
        self.train_seconds, self.eval_seconds = found.state.train_seconds, found.state.eval_seconds
        self._peak = found.state.peak_bytes
        self.resumed_at = (*found.state.resumed_at, max((one.done for one in self.learners if one), default=0))
        if (was := found.state.threads) != (now := torch.get_num_threads()):
            changed = f"gone on with {now} threads of the processor, not {was}"
            differ = "numbers may differ from an undisturbed run's in their last digits"
            self.place.progress.note(f"{self.checkpoints.directory}: {changed}: {differ}")
