"""The process executor: the run, its worker or both are killed, stopped, asked for an end; nothing is lost or left."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bakeoff.store.store import Store
from faults import harness
from faults.conftest import Study, log_of
from faults.harness import Ended, Run, wait_for

pytestmark = pytest.mark.slow

PROCESS = ("--executor", "process")
NEVER = 1e9
MOMENTS = {  # in the course of the first group
    "its first step is taken": ("fill.begin", 1),
    "its second checkpoint is written": ("publish.listed", 2),
    "it answers": ("fill.end", 9),
    "its first trial is written": ("fill.end", 13),
    "its first trial is in place": ("publish.renamed", 6),
}


def test_a_process_beside_gives_what_inline_gives(study, out):
    assert study.start(out, *PROCESS).end().code == 0
    whole(study, out)


@pytest.mark.parametrize("moment", ["its second checkpoint is written", "it answers", "its first trial is in place"])
def test_the_worker_is_killed(study, out, moment):
    """Its group fails, with the reason; the others go on."""
    run = study.start(out, *PROCESS, **stopping(*MOMENTS[moment]))
    worker = stopped(out)
    before = finished(out)
    os.kill(worker, signal.SIGKILL)
    ended = run.end()
    assert ended.code == 1
    lost = failed(out)
    assert len(lost) == 2 - len(before) and len(finished(out)) == 8 - len(lost)
    assert set(lost.values()) == {"its process was killed (SIGKILL), but not by the kernel for want of memory"}
    assert "memory;" not in ended.out  # no group went on in halves
    again(study, out)


@pytest.mark.parametrize("who", ["run", "both"])
def test_the_run_is_killed(study, out, who):
    """Again and again, at every moment. Even a worker that stands still dies with its run, and nothing is written."""
    for n, (point, hit) in enumerate(MOMENTS.values(), start=1):
        run = study.start(out, *PROCESS, **stopping(point, hit if n == 1 else min(hit, 6)))
        worker = stopped(out, n)
        for pid in (run.pid, worker)[: 2 if who == "both" else 1]:
            os.kill(pid, signal.SIGKILL)
        assert run.end().code == -signal.SIGKILL
        gone(worker)
        before = harness.dump(out)
        time.sleep(0.2)
        assert harness.differences(harness.dump(out), before) == []
    assert study.start(out, *PROCESS).end().code == 0
    whole(study, out)


def test_a_worker_that_stands_still_for_a_while_goes_on(study, out):
    run = study.start(out, *PROCESS, **stopping("publish.synced", 7))
    worker = stopped(out)
    time.sleep(2)
    os.kill(worker, signal.SIGCONT)
    assert run.end().code == 0
    whole(study, out)


@pytest.mark.parametrize(("number", "who"), [(signal.SIGINT, "run"), (signal.SIGTERM, "both")])
def test_an_interrupt_loses_nothing(study, out, number, who):
    """It is told once, by the run; what is done is saved, though no checkpoint is due. No step is taken twice."""
    moments = ("worker ", "step 2 ", "step 4 ", "publish.renamed ")
    for moment in moments:
        log_of(out).touch()
        mark = log_of(out).stat().st_size
        run = study.start(out, *PROCESS, checkpoint_seconds=NEVER)
        worker = int(line_of(log_of(out), "worker ", mark).split()[1])
        line_of(log_of(out), moment, mark)
        for pid in (worker, run.pid)[0 if who == "both" else 1 :]:
            os.kill(pid, number)
        ended = run.end()
        assert (ended.code, ended.err.count("Stopping: "), ended.err.splitlines()[-1]) == (130, 1, "Interrupted.")
        gone(worker)
    assert study.start(out, *PROCESS).end().code == 0
    whole(study, out)
    assert harness.steps(log_of(out)) == harness.steps(log_of(study.out))


def test_a_worker_that_is_asked_to_end_ends_the_run(study, out):
    """By what asks every process of a batch's, the worker first: saved, and no failure."""
    run = study.start(out, *PROCESS, checkpoint_seconds=NEVER)
    worker = int(line_of(log_of(out), "worker ").split()[1])
    line_of(log_of(out), "step 2 ")
    os.kill(worker, signal.SIGTERM)
    ended = run.end()
    assert (ended.code, ended.err) == (130, "Interrupted.\n")
    assert failed(out) == {}
    again(study, out)
    assert harness.steps(log_of(out)) == harness.steps(log_of(study.out))


def test_a_second_interrupt_does_not_wait_for_a_worker(study, out):
    run = study.start(out, *PROCESS, **stopping("fill.begin", 3))
    worker = stopped(out)
    run.signal(signal.SIGINT)
    time.sleep(0.5)
    run.signal(signal.SIGINT)
    started = time.monotonic()
    assert run.end().code == 130 and time.monotonic() - started < 15
    gone(worker)
    again(study, out)


