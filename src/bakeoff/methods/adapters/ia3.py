"""Ia3Adapter: a vector of scales for each target module."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.models.backbone import Backbone
from bakeoff.models.sites import Site, features


class Ia3Adapter(Adapter):
    """l * y, or l * x on the way in, as peft.tuners.ia3 computes it. A slice of a fused module scales its own features.

    On disk the slices of a module are one PEFT vector of it, ones elsewhere.
    """

    stage = 1

    def __init__(self, outputs: Sequence[Site], inputs: Sequence[Site], backbone: Backbone):
        super().__init__()
        self.targets, self.task_type = [*outputs, *inputs], backbone.task_type
        self.sites = frozenset(site.module for site in outputs)
        self.inputs = frozenset(site.module for site in inputs)
        widths = [site.out_features for site in outputs] + [site.in_features for site in inputs]
        where: dict[str, Any] = {"dtype": backbone.adapter_dtype, "device": backbone.device}
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(width, **where)) for width in widths)
        numbered = groupby(range(len(self.targets)), key=lambda i: self.targets[i].module)
        self._by_module = {module: list(own) for module, own in numbered}  # one site, or slices
        self._widths = {name: site.out_features for name, site in backbone.sites.items() if site.rows is None}

    def enter(self, site: str, x: Tensor) -> Tensor:
        (i,) = self._by_module[site]
        return (x * self.scales[i]).to(x.dtype)

    def transform(self, site: str, x: Tensor, y: Tensor) -> Tensor:
        for i in self._by_module[site]:
            scale, rows = self.scales[i], self.targets[i].rows
            if rows is not None:
                scale = scale.new_ones(y.shape[-1]).index_copy(0, features(self.targets[i]).to(y.device), scale)
            y = (y * scale).to(y.dtype)
        return y

    def tensors(self) -> dict[str, Tensor]:
        """PEFT's shapes: [out, 1] for a scaled output, [1, in] for a scaled input."""
        return {
            f"base_model.model.{site.name}.ia3_l": scale[None] if site.module in self.inputs else scale[:, None]
            for site, scale in zip(self.targets, self.scales, strict=True)
        }

    def stored(self) -> dict[str, Tensor]:
        named: dict[str, Tensor] = {}
        for site, scale in zip(self.targets, self.scales, strict=True):
            name = f"base_model.model.{site.module}.ia3_l"
            if site.module in self.inputs:
                named[name] = scale[None]
            elif site.rows is None:
                named[name] = scale[:, None]
            else:
                full = named.setdefault(name, scale.new_ones(self._widths[site.module], 1))
                full[features(site), 0] = scale.detach()
        return named

    def take(self, stored: dict[str, Tensor]) -> None:
        if stored.keys() != (expected := self.stored().keys()):
            raise ValueError(f"other tensors than this adapter's: {sorted(stored.keys() ^ expected)[:3]}")
        for site, scale in zip(self.targets, self.scales, strict=True):
            full = stored[f"base_model.model.{site.module}.ia3_l"].flatten()
            scale.copy_(full if site.rows is None else full[features(site)])

    def peft_config(self, split: bool = False) -> Any:
        from peft import IA3Config

        names = {site.name: site.name if split else site.module for site in self.targets}
        return IA3Config(
            task_type=self.task_type,
            target_modules=list(dict.fromkeys(names.values())),
            feedforward_modules=sorted(self.inputs),
            fan_in_fan_out=any(site.transposed and not (split and site.rows) for site in self.targets),
        )
