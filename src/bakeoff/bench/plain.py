"""What a user of Hugging Face and PEFT would run: the Trainer's steps, labels scored by padded forwards, `generate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from bakeoff.data.messages import Encoded
from bakeoff.engine.plain import Plain
from bakeoff.engine.train import Learner, update


def train_step(learner: Learner, batch: Sequence[Encoded], step: int) -> float:
    """One step as the Trainer makes it, on rows padded to the longest; returns the loss.

    The model computes its own loss from `labels` (-100 but on the answers), with all logits and without a cache; then
    clipping, AdamW and the schedule.
    """
    model = learner.adapter
    assert isinstance(model, Plain)
    device = model.backbone.device
    rows = [(*item.prompt, *item.leaves[0]) for item in batch]
    labels = [[-100] * len(item.prompt) + list(item.leaves[0]) for item in batch]
    loss = model.model(
        input_ids=_padded(rows, 0, device),
        attention_mask=_padded([[1] * len(row) for row in rows], 0, device),
        labels=_padded(labels, -100, device),
        num_items_in_batch=sum(len(item.leaves[0]) for item in batch),
        use_cache=False,
    ).loss
    loss.backward()
    update(learner, loss.item(), step)
    return loss.item()


def _padded(rows: Sequence[Sequence[int]], value: int, device: torch.device) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows], device=device)


@torch.inference_mode()
def scored(model: Plain, batch: Sequence[Encoded]) -> list[list[float]]:
    """Every label's log-probability (nats) for a batch padded to its longest: one forward for each label.

    The head's logits are computed only at the positions where some row's label is predicted (`logits_to_keep`).
    """
    return [list(row) for row in zip(*(_label(model, batch, j) for j in range(len(batch[0].leaves))), strict=True)]


@torch.inference_mode()
def scored_at_once(model: Plain, batch: Sequence[Encoded]) -> list[list[float]]:
    """As `scored` where every label is one token: one forward for all labels."""
    prompts, device = [item.prompt for item in batch], model.backbone.device
    mask = _padded([[1] * len(row) for row in prompts], 0, device)
    soft = model.adapter.soft_prompt()
    ends = mask.sum(1) - 1 + (0 if soft is None else len(soft))
    keep, place = torch.unique(ends, return_inverse=True)
    out = model.model(input_ids=_padded(prompts, 0, device), attention_mask=mask, logits_to_keep=keep, use_cache=False)
    logprobs = out.logits[torch.arange(len(batch)), place].log_softmax(-1)
    labels = torch.tensor([[token for (token,) in item.leaves] for item in batch], device=device)
    return logprobs.gather(1, labels).tolist()


def _label(model: Plain, batch: Sequence[Encoded], number: int) -> list[float]:
    pairs = [(item.prompt, item.leaves[number]) for item in batch]
    rows = [(*prompt, *leaf[:-1]) for prompt, leaf in pairs]
    device = model.backbone.device
    ids, mask = _padded(rows, 0, device), _padded([[1] * len(row) for row in rows], 0, device)
    soft = model.adapter.soft_prompt()
    before = 0 if soft is None else len(soft)
    columns = [[before + len(prompt) - 1 + k for k in range(len(leaf))] for prompt, leaf in pairs]
    keep = torch.tensor(sorted({column for own in columns for column in own}), device=device)
    logits = model.model(input_ids=ids, attention_mask=mask, logits_to_keep=keep, use_cache=False).logits
    return [
        _sum(logits[row, torch.searchsorted(keep, torch.tensor(own, device=device))], leaf)
        for row, (own, (_, leaf)) in enumerate(zip(columns, pairs, strict=True))
    ]


def _sum(logits: Tensor, leaf: Sequence[int]) -> float:
    """The log-probability of a leaf's tokens, logits [tokens, vocabulary]."""
    return float(logits.log_softmax(-1)[torch.arange(len(leaf)), torch.tensor(leaf)].sum())


def generated(model: Plain, batch: Sequence[Encoded], limits: Sequence[int]) -> list[tuple[list[int], list[float]]]:
    """Greedy tokens and their log-probabilities, every row stopped at its own limit, the batch with its last row."""
    length, noted = len(batch[0].prompt), _Noted()
    config = GenerationConfig(max_new_tokens=max(limits), do_sample=False, pad_token_id=0)
    stop = StoppingCriteriaList([_Limits(length, torch.tensor(limits, device=model.backbone.device))])
    with torch.inference_mode():
        out = model.generate(
            [item.prompt for item in batch],
            config,
            stopping_criteria=stop,
            logits_processor=LogitsProcessorList([noted]),
        )
    found = torch.stack(noted.best, dim=1).tolist()
    return [(ids[:n], own[:n]) for ids, own, n in zip(out, found, limits, strict=True)]


class _Limits(StoppingCriteria):
    """A row is over at its own number of new tokens."""

    def __init__(self, prompt: int, limits: Tensor):
        self.prompt, self.limits = prompt, limits

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        return input_ids.shape[1] - self.prompt >= self.limits


class _Noted(LogitsProcessor):
    """Keeps the log-probability of each row's best token, as the lanes do in the same run."""

    def __init__(self) -> None:
        self.best: list[Tensor] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self.best.append(scores.amax(-1) - scores.logsumexp(-1))
        return scores
