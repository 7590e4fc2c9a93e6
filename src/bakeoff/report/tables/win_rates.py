"""Mean win rates over a model's benchmarks."""

from __future__ import annotations

from bakeoff.analysis import words
from bakeoff.analysis.result import Results, WinRate


def win_rates_explained(results: Results) -> str:
    """What the win rates are, true of these; empty where there are none."""
    if not results.win_rates:
        return ""
    one = results.win_rates[0]
    alone = any(rate.scope == "this checkpoint only" for rate in results.win_rates)
    over = "test items" if alone else "test items and runs"
    return (
        f"Mean win rate over {one.benchmarks} benchmarks by headline metrics: the share of the other "
        f"{words.count(one.opponents, 'method')} whose mean a method exceeds, a tie half a win. "
        f"95\N{NO-BREAK SPACE}% intervals by a bootstrap over {over}; the benchmarks are taken as they are, so nothing "
        "is said of others. Left out are methods without a score on every benchmark, undertuned ones, and those with a "
        "run that diverged or gave one answer to everything."
    )


def win_rate(rate: WinRate) -> tuple[str, str]:
    """A mean win rate and its interval, in percent."""
    return words.number(rate.mean), words.interval(rate.ci_low, rate.ci_high)
