"""The plan: every trial of a study, checked against its model and data, in groups that share passes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

import bakeoff
from bakeoff.analysis import sentences, words
from bakeoff.analysis.metrics import is_fraction
from bakeoff.analysis.printed import parse
from bakeoff.data.datasets import Source, path_or_id
from bakeoff.data.example import clusters
from bakeoff.data.heldout import HeldOut, held_out
from bakeoff.data.messages import remark
from bakeoff.data.overlap import Overlap, overlap
from bakeoff.engine.train import total_steps
from bakeoff.errors import InputError, extra
from bakeoff.methods.method import Method, build
from bakeoff.models.backbone import Backbone, weights_hash
from bakeoff.store.record import Prompt
from bakeoff.store.store import digest, lines, prompts_file, sealed
from bakeoff.study import registry
from bakeoff.study.expand import expand, judged, tuning
from bakeoff.study.load import dump
from bakeoff.study.spec import MethodSpec, Study, TaskSpec, Trial, canonical
from bakeoff.tasks.task import Splits, Task, splits
from bakeoff.tasks.task import build as build_task

SMALL_MODEL = 16_000_000  # parameters; above it one lane fills a CPU (measured: docs/design.md)
LANES = {"cpu": 3, "cuda": 16}
UNDECIDED = "to be chosen"  # the key in plan.json of a trial whose learning rate tuning has not chosen yet


@dataclass(frozen=True)
class Plan:
    """What is to be done: trials in the study's order, in groups, and what they are made of.

    With `tune:` there are `rounds` of tuning trials before, judged on the examples in `held`. Until these have
    `decided`, `trials` have learning rates that stand for those to be chosen, and are in no group.
    """

    study: Study
    trials: tuple[Trial, ...]
    groups: tuple[tuple[Trial, ...], ...]
    tasks: dict[str, Task]
    examples: dict[str, Splits]
    parameters: dict[tuple[str, str], int]  # (model, method) -> trainable numbers, by the method's formula
    device: str
    group_size: int
    backbones: dict[str, Backbone]  # without weights
    overlaps: dict[str, dict[str, Overlap]]  # by task and benchmark
    held_out: HeldOut | None = None
    held: dict[str, Splits] = field(default_factory=dict)
    rounds: tuple[tuple[Trial, ...], ...] = ()
    decided: bool = True
    units: frozenset[tuple[str, ...]] = frozenset()  # groups that ran before, some of them halves of larger ones

    @property
    def stages(self) -> tuple[tuple[Trial, ...], ...]:
        """The trials that are known, those first which decide on others."""
        return (*self.rounds, *([self.trials] if self.decided else []))

    def tunes(self, trial: Trial) -> bool:
        """Whether the trial chooses a learning rate, and is in no table."""
        return bool(self.held) and trial.task_spec.split == "validation"

    def examples_of(self, trial: Trial) -> Splits:
        """What the trial is trained and judged on."""
        return (self.held if self.tunes(trial) else self.examples)[trial.task]

    def grouped(self) -> Plan:
        """The plan with the groups of its known trials: no group has trials of two stages."""
        groups = (group for stage in self.stages for group in _grouped(stage, self.examples, self.group_size))
        return replace(self, groups=tuple(unit for group in groups for unit in _units(group, self.units)))

    def halved(self, group: tuple[Trial, ...]) -> Plan:
        """The plan with a group in halves, since it is too large for the memory."""
        at, several = self.groups.index(group), halves(group)
        groups = (*self.groups[:at], *several, *self.groups[at + 1 :])
        return replace(self, groups=groups, units=frozenset(_keys(one) for one in groups))

    @cached_property
    def prompts(self) -> dict[str, tuple[Prompt, ...]]:
        """What every test item asks, by the hash of the data set."""
        return {
            found.fingerprint: tuple(
                Prompt(benchmark=name, id=row.id, turns=tuple((one.role, one.content) for one in row.prompt))
                for name, rows in found.benchmarks.items()
                for row in rows
            )
            for found in self.examples.values()
        }

    @cached_property
    def files(self) -> dict[str, str]:
        """What lies beside plan.json, and is as much a function of the study."""
        asked = {prompts_file(dataset): lines(prompts) for dataset, prompts in self.prompts.items()}
        return {"study.yaml": dump(self.study), **asked}

    def as_json(self) -> str:
        """plan.json: labels and keys of all trials, and their groups. A function of the study and the device kind."""
        trials = [
            _row(trial) | ({} if self.decided or trial.seed is None else {"key": UNDECIDED}) for trial in self.trials
        ]
        tasks = {
            name: {
                "kind": task.kind,
                "metrics": list(task.metrics),
                "benchmarks": list(self.examples[name].benchmarks),
                "split": self.study.tasks[name].split,
                "floors": self._floors(name),
                "trained_on": {"of": list(self.examples[name].trained_on), "examples": len(self.examples[name].train)},
                "tested_on": {benchmark: list(ids) for benchmark, ids in self.examples[name].tested_on.items()},
                "overlap": {benchmark: found.model_dump() for benchmark, found in self.overlaps[name].items()},
                **({"answering": self.study.tasks[name].answering} if task.kind == "choose" else {}),
                "remark": task.remark(self.study.data),
            }
            for name, task in self.tasks.items()
        }
        notes = {
            "study": list(self.study.notes),
            "random_weights": [name for name, backbone in self.backbones.items() if backbone.random_weights],
            "models": {name: self._model_told(name) for name in self.study.models},
            "paths": {name: spec.path for name, spec in self.study.models.items()},
            "methods": {name: _told(spec) for name, spec in self.study.methods.items()},
            "tasks": {name: self.told(name) for name in self.tasks},
            "data": [source.model_dump(mode="json") | {"told": str(source)} for source in self.sources()],
            "training": {
                name: spec.training.model_dump(mode="json", exclude={"learning_rate"} if spec.rates else None)
                for name, spec in self.study.methods.items()
                if _kind(spec.use).trains
            },
        }
        data = {
            "schema": 1,
            "study": self.study.study,
            "bakeoff": bakeoff.__version__,
            "files": {name: digest(text.encode()) for name, text in self.files.items()},
            "tasks": tasks,
            "parameters": {model: self._sizes(model) for model in self.study.models},
            "trials": trials,
            "groups": [[trial.key() for trial in group] for group in self.groups],
            "device": self.device,
            "group_size": self.group_size,
            "notes": notes,
            **({} if self.study.equivalence_margin is None else {"equivalence_margin": self.study.equivalence_margin}),
            **({"tuning": self._tuning()} if self.study.tune else {}),
            **({"protocol": self.study.protocol} if self.study.protocol else {}),
            **({} if self.study.published is None else {"published": self.study.published}),
            **({"forgetting": self._forgetting()} if self.held_out else {}),
        }
        return sealed(data)

    def _tuning(self) -> dict[str, Any]:
        """The tuning trials by rounds, and what they have in common."""
        assert self.study.tune
        told = [
            _row(trial) | {"round": number, "settings": {"learning_rate": trial.training.learning_rate}}
            for number, one in enumerate(self.rounds)
            for trial in one
            if trial.training
        ]
        common = self.study.tune.model_dump(mode="json", include={"select_on", "seed", "extend"})
        return {**common, "decided": self.decided, "trials": told}

    def _sizes(self, model: str) -> dict[str, dict[str, int]]:
        """By method: its trainable numbers, and those of the model with it."""
        base, counts = self.backbones[model].parameters(), {n: c for (m, n), c in self.parameters.items() if m == model}
        solo = {name: _kind(self.study.methods[name].use).solo for name in counts}
        return {name: {"trainable": n, "total": base + (0 if solo[name] else n)} for name, n in counts.items()}

    def _floors(self, task: str) -> dict[str, dict[str, float]]:
        """By benchmark and metric, what a task's unrelated answers would score."""
        return {name: self.tasks[task].floors(name, rows) for name, rows in self.examples[task].benchmarks.items()}

    def _model_told(self, name: str) -> str:
        """A model's hub id, or the name of its folder, and what is done otherwise than its chat template says."""
        path = Path(self.study.models[name].path)
        told = f"{path.name} (a local folder)" if path.is_dir() else str(path)
        return " ".join(filter(None, [told, remark(self.backbones[name].tokenizer)]))

    def _forgetting(self) -> dict[str, Any]:
        """The held-out text, and the models that have no loss on it."""
        assert self.held_out and self.study.forgetting
        without = [name for name, backbone in self.backbones.items() if backbone.encoder_decoder]
        return {"text": self.held_out.source.id, "texts": len(self.held_out.texts), "not_available": without}

    def sources(self) -> list[Source]:
        """What was read, each once."""
        held_out = [self.held_out.source] if self.held_out else []
        return list(dict.fromkeys([*(one for found in self.examples.values() for one in found.sources), *held_out]))

    def told(self, task: str) -> str:
        """A task and its numbers of examples in a line."""
        return _amounts(self.tasks[task], self.examples[task], self.study.tasks[task])

    def detectable(self, task: str) -> list[str]:
        """For each benchmark of a task scored by a fraction, the differences that the study could detect."""
        if not is_fraction(self.tasks[task].metrics[0]):
            return []
        methods = sum(_kind(spec.use).trains for spec in self.study.methods.values())
        k, split = len(self.study.seeds), self.study.tasks[task].split
        return [
            sentences.planned(words.place("", task, benchmark, split), len(rows), k, methods, clusters(rows))
            for benchmark, rows in self.examples[task].benchmarks.items()
        ]

    def told_of_data(self, task: str) -> list[str]:
        """What a task was read from, and what of its test sets is in its training set."""
        split = self.study.tasks[task].split
        return [str(source) for source in self.examples[task].sources] + [
            words.overlap(words.place("", task, benchmark, split), **one.model_dump())
            for benchmark, one in self.overlaps[task].items()
        ]


