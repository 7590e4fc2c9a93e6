"""The cases: each is a piece of real work, done by lanes and by plain Hugging Face + PEFT."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any, TypeVar

import torch

from bakeoff.bench import plain
from bakeoff.bench.inputs import Inputs, chosen_from, prompts_of_a_length, trained_on, trunk
from bakeoff.bench.measure import Case, Pair, apart, both, case, gemm_rate, merged, timed
from bakeoff.data.messages import Encoded
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
POOL = 640  # examples that length-sorted batches are cut from
PROMPTS = 64
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
# No warm-up, whose first step changes nothing: a wrong gradient must show in the next loss.
TRAINING = Training(learning_rate=5e-4, per_device_train_batch_size=BATCH, weight_decay=0.01, warmup_steps=0)

Batches = Sequence[Sequence[Encoded]]
Found = tuple[list[Pair], int, dict[str, Any]]  # the pairs, the trunk's tokens, and what else is to be said


@dataclass(frozen=True)
class Plan:
    """A case before it is run: what it does, the wanted ratio, the usual number of pairs.

    `prepare` reads all that it needs, for a number of pairs, and gives the work.
    """

    what: str
    wanted: float
    repeats: int
    prepare: Callable[[Inputs, int], Callable[[], Found]]


def prepare(name: str, given: Inputs, repeats: int | None = None) -> Callable[[], Case]:
    """A case with its models and texts read, ready to be run for `repeats` pairs, or its usual number."""
    plan = CASES[name]
    work = plan.prepare(given, repeats or plan.repeats)

    def run() -> Case:
        before = gemm_rate()
        pairs, trunk_tokens, more = work()
        return case(name, pairs, (before, gemm_rate()), trunk_tokens, plan.wanted, plan.what, **more)

    return run


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


def train_lora(backbone: Backbone, batches: Batches, alike: Batches) -> Found:
    """Optimiser steps of LoRA on batches in dataset order; the first one warms up."""
    pairs, changed = train_pairs(backbone, "lora", 0, batches, alike)
    return pairs, trunk(batches), {**_tokens(batches[1:]), "max_update_difference": changed}


def train_matrix(backbone: Backbone, batches: Batches, seeds: int = 3) -> Found:
    """The same steps of every method and seed, one trial after another as the plan groups them on a CPU.

    A pair is one step of the whole matrix.
    """
    trials = {(name, seed): train_pairs(backbone, name, seed, batches) for name in METHODS for seed in range(seeds)}
    totals = {name: merged(p for trial in trials if trial[0] == name for p in trials[trial][0]) for name in METHODS}
    by_method = {name: total.plain / total.lanes for name, total in totals.items()}
    pairs = [merged(own) for own in zip(*(pairs for pairs, _ in trials.values()), strict=True)]
    changed = max(changed for _, changed in trials.values())
    more = {"trials": len(trials), "ratio_by_method": by_method, "max_update_difference": changed}
    return pairs, trunk(batches), {**_tokens(batches[1:]), **more}


def train_pairs(
    backbone: Backbone, name: str, seed: int, batches: Batches, alike: Batches = ()
) -> tuple[list[Pair], float]:
    """One trial's optimiser steps in both engines from the same weights on the same batches, the first one untimed.

    Beside each, where there are any, a third learner's step: the plain engine's on a batch of examples `alike` in
    length. Also returns how far gradients' norms, and at the end what the steps changed, lie apart, relatively.
    """
    training = TRAINING.model_copy(update={"max_steps": 3 * len(batches)})
    first, adapter, other, third = (_noised(backbone, name, seed) for _ in range(4))
    model = Plain(backbone, other)
    ours, theirs = (Learner(name, own, batches[0], training, seed) for own in (adapter, model))
    beside = Learner(name, Plain(backbone, third), batches[0], training, seed) if alike else None
    lanes, pairs = Lanes(backbone, [adapter]), []
    for step, batch in enumerate(batches):
        ours_seconds, loss, theirs_seconds, wanted = both(
            step % 2 == 0,
            lambda batch=batch, step=step: train_step(lanes, [ours], [list(batch)], step)[name],
            lambda batch=batch, step=step: plain.train_step(theirs, batch, step),
        )
        sorted_seconds = 0.0
        if beside:
            seconds, _ = timed(lambda step=step: plain.train_step(beside, alike[step], step))
            sorted_seconds = seconds * _real(batch) / _real(alike[step])
        counted = flops(lambda batch=batch: lane_losses(lanes, [batch]).sum().backward())
        ours.optimizer.zero_grad(set_to_none=True)
        pairs.append(
            Pair(
                lanes=ours_seconds,
                plain=theirs_seconds,
                length_sorted=sorted_seconds,
                flops=counted,
                difference=apart([loss], [wanted]),
            )
        )
    model.collect()
    norms = [abs(a.grad_norm / b.grad_norm - 1) for a, b in zip(ours.curve, theirs.curve, strict=False)]
    unequal = max(apart(norms, [0.0] * len(norms)), _changed(first, adapter, other))
    warm, *kept = pairs
    return [replace(pair, difference=max(pair.difference, warm.difference)) for pair in kept], unequal


def _changed(first: Adapter, ours: Adapter, theirs: Adapter) -> float:
    """The norm of what training changed differently, relative to what it changed."""
    start, own, other = (torch.cat([p.detach().flatten() for p in a.parameters()]) for a in (first, ours, theirs))
    return apart([float((own - other).norm() / (other - start).norm())], [0.0])


# --- scoring and generating ---


def score_labels(backbone: Backbone, batches: Batches, alike: Batches) -> Found:
    """Both labels' log-probabilities of each item under five adapters; a pair is one batch.

    What else plain could do is timed for the first adapter alone.
    """
    adapters, models = _five(backbone)
    lanes, pairs, once = Lanes(backbone, adapters), [], []
    single = all(len(leaf) == 1 for batch in batches for item in batch for leaf in item.leaves)
    score(lanes, batches[0][:1])
    plain.scored(models[0], batches[0][:1])
    for number, (batch, like) in enumerate(zip(batches, alike, strict=True)):
        ours, mine, theirs, other = both(
            number % 2 == 0,
            lambda batch=batch: score(lanes, batch),
            lambda batch=batch: [plain.scored(model, batch) for model in models],
        )
        sorted_seconds, _ = timed(lambda like=like: plain.scored(models[0], like))
        if single:
            once.append(len(models) * timed(lambda batch=batch: plain.scored_at_once(models[0], batch))[0] / ours)
        pairs.append(
            Pair(
                lanes=ours,
                plain=theirs,
                length_sorted=len(models) * sorted_seconds * _real(batch) / _real(like),
                flops=flops(lambda batch=batch: score(lanes, batch)),
                difference=apart(torch.tensor(mine).flatten().tolist(), torch.tensor(other).flatten().tolist()),
            )
        )
    beside = {"ratio_one_forward": median(once)} if once else {}
    return pairs, trunk(batches), {**_tokens(batches), "adapters": len(adapters), **beside}


def generate_texts(backbone: Backbone, items: Sequence[Encoded], repeats: int) -> Found:
    """Greedy completions of every prompt by five adapters, each to its own length; a pair is all of it.

    No token ends a text, so that both engines stop where they are told to. Once, after the pairs, the plain engine
    does it for the first adapter with all prompts in one batch.
    """
    adapters, models = _five(backbone)
    lanes, limits = Lanes(backbone, adapters), stop_lengths(len(items))

    def ours(limits: Sequence[int] = limits, lanes: Lanes = lanes) -> list[list[Request]]:
        wanted = [*zip(items, limits, strict=True)]
        requests = [[Request(item, limit=n, logprobs=[]) for item, n in wanted] for _ in lanes.adapters]
        generate(lanes, requests, Decoding(max_new_tokens=max(limits)), stop=())
        return requests

    def theirs(limits: Sequence[int] = limits) -> list[list[tuple[list[int], list[float]]]]:
        pieces = list(zip(_cut(items, BATCH), _cut(limits, BATCH), strict=True))
        return [[row for own, end in pieces for row in plain.generated(model, own, end)] for model in models]

    ours([2] * len(items))
    theirs(limits=[2] * len(items))
    pairs, same, total = [], 0, 0
    for number in range(repeats):
        seconds, mine, other_seconds, other = both(number % 2 == 0, ours, theirs)
        agreements = [
            _agreement(request, row)
            for a, b in zip(mine, other, strict=True)
            for request, row in zip(a, b, strict=True)
        ]
        same, total = same + sum(equal for _, equal in agreements), total + len(agreements)
        pairs.append(Pair(lanes=seconds, plain=other_seconds, difference=max(each for each, _ in agreements)))
    at_once, _ = timed(lambda: plain.generated(models[0], items, limits))
    counted = len(adapters) * flops(lambda: ours(lanes=lanes.subset([0])))  # all lanes do the like
    pairs = [replace(pair, flops=counted) for pair in pairs]
    tokens = len(items[0].prompt) + max(lanes.prefix) + max(lanes.soft) + max(limits)
    more = {
        "adapters": len(adapters),
        "prompts": len(items),
        "tokens": len(adapters) * sum(limits),
        "same_texts": same,
        "texts": total,
        "ratio_in_one_batch": len(models) * at_once / median(pair.lanes for pair in pairs),
        "lanes_cache_mib": _cache_mib(backbone, len(adapters) * len(items), tokens),
        "plain_cache_mib": _cache_mib(backbone, min(BATCH, len(items)), tokens),
        "plain_cache_in_one_batch_mib": _cache_mib(backbone, len(items), tokens),
    }
    return pairs, trunk([items]), more


def stop_lengths(count: int) -> list[int]:
    """How many tokens each text gets: evenly spread from 8 to 128, shuffled by a fixed draw."""
    order = torch.randperm(count, generator=generator(0, "bench/stop lengths")).tolist()
    return [SHORTEST + round((LONGEST - SHORTEST) * place / max(count - 1, 1)) for place in order]


def _agreement(request: Request, row: tuple[list[int], list[float]]) -> tuple[float, bool]:
    """The largest difference of the log-probabilities of tokens up to the first that differs; whether none does."""
    ids, logprobs = row
    assert request.logprobs is not None
    if len(request.ids) != len(ids):
        return math.inf, False
    common = next((i for i, (a, b) in enumerate(zip(request.ids, ids, strict=True)) if a != b), len(ids))
    return apart(request.logprobs[: common + 1], logprobs[: common + 1]), common == len(ids)


def _cache_mib(backbone: Backbone, rows: int, tokens: int) -> float:
    """MiB of the keys and values of so many rows of so many tokens."""
    return 2 * backbone.layers * backbone.heads * backbone.head_dim * backbone.dtype.itemsize * rows * tokens / 2**20


# --- what they share ---


def adapter_of(backbone: Backbone, name: str, seed: int) -> Adapter:
    """A new adapter of one of the methods."""
    use, config = METHODS[name]
    return build(use, config).attach(backbone, generator(seed, "init"))


def _noised(backbone: Backbone, name: str, seed: int) -> Adapter:
    """An adapter whose every weight matters: LoRA's B does not start from zero."""
    adapter, chance = adapter_of(backbone, name, seed), generator(seed, f"bench/noise/{name}")
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=chance).to(parameter.device))
    return adapter


