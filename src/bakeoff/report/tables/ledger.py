"""Ledger of trained parameters: by the method's formula, as counted, and in percent of what."""

from __future__ import annotations

from dataclasses import dataclass

from bakeoff.analysis.result import Cell, Results


@dataclass(frozen=True)
class Line:
    """A method on a model: `declared` by its formula when the study was planned, `counted` in its stored trials."""

    model: str
    cell: Cell
    declared: int | None
    counted: int | None

    @property
    def note(self) -> str:
        """Whether the two agree."""
        if self.declared is None or self.counted is None:
            return "not counted yet" if self.counted is None else "no formula stored"
        return "as declared" if self.declared == self.counted else f"differs by {self.counted - self.declared:+,}"


def ledger(results: Results) -> list[Line]:
    """Every method on every model, in study order."""
    declared = results.provenance.get("parameters") or {}
    stored = {(run.model, run.method) for run in results.trials if run.status != "missing"}
    found: dict[tuple[str, str], Line] = {}
    for cell in results.cells:
        place = (cell.model, cell.method)
        planned = (declared.get(cell.model) or {}).get(cell.method) or {}
        counted = cell.trainable_params if place in stored else None
        found.setdefault(place, Line(cell.model, cell, planned.get("trainable"), counted))
    return list(found.values())
