"""Results on stores whose answers are known, and the law that they hold nothing that is not in the store."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from synthetic_store import bernoulli, edit, make_store

from bakeoff.analysis import words
from bakeoff.analysis.metrics import bounds
from bakeoff.analysis.result import Cell, Comparison
from bakeoff.analysis.table import Results, results
from bakeoff.report import tables, write
from bakeoff.store.store import Store

CELL_KEYS = [
    *("model", "task", "benchmark", "method", "metric", "mean", "ci_low", "ci_high", "per_seed", "seeds", "n_items"),
    *("trainable_params", "total_params", "trainable_percent", "adapter_bytes", "train_seconds", "tokens_per_second"),
    *("peak_bytes", "status"),
]
COMPARISON_KEYS = [
    *("task", "benchmark", "metric", "a", "b", "difference", "ci_low", "ci_high", "p", "p_holm", "family", "verdict")
]
RATE = {"base": 0.55, "lora": 0.92, "prefix": 0.84, "prompt": 0.7}


def cell(found: Results, method: str, benchmark: str = "sst2") -> Cell:
    return next(c for c in found.cells if (c.method, c.benchmark) == (method, benchmark))


def pair(found: Results, a: str, b: str) -> Comparison:
    return next(c for c in found.comparisons if (c.a, c.b) == (a, b))


def kinds(found: Results) -> list[str]:
    return [doubt.kind for doubt in found.doubts]


def said(found: Results, kind: str) -> str:
    return " ".join(doubt.text for doubt in found.doubts if doubt.kind == kind)


def stripes(right: dict[str, int], n: int = 40) -> Any:
    """Every run of a method gets its first `right[method] + seed` items right."""

    def scores(benchmark: str, method: str, seed: int | None) -> list[float]:
        return [float(i < right[method] + (seed or 0)) for i in range(n)]

    return scores


def stripes_apart(steps: dict[str, int], n: int) -> Any:
    """Like stripes, with a method's runs `steps` items apart."""
    right = {"base": n // 2, "lora": n * 3 // 4, "prefix": n * 7 // 10, "prompt": n // 2}

    def scores(benchmark: str, method: str, seed: int | None) -> list[float]:
        return [float(i < right[method] + steps.get(method, 1) * (seed or 0)) for i in range(n)]

    return scores


def test_known_cells(tmp_path: Path) -> None:
    found = results(make_store(tmp_path, stripes({"base": 20, "lora": 36, "prompt": 28})))
    assert [c.method for c in found.cells] == ["base", "lora", "prompt"]
    lora, base = cell(found, "lora"), cell(found, "base")
    assert lora.per_seed == (36 / 40, 37 / 40, 38 / 40)
    assert lora.seeds == (0, 1, 2)
    assert lora.mean == pytest.approx(37 / 40)
    assert lora.seed_sd == pytest.approx(1 / 40)
    assert (lora.seed_min, lora.seed_max, lora.n_items, lora.status) == (0.9, 0.95, 40, "done")
    assert lora.scope == "runs and items"
    assert lora.trainable_percent == pytest.approx(100 * 294912 / (124_439_808 + 294912))
    assert lora.tokens_per_second == pytest.approx(120 * 16 * 30 / (40 + 2.94912))
    assert (base.per_seed, base.seeds, base.seed_sd) == ((0.5,), (), None)
    wilson = stats.binomtest(20, 40).proportion_ci(method="wilson")
    assert (base.ci_low, base.ci_high) == pytest.approx((wilson.low, wilson.high))
    assert base.scope == "this checkpoint only"
    assert (base.train_seconds, base.tokens_per_second) == (0.0, None)


def test_known_comparison(tmp_path: Path) -> None:
    """Item and run variance by hand: method means 37/40 and 29/40, both seed variances (1/40)^2."""
    found = results(make_store(tmp_path, stripes({"base": 20, "lora": 36, "prompt": 28})))
    got = pair(found, "lora", "prompt")
    a = np.array([[i < 36 + s for i in range(40)] for s in range(3)], dtype=float)
    b = np.array([[i < 28 + s for i in range(40)] for s in range(3)], dtype=float)
    d = a.mean(0) - b.mean(0)

    def residual(x: np.ndarray) -> float:
        return (((x - x.mean(0)) - (x.mean(1, keepdims=True) - x.mean())) ** 2).sum() / (2 * 39)

    v_item, v_run = d.var(ddof=1) / 40, 2 * (1 / 40) ** 2 / 3
    v = v_item + max(v_run - (residual(a) + residual(b)) / 120, 0)
    df = v**2 / (v_item**2 / 39 + v_run**2 / 4)
    assert got.difference == pytest.approx(8 / 40)
    assert got.df == pytest.approx(df)
    assert got.p == pytest.approx(2 * stats.t.sf(0.2 / math.sqrt(v), df))
    assert got.mde == pytest.approx((stats.t.ppf(0.975, df) + stats.t.ppf(0.8, df)) * math.sqrt(v))
    assert (got.family, got.test, got.seed_variance, got.k_a, got.k_b) == (3, "two-way t", "pooled", 3, 3)
    ps = sorted(c.p for c in found.comparisons if c.p is not None)
    assert min(c.p_holm for c in found.comparisons if c.p_holm is not None) == pytest.approx(min(1, 3 * ps[0]))


def test_an_untrained_model_is_always_b(tmp_path: Path) -> None:
    found = results(make_store(tmp_path, bernoulli(RATE, 60)))
    assert [(c.a, c.b) for c in found.comparisons] == [("lora", "base"), ("prompt", "base"), ("lora", "prompt")]


def test_a_clear_winner(tmp_path: Path) -> None:
    found = results(make_store(tmp_path, bernoulli(RATE, 400, 0.05), ("base", "lora", "prefix", "prompt")))
    verdict = found.verdicts[0]
    assert (verdict.winner, verdict.winner_set, verdict.family) == ("lora", ("lora",), 6)
    assert verdict.headline.startswith("lora beats every other ranked method on sst2")
    assert "p_holm" in verdict.evidence and "family of 6" in verdict.evidence and "k = 3" in verdict.evidence
    assert pair(found, "lora", "prefix").verdict == "a better"


def test_what_is_not_separable_is_said_so(tmp_path: Path) -> None:
    rate = {"base": 0.5, "lora": 0.8, "prompt": 0.8}
    found = results(make_store(tmp_path, bernoulli(rate, 200, 0.1)))
    verdict = found.verdicts[0]
    assert verdict.winner is None
    assert set(verdict.winner_set) == {"lora", "prompt"}
    assert "not separable" in verdict.headline and "with 80\N{NO-BREAK SPACE}% power" in verdict.evidence
    assert pair(found, "lora", "prompt").verdict == "not separable"


def test_one_seed_says_nothing_about_methods(tmp_path: Path) -> None:
    found = results(make_store(tmp_path, bernoulli(RATE, 300), seeds=(0,)))
    verdict = found.verdicts[0]
    assert (verdict.winner, verdict.winner_set) == (None, ())
    assert "says nothing about the methods" in verdict.headline and "on these checkpoints" in verdict.headline
    assert "exact McNemar" in verdict.evidence
    assert "one seed" in kinds(found)
    got = pair(found, "lora", "prompt")
    assert (got.verdict, got.test, got.seed_variance) == ("these checkpoints only", "exact McNemar", "none")
    a, b = (bernoulli(RATE, 300)("sst2", method, 0) for method in ("lora", "prompt"))
    only_a, only_b = sum(x > y for x, y in zip(a, b, strict=True)), sum(y > x for x, y in zip(a, b, strict=True))
    assert (got.only_a, got.only_b) == (only_a, only_b)
    assert got.p == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue)
    assert {c.scope for c in found.cells} == {"this checkpoint only"}


