"""A trial's result as data: Record, Sample, CurveRow, Cost, Solo, Part, Provenance; and Prompt, what it answered."""

from __future__ import annotations

from typing import Any, Literal

from bakeoff.study.spec import Frozen, Trial

Status = Literal["done", "failed", "diverged"]


class CurveRow(Frozen):
    """One optimiser step: mean loss over the step's target tokens (nats), its rate, the norm before clipping."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float


class Sample(Frozen):
    """One graded completion. `scores` holds fractions 0 to 1 by metric; `detail` what the grader saw, for people.

    Without scores it could not be graded and is in no mean.
    """

    benchmark: str
    id: str
    draw: int = 0
    text: str
    scores: dict[str, float]
    detail: dict[str, Any] = {}


class Prompt(Frozen):
    """What one item of a benchmark asks: its `turns` (role, text) before the answer, not cut to a model's context."""

    benchmark: str
    id: str
    turns: tuple[tuple[str, str], ...]


class Benchmark(Frozen):
    """One benchmark's outcome: means over its items by metric (headline first), and what was counted on the way.

    `counts["harness_errors"]` are samples of code on which the sandbox broke; an item all of whose samples did is among
    the `n_items` and in no mean.
    """

    metrics: dict[str, float]
    n_items: int
    counts: dict[str, int] = {}


class Solo(Frozen):
    """What a method costs by itself: a few optimiser steps and one answer of an adapter alone on the model.

    Measured by `engine/meter.py` in the trial's own engine, on its first batches, for all trials that differ in seed or
    learning rate alone, at a small rate of the meter's. `step_seconds` is the median of `timed_steps`, which took from
    `step_seconds_min` to `step_seconds_max`; `tokens_per_second` counts real tokens (as `Cost.train_tokens`),
    `step_flops` the floating-point operations of one step's matrix products and attention,
    forward and backward, padding included. `peak_bytes` is the most memory in use in those steps: allocated on a GPU,
    where `reserved_bytes` is what torch kept for it, else the resident set of the process; `held_bytes` what was in use
    before the adapter came. All of these are None where nothing is trained, memory also where the system does not tell.
    `inference_seconds` are those of reading a prompt of the task and decoding 16 tokens, one sequence, the adapter not
    merged; `inference_ratio` is to the same without it. `context_tokens` are taken by virtual tokens.
    """

    step_seconds: float | None = None
    step_seconds_min: float | None = None
    step_seconds_max: float | None = None
    tokens_per_second: float | None = None
    step_flops: int | None = None
    timed_steps: int = 0
    peak_bytes: int | None = None
    reserved_bytes: int | None = None
    held_bytes: int | None = None
    inference_seconds: float
    inference_ratio: float
    context_tokens: int = 0

    @property
    def added_bytes(self) -> int | None:
        """The peak above what was in use before: the method's own, with all that training it needs."""
        known = self.peak_bytes is not None and self.held_bytes is not None
        return max(0, self.peak_bytes - self.held_bytes) if known else None  # pyright: ignore[reportOperatorIssue]


class Cost(Frozen):
    """What the trial took. Where `lanes` trials shared a pass, `train_seconds` is an equal share of it.

    So a method's own cost is not to be had from it: `solo` is, None where it could not be measured. `train_tokens` are
    real tokens the trial was trained on, prompt and answer, padding and sharing apart; `peak_bytes` is the
    accelerator's peak allocation over training and evaluation, None on a CPU and where passes were shared.
    """

    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    train_tokens: int = 0
    train_steps: int = 0
    lanes: int = 1
    adapter_bytes: int = 0
    peak_bytes: int | None = None
    solo: Solo | None = None


class TextLoss(Frozen):
    """The loss of held-out text (nats per token, all tokens alike): `before`, of the bare base, and `after` training.

    `tokens` are those predicted, in `texts` texts, each cut at its end to the context.
    """

    before: float
    after: float
    texts: int
    tokens: int

    @property
    def change(self) -> float:
        """How much worse the text is predicted after training; below 0 where it is predicted better."""
        return self.after - self.before


class Part(Frozen):
    """One part of a combination: how many numbers it trains, and how far training moved them.

    `moved` is the L2 norm of their change from the initial weights: 0 for a part that was frozen, None where it is no
    finite number.
    """

    trainable_params: int
    moved: float | None


class Provenance(Frozen):
    """How it ran: never part of a trial's identity. `sandboxes` are the tiers that held model-written code.

    `resumed_at` are the optimiser steps at which it went on from a checkpoint, once for each time that a run had died.
    """

    engine: str
    executor: str
    group: int
    group_size: int
    device: str
    threads: int
    platform: str
    versions: dict[str, str]
    started: str
    sandboxes: tuple[str, ...] = ()
    resumed_at: tuple[int, ...] = ()


class Record(Frozen):
    """The trial's result, written last and once; a trial directory that holds one is complete.

    `counts` holds what was counted in training, such as `training_prompts_cut`, beside each benchmark's own.
    `text_loss` is there where the study asks for it and the model is no encoder-decoder. `parts` are those of a
    combination, by their names in the trial (part0, part1, ...).
    """

    schema_version: Literal[1] = 1
    key: str
    trial: Trial
    status: Status
    reason: str = ""
    benchmarks: dict[str, Benchmark] = {}
    counts: dict[str, int] = {}
    text_loss: TextLoss | None = None
    trainable_params: int = 0
    total_params: int = 0
    cost: Cost = Cost()
    provenance: Provenance
    parts: dict[str, Part] = {}
