"""Recommend: what it names, what it names it for, and where it abstains; how large a study would have to be."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_store import bernoulli, make_store

from bakeoff.analysis import statistics as st
from bakeoff.analysis.needed import needed
from bakeoff.analysis.recommend import Limits, Recommendation, recommend
from bakeoff.analysis.result import Comparison, Variance
from bakeoff.analysis.table import results
from bakeoff.cli import main
from bakeoff.store.record import Solo

RATE = {"base": 0.3, "lora": 0.9, "prompt": 0.6}
SOLO = Solo(inference_seconds=0.05, inference_ratio=1.4, peak_bytes=800_000_000, held_bytes=500_000_000)


def one(directory: Path, limits: Limits | None = None, rate: dict[str, float] = RATE, n: int = 200, **how: Any) -> Any:
    store = make_store(directory, bernoulli(rate, n, 0.05), **{"methods": tuple(rate), **how})
    (found,) = recommend(results(store), limits)
    return found


def why(found: Recommendation) -> dict[str, str]:
    return {one.method: one.why for one in found.excluded}


def test_the_best_alone_is_recommended_with_its_evidence(tmp_path: Path) -> None:
    store = make_store(tmp_path, bernoulli(RATE, 200, 0.05))
    whole = results(store)
    (found,) = recommend(whole)
    assert (found.method, found.basis, found.runner_up) == ("lora", "better", "prompt")
    assert found.sentence == "lora on sst2: it beats every other method that could be ranked."
    assert found.comparison in whole.comparisons and found.evidence.startswith("lora beats prompt by ")
    assert "(family of 3), n = 200\N{NO-BREAK SPACE}items, k = 3\N{NO-BREAK SPACE}seeds each" in found.evidence
    assert found.cost and (found.cost.params, found.cost.latency, found.needed) == (294912, None, None)
    lora = next(cell for cell in whole.cells if cell.method == "lora")
    assert (found.mean, found.ci_low, found.ci_high) == (lora.mean, lora.ci_low, lora.ci_high)


def test_limits_leave_methods_out_by_name_and_families_whole(tmp_path: Path) -> None:
    found = one(tmp_path, Limits(params=10_000))
    assert (found.method, found.runner_up, found.comparison.family) == ("prompt", "base", 3)
    assert why(found) == {"lora": "its number of trained parameters is 294,912, the limit 10,000"}
    assert "Without the limits: lora beats prompt by" in found.evidence


def test_what_was_not_measured_is_not_taken_for_too_much_and_what_is_not_trained_takes_nothing(tmp_path: Path) -> None:
    found = one(tmp_path, Limits(latency=1.2))
    assert set(why(found)) == {"lora", "prompt"}
    assert why(found)["lora"] == "its time for an answer, relative to the bare model's, was not measured"
    assert found.method is None and "was not measured for lora: it may fit." in found.sentence
    both = one(tmp_path / "both", Limits(latency=1.2, params=10_000))
    assert both.method is None and "was not measured for prompt: it may fit." in both.sentence, "lora is too large"
    measured = one(tmp_path / "measured", Limits(latency=1.2, memory=10**9), solo=SOLO)
    assert measured.method == "base" and "is 1.40, the limit 1.20" in why(measured)["lora"]
    assert one(tmp_path / "fits", Limits(latency_seconds=0.06, memory=10**9), solo=SOLO).method == "lora"


def test_the_only_one_that_fits_is_set_beside_what_nearly_does(tmp_path: Path) -> None:
    found = one(tmp_path, Limits(params=0))
    assert (found.method, found.basis, found.runner_up) == ("base", "only", "prompt")
    assert {found.comparison.a, found.comparison.b} == {"base", "prompt"} and found.runner_up_cost.params == 6144
    assert (
        found.evidence.startswith("prompt beats base by ") and "Without the limits: lora beats base" in found.evidence
    )


def test_where_nothing_fits_the_nearest_miss_is_named(tmp_path: Path) -> None:
    trained = {name: RATE[name] for name in ("lora", "prompt")}
    found = one(tmp_path, Limits(params=1000), trained)
    assert found.method is None and found.nearest.method == "prompt"
    assert "Nearest: prompt (its number of trained parameters is 6,144, the limit 1,000)." in found.sentence
    blind = one(tmp_path / "blind", Limits(memory=10), trained)
    assert blind.nearest is None and "no method that could be ranked has a measurement" in blind.sentence


def test_never_on_two_seeds_one_seed_or_missing_runs(tmp_path: Path) -> None:
    rate = {"lora": 0.9, "prompt": 0.6}
    two = one(tmp_path / "two", rate=rate, seeds=(0, 1))
    assert two.method is None and two.sentence.endswith("lora leads, but on 2\N{NO-BREAK SPACE}seeds, and it takes 3.")
    assert (two.needed.seeds, two.needed.items) == (3, None), "the gap is large: the third seed is for the rule's sake"
    single = one(tmp_path / "one", rate=rate, seeds=(0,))
    assert single.method is None and "It takes 3 seeds of every method." in single.sentence
    missing = one(tmp_path / "missing", status={("sst2", "prompt", 1): "missing"})
    assert missing.method is None and "1\N{NO-BREAK SPACE}run of 7 not in the store" in missing.sentence
    failed = one(tmp_path / "failed", seeds=range(4), status={("sst2", "lora", 1): "failed"})
    assert failed.method is None and "lora leads, but only 3 of its 4" in failed.sentence
    diverged = one(tmp_path / "diverged", status={("sst2", "lora", 1): "diverged"})
    assert (diverged.method, why(diverged)) == (None, {"lora": "a run diverged"})


def test_a_rival_that_is_not_ranked_is_no_rival_beaten(tmp_path: Path) -> None:
    """lora's two other runs lie above prompt: prompt leads those ranked, and is not recommended over it."""
    found = one(tmp_path / "diverged", status={("sst2", "lora", 1): "diverged"})
    assert "prompt leads those ranked, but no test puts it ahead of lora (a run diverged), which is" in found.sentence
    assert found.sentence.endswith("To decide, lora would have to be trained otherwise.")
    within = one(tmp_path / "limits", Limits(params=10_000), status={("sst2", "lora", 1): "diverged"})
    assert within.method == "prompt", "lora exceeds the limit: it is no rival there"
    low = {**RATE, "lora": 0.2}
    assert one(tmp_path / "worse", rate=low, status={("sst2", "lora", 1): "diverged"}).method == "prompt"
    text = lambda method, seed, i, value: "x" if method == "lora" else str(i)  # noqa: E731
    alike = one(tmp_path / "alike", rate={"base": 0.3, "lora": 0.6, "prompt": 0.6}, text=text)
    assert alike.method is None and "one answer to every item" in alike.sentence