def test_two_seeds_are_flagged_and_not_set_against_the_untrained(tmp_path: Path) -> None:
    found = results(make_store(tmp_path, bernoulli(RATE, 400, 0.05), seeds=(0, 1)))
    verdict = found.verdicts[0]
    got = pair(found, "lora", "base")
    assert (got.verdict, got.seed_variance) == ("rests on pooling", "pooled")
    assert got.ci_low is not None and got.ci_low > 0
    assert verdict.winner is None
    assert verdict.winner_set == ("lora",)
    assert "Two seeds" in verdict.evidence and "Not ranked: base (two seeds; lora lies" in verdict.evidence
    assert words.interval(got.ci_low, got.ci_high) + ", which rests on the seed variance" in verdict.evidence
    assert "two seeds" in kinds(found)
    alone = results(make_store(tmp_path / "alone", bernoulli(RATE, 400, 0.05), ("base", "lora"), seeds=(0, 1)))
    assert pair(alone, "lora", "base").verdict == "too few seeds"
    assert "two seeds are too few" in alone.verdicts[0].headline


def test_the_untrained_is_ranked_where_only_a_lesser_method_lacks_seeds(tmp_path: Path) -> None:
    status = {("sst2", "prompt", 1): "failed"}
    (verdict,) = results(make_store(tmp_path, bernoulli(RATE, 300, 0.05), status=status)).verdicts
    assert verdict.winner == "lora"
    assert "Not ranked" not in verdict.sentence


