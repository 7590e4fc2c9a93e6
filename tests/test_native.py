"""The methods that PEFT does not have, against plain torch modules put into a copy of the Hugging Face model.

Every example goes through the copy alone, unpadded, in float64; losses and gradients are those of both engines.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import tiny_backbone
from test_laws import examples, in_float64
from torch import Tensor, nn

from bakeoff.data.messages import Encoded
from bakeoff.engine import reference
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.plain import Plain
from bakeoff.engine.randomness import generator
from bakeoff.engine.train import lane_losses
from bakeoff.errors import InputError
from bakeoff.methods.method import Method, build
from bakeoff.models.backbone import Backbone

ATTENTION = {"gpt2": "transformer.h.{}.attn.c_proj", "llama": "model.layers.{}.self_attn.o_proj"}
FEEDFORWARD = {"gpt2": "transformer.h.{}.mlp.c_proj", "llama": "model.layers.{}.mlp.down_proj"}
BLOCKS = {"gpt2": "transformer.h.{}", "llama": "model.layers.{}"}
ITEMS = examples(5)  # prompts of 6 to 17 tokens with a common start, answers of 1 to 8
SHORT = [Encoded((9, 4, 31), ((7, 8, 9),)), Encoded((12,), ((5, 6),)), Encoded((3, 4, 5, 6, 7, 8), ((9, 10),))]


def stirred(chosen: Method, backbone: Backbone, seed: int = 0) -> Any:
    """An adapter with every weight away from its start."""
    adapter = chosen.attach(backbone, generator(seed, "init"))
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=chance, dtype=torch.float64) * 0.2)
    return adapter


def own(tensors: dict[str, Tensor]) -> dict[str, nn.Parameter]:
    """Copies that train."""
    return {name: nn.Parameter(tensor.detach().clone()) for name, tensor in tensors.items()}


def loss_alone(model: Any, items: list[Encoded], tell: Callable[[int], None] = lambda _: None) -> Tensor:
    """The cross-entropies of the answers' tokens, summed; `tell` hears each prompt's length."""
    total = torch.zeros((), dtype=torch.float64)
    for item in items:
        (leaf,) = item.leaves
        tell(len(item.prompt))
        logits = model(input_ids=torch.tensor([[*item.prompt, *leaf]])).logits[0]
        total = total + nn.functional.cross_entropy(
            logits[len(item.prompt) - 1 : -1], torch.tensor(leaf), reduction="sum"
        )
    return total


def check(
    backbone: Backbone, chosen: Method, adapter: Any, wanted: Tensor, parameters: dict[str, nn.Parameter], items
) -> None:
    """Both engines find the wanted loss and its gradients by every one of the parameters."""
    wanted.backward()
    assert adapter.tensors().keys() == parameters.keys()
    engines = {
        "lanes": lambda: lane_losses(Lanes(backbone, [adapter, stirred(chosen, backbone, 1)]), [items, ITEMS[:2]])[0],
        "reference": lambda: reference._loss(Plain(backbone, adapter), items),
    }
    for engine, loss in engines.items():
        adapter.zero_grad()
        found = loss()
        found.backward()
        assert float(found.detach()) == pytest.approx(float(wanted.detach()), abs=1e-9), engine
        for name, tensor in adapter.tensors().items():
            torch.testing.assert_close(tensor.grad, parameters[name].grad, atol=1e-9, rtol=1e-7, msg=f"{engine} {name}")


# --- bottleneck ---


class Bottleneck(nn.Module):
    """A projection, and after it y + up(f(down(y)))."""

    def __init__(self, projection: Any, weights: dict[str, nn.Parameter], activation: Callable[[Tensor], Tensor]):
        super().__init__()
        self.projection, self.weights, self.activation = projection, weights, activation

    def forward(self, x: Tensor) -> Tensor:
        w, y = self.weights, self.projection(x)
        inner = self.activation(y @ w["down.weight"].T + w["down.bias"])
        return y + inner @ w["up.weight"].T + w["up.bias"]


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize(
    ("config", "places"),
    [
        ({"mh_adapter": True, "reduction_factor": 4}, (ATTENTION, FEEDFORWARD)),
        ({"non_linearity": "swish"}, (FEEDFORWARD,)),
    ],
    ids=["Houlsby", "Pfeiffer"],
)
def test_bottleneck(architecture, config, places):
    """After the sub-layers' last projections, before the residual sums: both (Houlsby) or the feed-forward's."""
    backbone = in_float64(tiny_backbone(architecture, torch.float64))
    chosen = build("bottleneck", config)
    adapter = stirred(chosen, backbone)
    weights, model = own(adapter.tensors()), copy.deepcopy(backbone.model)
    activation = nn.SiLU() if "non_linearity" in config else nn.ReLU()
    names = [place[architecture].format(layer) for layer in (0, 1) for place in places]
    for name in names:
        of = {key.removeprefix(f"{name}."): tensor for key, tensor in weights.items() if key.startswith(f"{name}.")}
        model.set_submodule(name, Bottleneck(model.get_submodule(name), of, activation))
    assert len(weights) == 4 * len(names)
    check(backbone, chosen, adapter, loss_alone(model, ITEMS), weights, ITEMS)


# --- LoReFT ---


class Edited(nn.Module):
    """A decoder layer, and after it h + R^T (W h + b - R h) at a prompt's first and last tokens."""

    prompt = 0  # the length of the prompt to come

    def __init__(self, block: Any, weights: dict[str, nn.Parameter], first: int, last: int):
        super().__init__()
        self.block, self.weights, self.first, self.last = block, weights, first, last

    def __getattr__(self, name: str) -> Any:  # the decoder asks its layers for their attention type
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.block, name)

    def forward(self, *args: Any, **more: Any) -> Any:
        out = self.block(*args, **more)
        hidden = out[0] if isinstance(out, tuple) else out
        edited = torch.stack([self.edit(h, place) for place, h in enumerate(hidden[0])])[None]
        return (edited, *out[1:]) if isinstance(out, tuple) else edited

    def edit(self, h: Tensor, place: int) -> Tensor:
        end = "first" if place < self.first else "last" if place >= self.prompt - self.last else None
        if place >= self.prompt or end is None:
            return h
        end = "both" if "both.rotation" in self.weights else end
        if f"{end}.rotation" not in self.weights:
            return h
        rows = gram_schmidt(self.weights[f"{end}.rotation"].T)
        wanted = self.weights[f"{end}.source.weight"] @ h + self.weights[f"{end}.source.bias"]
        return h + rows.T @ (wanted - rows @ h)


