"""Store: a directory per study, a directory per trial, each written whole and renamed into place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, Field, ValidationError

from bakeoff.errors import BakeoffError, InputError
from bakeoff.store import durable
from bakeoff.store.record import CurveRow, Prompt, Record, Sample
from bakeoff.study.spec import Trial

M = TypeVar("M", bound=BaseModel)
_OWN = (  # what a run overwrites
    "study.yaml", "results.json", "cells.csv", "report.html", "report.md", "tables.tex", "figures", "staging",
    "prompts",
)  # fmt: skip


class Store:
    """The results of one study on disk, laid out as `study.yaml plan.json results.json report.* trials/<key>/`.

    A trial directory appears by one rename and is complete when it holds `record.json`; what is half written lies in
    `staging/` and is never read. Only one process at a time may write a study (`lock`).
    """

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        self.trials = self.directory / "trials"
        self._staging = self.directory / "staging"

    @classmethod
    def open(cls, directory: str | Path) -> Store:
        """The store in an existing directory; InputError where there is none."""
        store = cls(directory)
        if not (store.directory / "plan.json").is_file():
            raise InputError(
                str(directory),
                "no study's results here (plan.json is absent)",
                "name a directory that `bakeoff run` wrote",
            )
        return store

    def lock(self) -> FileLock:
        """A held lock on the study, released with its context or the process; InputError where another holds it."""
        lock = FileLock(self.directory / ".lock")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                str(self.directory), "another process is running this study", "wait for it, or give another --out"
            ) from None
        except OSError as error:
            raise _no_place(self.directory, f"cannot be written to ({error.strerror})") from None
        return lock

    def earlier(self, study: str) -> dict[str, Any] | None:
        """The plan of an earlier run of this study, None before its first.

        InputError where the directory can be no place for the study's results: it cannot be made, it holds another
        study's, or files of such names that no run wrote. Nothing is written.
        """
        path = self.directory.absolute()
        there = next(place for place in (path, *path.parents) if os.path.exists(place))
        if not there.is_dir():
            raise _no_place(there, "is a file, not a directory")
        if not os.access(there, os.W_OK | os.X_OK):
            raise _no_place(there, "cannot be written to")
        if not (self.directory / "plan.json").exists():
            for name in _OWN:
                if (self.directory / name).exists():
                    raise _no_place(self.directory, f"holds a {name} that is no run's (plan.json is absent)")
            return None
        plan = self.plan()
        if plan["study"] != study:
            raise _no_place(self.directory, f"holds the study '{plan['study']}', not '{study}'")
        return plan

    # --- what is there ---

    def has(self, key: str) -> bool:
        """Whether the trial is complete."""
        return (self.trials / key / "record.json").is_file()

    def record(self, key: str) -> Record:
        """The trial's record; BakeoffError naming the file where the trial's directory is damaged."""
        path = self.trials / key / "record.json"
        record = _parsed(Record, path, str(path), _again(path.parent))
        if record.key != key:
            raise BakeoffError(f"{path}: is the record of another trial ({record.key}); {_again(path.parent)}")
        for name in ("samples.jsonl", "curve.jsonl"):
            if not (path.parent / name).is_file():
                raise BakeoffError(f"{path.parent / name}: absent, though the trial is stored; {_again(path.parent)}")
        return record

    def samples(self, key: str) -> list[Sample]:
        """Every graded completion of the trial, in the order it was graded; none may be missing."""
        path = self.trials / key / "samples.jsonl"
        samples = _rows(Sample, path)
        for name, told in self.record(key).benchmarks.items():
            found = len({sample.id for sample in samples if sample.benchmark == name})
            if found != told.n_items:
                what = f"holds {found} items of {name}, and the record says {told.n_items}"
                raise BakeoffError(f"{path}: {what}; {_again(path.parent)}")
        return samples

    def curve(self, key: str) -> list[CurveRow]:
        """The trial's training curve, a row per optimiser step; empty where nothing was trained."""
        return _rows(CurveRow, self.trials / key / "curve.jsonl")

    def prompts(self, dataset: str) -> list[Prompt]:
        """What the items of the data set of that hash (`Trial.dataset`) ask; nothing in an older store."""
        path = self._prompts(dataset)
        return _rows(Prompt, path, "remove it, and the next run writes it again") if path.exists() else []

    def adapter(self, key: str) -> Path:
        """The directory of the trained adapter in PEFT's format."""
        return self.trials / key / "adapter"

    def plan(self) -> dict[str, Any]:
        """plan.json: the trials (key, model, task, method, seed) and the groups they run in."""
        path = self.directory / "plan.json"
        mend = (
            "restore it, or move trials/ into a new directory and run the study with that --out: what is done is kept"
        )
        _parsed(_Plan, path, str(path), mend)
        return json.loads(path.read_bytes())

    # --- writing ---

    def keep_prompts(self, dataset: str, prompts: Iterable[Prompt]) -> None:
        """Write what the items of a data set ask, once for all trials on it."""
        path = self._prompts(dataset)
        if not path.exists():
            durable.write(path, _text(*(one.model_dump_json() for one in prompts)))

    def _prompts(self, dataset: str) -> Path:
        return self.directory / "prompts" / f"{dataset[:16]}.jsonl"

    def clear_staging(self) -> None:
        """Drop what a run that died left half written; only while the lock is held."""
        shutil.rmtree(self._staging, ignore_errors=True)

    def stage(self, key: str) -> Path:
        """An empty directory in which a trial's files (the adapter first) are prepared before `commit`."""
        path = self._staged(key)
        with durable.storing(path):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
        return path

    def commit(self, trial: Trial, record: Record, samples: Sequence[Sample], curve: Sequence[CurveRow]) -> None:
        """Add the trial's other files to its staged directory and rename it into `trials/`, all of it or nothing."""
        path, final = self._staged(record.key), self.trials / record.key
        durable.fill(path / "trial.json", _text(trial.model_dump_json(indent=1)))
        durable.fill(path / "curve.jsonl", _text(*(row.model_dump_json() for row in curve)))
        durable.fill(path / "samples.jsonl", _text(*(sample.model_dump_json() for sample in samples)))
        durable.fill(path / "record.json", _text(record.model_dump_json(indent=1)))
        with durable.storing(final):
            if final.exists():
                shutil.rmtree(final)
        durable.publish(path, final)
        with suppress(OSError):  # others may have something there
            self._staging.rmdir()

    def write(self, name: str, text: str) -> Path:
        """Write one of the study's own files (`study.yaml`, `report.html`, `figures/...`, ...), whole or not at all."""
        path = self.directory / name
        durable.write(path, text.encode("utf-8"))
        return path

    def _staged(self, key: str) -> Path:
        """Where this process prepares the trial: no other process writes there."""
        return self._staging / f"{key}.{os.getpid()}"