def make(study: Study, group_size: int | None = None) -> Plan:
    """Check everything that can be checked without weights, and lay out the work. InputError says what is wrong."""
    if study.published is not None:
        parse(study.published, "published")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tasks = {name: build_task(spec, name) for name, spec in study.tasks.items()}
    for name, task in tasks.items():
        if task.kind == "generate" and study.tasks[name].answering == "generate":
            what = f"{task.name} has no labels, and its answers are always written"
            raise InputError(f"tasks.{name}.answering", what, "leave it out")
    backbones = {name: Backbone.skeleton(spec, name) for name, spec in study.models.items()}
    parameters = {
        (m, name): count(study, backbone, name) for m, backbone in backbones.items() for name in study.methods
    }
    _check_room(study, tasks, backbones)
    examples = {name: _examples(study, name, task) for name, task in tasks.items()}
    weights = {name: weights_hash(spec, f"models.{name}.path") for name, spec in study.models.items()}
    text = _held_out(study)
    prints = {name: found.fingerprint for name, found in examples.items()}
    trials = expand(study, weights, prints, text and text.fingerprint)
    _distinct(trials)
    size = group_size or min(_lanes(device, backbone) for backbone in backbones.values())
    held = _held(study, tasks) if study.tune else {}
    overlaps = {
        name: {benchmark: overlap(found.train, rows) for benchmark, rows in found.benchmarks.items()}
        for name, found in examples.items()
    }
    made = Plan(study, tuple(trials), (), tasks, examples, parameters, device, size, backbones, overlaps, text, held)
    first = tuple(
        tuning(trial, study.tune, rate, held[trial.task].fingerprint)
        for trial in trials
        for rate in study.methods[trial.method].rates
        if study.tune and trial.seed == study.seeds[0]
    )
    return replace(made, rounds=(first,), decided=False).grouped() if study.tune else made.grouped()


