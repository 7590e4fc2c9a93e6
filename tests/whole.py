"""Results with something in every section of a page, and the same with hostile text wherever text stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from synthetic_store import bernoulli, make_store

from bakeoff.analysis.result import Beside, ExpectedBest, Results, Tuned, Tuning
from bakeoff.analysis.table import results
from bakeoff.store.record import Solo

SECTIONS = (
    "verdict", "doubt", "scores", "pareto", "differences", "learning", "sweeps", "tuning", "cost", "wins", "win_rates",
    "forgetting", "published", "samples", "ledger", "provenance",
)  # fmt: skip
"""The sections of a page, in the order in which a reader asks for them."""
RATE = {
    "base": 0.4, "prompt": 0.6, "lora[r=4,learning_rate=0.001]": 0.8, "lora[r=8,learning_rate=0.001]": 0.85,
    "lora[r=4,learning_rate=0.01]": 0.7, "lora[r=8,learning_rate=0.01]": 0.9,
}  # fmt: skip
SOLO = Solo(
    step_seconds=0.25, step_seconds_min=0.2, step_seconds_max=1.5, tokens_per_second=1234.4, step_flops=5_600_000_000,
    timed_steps=4, peak_bytes=900_000_000, held_bytes=700_000_000, inference_seconds=0.0421, inference_ratio=1.372,
)  # fmt: skip
PAYLOADS = (
    "<script>window.hit=1</script>",
    "</script><script>window.hit=1</script>",
    "<img src=x onerror=window.hit=1>",
    "<svg onload=window.hit=1>",
    "<svg><script>window.hit=1</script></svg>",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "<iframe src=javascript:parent.hit=1></iframe>",
    "<a href=javascript:window.hit=1 id=evil>x</a>",
    "<body onload=window.hit=1>",
    "<input autofocus onfocus=window.hit=1>",
    "<details open ontoggle=window.hit=1>",
    "<style>*{background:url(http://evil.invalid/x)}</style>",
    "</style><script>window.hit=1</script>",
    "</pre></td></table><script>window.hit=1</script>",
    "--><script>window.hit=1</script><!--",
    "]]><script>window.hit=1</script>",
    "\"'><script>window.hit=1</script>",
    "{{ 7*7 }}{% raw %}<script>window.hit=1</script>",
    "<link rel=stylesheet href=http://evil.invalid/x.css><meta http-equiv=refresh content=0;url=http://evil.invalid/>",
    "<object data=http://evil.invalid/x></object><form action=http://evil.invalid/><button>x</button></form>",
)
_FIXED = {"status", "verdict", "scope", "split", "state", "test", "seed_variance", "printed"}
_KEYED = {"methods", "parameters", "unranked", "scores", "detail", "versions", "overlaps", "models", "tasks"}
"""Fields whose values are no free text, and those whose keys are."""


def whole(directory: Path) -> Results:
    """Two tasks, a sweep, several metrics, labels, tuning, held-out text, published values, prompts."""
    made = results(make_store(
        directory, bernoulli(RATE, 40, 0.2), tuple(RATE), tasks={"sst2": ["sst2"], "imdb": ["imdb"]}, solo=SOLO,
        metrics=("accuracy", "loss"), graded=_graded, status={("imdb", "prompt", 2): "failed"},
        asked=lambda i: [("system", "Say which."), ("user", f"Sentence {i}?")],
    ))  # fmt: skip
    cells = [
        cell.model_copy(update={"text_loss": 2.125, "text_loss_changes": (0.5, 0.25, 0.1)} if cell.trained else {})
        for cell in made.cells
    ]
    notes = {"study": ["Alpha is 16."], "models": {"gpt2": "a folder"}, "tasks": {"sst2": "sentiment"}, "data": []}
    asked = {"forgetting": {"text": "some.txt", "texts": 9, "not_available": []}, "notes": notes}
    return made.model_copy(update={
        "cells": tuple(cells), "provenance": {**made.provenance, **asked},
        "tuning": (tuning("prompt", 0.53125), tuning(list(RATE)[2], 0.625, 0.8125)),
        "beside": (beside("prompt", 0.901), beside("base", 0.7654)),
    })  # fmt: skip


def _graded(method: str, seed: int | None, i: int, value: float) -> tuple[dict[str, float], dict[str, Any]]:
    gold = ("negative", "positive")[i % 2]
    said = gold if value else ("positive", "negative")[i % 2]
    noise = float(np.random.default_rng([i, len(method), seed or 0]).normal(0, 0.1))
    detail = {"gold": gold, "chosen": said, "stage": ("label", "text")[i % 3 > 0]}
    return {"accuracy": value, "loss": 1.5 - value + 0.01 * len(method) + noise}, detail


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
        difference_high=0.07, verdict="agrees", reason="", remark="of another checkpoint",
    )  # fmt: skip


def poisoned(found: Results) -> Results:
    """The same results with a payload in every text and name, the same one in the same text: names still match."""
    return Results.model_validate(_spoilt(found.model_dump(mode="python"), ""))


def _spoilt(data: Any, name: str) -> Any:
    if isinstance(data, str):
        return data if name in _FIXED else poison(data)
    if isinstance(data, dict):
        return {poison(key) if name in _KEYED else key: _spoilt(value, str(key)) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(_spoilt(value, name) for value in data)
    return data


def poison(text: str) -> str:
    """A text with a payload, before what is swept of a method's name."""
    base, bracket, rest = text.partition("[")
    return base + PAYLOADS[sum(map(ord, base)) % len(PAYLOADS)] + bracket + rest
