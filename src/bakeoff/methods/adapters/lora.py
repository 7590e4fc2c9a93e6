"""LoraAdapter: A and B of each target module, applied to one lane or to a stack of them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor, nn

from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.models.backbone import Backbone
from bakeoff.models.sites import Site

if TYPE_CHECKING:
    from bakeoff.methods.lora import Lora


class LoraAdapter(Adapter):
    """y + (lora_alpha / r) B A dropout(x), as peft.tuners.lora computes it."""

    def __init__(self, method: Lora, sites: Sequence[Site], backbone: Backbone, generator: Generator):
        super().__init__()
        self.method, self.scaling = method, method.lora_alpha / method.r
        self.transposed = any(site.transposed for site in sites)
        self.names = [site.name for site in sites]
        self.sites = frozenset(self.names)
        where: dict[str, Any] = {"dtype": backbone.adapter_dtype, "device": backbone.device}
        self.A = nn.ParameterList()
        self.B = nn.ParameterList()
        for site in sites:
            a = torch.empty(method.r, site.in_features, dtype=torch.float32)
            nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
            self.A.append(nn.Parameter(a.to(**where)))
            self.B.append(nn.Parameter(torch.zeros(site.out_features, method.r, **where)))
        self._index = {name: i for i, name in enumerate(self.names)}

    def transform(self, site: str, x: Tensor, y: Tensor) -> Tensor:
        i = self._index[site]
        a, b = self.A[i], self.B[i]
        return y + ((self._dropped(x.to(a.dtype)) @ a.T) @ b.T * self.scaling).to(y.dtype)

    @classmethod
    def transform_lanes(cls, lanes: Sequence[Any], site: str, x: Tensor, y: Tensor) -> Tensor:
        if len(lanes) == 1:
            return lanes[0].transform(site, x[0], y[0])[None]
        first, i = lanes[0], lanes[0]._index[site]
        a = torch.stack([lane.A[i] for lane in lanes])  # [lanes, r, in]
        b = torch.stack([lane.B[i] for lane in lanes])  # [lanes, out, r]
        x = x.to(a.dtype)
        if first.training and first.method.lora_dropout:
            x = torch.stack([lane._dropped(x[j]) for j, lane in enumerate(lanes)])
        low = torch.bmm(x, a.transpose(1, 2))
        if y.dtype == low.dtype:
            return torch.baddbmm(y, low, b.transpose(1, 2), alpha=first.scaling)
        return y + (torch.bmm(low, b.transpose(1, 2)) * first.scaling).to(y.dtype)

    def signature(self) -> Hashable:
        return (
            "lora",
            self.scaling,
            self.method.lora_dropout,
            *((name, a.shape) for name, a in zip(self.names, self.A, strict=True)),
        )

    def _dropped(self, x: Tensor) -> Tensor:
        p = self.method.lora_dropout
        if not (self.training and p):
            return x
        assert self.real is not None
        keep = torch.zeros_like(x)  # a draw per real token, so that padding (the company's lengths) changes nothing
        drawn = torch.rand(int(self.real.sum()), x.shape[-1], generator=self.noise) >= p
        keep[self.real] = drawn.to(x) / (1 - p)
        return x * keep

    def tensors(self) -> dict[str, Tensor]:
        named = {}
        for name, a, b in zip(self.names, self.A, self.B, strict=True):
            named[f"base_model.model.{name}.lora_A.weight"] = a
            named[f"base_model.model.{name}.lora_B.weight"] = b
        return named

    def peft_config(self) -> Any:
        from peft import LoraConfig

        return LoraConfig(
            task_type="CAUSAL_LM",
            r=self.method.r,
            lora_alpha=self.method.lora_alpha,  # pyright: ignore[reportArgumentType]  (a float is as good)
            lora_dropout=self.method.lora_dropout,
            target_modules=list(self.names),
            fan_in_fan_out=self.transposed,
        )
