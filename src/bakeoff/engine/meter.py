"""Meter: what a method costs by itself, seen in a few steps of an adapter that is thrown away."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from transformers import GenerationConfig

from bakeoff.data.messages import Encoded, Ids
from bakeoff.engine import reference, train
from bakeoff.engine.generate import Request, generate
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.plain import Plain
from bakeoff.engine.randomness import generator
from bakeoff.engine.train import Learner, Progress
from bakeoff.errors import TrialError
from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.methods.method import Method
from bakeoff.models.backbone import Backbone
from bakeoff.store.record import Solo
from bakeoff.study.spec import Decoding, Trial

TIMED_STEPS = 4  # after one that warms up
RATE = 1e-6  # the learning rate of all of them: no trial's own, so that none diverges
READINGS = 3  # of the prompt, with and without the adapter in turn, after one of each that warms up
DECODED_TOKENS = 16
_ATTENTION_ON_CPU: dict[Any, Any] = {  # torch has formulas for the GPU's kernels only; they are given shapes
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
    ),
}


def measure(
    backbone: Backbone, method: Method, trial: Trial, engine: str, examples: Sequence[Encoded], prompt: Ids
) -> Solo:
    """A few steps of the trial's training, then `prompt` answered, by an adapter alone on the model in `engine`.

    Nothing of the trial's own is touched: the adapter and its generators are new, the base is as before afterwards,
    and so is torch's global generator. `examples` are not looked at where nothing is trained.
    """
    kind = _ByLanes if engine == "lanes" else _ByReference
    with torch.random.fork_rng():
        bare = kind(backbone, _Bare(backbone))
        trained: dict[str, Any] = {}
        if trial.training:
            with _attached(backbone, method, trial) as adapter:
                trained["step_flops"] = _first_step(kind(backbone, adapter), trial, examples)
            trained["held_bytes"] = _held(backbone.device)
        with _attached(backbone, method, trial) as adapter:
            own = kind(backbone, adapter)
            trained |= _trained(own, trial, examples) if trial.training else {}
            read = _read(own, bare, _room(backbone, method, prompt))
    return Solo(**trained, **read, context_tokens=method.virtual_tokens())


def flops(work: Callable[[], Any]) -> int:
    """The floating-point operations of the matrix products and (dense) attentions that `work` does."""
    with FlopCounterMode(display=False, custom_mapping=_ATTENTION_ON_CPU) as counter:
        work()
    return counter.get_total_flops()


def same_cost(trial: Trial) -> str:
    """A key that trials share which differ in seed, learning rate or name alone: they cost the same."""
    training = trial.training and trial.training.model_copy(update={"learning_rate": 1.0})
    return trial.model_copy(update={"seed": None, "training": training}).key()


@contextmanager
def _attached(backbone: Backbone, method: Method, trial: Trial) -> Iterator[Adapter]:
    """A new adapter that is thrown away; its parts learn at no rates of their own."""
    adapter = method.attach(backbone, generator(trial.seed, "init"))
    for part in adapter.modules():
        if isinstance(part, Adapter):
            part.learning_rate = None
    try:
        yield adapter
    finally:
        adapter.release()


def _learner(own: _Engine, trial: Trial, examples: Sequence[Encoded]) -> Learner:
    assert trial.training is not None and trial.seed is not None
    return Learner("solo", own.adapter, examples, trial.training.model_copy(update={"learning_rate": RATE}), trial.seed)


def _first_step(own: _Engine, trial: Trial, examples: Sequence[Encoded]) -> int:
    """The FLOPs of an optimiser step, after which what libraries keep from their first use counts as held before."""
    learner = _learner(own, trial, examples)
    learner.steps = 1
    return flops(lambda: own.train(learner, None))


def _trained(own: _Engine, trial: Trial, examples: Sequence[Encoded]) -> dict[str, Any]:
    """Seconds and real tokens of an optimiser step, and the most memory of the timed ones."""
    device, learner = own.backbone.device, _learner(own, trial, examples)
    steps, learner.steps = min(TIMED_STEPS, learner.steps), 1
    own.train(learner, None)
    marks = [(_now(device), learner.tokens)]
    learner.steps = 1 + steps
    learner.adapter.train()
    forgotten = _forget_peak(device)
    own.train(learner, lambda *_: marks.append((_now(device), learner.tokens)))
    if len(marks) <= steps:
        raise TrialError(learner.diverged or f"only {len(marks) - 1} of {steps} steps were made")
    passed = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(marks)]
    seconds = [each for each, _ in passed]
    peak, reserved = _peak(device) if forgotten else (None, None)
    return {
        "step_seconds": median(seconds),
        "step_seconds_min": min(seconds),
        "step_seconds_max": max(seconds),
        "tokens_per_second": median(tokens / each for each, tokens in passed),
        "timed_steps": steps,
        "peak_bytes": peak,
        "reserved_bytes": reserved,
    }


def _read(own: _Engine, bare: _Engine, prompt: Ids) -> dict[str, Any]:
    """Seconds of reading the prompt and decoding DECODED_TOKENS after it, and their ratio to the bare model's."""
    own.adapter.eval()
    pairs = [(_seconds(own, prompt), _seconds(bare, prompt)) for _ in range(1 + READINGS)][1:]
    return {
        "inference_seconds": median(with_it for with_it, _ in pairs),
        "inference_ratio": median(with_it / without for with_it, without in pairs),
    }