def _examples(study: Study, name: str, task: Task) -> Splits:
    declared = study.tasks[name].declared
    with path_or_id(declared.dataset_path if declared else "", f"tasks.{name}.dataset_path", study.folder):
        return splits(task, study.tasks[name], study.data)


def _held_out(study: Study) -> HeldOut | None:
    if study.forgetting is None:
        return None
    with path_or_id(study.forgetting.text, "forgetting.text", study.folder):
        return held_out(study.forgetting, study.data)


def check_engine(plan: Plan, engine: str) -> None:
    """InputError where `--engine lanes` is asked for and a method or a model of the plan cannot run in them."""
    if engine != "lanes":
        return
    alone = [f"methods.{name} ({spec.use})" for name, spec in plan.study.methods.items() if not _kind(spec.use).lanes]
    alone += [f"models.{name} (encoder-decoder)" for name, b in plan.backbones.items() if b.encoder_decoder]
    if alone:
        raise InputError(
            "--engine lanes", f"{alone[0]} runs only through the reference engine", "give auto or reference"
        )


def trials_of(plan: Plan) -> list[Trial]:
    """Every trial, those of tuning first, and those of the comparison whose learning rate is yet to be chosen too."""
    return [*(trial for one in plan.rounds for trial in one), *plan.trials]


