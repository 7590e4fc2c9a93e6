"""Lint of anybody's long table: an honest one is clean, and each slip is found where it was put."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff.analysis.long_table import read
from bakeoff.analysis.pass_at_k import pass_at_k
from bakeoff.analysis.result import Check
from bakeoff.analysis.table_lint import lint
from bakeoff.cli import main

Runs = Mapping[tuple[str, str], Sequence[float]]


def drawn(seed: int, n: int = 40, p: float = 0.6) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).random(n) < p]


def honest() -> dict[tuple[str, str], list[float]]:
    return {(m, str(s)): drawn(10 * i + s) for i, m in enumerate(("lora", "prompt")) for s in range(3)}


def written(runs: Runs, path: Path) -> Path:
    lines = [f"{m},{s},q{i},{x}" for (m, s), scores in runs.items() for i, x in enumerate(scores)]
    path.write_text("\n".join(["method,seed,item,score", *lines]))
    return path


def checks(runs: Runs, tmp_path: Path, metric: str = "accuracy") -> dict[str, Check]:
    return {check.name: check for check in lint(read(written(runs, tmp_path / "t.csv"), metric))}


def found(told: Mapping[str, Check]) -> dict[str, str]:
    return {name: check.text for name, check in told.items() if check.state == "found"}


def test_an_honest_table_is_clean(tmp_path: Path) -> None:
    told = checks(honest(), tmp_path)
    assert not found(told) and told["values"].state == told["lost runs"].state == "clean"
    untold = {name for name, check in told.items() if check.state == "not applicable"}
    assert untold == {"pass@k", "trained parameters", "frozen part", "percentages", "overlap"}
    assert "40 in all" in told["missing items"].text
    assert checks(honest(), tmp_path, "score")["values"].state == "not applicable", "nobody said what is counted"


@pytest.mark.parametrize("share", [0.5, 0.333, 0.25, 0.6667, 2 / 3])
def test_a_score_is_a_count_of_draws_with_its_digits(tmp_path: Path, share: float) -> None:
    runs = {**honest(), ("lora", "1"): [share, *drawn(3)[1:]]}
    assert "values" not in found(checks(runs, tmp_path))


def test_a_score_that_no_count_gives_is_named(tmp_path: Path) -> None:
    told = found(checks({**honest(), ("lora", "1"): [0.51234, *drawn(3)[1:]]}, tmp_path))
    assert list(told) == ["values"] and told["values"].startswith("lora, run 2: in which no number of draws up to 100")


def test_pass_at_k_by_its_plug_in_is_found_and_by_its_estimator_is_not(tmp_path: Path) -> None:
    """From 3 draws there is no unbiased pass@5: 1 - (1 - c/3)^5 stands in for it. From 8 there is."""
    rng = np.random.default_rng(0)

    def scores(draws: int) -> dict[tuple[str, str], list[float]]:
        right = {(m, s): rng.integers(0, draws + 1, 30) for m in "ab" for s in "012"}
        of: Any = (lambda c: 1 - (1 - c / draws) ** 5) if draws < 5 else (lambda c: pass_at_k(draws, int(c), 5))
        return {run: [round(float(of(c)), 6) for c in own] for run, own in right.items()}

    assert "pass@k" in found(checks(scores(3), tmp_path, "pass@5"))
    told = checks(scores(8), tmp_path, "pass@5")
    assert not found(told) and told["pass@k"].state == "clean" and told["values"].state == "not applicable"


def test_two_constant_predictors_give_themselves_away(tmp_path: Path) -> None:
    """One says yes to everything and the other no: on gold labels they are right just where the other is wrong."""
    gold = drawn(7)
    runs = {**honest(), ("lora", "2"): gold, ("prompt", "0"): [1 - x for x in gold], ("prompt", "1"): gold}
    text = found(checks(runs, tmp_path))["constant predictor"]
    assert "prompt, run 1 right just where wrong is lora, run 3" in text
    assert "prompt, run 2 right on the very items of lora, run 3" in text
    perfect = {run: [1.0] * 40 for run in honest()}
    assert not found(checks(perfect, tmp_path)), "to be right on every item is no constant answer"


def test_a_leader_of_one_seed_and_runs_that_others_have(tmp_path: Path) -> None:
    runs = {run: scores for run, scores in honest().items() if run[0] == "prompt" or run[1] == "0"}
    runs["lora", "0"] = [1.0] * 39 + [0.0]
    told = found(checks(runs, tmp_path))
    assert told["winner's seeds"] == "lora: leads with one seed."
    assert told["lost runs"].startswith("lora 1 of 3: fewer runs than others")
    runs["lora", ""] = runs.pop(("lora", "0"))
    assert not found(checks(runs, tmp_path)), "an untrained model has one run"


def test_the_program_says_it_in_words_and_in_json(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    path = written({**honest(), ("lora", "1"): [0.51234, *drawn(3)[1:]]}, tmp_path / "t.csv")

    def call(*more: str) -> str:
        monkeypatch.setattr(sys, "argv", ["bakeoff", "compare", "--table", str(path), "--metric", "accuracy", *more])
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().out

    lines = call().splitlines()
    assert lines[-2] == "Lint: 4 clean, 5 not applicable, 1 found: values." and lines[-1].startswith(
        "values: lora, run"
    )
    told = json.loads(call("--json"))
    assert list(told) == ["comparisons", "lint"] and {"name", "state", "text", "doubts"} == set(told["lint"][0])
