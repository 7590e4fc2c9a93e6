"""Pareto front: which methods nothing cheaper beats, where to beat is to be separably better."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bakeoff.analysis.result import Cell, Comparison

COSTS = {
    "trainable_params": "trainable parameters",
    "peak_bytes": "peak memory of training",
    "solo_train_seconds": "training time of a run",
}


@dataclass(frozen=True)
class Point:
    """A trained method by what it costs; `beaten_by` costs no more and is separably better, None on the front.

    One that is not `ranked` is on no front and beats nothing.
    """

    cell: Cell
    cost: float
    beaten_by: str | None
    ranked: bool = True


def front(
    cells: Sequence[Cell], comparisons: Sequence[Comparison], cost: str, unranked: Collection[str] = ()
) -> list[Point]:
    """Every trained method whose `cost` (a field of Cell) is known, cheapest first.

    An untrained model costs nothing, so it may beat a method; two that are not separable never beat each other. Of two
    training times with a range, only ranges that do not overlap say which is less.
    """
    prices = {cell.method: _range(cell, cost) for cell in cells if cell.mean is not None}
    better = {(p.a, p.b) if p.verdict == "a better" else (p.b, p.a) for p in comparisons if "better" in p.verdict}
    known = {cell.method: (cell, price) for cell in cells if (price := prices.get(cell.method))}
    fit = {name: one for name, one in known.items() if name not in unranked}

    def beaten_by(name: str) -> str | None:
        least, _ = known[name][1]
        return _best([cell for other, (cell, (_, most)) in fit.items() if (other, name) in better and most <= least])

    points = [
        Point(cell, getattr(cell, cost), beaten_by(name) if name in fit else None, name in fit)
        for name, (cell, _) in known.items()
        if cell.trained
    ]
    return sorted(points, key=lambda point: point.cost)


def _range(cell: Cell, cost: str) -> tuple[float, float] | None:
    """The least and the most of what a method costs, which differ where it is a time by steps of a known range."""
    price = getattr(cell, cost) if cell.trained else 0
    solo = cell.solo
    if price is None:
        return None
    if cost != "solo_train_seconds" or not (cell.trained and solo and solo.step_seconds):
        return price, price
    if solo.step_seconds_min is None or solo.step_seconds_max is None:
        return price, price
    steps = price / solo.step_seconds
    return steps * solo.step_seconds_min, steps * solo.step_seconds_max


def _best(cells: Sequence[Cell]) -> str | None:
    sign = 1 if cells and cells[0].lower_is_better else -1
    return min(cells, key=lambda cell: sign * (cell.mean or 0)).method if cells else None
