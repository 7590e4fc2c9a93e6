"""The cases: each is a piece of real work, done by lanes and by plain Hugging Face + PEFT."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from bakeoff.bench import plain
from bakeoff.bench.inputs import Inputs, chosen_from, prompts_by_length, trained_on, trunk
from bakeoff.bench.measure import Case, Pair, both, case, gemm_rate, merged, timed
from bakeoff.data.messages import Encoded
from bakeoff.engine import reference
from bakeoff.engine.evaluate import score
from bakeoff.engine.generate import Request, generate
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.meter import flops
from bakeoff.engine.plain import Plain
from bakeoff.engine.randomness import generator
from bakeoff.engine.train import Learner, lane_losses, train_step
from bakeoff.errors import InputError, suggest
from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.methods.method import build
from bakeoff.models.backbone import Backbone
from bakeoff.study.spec import Decoding, Training

T = TypeVar("T")
BATCH = 16  # the paper's, in training; also `generate`'s
REVIEWS = 8  # TrainingArguments' default for evaluation
LONGEST, SHORTEST = 128, 8  # new tokens, spread evenly
# The paper's, dropout apart (the engines draw other numbers there); on the modules that PEFT chooses by itself.
LORA: dict[str, Any] = {"r": 8, "lora_alpha": 16}
PROMPT: dict[str, Any] = {"num_virtual_tokens": 8}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", LORA),
    "prompt": ("prompt_tuning", PROMPT),
    "prefix": ("prefix_tuning", {"num_virtual_tokens": 10}),
    "lora+prompt": (
        "combine",
        {"parts": [{"name": "lora", "use": "lora", "config": LORA},
                   {"name": "prompt", "use": "prompt_tuning", "config": PROMPT}]},
    ),
}  # fmt: skip
FIVE = (*((name, 0) for name in METHODS), ("lora", 1))  # five adapters, by method and seed
TRAINING = Training(learning_rate=5e-4, per_device_train_batch_size=BATCH, weight_decay=0.01, warmup_steps=2)


@dataclass(frozen=True)
class Plan:
    """A case before it is run: what it does, the wanted ratio, the usual number of pairs, and the work."""

    what: str
    wanted: float
    repeats: int
    run: Callable[[Inputs, int], tuple[list[Pair], int, dict[str, Any]]]


def measure(name: str, given: Inputs, repeats: int | None = None) -> Case:
    """Run a case; `repeats` pairs, or its usual number."""
    plan = CASES[name]
    before = gemm_rate()
    pairs, trunk_tokens, more = plan.run(given, repeats or plan.repeats)
    gemm = max(before, gemm_rate())
    return case(name, pairs, gemm, trunk_tokens, plan.wanted, plan.what, **more)


def describe(name: str) -> str:
    """A case's name and what it does."""
    return f"{name}: {CASES[name].what}"


def named(names: Sequence[str]) -> list[str]:
    """The cases asked for, all where none is; InputError names the nearest."""
    for name in names:
        if name not in CASES:
            raise InputError(name, "no such case", suggest(name, CASES))
    return [name for name in CASES if not names or name in names]


# --- training ---


def train_lora(backbone: Backbone, items: Sequence[Encoded]) -> tuple[list[Pair], int, dict[str, Any]]:
    """Optimiser steps of LoRA on batches in dataset order; the first one warms up."""
    batches = _cut(items, BATCH)
    return train_pairs(backbone, "lora", 0, batches), trunk(items), _tokens(batches[1:])


def train_matrix(
    backbone: Backbone, items: Sequence[Encoded], seeds: int = 3
) -> tuple[list[Pair], int, dict[str, Any]]:
    """The same steps of every method and seed, one trial after another as the plan groups them on a CPU.

    A pair is one step of the whole matrix.
    """
    batches = _cut(items, BATCH)
    trials = {(name, seed): train_pairs(backbone, name, seed, batches) for name in METHODS for seed in range(seeds)}
    totals = {name: merged(p for trial in trials if trial[0] == name for p in trials[trial]) for name in METHODS}
    by_method = {name: total.plain / total.lanes for name, total in totals.items()}
    pairs = [merged(own) for own in zip(*trials.values(), strict=True)]
    return pairs, trunk(items), {**_tokens(batches[1:]), "trials": len(trials), "ratio_by_method": by_method}


