"""Methods swept over two numbers: their grids, and what is outlined in them."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.analysis.grid import Grid, grids, typical_width
from bakeoff.report.tables.sections import Section


def swept(section: Section) -> list[Grid]:
    """The grids of a benchmark: by its headline metric, and by those on a scale of their own (loss, BLEU)."""
    others = [cells for cells in section.others.values() if not all(cell.percent for cell in cells)]
    noise = {one.metric: one.width for one in section.standings}
    noise |= {section.verdict.metric: typical_width(section.comparisons)}
    return [g for cells in (section.cells, *others) for g in grids(cells, noise.get(cells[0].metric, 0.0))]


def swept_explained(section: Section, grid: Grid) -> str:
    """What a grid's colours and borders are."""
    order = "lower is better, and the stronger the colour, the lower" if grid.lower else "the stronger, the better"
    told = f"Colours: {order}; they span at least a typical interval of a difference, so that noise looks even."
    if not grid.spread:
        return "All values are the same in the digits shown, so no cell is coloured or has a border as the best."
    members, family = _near(section, grid)
    if not members:
        return f"{told} No border: nothing could be ranked."
    return (
        f"{told} Border: the best, and what is not separable from it by {grid.metric} (all methods of the benchmark, "
        f"Holm family of {family}).{_smallest(grid, members)}"
    )


def _smallest(grid: Grid, members: Sequence[str]) -> str:
    """The smallest value across that is among those outlined, where there are several."""
    values = {column for (_, column), cell in grid.cells.items() if cell.method in members}
    return f" The smallest {grid.across} among them is {min(values):g}." if len(values) > 1 else ""


def outlined(section: Section, grid: Grid) -> tuple[str, ...]:
    """The methods that a grid marks: best, or not separable from the best, by its metric; none where all are alike."""
    return _near(section, grid)[0] if grid.spread else ()


def _near(section: Section, grid: Grid) -> tuple[tuple[str, ...], int]:
    """The winner set by a grid's metric, and how many pairs were tested for it."""
    if grid.metric == section.verdict.metric:
        return section.verdict.winner_set, section.verdict.family
    found = next((one for one in section.standings if one.metric == grid.metric), None)
    return (found.members, found.family) if found else ((), 0)