def test_missing_failed_and_diverged_trials_stay_in_sight(tmp_path: Path) -> None:
    status = {
        ("sst2", "lora", 1): "missing",
        ("sst2", "prompt", 0): "failed",
        ("sst2", "prompt", 1): "failed",
        ("sst2", "prompt", 2): "failed",
        ("sst2", "prefix", 0): "diverged",
    }
    methods = ("base", "lora", "prompt", "prefix")
    found = results(make_store(tmp_path, bernoulli(RATE, 100), methods, status=status, reason="CUDA went away"))
    assert (cell(found, "lora").status, cell(found, "lora").seeds) == ("incomplete", (0, 2))
    gone = cell(found, "prompt")
    assert (gone.status, gone.mean, gone.ci_low, gone.per_seed, gone.n_items) == ("failed", None, None, (), 0)
    assert gone.trainable_params == 6144
    assert cell(found, "prefix").status == "incomplete"
    assert "sst2/lora/seed 1" in said(found, "missing")
    verdict = found.verdicts[0]
    assert verdict.headline.startswith("So far, with ") and verdict.winner is None
    assert "sst2/prompt/seed 2" in said(found, "failed") and "CUDA went away" in said(found, "failed")
    assert "sst2/prefix/seed 0" in said(found, "diverged")
    assert found.verdicts[0].winner is None
    assert "lora (2 of 3\N{NO-BREAK SPACE}runs)" in found.verdicts[0].sentence
    assert not any("prompt" in (c.a, c.b) for c in found.comparisons)


def test_a_method_that_has_not_run_shows_the_parameters_that_the_plan_counted(tmp_path: Path) -> None:
    status = {("sst2", "prompt", seed): "missing" for seed in (0, 1, 2)}
    store = make_store(tmp_path, bernoulli(RATE, 50), status=status)
    sizes = {"gpt2": {"prompt": {"trainable": 6144, "total": 124_445_952}}}
    store.write("plan.json", json.dumps({**store.plan(), "parameters": sizes}))
    gone = cell(results(store), "prompt")
    assert (gone.status, gone.trainable_params, gone.total_params) == ("missing", 6144, 124_445_952)
    assert gone.trainable_percent == pytest.approx(100 * 6144 / 124_445_952)


def test_a_diverged_run_keeps_a_method_from_the_ranking(tmp_path: Path) -> None:
    """Two good runs of three are no skill that can be relied on: as for a collapsed run."""
    status = {("sst2", "lora", 1): "diverged"}
    methods = ("base", "lora", "prefix", "prompt")
    (verdict,) = results(make_store(tmp_path, bernoulli(RATE, 300, 0.05), methods, status=status)).verdicts
    assert "lora" not in verdict.winner_set and not verdict.headline.startswith("lora beats")
    assert "Not ranked: lora (a run diverged)" in verdict.evidence


def test_a_failed_trial_of_unknown_size_has_no_parameters_to_show(tmp_path: Path) -> None:
    status = {("sst2", "prompt", seed): "failed" for seed in (0, 1, 2)}
    store = make_store(tmp_path, bernoulli(RATE, 50), status=status)
    for trial in store.plan()["trials"]:
        path = store.trials / trial["key"] / "record.json"
        record = json.loads(path.read_text())
        if record["status"] == "failed":
            edit(path, json.dumps({**record, "trainable_params": 0, "total_params": 0}))
    gone = cell(results(store), "prompt")
    assert (gone.trainable_params, gone.total_params, gone.trainable_percent) == (None, None, None)


def test_what_was_judged_on_held_out_training_examples_is_no_test_result(tmp_path: Path) -> None:
    store = make_store(tmp_path, bernoulli(RATE, 60), split="validation")
    found = results(store)
    verdict = found.verdicts[0]
    assert verdict.split == "validation" and {c.split for c in found.cells} == {"validation"}
    assert "on sst2, validation split (" in verdict.headline
    assert "judged on 60\N{NO-BREAK SPACE}held-out training examples, not on the test set" in said(found, "validation")
    assert "the best of 2 is optimistic" in said(found, "validation")
    assert [section.title for section in tables.sections(found)] == ["sst2, validation split"]
    for path in (one for one in write(store) if one.suffix != ".svg"):
        assert "validation" in path.read_text()
    plan = store.plan()
    plan["tasks"]["sst2"]["split"] = "test"
    store.write("plan.json", json.dumps(plan))
    assert results(store).verdicts[0].split == "test", "the plan's word comes before a record's"


def test_methods_that_tie_are_said_to_tie(tmp_path: Path) -> None:
    right = {"base": 20, "lora": 36, "prefix": 36, "prompt": 35}
    found = results(make_store(tmp_path, stripes(right, 60), ("base", "lora", "prefix", "prompt")))
    headline = found.verdicts[0].headline
    assert "lora and prefix tie at 61.7\N{NO-BREAK SPACE}% accuracy; prompt is not separable from lora." in headline
    assert "scored highest" not in found.verdicts[0].sentence
    one = results(make_store(tmp_path / "one", stripes(right, 60), ("base", "lora", "prefix", "prompt"), seeds=(0,)))
    assert "on these checkpoints lora and prefix tie for the highest score on sst2" in one.verdicts[0].headline
    assert one.verdicts[0].evidence.startswith("lora answered 0\N{NO-BREAK SPACE}items that prefix missed")
    none = results(make_store(tmp_path / "none", lambda *of: [0.0] * 60, tuple(right)))
    at_zero = "Nothing is told apart on sst2: all 4 methods are at 0.0\N{NO-BREAK SPACE}% accuracy."
    assert none.verdicts[0].headline == at_zero and none.verdicts[0].winner is None


