"""The backbone: what it changes in a model while it runs, and puts back."""

from __future__ import annotations

import pytest
import torch
from conftest import tiny_backbone
from huggingface_hub import constants
from transformers.activations import NewGELUActivation

from bakeoff.data import reach
from bakeoff.errors import InputError
from bakeoff.models.backbone import locate
from bakeoff.study.spec import Model


def test_activations_are_put_back_after_an_error():
    """While the model runs GPT-2's GELU is torch's own; afterwards its modules are the very ones there were."""
    backbone = tiny_backbone("gpt2")
    own = dict(backbone.model.named_modules())
    assert sum(isinstance(module, NewGELUActivation) for module in own.values()) == 2

    def fail(site, x, y):
        assert not any(isinstance(module, NewGELUActivation) for module in backbone.model.modules())
        raise RuntimeError("in the middle of a pass")

    embeds, mask = torch.zeros(1, 3, 32), torch.ones(1, 1, 3, 3, dtype=torch.bool)
    with pytest.raises(RuntimeError, match="in the middle"), backbone.transformed(["transformer.h.1.mlp.c_fc"], fail):
        backbone.hidden(embeds, torch.arange(3)[None], mask)
    after = dict(backbone.model.named_modules())
    assert after.keys() == own.keys() and all(after[name] is module for name, module in own.items())


def test_the_fused_gelu_is_transformers_to_the_rounding_of_float32():
    """Values and gradients; where the tanh is near -1 what is left of it is a rounding of 1, so that is the measure."""
    ((_, _, own, fused), *_) = tiny_backbone("gpt2")._activations
    x = torch.linspace(-12, 12, 200_001, requires_grad=True)
    found = [(y, *torch.autograd.grad(y.sum(), x)) for y in (own(x), fused(x))]
    step = torch.finfo(torch.float32).eps
    for a, b in zip(*found, strict=True):
        assert ((a - b).abs() <= 4 * step * x.abs().clamp(min=1)).all()


def test_a_hub_model_is_refused_at_once_where_the_hub_does_not_answer(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    reach.silence.cache_clear()
    with pytest.raises(InputError) as caught:
        locate(Model(path="own/model"), "models.m.path")
    told = str(caught.value)
    assert told.startswith("models.m.path: 'own/model' is no local directory and could not be had from the hub")
    assert "(http://127.0.0.1:9 does not answer: " in told and "`--set models.m.path=DIR`" in told
    assert not constants.HF_HUB_OFFLINE and not reach.silence.cache_info().currsize
