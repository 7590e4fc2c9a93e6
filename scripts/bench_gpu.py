"""Lanes against plain Hugging Face + PEFT on a GPU, in bfloat16, and the same steps in float32 to show equal numbers.

    python scripts/bench_gpu.py --out docs/benchmarks/gpu.md [--from studies/bench.yaml] [CASE ...]

Writes FILE.md and FILE.json after every case. On a CPU (`--device cpu`) only to see that it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from bakeoff.bench import cases, plain
from bakeoff.bench.inputs import SYSTEM, Inputs, chosen_from, inputs, prompts_of_a_length, trained_on, trunk
from bakeoff.bench.measure import apart, gemm_rate, machine, timed
from bakeoff.data.messages import Encoded
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.meter import flops
from bakeoff.engine.plain import Plain
from bakeoff.engine.randomness import generator
from bakeoff.engine.train import Learner, lane_losses, train_step
from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.methods.method import build
from bakeoff.models.backbone import Backbone
from bakeoff.study.spec import Training

RANKS, RATES, SEEDS = (4, 8, 16, 32, 64), (1e-4, 5e-4, 1e-3), 3
FIVE = {**cases.METHODS, "ia3": ("ia3", {"target_modules": ["key", "value", "down"], "feedforward_modules": ["down"]})}
WARM, SAME = 2, 3  # steps before the clock runs; steps in float32 whose losses are compared
QWEN: dict[str, Any] = {  # Qwen2-1.5B's shape
    "vocab_size": 151_936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
    "num_attention_heads": 12, "num_key_value_heads": 2, "tie_word_embeddings": True, "rope_theta": 1e6,
    "max_position_embeddings": 4096,
}  # fmt: skip
Batches = Sequence[Sequence[Encoded]]
Make = Callable[[], Adapter]
Group = tuple[list[Make], list[float], list[int]]  # trials that share passes: adapters, learning rates, seeds


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    asked.add_argument("cases", nargs="*", help=", ".join(CASES))
    asked.add_argument("--out", type=Path, required=True)
    asked.add_argument("--from", dest="file", type=Path)
    asked.add_argument("--device", default="cuda")
    asked.add_argument("--steps", type=int, default=8)
    given = asked.parse_args()
    read, found = inputs((), (), given.file), []
    hardware = machine() | {"gpu": torch.cuda.get_device_name() if given.device == "cuda" else "none", "dtype": "bf16"}
    for name in given.cases or CASES:
        what, work = CASES[name]
        rates = [_gemm(given.device)]
        own = work(read, given.device, given.steps)
        rates.append(_gemm(given.device))
        found.append({"name": name, "what": what, **own, "gemm_tflops": [rate / 1e12 for rate in rates]})
        if "flops" in own:
            found[-1]["fraction_of_gemm"] = own["flops"] / own["lanes_seconds"] / max(rates)
        print(json.dumps(found[-1]), flush=True)
        given.out.with_suffix(".json").write_text(json.dumps({"cases": found, "machine": hardware}, indent=1) + "\n")
        given.out.write_text(page(found, hardware, read))
        if given.device == "cuda":
            torch.cuda.empty_cache()


# --- cases ---


def ablation(read: Inputs, device: str, steps: int) -> dict[str, Any]:
    """Fifteen LoRA configurations as one group of lanes, and one after another."""
    backbone = gpt2(read, device)
    batches = _batches(trained_on(backbone, read.sentences((steps + WARM) * cases.BATCH)), cases.BATCH)
    configs = [("lora", {"r": r, "lora_alpha": 2 * r}) for r in RANKS for _ in RATES]
    rates = [rate for _ in RANKS for rate in RATES]
    makes = [_maker(backbone, config, 0) for config in configs]
    return _train(backbone, [(makes, rates, [0] * len(configs))], batches)


def qwen(read: Inputs, device: str, steps: int, reviews: bool = False) -> dict[str, Any]:
    """Five methods x three seeds on Qwen2-1.5B's architecture, a group of three lanes for each method."""
    backbone = qwen2(read, device)
    count = (steps + WARM) * cases.BATCH
    texts = read.reviews(count) if reviews else read.sentences(count)
    encoded = [_cut(one, 384) for one in chosen_from(backbone, texts)] if reviews else trained_on(backbone, texts)
    groups = [
        ([_maker(backbone, method, seed) for seed in range(SEEDS)], [5e-4] * SEEDS, [*range(SEEDS)])
        for method in FIVE.values()
    ]
    return _train(backbone, groups, _batches(encoded, cases.BATCH))


