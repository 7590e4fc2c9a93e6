"""Checkpoints: what a group has come to, on disk, so that a run that dies goes on from there to the same bits."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bakeoff.store import durable
from bakeoff.store.store import Store
from bakeoff.study.spec import Frozen, Trial
from bakeoff.tasks.task import Completion

SECONDS = 60.0  # between two checkpoints of a group
REST = 50  # and at least so many times what the last one took: writing takes 2 % of the time at most
KEPT = 2  # the latest, and one in case it is damaged


class Made(Frozen):
    """What a checkpoint is good for: a run with other versions, another engine or device would give other bits.

    Each of a study's plugins has its hash among the versions.
    """

    trials: tuple[str, ...]
    engine: str
    device: str
    versions: dict[str, str]


class State(Frozen):
    """state.json: the group's learners (`engine/state.py`, None where nothing is trained) and its costs so far.

    `resumed_at` are the steps at which earlier sittings went on, `threads` those of the processor in the last one.
    """

    schema_version: Literal[1] = 1
    made: Made
    threads: int
    learners: tuple[dict[str, Any] | None, ...]
    train_seconds: float
    eval_seconds: float
    peak_bytes: int | None
    resumed_at: tuple[int, ...]


class Answers(Frozen):
    """A line of answers.jsonl: every lane's completions of one portion of a benchmark, [lanes][examples][draws]."""

    benchmark: str
    portion: int
    lanes: tuple[tuple[tuple[Completion, ...], ...], ...]


@dataclass(frozen=True)
class Checkpoint:
    """All that a group has come to; each learner's tensors are named `<its number>/...`."""

    state: State
    tensors: dict[str, Tensor]
    answers: tuple[Answers, ...]


class Checkpoints:
    """The latest checkpoints of trials that run as one: `DIR/checkpoints/<id>/<n>/`, each whole or not there."""

    def __init__(self, store: Store, made: Made, note: Callable[[str], None], seconds: float):
        self.store, self.made, self.note, self.seconds = store, made, note, seconds
        self.directory = _home(store) / group_id(made.trials)
        self._last, self._took = time.monotonic(), 0.0

    def due(self) -> bool:
        """Whether it is time for the next one. Nothing of a trial's numbers depends on when that is."""
        return time.monotonic() - self._last >= max(self.seconds, REST * self._took)

    def write(self, checkpoint: Checkpoint) -> None:
        """Add a checkpoint, and drop those before the last two."""
        started = time.monotonic()
        there = self._numbers()
        folder = self.store.stage(f"checkpoint-{self.directory.name}")
        durable.fill(folder / "state.json", _json(checkpoint.state))
        durable.fill(folder / "answers.jsonl", b"".join(_json(one) for one in checkpoint.answers))
        with durable.storing(folder):
            save_file(
                {name: _alone(tensor) for name, tensor in checkpoint.tensors.items()}, folder / "tensors.safetensors"
            )
        durable.publish(folder, self.directory / str(max(there, default=0) + 1))
        for number in sorted(there)[: 1 - KEPT]:
            _remove(self.store, self.directory / str(number))
        self._last = time.monotonic()
        self._took = self._last - started

    def latest(self) -> Checkpoint | None:
        """The newest one that is as it was written and fits this run. What is not used is named in a note."""
        for number in sorted(self._numbers(), reverse=True):
            path = self.directory / str(number)
            if wrong := durable.check(path, extra=False):
                self.note(f"{path}: damaged ({wrong[0]}), moved to {self._set_aside(path)}; {self._instead(number)}")
                continue
            try:
                found = _read(path)
            except ValidationError:
                self.note(f"{path}: not used, another version of Bakeoff wrote it; training starts anew")
                return None
            if found.state.made != self.made:
                what = _otherwise(found.state.made, self.made)
                self.note(f"{path}: not used, it was made {what}; training starts anew")
                return None
            return found
        return None

    def drop(self) -> None:
        """Remove them all: the trials are stored, or begin anew."""
        _remove(self.store, self.directory)

    def _numbers(self) -> list[int]:
        found = self.directory.iterdir() if self.directory.is_dir() else ()
        return [int(path.name) for path in found if path.name.isdecimal()]

    def _instead(self, damaged: int) -> str:
        earlier = any(number < damaged for number in self._numbers())
        return "the one before it is used" if earlier else "training starts anew"

    def _set_aside(self, path: Path) -> Path:
        """Move a damaged checkpoint to where nothing reads it."""
        folder = self.store.directory / "damaged"
        with durable.storing(folder):
            folder.mkdir(exist_ok=True)
        return durable.move(path, folder / f"checkpoint-{self.directory.name}")


def group_id(keys: Iterable[str]) -> str:
    """The name of the directory of trials' checkpoints, from their keys in the group's order."""
    return hashlib.sha256("".join(keys).encode()).hexdigest()[:16]


def sweep(store: Store, unfinished: Iterable[Sequence[Trial]]) -> None:
    """Remove every checkpoint but those of unfinished groups, as groups and trial by trial."""
    keep = {group_id([t.key() for t in each]) for group in unfinished for each in (group, *([t] for t in group))}
    for path in _home(store).iterdir() if _home(store).is_dir() else ():
        if path.name not in keep:
            _remove(store, path)
    if not keep:
        _remove(store, _home(store))


def _home(store: Store) -> Path:
    return store.directory / "checkpoints"


def _remove(store: Store, path: Path) -> None:
    """Take a directory away at one stroke, so that nobody who reads it, now or after a crash, finds a half."""
    if path.is_dir():
        away = store.stage(f"removed-{path.name}")
        with durable.storing(path):
            path.rename(away)
        shutil.rmtree(away, ignore_errors=True)
        with suppress(OSError):  # others may have something there
            away.parent.rmdir()


def _json(data: Frozen) -> bytes:
    """A line of JSON from which every float comes back to the bit, NaN and infinity too."""
    return json.dumps(data.model_dump(mode="python")).encode() + b"\n"


def _read(path: Path) -> Checkpoint:
    lines = (path / "answers.jsonl").read_bytes().splitlines()
    return Checkpoint(
        State.model_validate_json((path / "state.json").read_bytes()),
        load_file(path / "tensors.safetensors"),
        tuple(Answers.model_validate_json(line) for line in lines),
    )


def _alone(tensor: Tensor) -> Tensor:
    """A tensor in main memory, by itself: no view of a larger one."""
    own = tensor.detach().cpu().contiguous()
    return own if own.untyped_storage().nbytes() == own.nbytes else own.clone()


def _otherwise(other: Made, own: Made) -> str:
    """How another run differs from this one: `by torch 2.11.0, not 2.13.0`."""
    pairs = [("engine", other.engine, own.engine), ("device", other.device, own.device)]
    names = own.versions | other.versions
    pairs += [(name, other.versions.get(name, "none"), own.versions.get(name, "none")) for name in names]
    differing = [f"{name} {was}, not {now}" for name, was, now in pairs if was != now]
    return "by " + ", ".join(differing) if differing else "for other trials"
