"""Lint: a clean study is clean, and each thing that is looked for is found where it was put."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic_store import TOTAL, bernoulli, edit, make_store

from bakeoff.analysis.lint import lint
from bakeoff.analysis.result import Check
from bakeoff.analysis.table import Results, results
from bakeoff.report import write
from bakeoff.report.checklist import line
from bakeoff.store.store import Store

RATE = {"base": 0.3, "lora": 0.9, "prompt": 0.6}
CHECKS = (
    *("values", "pass@k", "constant predictor", "trained parameters", "frozen part"),
    *("percentages", "winner's seeds", "lost runs", "overlap"),
)


def made(directory: Path, **how: Any) -> Store:
    """A study with all that a plan tells: formulas, overlap."""
    store = make_store(directory, bernoulli(RATE, 60), **how)
    plan = store.plan()
    sizes = {name: {"trainable": n, "total": TOTAL + n} for name, n in {"lora": 294912, "prompt": 6144}.items()}
    plan["parameters"] = {"gpt2": sizes}
    plan["tasks"]["sst2"] |= {"overlap": {"sst2": {"exact": 0, "ngram13": 0, "of": 60}}, "split": "test"}
    store.write("plan.json", json.dumps(plan))
    return store


def states(found: Results) -> dict[str, str]:
    return {check.name: check.state for check in found.lint}


def on_record(change: Callable[[dict[str, Any]], None], method: str = "lora") -> Callable[[Store], None]:
    """Damage to the record of a method's first trial."""

    def damage(store: Store) -> None:
        key = next(trial["key"] for trial in store.plan()["trials"] if trial["method"] == method)
        path = store.trials / key / "record.json"
        record = json.loads(path.read_text())
        change(record)
        edit(path, json.dumps(record))

    return damage


def on_plan(change: Callable[[dict[str, Any]], None]) -> Callable[[Store], None]:
    def damage(store: Store) -> None:
        plan = store.plan()
        change(plan)
        store.write("plan.json", json.dumps(plan))

    return damage


def moved(prompt: float | None) -> Callable[[dict[str, Any]], None]:
    parts = {"lora": {"trainable_params": 5, "moved": 0.5}, "prompt": {"trainable_params": 2, "moved": prompt}}
    return lambda record: record.update(parts=parts)


def test_a_clean_study_is_clean(tmp_path: Path) -> None:
    store = made(tmp_path)
    found = results(store)
    assert tuple(states(found)) == CHECKS
    unasked = {name for name, state in states(found).items() if state == "not applicable"}
    assert unasked == {"pass@k", "frozen part"} and "found" not in states(found).values()
    assert line(found.lint) == "Lint: 7 clean, 2 not applicable."
    told = {check.name: check.text for check in found.lint}
    assert told["values"].startswith("7\N{NO-BREAK SPACE}run means (accuracy)")
    assert told["percentages"].endswith(f"({TOTAL:,} to {TOTAL + 294912:,}).")
    assert "7 clean, 2 not applicable" in write(store, ["md"])[0].read_text()
    page = write(store, ["html"])[0].read_text()
    assert "<summary>Lint: 7 clean, 2 not applicable.</summary>" in page and f"clean: {told['values']}" in page
    assert [check["name"] for check in json.loads(write(store, ["json"])[0].read_text())["lint"]] == list(CHECKS)


@pytest.mark.parametrize(
    ("name", "kinds", "damage"),
    [
        ("values", ("record differs",), on_record(lambda r: r["benchmarks"]["sst2"]["metrics"].update(accuracy=0.99))),
        ("trained parameters", ("parameters",), on_record(lambda r: r.update(trainable_params=294_000))),
        ("frozen part", ("frozen part",), on_record(moved(0.0))),
        ("frozen part", ("part not finite",), on_record(moved(None))),
        ("overlap", ("overlap",), on_plan(lambda p: p["tasks"]["sst2"]["overlap"]["sst2"].update(exact=2))),
    ],
)
def test_damage_is_found_where_it_was_done(
    tmp_path: Path, name: str, kinds: tuple[str, ...], damage: Callable[[Store], None]
) -> None:
    store = made(tmp_path)
    damage(store)
    found = results(store)
    assert [check.name for check in found.lint if check.state == "found"] == [name]
    assert next(check.doubts for check in found.lint if check.name == name) == kinds
    assert set(kinds) <= {doubt.kind for doubt in found.doubts}, "the checklist points to doubts that are told"
    assert line(found.lint).endswith(f"1 found: {name}.")