def generation(read: Inputs, device: str, steps: int) -> dict[str, Any]:
    """`generate` of the CPU's benchmark, weights in bfloat16; once in float32 to see that the texts are the same."""
    del steps
    backbone = gpt2(read, device)
    items = prompts_of_a_length(backbone, read.sentences(2000), cases.PROMPTS)
    pairs, shared, more = cases.generate_texts(backbone, items, 1)
    same = {key: more[key] for key in ("same_texts", "texts")} | {"difference_float32": pairs[0].difference}
    half = Backbone(backbone.model.to(torch.bfloat16), read.read_tokenizer(), "gpt2-124m")
    pairs, shared, more = cases.generate_texts(half, items, 1)
    ratios = [pair.plain / pair.lanes for pair in pairs]
    return {
        "ratio": statistics.median(ratios), "ratios": ratios, "ratio_in_one_batch": more["ratio_in_one_batch"],
        "trunk_tokens": shared, "lanes_seconds": sum(pair.lanes for pair in pairs),
        "plain_seconds": sum(pair.plain for pair in pairs), "tokens": more["tokens"] * len(pairs), **same,
    }  # fmt: skip


CASES: dict[str, tuple[str, Callable[[Inputs, str, int], dict[str, Any]]]] = {
    "train/gpt2-124m/ablation": ("LoRA, 5 ranks x 3 learning rates, SST-2, batch 16, autocast; wanted 10", ablation),
    "train/qwen2-1.5b/matrix": ("5 methods x 3 seeds, SST-2, batch 16; wanted 4", qwen),
    "train/qwen2-1.5b/long": (
        "5 methods x 3 seeds, IMDB reviews of up to 384 tokens, batch 16; wanted 4, and 40 % of the matmul rate",
        lambda read, device, steps: qwen(read, device, steps, reviews=True),
    ),
    "generate/gpt2-124m": ("64 prompts x 5 adapters, 8 to 128 tokens; wanted 8", generation),
}


# --- what they share ---


def _train(backbone: Backbone, groups: Sequence[Group], batches: Batches) -> dict[str, Any]:
    """Steps of every trial in groups of lanes and in the plain engine; a pair is one step of all trials."""
    ours, theirs = [0.0] * (len(batches) - WARM), [0.0] * (len(batches) - WARM)
    counted, difference, peaks = 0, 0.0, [0, 0]
    for makes, rates, seeds in groups:
        difference = max(difference, _equal(backbone, makes, rates, seeds, batches[:SAME]))
        with _peak(backbone, peaks, 0):
            counted += len(ours) * _in_lanes(backbone, (makes, rates, seeds), batches, ours)
        for each in zip(makes, rates, seeds, strict=True):
            with _peak(backbone, peaks, 1):
                _alone(backbone, each, batches, theirs)
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    rows = [[len(i.prompt) + len(i.leaves[0]) for i in batch] for batch in batches[WARM:]]
    return {
        "ratio": statistics.median(ratios), "ratios": ratios, "difference_float32": difference,
        "trials": sum(len(makes) for makes, *_ in groups), "steps": len(ours), "trunk_tokens": trunk(batches),
        "lanes_seconds": sum(ours), "plain_seconds": sum(theirs), "flops": counted,
        "real_tokens": sum(map(sum, rows)), "padded_tokens": sum(len(own) * max(own) for own in rows),
        "lanes_peak_gib": peaks[0] / 2**30, "plain_peak_gib": peaks[1] / 2**30,
    }  # fmt: skip


def _in_lanes(backbone: Backbone, group: Group, batches: Batches, seconds: list[float]) -> int:
    """Add the seconds of each timed step of a group; the FLOPs of one."""
    learners = _learners(*group, batches, bf16=backbone.device.type == "cuda")
    lanes = Lanes(backbone, [one.adapter for one in learners])
    every = [[list(batch)] * len(learners) for batch in batches]
    counted = flops(lambda: lane_losses(lanes, every[0]).sum().backward())
    for one in learners:
        one.optimizer.zero_grad(set_to_none=True)
    for step, items in enumerate(every):
        took, _ = timed(lambda items=items, step=step: train_step(lanes, learners, items, step))
        if step >= WARM:
            seconds[step - WARM] += took
    return counted


def _alone(backbone: Backbone, trial: tuple[Make, float, int], batches: Batches, seconds: list[float]) -> None:
    """Add the seconds of each timed step of one trial in the plain engine."""
    make, rate, seed = trial
    (learner,) = _learners([make], [rate], [seed], batches, bf16=backbone.device.type == "cuda", mounted=backbone)
    for step, batch in enumerate(batches):
        took, _ = timed(lambda batch=batch, step=step: _plain_step(learner, batch, step))
        if step >= WARM:
            seconds[step - WARM] += took


def _equal(backbone: Backbone, makes: Sequence[Make], rates: list[float], seeds: list[int], batches: Batches) -> float:
    """How far the losses of a few float32 steps lie apart, of the first and the last trial; 0 where it is not asked."""
    if backbone.dtype != torch.float32:
        return 0.0
    ours = _learners(makes, rates, seeds, batches, bf16=False)
    lanes, worst = Lanes(backbone, [one.adapter for one in ours]), 0.0
    theirs = _learners(makes, rates, seeds, batches, bf16=False, mounted=backbone)
    for step, batch in enumerate(batches):
        train_step(lanes, ours, [list(batch)] * len(makes), step)
        for one in theirs:
            plain.train_step(one, batch, step)
        pairs = zip(ours, theirs, strict=True)
        worst = max([worst, *(apart([a.curve[-1].loss], [b.curve[-1].loss]) for a, b in pairs)])
    return worst


