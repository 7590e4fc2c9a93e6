"""Simulated studies: how often the 95 % intervals hold the truth, and how often anything false is said.

    python scripts/coverage.py [--studies 1000] [--out docs/statistics.md]

Every study goes through `bakeoff.analysis.scores.Scores.comparisons`, which makes the comparisons of results.json and
of `bakeoff compare`. A study has methods x k runs x n items of 0/1 scores. An item's logit is N(0, 1.5), the same for
all methods; a run's is N(0, tau), the same for all items, with tau such that the run means have the named SD. With
--out the table takes the place of the one between the two marks of that file.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bakeoff.analysis.result import Comparison
from bakeoff.analysis.scores import MARGIN, Scores

K = 3
SIZES, SEED_SDS = (200, 1000), (0.0, 0.008, 0.025)
EQUAL = 5  # equal methods in a study; "better" then has a sixth
ITEM_SD = 1.5  # logits
BEGIN, END = "<!-- coverage: begin -->", "<!-- coverage: end -->"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a study is made: its items, the run-to-run SD of scores, and what the last method is better by (logits).

    With `alone` there are two methods: one, and an untrained one.
    """

    n: int
    seed_sd: float
    better: float = 0.0
    k: int = K
    alone: bool = False


@dataclass(frozen=True, kw_only=True)
class Found:
    """Of many studies, in percent: intervals of A - B that hold the truth, of all pairs, studies with a false word."""

    setting: Setting
    studies: int
    covered: float
    covered_all: float
    false_better: float
    false_equivalent: float
    width: float


def study(setting: Setting, rng: np.random.Generator) -> tuple[list[Comparison], dict[str, float]]:
    """One study's comparisons, and each method's true score."""
    items = rng.normal(0, ITEM_SD, setting.n)
    shifts = np.zeros(EQUAL) if not setting.better else np.array([*[0.0] * (EQUAL - 1), setting.better])
    tau = setting.seed_sd / _slope()
    logits = items + shifts[:, None, None] + rng.normal(0, tau, (EQUAL, setting.k, 1))
    x = _answers(logits, rng)
    names = [f"m{i}" for i in range(EQUAL)]
    arrays, trained = dict(zip(names, x, strict=True)), dict.fromkeys(names, True)
    true = {name: _score(shift, tau) for name, shift in zip(names, shifts, strict=True)}
    if setting.alone:
        arrays, trained = {"m0": x[0], "base": _answers(items[None], rng)}, {"m0": True, "base": False}
        true = {"m0": true["m0"], "base": _score(0, 0)}
    return Scores(arrays=arrays, trained=trained, margin=MARGIN).comparisons(), true


def simulate(setting: Setting, studies: int, seed: int) -> Found:
    """Many studies of one setting."""
    rng = np.random.default_rng([seed, setting.n, round(1e4 * setting.seed_sd), round(100 * setting.better), setting.k])
    first, every, widths = [], [], []
    better = equivalent = 0
    for _ in range(studies):
        pairs, true = study(setting, rng)
        hits = [_holds(pair, true[pair.a] - true[pair.b]) for pair in pairs]
        ends = next(pair for pair in pairs if (pair.a, pair.b) == (next(iter(true)), list(true)[-1]))
        first.append(_holds(ends, true[ends.a] - true[ends.b]))
        every.append(np.mean(hits))
        widths.append((ends.ci_high or 0) - (ends.ci_low or 0))
        better += any(_false_better(pair, true) for pair in pairs)
        equivalent += any(pair.equivalent and abs(true[pair.a] - true[pair.b]) >= MARGIN for pair in pairs)
    share = [100 * float(np.mean(x)) for x in (first, every, widths)]
    return Found(
        setting=setting,
        studies=studies,
        covered=share[0],
        covered_all=share[1],
        width=share[2],
        false_better=100 * better / studies,
        false_equivalent=100 * equivalent / studies,
    )


def _answers(logits: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    return (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)


def _holds(pair: Comparison, true: float) -> bool:
    return pair.ci_low is not None and pair.ci_high is not None and pair.ci_low <= true <= pair.ci_high


def _false_better(pair: Comparison, true: dict[str, float]) -> bool:
    """Whether one method is called better that is not."""
    gap = true[pair.a] - true[pair.b]
    return (pair.verdict == "a better" and gap <= 1e-9) or (pair.verdict == "b better" and gap >= -1e-9)


@cache
def _slope() -> float:
    """What a logit is worth in score: the mean of p (1 - p) over items."""
    z, weights = np.polynomial.hermite_e.hermegauss(80)
    p = 1 / (1 + np.exp(-ITEM_SD * z))
    return float((p * (1 - p)) @ weights / weights.sum())


@cache
def _score(shift: float, tau: float) -> float:
    """The expected score of a method: over items and runs."""
    z, weights = np.polynomial.hermite_e.hermegauss(80)
    p = 1 / (1 + np.exp(-shift - math.hypot(ITEM_SD, tau) * z))
    return float(p @ weights / weights.sum())


def settings() -> Iterator[Setting]:
    """Equal methods at every size and seed noise; four equal ones and a better one; one beside an untrained one."""
    for better in (0.0, 0.3):
        for n in SIZES:
            for sd in SEED_SDS:
                yield Setting(n=n, seed_sd=sd, better=better)
    for n, k in ((200, 3), (1000, 3), (1000, 5), (5000, 3)):
        yield Setting(n=n, seed_sd=SEED_SDS[-1], k=k, alone=True)


def table(found: Sequence[Found]) -> str:
    """The results as Markdown."""
    lines = [
        "| methods | n | k | seed SD, points | interval of A - B covers | of all pairs | its mean width, points "
        '| studies with a false "beats" | with a false "equivalent" |',
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        at = one.setting
        true = 100 * (_score(at.better, at.seed_sd / _slope()) - _score(0, at.seed_sd / _slope()))
        who = f"{EQUAL} equal" if not at.better else f"{EQUAL - 1} equal, B better by {true:.1f}"
        who = "1 trained, B untrained" if at.alone else who
        lines.append(
            f"| {who} | {at.n:,} | {at.k} | {100 * at.seed_sd:.1f} | {one.covered:.1f} % | {one.covered_all:.1f} % "
            f"| {one.width:.1f} | {one.false_better:.1f} % | {one.false_equivalent:.1f} % |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    every = list(settings())
    with ProcessPoolExecutor(asked.jobs) as pool:
        found: list[Found] = []
        for one in pool.map(simulate, every, [asked.studies] * len(every), [asked.seed] * len(every)):
            print(one, file=sys.stderr, flush=True)
            found.append(one)
    drawn = table(found)
    print(drawn)
    if asked.out:
        text = asked.out.read_text()
        start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
        told = f"{asked.studies:,} studies for each line; `python scripts/coverage.py --studies {asked.studies}`."
        asked.out.write_text(f"{text[:start]}\n{told}\n\n{drawn}\n{text[end:]}")


if __name__ == "__main__":
    main()