def same_trials(plan: Plan, earlier: Mapping[str, Any]) -> bool:
    """Whether the groups of an earlier plan.json hold the plan's trials, each once and no others.

    Of a plan that tunes: whether they begin with its first round, on which the others depend.
    """
    there, first = [key for group in earlier["groups"] for key in group], [trial.key() for trial in plan.stages[0]]
    return there[: len(first)] == first if plan.rounds else sorted(there) == sorted(first)


def in_groups(plan: Plan, earlier: Mapping[str, Any]) -> Plan:
    """The plan in the groups of an earlier plan.json of the same trials, so that a group runs again as it was."""
    if plan.rounds:
        units = frozenset(tuple(group) for group in earlier["groups"])
        return replace(plan, group_size=earlier["group_size"], units=units).grouped()
    trials = {trial.key(): trial for trial in plan.trials}
    groups = tuple(tuple(trials[key] for key in group) for group in earlier["groups"])
    return replace(plan, groups=groups, group_size=earlier["group_size"])


def halves(group: tuple[Trial, ...]) -> tuple[tuple[Trial, ...], tuple[Trial, ...]]:
    """A group in two, the first the larger one where they differ."""
    middle = (len(group) + 1) // 2
    return group[:middle], group[middle:]


def _units(group: tuple[Trial, ...], known: frozenset[tuple[str, ...]]) -> list[tuple[Trial, ...]]:
    """A group as it is, or in those halves of it that are known to have run."""
    if len(group) == 1 or _keys(group) in known:
        return [group]
    pieces = [piece for half in halves(group) for piece in _units(half, known)]
    return pieces if any(_keys(piece) in known for piece in pieces) else [group]


def _keys(group: tuple[Trial, ...]) -> tuple[str, ...]:
    return tuple(trial.key() for trial in group)


def told_of_tuning(plan: Plan) -> str:
    """Where tuning stands, in a line: the next round, or what was chosen."""
    last = len(plan.rounds) - 1
    if not plan.decided:
        if last == 0:
            held = max(len(rows) for found in plan.held.values() for rows in found.benchmarks.values())
            return (
                f"tuning: {len(plan.rounds[0])} trials over each method's grid, judged on {held:,} held-out training "
                f"examples; at most {_extend(plan)} rounds more; then {len(plan.trials)} trials, rates to be chosen"
            )
        why = "a best learning rate lies at the end of its grid"
        return f"tuning, round {last} of at most {_extend(plan)}: {why}; {len(plan.rounds[-1])} trials more"
    rates: dict[tuple[str, ...], float] = {}
    for trial in plan.trials:
        if trial.training:
            front = [trial.model] if len(plan.study.models) > 1 else []
            front += [trial.task] if len(plan.study.tasks) > 1 else []
            rates[*front, trial.method] = trial.training.learning_rate
    return "tuning chose " + ", ".join(f"{'/'.join(name)} {rate:g}" for name, rate in rates.items())


def _extend(plan: Plan) -> int:
    return plan.study.tune.extend if plan.study.tune else 0


def method_of(trial: Trial) -> Method:
    """The trial's method with its hyperparameters."""
    return build(trial.method_use, trial.method_config)


