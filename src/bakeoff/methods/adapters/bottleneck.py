"""BottleneckAdapter: a network of two layers for each place."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor, nn

from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.models.backbone import Backbone
from bakeoff.models.sites import Site

if TYPE_CHECKING:
    from bakeoff.methods.bottleneck import Bottleneck

_ACTIVATIONS = {
    "relu": nn.functional.relu,
    "gelu": nn.functional.gelu,
    "swish": nn.functional.silu,
    "tanh": torch.tanh,
}


class BottleneckAdapter(Adapter):
    """y + up(f(down(y))) at the output of each place's projection."""

    stage = 2

    def __init__(self, method: Bottleneck, sites: Sequence[Site], backbone: Backbone, generator: Generator):
        super().__init__()
        self.method, self.names = method, [site.name for site in sites]
        self.sites = frozenset(self.names)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for site in sites:
            inner = method.inner(site)
            for layers, sizes in ((self.down, (site.out_features, inner)), (self.up, (inner, site.out_features))):
                layers.append(_linear(*sizes, backbone, generator))
        self._index = {name: i for i, name in enumerate(self.names)}

    def transform(self, site: str, x: Tensor, y: Tensor) -> Tensor:
        down, up = self._layers(site)
        inner = down(y.to(down.weight.dtype))
        return y + up(_ACTIVATIONS[self.method.non_linearity](inner)).to(y.dtype)

    @classmethod
    def transform_lanes(cls, lanes: Sequence[Any], site: str, x: Tensor, y: Tensor) -> Tensor:
        first, layers = lanes[0], list(zip(*(lane._layers(site) for lane in lanes), strict=True))

        def apply(own: Sequence[nn.Linear], h: Tensor) -> Tensor:
            weight, bias = torch.stack([one.weight for one in own]), torch.stack([one.bias for one in own])
            return torch.baddbmm(bias[:, None], h, weight.transpose(1, 2))

        down, up = layers
        inner = _ACTIVATIONS[first.method.non_linearity](apply(down, y.to(down[0].weight.dtype)))
        return y + apply(up, inner).to(y.dtype)

    def _layers(self, site: str) -> tuple[Any, Any]:
        return self.down[self._index[site]], self.up[self._index[site]]

    def signature(self) -> Hashable:
        shapes = ((name, down.weight.shape) for name, down in zip(self.names, self.down, strict=True))
        return ("bottleneck", self.method.non_linearity, *shapes)

    def tensors(self) -> dict[str, Tensor]:
        named = {}
        for name, down, up in zip(self.names, self.down, self.up, strict=True):
            for part, layer in (("down", down), ("up", up)):
                named |= {f"{name}.{part}.weight": layer.weight, f"{name}.{part}.bias": layer.bias}
        return named

    def merge(self, model: Any, directory: Path) -> Any:
        raise ValueError("its networks are not linear, so no weights of the base do the same")


def _linear(inputs: int, outputs: int, backbone: Backbone, generator: Generator) -> nn.Linear:
    layer: Any = nn.utils.skip_init(nn.Linear, inputs, outputs)
    with torch.no_grad():
        layer.weight.normal_(0.0, 0.02, generator=generator)
        layer.bias.zero_()
    return layer.to(dtype=backbone.adapter_dtype, device=backbone.device)