def test_a_share_that_no_count_gives_is_named(tmp_path: Path) -> None:
    """Half a point for one answer: 60 items with one draw each give no mean in between."""
    scores = bernoulli(RATE, 60)

    def partial(benchmark: str, method: str, seed: int | None) -> list[float]:
        return [
            0.5 if (i, method, seed) == (0, "lora", 1) else x for i, x in enumerate(scores(benchmark, method, seed))
        ]

    found = results(make_store(tmp_path, partial))
    assert states(found)["values"] == "found"
    (doubt,) = (doubt.text for doubt in found.doubts if doubt.kind == "off the grid")
    assert doubt.startswith("sst2: accuracy counts completions, but no count of them gives lora/seed 1 0.")
    several = results(make_store(tmp_path / "draws", scores, draws=4))
    assert states(several)["values"] == "clean", "a quarter of a point is what one of four draws gives"


@pytest.mark.parametrize(("draws", "state"), [(2, "found"), (5, "clean")])
def test_pass_at_k_takes_k_draws(tmp_path: Path, draws: int, state: str) -> None:
    def graded(method: str, seed: int | None, i: int, value: float) -> tuple[dict[str, float], dict[str, Any]]:
        return {"pass@1": value, "pass@5": value}, {}

    metrics = ("pass@1", "pass@5")
    found = results(make_store(tmp_path, bernoulli(RATE, 30), draws=draws, graded=graded, metrics=metrics))
    assert states(found)["pass@k"] == state
    assert any(doubt.kind == "too few draws" for doubt in found.doubts) == (state == "found")


def test_runs_that_collapsed_or_were_lost_are_found(tmp_path: Path) -> None:
    found = results(made(tmp_path, text=lambda method, seed, i, value: "positive" if method == "prompt" else str(i)))
    assert states(found)["constant predictor"] == "found"
    lost = results(made(tmp_path / "lost", status={("sst2", "lora", 1): "diverged", ("sst2", "prompt", 0): "failed"}))
    (check,) = (check for check in lost.lint if check.name == "lost runs")
    assert (check.state, check.doubts) == ("found", ("incomplete", "failed", "diverged"))


def test_parts_that_no_record_tells_of_are_not_called_clean(tmp_path: Path) -> None:
    store = made(tmp_path)
    on_record(lambda record: record["trial"].update(method_use="combine"))(store)
    (check,) = (check for check in results(store).lint if check.name == "frozen part")
    assert (check.state, check.text) == ("not applicable", "These trials' records do not say how far parts moved.")
    on_record(moved(0.25))(store)
    (check,) = (check for check in results(store).lint if check.name == "frozen part")
    assert check.state == "clean" and "(L2 norms of 0.25 to 0.5)" in check.text


def test_a_leader_of_one_seed_is_found_where_the_page_names_one(tmp_path: Path) -> None:
    def said(name: str, rate: dict[str, float], **how: Any) -> Check:
        whole = results(make_store(tmp_path / name, bernoulli(rate, 60), methods=tuple(rate), **how))
        (check,) = (check for check in whole.lint if check.name == "winner's seeds")
        assert (check.state == "found") == ("one seed" in check.doubts)
        return check

    alone = said("alone", RATE, seeds=(0,))
    assert (alone.state, alone.text) == ("found", "Named highest from one seed: lora on sst2.")
    assert said("base", {"base": 0.9, "lora": 0.4}, seeds=(0,)).state == "clean", "an untrained model leads"
    one_of = {("sst2", "lora", seed): "failed" for seed in (1, 2)}
    assert said("led", RATE, status=one_of).state == "clean", "prompt, with three, leads those ranked"
    rest = {"lora": 0.9, "prompt": 0.6}
    assert said("no ranking", rest, status=one_of).text == "Named highest from one seed: lora on sst2."
    assert said("only", {"lora": 0.9}, seeds=(0,)).state == "not applicable"


def test_a_winner_of_two_seeds_and_a_bare_percentage_would_be_found(tmp_path: Path) -> None:
    """Nothing makes such results; the checks are on what is shown, whoever made it."""
    found = results(made(tmp_path))

    def checked(**change: Any) -> dict[str, Check]:
        cells = [cell.model_copy(update=change) if cell.method == "lora" else cell for cell in found.cells]
        return {check.name: check for check in lint({}, (), {}, cells, found.verdicts, ())}

    assert found.verdicts[0].winner == "lora" and checked()["winner's seeds"].state == "clean"
    assert checked(per_seed=(0.9, 0.8))["winner's seeds"].text == "Named winner with fewer than 3: lora on sst2."
    assert checked(total_params=None)["percentages"].text == "Of what is not known: lora."