def train_pairs(backbone: Backbone, name: str, seed: int, batches: Sequence[Sequence[Encoded]]) -> list[Pair]:
    """One trial's optimiser steps in both engines from the same weights on the same batches, the first one untimed."""
    training = TRAINING.model_copy(update={"max_steps": 3 * len(batches)})
    adapter = adapter_of(backbone, name, seed)
    ours = Learner(name, adapter, batches[0], training, seed)
    theirs = Learner(name, Plain(backbone, adapter_of(backbone, name, seed)), batches[0], training, seed)
    lanes, pairs = Lanes(backbone, [adapter]), []
    for step, batch in enumerate(batches):
        ours_seconds, loss, theirs_seconds, other = both(
            step % 2 == 0,
            lambda batch=batch, step=step: train_step(lanes, [ours], [list(batch)], step)[name],
            lambda batch=batch, step=step: reference.train_step(theirs, batch, step),
        )
        counted = flops(lambda batch=batch: lane_losses(lanes, [batch]).sum().backward())
        ours.optimizer.zero_grad(set_to_none=True)
        pairs.append(Pair(lanes=ours_seconds, plain=theirs_seconds, flops=counted, difference=abs(loss - other)))
    warm, *kept = pairs
    seconds = [
        timed(lambda own=own: reference.train_step(theirs, own, len(batches)))[0]
        for own in _length_sorted(batches[1:], BATCH)
    ]
    kept = [replace(pair, length_sorted=sum(seconds) / len(kept)) for pair in kept]
    return [replace(pair, difference=max(pair.difference, warm.difference)) for pair in kept]


# --- scoring and generating ---


def score_labels(backbone: Backbone, items: Sequence[Encoded]) -> tuple[list[Pair], int, dict[str, Any]]:
    """Both labels' log-probabilities of each item under five adapters; a pair is one batch."""
    adapters, models = _five(backbone)
    lanes, pairs = Lanes(backbone, adapters), []
    batches = _cut(items, REVIEWS)
    score(lanes, items[:1])
    plain.scored(models[0], items[:1])
    for number, batch in enumerate(batches):
        counted = flops(lambda batch=batch: score(lanes, batch))
        ours, mine, theirs, other = both(
            number % 2 == 0,
            lambda batch=batch: score(lanes, batch),
            lambda batch=batch: [plain.scored(model, batch) for model in models],
        )
        apart = float((torch.tensor(mine) - torch.tensor(other)).abs().max())
        pairs.append(Pair(lanes=ours, plain=theirs, flops=counted, difference=apart))
    if len(batches) > 1:
        seconds = sum(
            timed(lambda own=own: [plain.scored(model, own) for model in models])[0]
            for own in _length_sorted(batches, REVIEWS)
        )
        pairs = [replace(pair, length_sorted=seconds / len(pairs)) for pair in pairs]
    return pairs, trunk(items), {**_tokens(batches), "adapters": len(adapters)}


def generate_texts(
    backbone: Backbone, items: Sequence[Encoded], repeats: int
) -> tuple[list[Pair], int, dict[str, Any]]:
    """Greedy completions of every prompt by five adapters, each to its own length; a pair is all of it.

    No token ends a text, so that both engines stop where they are told to.
    """
    adapters, models = _five(backbone)
    lanes, limits = Lanes(backbone, adapters), stop_lengths(len(items))
    batches, ends = _cut(items, BATCH), _cut(limits, BATCH)

    def ours() -> list[list[Request]]:
        requests = [[Request(i, limit=n, logprobs=[]) for i, n in zip(items, limits, strict=True)] for _ in adapters]
        generate(lanes, requests, Decoding(max_new_tokens=max(limits)), stop=())
        return requests

    def theirs() -> list[list[tuple[list[int], list[float]]]]:
        pieces = list(zip(batches, ends, strict=True))
        return [[row for own, end in pieces for row in plain.generated(model, own, end)] for model in models]

    plain.generated(models[0], batches[0][:2], [2, 3])
    counted = flops(ours)
    pairs, same, total = [], 0, 0
    for number in range(repeats):
        seconds, mine, other_seconds, other = both(number % 2 == 0, ours, theirs)
        agreements = [
            _agreement(request, row)
            for a, b in zip(mine, other, strict=True)
            for request, row in zip(a, b, strict=True)
        ]
        apart = max(difference for difference, _ in agreements)
        same, total = same + sum(equal for _, equal in agreements), total + len(agreements)
        pairs.append(Pair(lanes=seconds, plain=other_seconds, flops=counted, difference=apart))
    more = {"adapters": len(adapters), "prompts": len(items), "tokens": len(adapters) * sum(limits)}
    return pairs, trunk(items), {**more, "same_texts": same, "texts": total}


