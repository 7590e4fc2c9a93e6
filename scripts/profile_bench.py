"""Where the time goes in `bakeoff bench`: torch's profiler over training and generating, lanes and plain.

    python scripts/profile_bench.py > docs/benchmarks/profile.md

Models and data are found as `bakeoff bench` finds them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch.profiler import ProfilerActivity, profile

from bakeoff.bench import cases, plain
from bakeoff.bench.inputs import inputs, trained_on
from bakeoff.bench.measure import machine
from bakeoff.data.messages import Encoded
from bakeoff.engine.generate import Request, generate
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.plain import Plain
from bakeoff.engine.train import Learner, train_step
from bakeoff.models.backbone import Backbone
from bakeoff.study.spec import Decoding

SHOWN = 8  # operations of a table
KINDS = {  # what a user calls them
    "aten::addmm": "linear modules (addmm)", "aten::mm": "linear modules, head (mm)",
    "aten::bmm": "batched products (bmm)",
    "aten::baddbmm": "batched products (baddbmm)", "aten::_scaled_dot_product_flash_attention_for_cpu": "attention",
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": "attention, backward",
}  # fmt: skip


def main() -> None:
    given, about = inputs((), ()), machine()
    torch.manual_seed(0)
    print("# Where the time goes\n")
    print(f"{about['date']}; {about['cpu']}, {about['threads']} threads, float32; torch {about['versions']['torch']}.")
    print("torch's profiler, self time of operations on the CPU, after one to warm up: `scripts/profile_bench.py`.\n")
    for name, backbone in (("gpt2-124m", given.gpt2_124m), ("stories3m", given.stories3m)):
        batch = trained_on(backbone, given.sentences(cases.BATCH))
        ours, theirs = _trainers(backbone, batch)
        _table(f"train/{name}/sst2, lanes: one step of LoRA on 16 sentences", ours)
        _table(f"train/{name}/sst2, plain: the same step", theirs)
        _table(f"generate/{name}, lanes: 16 prompts x 5 adapters, 16 tokens each", _generator(backbone, batch))
        prompts, model = _alike(backbone, batch), Plain(backbone, cases.adapter_of(backbone, "lora", 0)).eval()
        _table(
            f"generate/{name}, plain: 16 prompts of one length, LoRA alone, 16 tokens each",
            lambda model=model, prompts=prompts: plain.generated(model, prompts, [16] * len(prompts)),
        )


def _trainers(backbone: Backbone, batch: list[Encoded]) -> tuple[Callable[[], Any], Callable[[], Any]]:
    training = cases.TRAINING.model_copy(update={"max_steps": 10})
    adapter = cases.adapter_of(backbone, "lora", 0)
    lanes, one = Lanes(backbone, [adapter]), Learner("lora", adapter, batch, training, 0)
    other = Learner("lora", Plain(backbone, cases.adapter_of(backbone, "lora", 0)), batch, training, 0)
    return lambda: train_step(lanes, [one], [batch], 1), lambda: plain.train_step(other, batch, 1)


def _generator(backbone: Backbone, batch: list[Encoded]) -> Callable[[], Any]:
    lanes = Lanes(backbone, [cases.adapter_of(backbone, name, seed).eval() for name, seed in cases.FIVE])
    decoding = Decoding(max_new_tokens=16)
    return lambda: generate(
        lanes, [[Request(Encoded(item.prompt, ())) for item in batch] for _ in lanes.adapters], decoding, stop=()
    )


def _alike(backbone: Backbone, batch: list[Encoded]) -> list[Encoded]:
    """The shortest prompts cut from all, so that they are of one length."""
    shortest = min(len(item.prompt) for item in batch)
    return [Encoded(item.prompt[-shortest:], ()) for item in batch]


def _table(title: str, work: Callable[[], Any]) -> None:
    work()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work()
    found = sorted(profiled.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in found)
    print(f"## {title}: {total / 1e3:,.0f} ms\n\n| operation | calls | ms | share |\n|---|---:|---:|---:|")
    for event in found[:SHOWN]:
        own = event.self_cpu_time_total
        print(f"| {KINDS.get(event.key, event.key)} | {event.count:,} | {own / 1e3:,.1f} | {own / total:.0%} |")
    print(flush=True)


if __name__ == "__main__":
    main()
