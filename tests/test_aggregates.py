"""Metrics that are no item means: against scikit-learn and sacrebleu, and their intervals."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_store import bernoulli, edit, make_store

from bakeoff.analysis import statistics
from bakeoff.analysis.aggregates import AGGREGATES, Tally, measured, tally, unseen_variance
from bakeoff.analysis.metrics import is_fraction, lower_is_better
from bakeoff.analysis.result import Cell
from bakeoff.analysis.table import Results, results
from bakeoff.store.record import Sample

LABELS = ("negative", "neutral", "positive")
OF_LABELS = [name for name in AGGREGATES if name != "bleu"]
METRICS = ("accuracy", "loss", "f1_binary", "precision_binary", "recall_binary")


def answers(gold: list[str], chosen: list[str | None], ids: list[int] | None = None) -> list[Sample]:
    """One sample an answer; items are numbered unless `ids` says whose draws they are."""
    return [
        Sample(
            benchmark="b",
            id=str(i),
            text=str(said),
            scores={"accuracy": float(g == said)},
            detail={"gold": g, "chosen": said, "positive": "positive"},
        )
        for i, g, said in zip(ids or range(len(gold)), gold, chosen, strict=True)
    ]


def theirs(metric: str, gold: list[str], chosen: list[str | None]) -> float:
    """scikit-learn's value; a text that says no label is another label of its own."""
    from sklearn import metrics

    kind, average = metric.split("_")
    labels = {"labels": ["positive"], "average": "micro"} if average == "binary" else {"labels": sorted(set(gold))}
    function = getattr(metrics, f"{kind}_score")
    said = [label or "no label" for label in chosen]
    return float(function(gold, said, **{"average": average, "zero_division": 0, **labels}))


pairs = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, None])), min_size=1, max_size=25)


@pytest.mark.parametrize("metric", OF_LABELS)
@given(pairs)
@settings(max_examples=80, deadline=None)
def test_labels_equal_scikit_learn(metric: str, drawn: list[tuple[str, str | None]]) -> None:
    gold, chosen = [g for g, _ in drawn], [said for _, said in drawn]
    found = tally(metric, answers(gold, chosen))
    assert found is not None
    assert found.value == pytest.approx(theirs(metric, gold, chosen), abs=1e-12)
    assert found.pseudo_values().mean() == pytest.approx(found.value, abs=1e-12)


@pytest.mark.parametrize("kind", ["f1", "precision", "recall"])
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=25))
@settings(max_examples=60, deadline=None)
def test_binary_equals_scikit_learns_binary(kind: str, drawn: list[tuple[bool, bool]]) -> None:
    from sklearn import metrics

    gold, chosen = (["positive" if pair[side] else "negative" for pair in drawn] for side in (0, 1))
    value = getattr(metrics, f"{kind}_score")(gold, chosen, pos_label="positive", zero_division=0)
    found = tally(f"{kind}_binary", answers(gold, list(chosen)))
    assert found is not None and found.value == pytest.approx(value, abs=1e-12)


@given(pairs)
@settings(max_examples=60, deadline=None)
def test_a_metric_without_a_value_is_known_as_scikit_learn_knows_it(drawn: list[tuple[str, str | None]]) -> None:
    """Where scikit-learn warns that a metric is ill-defined, and nowhere else."""
    from sklearn.exceptions import UndefinedMetricWarning
    from sklearn.metrics import precision_score, recall_score

    gold, chosen = [g for g, _ in drawn], [said or "no label" for _, said in drawn]
    for metric, function in (("precision_macro", precision_score), ("recall_macro", recall_score)):
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            function(gold, chosen, labels=sorted(set(gold)), average="macro")
        found = tally(metric, answers(gold, [said for _, said in drawn]))
        assert found is not None
        assert found.undefined == any(issubclass(one.category, UndefinedMetricWarning) for one in raised)


words = st.lists(st.sampled_from(["the", "a", "cat", "sat", "on", "mat", "dog", ",", ".", "ran"]), max_size=12).map(
    " ".join
)


