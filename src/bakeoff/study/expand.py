"""Expansion: a study and the facts about its models and data become trials, in the study's order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bakeoff.study import registry
from bakeoff.study.spec import Study, TaskSpec, Trial, Tune


def expand(
    study: Study, weights: Mapping[str, str], datasets: Mapping[str, str], held_out: str | None = None
) -> list[Trial]:
    """Every model x task x method x seed; a method that trains nothing is one trial with no seed.

    `weights` holds each model's content hash, `datasets` each task's, by their names in the study; `held_out` is that
    of the text whose loss the study asks for.
    """
    return [
        _trial(study, model, task, method, seed, weights[model], datasets[task], held_out)
        for model in study.models
        for task in study.tasks
        for method, spec in study.methods.items()
        for seed in (study.seeds if registry.find("methods", spec.use, method).trains else (None,))
    ]


def tuned(trial: Trial, rate: float) -> Trial:
    """The trial at another learning rate."""
    assert trial.training
    return trial.model_copy(update={"training": trial.training.model_copy(update={"learning_rate": rate})})


def tuning(trial: Trial, tune: Tune, rate: float, dataset: str) -> Trial:
    """The tuning trial of a rate: as `trial`, with the tuning seed, judged on all of the task's held-out examples.

    `dataset` is the content hash of its training examples and of these.
    """
    update = {"task_spec": judged(trial.task_spec), "dataset": dataset, "seed": tune.seed, "tunes": True}
    return tuned(trial.model_copy(update=update), rate)


def judged(spec: TaskSpec) -> TaskSpec:
    """A task judged on its held-out examples."""
    return spec.model_copy(update={"split": "validation", "test_limit": None})


def _trial(
    study: Study, model: str, task: str, method: str, seed: int | None, weights: str, dataset: str, held_out: str | None
) -> Trial:
    spec, asked = study.methods[method], study.tasks[task]
    return Trial(
        model=model,
        task=task,
        method=method,
        weights=weights,
        dtype=study.models[model].dtype,
        task_spec=asked,
        task_version=registry.find("tasks", asked.use, task).version,
        dataset=dataset,
        method_use=spec.use,
        method_config=_anonymous(spec.config),
        method_version=_version(spec.use, spec.config),
        quantize=spec.quantize,
        training=None if seed is None else spec.training,
        seed=seed,
        held_out=held_out,
    )


def _version(use: str, config: Mapping[str, Any]) -> str:
    """The method's version, followed by its parts': `1`, or `1(1,2)`."""
    own = str(registry.find("methods", use, use).version)
    parts = [_version(part["use"], part["config"]) for part in config.get("parts", ())]
    return f"{own}({','.join(parts)})" if parts else own


def _anonymous(config: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters with parts numbered instead of named: what a study calls its methods is no part of a key."""
    if "parts" not in config:
        return config
    return {**config, "parts": [{**part, "name": f"part{i}"} for i, part in enumerate(config["parts"])]}
