"""A small store made through the real Store: known scores, no model anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bakeoff.analysis.aggregates import measured
from bakeoff.store import durable
from bakeoff.store.record import Benchmark, Cost, CurveRow, Prompt, Provenance, Record, Sample, Solo
from bakeoff.store.store import Store, digest, lines, prompts_file
from bakeoff.study.spec import TaskSpec, Training, Trial

Scores = Callable[[str, str, int | None], Sequence[float]]  # (benchmark, method, seed) -> a score per item
PARAMS = {"base": 0, "lora": 294912, "prefix": 184320, "prompt": 6144, "lora+prompt": 301056}
TOTAL = 124_439_808
DATASET = "cd" * 32


def make_store(
    directory: Path,
    scores: Scores,
    methods: Sequence[str] = ("base", "lora", "prompt"),
    seeds: Sequence[int] = (0, 1, 2),
    tasks: Mapping[str, Sequence[str]] | None = None,
    models: Sequence[str] = ("gpt2",),
    status: Mapping[Any, str] | None = None,
    text: Callable[[str, int | None, int, float], str] | None = None,
    detail: Callable[[str, int], dict[str, Any]] | None = None,
    draws: int = 1,
    lanes: int = 1,
    rates: Mapping[str, float] | None = None,
    counts: Mapping[str, int] | None = None,
    reason: str = "out of memory",
    study: str = "made",
    split: Literal["test", "validation"] = "test",
    solo: Solo | None = None,
    ungraded: Callable[[str, int | None, int, int], bool] = lambda method, seed, item, draw: False,
    metrics: Sequence[str] = ("accuracy",),
    graded: Callable[[str, int | None, int, float], tuple[dict[str, float], dict[str, Any]]] | None = None,
    asked: Callable[[int], Sequence[tuple[str, str]]] | None = None,
) -> Store:
    """Trials for every model x task x method x seed (`base` has none); `status` marks (task, method, seed) missing,
    failed or diverged. With several draws, the first has the score and the others 0; what is `ungraded` has none.
    `graded` makes the scores and the detail of (method, seed, item, value) where there is more than accuracy; `metrics`
    is what the task has. `asked` are the turns of item i."""

    def grade(
        method: str, seed: int | None, i: int, value: float, draw: int
    ) -> tuple[dict[str, float], dict[str, Any]]:
        if graded:
            return graded(method, seed, i, value)
        known = detail(method, i) if detail else {"gold": ("negative", "positive")[i % 2]}
        return {"accuracy": value if draw == 0 else 0.0}, known

    store = Store(directory)
    directory.mkdir(parents=True, exist_ok=True)
    store.write("plan.json", "{}")
    tasks = tasks or {"sst2": ["sst2"]}
    planned: list[dict[str, Any]] = []
    items: dict[str, int] = {}
    for model, (task, benchmarks), method in product(models, tasks.items(), methods):
        for seed in (None,) if method == "base" else tuple(seeds):
            trial = _trial(model, task, method, seed, (rates or {}).get(method, 5e-4), split)
            planned.append({"key": trial.key(), "model": model, "task": task, "method": method, "seed": seed})
            became = (status or {}).get((task, method, seed), "done")
            if became == "missing":
                continue
            samples: list[Sample] = []
            told: dict[str, Benchmark] = {}
            for benchmark in benchmarks if became == "done" else ():
                values = [float(value) for value in scores(benchmark, method, seed)]
                items[benchmark] = len(values)
                samples += [
                    Sample(
                        benchmark=benchmark,
                        id=f"{benchmark}-{i}",
                        draw=draw,
                        text=text(method, seed, i, value) if text else ("positive", "negative")[(i + int(value)) % 2],
                        scores={} if ungraded(method, seed, i, draw) else grade(method, seed, i, value, draw)[0],
                        detail=grade(method, seed, i, value, draw)[1],
                    )
                    for i, value in enumerate(values)
                    for draw in range(draws)
                ]
                own = [sample for sample in samples if sample.benchmark == benchmark]
                found = measured(metrics, own)
                told[benchmark] = Benchmark(metrics=found, n_items=len(values), counts=dict(counts or {}))
            _commit(store, trial, became, samples, told, lanes, reason, solo)
    plan = {
        "schema": 1,
        "study": study,
        "bakeoff": "0.1.0",
        "tasks": {t: {"kind": "choose", "metrics": list(metrics), "benchmarks": list(b)} for t, b in tasks.items()},
        "trials": planned,
        "groups": [[row["key"] for row in planned]],
        "device": "cpu",
        "group_size": lanes,
    }
    store.write("plan.json", json.dumps(plan))
    if asked:
        rows = (
            Prompt(benchmark=name, id=f"{name}-{i}", turns=tuple(asked(i)))
            for name in items
            for i in range(items[name])
        )
        store.write(prompts_file(DATASET), lines(rows))
    return store


def edit(path: Path, text: str) -> None:
    """Write another text into a trial's file, and list it as if it had been written so."""
    path.write_text(text)
    relist(path.parent)


