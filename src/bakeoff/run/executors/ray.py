"""ray: groups as tasks of a Ray cluster, several at once; a machine that dies costs what it had not finished.

Ray retries nothing by itself. What a worker stores appears in the study's directory by one rename where that is shared;
where a worker does not see it, a trial's files come back and are stored by the run, against their hashes.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import torch

from bakeoff.errors import BakeoffError, DamageError, StorageError, TrialError, extra, redacted
from bakeoff.grading.code import tiers
from bakeoff.models.quiet import quiet_libraries
from bakeoff.run.ended import Ended, Group, Submit, attend
from bakeoff.run.errand import Errand, Setting, check, errand, setting, workplace
from bakeoff.run.group import Workplace, fail
from bakeoff.run.progress import Progress
from bakeoff.store.store import Store
from bakeoff.study.spec import Frozen

PATIENCE = 10.0  # seconds for a task that is told to end, and for an address to answer
CRASHES = 2  # of a worker's process under one group: then it is the group's doing
DEATHS = 20  # of machines under one group
GIB = 2**30


class Said(Frozen):
    """What came of an errand: as Ended has it, notes, the files of its trials where they are to be stored from here."""

    failed: str = ""
    memory: str = ""
    notes: tuple[str, ...] = ()
    files: dict[str, dict[str, bytes]] = {}
    storage: tuple[str, str, str] | None = None


@contextmanager
def opened(place: Workplace) -> Iterator[Submit]:
    """Groups are carried out on the cluster that is there (RAY_ADDRESS, or one on this machine), else on a new one."""
    try:
        import ray
    except ImportError:
        raise BakeoffError(f"--executor ray: Ray is not installed; {extra('ray')}") from None
    mine = not ray.is_initialized()
    if mine:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told
        heard, address = signal.getsignal(signal.SIGTERM), os.environ.get("RAY_ADDRESS", "")
        try:
            _look(address)
            ray.init(log_to_driver=False, configure_logging=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            told = str(error).split("\n")[0]
            raise BakeoffError(f"--executor ray: no cluster at RAY_ADDRESS={address} ({told})") from None
        if heard is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, heard)  # Ray's own would end the run before anything is saved
    cluster = _Cluster(ray, place)
    try:
        yield cluster.submit
    finally:
        cluster.close()
        place.store.clear_staging()
        if mine:
            ray.shutdown()


def _look(address: str) -> None:
    """OSError where nobody listens at the `host:port` of a cluster: Ray would try for minutes."""
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), PATIENCE).close()


@dataclass
class _Task:
    """A group on its way: what of it was stored before, and what died under it."""

    group: Group
    before: set[str]
    crashes: int = 0
    deaths: int = 0


class _Cluster:
    """The groups that run on a cluster."""

    def __init__(self, ray: Any, place: Workplace):
        self._ray, self._place, self._task = ray, place, ray.remote(carry_out)
        self._running: dict[Any, _Task] = {}
        self._setting = setting(place).model_dump_json()
        self._probe = _probe(place)

    def submit(self, groups: Sequence[Group]) -> Iterator[Ended]:
        for group in groups:
            self._start(_Task(group, {trial.key() for trial in group if self._place.finished(trial)}))
        while self._running:
            if self._place.interrupt.asked:
                self._end(math.inf)  # what runs saves how far it came
                self._place.interrupt.check()
            heard, _ = self._ray.wait(list(self._running), timeout=0.5)
            for one in heard:
                if told := self._heard(one):
                    yield told

    def close(self) -> None:
        """Leave nothing at work: it would write into a directory that the run no longer holds."""
        if not self._place.interrupt.asked:
            self._end(PATIENCE)
        self._end(PATIENCE, force=True)

    def _end(self, seconds: float, force: bool = False) -> None:
        """Tell what still runs to end, by force or by an interrupt, and wait for that so long.

        What came back of groups that ended is stored; of the others nothing is said, and they run again.
        """
        for one in self._running:
            self._ray.cancel(one, force=force)
        left, until = {one.completed(): one for one in self._running}, time.monotonic() + seconds
        while left and time.monotonic() < until:
            ended, _ = self._ray.wait(list(left), timeout=0.5)
            for one in map(left.pop, ended):
                del self._running[one]
                with suppress(self._ray.exceptions.RayError, BakeoffError):
                    for told in one:
                        if isinstance(said := self._ray.get(told), Said):
                            self._adopt(said)

    def _start(self, task: _Task) -> None:
        told = errand(self._place, task.group).model_dump_json()
        remote = self._task.options(max_retries=0, **self._needs(task.group))
        self._running[remote.remote(self._setting, told, self._probe)] = task

    def _needs(self, group: Group) -> dict[str, Any]:
        """What a group takes of a machine: no more than the one that suits it best has, for it would wait for ever."""
        gpus = int(self._place.plan.device == "cuda")
        memory = 8 * self._place.plan.backbones[group[0].model].parameters() + GIB  # the weights in float32, twice
        wanted = {"GPU": gpus, "memory": memory, "CPU": torch.get_num_threads()}
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        most = [{name: min(one.get(name, 0), want) for name, want in wanted.items()} for one in machines]
        best = max((one for one in most if one["CPU"]), key=lambda one: tuple(one.values()), default=None)
        if best is None:
            raise BakeoffError("--executor ray: no machine of the cluster has a CPU to give")
        if best["GPU"] < gpus:
            raise BakeoffError("--executor ray: the trials are for a GPU, and no machine of the cluster has one")
        return {"num_cpus": best["CPU"], "num_gpus": gpus, "memory": int(best["memory"])}

    def _heard(self, one: Any) -> Ended | None:
        """How a group ended; None where it has begun, and where it was lost and runs again."""
        task, errors = self._running.pop(one), self._ray.exceptions
        try:
            said: Said | str = self._ray.get(next(one))
        except errors.NodeDiedError:
            task.deaths += 1
            return self._again(task, "the machine that it ran on died", task.deaths < DEATHS)
        except errors.OutOfMemoryError:
            return self._failed(task, "out of memory: Ray killed its process", True)
        except (errors.WorkerCrashedError, errors.ObjectLostError):
            task.crashes += 1
            return self._again(task, f"its process died {CRASHES} times", task.crashes < CRASHES)
        except errors.RayTaskError as error:
            return self._failed(task, _told(error.cause), False)
        except errors.RayError as error:
            return self._failed(task, _told(error), False)
        if isinstance(said, str):
            self._running[one] = task
            self._place.progress.group(task.group, self._place.engine)
            return None
        return self._said(task, said)

    def _again(self, task: _Task, reason: str, yes: bool, memory: bool = True) -> Ended | None:
        if yes:
            return self._start(task)
        return self._failed(task, reason, memory)

    def _failed(self, task: _Task, reason: str, memory: bool) -> Ended:
        """A group that nothing was heard of; what it stored stays."""
        group = task.group
        if memory and len(group) > 1:
            return Ended(group=group, memory=reason)
        self._tell(task)
        fail(self._place, self._place.plan.groups.index(group), group, TrialError(reason))
        return Ended(group=group, failed=reason)

    def _said(self, task: _Task, said: Said) -> Ended | None:
        if said.storage:
            raise StorageError(*said.storage)
        try:
            self._adopt(said)
        except DamageError as error:
            task.crashes += 1
            return self._again(task, f"of its results, {_told(error)}", task.crashes < CRASHES, memory=False)
        for note in said.notes:
            self._place.progress.note(note)
        self._tell(task)
        return Ended(group=task.group, failed=said.failed, memory=said.memory)

    def _adopt(self, said: Said) -> None:
        """Store the trials that came back. DamageError where they are not as they were written."""
        for key, files in said.files.items():
            self._place.store.adopt(key, files)

    def _tell(self, task: _Task) -> None:
        """Tell of the trials that are stored since the group began."""
        store = self._place.store
        for key in (trial.key() for trial in task.group):
            if key not in task.before and store.has(key):
                self._place.progress.trial(store.record(key))


class _Noting(Progress):
    """What a worker should tell the user: notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def _told(error: BaseException) -> str:
    """An error in one line."""
    told = str(error) if isinstance(error, BakeoffError) else f"{type(error).__name__}: {error}"
    return redacted(told.split("\n")[0])


