"""A study on a Ray cluster: the same bits as in one process, whoever dies on the way."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_executors import alike, inline, place, states, until  # noqa: F401

from bakeoff.errors import BakeoffError, DamageError, InputError
from bakeoff.run import plan as planning
from bakeoff.run.errand import Setting, workplace
from bakeoff.run.executors import ray as executor
from bakeoff.run.group import Workplace
from bakeoff.run.progress import Progress
from bakeoff.run.run import run
from bakeoff.store.store import Store
from bakeoff.study.load import load

pytestmark = pytest.mark.xdist_group("ray")
MIB = 2**20


class Telling(Progress):
    """What a run tells: the groups that began."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def group(self, trials, engine):
        self.begun += [trial.key() for trial in trials]


class FakeRay:
    """A cluster of such machines, on which nothing runs."""

    def __init__(self, *machines: dict[str, float]):
        self._machines = machines

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": one} for one in self._machines] + [{"Alive": False, "Resources": {}}]

    def remote(self, function: Any) -> Any:
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda *_: object()))


def on(place, directory: Path, *machines: dict[str, float]) -> tuple[executor._Cluster, Any]:  # noqa: F811
    """The study on such a cluster, and one of its groups."""
    plan, store = planning.make(load(place / "toy.yaml")), Store(directory)
    store.write("staging/x", "") if directory.mkdir() else None
    cluster = executor._Cluster(FakeRay(*machines), Workplace(plan, store, "auto", "ray", Progress()))
    return cluster, plan.groups[0]


# --- without a cluster ---


def test_a_group_asks_for_no_more_than_one_machine_has(place, tmp_path, monkeypatch):  # noqa: F811
    """Not for the CPUs of one and the memory of another, which would be waited for for ever."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    narrow, wide = {"CPU": 1.0, "memory": 9000.0 * MIB}, {"CPU": 8.0, "memory": 800.0 * MIB}
    cluster, group = on(place, tmp_path / "a", wide, {"memory": 9000.0 * MIB}, narrow)
    assert cluster._needs(group)["num_cpus"] == 1 and cluster._needs(group)["memory"] > 1024 * MIB
    cluster, group = on(place, tmp_path / "b", wide, {"memory": 9000.0 * MIB})  # and of a head without CPUs nothing
    assert cluster._needs(group) == {"num_cpus": 4, "num_gpus": 0, "memory": 800 * MIB}
    for machines in ((), ({"memory": 9000.0 * MIB},)):
        cluster, group = on(place, tmp_path / f"c{len(machines)}", *machines)
        with pytest.raises(BakeoffError, match="no machine of the cluster has a CPU to give"):
            cluster._needs(group)


def test_results_that_come_back_damaged_are_a_crash(place, tmp_path):  # noqa: F811
    """The group runs again once, then it fails alone, and not for want of memory."""
    cluster, group = on(place, tmp_path / "out", {"CPU": 8.0, "memory": 9000.0 * MIB})
    cluster._place.store.write("plan.json", cluster._place.plan.as_json())
    task, files = executor._Task(group, set()), {group[0].key(): {"samples.jsonl": b"cut sho"}}
    assert cluster._said(task, executor.Said(files=files)) is None and len(cluster._running) == 1
    ended = cluster._said(task, executor.Said(files=files))
    assert ended and "came back damaged (manifest.json: absent" in ended.failed and not ended.memory
    assert {cluster._place.store.record(trial.key()).status for trial in group} == {"failed"}


def test_an_error_of_a_worker_is_one_line_without_secrets():
    token = "hf_abcdefABCDEF0123456789"
    assert executor._told(RuntimeError(f"no {token}\nat all")) == "RuntimeError: no hf_[secret]"
    assert executor._told(InputError("models.m.path", "absent")) == "models.m.path: absent"
    assert executor._told(DamageError("x", token, "mend")) == "x: hf_[secret]; mend"


def test_other_programs_than_the_runs_are_refused(place, tmp_path):  # noqa: F811
    """Before any of a plugin runs."""
    cluster, _ = on(place, tmp_path / "out", {"CPU": 1.0})
    asked = Setting.model_validate_json(cluster._setting)
    for change, said in (
        ({"torch": "1.0"}, "and the run is one of 1.0"),
        ({"version": "0.0"}, "and the run is one of 0.0"),
        ({"plugins": ("0" * 64,)}, "deadly.py is another file than when the run began"),
    ):
        with pytest.raises(BakeoffError, match=said):
            workplace(asked.model_copy(update=change), Progress())
    assert workplace(asked, Progress()).plan.study == asked.study


def test_what_came_back_while_tasks_were_told_to_end_is_stored(place, tmp_path, monkeypatch):  # noqa: F811
    """On Ctrl-C, of machines that do not see the directory; what was cut off is nobody's failure."""
    cluster, _ = on(place, tmp_path / "out", {"CPU": 1.0})
    adopted: list[str] = []
    monkeypatch.setattr(cluster._place.store, "adopt", lambda key, files: adopted.append(key))

    class Task:
        """What Ray gives for a task that yields so much."""

        def __init__(self, *told: Any):
            self._told = list(told)

        def completed(self) -> Any:
            return self

        def __iter__(self) -> Any:
            return iter(self._told)

    class Cut(Exception):
        pass

    def get(told: Any) -> Any:
        if isinstance(told, Cut):
            raise told
        return told

    ended = Task("begins", executor.Said(files={"key": {}}))
    cluster._running |= dict.fromkeys((ended, Task("begins", Cut())), executor._Task((), set()))
    cluster._ray.exceptions, cluster._ray.get = SimpleNamespace(RayError=Cut), get
    cluster._ray.cancel, cluster._ray.wait = lambda *_, **__: None, lambda left, **_: (left, [])
    cluster._end(1.0)
    assert adopted == ["key"] and cluster._running == {}


