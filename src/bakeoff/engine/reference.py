"""Reference: plain Hugging Face and PEFT, one trial at a time, padded batches, the Trainer's arithmetic.

It is the oracle that lanes are tested against, and it serves models that lanes do not. A trial starts from the very
weights that the lanes engine would start from: PEFT is given the method's adapter by its configuration and tensors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from bakeoff.data.messages import Encoded, decode, end_ids
from bakeoff.engine.evaluate import Questions, chosen, mean_loss, nothing, with_losses
from bakeoff.engine.plain import Plain
from bakeoff.engine.randomness import generator
from bakeoff.engine.train import Learner, Progress, update
from bakeoff.errors import TrialError
from bakeoff.tasks.task import Completion

EVAL_BATCH = 32
PORTION = 256  # examples that are answered before what came out is kept


def train(learner: Learner, progress: Progress | None = None) -> float:
    """Train one learner, whose adapter is a Plain model, from where it is to its last step; the seconds that took."""
    started = time.perf_counter()
    with torch.random.fork_rng():
        torchs = _seeded(learner)
        while not learner.trained:
            loss = train_step(learner, [learner.examples[i] for i in next(learner.order)], learner.done)
            learner.chance = {name: one.get_state() for name, one in torchs.items()}
            if progress:
                progress(learner.done, learner.steps, {learner.name: loss})
    learner.end()
    return time.perf_counter() - started


def _seeded(learner: Learner) -> dict[str, torch.Generator]:
    """Torch's own generators, of which PEFT's dropout draws, at their start or as the learner's last step left them."""
    assert isinstance(learner.adapter, Plain)
    device = learner.adapter.backbone.device
    torch.manual_seed(generator(learner.seed, "dropout").initial_seed())
    found = {"cpu": torch.default_generator}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.default_generators[device.index or 0]
    if learner.done and not learner.trained:
        if found.keys() != learner.chance.keys():
            raise TrialError(f"the states of torch's generators are those of {sorted(learner.chance)}")
        for name, one in found.items():
            one.set_state(learner.chance[name])
    return found


def train_step(learner: Learner, batch: Sequence[Encoded], step: int) -> float:
    """One optimiser step on `batch`, in micro-batches of the training's size; returns the loss."""
    model = learner.adapter
    assert isinstance(model, Plain)
    size = learner.training.per_device_train_batch_size
    wanted, loss = sum(len(item.leaves[0]) for item in batch), 0.0
    for i in range(0, len(batch), size):
        with torch.autocast(model.backbone.device.type, dtype=torch.bfloat16, enabled=learner.training.bf16):
            part = _loss(model, batch[i : i + size]) / wanted
        part.backward()
        loss += part.item()
    if (penalty := model.penalty()) is not None:
        penalty.backward()
    update(learner, loss, step)
    learner.tokens += sum(len(item.prompt) + len(item.leaves[0]) for item in batch)
    return loss


def _loss(model: Plain, batch: Sequence[Encoded]) -> Tensor:
    """The sum of cross-entropies over the answers' tokens."""
    logits = model.leaf_logits([item.prompt for item in batch], [item.leaves[0] for item in batch])
    labels = torch.full(logits.shape[:2], -100, device=logits.device)
    for row, item in enumerate(batch):
        labels[row, : len(item.leaves[0])] = torch.tensor(item.leaves[0], device=logits.device)
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    return nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")


def portions(ask: Questions) -> list[Questions]:
    """The benchmark in portions of PORTION examples or a few more, each answered by itself and kept.

    Of text they are runs of whole batches, which are those of one portion; each draws for itself. Of labels too, where
    all examples have equally many; else a batch ends where its portion does.
    """
    runs = [[i] for i in range(len(ask.examples))] if ask.scored else _alike(ask.encoded)
    found: list[list[int]] = [[]]
    for run in runs:
        if len(found[-1]) >= PORTION:
            found.append([])
        found[-1] += run
    return [ask.only(n, sorted(indices)) for n, indices in enumerate(found)]


