"""The toy study, the server of forks, and the undisturbed run that all others are held against."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny_model, tiny_tokenizer

from faults import harness
from faults.harness import Ended, Run, Server

STUDY = """
study: faults
models: {{tiny: {{path: {model}}}}}
tasks:
  - {{use: toy, train_limit: 12, test_limit: 6}}
  - {{use: toy_text, train_limit: 12, test_limit: 6, decoding: {{max_new_tokens: 3, temperature: 1.0, samples: 2}}}}
methods:
  lora: {{use: lora, r: 2, target_modules: all-linear, lora_dropout: 0.1}}
  ia3: {{use: peft, peft_type: IA3, target_modules: [q_proj, v_proj, down_proj], feedforward_modules: [down_proj]}}
training: {{learning_rate: 5e-3, per_device_train_batch_size: 4, max_steps: 4, warmup_steps: 1}}
seeds: [0, 1]
plugins: [{plugin}]
"""


@dataclass(frozen=True)
class Study:
    """The toy study's file, the server, and an undisturbed run: where it lies, what it holds, how long it took."""

    file: Path
    server: Server
    out: Path
    dump: dict[str, Any]
    seconds: float

    def start(self, out: Path, *argv: object, **faults: Any) -> Run:
        """`bakeoff run` into a directory; what it says and what it passes is kept beside it."""
        return self.beside(out, out.name, *argv, **faults)

    def beside(self, out: Path, name: str, *argv: object, **faults: Any) -> Run:
        """The same, for one of several processes; what it says is kept under that name."""
        told = out.with_name(f"{name}.told")
        return self.server.start(told, "run", self.file, "--out", out, *argv, log=str(log_of(out)), **faults)

    def ask(self, command: str, out: Path, *argv: object) -> Ended:
        """Another command on a directory."""
        return self.server.start(out.with_name(f"{out.name}.asked"), command, out, *argv).end()

    def resume(self, out: Path, *argv: object) -> Ended:
        """Run on to the end, which is a whole store."""
        before = harness.stored(out)
        ended = self.start(out, *argv).end()
        assert ended.code == 0, ended
        self.equal(out)
        after = harness.stored(out)
        assert {key: after.get(key) for key in before} == before, "what was finished was written again"
        return ended

    def equal(self, out: Path) -> None:
        """What the undisturbed run left, and nothing else; every trial finished exactly once, by the log.

        By the log, too, each run that was broken cost one optimiser step at most.
        """
        assert harness.differences(harness.dump(out), self.dump) == []
        log = log_of(out)
        assert set(harness.published(log).values()) <= {1}
        assert harness.steps(log) <= harness.steps(log_of(self.out)) + harness.runs(log) - 1

    def interrupted(self, out: Path, point: str = "fill.end", hit: int = 20) -> None:
        """Leave a run that was killed half-way: two trials are stored, and the third has no checkpoint yet."""
        assert self.start(out, point=point, hit=hit, action="SIGKILL").end().code == -9


def log_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.log")


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Iterator[Study]:
    folder = tmp_path_factory.mktemp("faults")
    tiny_model("llama").save_pretrained(folder / "model")  # pyright: ignore[reportCallIssue] (tests/conftest.py)
    tiny_tokenizer().save_pretrained(folder / "model")  # pyright: ignore[reportCallIssue]
    file, modules = folder / "faults.yaml", folder / "modules"
    file.write_text(STUDY.format(model=folder / "model", plugin=harness.TESTS / "toy.py"))
    server = Server()
    whole = Study(file, server, folder / "whole", {}, 0)
    ended = server.start(folder / "first.told", "run", file, "--out", folder / "first", modules=modules).end()
    assert ended.code == 0, ended
    server.load(modules)
    started = os.times().elapsed
    ended = whole.start(whole.out).end()
    assert ended.code == 0, ended
    seconds, found = os.times().elapsed - started, harness.dump(whole.out)
    assert harness.differences(harness.dump(folder / "first"), found) == []  # to the bit
    yield Study(file, server, whole.out, found, seconds)
    server.close()


@pytest.fixture
def out(tmp_path) -> Iterator[Path]:
    """Where a run goes. What is left of it is removed: a thousand stores are some gigabytes."""
    yield tmp_path / "out"
    shutil.rmtree(tmp_path, ignore_errors=True)