def test_one_seed_comes_before_one_answer_and_no_pool_is_claimed(tmp_path: Path) -> None:
    store = make_store(
        tmp_path,
        bernoulli(RATE, 60),
        seeds=(0,),
        text=lambda method, seed, i, value: "positive" if method == "prompt" else ("a", "b")[i % 2],
    )
    found = results(store)
    assert found.verdicts[0].headline.startswith("One seed says nothing about the methods")
    assert said(found, "constant") and "pool" not in said(found, "constant")


def test_doubts_do_not_list_what_they_can_count(tmp_path: Path) -> None:
    sweep = [f"lora[learning_rate={rate}]" for rate in (0.001, 0.003, 0.01)]
    methods = ["base", *sweep, "prompt"]
    rate = {name: 0.5 + 0.08 * i for i, name in enumerate(methods)}
    rates = {**dict(zip(sweep, (0.001, 0.003, 0.01), strict=True)), "prompt": 0.03}
    tasks = {"sst2": ["sst2"], "topics": ["topics"], "jokes": ["jokes"]}
    status = {(task, name, 0): "missing" for task in ("topics", "jokes") for name in sweep}
    store = make_store(tmp_path, bernoulli(rate, 60), methods, (0,), tasks, rates=rates)
    found = results(store)
    assert said(found, "one seed").startswith("all 3 benchmarks: all 4 trained methods: the numbers hold")
    assert "lora 0.001/0.003/0.01, prompt 0.03." in said(found, "learning rate")
    store = make_store(tmp_path / "some", bernoulli(rate, 60), methods, (0,), tasks, status=status)
    assert "6\N{NO-BREAK SPACE}trials of 15 not in the store: 3 of topics, 3 of jokes." in said(
        results(store), "missing"
    )


def test_nothing_at_all(tmp_path: Path) -> None:
    everything = {("sst2", m, s): "missing" for m in ("base", "lora") for s in (None, 0, 1, 2)}
    found = results(make_store(tmp_path, bernoulli(RATE, 10), ("base", "lora"), status=everything))
    assert {c.status for c in found.cells} == {"missing"}
    assert found.verdicts[0].sentence.startswith("No result on sst2")
    write(Store.open(tmp_path))


def test_one_method_alone_has_nothing_to_win(tmp_path: Path) -> None:
    found = results(make_store(tmp_path, bernoulli(RATE, 50), ("lora",)))
    assert found.comparisons == ()
    assert found.verdicts[0].winner is None
    assert "nothing to compare" in found.verdicts[0].sentence


def test_a_collapsed_run_is_named_and_stays_out_of_pool_and_ranking(tmp_path: Path) -> None:
    good = bernoulli(RATE, 200, 0.05)

    def scores(benchmark: str, method: str, seed: int | None) -> list[float]:
        return (
            [float(i % 2) for i in range(200)]
            if (method, seed) == ("prompt", 1)
            else list(good(benchmark, method, seed))
        )

    def text(method: str, seed: int | None, i: int, value: float) -> str:
        return "positive" if (method, seed) == ("prompt", 1) else ("positive", "negative")[(i + int(value)) % 2]

    store = make_store(tmp_path, scores, ("base", "lora", "prefix", "prompt"), text=text)
    found = results(store)
    verdict = found.verdicts[0]
    assert cell(found, "prompt").constant_seeds == 1
    assert '"positive"' in said(found, "constant")
    assert (verdict.pool_df, verdict.pool_methods) == (2 + 2 + 1, 3)
    kept = [c.per_seed for c in found.cells if c.method in ("lora", "prefix")] + [cell(found, "prompt").per_seed[::2]]
    within = sum((np.array(x) - np.mean(x)) @ (np.array(x) - np.mean(x)) for x in kept)
    assert verdict.seed_sd == pytest.approx(math.sqrt(within / 5))
    assert pair(found, "lora", "prompt").seed_variance == "mixed"
    assert verdict.own_variance == ("prompt",)
    assert "over 3\N{NO-BREAK SPACE}methods" in tables.run_variance(verdict, True)
    assert tables.run_variance(verdict, True).endswith("; prompt keeps its own variance")
    assert pair(found, "lora", "prefix").seed_variance == "pooled"
    assert "prompt" not in verdict.winner_set
    assert "Not ranked: prompt" in verdict.sentence


