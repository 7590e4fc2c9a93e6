"""Task and Example: chat messages, and how a completion of them is graded."""

from __future__ import annotations

import hashlib
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

from bakeoff.data.datasets import Noted, Source, Sources
from bakeoff.data.example import Example, Message
from bakeoff.data.sample import subset
from bakeoff.errors import InputError
from bakeoff.study import registry
from bakeoff.study.spec import Decoding, Frozen, TaskSpec, canonical

__all__ = ["Completion", "Example", "Grade", "Message", "Sources", "Splits", "Task", "build", "splits", "subset"]

BY_CHANCE = 10  # a limit below this may leave one class alone by chance


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
    """A completion's scores by metric, and details for people and for aggregates.

    No scores at all: it could not be graded (`detail["why"]`), so it is left out of every mean. A trial with more than
    1 % of those on a benchmark fails.
    """

    scores: dict[str, float]
    detail: dict[str, Any] = {}


class Task(ABC):
    """What is taught and how it is tested. A subclass is one file; its name is the module's.

    `kind` "choose" scores `Example.choices` by likelihood (or has one of them written: `TaskSpec.answering`),
    "generate" draws text. `metrics` names the scores that `grade` returns, the headline first, then those aggregates of
    `analysis/aggregates.py` that `Grade.detail` holds what is needed for. A task trains once and is tested on each of
    its `benchmarks`. `hub_ids` names the hub datasets it reads: a study's `data:` may serve these, and no others, from
    local files. `runs_code` says that grading runs what the model wrote: a sandbox must then be there before anything
    is trained.
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

    @classmethod
    def of(cls, spec: TaskSpec, name: str) -> Task:
        """The task as a study asks for it under `name`; InputError where it cannot be that."""
        return cls()

    @abstractmethod
    def train(self, sources: Sources, limit: int | None) -> list[Example]:
        """The training split, or `limit` examples of it chosen without regard to any seed of the study."""

    @abstractmethod
    def test(self, benchmark: str, sources: Sources, limit: int | None) -> list[Example]:
        """A benchmark's test split, or `limit` examples of it."""

    def remark(self, sources: Sources) -> str:
        """What must be known of the data that `sources` give, in one sentence; nothing where they are as always."""
        return ""

    @abstractmethod
    def grade(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Grade]:
        """One grade per (example, completion) pair, in order. Example i belongs to completion i."""

    def floors(self, benchmark: str, examples: Sequence[Example]) -> dict[str, float]:
        """By metric, what answers to other examples would score: shown beside the scores, where it is not 0."""
        return {}


class Splits(Frozen):
    """The examples one trial uses, the content hash that stands for them in its key, and what they were read from."""

    train: tuple[Example, ...]
    benchmarks: dict[str, tuple[Example, ...]]
    fingerprint: str
    sources: tuple[Source, ...] = ()
    trained_on: tuple[str, ...] = ()  # of these, the ids that training examples came from
    tested_on: dict[str, tuple[str, ...]] = {}  # and those that each benchmark's came from


def build(spec: TaskSpec, name: str) -> Task:
    """The task that a study names `name` and asks for as `spec`."""
    kind: type[Task] = registry.find("tasks", spec.use, f"tasks.{name}")
    return kind.of(spec, name)


def splits(task: Task, spec: TaskSpec, sources: Sources) -> Splits:
    """Load what `spec` asks of `task`: training examples, and those it is evaluated on.

    With `validation: n`, n examples are held out of the whole training split by a fixed draw, the same at every
    `train_limit`; with `split: validation` they take the place of the (first) benchmark.
    """
    noted = Noted(sources)
    train, held = _train(task, spec, noted)
    read = {name: Noted(sources) for name in task.benchmarks if spec.benchmarks is None or name in spec.benchmarks}
    if spec.split == "validation":
        first = next(iter(read))
        read, tested = {first: noted}, {first: tuple(subset(held, spec.test_limit))}
    else:
        tested = {name: tuple(task.test(name, own, spec.test_limit)) for name, own in read.items()}
    facts = tuple(dict.fromkeys(source for own in (noted, *read.values()) for source in own.facts))
    _check_files(facts)
    _check(task, "train", train, spec.train_limit)
    for name, rows in tested.items():
        _check(task, name, rows, spec.test_limit)
        _check_ids(task, name, rows)
    return Splits(
        train=tuple(train),
        benchmarks=tested,
        fingerprint=_fingerprint(train, tested),
        sources=facts,
        trained_on=noted.ids,
        tested_on={name: own.ids for name, own in read.items()},
    )


def _train(task: Task, spec: TaskSpec, sources: Sources) -> tuple[list[Example], list[Example]]:
    """The training examples, and those that are held out of them."""
    if not spec.validation:
        return task.train(sources, spec.train_limit), []
    rows = task.train(sources, None)
    if len(rows) <= spec.validation:
        what = f"{spec.validation} of {len(rows)} training examples would leave none"
        raise InputError(f"tasks.{task.name}.validation", what)
    chosen = set(random.Random(0).sample(range(len(rows)), spec.validation))
    rest = [row for i, row in enumerate(rows) if i not in chosen]
    return subset(rest, spec.train_limit), [row for i, row in enumerate(rows) if i in chosen]


def _check(task: Task, name: str, rows: Sequence[Example], limit: int | None) -> None:
    """InputError where a split is empty, or where all answers of a `choose` task are the same."""
    where = f"tasks.{task.name}"
    if not rows:
        raise InputError(where, f"the {name} split is empty", "check `data:` and the limits")
    if task.kind != "choose" or (limit is not None and limit < BY_CHANCE):
        return
    if len({row.answer for row in rows}) == 1:
        what = f"all {len(rows)} answers of the {name} split are {rows[0].answer!r}, so there is nothing to choose"
        raise InputError(where, what, "check `data:` and the limits")


def _check_files(sources: Iterable[Source]) -> None:
    """InputError where one file served two splits: what is tested on would be what was trained on."""
    served: dict[tuple[Any, ...], str] = {}
    for one in sources:
        if one.files and served.setdefault((one.id, one.files), one.split) != one.split:
            what = f"{one.files[0][0]} serves both split '{served[one.id, one.files]}' and '{one.split}'"
            raise InputError(f"data.{one.id}", what, "give a folder with a file for each split")


def _check_ids(task: Task, name: str, rows: Sequence[Example]) -> None:
    """InputError where two test items have one id: their scores would count as two draws of one item."""
    twice = next((one for one, n in Counter(row.id for row in rows).items() if n > 1), None)
    if twice is not None:
        what = f"two examples of the {name} split have the id {twice!r}"
        raise InputError(f"tasks.{task.name}", what, "give every row an id of its own")


def _fingerprint(train: Sequence[Example], tested: dict[str, tuple[Example, ...]]) -> str:
    """sha256 over every example, in order, and the names of the splits."""
    digest = hashlib.sha256()
    for name, rows in [("train", train), *tested.items()]:
        digest.update(name.encode())
        for row in rows:
            digest.update(canonical(row.model_dump(mode="json")).encode())
    return digest.hexdigest()
