"""Anybody's long table and a stored study, compared: the same numbers, sentences no stronger, clear errors."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from synthetic_store import bernoulli, make_store

from bakeoff.analysis import wins, words
from bakeoff.analysis.long_table import read
from bakeoff.analysis.result import Comparison
from bakeoff.analysis.scores import Scores
from bakeoff.analysis.sentences import sentence
from bakeoff.analysis.table import results
from bakeoff.analysis.win_rates import win_rates
from bakeoff.cli import main
from bakeoff.errors import InputError
from bakeoff.store.store import Store

RATE = {"base": 0.55, "lora": 0.92, "prefix": 0.84, "prompt": 0.7}
HEAD = "method,seed,item,score\n"
TEXTS: Any = lambda method, seed, item, value: f"answer {item}"  # noqa: E731


def call(monkeypatch: Any, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bakeoff", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


def table_of(store: Store, path: Path) -> Path:
    """A store's samples as a long table."""
    with path.open("w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(["task", "method", "seed", "item", "score", "cluster", "text"])
        for trial in store.plan()["trials"]:
            for sample in store.samples(trial["key"]):
                seed = "" if trial["seed"] is None else trial["seed"]
                cluster, score = sample.detail.get("cluster", ""), sample.scores["accuracy"]
                out.writerow([sample.benchmark, trial["method"], seed, sample.id, score, cluster, "x, y"])
    return path


def rows(scores: Mapping[tuple[str, str], Any], clusters: Sequence[str] | None = None) -> str:
    """A long table's text of scores by (method, seed)."""
    out = io.StringIO()
    write = csv.writer(out)
    write.writerow(["method", "seed", "item", "score", *(["cluster"] if clusters else [])])
    for (method, seed), values in scores.items():
        for i, value in enumerate(values):
            write.writerow([method, seed, f"q{i}", value, *([clusters[i]] if clusters else [])])
    return out.getvalue()


def of(text: str, tmp_path: Path, **how: Any) -> list[Comparison]:
    (tmp_path / "t.csv").write_text(text)
    return [pair for one in read(tmp_path / "t.csv", **how) for pair in one.comparisons()]


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")


@pytest.mark.parametrize(("seeds", "size"), [((0, 1, 2), 0), ((0, 1), 0), ((0,), 0), ((0, 1, 2), 5), ((0,), 5)])
def test_a_table_gives_the_very_comparisons_of_results_json(tmp_path: Path, seeds: tuple[int, ...], size: int) -> None:
    """With items in clusters of some `size` too."""
    tasks = {"sst2": ["sst2"], "topics": ["topics"]}
    detail: Any = (lambda method, i: {"cluster": i // size}) if size else None
    store = make_store(tmp_path / "s", bernoulli(RATE, 80, 0.15), list(RATE), seeds, tasks, detail=detail)
    tables = read(table_of(store, tmp_path / "t.csv"))
    found = [pair for one in tables for pair in wins.counted(one, one.comparisons())]
    same = {"model": "", "metric": "score"}
    assert found == [pair.model_copy(update=same) for pair in results(store).comparisons]
    assert len(found) == 12 and {pair.family for pair in found} == {6}
    assert {pair.clusters for pair in found} == {80 // size if size else None}


def test_json_and_sentences_of_the_program(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    store = make_store(tmp_path / "s", bernoulli(RATE, 200, 0.05), list(RATE))
    path = str(table_of(store, tmp_path / "t.csv"))
    assert call(monkeypatch, "compare", "--table", path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == ["comparisons", "lint"]
    theirs = json.loads(json.dumps(results(store).published()))["comparisons"]
    assert [list(pair) for pair in told["comparisons"]] == [list(pair) for pair in theirs]
    assert call(monkeypatch, "compare", "--table", path) == 0
    shown = plain(capsys.readouterr().out)
    assert "lora beats prompt by" in shown and "p_holm < 0.001 (family of 6)" in shown
    assert "n = 200 items, k = 3 seeds each" in shown and "k = 3 seeds (base is untrained)" in shown
    assert call(monkeypatch, "compare", "--table", path, "--baseline", "prompt", "--json") == 0
    against = json.loads(capsys.readouterr().out)["comparisons"]
    assert [(pair["a"], pair["b"], pair["family"]) for pair in against] == [
        ("prompt", "base", 3), ("lora", "prompt", 3), ("prefix", "prompt", 3)
    ]  # fmt: skip


def test_two_methods_of_a_stored_study(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    store = make_store(tmp_path, bernoulli(RATE, 200, 0.05), list(RATE))
    assert call(monkeypatch, "compare", str(tmp_path), "prompt", "lora") == 0
    (pair,) = [p for p in results(store).comparisons if (p.a, p.b) == ("lora", "prompt")]
    told, lint = capsys.readouterr().out.splitlines()
    assert told == sentence(pair) and lint.startswith("Lint: ")
    assert call(monkeypatch, "compare", str(tmp_path), "prompt", "lora", "--json") == 0
    lint = [check.model_dump(mode="json") for check in results(store).lint]
    assert json.loads(capsys.readouterr().out) == {"comparisons": [pair.model_dump(mode="json")], "lint": lint}
    for arguments, said in (
        (("lora", "promt"), "did you mean 'prompt'?"),
        (("lora",), "two methods of the study are needed"),
        (("lora", "prompt", "--margin", "0.01"), "goes with --table alone"),
    ):
        assert call(monkeypatch, "compare", str(tmp_path), *arguments) == 2
        assert said in capsys.readouterr().err
    assert call(monkeypatch, "compare") == 2


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"text": lambda method, *_: "one" if method == "prompt" else "two"}, "prompt (one answer to every item"),
        ({"status": {("sst2", "prompt", 2): "diverged"}}, "prompt (a run diverged)"),
        ({"status": {("sst2", "lora", 1): "failed"}}, "lora has 3 of 4 runs."),
        ({"status": {("sst2", "lora", 1): "missing"}}, "lora has 3 of 4 runs."),
    ],
)
def test_what_a_report_does_not_rank_beats_nothing(
    tmp_path: Path, monkeypatch: Any, capsys: Any, how: dict[str, Any], said: str
) -> None:
    def scores(benchmark: str, method: str, seed: int | None) -> list[float]:
        return [*bernoulli(RATE, 100)(benchmark, method, seed)] if method == "lora" else [i % 2 for i in range(100)]

    store = make_store(tmp_path, scores, list(RATE), range(4), split="validation", **{"text": TEXTS, **how})
    assert next(p for p in results(store).comparisons if (p.a, p.b) == ("lora", "prompt")).verdict == "a better"
    assert call(monkeypatch, "compare", str(tmp_path), "lora", "prompt") == 0
    told = plain(capsys.readouterr().out)
    assert told.startswith("lora scored ") and "beats" not in told and said in told
    assert "Judged on the validation split" in told


def test_a_terminal_obeys_no_name_of_a_table(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    hostile = "q\x1b]0;title\x07\nx"
    scores = {(m, s): [0.0, 1.0] for m in (hostile, "b") for s in "012"}
    (tmp_path / "t.csv").write_text(rows(scores))
    assert call(monkeypatch, "compare", "--table", str(tmp_path / "t.csv")) == 0
    assert call(monkeypatch, "compare", "--table", str(tmp_path / "t.csv"), "--baseline", hostile[:-1]) == 2
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err and "q\\x1b]0;title\\x07\\nx" in err and len(err.splitlines()) == 1


def test_what_a_comparison_says(tmp_path: Path) -> None:
    """Each sentence of a known comparison, digit by digit from the comparison's own fields."""
    rng = np.random.default_rng(3)
    right = {"a": 0.9, "b": 0.6, "c": 0.62}
    scores = {(m, str(s)): (rng.random(300) < p).astype(float) for m, p in right.items() for s in range(3)}
    ab, _, bc = of(rows(scores), tmp_path)
    assert ab.difference and ab.ci_low and ab.ci_high and bc.mde and bc.difference and bc.ci_low and bc.ci_high
    assert plain(sentence(ab)) == (
        f"a beats b by {100 * ab.difference:.1f} points, 95 % CI [{100 * ab.ci_low:.1f}, {100 * ab.ci_high:.1f}], "
        "p_holm < 0.001 (family of 3), n = 300 items, k = 3 seeds each."
    )
    sign = 1 if bc.difference > 0 else -1
    first, second = ("b", "c") if sign > 0 else ("c", "b")
    low, high = sorted((sign * bc.ci_low, sign * bc.ci_high))
    assert plain(sentence(bc)) == (
        f"{first} scored {100 * abs(bc.difference):.1f} points above {second}, 95 % CI [{100 * low:.1f}, "
        f"{100 * high:.1f}]; not separable, p_holm = {bc.p_holm:.3f} (family of 3), n = 300 items, k = 3 seeds each. "
        f"This design could detect {100 * bc.mde:.1f} points with 80 % power, before correction for the family."
    )


def test_one_seed_says_nothing_of_methods_and_an_empty_seed_is_no_training(tmp_path: Path) -> None:
    a, b = [1.0] * 23 + [0.0] * 15 + [1.0] * 62, [0.0] * 23 + [1.0] * 15 + [1.0] * 62
    (one,) = of(rows({("A", "0"): a, ("B", "0"): b}), tmp_path)
    assert plain(sentence(one)) == (
        "On these checkpoints A answered 23 items that B missed, and B 15 that A missed (exact McNemar p = "
        f"{stats.binomtest(23, 38).pvalue:.3f}, p_holm = {stats.binomtest(23, 38).pvalue:.3f} (family of 1)), "
        "n = 100 items. One seed says nothing about the methods."
    )
    (two,) = of(rows({("A", ""): a, ("B", ""): b}), tmp_path)
    assert two.verdict == "not separable" and "neither trained" in sentence(two)
    (mixed,) = of(rows({("A", "0"): a, ("B", "0"): b, ("B", "1"): a, ("B", "2"): b}), tmp_path)
    assert mixed.verdict == "these checkpoints only" and "over items alone" in sentence(mixed)
    (early,) = of(rows({("A", ""): a, ("B", "0"): b, ("B", "1"): a}), tmp_path)
    assert (early.a, early.b, early.verdict) == ("B", "A", "too few seeds")
    assert "two seeds are too few to set against an untrained model" in sentence(early)
    (none,) = of(rows({("A", "0"): a[:1], ("B", "0"): b[:1]}), tmp_path)
    assert sentence(none) == "A and B cannot be compared: fewer than two items."
    assert [pair.equivalent for pair in (one, mixed, early, none)] == [None] * 4


def test_two_seeds_get_no_verdict_from_their_own_variance(tmp_path: Path) -> None:
    """A's runs nearly agree and B's lie 100 items apart: Bartlett parts them. C and D are pooled."""

    def first(*rights: int, n: int = 400) -> list[list[float]]:
        return [[float(i < right) for i in range(n)] for right in rights]

    def scores(**runs: list[list[float]]) -> dict[tuple[str, str], list[float]]:
        return {(name, str(seed)): run for name, own in runs.items() for seed, run in enumerate(own)}

    (apart,) = of(rows(scores(A=first(350, 351), B=first(150, 250))), tmp_path)
    assert (apart.seed_variance, apart.verdict) == ("own", "too few seeds")
    assert "two seeds are too few, they tell too little of run-to-run variance" in sentence(apart)
    assert "untrained" not in sentence(apart)
    (alike,) = of(rows(scores(C=first(350, 352), D=first(200, 203))), tmp_path)
    assert (alike.seed_variance, alike.verdict) == ("pooled", "a better")
    assert sentence(alike).endswith("Two seeds: the interval rests on the pooled seed variance.")


def test_equivalence_is_said_of_methods_alone_and_where_the_margin_holds(tmp_path: Path) -> None:
    base = (np.arange(4000) % 3 > 0).astype(float)
    off = base.copy()
    off[:8] = 1 - off[:8]
    scores = {("A", "0"): base, ("A", "1"): off, ("A", "2"): base, ("B", "0"): off, ("B", "1"): base, ("B", "2"): base}
    (pair,) = of(rows(scores), tmp_path)
    assert (pair.verdict, pair.margin, pair.equivalent) == ("not separable", 0.02, True)
    assert pair.ci90_low is not None and pair.ci90_high is not None and -0.02 < pair.ci90_low < pair.ci90_high < 0.02
    assert "The two are equivalent within \N{PLUS-MINUS SIGN}2.0" in sentence(pair)
    (narrow,) = of(rows(scores), tmp_path, margin=0.0001)
    assert narrow.equivalent is False and "equivalent" not in sentence(narrow)
    (loss,) = of(rows(scores), tmp_path, metric="loss")
    assert (loss.percent, loss.margin, loss.equivalent) == (False, None, None)


def test_less_of_a_loss_is_better(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    scores = {(m, str(s)): rng.normal(mean, 0.1, 60) for m, mean in (("A", 1.0), ("B", 2.0)) for s in range(3)}
    (pair,) = of(rows(scores), tmp_path, metric="loss")
    assert pair.verdict == "a better" and pair.difference is not None and pair.difference < 0
    assert plain(sentence(pair)).startswith(f"A beats B by {-pair.difference:.2f}, 95 % CI [0.9")


def test_a_share_differs_by_no_more_than_all_of_it(tmp_path: Path) -> None:
    few = {(m, str(s)): [float((i + s) % 2 == (m == "A")) for i in range(2)] for m in "AB" for s in range(3)}
    (pair,) = of(rows(few), tmp_path)
    assert (pair.ci_low, pair.ci_high, pair.ci90_low, pair.ci90_high, pair.mde) == (-1, 1, -1, 1, None)
    assert "No difference is so large that this design would detect it with 80 % power." in plain(sentence(pair))
    (loss,) = of(rows(few), tmp_path, metric="loss")
    assert loss.mde is not None and loss.mde > 1 and loss.ci_high is not None and loss.ci_high > 1


def test_one_seed_of_an_error_rate_won_where_it_did_not_err(tmp_path: Path) -> None:
    """A errs on 30 of 100 items, B on 10 of those: B answered 20 that A missed."""
    a, b = [1.0] * 30 + [0.0] * 70, [1.0] * 10 + [0.0] * 90
    (tmp_path / "t.csv").write_text(rows({("A", "0"): a, ("B", "0"): b}))
    (scores,) = read(tmp_path / "t.csv", metric="error")
    (pair,) = wins.counted(scores, scores.comparisons())
    assert (pair.only_a, pair.only_b, pair.items_a, pair.items_b) == (0, 20, 0, 20)
    assert "A answered 0 items that B missed, and B 20 that A missed" in plain(sentence(pair))
    (right,) = of(rows({("A", "0"): 1 - np.array(a), ("B", "0"): 1 - np.array(b)}), tmp_path)
    assert (right.only_a, right.only_b, right.p) == (pair.only_a, pair.only_b, pair.p)


def test_no_difference_is_told_as_none(tmp_path: Path) -> None:
    """.04 points on 5,000 items that differ in two; of losses a higher score is not the better one."""
    a = np.tile([1.0, 0.0], 2500)
    b = a.copy()
    b[:4] = 0.0
    (pair,) = of(rows({("a", ""): a, ("b", ""): b}), tmp_path)
    told = plain(sentence(pair))
    assert told.startswith(f"a scored 0.04 points above b, 95 % CI [-0.02, 0.10]; not separable, p_holm = {pair.p:.3f}")
    (loss,) = of(rows({("a", ""): a, ("b", ""): b}), tmp_path, metric="loss")
    assert sentence(loss).startswith("a scored 0.0004 above b (lower is better), 95")


def test_items_in_clusters(tmp_path: Path) -> None:
    """Items of a cluster alike: C clusters tell no more than C items would."""
    rng = np.random.default_rng(5)
    few = {(m, str(s)): (rng.random(20) < p).astype(float) for m, p in (("A", 0.9), ("B", 0.3)) for s in range(3)}
    many = {run: np.repeat(values, 10) for run, values in few.items()}
    clusters = [f"text {i // 10}" for i in range(200)]
    (alone,), (pair,) = of(rows(few), tmp_path), of(rows(many, clusters), tmp_path)
    assert (pair.n_items, pair.clusters, alone.clusters) == (200, 20, None)
    (flat,) = of(rows(many), tmp_path)
    wide, narrow = ((one.ci_high or 0) - (one.ci_low or 0) for one in (pair, flat))
    assert wide > 1.2 * narrow
    assert "n = 200 items in 20 clusters" in plain(sentence(pair))
    one_each = of(rows(few, [f"c{i}" for i in range(20)]), tmp_path)[0]
    assert one_each == alone.model_copy(update={"clusters": 20})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("method,seed,itm,score\na,0,x,1\n", "t.csv:1: no column 'item'; did you mean 'itm'?"),
        ("method,seed,item,score,clusters\na,0,x,1,1\n", "t.csv:1: unknown column 'clusters'; did you mean 'cluster'?"),
        ("method;seed;item;score\na;0;x;1\n", "t.csv:1: its columns are parted by semicolons; a .csv has commas"),
        ("method\tseed\titem\tscore\n", "t.csv:1: its columns are parted by tabs; a .csv has commas, a .tsv has"),
        (HEAD + "a,0,x,1e200\n", "t.csv:2, column 'score': '1e200' is too large to compute with"),
        (HEAD + "a,0,x,1_0\n", "t.csv:2, column 'score': '1_0' is no number"),
        (HEAD + "a,0,x,100\nb,0,x,0\n", "score reaches 100, and is a fraction; give scores from 0 to 1: divide"),
        ("method,seed,item,item,score\n", "t.csv:1: the column 'item' is there twice"),
        ("", "t.csv:1: no column 'method'"),
        (HEAD, "t.csv: holds no rows"),
        (HEAD + "a,0,x,yes\n", "t.csv:2, column 'score': 'yes' is no number"),
        (HEAD + "a,0,x,nan\n", "t.csv:2, column 'score': 'nan' is no number"),
        (HEAD + "a,0,x,\n", "t.csv:2, column 'score': '' is no number"),
        (HEAD + ",0,x,1\n", "t.csv:2, column 'method': is empty"),
        (HEAD + "a,0,,1\n", "t.csv:2, column 'item': is empty"),
        (HEAD + "a,0,x,1\n\nb,0,x\n", "t.csv:4: 3 fields where the header names 4"),
        (HEAD + "a,0,x,1\na,0,x,0\n", "t.csv:3: item 'x' of 'a', seed 0 is there twice"),
        (HEAD + "a,0,x,1\na,0,y,0\n", "only one method, 'a'; a comparison needs two"),
        (HEAD + "a,0,x,1\na,0,y,0\nb,0,x,0\n", "'b', seed 0 lacks 1 of 2 items, first 'y'"),
        (HEAD + "a,0,x,1\na,,x,0\nb,0,x,0\n", "column 'seed': some rows of 'a' have a seed and some have none"),
        (HEAD + 'a,0,x,1\na,1,"x,1\n', "t.csv:3: cannot be parsed"),
        ("method,seed,item,score,cluster\na,0,x,1,p\nb,0,x,1,q\n", "column 'cluster': item 'x' is in 'q' here and in"),
        ("method,seed,item,score,cluster\na,0,x,1,p\na,0,y,1,\nb,0,x,1,p\nb,0,y,0,\n", "item 'y' has none, and others"),
        ("task,method,seed,item,score\nt,a,0,x,1\nt,b,0,x,1\nu,a,0,x,1\n", "only one method of task 'u', 'a'"),
    ],
)
def test_a_bad_table_is_told_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as found:
        of(text, tmp_path)
    assert said in str(found.value) and "\n" not in str(found.value)
    assert found.value.mend, "every message says how to mend it"


def test_what_comparisons_say_together(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """Winner sets and win rates are the report's of the same scores; with one seed there is no best."""
    tasks = {"sst2": ["sst2"], "topics": ["topics"]}
    store = make_store(tmp_path / "s", bernoulli(RATE, 300, 0.05), list(RATE), tasks=tasks)
    path = str(table_of(store, tmp_path / "t.csv"))
    assert call(monkeypatch, "compare", "--table", path) == 0
    told = plain(capsys.readouterr().out)
    found = results(store)
    assert [verdict.winner for verdict in found.verdicts] == ["lora", "lora"]
    assert told.count("lora beats every other method.") == 2
    for one in found.win_rates:
        row = [plain(cell) for cell in (one.method, words.number(one.mean), words.interval(one.ci_low, one.ci_high))]
        assert " ".join(row) in " ".join(told.split())
    alone = make_store(tmp_path / "one", bernoulli(RATE, 300), list(RATE), (0,))
    assert call(monkeypatch, "compare", "--table", str(table_of(alone, tmp_path / "o.csv"))) == 0
    told = capsys.readouterr().out
    assert "every other method" not in told and "the best" not in told and "win rate" not in told


def test_runs_that_are_all_the_same_spoil_no_pool(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """An untrained model, written down three times: the pool is that of the others alone, and it is told."""
    one = bernoulli(RATE, 200, 0.3)
    scores = {(m, str(s)): one("x", m, None if m == "base" else s) for m in RATE for s in range(3)}
    (tmp_path / "t.csv").write_text(rows(scores))
    (found,) = read(tmp_path / "t.csv")
    (rest,) = read_without(scores, "base", tmp_path)
    assert found.identical() == ["base"] and found.pool == rest.pool and "base" not in found.pooled
    assert call(monkeypatch, "compare", "--table", str(tmp_path / "t.csv")) == 0
    told = capsys.readouterr().out
    assert "All runs of base are the same item by item: leave the seed empty if nothing was trained." in told


def read_without(scores: Mapping[tuple[str, str], Any], method: str, tmp_path: Path) -> list[Scores]:
    (tmp_path / "rest.csv").write_text(rows({key: values for key, values in scores.items() if key[0] != method}))
    return read(tmp_path / "rest.csv")


def test_a_share_is_from_0_to_1_and_so_is_its_margin(tmp_path: Path) -> None:
    """`accuracy` says by its name that 62.5 is percent; `score` may be anything, and a BLEU of 62.5 is one."""
    text = rows({("a", "0"): [62.5, 0], ("b", "0"): [70, 1]})
    with pytest.raises(InputError, match="accuracy reaches 70, and is a fraction; give scores from 0 to 1: divide per"):
        of(text, tmp_path, metric="accuracy")
    assert {of(text, tmp_path, metric=name)[0].percent for name in ("score", "bleu", "loss")} == {False}
    with pytest.raises(InputError, match=r"--margin: 2 is no difference of fractions below 1; give 0.02 for 2 points"):
        of(rows({("a", "0"): [0, 1], ("b", "0"): [1, 1]}), tmp_path, margin=2.0)
    assert of(text, tmp_path, margin=2.0)


def test_columns_of_other_names_are_passed_over(tmp_path: Path) -> None:
    others = "status,filter,dataset,step,class,mask,master,tag,clause,run,split,model,metric,rank,list"
    line = ",".join("x" for _ in others.split(","))
    text = f"method,seed,item,score,{others}\na,0,x,1,{line}\nb,0,x,1,{line}\na,0,y,1,{line}\nb,0,y,0,{line}\n"
    assert len(of(text, tmp_path)) == 1


def test_other_forms_of_a_table(tmp_path: Path) -> None:
    text = rows({("a", "0"): [1, 0, 1], ("b", "0"): [0, 0, 1]})
    expected = of(text, tmp_path)
    (tmp_path / "t.tsv").write_text("\ufeff" + text.replace(",", "\t"), encoding="utf-8")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "T.TSV").write_bytes((tmp_path / "t.tsv").read_bytes())
    for name in ("t.tsv", "T.TSV", "t.csv.gz"):
        assert [pair for one in read(tmp_path / name) for pair in one.comparisons()] == expected
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode())[:-9])
    spoilt = bytearray(gzip.compress(text.encode()))
    spoilt[len(spoilt) // 2] ^= 0xFF
    (tmp_path / "spoilt.csv.gz").write_bytes(spoilt)
    for name in ("t.csv.gz", "spoilt.csv.gz", "absent.csv", "t.xlsx"):
        with pytest.raises(InputError):
            read(tmp_path / name)


def test_compare_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(rows({("a", "0"): [1, 0, 1], ("b", "0"): [0, 0, 1]}))
    told = "import sys; sys.argv[1:] = ['compare', '--table', 't.csv']\nfrom bakeoff.cli import main\n"
    told += "try:\n    main()\nfinally:\n    assert not {'torch', 'scipy.stats'} & set(sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", told], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_fifty_methods_of_five_seeds_on_ten_thousand_items_take_seconds(tmp_path: Path) -> None:
    """All that results say of such a benchmark: 1,225 comparisons, intervals, pooling, win rates over two of it."""
    rng = np.random.default_rng(0)
    items = rng.normal(0, 1.5, 10_000)
    names = [f"m{i}" for i in range(50)]
    logits = {name: items + 0.05 * i + rng.normal(0, 0.05, (5, 1)) for i, name in enumerate(names)}
    arrays = {name: (rng.random((5, 10_000)) < 1 / (1 + np.exp(-one))).astype(float) for name, one in logits.items()}
    start = time.perf_counter()
    scores = Scores(arrays=arrays, trained=dict.fromkeys(names, True), margin=0.02)
    pairs = scores.comparisons()
    assert len(pairs) == 1225 and all(scores.interval(name).low < scores.interval(name).high for name in names)
    assert len(win_rates([scores, scores])) == 50
    took = time.perf_counter() - start
    print(f"50 methods x 5 seeds x 10,000 items: {took:.1f} s")
    assert took < 30