_places: dict[str, Workplace] = {}  # of this worker, by what is asked: the model stays from task to task


def carry_out(told: str, group: str, probe: tuple[str, str]) -> Iterator[str | Said]:
    """In a worker: carry a group out, and say that it begins and what came of it."""
    yield "begins"
    asked, errand = Setting.model_validate_json(told), Errand.model_validate_json(group)
    shared = _sees(probe)
    with nullcontext(asked.directory) if shared else TemporaryDirectory(prefix="bakeoff-") as directory:
        try:
            said = _carried_out(_place(told, asked, directory), errand, asked.unsafe, shared)
        except StorageError as error:
            said = Said(storage=(f"{os.uname().nodename}: {error.path}", error.what, error.mend))
    yield said


def _carried_out(place: Workplace, errand: Errand, unsafe: bool, shared: bool) -> Said:
    place.progress = progress = _Noting()
    place.interrupt.asked = False
    if not shared:
        place.store.write("plan.json", place.plan.as_json())
    with tiers.unprotected(unsafe), place.interrupt.heeded():  # Ray cancels a task by SIGINT
        try:
            check(place, errand.trials)
            ended = attend(place, errand.number, errand.trials)
        except TrialError as error:
            fail(place, errand.number, errand.trials, error)
            ended = Ended(group=errand.trials, failed=str(error))
    files = {} if shared else {t.key(): _files(place, t.key()) for t in errand.trials if place.store.has(t.key())}
    return Said(failed=ended.failed, memory=ended.memory, notes=tuple(progress.notes), files=files)


def _place(told: str, asked: Setting, directory: str) -> Workplace:
    """This worker's workplace, with `directory` for its results: the study's, or of the task where that is not seen."""
    if told not in _places:
        quiet_libraries()
        place = workplace(asked, Progress())
        _places.clear()
        _places[told] = place
    _places[told].store = Store(directory)
    return _places[told]


def _files(place: Workplace, key: str) -> dict[str, bytes]:
    """All files of a stored trial, by their paths in its directory."""
    folder = place.store.trials / key
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _probe(place: Workplace) -> tuple[str, str]:
    """A file in the study's directory and what it holds: who reads that sees the directory."""
    token = secrets.token_hex(16)
    return str(place.store.write("staging/probe", token, sync=False).absolute()), token


def _sees(probe: tuple[str, str]) -> bool:
    path, token = probe
    try:
        return Path(path).read_text() == token
    except OSError:
        return False
