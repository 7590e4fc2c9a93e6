"""Published beside measured: what agrees, what differs, and every reason for not comparing, from stored facts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_store import bernoulli, make_store
from test_cli import here  # noqa: F401
from test_report import Page

from bakeoff.analysis import table as tables_of
from bakeoff.analysis.beside import _apart
from bakeoff.analysis.printed import parse
from bakeoff.analysis.result import Beside, Results
from bakeoff.report import tables, write
from bakeoff.report.html import render as html
from bakeoff.report.markdown import render as markdown
from bakeoff.store.store import Store

HEAD = "task,benchmark,method,metric,value,n,model,n_inferred,model_inferred,source"
RATE = {"base": 0.5, "lora": 0.8, "prompt": 0.6}


def results(tmp_path: Path, *lines: str, models: Any = None, n: int = 400, **more: Any) -> Results:
    return tables_of.results(store(tmp_path, *lines, models=models, n=n, **more))


def store(tmp_path: Path, *lines: str, models: Any = None, n: int = 400, **more: Any) -> Store:
    made = make_store(tmp_path, bernoulli(RATE, n), tasks={"sst2_imdb": ["imdb"]}, **more)
    plan = made.plan()
    plan["published"] = "\n".join([HEAD, *lines]) + "\n"
    plan["notes"] = {"models": models or {"gpt2": "openai-community/gpt2"}}
    made.write("plan.json", json.dumps(plan))
    return made


def line(value: str, method: str = "lora", n: str = "400", model: str = "openai-community/gpt2", **more: str) -> str:
    told = {
        "task": "sst2_imdb",
        "benchmark": "imdb",
        "metric": "accuracy",
        "n_inferred": "",
        "model_inferred": "",
    } | more
    return ",".join(
        (told["task"], told["benchmark"], method, told["metric"], value, n, model, told["n_inferred"],
         told["model_inferred"], "here")
    )  # fmt: skip


def only(found: Results) -> Beside:
    (one,) = found.beside
    return one


def measured(tmp_path: Path) -> float:
    (cell,) = [c for c in results(tmp_path / "first", line("0.5")).cells if c.method == "lora"]
    assert cell.mean is not None
    return cell.mean


def test_a_study_without_a_table_says_nothing_of_one(tmp_path):
    found = tables_of.results(make_store(tmp_path, bernoulli(RATE, 50)))
    assert found.beside == () and found.published()["beside"] == []
    assert "beside measured" not in html(found) + markdown(found)


def test_near_values_agree_and_far_ones_differ(tmp_path):
    mean = measured(tmp_path)
    for shift, verdict in ((0.0, "agrees"), (0.01, "agrees"), (-0.3, "differs"), (0.18, "differs")):
        one = only(results(tmp_path / f"{shift}", line(f"{mean + shift:.3f}")))
        assert (one.verdict, one.reason) == (verdict, ""), shift
        assert one.difference == pytest.approx(-shift, abs=6e-4) and one.n == 400 and not one.inferred


def test_few_items_leave_more_room(tmp_path):
    mean = measured(tmp_path)
    few = only(results(tmp_path / "few", line(f"{mean - 0.12:.2f}", n="", n_inferred="50")))
    many = only(results(tmp_path / "many", line(f"{mean - 0.12:.2f}")))
    assert (few.verdict, many.verdict) == ("agrees", "differs") and few.inferred
    assert few.low is not None and many.low is not None and few.low < many.low


@pytest.mark.parametrize(
    ("row", "more", "said"),
    [
        (line("0.8", model="owner/other"), {}, "another model: gpt2, not owner/other"),
        (line("0.8"), {"models": {"gpt2": "/home/x/stories3M"}}, "another model: stories3M, not openai-community/gpt2"),
        (
            line("0.8"),
            {"models": {"gpt2": "/home/x/gpt2"}},
            "another model: a local folder, gpt2, not openai-community/gpt2",
        ),
        (line("0.8", n="25000"), {}, "400 of 25,000 items"),
        (line("0.8", n="100"), {}, "n = 400, not 100"),
        (line("0.8", n=""), {}, "the source does not say on how many items"),
        (line("0.8"), {"seeds": (0,)}, "1\N{NO-BREAK SPACE}run of the method, fewer than 3"),
        (line("0.8"), {"seeds": (0, 1)}, "2\N{NO-BREAK SPACE}runs of the method, fewer than 3"),
        (line("0.8"), {"status": {("sst2_imdb", "lora", 1): "missing"}}, "incomplete: 2 of 3 runs"),
        (line("0.8"), {"status": {("sst2_imdb", "lora", s): "diverged" for s in (0, 1, 2)}}, "no result (diverged)"),
        (line("0.8"), {"split": "validation"}, "judged on the validation split"),
        (line("0.8", method="qlora"), {}, "the method qlora is not in this study"),
        (line("0.8", task="t"), {}, "the task t is not in this study"),
        (line("0.8", benchmark="b"), {}, "the benchmark b is not in this study"),
        (line("0.8", metric="f1_binary"), {}, "f1_binary was not measured"),
    ],
)
def test_every_reason_comes_from_what_is_stored(tmp_path, row, more, said):
    one = only(results(tmp_path, row, **more))
    assert one.verdict == "cannot be compared"
    assert said in one.reason.split("; ")
    assert "/home" not in one.reason


def test_stand_ins_and_random_weights_are_told(tmp_path):
    made = store(tmp_path, line("0.8"))
    plan = made.plan()
    source = {"id": "stanfordnlp/imdb", "split": "test", "rows": 25_000, "files": [["test.jsonl", "ab"]]}
    for data, said in (
        ([source], []),
        ([source | {"files": [], "revision": "abc", "rows": 7}], []),
        ([source | {"id": "somebody/s", "rows": 7}], []),
        ([source | {"rows": 7}], ["other data: 7 rows in place of stanfordnlp/imdb's 25,000"]),
    ):
        made.write("plan.json", json.dumps(plan | {"notes": plan["notes"] | {"data": data}}))
        assert only(tables_of.results(made)).reason.split("; ") == (said or [""])
    made.write("plan.json", json.dumps(plan | {"notes": plan["notes"] | {"random_weights": ["gpt2"]}}))
    assert only(tables_of.results(made)).reason == "random weights"


def test_a_stand_in_concerns_what_hangs_on_it_alone(tmp_path):
    """DeepMath is stood in for, GSM8K is the real one, of MATH-500 a part is there."""
    sets = {"deepmath": "zwhe99/DeepMath-103K", "math500": "HuggingFaceH4/MATH-500", "gsm8k": "openai/gsm8k"}
    made = make_store(tmp_path, bernoulli(RATE, 400), tasks={"deepmath": list(sets)})
    lines = [line("0.8", m, task="deepmath", benchmark=b, model="") for m in ("base", "lora") for b in sets]
    plan: dict[str, Any] = made.plan() | {"published": "\n".join([HEAD, *lines]) + "\n"}
    files = {"deepmath": 3_682, "math500": 50, "gsm8k": 1_319}
    plan["notes"] = {"data": [{"id": sets[b], "rows": n, "files": [["train.jsonl", "ab"]]} for b, n in files.items()]}
    plan["tasks"]["deepmath"] |= {
        "trained_on": {"of": [sets["deepmath"]], "examples": 9},
        "tested_on": {b: [hub] for b, hub in sets.items()},
    }
    made.write("plan.json", json.dumps(plan))
    told = {(one.method, one.benchmark): one.reason for one in tables_of.results(made).beside}
    train, part = (f"other data: {n} rows in place of {sets[b]}'s {m}"
                   for n, b, m in (("3,682", "deepmath", "103,110"), ("50", "math500", "500")))  # fmt: skip
    assert told == {
        ("base", "deepmath"): train, ("base", "math500"): part, ("base", "gsm8k"): "",
        ("lora", "deepmath"): train, ("lora", "math500"): f"{train}; {part}", ("lora", "gsm8k"): train,
    }  # fmt: skip


def test_one_answer_beside_the_mean_of_several_draws_is_remarked(tmp_path):
    head = HEAD.replace("n,model", "n,k,model")
    for k, draws, said in (
        ("1", 5, "the source: one answer to each item, drawn in a way that it does not say; here the mean of 5 draws"),
        ("", 5, "the source: its draws are not said; here the mean of 5 draws"),
        ("5", 5, ""),
        ("1", 1, ""),
    ):
        made = store(tmp_path / f"{k}-{draws}", draws=draws)
        row = f"sst2_imdb,imdb,lora,accuracy,0.3,400,{k},openai-community/gpt2,,,here"
        made.write("plan.json", json.dumps(made.plan() | {"published": f"{head}\n{row}\n"}))
        one = only(tables_of.results(made))
        assert (one.remark, one.reason) == (said, "") and one.verdict in ("agrees", "differs")
        assert (said in markdown(tables_of.results(made))) and one.difference is not None


def test_a_real_run_shows_it_and_a_bad_table_is_refused_before_anything_is_written(here, monkeypatch, capsys):  # noqa: F811
    from test_cli import call

    study = (here / "short.yaml").read_text() + "published: table.csv\n"
    (here / "short.yaml").write_text(study)
    (here / "table.csv").write_text(
        "task,benchmark,method,metric,value\nmini_sentiment,mini_sentiment,lora,accuracy,9\n"
    )
    assert call(monkeypatch, "run", "short.yaml") == 2
    assert "error: published:2, column 'value': 9 of accuracy lies outside 0 to 1" in capsys.readouterr().err
    assert {path.name for path in here.iterdir()} == {"short.yaml", "table.csv"}
    rows = "mini_sentiment,mini_sentiment,lora,accuracy,0.5,8\nmini_sentiment,mini_sentiment,base,accuracy,0.5,8\n"
    (here / "table.csv").write_text(f"task,benchmark,method,metric,value,n\n{rows}")
    assert call(monkeypatch, "run", "short.yaml") == 0
    assert "published values" in capsys.readouterr().out.replace("\N{NO-BREAK SPACE}", " ")
    told = json.loads((here / "runs/short/results.json").read_text())["beside"]
    assert [one["verdict"] for one in told][1] in ("agrees", "differs")
    assert told[0]["reason"] == "1\N{NO-BREAK SPACE}run of the method, fewer than 3"


def test_a_model_from_the_hubs_cache_is_that_model(tmp_path):
    cache = "/root/.cache/huggingface/hub/models--openai-community--gpt2/snapshots/abc"
    for i, path in enumerate((cache, "gpt2", "openai-community/gpt2")):
        assert "model" not in only(results(tmp_path / str(i), line("0.8"), models={"gpt2": path})).reason


def test_what_is_remarked_of_a_models_template_makes_it_no_other_model(tmp_path):
    made = store(tmp_path, line("0.8", model="", model_inferred="a/R1"))
    plan = made.plan()
    notes = {
        "models": {"gpt2": "a/R1 Its chat template's generation prompt ends in '<think>'."},
        "paths": {"gpt2": "a/R1"},
    }
    made.write("plan.json", json.dumps(plan | {"notes": notes}))
    assert only(tables_of.results(made)).reason == ""


def test_what_has_no_interval_is_not_judged(tmp_path):
    """One item, once: nothing is known of its spread in several runs."""
    one = only(results(tmp_path, line("1", method="prompt", n="1"), n=1))
    assert one.mean is not None and one.ci_low is None and one.difference is None
    assert (one.verdict, one.reason) == ("cannot be compared", "what was measured has no interval")


def test_a_study_of_another_name_is_compared_with_the_one_whose_table_it_has():
    from bakeoff.analysis.beside import _original
    from bakeoff.study.load import load

    sentiment = load("paper/sentiment")
    assert sentiment.published and _original("mine", sentiment.published) == sentiment
    twice = load("paper/ablation-2r")
    assert twice.published == load("paper/ablation").published
    assert _original(twice.study, twice.published or "") == twice
    assert _original("mine", HEAD) is None


def test_the_parts_of_a_combination_are_compared_too(tmp_path):
    from bakeoff.analysis.beside import _departures
    from bakeoff.study.expand import expand
    from bakeoff.study.load import load

    original = load("paper/sentiment")
    for settings, said in (([], []), (["methods.lora.r=2"], ["r 2 (the study: 8)"])):
        study = load("paper/sentiment", settings)
        trials = expand(study, {"gpt2": "w"}, {"sst2_imdb": "d"})
        ran = next(trial for trial in trials if trial.method == "lora+prompt")
        assert list(_departures(ran, original)) == said


def test_an_untrained_model_needs_no_seeds(tmp_path):
    found = results(tmp_path, line("0.5", method="base"), seeds=(0,))
    assert only(found).verdict in ("agrees", "differs") and only(found).reason == ""


def test_what_ran_is_compared_with_the_built_in_study_of_that_name(tmp_path):
    """quickstart has seeds of its own, its tasks' limits and its training: all three are named where they differ."""
    from bakeoff.analysis.beside import _departures, _original
    from bakeoff.study.load import load

    original = _original("quickstart")
    assert original is not None and original == load("quickstart") and _original("no such study") is None
    changed = load("quickstart", ["training.max_steps=3", "methods.lora.r=2"], limit=7)
    trial = make_store(tmp_path, bernoulli(RATE, 20)).record
    keys = [row["key"] for row in Store(tmp_path).plan()["trials"] if row["method"] == "lora"]
    task = next(iter(changed.tasks))
    ran = trial(keys[0]).trial.model_copy(
        update={
            "task": task,
            "task_spec": changed.tasks[task],
            "training": changed.methods["lora"].training,
            "method_config": changed.methods["lora"].config,
        }
    )
    told = list(_departures(ran, original))
    assert any(text.startswith("train_limit 7 (the study:") for text in told)
    assert any(text.startswith("max_steps 3 (the study:") for text in told)
    assert any(text.startswith("r 2 (the study:") for text in told)
    own = ran.model_copy(
        update={
            "task_spec": original.tasks[task],
            "training": original.methods["lora"].training,
            "method_config": original.methods["lora"].config,
        }
    )
    assert list(_departures(own, original)) == []


