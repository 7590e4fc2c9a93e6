"""Scale: an axis with its ends and ticks, even or in decades."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

_MARGIN = 4.0  # percent of the width left free on either side


class Scale(NamedTuple):
    """An axis: its ends and its ticks, in the unit of what it shows; by its logarithm where it is `decades`."""

    low: float
    high: float
    ticks: tuple[float, ...]
    decades: bool = False

    def share(self, x: float) -> float:
        """How far along x lies: 0 at the lower end, 1 at the upper."""
        if self.decades:
            return math.log(x / self.low) / math.log(self.high / self.low)
        return (x - self.low) / (self.high - self.low)

    def place(self, x: float) -> float:
        """Where x lies, in percent of the figure's width."""
        return _MARGIN + (100 - 2 * _MARGIN) * min(max(self.share(x), 0.0), 1.0)

    def places(self, times: float = 1.0) -> int:
        """How many decimals tell the ticks apart without rounding them."""
        step = (self.ticks[1] - self.ticks[0]) * times if len(self.ticks) > 1 else 0.01
        return next((d for d in range(6) if abs(round(step, d) - step) < 1e-6 * step), 6)


def scale(values: Iterable[float | None], most: int = 5, floor: float | None = None) -> Scale:
    """An axis over the finite values with about `most` ticks; they lie 1, 2, 2.5 or 5 times a power of ten apart."""
    known = [x for x in values if x is not None and math.isfinite(x)]
    if floor is not None:
        known.append(floor)
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if high - low < 1e-9:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Scale(low, high, tuple(i * step for i in range(first, last + 1)))


def decades(values: Iterable[float]) -> Scale:
    """A logarithmic axis over positive values, an eighth wider on either side.

    Its ticks are powers of ten, or 1, 2 and 5 times these, or those of an even axis: the first kind of which enough
    lie within.
    """
    known = [x for x in values if x > 0] or [1.0]
    room = max((max(known) / min(known)) ** 0.125, 1.3)
    low, high = min(known) / room, max(known) * room
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    kinds = [10.0**p for p in powers], [10.0**p * f for p in powers for f in (1, 2, 5)], scale([low, high], 4).ticks
    within = [tuple(x for x in kind if low <= x <= high) for kind in kinds]
    return Scale(low, high, next((found for found in within if len(found) > 2), within[-1]), True)
