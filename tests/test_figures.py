"""Figures and what they rest on: the front, items won, items shown, tuning curves, files that stand alone."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_store import bernoulli, make_store

from bakeoff.analysis import pareto
from bakeoff.analysis.result import Beside, ExpectedBest, Results, Shown, Tuned, Tuning, WinRate
from bakeoff.analysis.table import results
from bakeoff.report import alone, figures, html, tables
from bakeoff.report.views import views
from bakeoff.report.write import as_json
from bakeoff.store.record import Sample, Solo

RATE = {"base": 0.4, "lora": 0.9, "prefix": 0.8, "prompt": 0.6}
GRID = [f"lora[r={r},learning_rate={rate}]" for r in (4, 8) for rate in (0.0001, 0.001)]
SOLO = Solo(
    step_seconds=0.25, step_seconds_min=0.2, step_seconds_max=1.5, tokens_per_second=1234.4, step_flops=5_600_000_000,
    timed_steps=4, peak_bytes=900_000_000, held_bytes=700_000_000, inference_seconds=0.0421, inference_ratio=1.372,
)  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return results(make_store(tmp_path_factory.mktemp("figures"), bernoulli(RATE, 60), tuple(RATE), solo=SOLO))


def test_only_what_is_separably_better_dominates(found: Results) -> None:
    """By cost: prompt, prefix, lora. What is better and dearer dominates nothing, nor does what is not separable."""

    def beaten(*better: tuple[str, str], lora: int = 294_912) -> list[str | None]:
        said = {pair: "a better" for pair in better} | {(b, a): "b better" for a, b in better}
        pairs = [p.model_copy(update={"verdict": said.get((p.a, p.b), "not separable")}) for p in found.comparisons]
        cells = [c.model_copy(update={"trainable_params": lora}) if c.method == "lora" else c for c in found.cells]
        points = pareto.front(cells, pairs, "trainable_params")
        return [
            point.beaten_by for name in ("prompt", "prefix", "lora") for point in points if point.cell.method == name
        ]

    assert beaten() == [None, None, None]
    assert beaten(("lora", "prefix"), ("lora", "prompt")) == [None, None, None], "it is the dearest"
    assert beaten(("lora", "prefix"), ("lora", "prompt"), lora=10) == ["lora", "lora", None]
    assert beaten(("prompt", "lora"), ("prefix", "lora")) == [None, None, "prefix"], "the better one is named"
    assert beaten(("base", "prompt")) == ["base", None, None], "nothing is cheaper than what is not trained"


def test_items_won_are_counted_from_the_samples(tmp_path: Path) -> None:
    scores = {"base": [0, 0, 1, 1], "lora": [1, 1, 1, 0], "prompt": [1, 0, 0, 0]}
    made = results(make_store(tmp_path, lambda benchmark, method, seed: scores[method], tuple(scores)))
    won = {(pair.a, pair.b): (pair.items_a, pair.items_b) for pair in made.comparisons}
    assert won == {("lora", "base"): (2, 1), ("prompt", "base"): (1, 2), ("lora", "prompt"): (2, 0)}
    matrix = dict(tables.wins(tables.sections(made)[0]))
    assert [one and (one.won, one.lost) for one in matrix["base"]] == [None, (1, 2), (2, 1)]
    assert matrix["lora"][2] is not None and matrix["lora"][2].shade == round(2 / 4 * tables.SHADES)


def test_shown_items_are_the_first_and_those_methods_differ_on(tmp_path: Path) -> None:
    def scores(benchmark: str, method: str, seed: int | None) -> list[float]:
        return [float(i % 10 == 0 and method == "lora") for i in range(100)]

    made = results(make_store(tmp_path, scores, tuple(RATE)))
    (section,) = tables.sections(made)
    shown = tables.items(section)
    assert [one.id for one in shown] == [f"sst2-{i}" for i in (0, 1, 2, *range(10, 100, 10))]
    assert [one.agreement for one in shown[:4]] == ["differ", "wrong", "wrong", "differ"]
    assert all(len(one.answers) == 4 for one in shown)


def test_samples_show_details_for_people_and_colour_what_is_right_or_wrong(found: Results) -> None:
    sample = Sample(
        benchmark="sst2", id="x", text="yes", scores={"a": 0.0, "b": 1.0, "c": 0.5},
        detail={"stage": "label", "bleu": [5, 150, 1], "bleu_signature": "nrefs:1"},
    )  # fmt: skip
    shown = Shown(model="gpt2", task="sst2", benchmark="sst2", method="lora", seed=0, samples=(sample,))
    page = html.render(found.model_copy(update={"samples": (shown,)}))
    assert re.findall(r'class="score ?(\w*)">(\w)', page) == [("wrong", "a"), ("good", "b"), ("", "c")]
    assert "<b>stage</b> label" in page and "bleu" not in page[page.index('id="samples"') :]


def test_decades_have_ticks_at_any_range() -> None:
    assert figures.decades([1e3, 1e6]).ticks == (1e3, 1e4, 1e5, 1e6)
    for values in ([7.0], [3.0, 3.1], [9.5, 11.0], [1e-3, 5e7], []):
        on = figures.decades(values)
        assert on.ticks and all(on.low <= tick <= on.high for tick in on.ticks)
        assert all(0 < on.share(value) < 1 for value in values)


class Numbers(HTMLParser):
    """The numbers behind the page's elements, with their texts."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[list[float], str]] = []
        self.inside: list[float] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        own = [float(value) for name in ("data-value", "data-low", "data-high") if (value := told.get(name))]
        self.inside = own or (self.inside if tag == "b" else None)

    def handle_data(self, data: str) -> None:
        if self.inside is not None:
            self.found.append((self.inside, data))
            self.inside = None


