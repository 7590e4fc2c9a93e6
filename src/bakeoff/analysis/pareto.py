"""Pareto front: which methods nothing cheaper beats, where to beat is to be separably better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bakeoff.analysis.result import Cell, Comparison

COSTS = {
    "trainable_params": "trainable parameters",
    "peak_bytes": "peak memory of training",
    "solo_train_seconds": "training time of a run",
}


@dataclass(frozen=True)
class Point:
    """A trained method by what it costs; `beaten_by` costs no more and is separably better, None on the front."""

    cell: Cell
    cost: float
    beaten_by: str | None


def front(cells: Sequence[Cell], comparisons: Sequence[Comparison], cost: str) -> list[Point]:
    """Every trained method whose `cost` (a field of Cell) is known, cheapest first.

    An untrained model costs nothing, so it may beat a method; two that are not separable never beat each other.
    """
    prices = {cell.method: (getattr(cell, cost) if cell.trained else 0) for cell in cells if cell.mean is not None}
    better = {(p.a, p.b) if p.verdict == "a better" else (p.b, p.a) for p in comparisons if "better" in p.verdict}
    known = {cell.method: cell for cell in cells if prices.get(cell.method) is not None}
    points = [
        Point(cell, prices[name], _best([known[o] for o in known if (o, name) in better and prices[o] <= prices[name]]))
        for name, cell in known.items()
        if cell.trained
    ]
    return sorted(points, key=lambda point: point.cost)


def _best(cells: Sequence[Cell]) -> str | None:
    sign = 1 if cells and cells[0].lower_is_better else -1
    return min(cells, key=lambda cell: sign * (cell.mean or 0)).method if cells else None
