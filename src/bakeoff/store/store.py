"""Store: a directory per study, a directory per trial, each written whole and renamed into place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from bakeoff.errors import BakeoffError, InputError
from bakeoff.store.record import CurveRow, Record, Sample
from bakeoff.study.spec import Trial


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
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.directory / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                str(self.directory), "another process is running this study", "wait for it, or give another --out"
            ) from None
        return lock

    # --- what is there ---

    def has(self, key: str) -> bool:
        """Whether the trial is complete."""
        return (self.trials / key / "record.json").is_file()

    def record(self, key: str) -> Record:
        """The trial's record; BakeoffError naming the file where it cannot be read."""
        path = self.trials / key / "record.json"
        try:
            return Record.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise BakeoffError(
                f"{path}: not a readable record ({_first_line(error)}); remove {path.parent} and run again"
            ) from error

    def samples(self, key: str) -> list[Sample]:
        """Every graded completion of the trial, in the order it was graded."""
        return [Sample.model_validate_json(line) for line in _lines(self.trials / key / "samples.jsonl")]

    def curve(self, key: str) -> list[CurveRow]:
        """The trial's training curve, a row per optimiser step; empty where nothing was trained."""
        return [CurveRow.model_validate_json(line) for line in _lines(self.trials / key / "curve.jsonl")]

    def adapter(self, key: str) -> Path:
        """The directory of the trained adapter in PEFT's format."""
        return self.trials / key / "adapter"

    def plan(self) -> dict[str, Any]:
        """plan.json: the trials (key, model, task, method, seed) and the groups they run in."""
        return json.loads((self.directory / "plan.json").read_text())

    # --- writing ---

    def stage(self, key: str) -> Path:
        """An empty directory in which a trial's files (the adapter first) are prepared before `commit`."""
        path = self._staging / key
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def commit(self, trial: Trial, record: Record, samples: Sequence[Sample], curve: Sequence[CurveRow]) -> None:
        """Add the trial's other files to its staged directory and rename it into `trials/`, all of it or nothing."""
        path = self._staging / record.key
        path.mkdir(parents=True, exist_ok=True)
        (path / "trial.json").write_text(trial.model_dump_json(indent=1) + "\n")
        (path / "curve.jsonl").write_text(_jsonl(row.model_dump_json() for row in curve))
        (path / "samples.jsonl").write_text(_jsonl(sample.model_dump_json() for sample in samples))
        (path / "record.json").write_text(record.model_dump_json(indent=1) + "\n")
        for file in sorted(path.rglob("*")):
            _sync(file)
        self.trials.mkdir(parents=True, exist_ok=True)
        final = self.trials / record.key
        if final.exists():
            shutil.rmtree(final)
        path.rename(final)
        _sync(self.trials)
        if not any(self._staging.iterdir()):
            self._staging.rmdir()

    def write(self, name: str, text: str) -> Path:
        """Write one of the study's own files (`study.yaml`, `plan.json`, `report.html`, ...), whole or not at all."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path, partial = self.directory / name, self.directory / f".{name}.partial"
        partial.write_text(text, encoding="utf-8")
        _sync(partial)
        partial.replace(path)
        return path


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line] if path.is_file() else []


def _jsonl(rows: Iterable[str]) -> str:
    return "".join(row + "\n" for row in rows)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