def numbers(data: Any) -> set[float]:
    """Every number in a JSON value."""
    if isinstance(data, dict | list):
        return {x for one in (data.values() if isinstance(data, dict) else data) for x in numbers(one)}
    return {float(data)} if isinstance(data, int | float) and not isinstance(data, bool) else set()


def test_labels_of_a_front_cover_nothing(tmp_path: Path) -> None:
    """Neither each other nor a disc; beyond eight methods they are numbers, and methods on one spot share one."""
    many = {"base": 0.3, **{f"lora[r={r},learning_rate={rate}]": 0.6 for r in (1, 2, 3, 4, 5) for rate in (1, 2)}}
    made = results(make_store(tmp_path, lambda *_: [1.0] * 6 + [0.0] * 4, tuple(many), solo=SOLO))
    (view,) = views(made)
    assert list(view.numbers) == list(many)[1:] and list(view.numbers.values()) == list(range(1, 11))
    front = ElementTree.fromstring(f"<svg>{view.fronts[-1].plot.inner}</svg>")
    labels = ["".join(label.itertext()) for label in front.findall("./g[@class='label']")]
    assert labels == ["1 to 10"], "every method took the same time and scored the same"
    page = html.render(made)
    assert page.count("<b>10</b>&nbsp;lora<wbr>") == 1


def tuning(method: str, *scores: float) -> Tuning:
    points = tuple(
        Tuned(settings={"learning_rate": 10.0**-i}, score=s, status="done", round=0) for i, s in enumerate(scores)
    )
    best = tuple(
        ExpectedBest(budget=b, score=max(scores[:b]), low=max(scores[:b]) - 0.05, high=max(scores[:b]) + 0.05)
        for b in range(1, len(scores) + 1)
    )
    return Tuning(
        model="gpt2", task="sst2", method=method, metric="accuracy", lower_is_better=False, budget=len(scores),
        select_on="validation", points=points, chosen=points[int(np.argmax(scores))].settings, edge=True, flat=False,
        undertuned="the best rate is <at> the grid's edge" if method == "prompt" else None, expected_best=best,
    )  # fmt: skip


def beside(method: str, value: float) -> Beside:
    return Beside(
        model="gpt2", task="sst2", benchmark="sst2", method=method, metric="accuracy", printed=str(value), value=value,
        low=value - 0.02, high=value + 0.02, n=872, inferred=False, source="a paper", mean=0.85, ci_low=0.81,
        ci_high=0.89, n_items=80, runs=3, trained=True, difference=0.85 - value, difference_low=-0.1,
        difference_high=0.07, verdict="agrees", reason="",
    )  # fmt: skip


