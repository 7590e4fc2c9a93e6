"""The study file's words as strict, frozen data: Study, Model, TaskSpec, Training, Decoding, Trial."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

PROTOCOL = 3
"""Goes up, and with it every key, when anything that all trials share changes their numbers: how examples become
tokens and are cut, the order of batches, the optimiser, how labels are scored and text is drawn."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+\-]{0,79}(\[[^\[\]/\\\x00-\x1f\x7f]{1,80}\])?")
COMMIT = re.compile("[0-9a-f]{40}")
Quantize = Literal["nf4"]
Answering = Literal["likelihood", "generate"]
Dtype = Literal["float32", "float64", "bfloat16", "float16"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Frozen(BaseModel):
    """Immutable data that refuses unknown keys and wrong types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Model(Frozen):
    """A base model: a hub id or a local directory in Hugging Face's format, and the dtype its weights are held in.

    `trust_remote_code` lets Python files of the model's authors run, of a hub's model those of the commit `revision`.
    They are then part of its trials' keys, by the hash of the weights.
    """

    path: str = Field(min_length=1)
    revision: str | None = None
    dtype: Dtype = "float32"
    trust_remote_code: bool = False

    @model_validator(mode="after")
    def _code_is_pinned(self) -> Model:
        local = self.path.startswith(("/", ".", "~"))
        if self.trust_remote_code and not local and not COMMIT.fullmatch(self.revision or ""):
            raise ValueError(
                "trust_remote_code needs `revision:`, a commit's 40 hexadecimal digits, so that the code cannot change"
            )
        return self


class Decoding(Frozen):
    """How completions are drawn: greedy at temperature 0, else `samples` draws by temperature and nucleus (top_p)."""

    max_new_tokens: Count = 64
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    samples: Count = 1

    @model_validator(mode="after")
    def _draws_need_temperature(self) -> Decoding:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(f"samples: {self.samples} at temperature 0 would all be the same; set a temperature")
        return self


class Revision(Frozen):
    """A hub dataset's branch, tag or commit, which a study's `data:` may pin."""

    revision: str = Field(min_length=1)


class Metric(Frozen):
    """A score of a declared task. The two flags are lm-eval's, for `exact_match`; `pos_label` is scikit-learn's.

    It is the label that binary precision, recall and F1 are of.
    """

    metric: str
    ignore_case: bool = False
    ignore_punctuation: bool = False
    pos_label: str | None = None


class Declared(Frozen):
    """A task that a study declares itself, in lm-eval's words: what is read, how a row becomes a chat, what is scored.

    `dataset_path` is a hub id or, absolute, a local folder or file, and `dataset_name` the hub's configuration.
    `description` is the system message. Templates are Jinja's, over a row's fields; a field's name alone is its value.
    Without `doc_to_text` and `doc_to_target` a row is a whole chat, in its field `messages`. `cluster` names what items
    hang together by (ours, not lm-eval's). docs/tasks.md has more.
    """

    dataset_path: str = Field(min_length=1)
    dataset_name: str | None = None
    training_split: str = "train"
    test_split: str = "test"
    description: str | None = None
    doc_to_text: str | None = None
    doc_to_target: str | int | None = None
    doc_to_choice: str | tuple[str, ...] | None = None
    output_type: Literal["multiple_choice", "generate_until"] | None = None
    metric_list: tuple[Metric, ...] = ()
    cluster: str | None = None


class TaskSpec(Frozen):
    """A task as a study asks for it: which one, how much of it, and how completions are drawn.

    `validation` examples are held out of the training split; `split: validation` evaluates on them in place of the
    test set, which is how hyperparameters are chosen without touching it. `benchmarks` names those of the task's that
    are wanted (None: all). `decoding` overrides the task's own. `declared` is what the study says of a task of its own.
    `answering` is how labels are answered where a task has them: the likelihood of each is scored, or the model writes
    and a label is looked for in the text.
    """

    use: str
    train_limit: Count | None = None
    test_limit: Count | None = None
    validation: Annotated[int, Field(ge=0)] = 0
    split: Literal["test", "validation"] = "test"
    decoding: Decoding | None = None
    benchmarks: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    declared: Declared | None = None
    answering: Answering = "likelihood"

    @model_validator(mode="after")
    def _validation_exists(self) -> TaskSpec:
        if self.split == "validation" and not self.validation:
            raise ValueError("split: validation needs `validation:` (how many training examples to hold out)")
        return self


class Forgetting(Frozen):
    """Text that no task teaches: how its loss changes in training says what a model forgets.

    `text` is a file or a hub id, `field` the column that holds the text, `limit` how many rows are read, by a fixed
    draw.
    """

    text: str = Field(min_length=1)
    field: str = Field(min_length=1, default="text")
    split: str = Field(min_length=1, default="test")
    config: str | None = None
    limit: Count = 200


class Training(Frozen):
    """One optimisation run in transformers.TrainingArguments' words, with its defaults.

    `warmup_ratio` (a share of all steps) applies where `warmup_steps` is 0; `max_steps` overrides `num_train_epochs`
    where it is positive; `bf16` is autocast, the weights stay in the model's dtype.
    """

    learning_rate: Positive = 5e-5
    per_device_train_batch_size: Count = 8
    gradient_accumulation_steps: Count = 1
    num_train_epochs: Positive = 3.0
    max_steps: Annotated[int, Field(ge=-1)] = -1
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    warmup_ratio: Fraction = 0.0
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    max_grad_norm: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    adam_beta1: Fraction = 0.9
    adam_beta2: Fraction = 0.999
    adam_epsilon: Positive = 1e-8
    bf16: bool = False


class Tune(Frozen):
    """How each method's learning rate is chosen before the comparison, on `validation` examples of every task.

    `learning_rate` is the grid that a method tries (None: its published one). All trials of the choice have one `seed`,
    which is none of the report's. Where a best value lies at the end of its grid, every method gets one trial more, in
    at most `extend` rounds.
    """

    learning_rate: tuple[Positive, ...] | None = None
    select_on: Literal["validation"] = "validation"
    seed: Seed = 1000
    extend: Annotated[int, Field(ge=0)] = 2

    @field_validator("learning_rate")
    @classmethod
    def _grid(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and len(set(value)) < max(3, len(value)):
            raise ValueError("a grid needs at least 3 values, all different: fewer have no best one inside")
        return value and tuple(sorted(value))


class MethodSpec(Frozen):
    """A row of the comparison as the study names it: the kind (`use`), its hyperparameters, its own training.

    `config` holds every hyperparameter, defaults included; the parts of a `combine` are nested in it. `quantize` says
    how the frozen base's weights are held: `nf4` makes QLoRA of LoRA (4-bit NormalFloat, double quantisation). `rates`
    is the grid from which the learning rate is chosen, ascending; none where it is `training`'s.
    """

    use: str
    config: dict[str, Any] = {}
    quantize: Quantize | None = None
    training: Training
    rates: tuple[Positive, ...] = ()


class Study(Frozen):
    """A whole comparison: every model x task x method x seed, sweeps and defaults resolved.

    `data` says where a hub id's rows are read: from a local path, or at a revision of the hub. `notes` say for people
    what the study assumes, `published` is the text of a table (CSV) to set the results beside. `equivalence_margin` is
    the difference of fractions up to which methods are called equivalent (None: .02). None of them is part of any key.
    `tune` says how learning rates are chosen, `protocol: shared` that all methods have one and the same.
    `source` is what the study file said, settings, limits and absolute paths included; `folder` is where the file
    stands, for error messages.
    """

    study: str
    models: dict[str, Model] = Field(min_length=1)
    tasks: dict[str, TaskSpec] = Field(min_length=1)
    methods: dict[str, MethodSpec] = Field(min_length=1)
    seeds: tuple[Seed, ...] = Field(min_length=1, default=(0,))
    tune: Tune | None = None
    protocol: Literal["shared"] | None = None
    forgetting: Forgetting | None = None
    equivalence_margin: Annotated[float, Field(gt=0, lt=1)] | None = None
    data: dict[str, str | Revision] = {}
    plugins: tuple[str, ...] = ()
    notes: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    published: str | None = None
    source: dict[str, Any] = {}
    folder: str = "."

    @field_validator("study")
    @classmethod
    def _name(cls, value: str) -> str:
        if not NAME.fullmatch(value) or "[" in value:
            raise ValueError(
                "a study's name takes 1 to 80 letters, digits and . _ + -, and starts with one of the first two"
            )
        return value

    @field_validator("models", "tasks", "methods")
    @classmethod
    def _names(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        for name in value:
            swept = info.field_name == "methods"  # the one place where names have values in brackets
            if not NAME.fullmatch(name) or not name.isprintable() or ("[" in name and not swept):
                raise ValueError(f"the name {name!r} may hold only letters, digits and . _ + - (80 at most)")
        return value

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        twice = {seed for seed in value if value.count(seed) > 1}
        if twice:
            raise ValueError(f"seed {min(twice)} is given twice and would count double")
        return value


class Trial(Frozen):
    """One cell of a study: everything that says *what* is measured.

    `model`, `task` and `method` are the names the study gives them: labels, outside the key, as is `tunes`: whether it
    chooses a learning rate and is in no table. `weights` is the content
    hash of the model's files, `dataset` that of the examples used, `held_out` that of the held-out text where the study
    asks for its loss (else no part of the key). `method_version` has the versions of a combination's parts beside its
    own. `training` and `seed` are None where nothing is trained.
    """

    model: str
    task: str
    method: str
    weights: str
    dtype: Dtype
    task_spec: TaskSpec
    task_version: int
    dataset: str
    method_use: str
    method_config: dict[str, Any]
    method_version: str
    quantize: Quantize | None = None
    protocol: int = PROTOCOL
    training: Training | None
    seed: Seed | None
    held_out: str | None = None
    tunes: bool = False

    def key(self) -> str:
        """sha256 (64 hexadecimal digits) of the canonical JSON of the trial without its labels."""
        unasked = {"held_out"} if self.held_out is None else set()
        identity = self.model_dump(mode="json", exclude={"model", "task", "method", "tunes"} | unasked)
        task = identity["task_spec"]
        if self.task_spec.declared:
            del task["declared"]["dataset_path"]  # a place; `dataset` stands for what is there
            if self.task_spec.declared.cluster is None:
                del task["declared"]["cluster"]  # came later, as those below
        for name, usual in {"benchmarks": None, "declared": None, "answering": "likelihood"}.items():
            if task[name] == usual:  # came later: left out where it says nothing, so old keys hold
                del task[name]
        return hashlib.sha256(canonical(identity).encode()).hexdigest()

    def label(self) -> str:
        """The trial for people: `task/method/seed 0`, or `task/method/rate 0.001` of one that tunes."""
        rate = self.training.learning_rate if self.tunes and self.training else None
        return f"{self.task}/{self.method}" + labelled(self.seed, rate)


def labelled(seed: int | None, rate: float | None = None) -> str:
    """How a trial's name ends: its seed, its learning rate where that is what it tries, or nothing."""
    return f"/rate {rate:g}" if rate is not None else "" if seed is None else f"/seed {seed}"


def canonical(data: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN: equal data, equal text."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