def test_a_stray_completion_hides_no_constant_predictor(tmp_path: Path) -> None:
    """prompt says `positive` to all but the first of 40 items, where it says nothing that is a label."""

    def graded(method: str, seed: int | None, i: int, value: float) -> tuple[dict[str, float], dict[str, Any]]:
        gold, said = (
            ("negative", "positive")[i % 2],
            "positive" if method == "prompt" else ("negative", "positive")[i % 3 % 2],
        )
        stray = method == "prompt" and i == 0
        told = {"gold": gold, "chosen": said, **({"unparsable": True} if stray else {})}
        return {"accuracy": float(said == gold and not stray)}, told

    found = results(make_store(tmp_path, bernoulli(RATE, 40), graded=graded))
    assert (cell(found, "prompt").constant_seeds, cell(found, "lora").constant_seeds) == (3, 0)
    assert "prompt (3 of 3" in said(found, "constant") and "to every item whose answer could be read" in said(
        found, "constant"
    )
    assert "prompt" not in found.verdicts[0].winner_set


def test_several_draws_are_averaged_per_item(tmp_path: Path) -> None:
    found = results(make_store(tmp_path, stripes({"base": 20, "lora": 36, "prompt": 28}), draws=4))
    lora = cell(found, "lora")
    assert (lora.draws, lora.n_items) == (4, 40)
    assert lora.per_seed == pytest.approx((36 / 160, 37 / 160, 38 / 160))


def test_an_item_that_one_run_could_not_grade_is_left_out_everywhere_and_this_is_said(tmp_path: Path) -> None:
    """lora/seed 1 has no grade for item 0, which every run has right, nor any run for item 39, which none has."""
    right = {"base": 20, "lora": 36, "prompt": 28}
    lost = {"lora": lambda seed, item: item == 39 or (seed, item) == (1, 0)}
    never = lambda seed, item: item == 39  # noqa: E731
    store = make_store(tmp_path, stripes(right), ungraded=lambda m, s, i, _: lost.get(m, never)(s, i))
    found = results(store)
    assert {c.n_items for c in found.cells} == {38} == {c.n_items for c in found.comparisons}
    assert cell(found, "lora").per_seed == pytest.approx([35 / 38, 36 / 38, 37 / 38])  # of items 1 to 38
    assert cell(found, "base").per_seed == pytest.approx([19 / 38])
    assert pair(found, "lora", "base").difference == pytest.approx(36 / 38 - 19 / 38)
    assert said(found, "items differ") == "sst2: 2\N{NO-BREAK SPACE}items not graded in every run; left out everywhere."
    assert said(found, "left out") == (
        "sst2: samples that could not be graded (of 40 in a run), and so are in no mean: base 1, lora/seed 0 1, "
        "lora/seed 1 2, lora/seed 2 1, prompt/seed 0 1, prompt/seed 1 1, prompt/seed 2 1."
    )
    assert "record differs" not in kinds(found)


def test_answers_that_nobody_could_judge_are_told(tmp_path: Path) -> None:
    """They count as not right and stay in every mean."""

    def graded(method: str, seed: int | None, i: int, value: float) -> tuple[dict[str, float], dict[str, Any]]:
        return {"accuracy": 0.0 if i == 0 else value}, {"undecided": True} if (method, i) == ("base", 0) else {}

    found = results(make_store(tmp_path, stripes({"base": 20, "lora": 36, "prompt": 28}), graded=graded))
    assert {c.n_items for c in found.cells} == {40}
    assert said(found, "undecided") == (
        "sst2: answers too long or too hard to be judged (of 40 in a run), which count as not right: base 1."
    )


def test_a_draw_that_could_not_be_graded_leaves_its_item_the_others(tmp_path: Path) -> None:
    """Of lora/seed 0's item 0 the last of 4 draws is lost: 1 right of 3, and the item stays, with all runs' others."""
    store = make_store(
        tmp_path,
        stripes({"base": 20, "lora": 36, "prompt": 28}),
        draws=4,
        ungraded=lambda method, seed, item, draw: (method, seed, item, draw) == ("lora", 0, 0, 3),
    )
    found = results(store)
    lora = cell(found, "lora")
    assert (lora.draws, lora.n_items) == (4, 40)
    assert lora.per_seed == pytest.approx(((35 / 4 + 1 / 3) / 40, 37 / 160, 38 / 160))
    assert said(found, "left out").endswith("(of 160 in a run), and so are in no mean: lora/seed 0 1.")
    assert not {"items differ", "record differs"} & set(kinds(found))


def test_models_and_benchmarks_are_kept_apart(tmp_path: Path) -> None:
    tasks = {"sst2": ["sst2", "imdb"], "topics": ["topics"]}
    store = make_store(tmp_path, bernoulli(RATE, 50), ("base", "lora"), tasks=tasks, models=("m1", "m2"))
    found = results(store)
    places = [(v.model, v.task, v.benchmark) for v in found.verdicts]
    assert places == [(m, *b) for m in ("m1", "m2") for b in (("sst2", "sst2"), ("sst2", "imdb"), ("topics", "topics"))]
    assert len(found.cells) == 12
    assert len(found.comparisons) == 6
    assert "m1, sst2 (imdb)" in found.verdicts[1].sentence


