"""Opened: a stored trial, found by what people call it, and its model as it was after training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from bakeoff.engine.randomness import generator
from bakeoff.errors import InputError, suggest
from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.methods.method import Method
from bakeoff.models.backbone import Backbone, weights_hash
from bakeoff.run.plan import method_of
from bakeoff.store.record import Record
from bakeoff.store.store import Store
from bakeoff.study.load import load
from bakeoff.study.spec import Model, Study, Trial, labelled
from bakeoff.tasks.task import Task, build


@dataclass(frozen=True)
class Opened:
    """A finished trial of a study: its record, its task, its model."""

    store: Store
    study: Study
    record: Record
    task: Task

    @property
    def trial(self) -> Trial:
        return self.record.trial

    @property
    def label(self) -> str:
        return self.trial.label()

    @property
    def model(self) -> Model:
        """What the study says of the base model."""
        return self.study.models[self.trial.model]

    @property
    def folder(self) -> Path:
        """Where the trial's adapter lies."""
        return self.store.adapter(self.record.key)

    @cached_property
    def method(self) -> Method:
        return method_of(self.trial)

    def backbone(self) -> Backbone:
        """The base model with its weights; InputError where they are not those the trial was trained on."""
        where = f"models.{self.trial.model}.path"
        if weights_hash(self.model, where) != self.trial.weights:
            raise InputError(where, f"{self.model.path} is no longer the model that {self.label} was trained on")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return Backbone.load(self.model, device, self.trial.model, self.trial.quantize)

    def adapter(self, backbone: Backbone) -> Adapter:
        """The trained adapter, on `backbone`, for evaluation."""
        adapter = self.method.attach(backbone, generator(self.trial.seed, "init"))
        if self.method.trains:
            adapter.load(self.folder)
        return adapter.eval()


def open_trial(store: Store, name: str) -> Opened:
    """The finished trial that `name` means, see `find`; InputError where it has no model to use."""
    found = find(store, name)
    if not store.has(found["key"]):
        raise InputError("TRIAL", f"{label(found)} has not been run", f"run the study of {store.directory} again")
    record = store.record(found["key"])
    if record.status != "done":
        raise InputError("TRIAL", f"{label(found)} {record.status} ({record.reason})", "choose another trial")
    study = load(store.directory / "study.yaml")
    task = build(study.tasks.get(record.trial.task, record.trial.task_spec), record.trial.task)
    return Opened(store, study, record, task)


def find(store: Store, name: str) -> Mapping[str, Any]:
    """The planned trial that `name` means: a key, the start of one, or `task/method/seed 0`, of tuning `/rate 0.001`.

    The seed may be left out where there is one trial of the method, and the model's name may stand in front.
    InputError lists the choices where `name` means several, or none.
    """
    plan = store.plan()
    trials = [*plan["trials"], *(plan.get("tuning") or {}).get("trials", ())]
    is_key = re.fullmatch(r"[0-9a-f]{4,64}", name) is not None
    found = [trial for trial in trials if (trial["key"].startswith(name) if is_key else name in _names(trial))]
    if len(found) == 1:
        return found[0]
    full = len({trial["model"] for trial in trials}) > 1
    if found:
        choices = ", ".join(f"{label(trial, full)} ({trial['key'][:8]})" for trial in found)
        raise InputError("TRIAL", f"'{name}' is {len(found)} trials", f"name one: {choices}")
    near = suggest(name, [label(trial, full) for trial in trials])
    example = f"a trial is named like {label(trials[-1], full)}, or by the start of its key"
    raise InputError("TRIAL", f"no trial '{name}'", example if near.startswith("accepted") else near)


def label(trial: Mapping[str, Any], full: bool = False) -> str:
    """A planned trial for people, as `Trial.label`; the model's name before it where `full`."""
    end = labelled(trial["seed"], trial.get("settings", {}).get("learning_rate"))
    return (f"{trial['model']}/" if full else "") + f"{trial['task']}/{trial['method']}{end}"


def _names(trial: Mapping[str, Any]) -> set[str]:
    """What a planned trial may be called; one that tunes by its rate alone."""
    short = [] if "settings" in trial else [f"{trial['task']}/{trial['method']}"]
    return {front + name for front in ("", f"{trial['model']}/") for name in (*short, label(trial))}
