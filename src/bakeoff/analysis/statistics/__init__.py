"""Statistics of a comparison as pure functions on arrays of scores, `[seeds, items]`.

Two things are random: which items are in the test set, and which run (seed) of a method was trained. With the model
`score[s, i] = mean + item[i] + run[s] + residual[s, i]` for every method, the variance of a mean over k runs and n
items is `V = V_item + max(V_run - V_res, 0)`, where

- `V_item = var_i(mean over runs) / n`, the sampling of items, which also holds the averaged residual;
- `V_run = s2 / k`, s2 the variance of the run means: the sampling of runs, and the averaged residual once more;
- `V_res = r / (k n)`, r the residual mean square of the item x run table: what was counted twice.

Degrees of freedom follow Satterthwaite (1946): `df = V^2 / (V_item^2 / (n - 1) + V_run^2 / df_run)`, and are never
fewer than n - 1 or df_run, the less of the two (V may be less than its parts). Where the only run variance is one
method's own, they are at most `df_run V / V_run`: a V_run that came out low by chance would make them many, and 95 %
intervals cover 92 to 94 % on three runs (with the bound 93 to 97 %, docs/statistics.md). An interval from
items alone, the usual one, covers as little as 67 % where it claims 95 % when runs differ (tests/test_statistics.py).

Three runs say little about their own variance, so s2 is pooled over methods where that is fair (`pooling`):

- A method at the ceiling or the floor, with every run mean at .98 or above (.02 or below; of a metric that ends at 100,
  98 and 2), hardly can vary: it stays out of the pool and uses its own run variance.
- Among the others the variance is pooled, unless Bartlett's test says at p < .05 that their run variances differ; then
  each uses its own.

Pooled regardless, the intervals of a method whose runs scatter, among four at the ceiling, cover 70 % instead of 95 %.
Bartlett's test is weak on three runs: among four steady methods at 90 % they cover 86 %, on five runs 92 %.

Items that hang together (questions about one passage, `clusters`) are sampled together: with the C clusters' sums of
deviations `e_c`, `V_item = C / (C - 1) sum_c e_c^2 / n^2` on C - 1 degrees of freedom (Miller 2024, and inspect_ai's
`stderr`); clusters of one item give the formula above. V_res stays that of single items, but is no more than V_item: a
statement and its negation make up for each other where a method says the same of both.

Everything is in the unit of the scores. What cannot be estimated (one item, one value) is NaN, never 0.
"""

from bakeoff.analysis.statistics.counts import (
    Floats,
    Interval,
    McNemar,
    apart,
    fisher,
    is_binary,
    is_bounded,
    mcnemar,
    newcombe,
    split_p,
    student,
    t_interval,
    wilson,
)
from bakeoff.analysis.statistics.families import (
    WinRate,
    holm,
    win_rates,
    winner_set,
)
from bakeoff.analysis.statistics.power import (
    minimum_detectable_difference,
    planned_difference,
)
from bakeoff.analysis.statistics.two_way import (
    LIMIT,
    SHARES,
    UNEQUAL,
    Difference,
    Equivalence,
    Mean,
    Parts,
    Pooling,
    SeedPool,
    Side,
    at_limit,
    bartlett,
    combined,
    equivalence,
    mean_interval,
    paired_difference,
    pooled_seed_variance,
    pooling,
    redesigned,
    side,
    two_way_mean,
    widened,
)

__all__ = [
    "LIMIT",
    "SHARES",
    "UNEQUAL",
    "Difference",
    "Equivalence",
    "Floats",
    "Interval",
    "McNemar",
    "Mean",
    "Parts",
    "Pooling",
    "SeedPool",
    "Side",
    "WinRate",
    "apart",
    "at_limit",
    "bartlett",
    "combined",
    "equivalence",
    "fisher",
    "holm",
    "is_binary",
    "is_bounded",
    "mcnemar",
    "mean_interval",
    "minimum_detectable_difference",
    "newcombe",
    "paired_difference",
    "planned_difference",
    "pooled_seed_variance",
    "pooling",
    "redesigned",
    "side",
    "split_p",
    "student",
    "t_interval",
    "two_way_mean",
    "widened",
    "wilson",
    "win_rates",
    "winner_set",
]