def test_without_limits_what_beats_all_is_the_verdicts_winner(tmp_path: Path) -> None:
    """A law: `recommend` names nobody for being better whom the page does not name."""
    cases: list[dict[str, Any]] = [
        {},
        {"status": {("sst2", "lora", 1): "diverged"}},
        {"status": {("sst2", "prompt", 1): "diverged"}},
        {"status": {("sst2", "lora", 1): "failed"}},
        {"seeds": (0, 1)},
        {"seeds": (0,)},
        {"text": lambda method, seed, i, value: "x" if method == "prompt" else str(i)},
    ]
    for number, how in enumerate(cases):
        store = make_store(tmp_path / str(number), bernoulli(RATE, 80, 0.05), **how)
        whole = results(store)
        (found,), (verdict,) = recommend(whole), whole.verdicts
        assert (found.method if found.basis == "better" else None) == verdict.winner, how


def test_a_lead_that_hangs_on_pooling_is_not_recommended(tmp_path: Path) -> None:
    """lora's runs lie 8 items of 100 apart, the others' 3: by its own three runs lora is not ahead of prefix."""
    right = {"base": 20, "lora": 60, "prefix": 50, "prompt": 30}
    step = {"base": 0, "lora": 8, "prefix": 3, "prompt": 3}

    def scores(benchmark: str, method: str, seed: int | None) -> list[float]:
        return [float(i < right[method] + step[method] * (seed or 0)) for i in range(100)]

    whole = results(make_store(tmp_path, scores, tuple(right)))
    (found,) = recommend(whole)
    assert found.method is None and whole.verdicts[0].winner is None
    assert "lora leads, but that rests on run variance pooled over methods" in found.sentence
    assert found.comparison and found.comparison.unpooled and found.needed and found.needed.unpooled
    assert found.needed.seeds and found.needed.seeds > 3 and "by each method's own run variance" in found.evidence


