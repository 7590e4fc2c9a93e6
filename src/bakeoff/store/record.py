"""A trial's result as data: Record, Sample, CurveRow, Cost, Provenance."""

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
    """One graded completion. `scores` holds fractions 0 to 1 by metric; `detail` what the grader saw, for people."""

    benchmark: str
    id: str
    draw: int = 0
    text: str
    scores: dict[str, float]
    detail: dict[str, Any] = {}


class Benchmark(Frozen):
    """One benchmark's outcome: means over its items by metric (headline first), and what was counted on the way."""

    metrics: dict[str, float]
    n_items: int
    counts: dict[str, int] = {}


class Cost(Frozen):
    """What the trial took. Where `lanes` trials shared a pass, `train_seconds` is an equal share of it.

    `train_tokens` are real tokens the trial was trained on, prompt and answer, padding and sharing apart; `peak_bytes`
    is the accelerator's peak allocation and None on a CPU, where a process-wide number would not be the trial's own.
    """

    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    train_tokens: int = 0
    train_steps: int = 0
    lanes: int = 1
    adapter_bytes: int = 0
    peak_bytes: int | None = None


class Provenance(Frozen):
    """How it ran: never part of a trial's identity."""

    engine: str
    executor: str
    group: int
    group_size: int
    device: str
    threads: int
    platform: str
    versions: dict[str, str]
    started: str


class Record(Frozen):
    """The trial's result, written last and once; a trial directory that holds one is complete.

    `counts` holds what was counted in training, such as `training_prompts_cut`, beside each benchmark's own.
    """

    schema_version: Literal[1] = 1
    key: str
    trial: Trial
    status: Status
    reason: str = ""
    benchmarks: dict[str, Benchmark] = {}
    counts: dict[str, int] = {}
    trainable_params: int = 0
    total_params: int = 0
    cost: Cost = Cost()
    provenance: Provenance
