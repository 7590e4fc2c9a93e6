"""Sample: some of many rows, by a draw that is fixed: the same rows of the same data, whatever the study's seeds."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def subset(rows: Sequence[T], limit: int | None) -> list[T]:
    """`limit` of `rows` by a fixed draw, in their order; all of them where there are no more, or no limit."""
    if limit is None or limit >= len(rows):
        return list(rows)
    return [rows[i] for i in sorted(random.Random(0).sample(range(len(rows)), limit))]


def reservoir(rows: Iterable[T], limit: int) -> list[T]:
    """`limit` of `rows` by a fixed draw, in their order, with no more than these held; all where there are no more.

    Algorithm R (Vitter 1985): row i takes the place of one that is held with probability limit / i, so that every set
    of so many rows is equally likely.
    """
    draw, held = random.Random(0), list[tuple[int, T]]()
    for i, row in enumerate(rows):
        if i < limit:
            held.append((i, row))
        elif (place := draw.randrange(i + 1)) < limit:
            held[place] = (i, row)
    return [row for _, row in sorted(held, key=lambda one: one[0])]
