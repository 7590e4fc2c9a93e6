"""BitFitAdapter: what training adds to each bias."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.models.backbone import Backbone


class BitFitAdapter(Adapter):
    """y + d at every module with a bias b: the same as training b, which is b + d in the saved file."""

    stage = 2

    def __init__(self, targets: Mapping[str, int], backbone: Backbone):
        super().__init__()
        self.names, self.sites = list(targets), frozenset(targets)
        where: dict[str, Any] = {"dtype": backbone.adapter_dtype, "device": backbone.device}
        self.bias = nn.ParameterList(nn.Parameter(torch.zeros(width, **where)) for width in targets.values())
        self._index = {name: i for i, name in enumerate(self.names)}
        modules = (backbone.model.get_submodule(name) for name in self.names)
        self._original = [getattr(module, "bias", None) for module in modules]

    def transform(self, site: str, x: Tensor, y: Tensor) -> Tensor:
        return y + self.bias[self._index[site]].to(y.dtype)

    @classmethod
    def transform_lanes(cls, lanes: Sequence[Any], site: str, x: Tensor, y: Tensor) -> Tensor:
        i = lanes[0]._index[site]
        return y + torch.stack([lane.bias[i] for lane in lanes])[:, None].to(y.dtype)

    def signature(self) -> Hashable:
        return ("bitfit", *self.names)

    def tensors(self) -> dict[str, Tensor]:
        return {f"{name}.bias": delta for name, delta in zip(self.names, self.bias, strict=True)}

    def stored(self) -> dict[str, Tensor]:
        """The biases themselves, by their names in the model."""
        pairs = zip(self.names, self.bias, self._original, strict=True)
        return {f"{name}.bias": d if b is None else (b.to(d.dtype) + d) for name, d, b in pairs}

    def take(self, stored: dict[str, Tensor]) -> None:
        if stored.keys() != (expected := self.tensors().keys()):
            raise ValueError(f"other tensors than this adapter's: {sorted(stored.keys() ^ expected)[:3]}")
        for name, delta, original in zip(self.names, self.bias, self._original, strict=True):
            value = stored[f"{name}.bias"]
            delta.copy_(value if original is None else value - original.to(delta.dtype))

    @torch.no_grad()
    def merge(self, model: Any, directory: Path) -> Any:
        """What training added goes to the biases; ValueError where a module of the architecture has none."""
        for name, delta in zip(self.names, self.bias, strict=True):
            bias = getattr(model.get_submodule(name), "bias", None)
            if bias is None:
                raise ValueError(f"{model.config.model_type} models have no place for a bias in {name}")
            bias.add_(delta.to(bias))
        return model
