"""The meter: known answers on a tiny model, and that measuring changes nothing that is measured elsewhere."""

from __future__ import annotations

import copy
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import tiny_backbone

from bakeoff.data.messages import Encoded
from bakeoff.engine import meter
from bakeoff.errors import TrialError
from bakeoff.methods.method import build
from bakeoff.store.record import Solo
from bakeoff.study import registry
from bakeoff.study.spec import TaskSpec, Training, Trial

KINDS = [name for name in registry.names("methods") if name != "peft"]
PROMPT = tuple(range(3, 20))
EXAMPLES = [Encoded((3 + i, 40, 41, 42, 43), ((50 + i, 1),)) for i in range(8)]  # no shared trunk: 6 columns each
TRAINING = Training(learning_rate=1e-3, per_device_train_batch_size=4, max_steps=20)


def trial(use: str, config: dict, training: Training | None = TRAINING) -> Trial:
    return Trial(
        model="tiny", task="toy", method=use, weights="ab" * 32, dtype="float32", task_spec=TaskSpec(use="toy"),
        task_version=1, dataset="cd" * 32, method_use=use, method_config=config, method_version="1",
        training=training, seed=None if training is None else 0,
    )  # fmt: skip


def measured(backbone, use: str, config: dict | None = None, engine: str = "lanes", **changes) -> Solo:
    kind = registry.find("methods", use, "")
    own: dict = kind.example if config is None else config
    training = TRAINING.model_copy(update=changes) if kind.trains else None
    return meter.measure(backbone, build(use, own), trial(use, own, training), engine, EXAMPLES, PROMPT)


@pytest.fixture(autouse=True)
def _measured_as_in_a_run(monkeypatch):
    """The suite's other runs are metered in fewer steps."""
    for name, value in {"TIMED_STEPS": 4, "READINGS": 3, "DECODED_TOKENS": 16}.items():
        monkeypatch.setattr(meter, name, value)


@pytest.fixture
def ticking(monkeypatch):
    """A clock that goes on by a second whenever it is read."""
    clock = itertools.count()
    monkeypatch.setattr(meter, "_now", lambda device: float(next(clock)))


def test_flops_of_a_lora_step_by_hand():
    """Tiny Llama (width 32, 48 inside, 4 heads of 8, 2 layers, 97 words), LoRA r = 2 on all its linear modules."""
    tokens, targets, r, layers, width, inner = 4 * 6, 4 * 2, 2, 2, 32, 48
    base = layers * (4 * width * width + 3 * width * inner)
    first = 3 * width * width  # query, key and value of the first layer: nothing before them is trained
    ranks = layers * r * (4 * 2 * width + 3 * (width + inner))  # numbers in A and B
    forward = 2 * tokens * (base + ranks) + 2 * targets * width * 97
    backward = 2 * tokens * (base - first + 2 * ranks - 3 * r * width) + 2 * targets * width * 97
    attention = layers * 7 * 2 * 4 * tokens * tokens * 8  # two products forward, five backward (scores made again)
    solo = measured(tiny_backbone("llama"), "lora", {"r": r, "target_modules": "all-linear"})
    rotary = 2 * tokens * 4  # positions times frequencies: a matrix product in transformers 5.17, none in 5.23
    assert solo.step_flops is not None
    assert solo.step_flops - forward - backward - attention in (0, rotary)


def test_seconds_and_tokens_of_the_timed_steps(ticking):
    """A second a step; four examples of five words of prompt, one of answer and the end."""
    for engine in ("lanes", "reference"):
        solo = measured(tiny_backbone("llama"), "lora", engine=engine)
        assert (solo.step_seconds, solo.tokens_per_second, solo.timed_steps) == (1.0, 4 * 7, meter.TIMED_STEPS)
        assert (solo.inference_seconds, solo.inference_ratio) == (1.0, 1.0)


@pytest.mark.parametrize("engine", ["lanes", "reference"])
def test_a_rate_at_which_the_trial_diverges_is_measured(engine):
    """One measurement serves all rates, so it follows none of them, nor a part's own."""
    lora, prompt = {"r": 2, "target_modules": "all-linear"}, {"num_virtual_tokens": 2}
    parts = [
        {"name": "lora", "use": "lora", "config": lora, "learning_rate": 1e30},
        {"name": "prompt", "use": "prompt_tuning", "config": prompt},
    ]
    for use, config in (("lora", lora), ("combine", {"parts": parts})):
        solo = measured(tiny_backbone("llama"), use, config, engine, learning_rate=1e30)
        assert solo.timed_steps == meter.TIMED_STEPS and solo.step_seconds


def test_the_step_is_the_median_and_its_range_is_kept(monkeypatch):
    """Of four steps of 1, 2, 4 and 8 seconds."""
    marks = iter([0.0, 1.0, 3.0, 7.0, 15.0, *range(100, 200)])
    monkeypatch.setattr(meter, "_now", lambda device: float(next(marks)))
    solo = measured(tiny_backbone("llama"), "lora")
    assert (solo.step_seconds, solo.step_seconds_min, solo.step_seconds_max) == (3.0, 1.0, 8.0)


