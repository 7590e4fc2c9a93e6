"""Win rates: how the methods of one model compare over several benchmarks, taken as they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bakeoff.analysis import statistics as st
from bakeoff.analysis.result import WinRate
from bakeoff.analysis.scores import Scores


def win_rates(headlines: Sequence[Scores], left_out: Collection[tuple[str, str]] = ()) -> list[WinRate]:
    """Of every model with two benchmarks or more, its methods' mean win rates, the best first.

    Left out are methods that lack a score on one of them, trained methods of which a run gave one answer to everything
    (what such a run lost to is no rival), and those `left_out` by (model, method): undertuned somewhere, or with a run
    that diverged. Of fewer than two methods there are none.
    """
    found: list[WinRate] = []
    for model in dict.fromkeys(one.model for one in headlines):
        here = [one for one in headlines if one.model == model and one.arrays]
        names = [name for name in here[0].arrays if all(_fit(one, name) for one in here)] if here else []
        names = [name for name in names if (model, name) not in left_out]
        if len(here) > 1 and len(names) > 1:
            found += _of_model(model, here, names)
    return found


def _of_model(model: str, here: Sequence[Scores], names: Sequence[str]) -> list[WinRate]:
    arrays = [[(-1 if one.lower_is_better else 1) * one.arrays[name] for name in names] for one in here]
    rates = st.win_rates(arrays, [one.clusters for one in here])
    single = any(one.trained[name] and len(one.arrays[name]) == 1 for one in here for name in names)
    rows = [
        WinRate(
            model=model,
            method=name,
            mean=rate.mean,
            ci_low=rate.low,
            ci_high=rate.high,
            benchmarks=len(here),
            opponents=len(names) - 1,
            scope="this checkpoint only" if single else "runs and items",
        )
        for name, rate in zip(names, rates, strict=True)
    ]
    return sorted(rows, key=lambda row: row.mean, reverse=True)


def _fit(scores: Scores, name: str) -> bool:
    constant = scores.trained.get(name) and any(scores.constant.get(name, ()))
    return name in scores.arrays and not constant