def gram_schmidt(vectors: Tensor) -> Tensor:
    """Orthonormal rows that span what the first rows do, one after another."""
    found: list[Tensor] = []
    for vector in vectors:
        for other in found:
            vector = vector - (other @ vector) * other
        found.append(vector / vector.norm())
    return torch.stack(found)


@pytest.mark.parametrize("items", [ITEMS, SHORT], ids=["long prompts", "short prompts"])
@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("llama", {"first": 2, "last": 3}),
        ("llama", {"first": 4, "last": 3, "share_weights": True}),
        ("gpt2", {"first": 1, "last": 1, "low_rank_dimension": 2}),
        ("gpt2", {"first": 0, "last": 2, "layers_to_transform": 1}),
    ],
)
def test_loreft(architecture, config, items):
    """The formula, and where: the prompt's first tokens, its last ones, first before last, the answer's never."""
    backbone = in_float64(tiny_backbone(architecture, torch.float64))
    chosen = build("loreft", config)
    adapter = stirred(chosen, backbone)
    weights, model = own(adapter.tensors()), copy.deepcopy(backbone.model)
    wrapped = []
    for layer in (0, 1):
        name = BLOCKS[architecture].format(layer)
        of = {key.removeprefix(f"{name}."): tensor for key, tensor in weights.items() if key.startswith(f"{name}.")}
        wrapped.append(Edited(model.get_submodule(name), of, config["first"], config["last"]))
        model.set_submodule(name, wrapped[-1])

    def tell(prompt: int) -> None:
        for each in wrapped:
            each.prompt = prompt

    check(backbone, chosen, adapter, loss_alone(model, items, tell), weights, items)


# --- BitFit ---


class Shifted(nn.Module):
    """A normalisation with a bias."""

    def __init__(self, norm: Any, bias: nn.Parameter):
        super().__init__()
        self.norm, self.bias = norm, bias

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) + self.bias