def stop_lengths(count: int) -> list[int]:
    """How many tokens each text gets: evenly spread from 8 to 128, shuffled by a fixed draw."""
    order = torch.randperm(count, generator=generator(0, "bench/stop lengths")).tolist()
    return [SHORTEST + round((LONGEST - SHORTEST) * place / max(count - 1, 1)) for place in order]


def _agreement(request: Request, row: tuple[list[int], list[float]]) -> tuple[float, bool]:
    """The largest difference of the log-probabilities of tokens up to the first that differs; whether none does."""
    ids, logprobs = row
    assert request.logprobs is not None
    common = next((i for i, (a, b) in enumerate(zip(request.ids, ids, strict=True)) if a != b), len(ids))
    apart = [abs(a - b) for a, b in zip(request.logprobs[: common + 1], logprobs[: common + 1], strict=True)]
    return max(apart), common == len(ids)


# --- what they share ---


def adapter_of(backbone: Backbone, name: str, seed: int) -> Adapter:
    """A new adapter of one of the methods."""
    use, config = METHODS[name]
    return build(use, config).attach(backbone, generator(seed, "init"))


def _five(backbone: Backbone) -> tuple[list[Adapter], list[Plain]]:
    """Five adapters whose every weight matters, and a plain model with each."""
    adapters = [adapter_of(backbone, name, seed).eval() for name, seed in FIVE]
    with torch.no_grad():
        for number, adapter in enumerate(adapters):
            chance = generator(number, "bench/noise")
            for parameter in adapter.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=chance))
    return adapters, [Plain(backbone, adapter).eval() for adapter in adapters]


def _tokens(batches: Sequence[Sequence[Encoded]]) -> dict[str, Any]:
    """Tokens of the examples, and what the padded batches hold of them (each label anew)."""
    rows = [[len(item.prompt) + len(leaf) for item in batch for leaf in item.leaves] for batch in batches]
    return {"real_tokens": sum(map(sum, rows)), "padded_tokens": sum(len(own) * max(own) for own in rows)}


def _length_sorted(batches: Sequence[Sequence[Encoded]], size: int) -> list[list[Encoded]]:
    """The same examples, equal lengths together."""
    every = [item for batch in batches for item in batch]
    return _cut(sorted(every, key=lambda item: len(item.prompt) + max(map(len, item.leaves))), size)


def _cut(items: Sequence[T], size: int) -> list[list[T]]:
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


def _sentences(given: Inputs, backbone: Backbone, repeats: int) -> list[Encoded]:
    return trained_on(backbone, given.sentences(BATCH * (repeats + 1)))


def _prompts(given: Inputs, backbone: Backbone) -> list[Encoded]:
    return prompts_by_length(backbone, given.sentences(1000), 4, BATCH)


CASES = {
    "train/gpt2-124m/sst2": Plan(
        "LoRA r=8 on SST-2, batch 16", 4, 8,
        lambda given, n: train_lora(given.gpt2_124m, _sentences(given, given.gpt2_124m, n)),
    ),
    "train/gpt2-124m/matrix": Plan(
        "lora, prompt, prefix and lora+prompt x 3 seeds on SST-2, batch 16", 4, 2,
        lambda given, n: train_matrix(given.gpt2_124m, _sentences(given, given.gpt2_124m, n)),
    ),
    "train/stories3m/sst2": Plan(
        "LoRA r=8 on SST-2, batch 16", 2.5, 40,
        lambda given, n: train_lora(given.stories3m, _sentences(given, given.stories3m, n)),
    ),
    "score/gpt2-124m/imdb": Plan(
        "both labels of IMDB reviews, five adapters, batch 8", 2.5, 2,
        lambda given, n: score_labels(given.gpt2_124m, chosen_from(given.gpt2_124m, given.reviews(REVIEWS * n))),
    ),
    "generate/gpt2-124m": Plan(
        "64 prompts x five adapters, 8 to 128 tokens, batch 16", 3, 1,
        lambda given, n: generate_texts(given.gpt2_124m, _prompts(given, given.gpt2_124m), n),
    ),
    "generate/stories3m": Plan(
        "64 prompts x five adapters, 8 to 128 tokens, batch 16", 3, 3,
        lambda given, n: generate_texts(given.stories3m, _prompts(given, given.stories3m), n),
    ),
}  # fmt: skip
