"""Tuning: what was tried for every method, and what was chosen on validation."""

from __future__ import annotations

from collections.abc import Sequence

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


def tuning_explained(found: Sequence[Tuning]) -> str:
    """How learning rates were chosen, and what a table of `tuning_row`s says."""
    sizes = sorted({one.n_items for one in found})
    items = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    return (
        f"Every method's learning rate was chosen on {items} held-out training examples, by one run for each rate "
        f"(seed {found[0].seed}); only the chosen one was judged on the test set. Where a best rate lay at the end of "
        "a grid, every method of its task got one trial more. Expected best: what the best of so many rates, drawn at "
        "random from those tried, scores on average."
    )


def tuning_row(one: Tuning) -> dict[str, str]:
    """A method's tuning: what was tried, what was chosen, what fewer trials would have given."""
    percent = is_fraction(one.metric)
    unit = ", %" if percent else " (lower is better)" if one.lower_is_better else ""
    expected = (f"{point.budget}: {words.number(point.score, percent)}" for point in one.expected_best)
    return {
        "model": one.model,
        "task": one.task,
        "method": one.method,
        "tried": "; ".join(tried(one, point) for point in one.points),
        "by": f"{one.metric}{unit}",
        "trials": str(one.budget),
        "chosen": words.settings(one.chosen),
        "expected best, by trials": ", ".join(expected),
        "remark": tuning_note(one),
    }


def tuning_summary(found: Sequence[Tuning]) -> str:
    """What was chosen, in one sentence, and how many methods are undertuned."""
    models, tasks = {one.model for one in found}, {one.task for one in found}
    chosen: list[str] = []
    for one in found:
        place = [*([one.model] if len(models) > 1 else []), *([one.task] if len(tasks) > 1 else []), one.method]
        chosen.append(f"{'/'.join(place)} {', '.join(f'{value:g}' for value in one.chosen.values())}")
    lost = sum(one.undertuned is not None for one in found)
    told = f" {lost} of {len(found)} {'is' if lost == 1 else 'are'} undertuned and not ranked." if lost else ""
    return f"Learning rates chosen on held-out training examples: {', '.join(chosen)}.{told}"