def test_the_interval_covers_where_nothing_differs():
    """Published: one run of n items. Measured: three runs of other items, the same run-to-run variation."""
    from bakeoff.analysis import statistics as st
    from bakeoff.analysis.beside import _interval
    from bakeoff.analysis.result import Cell

    rng, covered, many, n, m, sd = np.random.default_rng(1), 0, 400, 300, 500, 0.03
    for _ in range(many):
        means = np.clip(rng.normal(0.7, sd, 4), 0, 1)
        value = rng.binomial(n, means[3]) / n
        scores = (rng.random((3, m)) < means[:3, None]).astype(float)
        low, high = st.mean_interval(scores)
        (row,) = parse(f"{HEAD}\n{line(f'{value:.4f}', n=str(n))}", "made")
        cell = Cell.model_construct(
            mean=float(scores.mean()), ci_low=low, ci_high=high, per_seed=tuple(scores.mean(axis=1)),
            seed_sd=float(scores.mean(axis=1).std(ddof=1)),
        )  # fmt: skip
        interval = _interval(row)
        assert interval is not None
        low, high = _apart(row, cell, interval)
        covered += low <= 0 <= high
    assert covered / many > 0.95 - 2 * math.sqrt(0.05 * 0.95 / many)


def test_every_format_shows_it_and_is_inert(tmp_path):
    lines = (line("0.800"), line("0.10", method="prompt"), line("0.5", method="<script>x</script>|"))
    made = store(tmp_path, *lines)
    found = tables_of.results(made)
    assert [one.verdict for one in found.beside] == ["agrees", "differs", "cannot be compared"]
    assert "Of 3\N{NO-BREAK SPACE}published values, 1 agrees, 1 differs and 1 cannot be compared" in (
        tables.beside_summary(found)
    )
    page = Page(html(found))
    assert "Published beside measured " in page.words and sum(tag == "script" for tag, _ in page.tags) == 2
    text = markdown(found)
    assert "## Published beside measured" in text and "<script>" not in text
    assert "| sst2" in text and "| 80.0 \\[" in text
    write(made)
    told = json.loads((tmp_path / "results.json").read_text())["beside"]
    assert [one["printed"] for one in told] == ["0.800", "0.10", "0.5"]


def test_a_reason_is_said_once_below_the_table_and_rows_have_its_number(tmp_path):
    rows = [line("0.8", n="25000"), line("0.6", method="prompt", n="25000"), line("0.7", method="qlora"), line("0.8")]
    found = results(tmp_path, *rows)
    assert tables.beside_reasons(found) == ["400 of 25,000 items", "the method qlora is not in this study"]
    verdicts = [row["verdict"] for _, row in tables.beside(found)]
    assert verdicts[:3] == ["cannot be compared (1)", "cannot be compared (1)", "cannot be compared (2)"]
    assert "(" not in verdicts[3]
    text = markdown(found)
    assert "\n1. 400 of 25,000 items\n2. the method qlora is not in this study\n" in text
    assert text.count("400 of 25,000 items") == html(found).count("400 of 25,000 items") == 2  # the summary, the note