def test_every_number_of_the_page_is_one_of_results_json(tmp_path: Path) -> None:
    """Behind every `data-value`, and behind the curves; differences may be turned."""
    made = results(make_store(tmp_path, bernoulli(RATE, 80, 0.2), tuple(RATE), solo=SOLO))
    cells = [
        cell.model_copy(update={"text_loss": 2.125, "text_loss_changes": (0.5, 0.25, 0.1)} if cell.trained else {})
        for cell in made.cells
    ]
    asked = {**made.provenance, "forgetting": {"text": "some.txt", "texts": 9, "not_available": []}}
    made = made.model_copy(update={
        "cells": tuple(cells), "provenance": asked,
        "tuning": (tuning("lora", 0.625, 0.8125), tuning("prompt", 0.53125)),
        "win_rates": (WinRate(model="gpt2", method="lora", mean=0.71, ci_low=0.62, ci_high=0.83, benchmarks=2,
                              opponents=3, scope="runs and items"),),
        "beside": (beside("lora", 0.901), beside("prefix", 0.7654)),
    })  # fmt: skip
    page, published = html.render(made), json.loads(as_json(made))
    known, shown = numbers(published), Numbers(page).found
    assert len(shown) > 170
    units = {"kB": 1e-3, "MB": 1e-6, "GB": 1e-9, "ms": 1e3, "k": 1e-3, "M": 1e-6, "G": 1e-9}
    for values, text in shown:
        for value in values:
            assert value in known or -value in known, (value, text)
        plain = text.replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", " ").replace(",", "")
        first = plain.split()[0].strip("[+")
        if first == "<":
            assert abs(values[0]) < 0.001
        elif "min" not in plain:
            times = [units[word] for word in plain.split()[1:2] if word in units] or [1.0, 100.0]
            digits = len(first.partition(".")[2])
            off = min(abs(float(first) - value * factor) for value in values[:1] for factor in times)
            assert off <= 0.5 * 10.0**-digits + 1e-9, (values, text)
    (drawn,) = json.loads(page.partition('id="data">')[2].partition("</script>")[0]).values()
    for line, curve in zip(drawn, published["curves"], strict=True):
        assert line["method"] == curve["method"] and line["step"] == curve["step"]
        assert line["mean"] == pytest.approx(curve["mean"], rel=1e-3)


def test_tuning_is_shown_with_what_was_chosen_and_why_not_ranked(found: Results) -> None:
    tuned = found.model_copy(update={"tuning": (tuning("lora", 0.6, 0.8, 0.7), tuning("prompt", 0.5))})
    page = html.render(tuned)
    assert 'id="tuning"' in page and 'id="tuning"' not in html.render(found)
    assert "undertuned: the best rate is &lt;at&gt; the grid&#39;s edge" in page
    assert "learning_rate 0.1" in page and page.count('class="spot') == 4
    assert "tuning-1.svg" in alone.render(tuned)


def test_files_of_figures_stand_alone(tmp_path: Path, found: Results) -> None:
    hostile = {"base": 0.3, "a<b>&\"\x1b'": 0.6, **{name: 0.5 + 0.1 * i for i, name in enumerate(GRID)}}
    other = results(make_store(tmp_path, bernoulli(hostile, 60), tuple(hostile), solo=SOLO))
    drawn = {**alone.render(found), **{f"other-{name}": text for name, text in alone.render(other).items()}}
    assert {
        "1-scores.svg",
        "1-differences.svg",
        "1-pareto-parameters.svg",
        "1-pareto-time.svg",
        "learning-1.svg",
    } <= set(drawn)
    assert "other-1-sweep-lora-accuracy.svg" in drawn
    unmeasured = alone.render(found.model_copy(update={"cells": tuple(
        cell.model_copy(update={"peak_bytes": None}) for cell in found.cells
    )}))  # fmt: skip
    assert "1-pareto-memory.svg" not in unmeasured, "a figure is named after its own cost"
    assert "by training time" in unmeasured["1-pareto-time.svg"] and "by training time" in drawn["1-pareto-time.svg"]
    assert "difference from base" in drawn["1-differences-base.svg"], "the second forest"
    for name, text in drawn.items():
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.get("viewBox"), name
        tags = {element.tag.partition("}")[2] for element in root.iter()}
        assert tags <= {"svg", "g", "title", "style", "rect", "line", "circle", "path", "text"}, name
        assert "prefers-color-scheme" not in text and "var(" not in text and "--" not in text and len(text) < 60_000
