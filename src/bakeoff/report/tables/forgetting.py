"""Forgetting: what training did to the loss of text that no task teaches."""

from __future__ import annotations

from bakeoff.analysis import words
from bakeoff.analysis.result import Cell, Results
from bakeoff.report.tables.costs import costs


def forgetting(results: Results) -> list[list[Cell]]:
    """Each model's and task's cells once per trained method, where the loss of held-out text is known."""
    return [known for group in costs(results) if (known := [cell for cell in group if cell.text_loss_changes])]


def forgotten(cell: Cell) -> dict[str, str]:
    """What a method's training did to the loss of held-out text, by the heads of its table."""
    change, (low, high) = cell.text_loss_change, cell.text_loss_interval
    assert change is not None
    return {
        "before": words.number(cell.text_loss, False, 3),
        "after": words.number(cell.text_loss_after, False, 3),
        "text loss change": _added(change),
        "95 % interval": "n/a" if low is None or high is None else f"[{_added(low)}, {_added(high)}]",
        "per seed": " ".join(map(_added, cell.text_loss_changes)),
    }


def forgotten_values(cell: Cell) -> dict[str, float | None]:
    """The stored numbers behind `forgotten`, where its text is a single one."""
    return {"before": cell.text_loss, "after": cell.text_loss_after, "text loss change": cell.text_loss_change}


def forgetting_explained(results: Results) -> str:
    """What the table of forgetting shows, and what has no place in it; empty where the study asks for none."""
    asked = results.provenance.get("forgetting")
    if not asked:
        return ""
    told = (
        f"Loss (nats per token) of {words.count(asked['texts'], 'text')} from {asked['text']}, cut to the context, "
        "under the bare base and after training; above 0 the text is predicted worse than before. Intervals: over runs "
        "alone, of these texts."
    )
    without = words.listed(asked["not_available"])
    return told + (f" Not available for {without}: an encoder-decoder model has no loss of plain text." * bool(without))


def _added(change: float) -> str:
    shown = words.number(change, False, 3)
    return f"+{shown}" if float(f"{change:.3f}") > 0 else shown
