"""Reference: plain Hugging Face and PEFT, one trial at a time, padded batches, the Trainer's arithmetic.

It is the oracle that lanes are tested against, and it serves models that lanes do not. A trial starts from the very
weights that the lanes engine would start from: PEFT is given the method's adapter by its configuration and tensors.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from bakeoff.data.messages import Encoded, decode, end_ids
from bakeoff.engine.evaluate import Questions, chosen
from bakeoff.engine.randomness import generator
from bakeoff.engine.train import Learner, Progress, update
from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.models.backbone import Backbone
from bakeoff.tasks.task import Completion

EVAL_BATCH = 32


class Reference(Adapter):
    """One adapter inside a Hugging Face model of its own, as PEFT builds it."""

    adapter: Adapter
    backbone: Backbone

    def __init__(self, backbone: Backbone, adapter: Adapter):
        super().__init__()
        # not as submodules: the trained parameters are the model's
        self.__dict__.update(adapter=adapter, backbone=backbone)
        self.model, self._holders = _build(backbone, adapter)

    def train(self, mode: bool = True) -> Reference:
        """Adapter dropout follows `mode`; the base's own stays off, as it is in lanes."""
        self.training = mode
        self.model.eval()
        for name, module in self.model.named_modules():
            if "lora_dropout" in name:
                module.train(mode)
        return self

    def collect(self) -> None:
        """Bring the trained tensors back into the adapter, by the names PEFT saves them under."""
        from peft import get_peft_model_state_dict

        with torch.no_grad():
            for part, model in self._holders:
                state = (
                    dict(model.named_parameters())
                    if not hasattr(model, "peft_config")
                    else get_peft_model_state_dict(model)
                )
                for name, tensor in part.tensors().items():
                    tensor.copy_(state[name])

    def logits(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Next-token logits of right-padded token sequences, [sequences, tokens, vocabulary]."""
        longest = max(map(len, sequences))
        device = self.backbone.device
        ids = torch.tensor([[*s, *[0] * (longest - len(s))] for s in sequences], device=device)
        mask = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in sequences], device=device)
        return self.model(input_ids=ids, attention_mask=mask).logits[:, -longest:]


def train(learner: Learner, progress: Progress | None = None) -> float:
    """Train one learner, whose adapter is a Reference, to its last step; returns the seconds that took."""
    model: Any = learner.adapter
    started = time.perf_counter()
    size = learner.training.per_device_train_batch_size
    with torch.random.fork_rng():
        torch.manual_seed(generator(learner.seed, "dropout").initial_seed())
        for step in range(learner.steps):
            batch = [learner.examples[i] for i in next(learner.order)]
            wanted, loss = sum(len(item.leaves[0]) for item in batch), 0.0
            for i in range(0, len(batch), size):
                with torch.autocast(model.backbone.device.type, dtype=torch.bfloat16, enabled=learner.training.bf16):
                    part = _loss(model, batch[i : i + size]) / wanted
                part.backward()
                loss += part.item()
            update(learner, loss, step)
            learner.tokens += sum(len(item.prompt) + len(item.leaves[0]) for item in batch)
            if progress:
                progress(step + 1, learner.steps, {learner.name: loss})
            if learner.diverged:
                break
    learner.adapter.eval()
    return time.perf_counter() - started


def _loss(model: Reference, batch: Sequence[Encoded]) -> Tensor:
    """The sum of cross-entropies over the answers' tokens."""
    sequences = [[*item.prompt, *item.leaves[0]] for item in batch]
    logits = model.logits([s[:-1] for s in sequences])
    labels = torch.full(logits.shape[:2], -100, device=logits.device)
    for row, (item, s) in enumerate(zip(batch, sequences, strict=True)):
        labels[row, len(item.prompt) - 1 : len(s) - 1] = torch.tensor(item.leaves[0], device=logits.device)
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    return nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")


@torch.inference_mode()
def answer(model: Reference, ask: Questions, key: str) -> list[list[Completion]]:
    """One trial's completions of every example: labels scored in padded batches, text by `generate`."""
    if ask.task.kind == "choose":
        return [
            [chosen(example, scores)] for example, scores in zip(ask.examples, score(model, ask.encoded), strict=True)
        ]
    return _generated(model, ask, key)


@torch.inference_mode()
def score(model: Reference, items: Sequence[Encoded]) -> list[list[float]]:
    """The log-probability (nats) of every leaf of every item, summed over its tokens."""
    pairs = [(i, leaf) for i, item in enumerate(items) for leaf in item.leaves]
    found: list[list[float]] = [[] for _ in items]
    for start in range(0, len(pairs), EVAL_BATCH):
        batch = pairs[start : start + EVAL_BATCH]
        logits = model.logits([[*items[i].prompt, *leaf] for i, leaf in batch])
        for row, (i, leaf) in enumerate(batch):
            first = len(items[i].prompt) - 1
            own = logits[row, first : first + len(leaf)].log_softmax(-1)
            found[i].append(float(own[torch.arange(len(leaf)), torch.tensor(leaf)].sum()))
    return found


def _generated(model: Reference, ask: Questions, key: str) -> list[list[Completion]]:
    """Prompts of equal length together, so that nothing is padded."""
    how, stop = ask.decoding, list(end_ids(model.backbone.tokenizer))
    sampling: dict[str, Any] = {"do_sample": False}
    if how.temperature:
        sampling = {
            "do_sample": True,
            "temperature": how.temperature,
            "top_p": how.top_p,
            "top_k": 0,
            "num_return_sequences": how.samples,
        }
    found: list[list[Completion]] = [[] for _ in ask.encoded]
    by_length = sorted(range(len(ask.encoded)), key=lambda i: (len(ask.encoded[i].prompt), i))
    with torch.random.fork_rng():
        torch.manual_seed(int(key[:15], 16))
        for length, group in groupby(by_length, key=lambda i: len(ask.encoded[i].prompt)):
            members = list(group)
            for start in range(0, len(members), EVAL_BATCH):
                batch = members[start : start + EVAL_BATCH]
                ids = torch.tensor([ask.encoded[i].prompt for i in batch], device=model.backbone.device)
                out = model.model.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=how.max_new_tokens,
                    eos_token_id=stop, pad_token_id=stop[0], **sampling,
                )  # fmt: skip
                for i, row in zip([i for i in batch for _ in range(how.samples)], out.tolist(), strict=True):
                    found[i].append(_completion(model.backbone.tokenizer, row[length:], stop))
    return found


