"""Resumed equals uninterrupted, to the bit: every method, in both engines, stopped anywhere."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
import torch
from conftest import tiny_backbone
from safetensors.torch import load, save
from test_laws import KINDS, METHODS, TRAINING, examples, method
from test_peft import TYPES

from bakeoff.engine import reference
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.plain import Plain
from bakeoff.engine.randomness import generator
from bakeoff.engine.state import restore, state
from bakeoff.engine.train import Learner, batches, train
from bakeoff.errors import TrialError
from bakeoff.methods.method import build
from bakeoff.run.checkpoint import _alone
from bakeoff.study.spec import Training

SLOW = pytest.mark.slow
FEW = TRAINING.model_copy(update={"max_steps": 9})  # epochs of four steps, the last short; two micro-batches each


def dropping(name: str):
    return method(name, lora_dropout=0.3) if name == "lora" else method(name)


def learners(engine: str, chosen: Any, seeds: tuple[int, ...], training: Training = FEW) -> tuple[Any, list[Learner]]:
    backbone = tiny_backbone("llama")
    adapters = [chosen.attach(backbone, generator(seed, "init")) for seed in seeds]
    if engine == "reference":
        adapters = [Plain(backbone, adapter) for adapter in adapters]
    return backbone, [
        Learner(str(seed), adapter, examples(22), training, seed) for seed, adapter in zip(seeds, adapters, strict=True)
    ]


def run(engine: str, backbone: Any, ones: list[Learner], after: Callable[[int], None] = lambda step: None) -> None:
    if engine == "lanes":
        train(Lanes(backbone, [one.adapter for one in ones]), ones, lambda step, *_: after(step))
    else:
        (one,) = ones
        reference.train(one, lambda step, *_: after(step))


def kept(ones: list[Learner]) -> list[Any]:
    """The learners' states as files hold them."""
    found = [state(one) for one in ones]
    return [(save({name: _alone(tensor) for name, tensor in tensors.items()}), told) for tensors, told in found]


def outcome(ones: list[Learner]) -> list[Any]:
    """What training came to, of each learner: curve, counts, tensors as they would be stored."""
    found = []
    for one in ones:
        adapter: Any = one.adapter
        if isinstance(adapter, Plain):
            adapter.collect()
            adapter = adapter.adapter
        tensors = save({name: _alone(tensor).clone() for name, tensor in adapter.stored().items()})
        found.append((one.curve, one.tokens, one.diverged, one.done, tensors))
        one.adapter.release()
    return found


def whole(
    engine: str, chosen: Any, seeds: tuple[int, ...], at: tuple[int, ...], training: Training = FEW
) -> tuple[list[Any], dict[int, list[Any]]]:
    """An undisturbed training, and the learners' states after the steps `at`."""
    backbone, ones = learners(engine, chosen, seeds, training)
    states: dict[int, list[Any]] = {}
    run(engine, backbone, ones, lambda step: states.update({step: kept(ones)}) if step in at else None)
    return outcome(ones), states


def resumed(engine: str, chosen: Any, seeds: tuple[int, ...], states: list[Any], training: Training = FEW) -> list[Any]:
    torch.rand(3)  # whatever torch's own generator has drawn since
    backbone, ones = learners(engine, chosen, seeds, training)
    for one, (tensors, told) in zip(ones, states, strict=True):
        restore(one, load(tensors), told)
    run(engine, backbone, ones)
    return outcome(ones)


@pytest.mark.parametrize("name", [name if name in KINDS else pytest.param(name, marks=SLOW) for name in METHODS])
@pytest.mark.parametrize("engine", ["lanes", "reference"])
def test_every_method_goes_on_to_the_same_bits(engine, name):
    """In the middle of the second epoch; lanes with two in company, where the method may have it."""
    chosen = dropping(name)
    seeds = (0, 1, 2) if engine == "lanes" and not chosen.solo else (0,)
    expected, states = whole(engine, chosen, seeds, (6,))
    assert resumed(engine, chosen, seeds, states[6]) == expected


@pytest.mark.parametrize("name", [name if name == "adalora" else pytest.param(name, marks=SLOW) for name in TYPES])
def test_every_kind_of_pefts_goes_on_to_the_same_bits(name):
    """AdaLoRA also while it measures importance, and when its ranks are settled."""
    chosen = build("peft", TYPES[name])
    expected, states = whole("reference", chosen, (0,), (2, 6, 8))
    for at in (2, 6, 8) if name == "adalora" else (6,):
        assert resumed("reference", chosen, (0,), states[at]) == expected


@pytest.mark.parametrize("engine", ["lanes", "reference"])
@pytest.mark.parametrize("at", [1, 4, 8, 9], ids=["first step", "end of an epoch", "last step but one", "last step"])
def test_at_any_step(engine, at):
    chosen = dropping("lora")
    expected, states = whole(engine, chosen, (0,), (at,))
    assert resumed(engine, chosen, (0,), states[at]) == expected == whole(engine, chosen, (0,), ())[0]


def test_what_diverged_before_stays_so_and_the_others_go_on():
    """The second lane's loss is no number at its third step."""
    chosen = dropping("lora")

    backbone, ones = learners("lanes", chosen, (0, 1, 2))
    states: list[Any] = []

    def after(step: int) -> None:
        if step == 2:
            with torch.no_grad():
                next(iter(ones[1].adapter.parameters())).fill_(float("inf"))
        if step == 5:
            states.extend(kept(ones))

    run("lanes", backbone, ones, after)
    expected = outcome(ones)
    assert [bool(diverged) for _, _, diverged, _, _ in expected] == [False, True, False]
    assert resumed("lanes", chosen, (0, 1, 2), states) == expected


def test_a_place_in_the_data_is_a_number_of_steps():
    training = Training(per_device_train_batch_size=3, gradient_accumulation_steps=2)
    order = list(islice(batches(20, training, 0), 12))
    assert all(list(islice(batches(20, training, 0, start), 12 - start)) == order[start:] for start in range(12))


@pytest.mark.parametrize("engine", ["lanes", "reference"])
@pytest.mark.parametrize("part", ["adapter/", "optimizer/", "chance/", "told"])
def test_what_is_missing_is_an_error(engine, part):
    chosen = dropping("lora")
    _, states = whole(engine, chosen, (0,), (5,))
    ((saved, told),) = states[5]
    tensors = {name: tensor for name, tensor in load(saved).items() if not name.startswith(part)}
    told = {key: value for key, value in told.items() if part != "told" or key != "schedule"}
    _, (one,) = learners(engine, chosen, (0,))
    with pytest.raises(TrialError, match="saved"):
        restore(one, tensors, told)
