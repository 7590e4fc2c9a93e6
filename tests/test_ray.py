"""A study on a Ray cluster: the same bits as in one process, whoever dies on the way."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from collections import Counter

import pytest
import torch
from test_executors import alike, inline, place, states, until  # noqa: F401

from bakeoff.run.run import run
from bakeoff.study.load import load

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]


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


def test_results_come_back_from_machines_that_do_not_see_the_directory(place, inline, monkeypatch):  # noqa: F811
    """On a cluster that the run starts; and what is there is not sent for again."""
    monkeypatch.setattr("bakeoff.run.executors.ray._probe", lambda _: ("/nowhere/probe", "token"))
    outcome = run(load(place / "toy.yaml"), place / "apart", executor="ray")
    assert (outcome.ran, outcome.failed, outcome.paused) == (6, (), "")
    alike(outcome.store, inline)
    assert outcome.store.examine() == {}
    assert {outcome.store.record(t["key"]).provenance.executor for t in outcome.store.plan()["trials"]} == {"ray"}


def test_ctrl_c_lets_tasks_save_how_far_they_came(place, inline):  # noqa: F811
    """It ends the run as it would without a cluster; the next run has the bits of one."""
    (place / "left").write_text("sleep 3")
    (place / "graded").unlink(missing_ok=True)
    command = [sys.executable, "-c", "from bakeoff.cli import main; main()", "run", str(place / "toy.yaml")]
    out = place / "interrupted"
    driver = subprocess.Popen([*command, "--out", str(out), "--executor", "ray"], stdout=subprocess.DEVNULL)
    until((place / "graded").exists)
    driver.send_signal(signal.SIGINT)
    assert driver.wait() == 130
    (place / "left").unlink()
    again = run(load(place / "toy.yaml"), out)
    assert again.failed == () and again.ran > 0
    alike(again.store, inline)
