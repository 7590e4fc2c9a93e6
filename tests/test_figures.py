"""Figures and what they rest on: the front, items won, items shown, tuning curves, files that stand alone."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_store import bernoulli, make_store
from whole import SOLO, poisoned, tuning, whole

from bakeoff.analysis import pareto
from bakeoff.analysis.result import Curve, Results, Shown
from bakeoff.analysis.summary import summarise
from bakeoff.analysis.table import results
from bakeoff.report import alone, figures, html, markdown, summary, tables
from bakeoff.report.views import views
from bakeoff.report.write import as_csv, as_json
from bakeoff.store.record import Sample

RATE = {"base": 0.4, "lora": 0.9, "prefix": 0.8, "prompt": 0.6}
GRID = [f"lora[r={r},learning_rate={rate}]" for r in (4, 8) for rate in (0.0001, 0.001)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return results(make_store(tmp_path_factory.mktemp("figures"), bernoulli(RATE, 60), tuple(RATE), solo=SOLO))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Something in every section."""
    return whole(tmp_path_factory.mktemp("whole"))


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


def test_a_learning_curve_lies_in_a_band_from_its_lowest_run_to_its_highest() -> None:
    about = {"model": "m", "task": "t", "step": (1.0, 2.0), "mean": (3.0, 2.0)}
    several = Curve(**about, method="lora", runs=3, low=(2.0, 1.0), high=(4.0, 3.0))
    once = Curve(**about, method="prompt", runs=1, low=(3.0, 2.0), high=(3.0, 2.0))
    drawn = ElementTree.fromstring(f"<svg>{figures.curves([(several, 'm1'), (once, 'm2')]).inner}</svg>")
    paths = {(one.get("class", "").split()[0], one.get("data-method")): one.get("d", "") for one in drawn.iter("path")}
    assert set(paths) == {("band", "lora"), ("curve", "lora"), ("curve", "prompt")}, "one run has no band"
    heights = {name: [float(point.split()[1]) for point in re.split("[MLZ]", d) if point] for name, d in paths.items()}
    assert heights["band", "lora"] == pytest.approx([0, 33.3, 100, 66.7]), "4 and 3 at the top, then 1 and 2"
    assert heights["curve", "lora"] == pytest.approx([33.3, 66.7])


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


def test_every_number_of_the_page_is_one_of_results_json(full: Results) -> None:
    """Behind every `data-value`, and behind the curves; differences may be turned."""
    page, published = html.render(full), json.loads(as_json(full))
    known, shown = numbers(published), Numbers(page).found
    assert len(shown) > 500
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
    drawn = json.loads(page.partition('id="data">')[2].partition("</script>")[0]).values()
    lines = [line for panel in drawn for line in panel]
    for line, curve in zip(lines, published["curves"], strict=True):
        assert line["method"] == curve["method"] and line["step"] == curve["step"]
        assert line["mean"] == pytest.approx(curve["mean"], rel=1e-3)


FROM = {
    "scores": "cells verdicts confusions", "pareto": "cells", "differences": "comparisons", "learning": "curves",
    "sweeps": "cells verdicts standings", "tuning": "tuning", "cost": "cells", "wins": "comparisons",
    "win_rates": "win_rates", "forgetting": "cells", "published": "beside", "ledger": "cells provenance",
}  # fmt: skip
"""What of results.json a section of the page tells."""


class Told(HTMLParser):
    """Texts by section, but for explanations, samples, axes and keys."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.found: dict[str, list[str]] = {}
        self.section = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.section = told.get("id") or "" if tag == "h2" else self.section
        if tag not in ("meta", "wbr", "br"):
            self.open.append(f"{tag} {told.get('class') or ''}")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Strokes hold no text."""

    def handle_endtag(self, tag: str) -> None:
        self.open.pop()

    def handle_data(self, data: str) -> None:
        within = {word for one in self.open for word in one.split()}
        axes = self.open[-1:] == ["text "] or {"axis", "axis-x", "axis-y", "label"} & within
        if not axes and not {"lead", "swept", "code", "script", "style"} & within:
            self.found.setdefault(self.section, []).append(data)


