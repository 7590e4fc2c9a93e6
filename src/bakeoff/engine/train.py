"""Training: the loop over packed lanes, and the Trainer's arithmetic that both engines share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import get_scheduler
from transformers.trainer_pt_utils import get_parameter_names

from bakeoff.data.messages import Encoded
from bakeoff.engine.divergence import exploded, unfit
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.randomness import generator
from bakeoff.errors import TrialError
from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.store.record import CurveRow
from bakeoff.study.spec import Training

PASS_TOKENS = {
    "cpu": 8_192,
    "cuda": 16_384,
}  # a lane's tokens of one pass; a larger step is split, its gradients summed
_NO_DECAY = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]  # as the Trainer has it


@dataclass
class Learner:
    """One adapter in training: its data, its optimiser, its schedule, and what came of it after `done` steps.

    `uniform` is the loss (nats) of a guess among all tokens alike, by which an exploded loss is told; without it none.
    `chance` holds the states of torch's own generators after the last step, where PEFT draws from them.
    """

    name: str
    adapter: Adapter
    examples: Sequence[Encoded]
    training: Training
    seed: int
    uniform: float = math.inf
    curve: list[CurveRow] = field(default_factory=list)
    tokens: int = 0
    diverged: str = ""
    chance: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.steps = total_steps(len(self.examples), self.training)
        self.advance(0)
        self.optimizer, self.schedule = optimizer(self.adapter, self.training, self.steps)
        self.noise = generator(self.seed, "dropout")
        self.adapter.seed_noise(self.noise)
        self.adapter.begin(self.steps)
        self.adapter.train()

    @property
    def trained(self) -> bool:
        """Whether no step is to come."""
        return bool(self.diverged) or self.done >= self.steps

    def advance(self, done: int) -> None:
        """Go to the place in the data after `done` steps."""
        self.done = done
        self.order = batches(len(self.examples), self.training, self.seed, done)

    def end(self) -> None:
        """Nothing is trained any more: what was must be finite numbers."""
        self.adapter.eval()
        self.diverged = self.diverged or unfit(self.adapter)


Progress = Callable[[int, int, dict[str, float]], None]  # (step, steps, loss by learner)


def train(lanes: Lanes, learners: Sequence[Learner], progress: Progress | None = None) -> float:
    """Train every learner (lane i is learner i) from where it is to its last step; returns the seconds that took.

    A learner whose loss or gradient is no longer finite, or whose loss explodes, is marked `diverged` and left out; the
    others go on untouched.
    """
    started = time.perf_counter()
    for step in range(max(one.done for one in learners), max(one.steps for one in learners)):
        active = [i for i, one in enumerate(learners) if not one.trained]
        if not active:
            break
        running = [learners[i] for i in active]
        chosen = [[one.examples[i] for i in next(one.order)] for one in running]
        losses = train_step(lanes.subset(active), running, chosen, step)
        if progress:
            progress(step + 1, max(one.steps for one in learners), losses)
    for learner in learners:
        learner.end()
    return time.perf_counter() - started


def train_step(
    lanes: Lanes, learners: Sequence[Learner], items: Sequence[list[Encoded]], step: int
) -> dict[str, float]:
    """One optimiser step of every learner on its `items`: forward and backward together, the update each on its own."""
    wanted = [sum(len(leaf) for item in batch for leaf in item.leaves) for batch in items]
    totals = torch.zeros(len(learners), dtype=torch.float64)
    with _autocast(lanes, learners[0].training.bf16):
        for part in _parts(items, PASS_TOKENS.get(lanes.backbone.device.type, 16_384)):
            losses = lane_losses(lanes, part) / torch.tensor(wanted, device=lanes.backbone.device)
            torch.where(losses.isfinite(), losses, 0).sum().backward()
            totals += losses.detach().double().cpu()
    for learner, batch, loss in zip(learners, items, totals.tolist(), strict=True):
        update(learner, loss, step)
        learner.tokens += sum(len(item.prompt) + len(leaf) for item in batch for leaf in item.leaves)
    return {one.name: loss for one, loss in zip(learners, totals.tolist(), strict=True)}


def lane_losses(lanes: Lanes, items: Sequence[Sequence[Encoded]]) -> Tensor:
    """The sum of cross-entropies (nats) over each lane's target tokens, [lanes]; no logits but where there is one."""
    packed = lanes.pack(items)
    want = packed.targets
    logits = lanes.logits(lanes.hidden(packed), want.row, want.column)
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    each = nn.functional.cross_entropy(logits, want.id, reduction="none")
    return each.new_zeros(len(items)).index_add(0, want.lane, each)


