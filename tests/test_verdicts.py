"""Verdicts: what is not ranked neither leads nor vanishes, and what a headline says is what was tested."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthetic_store import bernoulli, make_store

from bakeoff.analysis import pareto
from bakeoff.analysis.table import Results, results
from bakeoff.report import tables, views, write
from bakeoff.store.record import Solo

METHODS = ("base", "lora", "prefix", "prompt")
RIGHT = {"base": 40, "lora": 73, "prefix": 70, "prompt": 50}
DIVERGED: dict[Any, str] = {("sst2", "lora", 1): "diverged"}
THIN = "\N{NO-BREAK SPACE}"


def stripes(right: Mapping[str, int], apart: Mapping[str, int] | None = None, n: int = 100) -> Any:
    """Every run of a method gets its first `right[method]` items right, the next run `apart` (one) more."""
    return lambda benchmark, method, seed: [
        float(i < right[method] + (apart or {}).get(method, 1) * (seed or 0)) for i in range(n)
    ]


def marks(found: Results) -> dict[str, str]:
    (section,) = tables.sections(found)
    return {cell.method: tables.mark(section, cell) for cell in section.cells}


def test_nobody_wins_because_a_rival_was_dropped(tmp_path: Path) -> None:
    """lora scored 74 of 100 in two runs and diverged in the third; prefix scored 71 in three."""
    found = results(make_store(tmp_path, stripes(RIGHT), METHODS, status=DIVERGED))
    (verdict,) = found.verdicts
    assert (verdict.winner, verdict.winner_set) == (None, ("prefix",))
    assert verdict.unranked == {"lora": "a run diverged"}
    assert verdict.headline == (
        f"prefix beats every other ranked method on sst2 (71.0{THIN}% accuracy), "
        "but no test puts it ahead of lora, which is not ranked."
    )
    assert verdict.evidence.startswith("It leads the next best ranked, prompt, by 20.0")
    worse = results(make_store(tmp_path / "worse", stripes({**RIGHT, "lora": 45}), METHODS, status=DIVERGED))
    assert worse.verdicts[0].winner == "prefix" and "no test" not in worse.verdicts[0].headline


def test_the_page_leads_with_what_is_ranked(tmp_path: Path) -> None:
    store = make_store(tmp_path, stripes(RIGHT), METHODS, status=DIVERGED)
    (view,) = views.views(results(store))
    assert [forest.against for forest in view.forests] == ["prefix", "base"]
    assert {pair.a for pair, _ in view.forests[0].rows} == {"base", "lora", "prompt"}
    assert {cell.method: tables.unranked(view.section, cell) for cell, *_ in view.rows if cell.trained} == {
        "lora": "not ranked: a run diverged",
        "prefix": "",
        "prompt": "",
    }
    html, markdown = (path.read_text() for path in write(store, ["html", "md"]))
    assert (
        "Against prefix, the best mean of those ranked" in html and "| lora (not ranked: a run diverged) |" in markdown
    )
    assert '<td class="r soft" data-value="0.74" data-label="mean">' in html
    assert '<td class="r main" data-value="0.71" data-label="mean">' in html


def test_what_is_not_ranked_dominates_nothing_and_is_on_no_front(tmp_path: Path) -> None:
    """lora, the best and made the cheapest, would dominate prompt."""
    found = results(make_store(tmp_path, stripes(RIGHT), METHODS, status=DIVERGED))
    cells = [c.model_copy(update={"trainable_params": 9}) if c.method == "lora" else c for c in found.cells]
    free = {p.cell.method: (p.beaten_by, p.ranked) for p in pareto.front(cells, found.comparisons, "trainable_params")}
    assert free["prompt"] == ("lora", True)
    points = pareto.front(cells, found.comparisons, "trainable_params", found.verdicts[0].unranked)
    told = {point.cell.method: (point.beaten_by, point.ranked) for point in points}
    assert told == {"lora": (None, False), "prompt": (None, True), "prefix": (None, True)}


def test_a_time_dominates_only_where_ranges_of_steps_do_not_overlap(tmp_path: Path) -> None:
    """prefix, separably better than prompt, takes 0.2 s a step in the median and prompt 0.3 s."""
    found = results(make_store(tmp_path, stripes(RIGHT), METHODS))

    def beaten(most: float) -> str | None:
        ranges = {"prefix": (0.2, 0.1, most), "prompt": (0.3, 0.25, 0.4)}
        cells = []
        for cell in found.cells:
            median, least, longest = ranges.get(cell.method, (9.0, 9.0, 9.0))
            solo = Solo(
                step_seconds=median,
                step_seconds_min=least,
                step_seconds_max=longest,
                inference_seconds=1.0,
                inference_ratio=1.0,
            )
            cells.append(cell.model_copy(update={"solo": solo, "solo_train_seconds": 120 * median}))
        points = pareto.front(cells, found.comparisons, "solo_train_seconds")
        return next(point.beaten_by for point in points if point.cell.method == "prompt")

    assert (beaten(0.25), beaten(0.26)) == ("prefix", None)


def test_the_highest_of_those_ranked_is_called_that(tmp_path: Path) -> None:
    right = {**RIGHT, "prompt": 69}
    found = results(make_store(tmp_path, stripes(right), METHODS, status=DIVERGED))
    assert "prefix scored highest of those ranked (71.0" in found.verdicts[0].headline
    lesser = results(make_store(tmp_path / "lesser", stripes({**right, "lora": 60}), METHODS, status=DIVERGED))
    assert "prefix scored highest (71.0" in lesser.verdicts[0].headline


def test_a_lead_that_rests_on_pooling_is_no_win(tmp_path: Path) -> None:
    """lora's runs lie 8 items of 100 apart: by its own three it is not ahead, by the pool of all methods it is."""
    right = {"base": 20, "lora": 60, "prefix": 50, "prompt": 30}
    scores = stripes(right, {"lora": 8, "prefix": 3, "prompt": 3})
    found = results(make_store(tmp_path, scores, METHODS))
    (verdict,) = found.verdicts
    assert (verdict.winner, verdict.winner_set) == (None, ("lora",)) and marks(found)["lora"] == "top"
    assert "This rests on run variance pooled over methods: with each method's own, lora against " in verdict.evidence
    steady = results(make_store(tmp_path / "steady", stripes({**RIGHT, "lora": 79}), METHODS))
    assert steady.verdicts[0].winner == "lora" and "rests on run variance" not in steady.verdicts[0].evidence