@pytest.mark.parametrize("architecture", ["gpt2", "qwen2"])
def test_bitfit_trains_the_models_own_biases(architecture):
    """All of them: the same loss and gradients as with the biases themselves set to what base and adapter add up to."""
    backbone = in_float64(tiny_backbone(architecture, torch.float64))
    chance = torch.Generator().manual_seed(3)
    with torch.no_grad():  # a new model's biases are all zero
        for name, parameter in backbone.model.named_parameters():
            if name.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape, generator=chance))
    chosen = build("bitfit", {})
    adapter = stirred(chosen, backbone)
    model = copy.deepcopy(backbone.model)
    model.load_state_dict(adapter.stored(), strict=False)
    biases = {name: p.requires_grad_() for name, p in model.named_parameters() if name.endswith("bias")}
    for name, delta in adapter.tensors().items():
        torch.testing.assert_close(biases[name] - backbone.model.get_parameter(name), delta)
    check(backbone, chosen, adapter, loss_alone(model, ITEMS), biases, ITEMS)


def test_bitfit_gives_a_bias_to_every_module_without():
    backbone = in_float64(tiny_backbone("llama", torch.float64))
    chosen = build("bitfit", {"bias": "all"})
    adapter = stirred(chosen, backbone)
    biases, model = own(adapter.tensors()), copy.deepcopy(backbone.model)
    for name, module in backbone.model.named_modules():
        if name.endswith("norm"):
            model.set_submodule(name, Shifted(model.get_submodule(name), biases[f"{name}.bias"]))
        elif isinstance(module, nn.Linear) and name != "lm_head":
            model.get_submodule(name).bias = biases[f"{name}.bias"]
    check(backbone, chosen, adapter, loss_alone(model, ITEMS), biases, ITEMS)


def test_bitfit_without_a_bias_is_an_error():
    with pytest.raises(InputError, match=r"bias: this model has no biases; `bias: all` adds them"):
        build("bitfit", {}).parameters(tiny_backbone("llama"))


# --- how many numbers ---

COUNTS = [  # width 32, feed-forward 48 (GPT-2: 128), two layers
    ("llama", "bottleneck", {"mh_adapter": True, "reduction_factor": 4}, 4 * (2 * 32 * 8 + 8 + 32)),
    ("llama", "bottleneck", {}, 2 * (2 * 32 * 2 + 2 + 32)),
    ("llama", "bottleneck", {"reduction_factor": 100, "layers_to_transform": [1]}, 2 * 32 + 1 + 32),
    ("llama", "loreft", {}, 3 * (2 * 32 * 4 + 4)),  # nothing reads the first tokens after the last layer
    ("llama", "loreft", {"share_weights": True, "low_rank_dimension": 2}, 2 * (2 * 32 * 2 + 2)),
    ("llama", "loreft", {"layers_to_transform": 0}, 2 * (2 * 32 * 4 + 4)),
    ("llama", "loreft", {"first": 0}, 2 * (2 * 32 * 4 + 4)),
    ("llama", "bitfit", {"bias": "all"}, 2 * (4 * 32 + 48 + 48 + 32 + 2 * 32) + 32),
    ("gpt2", "bitfit", {}, 2 * (32 + 96 + 32 + 32 + 128 + 32) + 32),
    ("gpt2", "bitfit", {"layers_to_transform": 0}, 32 + 96 + 32 + 32 + 128 + 32),
    ("qwen2", "bitfit", {}, 2 * (32 + 16 + 16)),  # query, and half as many keys and values
    ("GPT-2 small", "bitfit", {}, 102_144),
    ("GPT-2 small", "lora", {"r": 8}, 294_912),
    ("GPT-2 small", "bottleneck", {}, 12 * (2 * 768 * 48 + 48 + 768)),
]


@pytest.mark.parametrize(("architecture", "use", "config", "count"), COUNTS)
def test_known_numbers_of_parameters(architecture, use, config, count):
    assert build(use, config).parameters(_shape(architecture)) == count


def _shape(architecture: str) -> Backbone:
    from transformers import GPT2Config, GPT2LMHeadModel

    if architecture != "GPT-2 small":
        return tiny_backbone(architecture)
    with torch.device("meta"):
        return Backbone(GPT2LMHeadModel(GPT2Config()), None)
