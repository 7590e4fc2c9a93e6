"""Task and Example: chat messages, and how a completion of them is graded."""

from __future__ import annotations

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

from bakeoff.data.example import Example, Message
from bakeoff.errors import InputError
from bakeoff.study.spec import Decoding, Frozen, TaskSpec, canonical

__all__ = ["Completion", "Example", "Grade", "Message", "Sources", "Splits", "Task", "splits", "subset"]

T = TypeVar("T")
Sources = Mapping[str, str]  # hub id -> local file or directory that serves it


class Completion(Frozen):
    """What a model made of one example: generated `text`, or the chosen label and every label's log-probability.

    A label's score is the sum of the log-probabilities of all its tokens (nats), not divided by their number and
    without the end-of-turn token: normalisation "none". `truncated` says that the token limit ended the text. `loss` is
    that of the example's reference answer, end of turn included (nats per token), where the task asks for it.
    """

    text: str
    logprobs: tuple[float, ...] = ()
    truncated: bool = False
    loss: float | None = None


class Grade(Frozen):
    """A completion's scores by metric, each 0 to 1, and details for people.

    No scores at all: it could not be graded (`detail["why"]`), so it is left out of every mean. A trial with more than
    1 % of those on a benchmark fails.
    """

    scores: dict[str, float]
    detail: dict[str, Any] = {}


class Task(ABC):
    """What is taught and how it is tested. A subclass is one file; its name is the module's.

    `kind` "choose" scores `Example.choices` by likelihood, "generate" draws text. `metrics` names what `grade`
    returns, the headline first. A task trains once and is tested on each of its `benchmarks`. `hub_ids` names the hub
    datasets it reads: a study's `data:` may serve these, and no others, from local files. `runs_code` says that grading
    runs what the model wrote: then a sandbox must be there before anything is trained.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    kind: ClassVar[Literal["choose", "generate"]]
    metrics: ClassVar[tuple[str, ...]]
    benchmarks: ClassVar[tuple[str, ...]]
    hub_ids: ClassVar[tuple[str, ...]] = ()
    decoding: ClassVar[Decoding] = Decoding()
    summary: ClassVar[str] = ""
    runs_code: ClassVar[bool] = False

    @abstractmethod
    def train(self, sources: Sources, limit: int | None) -> list[Example]:
        """The training split, or `limit` examples of it chosen without regard to any seed of the study."""

    @abstractmethod
    def test(self, benchmark: str, sources: Sources, limit: int | None) -> list[Example]:
        """A benchmark's test split, or `limit` examples of it."""

    @abstractmethod
    def grade(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Grade]:
        """One grade per (example, completion) pair, in order. Example i belongs to completion i."""

    def floors(self, benchmark: str, examples: Sequence[Example]) -> dict[str, float]:
        """By metric, what answers to other examples would score: shown beside the scores, where it is not 0."""
        return {}


class Splits(Frozen):
    """The examples one trial uses, and the content hash that stands for them in its key."""

    train: tuple[Example, ...]
    benchmarks: dict[str, tuple[Example, ...]]
    fingerprint: str


def splits(task: Task, spec: TaskSpec, sources: Sources) -> Splits:
    """Load what `spec` asks of `task`: training examples, and those it is evaluated on.

    With `validation: n`, n examples are held out of the whole training split by a fixed draw, the same at every
    `train_limit`; with `split: validation` they take the place of the (first) benchmark.
    """
    held: list[Example] = []
    if spec.validation:
        rows = task.train(sources, None)
        if len(rows) <= spec.validation:
            raise InputError(
                f"tasks.{task.name}.validation", f"{spec.validation} of {len(rows)} training examples would leave none"
            )
        chosen = set(random.Random(0).sample(range(len(rows)), spec.validation))
        held = [row for i, row in enumerate(rows) if i in chosen]
        train = subset([row for i, row in enumerate(rows) if i not in chosen], spec.train_limit)
    else:
        train = task.train(sources, spec.train_limit)
    if spec.split == "validation":
        tested = {task.benchmarks[0]: tuple(subset(held, spec.test_limit))}
    else:
        tested = {name: tuple(task.test(name, sources, spec.test_limit)) for name in task.benchmarks}
    for name, rows in {"train": train, **tested}.items():
        if not rows:
            raise InputError(f"tasks.{task.name}", f"the {name} split is empty", "check `data:` and the limits")
    digest = hashlib.sha256()
    for name, rows in {"train": train, **tested}.items():
        digest.update(name.encode())
        for row in rows:
            digest.update(canonical(row.model_dump(mode="json")).encode())
    return Splits(train=tuple(train), benchmarks=tested, fingerprint=digest.hexdigest())


def subset(rows: Sequence[T], limit: int | None) -> list[T]:
    """`limit` of `rows` by a fixed draw, in their order; all of them where there are no more, or no limit."""
    if limit is None or limit >= len(rows):
        return list(rows)
    return [rows[i] for i in sorted(random.Random(0).sample(range(len(rows)), limit))]