def test_one_seed_says_the_least_and_what_it_would_be_on_assumptions(tmp_path: Path) -> None:
    rate = {"lora": 0.8, "prompt": 0.6}
    found = one(tmp_path / "one", rate=rate, seeds=(0,))
    assert {found.comparison.a, found.comparison.b} == {"lora", "prompt"}
    assert (found.needed.k, found.needed.seeds, found.needed.items) == (1, None, None), "nobody knows"
    usual, high = found.needed.assumed
    assert (usual.seed_sd, high.seed_sd) == (0.008, 0.025) and 3 <= usual.seeds <= high.seeds
    assert "at least 3 seeds (2 more)" in found.evidence and "on two assumptions: at a seed SD of 0.8" in found.evidence
    few = one(tmp_path / "few", rate={"lora": 0.65, "prompt": 0.6}, seeds=(0,), n=40)
    assert {one.seeds for one in few.needed.assumed} == {None} and "seeds each on these 40" not in few.evidence
    assert all(one.items > 40 for one in few.needed.assumed if one.items)


def test_assumed_seeds_have_the_power_they_are_for() -> None:
    """At its k the design detects the gap, at one fewer it does not, by the closed form of the planned difference."""
    found = needed(
        pair(0.09, st.Parts(0.25 / 900, 0.0, 0.0, 899, math.inf), 1, 900).model_copy(
            update={"verdict": "these checkpoints only", "test": "exact McNemar"}
        )
    )
    assert found and found.seeds is None
    for one_of in found.assumed:
        assert one_of.seeds is not None
        reach = [st.planned_difference(900, k, 2, one_of.seed_sd) for k in (one_of.seeds - 1, one_of.seeds)]
        assert reach[1] <= 0.09 and (one_of.seeds == 3 or reach[0] > 0.09)
        assert one_of.items and st.planned_difference(one_of.items, 3, 2, one_of.seed_sd) <= 0.09
        assert one_of.items <= 900 or st.planned_difference(round(one_of.items / 1.02), 3, 2, one_of.seed_sd) > 0.09


def test_missing_runs_come_first_and_may_be_all_that_it_takes(tmp_path: Path) -> None:
    clear = one(tmp_path / "clear", status={("sst2", "base", None): "missing"})
    assert clear.sentence.endswith("run of 7 not in the store; run the study again.") and clear.needed is None
    assert clear.evidence.startswith("lora scored ") and clear.evidence.endswith("may be all that it takes.")
    close = {"base": 0.3, "lora": 0.7, "prompt": 0.66}
    near = one(tmp_path / "near", rate=close, n=60, status={("sst2", "prompt", 1): "missing"})
    assert near.method is None and near.needed and "If lora and prompt truly differ" in near.evidence


def test_equivalent_methods_are_told_apart_by_their_cost(tmp_path: Path) -> None:
    """Both get the first 150 of 300 items right, a run of each one more: equivalent within 2 points."""

    def scores(benchmark: str, method: str, seed: int | None) -> list[float]:
        right = {"base": 60, "lora": 151 if seed == 1 else 150, "prompt": 151 if seed == 2 else 150}[method]
        return [float(i < right) for i in range(300)]

    (found,) = recommend(results(make_store(tmp_path, scores)))
    assert (found.method, found.basis, found.runner_up) == ("prompt", "cheapest", "lora")
    assert "for its cost" in found.sentence and "(6,144; lora 294,912)" in found.sentence
    assert found.comparison and found.comparison.equivalent and found.comparison.verdict == "not separable"


def test_what_is_not_separable_is_not_recommended_and_what_would_decide_is_said(tmp_path: Path) -> None:
    found = one(tmp_path, rate={"base": 0.3, "lora": 0.7, "prompt": 0.64}, n=60)
    assert (found.method, found.basis, {found.comparison.a, found.comparison.b}) == (None, None, {"lora", "prompt"})
    assert "not separable from the best" in found.sentence
    would = found.needed
    assert (would.k, would.n, would.level) == (3, 60, 0.05 / 3)
    assert f"{would.items:,}\N{NO-BREAK SPACE}items ({would.items - 60:,} more) with these 3" in found.evidence


# --- how large a study would have to be ---


def parts(items: float, runs: float, noise: float, k: int, n: int) -> st.Parts:
    """What is expected of k runs and n items: variances per item, per run, and of a single score, of the difference."""
    return st.Parts(items / n + noise / (k * n), runs / k + noise / (k * n), noise / (k * n), n - 1, 2 * (k - 1))


def pair(difference: float, found: st.Parts, k: int, n: int, family: int = 1) -> Comparison:
    place: dict[str, Any] = {"model": "m", "task": "t", "benchmark": "t", "metric": "accuracy", "a": "a", "b": "b"}
    return Comparison(
        **place, difference=difference, ci_low=None, ci_high=None, p=0.5, p_holm=0.5, family=family,
        verdict="not separable", test="two-way t", seed_variance="own", df=None, mde=None, n_items=n, k_a=k, k_b=k,
        variance=Variance(**found._asdict()),
    )  # fmt: skip