def _seconds(engine: _Engine, prompt: Ids) -> float:
    started = _now(engine.backbone.device)
    engine.decode(prompt)
    return _now(engine.backbone.device) - started


def _room(backbone: Backbone, method: Method, prompt: Ids) -> Ids:
    """The end of the prompt that fits the context with virtual tokens before it and an answer after it."""
    room = backbone.context - method.virtual_tokens() - DECODED_TOKENS
    if room < 1:
        raise TrialError(f"a context of {backbone.context} has no room for an answer of {DECODED_TOKENS} tokens")
    return prompt[-room:]


# --- the engines' verbs ---


class _Engine(Protocol):
    """One adapter on the model: `adapter` is what a Learner trains."""

    @property
    def backbone(self) -> Backbone: ...
    @property
    def adapter(self) -> Adapter: ...

    def train(self, learner: Learner, progress: Progress | None) -> float: ...
    def decode(self, prompt: Ids) -> Any: ...


class _ByLanes:
    def __init__(self, backbone: Backbone, adapter: Adapter):
        self.backbone, self.adapter, self.lanes = backbone, adapter, Lanes(backbone, [adapter])

    def train(self, learner: Learner, progress: Progress | None) -> float:
        return train.train(self.lanes, [learner], progress)

    def decode(self, prompt: Ids) -> None:
        request = Request(Encoded(prompt, ()))
        generate(self.lanes, [[request]], Decoding(max_new_tokens=DECODED_TOKENS), stop=())


class _ByReference:
    def __init__(self, backbone: Backbone, adapter: Adapter):
        self.backbone, self.adapter = backbone, Plain(backbone, adapter)

    def train(self, learner: Learner, progress: Progress | None) -> float:
        return reference.train(learner, progress)

    @torch.inference_mode()
    def decode(self, prompt: Ids) -> list[list[int]]:
        return self.adapter.generate(
            [prompt], GenerationConfig(max_new_tokens=DECODED_TOKENS, do_sample=False, pad_token_id=0)
        )


class _Bare(Adapter):
    """No adapter: the base model itself, and not a copy of it."""

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.__dict__["model"] = backbone.model

    def built(self) -> nn.Module:
        return self.__dict__["model"]


# --- clock and memory ---


def _now(device: torch.device) -> float:
    """The clock, once all work given to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _held(device: torch.device) -> int | None:
    """Bytes in use: allocated on a GPU, else the process's resident set, with freed memory given back first."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.memory_allocated()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):  # glibc's
        trim(0)
    return _resident("VmRSS")


def _forget_peak(device: torch.device) -> bool:
    """Let the peak of memory be what is in use now; False where the system cannot."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak(device: torch.device) -> tuple[int | None, int | None]:
    """The most bytes since `_forget_peak`: allocated and reserved on a GPU, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    return _resident("VmHWM"), None


def _resident(name: str) -> int | None:
    """A line of Linux's /proc/self/status in bytes; None elsewhere."""
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
