"""What methods cost, measured alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bakeoff.analysis import words
from bakeoff.analysis.result import Cell, Results
from bakeoff.report.tables.text import duration, flops, rate, share, short, size, step_time, whole
from bakeoff.store.record import Solo

FROM_RUNS = "\N{DOUBLE DAGGER}"  # marks a cost that is no measurement of the method alone
FROM_RUNS_EXPLAINED = f"{FROM_RUNS} No measurement of it alone is stored: taken from its runs, which shared no pass."

COST_LABELS: dict[str, tuple[Callable[[float], str], Callable[[float], str]]] = {
    "trainable_params": (short, lambda x: f"{x:,.0f}"),
    "peak_bytes": (lambda x: f"{short(x, words.THIN)}B", lambda x: size(round(x))),
    "solo_train_seconds": (lambda x: f"{x:,.6g}{words.THIN}s", duration),
}
"""How a cost (a field of Cell) is written on an axis, and in full."""


def costs(results: Results) -> list[list[Cell]]:
    """Each model's and task's cells once per method, where it has a cost: costs do not depend on the benchmark."""
    groups: dict[tuple[str, str], dict[str, Cell]] = {}
    for cell in results.cells:
        if cell.trained or cell.solo:
            groups.setdefault((cell.model, cell.task), {}).setdefault(cell.method, cell)
    return [list(group.values()) for group in groups.values()]


def cost(cell: Cell) -> dict[str, str]:
    """A method's cost by the heads of the cost table; nothing is said of the training of what is not trained."""
    solo, trained = cell.solo, cell.trained
    return {
        "training per run": training(cell),
        "optimiser step": _step(solo) if trained else "",
        "tokens per second": rate(solo and solo.tokens_per_second) if trained else "",
        "FLOPs per step": flops(solo and solo.step_flops) if trained else "",
        "peak memory": _peak(cell) if trained else "",
        "of it the method's": size(solo and solo.added_bytes) if trained else "",
        "one answer": step_time(solo and solo.inference_seconds),
        "one answer, base = 1": (f"{solo.inference_ratio:.2f}" if solo else "n/a") if trained else "",
        "context taken": words.count(solo.context_tokens, "token") if solo else "n/a",
        "trainable parameters": whole(cell.trainable_params),
        "of all": share(cell.trainable_percent),
        "adapter on disk": size(cell.adapter_bytes) if trained else "",
    }


def cost_values(cell: Cell) -> dict[str, Any]:
    """The numbers behind `cost`, for sorting and for checking; None where its text is no single stored number."""
    solo, trained = cell.solo, cell.trained
    return {
        "training per run": cell.solo_train_seconds if trained else None,
        "optimiser step": solo and solo.step_seconds,
        "tokens per second": solo and solo.tokens_per_second,
        "FLOPs per step": solo and solo.step_flops,
        "peak memory": cell.peak_bytes if trained else None,
        "of it the method's": solo and solo.added_bytes,
        "one answer": solo and solo.inference_seconds,
        "one answer, base = 1": solo and solo.inference_ratio if trained else None,
        "context taken": solo and solo.context_tokens,
        "trainable parameters": cell.trainable_params,
        "of all": cell.trainable_percent,
        "adapter on disk": cell.adapter_bytes if trained else None,
    }


def training(cell: Cell) -> str:
    """A run's training time, at the pace of the method alone; marked where it is the runs' own time."""
    return _marked(cell, duration(cell.solo_train_seconds)) if cell.trained else ""


def _marked(cell: Cell, text: str) -> str:
    """A cost with FROM_RUNS behind it where no measurement of the method alone is stored."""
    return text if cell.solo or text == "n/a" else f"{text}{words.THIN}{FROM_RUNS}"


def _step(solo: Solo | None) -> str:
    """The median of the timed steps, and their range: `8.3 ms (8.1 ms to 9.0 ms)`."""
    shown = step_time(solo and solo.step_seconds)
    if solo is None or solo.step_seconds_min is None or solo.step_seconds_max is None:
        return shown
    return f"{shown} ({step_time(solo.step_seconds_min)} to {step_time(solo.step_seconds_max)})"


def cost_explained(results: Results) -> str:
    """What the columns of the cost table are."""
    return (
        f"{times_explained(results)} A step is the median of a few, with their range. Tokens are those trained on, "
        "prompt and answer, without padding; FLOPs those of matrix products and attention, forward and backward. Peak "
        "memory is the process's resident set on a CPU, and what is allocated (and reserved) on a GPU; beside it, the "
        "part that was not there before the method came. An answer is one prompt of the task read and 16 tokens "
        "decoded, the adapter not merged; its ratio is to the same without the adapter, a median over runs of both in "
        "turn. Times of different rows were taken at different moments and do not compare. Context is taken by virtual "
        "tokens."
    )


def _peak(cell: Cell) -> str:
    reserved = cell.solo.reserved_bytes if cell.solo else None
    return _marked(cell, size(cell.peak_bytes)) + (f" ({size(reserved)} reserved)" if reserved is not None else "")


def times_explained(results: Results) -> str:
    """Where training times and costs come from."""
    told: list[str] = []
    if any(cell.solo for cell in results.cells):
        told.append(
            "Cost per method comes from a short measurement of it alone on the model, in the engine of its runs, since "
            "runs may share passes; training time is a run's steps at that pace."
        )
    elif any(cell.lanes > 1 for cell in results.cells):
        told.append("Runs shared passes and no measurement of a method alone is stored, so its cost is not known.")
    if any(FROM_RUNS in training(cell) for cell in results.cells):
        told.append(FROM_RUNS_EXPLAINED)
    return " ".join(told) or "No training time is stored."