def context_for(backbone: Backbone, virtual_tokens: int) -> int:
    """Tokens that text may take: the model's context less 64 kept for virtual tokens, the same for every method.

    (A quarter of the context where that is less; a method's own number of virtual tokens where that is more.) So all
    methods see the same text.
    """
    return backbone.context - max(min(64, backbone.context // 4), virtual_tokens)


def count(study: Study, backbone: Backbone, name: str) -> int:
    """How many numbers the study's method of that name trains, by its formula; InputError where it does not fit."""
    spec = study.methods[name]
    method = build(spec.use, spec.config)
    if spec.quantize:
        _quantizable(method, f"methods.{name}.quantize")
    try:
        count = method.parameters(backbone)
    except InputError as error:
        raise InputError(f"methods.{name}.{error.where}", error.what, error.mend) from None
    if method.virtual_tokens() * 2 > backbone.context:
        where = f"methods.{name}.num_virtual_tokens"
        raise InputError(
            where,
            f"{method.virtual_tokens()} leave no room for text in a context of {backbone.context}",
            "give at most half of it",
        )
    return count


def _check_room(study: Study, tasks: Mapping[str, Task], backbones: Mapping[str, Backbone]) -> None:
    """InputError where the new tokens of a task's answers leave a model no room for a prompt."""
    virtual = max(build(spec.use, spec.config).virtual_tokens() for spec in study.methods.values())
    for name, task in tasks.items():
        spec = study.tasks[name]
        if task.kind == "choose" and spec.answering != "generate":
            continue
        new = (spec.decoding or task.decoding).max_new_tokens
        for model, backbone in backbones.items():
            room = context_for(backbone, virtual)
            if new >= room:
                where = f"tasks.{name}.decoding.max_new_tokens"
                what = f"{new} leave no room for a prompt: {model} has {room} tokens for text, of {backbone.context}"
                raise InputError(where, what, f"give a good deal less than {room}, or another model")


def _quantizable(method: Method, where: str) -> None:
    """InputError where the base cannot be quantized for this method, or not on this machine."""
    if method.solo:
        what = f"{method.use} trains the base's own weights, and weights held in 4 bits cannot be trained"
        raise InputError(where, what, "use lora on a quantized base (QLoRA), or leave `quantize:` out")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(where, "needs the bitsandbytes library", extra("quant"))


def _distinct(trials: Iterable[Trial]) -> None:
    labels: dict[str, str] = {}
    for trial in trials:
        key, label = trial.key(), f"{trial.model}/{trial.label()}"
        if key in labels:
            raise InputError(
                "models", f"{labels[key]} and {label} are the same trial", "drop one of the models or tasks"
            )
        labels[key] = label


def _row(trial: Trial) -> dict[str, Any]:
    """A trial as plan.json lists it."""
    return {
        "key": trial.key(),
        "model": trial.model,
        "task": trial.task,
        "method": trial.method,
        "seed": trial.seed,
    }


def _held(study: Study, tasks: Mapping[str, Task]) -> dict[str, Splits]:
    """Every task's training examples, and those held out of them to choose on."""
    return {name: splits(task, judged(study.tasks[name]), study.data) for name, task in tasks.items()}


def _lanes(device: str, backbone: Backbone) -> int:
    return LANES[device] if device == "cuda" or backbone.parameters() <= SMALL_MODEL else 1


def _grouped(trials: Iterable[Trial], examples: dict[str, Splits], size: int) -> Iterable[tuple[Trial, ...]]:
    """Neighbours in the study's order that share model, task, method and number of steps, at most `size` together.

    They differ in seed or in a rate, so that their adapters stack and each costs the same.
    """

    def alike(trial: Trial) -> str:
        steps = total_steps(len(examples[trial.task].train), trial.training) if trial.training else 0
        batch = (
            trial.training.per_device_train_batch_size * trial.training.gradient_accumulation_steps
            if trial.training
            else 0
        )
        bf16 = bool(trial.training and trial.training.bf16)
        return canonical(
            [trial.model, trial.task, trial.quantize, trial.method_use, trial.method_config, steps, batch, bf16]
        )

    for _, members in groupby(trials, key=alike):
        group = list(members)
        method = method_of(group[0])
        width = size if method.lanes and not method.solo else 1
        yield from (tuple(group[i : i + width]) for i in range(0, len(group), width))


def _kind(use: str) -> type[Method]:
    return registry.find("methods", use, use)


def _told(spec: MethodSpec) -> str:
    """A method's hyperparameters for people: `lora: r 8, lora_alpha 16, ...`, or its parts."""
    use, config = spec.use + (f" on a base in {spec.quantize}" if spec.quantize else ""), spec.config
    if "parts" in config:
        return f"{use}: " + " + ".join(part["name"] for part in config["parts"])
    shown = words.settings(config)
    return f"{use}: {shown}" if shown else use


def _amounts(task: Task, found: Splits, spec: TaskSpec) -> str:
    if spec.split == "validation":
        tested = f"judged on {sum(len(rows) for rows in found.benchmarks.values())} held-out training examples"
    else:
        tested = "tested on " + ", ".join(f"{len(rows):,} of {name}" for name, rows in found.benchmarks.items())
    how = " Labels are written, not scored." if spec.answering == "generate" else ""
    summary = f"{task.summary.rstrip('.')}. " if task.summary else ""
    return f"{summary}Trained on {len(found.train):,}, {tested}.{how}"