def test_an_interrupt_while_a_worker_starts(study, out):
    """One that is started anew, which takes seconds; both are hit, as when a whole batch is ended."""
    run = study.start(out, *PROCESS, started=True)
    worker = loading(run)
    for pid, number in ((worker, signal.SIGINT), (run.pid, signal.SIGTERM)):
        os.kill(pid, number)
    ended = run.end()
    assert (ended.code, ended.err.count("Stopping: "), ended.err.splitlines()[-1]) == (130, 1, "Interrupted.")
    gone(worker)
    assert failed(out) == {}


def test_another_signal_is_named(study, out):
    run = study.start(out, *PROCESS, **stopping("fill.begin", 3))
    worker = stopped(out)
    os.kill(worker, signal.SIGSEGV)
    os.kill(worker, signal.SIGCONT)
    assert run.end().code == 1
    assert set(failed(out).values()) == {"its process died of SIGSEGV"}
    again(study, out)


def test_the_same_death_three_times_running_pauses_the_study(study, out):
    """And nothing of it stays: run again, it is whole."""
    faults = {"point": "fill.begin", "hit": 3, "action": "SIGKILL", "every": True}
    ended = study.start(out, *PROCESS, worker=faults).end()
    assert ended.code == 1
    (line,) = [line for line in ended.out.splitlines() if line.startswith("paused: ")]
    assert line.startswith("paused: 3 groups running failed in the same way, and 4 trials are left to be run; ")
    assert len(failed(out)) == 4 and finished(out) == set()
    again(study, out)


def stopping(point: str, hit: int) -> dict[str, Any]:
    """The worker stands still when it passes the failpoint for the so-manieth time."""
    return {"worker": {"point": point, "hit": hit, "action": "SIGSTOP"}}


def stopped(out: Path, times: int = 1) -> int:
    """The number of the worker, once it stands still for the so-manieth time."""
    deadline = time.monotonic() + harness.LONG
    wait_for(log_of(out), "struck ")
    while (text := log_of(out).read_text()).count("\nstruck ") < times:
        assert time.monotonic() < deadline, text
        time.sleep(0.01)
    worker = int(text.rpartition("\nworker ")[2].split()[0])
    while state(worker) != "T":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return worker


def state(pid: int) -> str:
    """What /proc says of a process: T where it is stopped, Z where it is dead and nobody waited; nothing if gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return ""


def gone(pid: int, seconds: float = 20) -> None:
    """Until a process has ended."""
    deadline = time.monotonic() + seconds
    while state(pid) not in ("", "Z"):
        assert time.monotonic() < deadline, f"the worker is left, in state {state(pid)}"
        time.sleep(0.01)


def line_of(log: Path, start: str, mark: int = 0) -> str:
    """The first line after so many bytes of a log that begins so, once it is there."""
    deadline = time.monotonic() + harness.LONG
    while True:
        lines = log.read_bytes()[mark:].decode().split("\n")[:-1] if log.exists() else []
        if found := [line for line in lines if line.startswith(start)]:
            return found[0]
        assert time.monotonic() < deadline, f"no {start!r} in {log}"
        time.sleep(0.002)


def loading(run: Run) -> int:
    """The number of a run's worker, once it loads torch."""
    deadline = time.monotonic() + harness.LONG
    while time.monotonic() < deadline:
        for worker in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split():
            about = Path("/proc", worker)
            if b"bakeoff.run.worker" in (about / "cmdline").read_bytes() and "libtorch" in (about / "maps").read_text():
                return int(worker)
        time.sleep(0.005)
    raise AssertionError("no worker loads torch")


def finished(out: Path) -> set[str]:
    store = Store(out)
    return {key for key in store.stored() if store.finished(key)}


def failed(out: Path) -> dict[str, str]:
    """The trials that failed, with their reasons."""
    store = Store(out)
    return {key: store.record(key).reason for key in store.stored() - finished(out)}


def again(study: Study, out: Path) -> Ended:
    """Run on to the end; what was finished is not touched."""
    before = {key: harness.stored(out)[key] for key in finished(out)}
    ended = study.start(out, *PROCESS).end()
    assert ended.code == 0, ended
    assert {key: harness.stored(out)[key] for key in before} == before
    whole(study, out)
    return ended


def whole(study: Study, out: Path) -> None:
    """What the undisturbed run in one process left, and nothing else; no trial was finished twice, by the log."""
    assert harness.differences(inline(harness.dump(out)), study.dump) == []
    log, fails = log_of(out).read_text(), Counter[str]()
    for line in log.splitlines():
        if line.startswith("move.renamed "):  # a failure makes way
            fails[Path(line.partition(" ")[2]).name] += 1
    assert {key: times - fails[key] for key, times in harness.published(log_of(out)).items()} == dict.fromkeys(
        Store(out).stored(), 1
    )


def inline(data: Any) -> Any:
    """The same without where it ran."""
    if isinstance(data, dict):
        told = {"executor": lambda _: "inline", "executors": lambda _: ["inline"]}
        return {key: told.get(key, inline)(one) for key, one in data.items()}
    return [inline(one) for one in data] if isinstance(data, list) else data