@torch.inference_mode()
def answer(model: Plain, ask: Questions, key: str, beat: Callable[[], None] = nothing) -> list[list[Completion]]:
    """One trial's completions of every example: labels scored in padded batches, text by `generate`.

    `beat` is called after each batch, and may raise to give up.
    """
    if ask.scored:
        scores = score(model, ask.encoded, beat)
        return [[chosen(example, own)] for example, own in zip(ask.examples, scores, strict=True)]
    return with_losses(ask, _generated(model, ask, key, beat), score(model, ask.references, beat))


@torch.inference_mode()
def score(model: Plain, items: Sequence[Encoded], beat: Callable[[], None] = nothing) -> list[list[float]]:
    """The log-probability (nats) of every leaf of every item, summed over its tokens."""
    pairs = [(i, leaf) for i, item in enumerate(items) for leaf in item.leaves]
    found: list[list[float]] = [[] for _ in items]
    for start in range(0, len(pairs), EVAL_BATCH):
        batch = pairs[start : start + EVAL_BATCH]
        logits = model.leaf_logits([items[i].prompt for i, _ in batch], [leaf for _, leaf in batch])
        for row, (i, leaf) in enumerate(batch):
            own = logits[row, : len(leaf)]
            own = (own.float() if own.dtype in (torch.float16, torch.bfloat16) else own).log_softmax(-1)
            found[i].append(float(own[torch.arange(len(leaf)), torch.tensor(leaf)].sum()))
        beat()
    return found


def text_loss(model: Plain, items: Sequence[Encoded]) -> float:
    """The loss of texts (`encode_text`), nats per token, all tokens alike."""
    return mean_loss(items, score(model, items))


def _generated(model: Plain, ask: Questions, key: str, beat: Callable[[], None]) -> list[list[Completion]]:
    """Text in batches of `_alike` prompts; what the model's own generation settings say is off.

    Draws come from torch's generator, seeded by the trial, the benchmark and its portion: they depend on all of that.
    """
    from transformers import GenerationConfig

    how, stop = ask.decoding, list(end_ids(model.backbone.tokenizer))
    drawn: dict[str, Any] = {"temperature": how.temperature, "top_p": how.top_p, "top_k": 0}
    config = GenerationConfig(
        max_new_tokens=how.max_new_tokens, eos_token_id=stop, pad_token_id=stop[0], do_sample=bool(how.temperature),
        num_return_sequences=how.samples, **(drawn if how.temperature else {}),
    )  # fmt: skip
    found: list[list[Completion]] = [[] for _ in ask.encoded]
    purpose = f"{key}/{ask.benchmark}" + (f"/{ask.portion}" if ask.portion else "")
    with torch.random.fork_rng():
        torch.manual_seed(generator(None, purpose).initial_seed())
        for batch in _alike(ask.encoded):
            out = model.generate([ask.encoded[i].prompt for i in batch], config)
            for i, ids in zip([i for i in batch for _ in range(how.samples)], out, strict=True):
                found[i].append(_completion(model.backbone.tokenizer, ids, stop))
            beat()
    return found


def _alike(items: Sequence[Encoded]) -> list[list[int]]:
    """Prompts of equal length together, EVAL_BATCH at most, so that nothing is padded."""
    by_length = sorted(range(len(items)), key=lambda i: (len(items[i].prompt), i))
    groups = (list(group) for _, group in groupby(by_length, key=lambda i: len(items[i].prompt)))
    return [own[start : start + EVAL_BATCH] for own in groups for start in range(0, len(own), EVAL_BATCH)]


def _completion(tokenizer: Any, ids: list[int], stop: list[int]) -> Completion:
    end = next((i for i, token in enumerate(ids) if token in stop), None)
    return Completion(text=decode(tokenizer, ids[:end]), truncated=end is None)