def test_what_a_first_step_leaves_in_memory_is_no_methods(monkeypatch):
    """A library that takes 100 MB when it is first used, and keeps them."""
    kept: list[torch.Tensor] = []
    train = meter.train.train

    def first(*given):
        kept.extend([] if kept else [torch.ones(25_000_000)])
        return train(*given)

    monkeypatch.setattr(meter.train, "train", first)
    solo = measured(tiny_backbone("llama"), "lora")
    if solo.added_bytes is None:
        pytest.skip("not run: the system does not tell the resident set's peak")
    assert kept and solo.added_bytes < 50_000_000


def test_a_trial_of_few_steps_is_measured_in_few():
    assert measured(tiny_backbone("llama"), "lora", max_steps=2).timed_steps == 2


def test_resident_memory_is_the_methods_beside_the_processs():
    """Full training of a wider model holds a copy, gradients and two moments: four times its weights and more.

    In a process of its own: what other tests have freed would be taken again, and not be seen.
    """
    if meter._resident("VmHWM") is None or not meter._forget_peak(torch.device("cpu")):
        pytest.skip("not run: the system does not tell the resident set's peak")
    code = "import json; from test_meter import wide; print(json.dumps(wide()))"
    told = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, stdout=subprocess.PIPE, check=True)
    weights, full, lora = json.loads(told.stdout.splitlines()[-1])
    assert full["held_bytes"] and full["peak_bytes"]
    assert full["added_bytes"] == full["peak_bytes"] - full["held_bytes"]
    assert 3.5 * weights < full["added_bytes"] < 8 * weights
    assert lora["added_bytes"] < full["added_bytes"] / 2
    assert full["reserved_bytes"] is None


def wide() -> tuple[int, dict, dict]:
    """The bytes of a wider model's weights, and what full training and LoRA of it take."""
    from conftest import tiny_model, tiny_tokenizer

    from bakeoff.models.backbone import Backbone

    meter.TIMED_STEPS, meter.READINGS, meter.DECODED_TOKENS = 4, 3, 16
    backbone = Backbone(tiny_model("llama", width=512), tiny_tokenizer(), "wide")
    full, lora = (measured(backbone, use) for use in ("full", "lora"))
    of = [{**one.model_dump(), "added_bytes": one.added_bytes} for one in (full, lora)]
    return 4 * backbone.parameters(), of[0], of[1]


def test_context_is_taken_by_virtual_tokens():
    backbone = tiny_backbone("llama")
    parts = [
        {"name": name, "use": use, "config": {"num_virtual_tokens": count}}
        for name, use, count in (("a", "prompt_tuning", 3), ("b", "prefix_tuning", 5))
    ]
    assert measured(backbone, "combine", {"parts": parts}).context_tokens == 8
    assert measured(backbone, "lora").context_tokens == 0


def test_what_trains_nothing_has_an_answer_alone():
    solo = measured(tiny_backbone("llama"), "base")
    assert solo.inference_seconds > 0 and 0.1 < solo.inference_ratio < 10
    assert (solo.step_seconds, solo.step_flops, solo.peak_bytes, solo.held_bytes) == (None, None, None, None)


@pytest.mark.parametrize(
    ("use", "engine"), [*((use, engine) for use in KINDS for engine in ("lanes", "reference")), ("peft", "reference")]
)
def test_measuring_leaves_base_and_generators_alone(use, engine):
    backbone = tiny_backbone("gpt2")
    before = copy.deepcopy(backbone.model.state_dict())
    torch.manual_seed(7)
    state = torch.get_rng_state()
    solo = measured(backbone, use, engine=engine)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.model.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in backbone.model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in backbone.model.modules())
    if use != "base":
        assert solo.step_seconds and solo.tokens_per_second and solo.step_flops
    assert solo.inference_ratio > 0


def test_the_base_is_restored_where_measuring_fails(monkeypatch):
    backbone = tiny_backbone("llama")
    before = copy.deepcopy(backbone.model.state_dict())
    monkeypatch.setattr(meter, "_read", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measured(backbone, "full")
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.model.state_dict().items())


def test_a_long_prompt_is_cut_to_the_context():
    backbone, prompt = tiny_backbone("llama"), tuple(range(3, 90)) * 4
    method = build("prompt_tuning", {"num_virtual_tokens": 10})
    assert meter._room(backbone, method, prompt) == prompt[-(256 - 10 - meter.DECODED_TOKENS) :]
    backbone.context = 20
    with pytest.raises(TrialError, match="a context of 20 has no room"):
        meter._room(backbone, method, prompt)


def test_trials_that_differ_in_seed_or_rate_cost_the_same():
    lora = trial("lora", {"r": 4})
    training = TRAINING.model_copy(update={"learning_rate": 1.5})
    assert meter.same_cost(lora) == meter.same_cost(lora.model_copy(update={"seed": 5, "training": training}))
    other = TRAINING.model_copy(update={"per_device_train_batch_size": 8})
    assert meter.same_cost(lora) != meter.same_cost(lora.model_copy(update={"training": other}))
    assert meter.same_cost(lora) != meter.same_cost(trial("lora", {"r": 8}))