def test_a_comparison_tells_its_own_seeds(tmp_path: Path) -> None:
    found = results(make_store(tmp_path, stripes(RIGHT), ("base", "lora")))
    assert f"n = 100{THIN}items, k = 3{THIN}seeds (base is untrained)" in found.verdicts[0].evidence
    status = {("sst2", "prompt", 1): "failed"}
    some = results(make_store(tmp_path / "some", stripes(RIGHT), METHODS, status=status))
    assert f"k = 3{THIN}seeds each" in some.verdicts[0].evidence, "lora and prefix, whatever prompt has"


def test_completions_that_nobody_could_read_are_the_headline(tmp_path: Path) -> None:
    mute = {"detail": lambda method, i: {"unparsable": True, "said": i}, "text": lambda *of: str(of[2])}
    found = results(make_store(tmp_path, lambda *of: [0.0] * 40, METHODS, **mute))
    (verdict,) = found.verdicts
    assert verdict.headline == f"No completion on sst2 could be read: all 4 methods are at 0.0{THIN}% accuracy."
    assert set(marks(found).values()) == {""} and len(verdict.winner_set) == 4
    (check,) = (check for check in found.lint if check.name == "constant predictor")
    assert (check.state, check.doubts) == ("found", ("unparsable",))
    assert check.text == f"10{THIN}runs on a benchmark gave no answer to any item that could be read."


def test_a_headline_counts_what_it_cannot_name(tmp_path: Path) -> None:
    names = ("base", *(f"lora[r={r}]" for r in range(1, 8)))
    rate = {name: 0.3 if name == "base" else 0.8 for name in names}
    (verdict,) = results(make_store(tmp_path, bernoulli(rate, 80, 0.1), names)).verdicts
    best, *rest = sorted(verdict.winner_set, key=lambda name: name not in verdict.headline)
    assert len(rest) == 6 and verdict.headline.endswith(", but 6 of 7 others are not separable from it.")
    assert not any(name in verdict.headline for name in rest)
    assert f"Not separable from {best}: " in verdict.evidence and all(name in verdict.evidence for name in rest)


def test_win_rates_leave_out_a_method_with_a_run_that_diverged(tmp_path: Path) -> None:
    tasks = {"sst2": ["sst2"], "topics": ["topics"]}
    store = make_store(tmp_path, stripes(RIGHT), METHODS, tasks=tasks, status=DIVERGED)
    found = results(store).win_rates
    assert {(rate.method, rate.mean) for rate in found} == {("prefix", 1.0), ("prompt", 0.5), ("base", 0.0)}