def bleu_samples(texts: list[tuple[str, str]], ids: list[int] | None = None) -> list[Sample]:
    from sacrebleu.metrics.bleu import BLEU

    scorer = BLEU(effective_order=True)
    found = [scorer.sentence_score(said, [gold]) for said, gold in texts]
    return [
        Sample(
            benchmark="b",
            id=str(i),
            text="",
            scores={"exact_match": 0.0},
            detail={"bleu": [one.sys_len, one.ref_len, *one.counts, *one.totals]},
        )
        for i, one in zip(ids or range(len(found)), found, strict=True)
    ]


@given(st.lists(st.tuples(words, words), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_bleu_equals_sacrebleu_corpus_bleu(texts: list[tuple[str, str]]) -> None:
    from sacrebleu.metrics.bleu import BLEU

    value = BLEU().corpus_score([said for said, _ in texts], [[gold for _, gold in texts]]).score
    found = tally("bleu", bleu_samples(texts))
    assert found is not None and found.value == pytest.approx(value, abs=1e-9)
    assert found.pseudo_values().mean() == pytest.approx(value, abs=1e-9)


def test_bleu_of_the_same_text_is_100_and_of_no_text_0() -> None:
    same = ["the cat sat on the mat .", "a dog ran on the mat ."]
    assert measured(["bleu"], bleu_samples([(one, one) for one in same])) == {"bleu": pytest.approx(100)}
    assert measured(["bleu"], bleu_samples([("", same[0])])) == {"bleu": 0.0}


@pytest.mark.parametrize("metric", [*OF_LABELS, "bleu"])
def test_pseudo_values_are_the_jackknifes_by_leaving_items_out_one_after_another(metric: str) -> None:
    """Items of two draws each: both go together."""
    rng = np.random.default_rng(3)
    n = 12
    ids = [i for i in range(n) for _ in range(2)]
    if metric == "bleu":
        vocabulary = ["the", "a", "cat", "sat", "on", "mat", "dog", "ran"]
        texts = [tuple(" ".join(rng.choice(vocabulary, 7)) for _ in range(2)) for _ in ids]
        samples = bleu_samples(texts, ids)  # pyright: ignore[reportArgumentType]
    else:
        gold = [LABELS[i % 3] for i in ids]
        samples = answers(gold, [str(rng.choice(LABELS)) if rng.random() < 0.6 else g for g in gold], ids)
    found = tally(metric, samples)
    assert found is not None and len(found.items) == n
    without = []
    for i in range(n):
        rest = tally(metric, [sample for sample in samples if sample.id != str(i)])
        assert rest is not None
        without.append(rest.value)
    raw = n * found.value - (n - 1) * np.array(without)
    assert found.pseudo_values() == pytest.approx(raw - raw.mean() + found.value, abs=1e-9)
    variance = (n - 1) / n * float(np.sum((np.array(without) - np.mean(without)) ** 2))
    assert statistics.two_way_mean([found.pseudo_values()]).variance == pytest.approx(variance)


def test_the_mean_of_item_scores_is_its_own_jackknife() -> None:
    """Accuracy as recall over all labels at once: pseudo-values of a mean are the scores themselves."""
    rng = np.random.default_rng(4)
    gold = ["positive"] * 30
    said = ["positive" if rng.random() < 0.7 else "negative" for _ in gold]
    found = tally("recall_binary", answers(gold, list(said)))
    assert found is not None
    assert found.pseudo_values() == pytest.approx([float(label == "positive") for label in said])


def test_samples_that_lack_what_is_needed_are_left_out() -> None:
    samples = answers(["positive", "negative"], ["positive", "positive"])
    bare = Sample(benchmark="b", id="9", text="", scores={"accuracy": 0.0})
    broken = samples[0].model_copy(update={"id": "8", "scores": {}})
    found = tally("precision_binary", [*samples, bare, broken])
    assert found is not None and (found.items, found.value) == (("0", "1"), 0.5)
    assert tally("bleu", samples) is None
    assert measured(["accuracy", "bleu", "loss", "precision_binary"], samples) == {
        "accuracy": 0.5,
        "precision_binary": 0.5,
    }


@pytest.mark.slow
@pytest.mark.parametrize(("n", "rate"), [(200, 0.5), (200, 0.9), (1000, 0.7)])
def test_coverage_of_f1s_interval_and_difference(n: int, rate: float) -> None:
    """95 % intervals of F1 over items and three runs of each of four equal methods, the run variance pooled.

    The truth is F1 over very many items and runs. Runs differ by SD .15 logit, the setting of test_statistics.
    """
    rng, repetitions = np.random.default_rng(21), 400
    middle = np.log(rate / (1 - rate))

    def draw(items: int, k: int) -> np.ndarray:
        """Counts [methods, k, items, 3] of the positive label, half of the items positive."""
        gold = rng.random(items) < 0.5
        logits = middle + rng.normal(0, 1.2, items) + rng.normal(0, 0.15, (4, k, 1))
        right = rng.random((4, k, items)) < 1 / (1 + np.exp(-logits))
        said = right == gold
        return np.stack([said & gold, said, np.broadcast_to(gold, said.shape)], axis=-1).astype(float)

    f1 = AGGREGATES["f1_binary"].value
    true = float(f1(draw(20_000, 25).sum(axis=2)[..., None, :]).mean())
    hits = {"cell": 0, "difference": 0, "items alone": 0}
    for _ in range(repetitions):
        counts = draw(n, 3)
        total = counts.sum(axis=2, keepdims=True)
        without = f1((total - counts)[..., None, :])
        x = f1(total[..., None, :]) + (n - 1) * (without.mean(axis=2, keepdims=True) - without)
        found = statistics.pooling(list(x), statistics.SHARES)
        pool = found.pool if found.uses[0] and found.uses[1] else None
        cell = statistics.mean_interval(x[0], pool, fraction=True)
        difference = statistics.paired_difference(x[0], x[1], (pool, pool))
        alone = statistics.t_interval(x[0].mean(axis=0))
        hits["cell"] += cell.low <= true <= cell.high
        hits["difference"] += difference.low <= 0 <= difference.high
        hits["items alone"] += alone.low <= true <= alone.high
    covered = {name: count / repetitions for name, count in hits.items()}
    assert 0.925 <= covered["cell"] <= 0.985, covered
    assert 0.925 <= covered["difference"] <= 0.985, covered


# --- in a study's results ---

RATE = {"base": 0.55, "lora": 0.92, "prompt": 0.7}
OTHER = {"positive": "negative", "negative": "positive"}


def graded(method: str, seed: int | None, i: int, value: float) -> tuple[dict[str, float], dict[str, Any]]:
    gold = ("negative", "positive")[i % 3 == 0]
    chosen = gold if value else OTHER[gold]
    loss = 0.2 + 0.8 * (1 - value) + 0.01 * (i % 7)
    return {"accuracy": value, "loss": loss}, {"gold": gold, "chosen": chosen, "positive": "positive"}


def cells(found: Results, metric: str) -> dict[str, Cell]:
    return {cell.method: cell for cell in found.cells if cell.metric == metric}


def test_every_metric_of_a_benchmark_has_cells_and_the_headline_is_compared(tmp_path: Path) -> None:
    store = make_store(tmp_path, bernoulli(RATE, 150, 0.1), metrics=METRICS, graded=graded)
    found = results(store)
    assert list(dict.fromkeys(cell.metric for cell in found.cells)) == list(METRICS)
    assert {pair.metric for pair in found.comparisons} == {"accuracy"}
    assert "record differs" not in {doubt.kind for doubt in found.doubts}
    for trial in store.plan()["trials"]:
        samples = store.samples(trial["key"])
        gold, chosen = ([s.detail[name] for s in samples] for name in ("gold", "chosen"))
        for metric in METRICS[2:]:
            cell = cells(found, metric)[trial["method"]]
            value = cell.per_seed[cell.seeds.index(trial["seed"]) if cell.trained else 0]
            assert value == pytest.approx(theirs(metric, gold, chosen))
            assert store.record(trial["key"]).benchmarks["sst2"].metrics[metric] == pytest.approx(value)
    f1 = cells(found, "f1_binary")["lora"]
    assert f1.percent and not f1.lower_is_better and f1.ci_low is not None and f1.ci_high is not None
    assert 0 < f1.ci_low < (f1.mean or 0) < f1.ci_high < 1
    loss = cells(found, "loss")["lora"]
    assert loss.lower_is_better and not loss.percent


def test_f1_may_be_the_metric_that_is_compared(tmp_path: Path) -> None:
    metrics = ("f1_binary", "accuracy")
    found = results(make_store(tmp_path, bernoulli(RATE, 300, 0.05), metrics=metrics, graded=graded))
    (verdict,) = found.verdicts
    assert (verdict.metric, verdict.winner) == ("f1_binary", "lora")
    assert {pair.test for pair in found.comparisons} == {"two-way t"}
    one = make_store(tmp_path / "one", bernoulli(RATE, 300), seeds=(0,), metrics=metrics, graded=graded)
    assert {pair.test for pair in results(one).comparisons} == {"paired t over items"}


def test_pseudo_values_are_of_the_items_that_all_runs_share(tmp_path: Path) -> None:
    """An item that one run lacks is left out of every run's F1, as of every mean."""
    store = make_store(tmp_path, bernoulli(RATE, 60), metrics=METRICS, graded=graded)
    key = next(t["key"] for t in store.plan()["trials"] if t["method"] == "prompt")
    path = store.trials / key / "samples.jsonl"
    lines = path.read_text().splitlines()
    lost = json.loads(lines[30])
    edit(path, "\n".join([*lines[:30], json.dumps({**lost, "scores": {}}), *lines[31:]]) + "\n")
    found = results(store)
    kept = [s for s in store.samples(store.plan()["trials"][1]["key"]) if s.id != lost["id"]]
    cell = cells(found, "f1_binary")["lora"]
    assert cell.n_items == 59
    value = theirs("f1_binary", [s.detail["gold"] for s in kept], [s.detail["chosen"] for s in kept])
    assert cell.per_seed[0] == pytest.approx(value)


def test_a_metric_without_a_value_is_flagged_and_counts_as_0(tmp_path: Path) -> None:
    def never(method: str, seed: int | None, i: int, value: float) -> tuple[dict[str, float], dict[str, Any]]:
        scores, detail = graded(method, seed, i, value)
        if (method, seed) not in (("base", None), ("prompt", 1)):
            return scores, detail
        return {**scores, "accuracy": float(detail["gold"] == "negative")}, {**detail, "chosen": "negative"}

    store = make_store(tmp_path, bernoulli(RATE, 90), metrics=METRICS, graded=never)
    found = results(store)
    base, prompt = (cells(found, "precision_binary")[name] for name in ("base", "prompt"))
    assert (base.mean, base.undefined_seeds, base.ci_low) == (0.0, 1, None)
    assert (prompt.per_seed[1], prompt.undefined_seeds) == (0.0, 1) and prompt.ci_low is not None
    assert cells(found, "recall_binary")["base"].undefined_seeds == 0
    told = [doubt.text for doubt in found.doubts if doubt.kind == "undefined"]
    assert len(told) == 1 and told[0].startswith("sst2: precision_binary has no value") and "base (1 of 1" in told[0]
    assert "prompt (1 of 3" in told[0]
    confusion = {one.method: one for one in found.confusions}
    assert confusion["base"].constant == ("negative",) and confusion["lora"].constant == ()
    assert (confusion["prompt"].constant_runs, confusion["prompt"].runs) == (1, 3)


def test_confusions_count_what_was_answered(tmp_path: Path) -> None:
    def mumbled(method: str, seed: int | None, i: int, value: float) -> tuple[dict[str, float], dict[str, Any]]:
        scores, detail = graded(method, seed, i, value)
        return scores, {**detail, "chosen": None, "unparsable": True} if i < 6 and method == "base" else detail

    store = make_store(tmp_path, bernoulli(RATE, 90), metrics=METRICS, graded=mumbled)
    for one in results(store).confusions:
        keys = [t["key"] for t in store.plan()["trials"] if t["method"] == one.method]
        samples = [s for key in keys for s in store.samples(key)]
        assert (one.labels, one.items, one.runs) == (("negative", "positive"), (60, 30), len(keys))
        for gold, counts in zip(one.labels, one.counts, strict=True):
            expected = [
                sum(s.detail["gold"] == gold and s.detail["chosen"] == said for s in samples)
                for said in (*one.labels, None)
            ]
            assert list(counts) == expected


# --- which way is better ---


def test_names_say_scale_and_direction() -> None:
    for metric in ("loss", "bits_per_byte", "word_perplexity", "nll", "text_loss", "brier_score"):
        assert lower_is_better(metric), metric
    for metric in ("accuracy", "f1_macro", "bleu", "pass@1", "exact_match", "jaccard", "glossary", "orbits"):
        assert not lower_is_better(metric), metric
    assert not is_fraction("bleu") and not is_fraction("loss") and not is_fraction("bits_per_byte")
    assert is_fraction("f1_binary") and is_fraction("pass@5") and is_fraction("wer") and is_fraction("brier_score")


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_the_lowest_loss_wins(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    """lora's loss is lowest; losses that all lie between 0 and 1 are no fractions."""

    def lossy(method: str, seed: int | None, i: int, value: float) -> tuple[dict[str, float], dict[str, Any]]:
        return {"loss": 0.2 + 0.5 * (1 - value) + 0.01 * (i % 7)}, {}

    store = make_store(tmp_path, bernoulli(RATE, 300, 0.05), seeds=seeds, metrics=("loss",), graded=lossy)
    found = results(store)
    (verdict,) = found.verdicts
    lora = cells(found, "loss")["lora"]
    assert not lora.percent and lora.ci_low is not None
    better = {(pair.a, pair.b): pair for pair in found.comparisons}
    assert (better["lora", "base"].difference or 0) < 0
    if len(seeds) == 1:
        assert "on these checkpoints lora scored lowest on sst2" in verdict.headline
        assert verdict.evidence.startswith("It is ") and "below prompt" in verdict.evidence
        return
    assert (verdict.winner, verdict.winner_set) == ("lora", ("lora",))
    assert better["lora", "base"].verdict == better["lora", "prompt"].verdict == "a better"
    assert better["prompt", "base"].verdict == "a better"
    assert verdict.headline.startswith("lora beats every other ranked method on sst2 (0.")
    low, high = (float(x) for x in verdict.evidence.split("CI [")[1].split("]")[0].split(", "))
    assert 0 < low < high


def test_losses_that_do_not_separate_are_said_the_right_way_round(tmp_path: Path) -> None:
    def lossy(method: str, seed: int | None, i: int, value: float) -> tuple[dict[str, float], dict[str, Any]]:
        return {"loss": 1.2 - value}, {}

    rate = {"base": 0.5, "lora": 0.8, "prompt": 0.79}
    found = results(make_store(tmp_path, bernoulli(rate, 200, 0.1), metrics=("loss",), graded=lossy))
    best = min(cells(found, "loss").values(), key=lambda cell: cell.mean or 0).method
    (verdict,) = found.verdicts
    assert f"{best} scored lowest" in verdict.headline and "not separable" in verdict.headline
    assert f"above {best}" in verdict.evidence


def test_a_share_of_few_items_at_its_limit_has_their_interval_and_not_that_of_all(tmp_path: Path) -> None:
    """A precision of 1 with 5 of 200 called positive is 5 of 5; leaving any item out changes nothing of it."""

    def careful(method: str, seed: int | None, i: int, value: float) -> tuple[dict[str, float], dict[str, Any]]:
        gold = ("negative", "positive")[i % 2]
        chosen = "positive" if i in (1, 3, 5, 7, 9) else "negative"
        detail = {"gold": gold, "chosen": chosen, "positive": "positive", "bleu": [1, 9, 0, 0, 0, 0, 1, 0, 0, 0]}
        return {"accuracy": float(chosen == gold)}, detail

    metrics = ("accuracy", "precision_binary", "recall_binary", "bleu")
    found = results(make_store(tmp_path, bernoulli(RATE, 200), metrics=metrics, graded=careful))
    for method in RATE:
        precision = cells(found, "precision_binary")[method]
        assert precision.mean == 1
        assert (precision.ci_low, precision.ci_high) == pytest.approx(statistics.wilson(5, 5))
        assert cells(found, "bleu")[method].mean == 0 and cells(found, "bleu")[method].ci_low is None
        low, high = cells(found, "recall_binary")[method].ci_low, cells(found, "recall_binary")[method].ci_high
        assert low is not None and high is not None and low < 0.05 < high


# --- at the limit, two methods ---


def compared(
    tmp_path: Path, metric: str, said: Callable[[str, int], bool], n: int = 200
) -> Mapping[tuple[str, str], Any]:
    """The comparisons by `metric` as the headline; every second item is positive, `said` which are called that."""

    def labelled(method: str, seed: int | None, i: int, value: float) -> tuple[dict[str, float], dict[str, Any]]:
        gold, chosen = ("negative", "positive")[i % 2], ("negative", "positive")[said(method, i)]
        detail = {"gold": gold, "chosen": chosen, "positive": "positive", "bleu": [1, 9, 0, 0, 0, 0, 1, 0, 0, 0]}
        return {"accuracy": float(chosen == gold)}, detail

    store = make_store(tmp_path, bernoulli(RATE, 200), metrics=(metric, "accuracy"), graded=labelled)
    return {(pair.a, pair.b): pair for pair in results(store).comparisons}


def test_two_methods_at_the_limit_are_as_uncertain_as_the_items_they_rest_on(tmp_path: Path) -> None:
    """A precision of 5 of 5 beside another, and beside 100 of 200: a standard error of 1.96 / (5 + 1.96^2)."""
    se = (1 - statistics.wilson(5, 5).low) / statistics.student(math.inf)
    pairs = compared(tmp_path / "a", "precision_binary", lambda method, i: i in (1, 3, 5, 7, 9))
    for pair in pairs.values():
        assert pair.difference == 0 and pair.ci_low is not None and pair.ci_high is not None
        assert -pair.ci_low == pair.ci_high == pytest.approx(1.96 * math.sqrt(2) * se, rel=0.01)
        assert pair.p == 1 and pair.verdict == "not separable" and not pair.equivalent
    mixed = compared(tmp_path / "b", "precision_binary", lambda method, i: method == "base" or i in (1, 3, 5, 7, 9))
    pair = mixed["lora", "base"]
    assert pair.difference == pytest.approx(0.5) and pair.ci_low is not None and pair.ci_high is not None
    assert pair.ci_high - 0.5 == pytest.approx(1.96 * math.hypot(se, 0.5 / math.sqrt(200)), rel=0.01)
    many = compared(tmp_path / "c", "precision_binary", lambda method, i: method == "base" or i % 2 == 1)
    assert many["lora", "base"].verdict == "a better"


def test_two_bleus_of_nothing_are_not_compared(tmp_path: Path) -> None:
    for pair in compared(tmp_path, "bleu", lambda method, i: True).values():
        assert (pair.difference, pair.ci_low, pair.p, pair.verdict) == (0, None, None, "not testable")


def test_differences_of_aggregates_near_the_limit_cover() -> None:
    """F1 of .99 and .90 on 50 items, where three in five samples have a method at 1: without the allowance 92 %."""
    rng, many, n, covered, without, limits = np.random.default_rng(0), 1500, 50, 0, 0, 0
    truth = 0.99 - 0.9
    for _ in range(many):
        gold, shared = rng.random(n) < 0.5, rng.random(n)
        tallies = []
        for rate in (0.99, 0.9):
            own = np.where(rng.random(n) < 0.7, shared, rng.random(n))
            said = np.where(gold, own < rate, own > rate)
            counts = np.stack([said & gold, said, gold], axis=-1).astype(float)[:, None, :]
            tallies.append(Tally("f1_binary", tuple(map(str, range(n))), counts))
        a, b = (one.pseudo_values()[None] for one in tallies)
        found = statistics.paired_difference(a, b)
        more = sum(unseen_variance([one]) for one in tallies)
        wide = statistics.widened(found, more)
        limits, without = limits + (more > 0), without + (found.low <= truth <= found.high)
        covered += wide.low <= truth <= wide.high
    assert limits / many > 0.5
    assert without / many < 0.94 < covered / many