def update(learner: Learner, loss: float, step: int) -> None:
    """Clip, AdamW, schedule, and a row of the curve; or mark the learner as diverged."""
    named = [(name, p) for name, p in learner.adapter.named_parameters() if p.requires_grad]
    if step == 0 and (frozen := [name for name, p in named if p.grad is None]):
        raise TrialError(
            f"{len(frozen)} of {len(named)} trained tensors get no gradient, {frozen[0]} first: not trained"
        )
    parameters = [p for _, p in named]
    limit = learner.training.max_grad_norm or math.inf
    norm = float(nn.utils.clip_grad_norm_(parameters, limit))
    rate = float(learner.schedule.get_last_lr()[0])
    if not (math.isfinite(loss) and math.isfinite(norm)):
        learner.diverged = f"the loss was {loss} and the gradient norm {norm} at step {step + 1}"
    else:
        learner.curve.append(CurveRow(step=step + 1, loss=loss, learning_rate=rate, grad_norm=norm))
        learner.optimizer.step()
        learner.schedule.step()
        learner.adapter.after_step(step + 1)
        learner.diverged = exploded(learner.curve, learner.uniform)
    learner.done = step + 1
    learner.optimizer.zero_grad(set_to_none=True)


def optimizer(adapter: Adapter, training: Training, steps: int) -> tuple[torch.optim.AdamW, Any]:
    """AdamW and the schedule as transformers.Trainer makes them: no weight decay on biases and norms.

    A part's own learning rate takes the place of the trial's; the schedule scales both alike.
    """
    decays = set(get_parameter_names(adapter, [nn.LayerNorm], _NO_DECAY))
    rates = adapter.rates()
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(training.learning_rate, True): []}
    for name, parameter in adapter.named_parameters():
        if parameter.requires_grad:
            rate = rates.get(parameter, training.learning_rate)
            groups.setdefault((rate, name in decays), []).append(parameter)
    adamw = torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "weight_decay": training.weight_decay if decayed else 0.0}
            for (rate, decayed), parameters in groups.items()
            if parameters
        ],
        lr=training.learning_rate,
        betas=(training.adam_beta1, training.adam_beta2),
        eps=training.adam_epsilon,
        foreach=True,
    )
    warmup = training.warmup_steps or math.ceil(steps * training.warmup_ratio)
    schedule = get_scheduler(training.lr_scheduler_type, adamw, num_warmup_steps=warmup, num_training_steps=steps)
    return adamw, schedule


def total_steps(examples: int, training: Training) -> int:
    """How many optimiser steps: `max_steps`, or those of `num_train_epochs`, the last short batch counted."""
    if training.max_steps > 0:
        return training.max_steps
    micro = math.ceil(examples / training.per_device_train_batch_size)
    return math.ceil(training.num_train_epochs * math.ceil(micro / training.gradient_accumulation_steps))


def batches(examples: int, training: Training, seed: int, start: int = 0) -> Iterator[list[int]]:
    """Endless steps' example indices, from step `start` on: each epoch a new order, by the seed and the epoch alone."""
    size = training.per_device_train_batch_size * training.gradient_accumulation_steps
    epoch, first = divmod(start, math.ceil(examples / size))
    while True:
        order = torch.randperm(examples, generator=generator(seed, f"order/{epoch}")).tolist()
        yield from (order[i : i + size] for i in range(first * size, examples, size))
        epoch, first = epoch + 1, 0


def _parts(items: Sequence[list[Encoded]], budget: int) -> list[list[list[Encoded]]]:
    """The step's examples in a few passes, every lane's in as many equal parts as fit `budget` tokens by themselves.

    A lane's parts depend on its own examples alone, so that its dropout is the same in any company.
    """
    split = [_split(batch, budget) for batch in items]
    return [[own[k] if k < len(own) else [] for own in split] for k in range(max(map(len, split)))]


def _split(batch: list[Encoded], budget: int) -> list[list[Encoded]]:
    tokens = sum(len(item.prompt) + sum(map(len, item.leaves)) for item in batch)
    size = math.ceil(len(batch) / min(max(1, math.ceil(tokens / budget)), len(batch)))
    return [batch[i : i + size] for i in range(0, len(batch), size)]


def _autocast(lanes: Lanes, bf16: bool) -> torch.autocast:
    return torch.autocast(lanes.backbone.device.type, dtype=torch.bfloat16, enabled=bf16)
