"""Divergence: when training has come apart, by its losses and by its weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from bakeoff.store.record import CurveRow

EXPLODED = 2.0  # times the loss of what knows nothing
RUNNING = 10  # steps one after another


def exploded(curve: Sequence[CurveRow], uniform: float) -> str:
    """How a loss exploded, for people; empty where it did not.

    It did where the last 10 steps' losses were each above twice `uniform`, ln(vocabulary) nats, which a guess among all
    tokens alike has, or twice the first step's where that is more. A spike passes sooner, and nothing that still learns
    is so far below no knowledge at all: the largest loss of the project's own finished runs, at learning rates up to
    0.2, was 1.7 times that, in one step.
    """
    last = curve[-RUNNING:]
    limit = EXPLODED * max(uniform, curve[0].loss) if curve else 0.0
    if len(last) < RUNNING or min(row.loss for row in last) <= limit:
        return ""
    return (
        f"the loss exploded: it was above {limit:.3g} nats in {RUNNING} steps running, {last[-1].loss:.3g} at step "
        f"{last[-1].step}; it began at {curve[0].loss:.3g}, and a guess among all tokens alike has {uniform:.3g}"
    )


def unfit(adapter: nn.Module) -> str:
    """Which trained tensors are no finite numbers, for people; empty where all are."""
    trained = [(name, p) for name, p in adapter.named_parameters() if p.requires_grad]
    lost = [name for name, p in trained if not bool(p.detach().isfinite().all())]
    return f"{len(lost)} of {len(trained)} trained tensors are not finite, {lost[0]} first" if lost else ""