def relist(trial: Path) -> None:
    """Make a trial's manifest anew, of the files as they are now."""
    files = [path for path in sorted(trial.rglob("*")) if path.is_file() and path.name != durable.MANIFEST]
    told = {
        path.relative_to(trial).as_posix(): durable.Entry(bytes=path.stat().st_size, sha256=digest(path.read_bytes()))
        for path in files
    }
    (trial / durable.MANIFEST).write_text(durable.Manifest(told).model_dump_json())


def bernoulli(rate: Mapping[str, float], n: int, spread: float = 0.0, seed: int = 0) -> Scores:
    """0/1 scores with item difficulties shared by methods and a run effect of SD `spread` (logits)."""

    def draw(benchmark: str, method: str, trained_with: int | None) -> list[float]:
        items = np.random.default_rng([seed, len(benchmark)]).normal(0, 1.2, n)
        own = np.random.default_rng(
            [seed, len(benchmark), sum(map(ord, method)), 0 if trained_with is None else trained_with + 1]
        )
        p = rate[method]
        logits = items + 1.25 * np.log(p / (1 - p)) + own.normal(0, spread)
        return [float(x) for x in own.random(n) < 1 / (1 + np.exp(-logits))]

    return draw


def _trial(
    model: str, task: str, method: str, seed: int | None, rate: float, split: Literal["test", "validation"]
) -> Trial:
    return Trial(
        model=model,
        task=task,
        method=method,
        weights=f"{sum(map(ord, model)):064x}",
        dtype="float32",
        task_spec=TaskSpec(use=task, split=split, validation=500 if split == "validation" else 0),
        task_version=1,
        dataset=DATASET,
        method_use=method,
        method_config={"name": method},
        method_version="1",
        training=None if seed is None else Training(learning_rate=rate, max_steps=120),
        seed=seed,
    )


def _commit(
    store: Store,
    trial: Trial,
    status: Any,
    samples: list[Sample],
    told: dict[str, Benchmark],
    lanes: int,
    reason: str,
    solo: Solo | None,
) -> None:
    trained, key = trial.seed is not None, trial.key()
    params = PARAMS.get(trial.method, 1000)
    noise = np.random.default_rng([sum(map(ord, trial.method)), trial.seed or 0]).normal(0, 0.05, 120)
    floor = 0.25 + 0.1 * (len(trial.method) % 4)
    curve = [
        CurveRow(step=i + 1, loss=float(floor + 0.6 * np.exp(-i / 25) + noise[i]), learning_rate=5e-4, grad_norm=1.0)
        for i in range(120 if trained else 0)
    ]
    store.stage(key)
    store.commit(
        trial,
        Record(
            key=key,
            trial=trial,
            status=status,
            reason="" if status == "done" else reason,
            benchmarks=told,
            trainable_params=params,
            total_params=TOTAL + params,
            cost=Cost(
                train_seconds=40.0 + params / 1e5 if trained else 0.0,
                eval_seconds=3.0,
                train_tokens=120 * 16 * 30 if trained else 0,
                train_steps=120 if trained else 0,
                lanes=lanes,
                adapter_bytes=params * 4 + 512 if trained else 0,
                solo=solo,
            ),
            provenance=Provenance(
                engine="lanes",
                executor="inline",
                group=0,
                group_size=lanes,
                device="cpu",
                threads=2,
                platform="Linux x86_64",
                versions={"torch": "2.11.0", "transformers": "5.0.1", "bakeoff": "0.1.0"},
                started=f"2026-01-02T03:0{trial.seed or 0}:00+00:00",
            ),
        ),
        samples,
        curve,
    )