def _maker(backbone: Backbone, method: tuple[str, dict[str, Any]], seed: int) -> Make:
    use, config = method
    return lambda: build(use, config).attach(backbone, generator(seed, "init"))


def _learners(
    makes: Sequence[Make], rates: Sequence[float], seeds: Sequence[int], batches: Batches, bf16: bool,
    mounted: Backbone | None = None,
) -> list[Learner]:  # fmt: skip
    found = []
    for i, (make, rate, seed) in enumerate(zip(makes, rates, seeds, strict=True)):
        training = Training(
            learning_rate=rate, per_device_train_batch_size=cases.BATCH, weight_decay=0.01, bf16=bf16,
            max_steps=10 * len(batches),
        )  # fmt: skip
        adapter = Plain(mounted, make()) if mounted else make()
        found.append(Learner(str(i), adapter, batches[0], training, seed))
    return found


def _plain_step(learner: Learner, batch: Sequence[Encoded], step: int) -> float:
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=learner.training.bf16):
        return plain.train_step(learner, batch, step)


class _peak:
    """The most memory in use in a context, kept where it is more than before."""

    def __init__(self, backbone: Backbone, peaks: list[int], place: int):
        self.on, self.peaks, self.place = backbone.device.type == "cuda", peaks, place

    def __enter__(self) -> None:
        if self.on:
            torch.cuda.reset_peak_memory_stats()

    def __exit__(self, *_: object) -> None:
        if self.on:
            self.peaks[self.place] = max(self.peaks[self.place], torch.cuda.max_memory_allocated())


def gpt2(read: Inputs, device: str) -> Backbone:
    """GPT-2's 124M architecture with random float32 weights."""
    return Backbone(read.gpt2_124m.model.to(device), read.read_tokenizer(), "gpt2-124m")


def qwen2(read: Inputs, device: str) -> Backbone:
    """Qwen2-1.5B's architecture with random bfloat16 weights, its texts by GPT-2's tokenizer."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    shape: dict[str, Any] = QWEN if device == "cuda" else QWEN | {
        "num_hidden_layers": 2, "hidden_size": 96, "intermediate_size": 64, "vocab_size": 50_304,
    }  # fmt: skip
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        model = Qwen2ForCausalLM._from_config(Qwen2Config(**shape), dtype=dtype, attn_implementation="sdpa")
    return Backbone(model, read.read_tokenizer(), "qwen2-1.5b")


def _batches(items: Sequence[Encoded], size: int) -> list[list[Encoded]]:
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


def _cut(item: Encoded, tokens: int) -> Encoded:
    """A review and its first label, in at most so many tokens."""
    leaf = item.leaves[0]
    return Encoded(prompt=item.prompt[: tokens - len(leaf)], leaves=(leaf,))


def _gemm(device: str) -> float:
    return gemm_rate(8192 if device == "cuda" else 256, 10, device, torch.bfloat16)


def page(found: Sequence[dict[str, Any]], hardware: dict[str, Any], read: Inputs) -> str:
    """The results for people."""
    versions = ", ".join(f"{name} {version}" for name, version in hardware["versions"].items())
    rows = [
        f"| `{one['name']}` | {one['what']} | {one['ratio']:.2f} ({min(one['ratios']):.2f} to {max(one['ratios']):.2f})"
        f" | {one['lanes_seconds']:.2f} | {one['plain_seconds']:.2f} | {_percent(one)} | {_difference(one)} |"
        for one in found
    ]
    lines = [
        "# Lanes against plain Hugging Face + PEFT on a GPU\n",
        f"{hardware['date']}; {hardware['gpu']}; {versions}; `scripts/bench_gpu.py`.\n",
        f'System prompt: "{SYSTEM.content}" Token lengths from {read.tokenizer}\'s tokenizer; all weights random.\n',
        "Training is in bfloat16 autocast (GPT-2's weights in float32, Qwen2's in bfloat16); plain is the model's own "
        "loss on padded batches in dataset order, one trial after another, then the Trainer's clipping, AdamW and "
        "schedule. A pair is one step of all trials. `difference` is that of the same steps' losses in float32 on the "
        "same card (nats), or of the tokens' log-probabilities. `of matmul` is the lanes' matrix products over the "
        "wall clock as a share of what a bare bfloat16 product of 8192 x 8192 reaches.\n",
        "| case | what | ratio | lanes s | plain s | of matmul | difference |",
        "|---|---|---|---:|---:|---:|---:|",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def _percent(one: dict[str, Any]) -> str:
    return f"{one['fraction_of_gemm']:.1%}" if "fraction_of_gemm" in one else ""


def _difference(one: dict[str, Any]) -> str:
    same = f"; {one['same_texts']} of {one['texts']} texts the same" if "texts" in one else ""
    return (f"{one['difference_float32']:.1e}" if one["difference_float32"] else "not asked") + same


if __name__ == "__main__":
    main()