def test_a_cluster_that_is_not_there_is_told_at_once(place, tmp_path, monkeypatch):  # noqa: F811
    pytest.importorskip("ray")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and nobody listens
        for form in ("127.0.0.1:{}", "ray://127.0.0.1:{}"):
            address = form.format(held.getsockname()[1])
            monkeypatch.setenv("RAY_ADDRESS", address)
            with pytest.raises(BakeoffError, match=f"no cluster at RAY_ADDRESS={address} .*refused"):
                run(load(place / "toy.yaml"), tmp_path / "out", executor="ray")
    for address in ("", "auto", "local"):
        executor._look(address)


# --- on a cluster ---


@pytest.fixture
def machines():
    """A cluster of two machines, as far as Ray can tell; the second one's number of CPUs is one trial's threads."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    nodes = [cluster.add_node(num_cpus=torch.get_num_threads(), include_dashboard=False) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False, logging_level=logging.ERROR)
    yield cluster, nodes
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
def test_a_machine_that_dies_costs_what_it_had_not_finished(place, machines):  # noqa: F811
    """Six groups of one trial on two machines, one of which dies when two trials are stored."""
    cluster, (_, second) = machines
    study, out = load(place / "toy.yaml"), place / "cluster"
    graded = place / "graded"
    (place / "left").write_text("sleep 2")

    def kill() -> None:
        while len(list((out / "trials").glob("*"))) < 2:
            stop.wait(0.05)
        cluster.remove_node(second, allow_graceful=False)

    stop, killer = threading.Event(), threading.Thread(target=kill, daemon=True)
    killer.start()
    outcome = run(study, out, executor="ray", group_size=1)
    killer.join()
    assert (outcome.ran, [one.reason for one in outcome.failed], outcome.paused) == (6, [], "")
    assert set(states(outcome.store).values()) == {"done"} and len(list((out / "trials").iterdir())) == 6
    by = Counter(graded.read_text().split())
    assert len(by) > 1 and by.total() >= 6  # several processes; what one of them had begun was begun again
    (place / "left").unlink()
    alike(outcome.store, run(study, place / "by-one", group_size=1).store)


@pytest.mark.slow
def test_results_come_back_from_machines_that_do_not_see_the_directory(place, inline, monkeypatch):  # noqa: F811
    """On a cluster that the run starts; and what is there is not sent for again."""
    monkeypatch.setattr("bakeoff.run.executors.ray._probe", lambda _: ("/nowhere/probe", "token"))
    before, told = set(Path(tempfile.gettempdir()).glob("bakeoff-*")), Telling()
    outcome = run(load(place / "toy.yaml"), place / "apart", executor="ray", progress=told)
    assert set(Path(tempfile.gettempdir()).glob("bakeoff-*")) == before
    assert sorted(told.begun) == sorted(trial["key"] for trial in outcome.store.plan()["trials"])
    assert (outcome.ran, outcome.failed, outcome.paused) == (6, (), "")
    alike(outcome.store, inline)
    assert outcome.store.examine() == {}
    assert {outcome.store.record(t["key"]).provenance.executor for t in outcome.store.plan()["trials"]} == {"ray"}


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_tasks_save_how_far_they_came(place, sent):  # noqa: F811
    """It ends the run as it would without a cluster, with trials to go; the next run has the bits of one."""
    (place / "left").write_text("sleep 3")
    (place / "graded").unlink(missing_ok=True)
    command = [sys.executable, "-c", "from bakeoff.cli import main; main()", "run", str(place / "toy.yaml")]
    out = place / sent.name
    command += ["--out", str(out), "--executor", "ray", "--group-size", "1"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    until((place / "graded").exists)
    driver.send_signal(sent)
    assert driver.wait() == 130
    (place / "left").unlink()
    again = run(load(place / "toy.yaml"), out)
    assert again.failed == () and again.ran > 0
    alike(again.store, run(load(place / "toy.yaml"), place / "by-one", group_size=1).store)


@pytest.mark.slow
def test_what_a_worker_cannot_use_fails_its_groups(place, machines):  # noqa: F811
    """Errors of ours come through as the line they are: here a model that is gone when the workers look for it."""
    study, away = load(place / "toy.yaml"), place / "model-away"

    class Hiding(Progress):
        def start(self, trials, stored):
            (place / "model").rename(away)

    try:
        outcome = run(study, place / "hidden", executor="ray", progress=Hiding())
    finally:
        away.rename(place / "model")
    assert len(outcome.failed) == 6
    assert {one.reason.split(":")[0] for one in outcome.failed} == {"models.tiny.path"}


def gone(pid: int) -> bool:
    """Whether a process is at work no more; it may yet have to be waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.slow
def test_no_task_outlives_its_run(place, machines, monkeypatch):  # noqa: F811
    """Not even one that heeds nothing: the lock is free then, and the next run writes."""
    monkeypatch.setattr(executor, "PATIENCE", 4.0)
    (place / "left").write_text("sleep 100")
    (place / "graded").unlink(missing_ok=True)

    class Broken(Progress):
        def group(self, trials, engine):
            until((place / "graded").exists)
            raise BakeoffError("enough")

    with pytest.raises(BakeoffError, match="enough"):
        run(load(place / "toy.yaml"), place / "broken", executor="ray", progress=Broken())
    (place / "left").unlink()
    for worker in (place / "graded").read_text().split():
        until(lambda worker=worker: gone(int(worker)), 10)
    assert not (place / "broken" / "staging").exists()
