"""Memory that really runs out: by a limit on a process's data, and in a control group, where the kernel kills."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bakeoff.run import memory
from bakeoff.store.store import Store
from faults import harness
from faults.conftest import Study, log_of
from faults.harness import Ended, wait_for

pytestmark = pytest.mark.slow

MIB = 2**20
STUDY = """
study: memory
models: {{tiny: {{path: {model}}}}}
tasks: [{{use: toy, train_limit: 8, test_limit: 4}}]
methods:
  large: {{use: heavy, mib: {large}, how: {how}, r: 2, target_modules: all-linear}}
  small: {{use: heavy, mib: {small}, how: tensor, r: 2, target_modules: all-linear}}
  base: {{use: base}}
training: {{learning_rate: 5e-3, per_device_train_batch_size: 4, max_steps: 2}}
seeds: [0, 1, 2]
plugins: [{plugin}, heavy.py]
"""
HEAVY = '''
"""heavy: LoRA that takes a lot of memory for nothing, of torch, of Python, or of a C++ library."""

from typing import Any, ClassVar, Literal

import torch

from bakeoff.methods import lora


class Heavy(lora.Lora):
    use: ClassVar[str] = "heavy"
    mib: int
    how: Literal["tensor", "object", "vector"]

    def attach(self, backbone: Any, generator: Any) -> Any:
        adapter, size = super().attach(backbone, generator), self.mib << 20
        if self.how == "tensor":
            adapter.held = torch.ones(size, dtype=torch.uint8)
        elif self.how == "object":
            adapter.held = bytearray(size)
        else:
            adapter.held = torch.zeros(1).expand(size // 8).unbind()
        return adapter
'''
ALLOCATOR = "DefaultCPUAllocator: can't allocate memory"
KILLED = "out of memory: the kernel killed its process (SIGKILL)"


@pytest.mark.parametrize(
    ("executor", "how", "reason"),
    [
        ("inline", "tensor", ALLOCATOR),
        ("inline", "vector", "RuntimeError: std::bad_alloc"),
        ("process", "tensor", ALLOCATOR),
        ("process", "object", "MemoryError"),
    ],
)
def test_a_limit_on_data(study, out, executor, how, reason):
    """Two lanes fit, three do not, and of the large method not even one."""
    file = written(study, out, large=400, small=100, how=how)

    def limit(pid: int) -> None:
        data = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmData" in line)
        most = int(data.split()[1]) * 1024 + 260 * MIB
        resource.prlimit(pid, resource.RLIMIT_DATA, (most, most))

    ended = limited(study, file, out, limit, "--executor", executor)
    contained(out, ended, reason, ALLOCATOR)
    if executor == "inline" and how == "tensor":
        again(study, file, out, "--executor", executor)


def test_the_kernel_kills_in_a_control_group(study, out):
    file = written(study, out, large=800, small=200, how="tensor")
    with control_group(560 * MIB) as folder:

        def limit(pid: int) -> None:
            (folder / "cgroup.procs").write_text(str(pid))

        ended = limited(study, file, out, limit, "--executor", "process")
    contained(out, ended, KILLED, KILLED)
    again(study, file, out, "--executor", "process")


def written(study: Study, out: Path, **told: object) -> Path:
    """The study's file."""
    (out.parent / "heavy.py").write_text(HEAVY)
    file = out.with_name("memory.yaml")
    model = study.file.with_name("model")
    file.write_text(STUDY.format(model=model, plugin=harness.TESTS / "toy.py", **told))
    return file


def limited(study: Study, file: Path, out: Path, limit: Callable[[int], None], *argv: str) -> Ended:
    """A run that is given its limit, by the number of its process, before any group begins."""
    told, log = out.with_name("told"), log_of(out)
    first = {"point": "write.begin", "hit": 1, "action": "SIGSTOP"}
    run = study.server.start(told, "run", file, "--out", out, *argv, log=str(log), **first)
    wait_for(log, "struck ")
    limit(run.pid)
    time.sleep(0.1)  # it is noted just before it stops
    run.signal(signal.SIGCONT)
    return run.end()


def contained(out: Path, ended: Ended, reason: str, halved: str) -> None:
    """Groups went on in halves, and the large trials failed, each alone."""
    assert ended.code == 1 and "paused" not in ended.out, ended
    store = Store(out)
    trials = [trial for group in store.plan()["groups"] for trial in group]
    records = [store.record(key) for key in trials]
    states = [(one.trial.method, one.trial.seed, one.status) for one in records]
    assert sorted(states, key=str) == [
        ("base", None, "done"),
        *(("large", seed, "failed") for seed in range(3)),
        *(("small", seed, "done") for seed in range(3)),
    ]
    assert all(reason in one.reason for one in records if one.status == "failed"), records
    assert sorted(len(group) for group in store.plan()["groups"]) == [1, 1, 1, 1, 1, 2]
    notes = [line for line in ended.out.splitlines() if "in one pass are too much for the memory" in line]
    assert [line.split(": ")[0] for line in notes] == ["toy/large", "toy/small", "toy/large"]
    assert halved in " ".join(ended.out.split())


def again(study: Study, file: Path, out: Path, *argv: str) -> None:
    """With memory enough, what is run again is as if all of it had run so, in the halves of before."""
    before = {key: harness.stored(out)[key] for key in harness.stored(out) if Store(out).finished(key)}
    undisturbed = out.with_name("undisturbed")
    undisturbed.mkdir()
    shutil.copy(out / "plan.json", undisturbed)
    for place in (out, undisturbed):
        assert study.server.start(out.with_name("told"), "run", file, "--out", place, *argv).end().code == 0
    assert {key: harness.stored(out)[key] for key in before} == before
    assert harness.differences(*(numberless(harness.dump(place)) for place in (out, undisturbed))) == []


def numberless(data: Any) -> Any:
    """A dump without the numbers of groups, which change with halves."""
    if isinstance(data, dict):
        return {key: numberless(one) for key, one in data.items() if key != "group"}
    return data


@contextmanager
def control_group(limit: int) -> Iterator[Path]:
    """A control group of its own, below this process's, that may hold so many bytes."""
    own = next(file.parent for file in memory._counts() if file.exists())
    folder = own / f"bakeoff-{os.getpid()}"
    try:
        folder.mkdir()
        names = ("memory.limit_in_bytes", "memory.max")
        (name,) = [name for name in names if (folder / name).exists()] or names[1:]
        (folder / name).write_text(str(limit))
        with suppress(OSError):
            (folder / "memory.swap.max").write_text("0")
    except OSError as error:
        with suppress(OSError):
            folder.rmdir()
        pytest.skip(f"not run: a control group with a limit on memory may not be made here ({error})")
    try:
        yield folder
    finally:
        for _ in range(100):
            try:
                folder.rmdir()
                break
            except OSError:  # its last process is still being buried
                time.sleep(0.05)
