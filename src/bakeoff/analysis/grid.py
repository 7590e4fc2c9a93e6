"""Grid: a method swept over two numeric hyperparameters, by one metric, as rows and columns of cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bakeoff.analysis import words
from bakeoff.analysis.metrics import lower_is_better
from bakeoff.analysis.result import Cell, Comparison

STRONGEST, FAINTEST = 1.0, 0.05
MOST_PLACES = 4  # decimals of a value


@dataclass(frozen=True)
class Grid:
    """Cells by (down, across): the longer axis lies across, so that it can be a curve's too. Values ascend.

    `noise` is how wide a typical 95 % interval of a difference between two methods is, 0 where it is not known.
    """

    family: str
    metric: str
    down: str
    across: str
    rows: tuple[float, ...]
    columns: tuple[float, ...]
    cells: dict[tuple[float, float], Cell]
    noise: float = 0.0

    @property
    def lower(self) -> bool:
        """Whether smaller values are better."""
        return lower_is_better(self.metric)

    @property
    def percent(self) -> bool:
        """Whether values are fractions, shown in percent."""
        return all(cell.percent for cell in self.cells.values())

    @property
    def spread(self) -> float:
        """How far apart the values are; nothing where that is less than a value's last decimal."""
        means = [cell.mean for cell in self.cells.values() if cell.mean is not None]
        found = max(means) - min(means) if means else 0.0
        return found if found * self.unit >= 10**-MOST_PLACES else 0.0

    @property
    def unit(self) -> int:
        """What values are shown in."""
        return 100 if self.percent else 1

    @property
    def span(self) -> float:
        """How far apart the values are, and at least `noise`: what may be noise looks even."""
        return max(self.spread, self.noise)

    @property
    def places(self) -> int:
        """Decimals that tell the values apart: the usual number, or two digits of their spread, at most four."""
        shown = self.spread * self.unit
        return (
            max(1 if self.percent else 2, min(MOST_PLACES, 1 - math.floor(math.log10(shown))))
            if shown
            else 1 + (not self.percent)
        )

    @property
    def best(self) -> Cell | None:
        """The cell with the best mean; no winner: nothing is tested here."""
        known = [cell for cell in self.cells.values() if cell.mean is not None]
        return min(known, key=lambda cell: (cell.mean or 0) * (1 if self.lower else -1), default=None)

    def strength(self, cell: Cell) -> float | None:
        """How strongly a cell is coloured: 1 for the best, falling linearly over `span`; None without a result.

        Where all values look the same, none is the best and all are faint.
        """
        if cell.mean is None or self.best is None or self.best.mean is None:
            return None
        if not self.spread:
            return FAINTEST
        return self.strength_of(cell.mean, self.best.mean)

    def strength_of(self, value: float, best: float) -> float:
        """How strongly a value is coloured beside the best one."""
        lost = abs(best - value) / self.span if self.span else 0.0
        return STRONGEST - (STRONGEST - FAINTEST) * min(lost, 1.0)


def typical_width(pairs: Sequence[Comparison]) -> float:
    """The median width of the 95 % intervals of differences."""
    widths = [pair.ci_high - pair.ci_low for pair in pairs if pair.ci_low is not None and pair.ci_high is not None]
    return median(widths) if widths else 0.0


def grids(cells: Sequence[Cell], noise: float = 0.0) -> list[Grid]:
    """A grid of every method among one metric's cells whose name sweeps two numbers and nothing else."""
    families = dict.fromkeys(words.base(cell.method) for cell in cells)
    found = [_grid(name, [cell for cell in cells if words.base(cell.method) == name], noise) for name in families]
    return [grid for grid in found if grid]


def _grid(family: str, cells: Sequence[Cell], noise: float) -> Grid | None:
    swept = [words.swept(cell.method) for cell in cells]
    varied = [name for name in swept[0] if len({one.get(name) for one in swept}) > 1]
    if len(varied) != 2 or any(set(one) != set(swept[0]) for one in swept):
        return None
    try:
        points = [(float(one[varied[0]]), float(one[varied[1]])) for one in swept]
    except ValueError:
        return None
    values = [tuple(sorted({point[i] for point in points})) for i in (0, 1)]
    long = 0 if len(values[0]) >= len(values[1]) else 1
    placed = {(point[1 - long], point[long]): cell for point, cell in zip(points, cells, strict=True)}
    return Grid(
        family=family,
        metric=cells[0].metric,
        down=varied[1 - long],
        across=varied[long],
        rows=values[1 - long],
        columns=values[long],
        cells=placed,
        noise=noise,
    )
