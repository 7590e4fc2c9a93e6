"""Tuning: what was tried for every method, and what was chosen on validation."""

from __future__ import annotations

from bakeoff.analysis import words
from bakeoff.analysis.metrics import is_fraction
from bakeoff.analysis.result import Results, Tuned, Tuning


def tuned(results: Results) -> list[list[Tuning]]:
    """Each model's and task's methods."""
    groups: dict[tuple[str, str], list[Tuning]] = {}
    for one in results.tuning:
        groups.setdefault((one.model, one.task), []).append(one)
    return list(groups.values())


def best(one: Tuning) -> float | None:
    """The validation score of the chosen settings."""
    return next((point.score for point in one.points if point.settings == one.chosen), None)


def tried(one: Tuning, point: Tuned) -> str:
    """A tuning trial's settings and what they scored, or its status."""
    shown = point.status if point.score is None else words.number(point.score, is_fraction(one.metric))
    return f"{words.settings(point.settings)}: {shown}" + (f" (round {point.round})" if point.round else "")


def tuning_note(one: Tuning) -> str:
    """Why a method is not ranked, or what else there is to say."""
    if one.undertuned:
        return f"undertuned: {one.undertuned}"
    return ", ".join([*(["at the grid's edge"] if one.edge else []), *(["flat loss"] if one.flat else [])])
