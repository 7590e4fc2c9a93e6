"""State: all that a learner has become, as tensors and plain data, and a new learner made into that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from bakeoff.engine.train import Learner
from bakeoff.errors import TrialError
from bakeoff.store.record import CurveRow

State = tuple[dict[str, Tensor], dict[str, Any]]


def state(learner: Learner) -> State:
    """What the learner's steps have changed. Once it is trained, its optimiser, schedule and generators are left out.

    The order of its examples is a function of its seed, so that `done` steps are its place in the data.
    """
    adapter = learner.adapter
    tensors = _under("adapter", adapter.state()) | _under("memory", adapter.memory())
    curve = [[row.step, row.loss, row.learning_rate, row.grad_norm] for row in learner.curve]
    told = {"done": learner.done, "tokens": learner.tokens, "diverged": learner.diverged, "curve": curve}
    if learner.trained:
        return tensors, told
    adamw = learner.optimizer.state_dict()
    for index, moments in adamw["state"].items():
        tensors |= _under(f"optimizer/{index}", moments)
    tensors |= _under("chance", {"noise": learner.noise.get_state(), **learner.chance})
    return tensors, told | {"optimizer": adamw["param_groups"], "schedule": learner.schedule.state_dict()}


@torch.no_grad()
def restore(learner: Learner, tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> None:
    """Make a new learner into the one that `state` was taken of; TrialError where anything of it is missing."""
    adapter, groups = learner.adapter, _grouped(tensors)
    own, given = adapter.state(), groups.pop("adapter", {})
    _same("trained tensors", own, given)
    for name, tensor in own.items():
        if tensor.shape != given[name].shape or tensor.dtype != given[name].dtype:
            raise TrialError(f"the saved {name} is {given[name].dtype} {list(given[name].shape)}: not this trial's")
        tensor.copy_(given[name])
    adapter.recall({name: tensor.to(_device(own)) for name, tensor in groups.pop("memory", {}).items()})
    learner.advance(told["done"])
    learner.tokens, learner.diverged = told["tokens"], told["diverged"]
    learner.curve = [CurveRow(step=s, loss=x, learning_rate=r, grad_norm=n) for s, x, r, n in told["curve"]]
    if learner.trained:
        return
    _same("parts of a learner", ("optimizer", "schedule"), [key for key in told if key in ("optimizer", "schedule")])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in groups.pop("optimizer", {}).items():
        index, key = name.split("/")
        moments.setdefault(int(index), {})[key] = tensor.clone()  # in memory of torch's own, as it would have been
    if learner.done and not moments:
        raise TrialError("the saved optimiser has no moments")
    learner.optimizer.load_state_dict({"state": moments, "param_groups": told["optimizer"]})
    learner.schedule.load_state_dict(told["schedule"])
    chance = groups.pop("chance", {})
    if "noise" not in chance:
        raise TrialError("the saved state has no generator of dropout")
    learner.noise.set_state(chance.pop("noise"))
    learner.chance = chance


def _under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}/{key}": tensor for key, tensor in tensors.items()}


def _grouped(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors by the first word of their names."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        group, _, key = name.partition("/")
        found.setdefault(group, {})[key] = tensor
    return found


def _same(what: str, own: Iterable[str], given: Iterable[str]) -> None:
    if differ := sorted({*own} ^ {*given}):
        raise TrialError(f"the saved {what} are not those of this trial: {', '.join(differ[:3])}")


def _device(tensors: Mapping[str, Tensor]) -> torch.device:
    return next(iter(tensors.values())).device if tensors else torch.device("cpu")