def test_a_record_that_contradicts_its_samples_is_reported(tmp_path: Path) -> None:
    store = make_store(tmp_path, bernoulli(RATE, 50), counts={"prompts_cut": 7})
    key = store.plan()["trials"][1]["key"]
    path = store.trials / key / "record.json"
    record = json.loads(path.read_text())
    record["benchmarks"]["sst2"]["metrics"]["accuracy"] = 0.999
    edit(path, json.dumps(record))
    found = results(store)
    assert "lora/seed 0 says 0.999" in said(found, "record differs")
    assert said(found, "prompts cut") == "sst2: 7 in every run; the head and the tail were kept."


def test_what_is_alike_in_every_run_is_said_once(tmp_path: Path) -> None:
    """An untrained model has no training prompts, so it is not among the runs that those are counted over."""
    store = make_store(tmp_path, bernoulli(RATE, 50), detail=lambda method, i: {"unparsable": i < 10})
    for trial in store.plan()["trials"]:
        path = store.trials / trial["key"] / "record.json"
        record = json.loads(path.read_text())
        record["counts"] = {} if trial["seed"] is None else {"training_prompts_cut": 3}
        edit(path, json.dumps(record))
    found = results(store)
    assert said(found, "training prompts cut") == "sst2: 3 in every run; the head and the tail were kept."
    assert said(found, "unparsable").endswith("20.0\N{NO-BREAK SPACE}% for every method.")


def test_an_interval_holds_nothing_that_its_metric_cannot_be(tmp_path: Path) -> None:
    """A few items lose much: the t interval of the mean loss would begin below 0."""

    def graded(method: str, seed: int | None, i: int, value: float) -> tuple[dict[str, float], dict[str, Any]]:
        return {"accuracy": value, "loss": 9.0 * (i == 3), "gain": 9.0 * (i == 3)}, {}

    names = ("accuracy", "loss", "gain")
    found = results(
        make_store(tmp_path, stripes({"base": 20, "lora": 30}), ("base", "lora"), graded=graded, metrics=names)
    )
    intervals = {c.metric: (c.ci_low, c.ci_high) for c in found.cells if c.method == "base"}
    assert intervals["gain"][0] == pytest.approx(9 / 40 - stats.t.ppf(0.975, 39) * 9 / 40)
    assert intervals["loss"] == (0.0, intervals["gain"][1])
    assert (bounds("bleu"), bounds("loss"), bounds("gain")) == ((0, 100), (0, math.inf), (-math.inf, math.inf))


def test_unparsable_answers_and_learning_rates_are_told(tmp_path: Path) -> None:
    store = make_store(
        tmp_path,
        bernoulli(RATE, 40),
        detail=lambda method, i: {"unparsable": method == "base" and i < 10},
        rates={"prompt": 5e-3},
    )
    found = results(store)
    assert cell(found, "base").unparsable == 0.25
    assert "base 25.0" in said(found, "unparsable")
    assert "prompt 0.005" in said(found, "learning rate")


def test_a_verdict_that_hangs_on_pooling_is_reported(tmp_path: Path) -> None:
    """lora and prefix hardly vary, prompt varies more: pooled, the difference of the first two is lost."""
    base = bernoulli(RATE, 400)("sst2", "base", None)

    def scores(benchmark: str, method: str, seed: int | None) -> list[float]:
        shift = {"base": 0, "lora": 60, "prefix": 52, "prompt": 20}[method]
        shift += {"base": 0, "lora": 3, "prefix": 3, "prompt": 8}[method] * (seed or 0)
        flips = [i for i, value in enumerate(base) if not value][:shift]
        return [1.0 if i in set(flips) else value for i, value in enumerate(base)]

    found = results(make_store(tmp_path, scores, ("base", "lora", "prefix", "prompt")))
    assert pair(found, "lora", "prefix").verdict == "not separable"
    assert said(found, "pooling") == (
        "sst2: lora against prefix would get the opposite verdict if each method's run-to-run variance came from its "
        "own few runs and not from all methods' together (seed SD 0.8 to 2.0)."
    )


def test_methods_whose_runs_vary_unlike_keep_their_own_variance(tmp_path: Path) -> None:
    """prompt's runs lie 45 items apart and those of lora and prefix one: pooled, lora and prefix were lost in it."""
    found = results(make_store(tmp_path, stripes_apart({"prompt": 45}, n=400), ("base", "lora", "prefix", "prompt")))
    verdict = found.verdicts[0]
    means = [c.per_seed for c in found.cells if c.trained]
    assert verdict.bartlett_p == pytest.approx(stats.bartlett(*means).pvalue)
    assert (verdict.seed_sd, verdict.own_variance) == (None, ("lora", "prefix", "prompt"))
    assert {c.seed_variance for c in found.comparisons} == {"own"}
    assert pair(found, "lora", "prefix").verdict == "a better"
    assert "each method keeps its own" in tables.run_variance(verdict, True)


