"""ray: groups as tasks of a Ray cluster, several at once; a machine that dies costs what it had not finished.

Ray retries nothing by itself. What a worker stores appears in the study's directory by one rename where that is shared;
where a worker does not see it, a trial's files come back and are stored by the run, against their hashes.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import bakeoff
from bakeoff.errors import BakeoffError, StorageError, TrialError, extra
from bakeoff.grading.code import tiers
from bakeoff.models.quiet import quiet_libraries
from bakeoff.run.ended import Ended, Group, Submit, attend
from bakeoff.run.errand import Errand, Setting, check, errand, setting, workplace
from bakeoff.run.group import Workplace, fail
from bakeoff.run.progress import Progress
from bakeoff.study.spec import Frozen

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
        heard = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(log_to_driver=False, configure_logging=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            told = str(error).split("\n")[0]
            raise BakeoffError(f"--executor ray: no cluster at {os.environ.get('RAY_ADDRESS')} ({told})") from None
        if heard is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, heard)  # Ray's own would end the run before anything is saved
    cluster = _Cluster(ray, place)
    try:
        yield cluster.submit
    finally:
        cluster.cancel()
        place.store.clear_staging()
        if mine:
            ray.shutdown()


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
                self._stop()
            ended, _ = self._ray.wait(list(self._running), timeout=0.5)
            for one in ended:
                if told := self._ended(self._running.pop(one), one):
                    yield told

    def _stop(self) -> None:
        """Let what runs save how far it came, and end with it."""
        left = list(self._running)
        self.cancel()
        while left:
            _, left = self._ray.wait(left, timeout=0.5)
        self._place.interrupt.check()

    def cancel(self) -> None:
        """Interrupt what still runs."""
        for one in self._running:
            self._ray.cancel(one)
        self._running = {}

    def _start(self, task: _Task) -> None:
        told = errand(self._place, task.group).model_dump_json()
        remote = self._task.options(max_retries=0, **self._needs(task.group))
        self._running[remote.remote(self._setting, told, self._probe)] = task

    def _needs(self, group: Group) -> dict[str, Any]:
        """What a group takes of a machine: no more than the largest one has, for it would wait for ever."""
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        most = {name: max(one.get(name, 0) for one in machines) for name in ("CPU", "GPU", "memory")}
        gpus = int(self._place.plan.device == "cuda")
        if gpus > most["GPU"]:
            raise BakeoffError("--executor ray: the trials are for a GPU, and no machine of the cluster has one")
        memory = 8 * self._place.plan.backbones[group[0].model].parameters() + GIB  # the weights in float32, twice
        return {
            "num_cpus": min(torch.get_num_threads(), most["CPU"]),
            "num_gpus": gpus,
            "memory": int(min(memory, most["memory"])),
        }

    def _ended(self, task: _Task, one: Any) -> Ended | None:
        """How a group ended; None where it was lost and runs again."""
        errors = self._ray.exceptions
        try:
            said: Said = self._ray.get(one)
        except errors.NodeDiedError:
            task.deaths += 1
            return self._again(task, "the machine that it ran on died", task.deaths < DEATHS)
        except errors.OutOfMemoryError:
            return self._failed(task, "out of memory: Ray killed its process", True)
        except (errors.WorkerCrashedError, errors.ObjectLostError):
            task.crashes += 1
            return self._again(task, f"its process died {CRASHES} times", task.crashes < CRASHES)
        except errors.RayTaskError as error:
            return self._failed(task, f"{type(error.cause).__name__}: {error.cause}".split("\n")[0], False)
        return self._said(task, said)

    def _again(self, task: _Task, reason: str, yes: bool) -> Ended | None:
        if yes:
            return self._start(task)
        return self._failed(task, reason, True)

    def _failed(self, task: _Task, reason: str, memory: bool) -> Ended:
        """A group that nothing was heard of; what it stored stays."""
        group = task.group
        if memory and len(group) > 1:
            return Ended(group=group, memory=reason)
        self._tell(task)
        fail(self._place, self._place.plan.groups.index(group), group, TrialError(reason))
        return Ended(group=group, failed=reason)

    def _said(self, task: _Task, said: Said) -> Ended:
        if said.storage:
            raise StorageError(*said.storage)
        for note in said.notes:
            self._place.progress.note(note)
        for key, files in said.files.items():
            self._place.store.adopt(key, files)
        self._tell(task)
        return Ended(group=task.group, failed=said.failed, memory=said.memory)

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


_places: dict[str, Workplace] = {}  # of this worker, by what is asked: the model stays from task to task


def carry_out(told: str, group: str, probe: tuple[str, str]) -> Said:
    """In a worker: carry a group out, and say what came of it."""
    asked, errand = Setting.model_validate_json(told), Errand.model_validate_json(group)
    shared = _sees(probe)
    place = _place(told, asked, shared)
    progress, place.progress = place.progress, _Noting()
    place.interrupt.asked = False
    with tiers.unprotected(asked.unsafe), place.interrupt.heeded():  # Ray cancels a task by SIGINT
        try:
            check(place, errand.trials)
            ended = attend(place, errand.number, errand.trials)
        except TrialError as error:
            fail(place, errand.number, errand.trials, error)
            ended = Ended(group=errand.trials, failed=str(error))
        except StorageError as error:
            return Said(storage=(f"{os.uname().nodename}: {error.path}", error.what, error.mend))
    notes, place.progress = tuple(place.progress.notes), progress
    files = {} if shared else {t.key(): _files(place, t.key()) for t in errand.trials if place.store.has(t.key())}
    return Said(failed=ended.failed, memory=ended.memory, notes=notes, files=files)


def _place(told: str, asked: Setting, shared: bool) -> Workplace:
    """This worker's workplace; where it does not see the study's directory, with one of its own.

    It goes with the worker: what it holds is with the run by then.
    """
    key = f"{shared} {told}"
    if key not in _places:
        quiet_libraries()
        if asked.version != bakeoff.__version__:
            raise BakeoffError(
                f"Bakeoff {bakeoff.__version__} is installed here, and the run is one of {asked.version}"
            )
        place = workplace(asked, Progress(), None if shared else _own_directory())
        if not shared:
            place.store.write("plan.json", place.plan.as_json())
        _places.clear()
        _places[key] = place
    return _places[key]


def _own_directory() -> str:
    """A directory of this worker's, gone when it ends."""
    folder = tempfile.mkdtemp(prefix="bakeoff-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


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
