"""Wins: on how many items one method is better than another, by its mean over runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bakeoff.analysis.result import Comparison
from bakeoff.analysis.scores import Scores

TIE = 1e-9  # scores nearer than this are equal


def counted(table: Scores, pairs: Sequence[Comparison]) -> list[Comparison]:
    """The pairs with the number of items that each side wins; an aggregate (F1, BLEU) has no score by item."""
    if table.aggregate:
        return list(pairs)
    sign = -1 if table.lower_is_better else 1
    means = {name: sign * array.mean(axis=0) for name, array in table.arrays.items()}  # [items]
    gaps = [means[pair.a] - means[pair.b] for pair in pairs]
    return [
        pair.model_copy(update={"items_a": int(np.sum(gap > TIE)), "items_b": int(np.sum(gap < -TIE))})
        for pair, gap in zip(pairs, gaps, strict=True)
    ]
