"""Several metrics of a benchmark, and its answers as labels, in every report."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console
from synthetic_store import bernoulli, make_store
from test_aggregates import METRICS, RATE, graded
from test_report import HOSTILE, Page

from bakeoff.analysis.table import Results, results
from bakeoff.report import tables, terminal, write
from bakeoff.store.store import Store

NBSP = "\N{NO-BREAK SPACE}"


def store(folder: Path, **how) -> Store:
    return make_store(folder, bernoulli(RATE, 120, 0.1), metrics=METRICS, **{"graded": graded, **how})


def shown(found: Results, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal.table(found))
    return console.export_text()


def plain(path: Path) -> str:
    """The text of a report that a reader sees, its spaces all alike."""
    text = path.read_text()
    text = "".join(Page(text).words) if path.suffix == ".html" else re.sub(r"\\(.)", r"\1", text).replace("&lt;", "<")
    return text.replace(NBSP, " ")


def test_every_metric_is_shown_with_its_interval_and_direction(tmp_path: Path) -> None:
    made = store(tmp_path)
    found = results(made)
    for path in write(made, ["html", "md"]):
        text = plain(path)
        assert "lower is better" in text and "gold label's negative log-likelihood" in text
        for cell in found.cells:
            assert tables.value(cell) in text and tables.interval(cell) in text
    published = json.loads(write(made, ["json"])[0].read_text())
    assert [cell["lower_is_better"] for cell in published["cells"]] == [c.metric == "loss" for c in found.cells]
    assert [one["method"] for one in published["confusions"]] == ["base", "lora", "prompt"]


def test_answers_are_counted_on_the_page(tmp_path: Path) -> None:
    made = store(tmp_path)
    (section,) = tables.sections(results(made))
    assert tables.balance(section).replace(NBSP, " ") == (
        "Gold: 80 negative and 40 positive; to say negative to everything would be right in 66.7 %."
    )
    rows = {(row.method, row.gold): row for row in tables.answered(section)}
    assert [count for count, _ in rows["lora", "negative"].said][:2] == list(section.confusions[1].counts[0][:2])
    assert sum(count for count, _ in rows["lora", "negative"].said) == 3 * 80
    assert sum(share for _, share in rows["base", "positive"].said) == pytest.approx(1)
    for path in write(made, ["html", "md"]):
        text = plain(path)
        assert tables.balance(section).replace(NBSP, " ") in text and "Every answer was a label." in text
        assert "said positive" in text and "no label" not in text


def test_a_constant_predictor_and_answers_without_a_label_are_said(tmp_path: Path) -> None:
    def told(method, seed, i, value):
        scores, detail = graded(method, seed, i, value)
        if (method, seed) == ("prompt", 1):
            return scores, {**detail, "chosen": "positive"}
        return scores, {**detail, "chosen": None, "unparsable": True} if method == "base" and i < 30 else detail

    made = store(tmp_path, graded=told)
    for path in write(made, ["html", "md"]):
        text = plain(path)
        assert 'said "positive" to everything in 1 of 3 runs' in text
        assert "no label" in text and "25.0 %" in text


def test_no_metric_but_the_headline_no_further_table(tmp_path: Path) -> None:
    made = make_store(tmp_path, bernoulli(RATE, 60))
    (section,) = tables.sections(results(made))
    assert section.metrics == [] and section.confusions == ()
    text = plain(write(made, ["html"])[0])
    assert "All metrics" not in text and "Answers" not in text


def test_hostile_labels_stay_text(tmp_path: Path) -> None:
    labels = HOSTILE[:2]

    def told(method, seed, i, value):
        gold = labels[i % 2]
        return {"accuracy": value, "loss": 0.5}, {"gold": gold, "chosen": gold if value else labels[(i + 1) % 2]}

    for path in write(store(tmp_path, graded=told), ["html", "md"]):
        text = path.read_text()
        assert "<script>alert" not in text and "<img" not in text
        if path.suffix == ".html":
            assert [tag for tag, _ in Page(text).tags if tag in ("script", "img")] == ["script"] * 2, "the page's own"


def test_the_terminal_shows_other_metrics_where_there_is_room(tmp_path: Path) -> None:
    found = results(store(tmp_path))
    wide, narrow = shown(found, 120), shown(found, 60)
    assert "precision_binary, %" in wide and tables.value(found.cells[-1]) in wide
    assert "Also measured: loss, f1_binary, precision_binary and recall_binary" in " ".join(narrow.split())
    assert max(map(len, narrow.splitlines())) <= 60


def test_the_overview_names_the_best_by_the_metrics_own_direction(tmp_path: Path) -> None:
    def lossy(method, seed, i, value):
        return {"loss": 1.3 - value}, {}

    made = make_store(tmp_path, bernoulli(RATE, 300, 0.05), metrics=("loss",), graded=lossy)
    text = plain(write(made, ["html"])[0])
    assert "Against lora, the best mean" in text
    assert "loss (lower is better)" in text