def _five(backbone: Backbone) -> tuple[list[Adapter], list[Plain]]:
    """Five adapters, and a plain model with each."""
    adapters = [_noised(backbone, name, seed).eval() for name, seed in FIVE]
    return adapters, [Plain(backbone, adapter).eval() for adapter in adapters]


def _real(batch: Sequence[Encoded]) -> int:
    """Tokens of a batch's rows, padding apart."""
    return sum(len(item.prompt) + len(leaf) for item in batch for leaf in item.leaves)


def _tokens(batches: Batches) -> dict[str, Any]:
    """Tokens of the examples, and what the padded batches hold of them (each label anew)."""
    rows = [[len(item.prompt) + len(leaf) for item in batch for leaf in item.leaves] for batch in batches]
    return {
        "rows": sum(map(len, rows)),
        "real_tokens": sum(map(sum, rows)),
        "padded_tokens": sum(len(own) * max(own) for own in rows),
    }


def _cut(items: Sequence[T], size: int) -> list[list[T]]:
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


def alike(pool: Sequence[Encoded], size: int, count: int) -> list[list[Encoded]]:
    """`count` batches of a pool sorted by length, spread evenly over it from short to long."""
    batches = _cut(sorted(pool, key=lambda item: len(item.prompt) + max(map(len, item.leaves))), size)
    batches = [own for own in batches if len(own) == size]
    return [batches[(2 * i + 1) * len(batches) // (2 * count)] for i in range(count)]


def _sentences(given: Inputs, backbone: Backbone, repeats: int) -> tuple[Batches, Batches]:
    """Batches for so many pairs and one before them, in dataset order and length-sorted."""
    pool = trained_on(backbone, given.sentences(max(POOL, BATCH * (repeats + 1))))
    batches = _cut(pool, BATCH)
    return batches[: repeats + 1], [batches[0], *alike(pool, BATCH, repeats)]


def _reviews(given: Inputs, backbone: Backbone, repeats: int) -> tuple[Batches, Batches]:
    pool = chosen_from(backbone, given.reviews(max(POOL, REVIEWS * repeats)))
    return _cut(pool, REVIEWS)[:repeats], alike(pool, REVIEWS, repeats)


def _prompts(given: Inputs, backbone: Backbone) -> list[Encoded]:
    return prompts_of_a_length(backbone, given.sentences(2000), PROMPTS)


CASES = {
    "train/gpt2-124m/sst2": Plan(
        "LoRA r=8 on SST-2, batch 16", 4, 6,
        lambda given, n: partial(train_lora, given.gpt2_124m, *_sentences(given, given.gpt2_124m, n)),
    ),
    "train/gpt2-124m/matrix": Plan(
        "lora, prompt, prefix and lora+prompt x 3 seeds on SST-2, batch 16", 4, 2,
        lambda given, n: partial(train_matrix, given.gpt2_124m, _sentences(given, given.gpt2_124m, n)[0]),
    ),
    "train/stories3m/sst2": Plan(
        "LoRA r=8 on SST-2, batch 16", 2.5, 40,
        lambda given, n: partial(train_lora, given.stories3m, *_sentences(given, given.stories3m, n)),
    ),
    "score/gpt2-124m/imdb": Plan(
        "both labels of IMDB reviews, five adapters, batch 8", 2.5, 2,
        lambda given, n: partial(score_labels, given.gpt2_124m, *_reviews(given, given.gpt2_124m, n)),
    ),
    "generate/gpt2-124m": Plan(
        "64 prompts x five adapters, 8 to 128 tokens, batch 16", 3, 1,
        lambda given, n: partial(generate_texts, given.gpt2_124m, _prompts(given, given.gpt2_124m), n),
    ),
    "generate/stories3m": Plan(
        "64 prompts x five adapters, 8 to 128 tokens, batch 16", 3, 3,
        lambda given, n: partial(generate_texts, given.stories3m, _prompts(given, given.stories3m), n),
    ),
}  # fmt: skip
