"""Where groups run changes no bit of what they come to; what breaks there ends one group, or one trial."""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest
import torch
from conftest import tiny_model, tiny_tokenizer
from test_run import Noting

from bakeoff.errors import BakeoffError
from bakeoff.run import memory
from bakeoff.run import plan as planning
from bakeoff.run.ended import Ended, Streak
from bakeoff.run.run import run
from bakeoff.run.worker import Line
from bakeoff.store.store import Store
from bakeoff.study.load import load

STUDY = """
study: toy
models: {{tiny: {{path: {model}}}}}
tasks: [deadly]
methods:
  lora: {{use: lora, r: 2, target_modules: all-linear}}
  prompt: {{use: prompt_tuning, num_virtual_tokens: 4}}
training: {{learning_rate: 5e-3, per_device_train_batch_size: 4, max_steps: 5}}
seeds: [0, 1, 2]
plugins: [{plugin}]
"""
LORA = "methods={lora: {use: lora, r: 2, target_modules: all-linear}}"
PLUGIN = '''
import os, signal, sys, time
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, {tests!r})
from toy import Toy

LEFT = Path(__file__).with_name("left")  # how, and so many times more; or so many seconds of sleep


class Deadly(Toy):
    """A toy whose grading takes its process with it, as often as a file says, or its time."""

    name: ClassVar[str] = "deadly"
    benchmarks: ClassVar[tuple[str, ...]] = ("deadly",)

    def grade(self, examples, completions):
        if LEFT.exists():
            how, left = LEFT.read_text().split()
            if how == "sleep":
                with LEFT.with_name("graded").open("a") as file:
                    file.write(f"{{os.getpid()}}\\n")
                time.sleep(int(left))
            elif int(left):
                LEFT.write_text(f"{{how}} {{int(left) - 1}}")
                if how == "exit":
                    os._exit(7)
                os.kill(os.getpid(), getattr(signal, how))
        return super().grade(examples, completions)
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("executors")
    tiny_model("llama").save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    (folder / "deadly.py").write_text(PLUGIN.format(tests=str(Path(__file__).parent)))
    (folder / "toy.yaml").write_text(STUDY.format(model=folder / "model", plugin=folder / "deadly.py"))
    return folder


@pytest.fixture(scope="module")
def inline(place) -> Store:
    return run(load(place / "toy.yaml"), place / "inline").store


def alike(one: Store, other: Store) -> None:
    """The same trials, to the bit: samples, curves, adapters, and records but for how and in what time they ran."""
    keys = [trial["key"] for trial in one.plan()["trials"]]
    assert keys == [trial["key"] for trial in other.plan()["trials"]]
    for key in keys:
        assert told(one, key) == told(other, key)
        for file in one.adapter(key).rglob("*"):
            twin = other.adapter(key) / file.relative_to(one.adapter(key))
            assert file.is_dir() or file.read_bytes() == twin.read_bytes()


def told(store: Store, key: str) -> tuple:
    """All of a trial that is the same whenever and wherever it ran."""
    record = json.loads(store.record(key).model_dump_json())
    for name in ("train_seconds", "eval_seconds", "solo"):
        del record["cost"][name]
    for name in ("executor", "started", "group", "resumed_at"):
        del record["provenance"][name]
    return record, store.samples(key), store.curve(key)


def states(store: Store) -> dict[tuple[str, int], str]:
    return {(t["method"], t["seed"]): store.record(t["key"]).status for t in store.plan()["trials"]}


def workers() -> set[str]:
    """The children of this process, by their numbers."""
    return {number for file in Path("/proc/self/task").glob("*/children") for number in file.read_text().split()}


def test_a_process_beside_gives_the_same_bits(place, inline):
    before = workers()
    outcome = run(load(place / "toy.yaml"), place / "process", executor="process")
    assert (outcome.ran, outcome.failed, outcome.paused) == (6, (), "")
    alike(outcome.store, inline)
    assert outcome.store.record(outcome.store.plan()["trials"][0]["key"]).provenance.executor == "process"
    assert workers() == before  # nobody is left, not even a zombie


@pytest.mark.slow
def test_what_kills_a_process_for_memory_costs_half_a_group_and_no_more(place, monkeypatch):
    """Three seeds, two, one: the last fails alone, the others go on; and the halves are the plan's from then on."""
    (place / "left").write_text("SIGKILL 3")
    monkeypatch.setattr(memory, "kills", count().__next__)  # it rises each time
    study, progress = load(place / "toy.yaml", [LORA]), Noting()
    outcome = run(study, place / "killed", executor="process", progress=progress)
    assert states(outcome.store) == {("lora", 0): "done", ("lora", 1): "done", ("lora", 2): "failed"}
    (lost,) = outcome.failed
    assert lost.reason == "out of memory: the kernel killed its process (SIGKILL)"
    assert lost.provenance.executor == "process"
    assert [len(group) for group in outcome.store.plan()["groups"]] == [1, 1, 1]
    assert len(progress.notes) == 2
    assert "3 trials in one pass are too much for the memory; they go on as 2 and 1" in progress.notes[0]
    again = run(study, place / "killed")
    assert (again.ran, again.failed) == (1, ())
    alike(run(study, place / "as-halved", group_size=1).store, again.store)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("SIGSEGV", "its process died of SIGSEGV"),
        ("SIGKILL", "its process was killed (SIGKILL), but not by the kernel for want of memory"),
        ("exit", "its process ended by itself with the code 7"),
    ],
)
def test_what_else_ends_a_process_fails_its_group(place, how, reason):
    (place / "left").write_text(f"{how} 1")
    outcome = run(load(place / "toy.yaml"), place / how, executor="process")
    assert [(one.trial.method, one.reason) for one in outcome.failed] == [("lora", reason)] * 3
    assert {status for (method, _), status in states(outcome.store).items() if method == "prompt"} == {"done"}


@pytest.mark.slow
def test_a_worker_dies_with_its_driver(place):
    """Killed with nothing said, the driver leaves nobody behind, and the study is free at once."""
    command = (
        "from bakeoff.run.run import run; from bakeoff.study.load import load; run(load(%r), %r, executor='process')"
    )
    command %= (str(place / "toy.yaml"), str(place / "orphaned"))
    driver = subprocess.Popen([sys.executable, "-c", command])
    until(lambda: list((place / "orphaned").glob("trials/*")))
    worker = children(driver.pid)
    driver.kill()
    driver.wait()
    assert worker
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in worker))
    assert run(load(place / "toy.yaml"), place / "orphaned").failed == ()


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(what, seconds: float = 400):
    """What `what` comes to say, once it says something."""
    end = time.monotonic() + seconds
    while not (said := what()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return said


def test_a_worker_that_ended_is_missed_though_its_child_holds_the_line(tmp_path):
    """What it had said before is heard."""
    ours, theirs = socket.socketpair()
    with ours, theirs, theirs.dup():
        Line(theirs).tell("last")
        assert Line(ours).hear(lambda: True) == ["last"]
        assert Line(ours).hear(lambda: True) is None


def test_an_interrupt_stops_the_work_where_nobody_reads_what_is_said(tmp_path):
    """As `bakeoff run | tee` does, whose reader the same Ctrl-C has ended."""
    code = """
import os, signal
from bakeoff.run.interrupt import Interrupt
interrupt = Interrupt()
with interrupt.heeded():
    signal.raise_signal(signal.SIGTERM)
    assert interrupt.asked
"""
    reader, writer = os.pipe()
    os.close(reader)
    assert subprocess.run([sys.executable, "-c", code], stderr=writer, check=False).returncode == 0
    os.close(writer)


def test_inline_halves_a_group_that_is_too_large_for_the_memory(place, monkeypatch):
    """A resumed run has the halves of the one before, which its plan on disk holds."""
    from bakeoff.engine import train as training

    def train(lanes, learners, progress=None):
        if len(learners) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return one(lanes, learners, progress)

    one, progress = training.train, Noting()
    study = load(place / "toy.yaml", [LORA])
    with monkeypatch.context() as patch:
        patch.setattr("bakeoff.engine.train.train", train)
        outcome = run(study, place / "halved", progress=progress)
    assert (outcome.ran, outcome.failed, outcome.paused) == (3, (), "")
    assert [len(group) for group in outcome.store.plan()["groups"]] == [1, 1, 1]
    assert len(progress.notes) == 2 and "CUDA out of memory" in progress.notes[0]
    before = outcome.store.plan()
    shutil.rmtree(outcome.store.trials)
    again = run(study, place / "halved")
    assert (again.ran, again.store.plan()["groups"]) == (3, before["groups"])
    alone = run(study, place / "alone", group_size=1).store
    alike(again.store, alone)


def test_a_tuned_plan_keeps_its_halves(place):
    tune = ["tune={learning_rate: [1e-3, 2e-3, 4e-3]}", "tasks=[{use: deadly, validation: 8}]", "seeds=[0]"]
    plan = planning.make(load(place / "toy.yaml", tune))
    halved = plan.halved(plan.groups[0])
    assert [len(group) for group in halved.groups] == [2, 1, 3] == [len(group) for group in halved.grouped().groups]
    resumed = planning.in_groups(plan, json.loads(halved.as_json()))
    assert resumed.groups == halved.groups
    assert [len(group) for group in planning.in_groups(plan, json.loads(plan.as_json())).groups] == [3, 3]


def test_the_same_failure_three_times_running_pauses_the_study(place, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError(f"no such kernel at {time.monotonic_ns()}")

    study = load(place / "toy.yaml", ["seeds=[0, 1, 2, 3]"])
    with monkeypatch.context() as patch:
        patch.setattr("bakeoff.engine.train.train", broken)
        outcome = run(study, place / "paused", group_size=1)
    assert (outcome.ran, len(outcome.failed)) == (3, 3)
    assert outcome.paused.startswith(
        "paused: 3 groups running failed in the same way, and 5 trials are left to be run;"
    )
    assert (outcome.store.directory / "report.html").exists()
    again = run(study, place / "paused")
    assert (again.ran, again.failed, again.paused) == (8, (), "")


def test_failures_that_differ_or_are_not_one_after_another_pause_nothing():
    streak, group = Streak(), ()
    several = ["a 1", "a 2", "", "a 3", "a 4", "b", "b"]
    assert not any(streak.add(Ended(group=group, failed=reason)) for reason in several)
    assert not streak.add(Ended(group=group, memory="b"))
    assert streak.add(Ended(group=group, failed="b"))


def test_a_method_that_is_too_large_does_not_pause_the_study(place):
    """Its trials fail one by one for want of memory, which says nothing of others; three methods that do, do."""
    methods = ", ".join(f"l{r}: {{use: lora, r: {r}}}" for r in (1, 2, 3))
    study = load(place / "toy.yaml", ["methods={" + methods + "}"])
    one, two, three = planning.make(study).groups
    streak = Streak()
    for group in (one, one, one, one, two, two):
        assert not streak.add(Ended(group=group, failed="RuntimeError: std::bad_alloc"))
    assert streak.add(Ended(group=three, failed="RuntimeError: std::bad_alloc"))


def test_what_ran_out_of_memory_is_known():
    assert memory.ran_out(MemoryError()) and memory.ran_out(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert memory.ran_out(caught.value)
    for told in ("std::bad_alloc", "unable to mmap 9 bytes from file <m>: Cannot allocate memory (12)"):
        assert memory.ran_out(RuntimeError(told))
    assert memory.ran_out(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))
    assert not memory.ran_out(RuntimeError("shapes differ")) and not memory.ran_out(ValueError("can't allocate memory"))


def test_what_is_left_of_a_pass_that_failed_is_given_back():
    """torch itself keeps the graph of a backward pass that raised until the next one."""

    class Failing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, *_):
            raise MemoryError

    def work():
        several = [(2 * torch.ones(3, 7, 11, requires_grad=True)).cos() for _ in range(9)]
        torch.stack([*(one.sum() for one in several[:5]), Failing.apply(several[5]).sum()]).sum().backward()

    def kept() -> int:
        gc.collect()
        return sum(type(one) is torch.Tensor and one.shape == (3, 7, 11) for one in gc.get_objects())

    with pytest.raises(MemoryError):
        work()
    assert kept()
    memory.free()
    assert not kept()


@pytest.mark.parametrize("hidden", [(), ("memory.events", "memory.oom_control"), ("vmstat", "memory.")])
def test_the_kernel_counts_whom_it_killed_for_memory(hidden, monkeypatch):
    """In the control group, else on the machine, else nowhere."""
    read = Path.read_text

    def shown(path: Path) -> str:
        if path.name.startswith(hidden):
            raise FileNotFoundError
        return read(path)

    monkeypatch.setattr(Path, "read_text", shown)
    assert (memory.kills() is None) == ("vmstat" in hidden)


@pytest.mark.slow
def test_a_worker_that_cannot_start_says_why(place):
    """Its study is refused there as it would be here."""
    shutil.copytree(place, place / "moved", ignore=shutil.ignore_patterns("moved", "[!dmt]*"))
    from bakeoff.run import run as running

    job = running.prepare(load(place / "toy.yaml"), place / "refused", executor="process")
    model = Path(job.plan.study.models["tiny"].path)
    model.rename(place / "away")
    try:
        with pytest.raises(BakeoffError, match=r"models\.tiny\.path: no directory at"):
            running.execute(job)
    finally:
        (place / "away").rename(model)


@pytest.mark.slow
def test_ctrl_c_is_passed_on_and_what_was_begun_goes_on_to_the_same_bits(place, inline):
    """Once: the worker ends its step, saves and goes, and the driver with it; the next run has the bits of one."""
    (place / "left").write_text("sleep 3")
    command = [sys.executable, "-c", "from bakeoff.cli import main; main()", "run", str(place / "toy.yaml")]
    out = place / "interrupted"
    driver = subprocess.Popen([*command, "--out", str(out), "--executor", "process"], stdout=subprocess.DEVNULL)
    until((place / "graded").exists)
    worker = children(driver.pid)
    driver.send_signal(signal.SIGINT)
    assert driver.wait() == 130 and worker
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in worker), 30)
    (place / "left").unlink()
    again = run(load(place / "toy.yaml"), out, executor="process")
    assert again.failed == () and again.ran > 0
    alike(again.store, inline)