def _no_place(path: Path, what: str) -> InputError:
    return InputError("--out", f"{path} {what}", "give another directory")


class _Row(BaseModel):
    """A trial as plan.json lists it."""

    key: str
    model: str
    task: str
    method: str
    seed: int | None


class _Plan(BaseModel):
    """What readers of plan.json rely on; it may hold more."""

    schema_version: Literal[1] = Field(alias="schema")
    study: str
    tasks: dict[str, dict[str, Any]]
    trials: list[_Row]
    groups: list[list[str]]
    group_size: int
    parameters: dict[str, dict[str, dict[str, int]]] = {}
    notes: dict[str, Any] = {}


def _rows(kind: type[M], path: Path, mend: str = "") -> list[M]:
    """The rows of a file with one JSON object a line; `mend` is what to do about damage, if not to repeat its trial."""
    name, mend = str(path), mend or _again(path.parent)
    lines = _bytes(path, mend).split(b"\n")
    return [_parsed(kind, line, f"{name}, line {number}", mend) for number, line in enumerate(lines, start=1) if line]


def _parsed(kind: type[M], source: Path | bytes, where: str, mend: str) -> M:
    """JSON (of a file, or itself) as a `kind`; BakeoffError says where it is damaged and what to do."""
    data = _bytes(source, mend) if isinstance(source, Path) else source
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
    for name in ("schema", "schema_version"):
        if first["loc"] == (name,) and first["type"] == "literal_error":
            what = f"has schema version {first['input']!r}, and this Bakeoff reads 1"
            raise BakeoffError(f"{where}: {what}; use the Bakeoff that wrote it")
    place = ".".join(str(part) for part in first["loc"])
    raise BakeoffError(f"{where}: damaged ({place + ': ' if place else ''}{first['msg']}); {mend}")


def _bytes(path: Path, mend: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BakeoffError(f"{path}: cannot be read ({error.strerror}); {mend}") from None


def _again(trial: Path) -> str:
    """What to do about a damaged trial: nothing is thrown away, and the others stay."""
    return f"restore it, or move {trial} out of trials/ and run the study again, which repeats this trial"


def _text(*lines: str) -> bytes:
    return "".join(line + "\n" for line in lines).encode("utf-8")