def test_a_method_at_the_ceiling_keeps_out_of_the_pool(tmp_path: Path) -> None:
    """599 of 600 right reads like 600 of 600, whatever another method's runs do."""

    def scores(benchmark: str, method: str, seed: int | None) -> list[float]:
        if method in ("lora", "prefix"):
            return [float(i > 0 or method == "prefix" or seed != 0) for i in range(200)]
        return [float(i < 150 + 20 * (seed or 0)) for i in range(200)]

    found = results(make_store(tmp_path, scores, ("base", "lora", "prefix", "prompt")))
    verdict = found.verdicts[0]
    assert (verdict.pool_methods, verdict.pool_df, verdict.own_variance) == (1, 2, ("lora", "prefix"))
    nearly, wholly = cell(found, "lora"), cell(found, "prefix")
    assert nearly.ci_low == pytest.approx(wholly.ci_low, abs=0.004)
    assert wholly.ci_low == pytest.approx(stats.binomtest(200, 200).proportion_ci(method="wilson").low)
    assert pair(found, "lora", "prompt").seed_variance == "mixed"
    assert pair(found, "lora", "prefix").seed_variance == "own"
    assert tables.run_variance(verdict, True) == "each method keeps its own run variance"
    assert "seed SD" not in verdict.sentence, "there is none that they share"


def test_what_is_equivalent_to_the_best_is_said(tmp_path: Path) -> None:
    right = {"base": 400, "lora": 640, "prompt": 639}
    store = make_store(tmp_path, stripes(right, n=800))
    found = results(store)
    got = pair(found, "lora", "prompt")
    assert (got.verdict, got.margin, got.equivalent) == ("not separable", 0.02, True)
    assert "Equivalent to lora within \N{PLUS-MINUS SIGN}2.0" in found.verdicts[0].evidence
    assert pair(found, "lora", "base").equivalent is False
    assert tables.decision(got) == "not separable; equivalent"
    store.write("plan.json", json.dumps({**store.plan(), "equivalence_margin": 0.0005}))
    assert pair(results(store), "lora", "prompt").equivalent is False


def test_win_rates_over_benchmarks_are_shown_where_there_are_several(tmp_path: Path) -> None:
    tasks = {"sst2": ["sst2", "imdb"], "topics": ["topics"]}
    status = {("topics", "prompt", seed): "failed" for seed in (0, 1, 2)}
    store = make_store(
        tmp_path, bernoulli(RATE, 90, 0.1), ("base", "lora", "prefix", "prompt"), tasks=tasks, status=status
    )
    rates = results(store).win_rates
    assert [rate.method for rate in rates] == ["lora", "prefix", "base"], "prompt has no score on topics"
    assert {(rate.benchmarks, rate.opponents, rate.scope) for rate in rates} == {(3, 2, "runs and items")}
    assert sum(rate.mean for rate in rates) == pytest.approx(1.5)
    assert all(0 <= rate.ci_low <= rate.mean <= rate.ci_high <= 1 for rate in rates)
    data = json.loads(write(store, ["json"])[0].read_text())
    assert data["win_rates"][0]["mean"] == rates[0].mean
    assert "| lora | 100.0 |" in write(store, ["md"])[0].read_text()
    page = write(store, ["html"])[0].read_text()
    assert "Mean win rate over 3 benchmarks" in page and words.interval(rates[1].ci_low, rates[1].ci_high) in page
    alone = results(make_store(tmp_path / "one", bernoulli(RATE, 50), ("base", "lora"), seeds=(0,), tasks=tasks))
    assert {rate.scope for rate in alone.win_rates} == {"this checkpoint only"}
    assert not results(make_store(tmp_path / "two", bernoulli(RATE, 50), ("base", "lora"))).win_rates


def test_published_keys_and_full_precision(tmp_path: Path) -> None:
    store = make_store(tmp_path, bernoulli(RATE, 70))
    (path,) = write(store, ["json"])
    data = json.loads(path.read_text())
    assert list(data)[:4] == ["schema", "study", "cells", "comparisons"]
    assert data["schema"] == 1
    assert list(data["cells"][0])[: len(CELL_KEYS)] == CELL_KEYS
    assert [key for key in data["comparisons"][0] if key in COMPARISON_KEYS] == COMPARISON_KEYS
    assert data["cells"][1]["mean"] == cell(results(store), "lora").mean