def words_in(data: Any) -> set[str]:
    """Every text in a JSON value that has a digit."""
    if isinstance(data, dict):
        return {x for name, one in data.items() for x in words_in(name) | words_in(one)}
    if isinstance(data, list):
        return {x for one in data for x in words_in(one)}
    return {data} if isinstance(data, str) and re.search(r"\d", data) else set()


def test_every_number_in_any_text_rounds_one_of_its_part_of_results_json(full: Results) -> None:
    """In table cells, captions, legends, tooltips and heat maps of every section, in whatever unit."""
    page, published = html.render(full), json.loads(as_json(full))
    found, names = Told(page).found, sorted(words_in(published), key=len, reverse=True)
    assert set(FROM) < set(found)
    checked = 0
    for section, parts in FROM.items():
        data = [published[part] for part in parts.split()]
        swept = {float(x) for name in names for x in re.findall(r"=([\d.e-]+)", name)}
        known = {*numbers(data), *lengths(data), *swept, 95.0, 90.0}  # of intervals
        factors = (1, 100, 1e3, 1e-3, 1e-6, 1e-9, 1 / 60)
        values = np.sort([sign * value * factor for value in known for factor in factors for sign in (1, -1)])
        for text in found[section]:
            plain = text
            for name in names:
                plain = plain.replace(name, " ")
            plain = plain.replace("\N{MINUS SIGN}", "-")
            for told in re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", plain):
                value, half = float(told.replace(",", "")), 0.5 * 10.0 ** -len(told.partition(".")[2]) + 1e-9
                at = int(np.searchsorted(values, value - half))
                assert at < len(values) and values[at] <= value + half, (section, told, text)
                checked += 1
    assert checked > 1000


def lengths(data: Any) -> set[float]:
    """How long every list in a JSON value is: runs, settings, rows."""
    inner = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return {x for one in inner for x in lengths(one)} | ({float(len(data))} if isinstance(data, list) else set())


def test_verdicts_doubts_and_lint_are_told_in_the_words_of_results_json(full: Results) -> None:
    shown = "".join(text for texts in Told(html.render(full)).found.values() for text in texts)
    published = json.loads(as_json(full))
    said = [one[name] for one in published["verdicts"] for name in ("headline", "evidence")]
    said += [one["text"] for kind in ("doubts", "lint") for one in published[kind]]
    assert len(said) > 10 and all(text in shown for text in said)


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


def test_hostile_text_in_any_place_stays_text_in_every_format(full: Results) -> None:
    """What is HTML in Markdown, markup in a figure, a formula in a spreadsheet, a command in LaTeX."""
    bad = poisoned(full)
    for name, text in alone.render(bad).items():
        tags = {element.tag.partition("}")[2] for element in ElementTree.fromstring(text).iter()}
        assert tags <= {"svg", "g", "title", "style", "rect", "line", "circle", "path", "text"}, name
    marked = markdown.render(bad)
    assert set(re.findall(r"<(/?\w+)", marked)) == {"details", "/details", "summary", "/summary"}
    assert set(re.findall(r"]\((.*?)\)", marked)) == {*re.findall(r"figures/[\w-]+\.svg", marked), "figures/"}
    assert not re.search(r"(?<!\\)(https?|javascript):", marked) or "http\\://evil" in marked
    rows = list(csv.DictReader(io.StringIO(as_csv(bad))))
    assert {row["method"] for row in rows} == {cell.method for cell in bad.cells}
    formula = bad.model_copy(update={"cells": (bad.cells[0].model_copy(update={"method": "=1+1", "mean": -0.5}),)})
    (row,) = csv.DictReader(io.StringIO(as_csv(formula)))
    assert (row["method"], row["mean"]) == ("'=1+1", "-0.5")
    assert json.loads(as_json(bad))["cells"][0]["method"] == bad.cells[0].method
    together = summarise([bad, bad.model_copy(update={"study": "=1+1"})])
    assert not re.search(r"<(script|img|svg|iframe|a|input|details|link|object|form)\b", summary.as_html(together))
    assert "<" not in summary.as_markdown(together)
    assert "'=1+1" in {row["study"] for row in csv.DictReader(io.StringIO(summary.as_csv(together)))}