def _completion(tokenizer: Any, ids: list[int], stop: list[int]) -> Completion:
    end = next((i for i, token in enumerate(ids) if token in stop), None)
    return Completion(text=decode(tokenizer, ids[:end]), truncated=end is None)


def _build(backbone: Backbone, adapter: Adapter) -> tuple[Any, list[tuple[Adapter, Any]]]:
    """A model with the adapter in it, and which (part of the) adapter each PEFT model holds."""
    from peft import get_peft_model, set_peft_model_state_dict

    if any(p is q for p in adapter.parameters() for q in backbone.model.parameters()):  # full: the weights themselves
        return backbone.model, [(adapter, backbone.model)]
    outer = model = copy.deepcopy(backbone.model)
    holders: list[tuple[Adapter, Any]] = []
    with torch.random.fork_rng():  # PEFT draws weights of its own, which are overwritten at once
        for part in _parts(adapter):
            outer = get_peft_model(model, part.peft_config())
            if hasattr(outer, "prompt_encoder"):  # PEFT makes it float32 over any base
                outer.prompt_encoder.to(backbone.adapter_dtype)
            set_peft_model_state_dict(outer, {name: tensor.detach().clone() for name, tensor in part.tensors().items()})
            holders.append((part, outer))
    for part, holder in holders:  # PEFT freezes all that a further PEFT model wraps; here every part trains
        names = set(part.tensors())
        for name, parameter in holder.named_parameters():
            if name.replace(".default", "") in names:
                parameter.requires_grad_(True)
    return outer, holders


def _parts(adapter: Any) -> list[Adapter]:
    """What changes the model's modules first; what wraps the model (soft prompts, prefixes) after it."""
    found = list(adapter.parts) if hasattr(adapter, "parts") else [adapter]
    return sorted((part for part in found if part.tensors()), key=lambda part: not part.sites)