def test_law_7_every_number_comes_from_the_store(tmp_path: Path) -> None:
    """results.json recomputed from samples.jsonl and record.json by other code: plain Python and scipy."""
    status = {("topics", "prefix", 2): "diverged", ("topics", "prompt", 1): "missing"}
    tasks = {"sst2": ["sst2", "imdb"], "topics": ["topics"]}
    methods = ("base", "lora", "prefix", "prompt")
    store = make_store(tmp_path, bernoulli(RATE, 90, 0.2), methods, tasks=tasks, status=status)
    data = json.loads(write(store, ["json"])[0].read_text())
    runs: dict[tuple[str, str], list[tuple[Any, list[float], dict[str, Any]]]] = defaultdict(list)
    for trial in json.loads((tmp_path / "plan.json").read_text())["trials"]:
        home = tmp_path / "trials" / trial["key"]
        if not home.exists():
            continue
        record = json.loads((home / "record.json").read_text())
        scores: dict[str, list[float]] = defaultdict(list)
        for line in (home / "samples.jsonl").read_text().splitlines():
            sample = json.loads(line)
            scores[sample["benchmark"]].append(sample["scores"]["accuracy"])
        for benchmark, values in scores.items():
            runs[benchmark, trial["method"]].append((trial["seed"], values, record))
    assert len(data["cells"]) == 12
    pools: dict[str, tuple[float, int]] = {}
    for benchmark in ("sst2", "imdb", "topics"):
        groups = [[np.mean(v) for _, v, _ in runs[benchmark, m]] for m in ("lora", "prefix", "prompt")]
        df = sum(len(g) - 1 for g in groups)
        assert stats.bartlett(*groups).pvalue >= 0.05, "else nothing is pooled"
        pools[benchmark] = float(sum(np.var(g, ddof=1) * (len(g) - 1) for g in groups)) / df, df
    for told in data["cells"]:
        mine = runs[told["benchmark"], told["method"]]
        assert told["seeds"] == [seed for seed, _, _ in mine if seed is not None]
        assert told["per_seed"] == pytest.approx([sum(v) / len(v) for _, v, _ in mine])
        assert told["mean"] == pytest.approx(sum(told["per_seed"]) / len(mine))
        assert told["n_items"] == 90
        record = mine[0][2]
        assert told["trainable_params"] == record["trainable_params"]
        assert told["total_params"] == record["total_params"]
        assert told["trainable_percent"] == pytest.approx(100 * record["trainable_params"] / record["total_params"])
        assert told["adapter_bytes"] == max(r["cost"]["adapter_bytes"] for _, _, r in mine)
        assert told["train_seconds"] == pytest.approx(np.mean([r["cost"]["train_seconds"] for _, _, r in mine]))
        variance, df = _variance([v for _, v, _ in mine], [], pools[told["benchmark"]])
        p = told["mean"]
        n, q = p * (1 - p) / variance, stats.t.ppf(0.975, df)
        if told["method"] == "base":
            n, q = 90, stats.norm.ppf(0.975)
        half = q * math.sqrt(p * (1 - p) / n + q * q / (4 * n * n)) / (1 + q * q / n)
        centre = (p + q * q / (2 * n)) / (1 + q * q / n)
        assert (told["ci_low"], told["ci_high"]) == pytest.approx((centre - half, centre + half))
    for benchmark in ("sst2", "imdb", "topics"):
        pairs = [c for c in data["comparisons"] if c["benchmark"] == benchmark]
        assert len(pairs) == 6
        ps = []
        for told in pairs:
            a, b = ([v for _, v, _ in runs[benchmark, told[side]]] for side in "ab")
            variance, df = _variance(a, b, pools[benchmark])
            difference = float(np.mean(a) - np.mean(b))
            ps.append(2 * stats.t.sf(abs(difference) / math.sqrt(variance), df))
            reach = stats.t.ppf(0.975, df) * math.sqrt(variance)
            assert told["difference"] == pytest.approx(difference)
            assert (told["ci_low"], told["ci_high"]) == pytest.approx((difference - reach, difference + reach))
            assert told["p"] == pytest.approx(ps[-1])
            assert told["family"] == 6
        order = np.argsort(ps)
        stepped = [min(1.0, ps[i] * (6 - rank)) for rank, i in enumerate(order)]
        for i, expected in zip(order, itertools.accumulate(stepped, max), strict=True):
            assert pairs[i]["p_holm"] == pytest.approx(expected)


def _variance(a: list[list[float]], b: list[list[float]], pool: tuple[float, int]) -> tuple[float, float]:
    """V and df of mean(a) - mean(b) (of mean(a) where b is empty) by the method notes' formula, from scratch."""
    n = len(a[0])
    d = [np.mean([run[i] for run in a]) - (np.mean([run[i] for run in b]) if b else 0) for i in range(n)]
    v_item, v_run, v_res = float(np.var(d, ddof=1)) / n, 0.0, 0.0
    for runs in (a, b):
        if len(runs) < 2:
            continue
        x = np.array(runs)
        total = ((x - x.mean()) ** 2).sum()
        between = n * ((x.mean(1) - x.mean()) ** 2).sum() + len(x) * ((x.mean(0) - x.mean()) ** 2).sum()
        v_res += (total - between) / ((len(x) - 1) * (n - 1)) / (len(x) * n)
        v_run += pool[0] / len(x)
    v = v_item + max(v_run - v_res, 0)
    satterthwaite = v**2 / (v_item**2 / (n - 1) + v_run**2 / pool[1])
    return v, max(satterthwaite, min(n - 1, pool[1]) if v_run else n - 1)