def test_a_design_is_what_its_own_size_would_have_given() -> None:
    for k, n in ((5, 100), (3, 700), (12, 2500)):
        scaled = st.redesigned(parts(0.2, 0.001, 0.1, 3, 100), 3, k / 3, n / 100)
        assert scaled == pytest.approx(parts(0.2, 0.001, 0.1, k, n))


def test_parts_make_the_whole_widened_or_not() -> None:
    rng = np.random.default_rng(3)
    found = st.paired_difference(rng.random((3, 40)), rng.random((4, 40)))
    for one in (found, st.widened(found, 0.002)):
        assert st.combined(one.parts) == pytest.approx((one.variance, one.df))


def test_no_fewer_would_do() -> None:
    now = parts(0.2, 0.001, 0.1, 3, 100)
    for family, gap in ((1, 0.13), (10, 0.17)):
        found = needed(pair(gap, now, 3, 100, family))
        assert found and found.seeds and found.items

        def detected(k: int, n: int, level: float = found.level) -> float:
            return st.minimum_detectable_difference(*st.combined(parts(0.2, 0.001, 0.1, k, n)), level=1 - level)

        assert detected(found.seeds, 100) <= gap < detected(found.seeds - 1, 100)
        assert detected(3, found.items) <= gap < detected(3, round(found.items / 1.02))


def test_where_runs_vary_too_much_no_items_help_and_where_items_do_no_seeds() -> None:
    noisy = needed(pair(0.02, parts(0.01, 0.001, 0.0, 3, 400), 3, 400))
    assert noisy and noisy.items is None and noisy.seeds and noisy.items_floor > 0.02
    few = needed(pair(0.02, parts(0.2, 1e-6, 0.0, 3, 50), 3, 50))
    assert few and few.seeds is None and few.items and few.seeds_floor > 0.02
    assert few.items == pytest.approx(50 * (few.seeds_floor / 0.02) ** 2, rel=0.1), "the square of the ratio, nearly"
    assert needed(pair(0.0, parts(0.2, 1e-6, 0.0, 3, 50), 3, 50)) is None


def test_the_seeds_asked_for_have_the_power_that_is_claimed() -> None:
    """Simulated: item effects of each method, runs, noise; 80 % of studies of that size find the difference."""
    rng, n, gap = np.random.default_rng(1), 80, 0.08
    item, run, noise = 0.15, 0.03, 0.3  # standard deviations of one method
    found = needed(pair(gap, parts(2 * item**2, 2 * run**2, 2 * noise**2, 3, n), 3, n))
    assert found and found.seeds
    k, hits = found.seeds, 0

    def scores(mean: float) -> np.ndarray:
        own = rng.normal(0, item, n) + rng.normal(0, run, (k, 1))
        return mean + own + rng.normal(0, noise, (k, n))

    for _ in range(600):
        hits += st.paired_difference(scores(0.5 + gap), scores(0.5)).p < 0.05
    assert 0.74 < hits / 600 < 0.9


# --- the command ---


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bakeoff", "recommend", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_the_command_prints_and_gives_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    make_store(tmp_path / "s", bernoulli(RATE, 200, 0.05), solo=SOLO)
    where = str(tmp_path / "s")
    assert call(monkeypatch, where) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert (
        "lora on sst2: it beats every other method" in out and "294,912 trained parameters" in out and "Lint: " in out
    )
    limits = ("--max-params", "10_000", "--max-memory", "0.8 gb", "--max-latency", "60ms", "--json")
    assert call(monkeypatch, where, *limits) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["limits"] == {"params": 10_000, "memory": 800_000_000, "latency": None, "latency_seconds": 0.06}
    assert told["recommendations"][0]["method"] == "prompt"
    assert call(monkeypatch, where, "--max-latency", "1.3x", "--json") == 0
    assert json.loads(capsys.readouterr().out)["recommendations"][0]["method"] == "base"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--max-memory", "lots", "--max-memory: 'lots' is no amount of memory; give bytes, or 800MB, 16GB, 12GiB"),
        ("--max-params", "-1", "--max-params: '-1' is no whole number; give 0 or more"),
        ("--max-latency", "-1", "--max-latency: '-1' is no time; give 1.2 (times the bare model's) or 50ms"),
    ],
)
def test_bad_limits_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, option: str, value: str, said: str
) -> None:
    make_store(tmp_path / "s", bernoulli(RATE, 20))
    assert call(monkeypatch, str(tmp_path / "s"), f"{option}={value}") == 2
    assert said in " ".join(capsys.readouterr().err.split())
