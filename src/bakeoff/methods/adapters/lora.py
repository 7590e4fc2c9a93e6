"""LoraAdapter: A and B of each target module, applied to one lane or to a stack of them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor, nn

from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.models.backbone import Backbone
from bakeoff.models.sites import Site, features

if TYPE_CHECKING:
    from bakeoff.methods.lora import Lora


class LoraAdapter(Adapter):
    """y + scaling B A dropout(x), as peft.tuners.lora computes it.

    A role's slice of a fused module (GPT-2's c_attn) has an A and a B of its own. On disk the slices of a module are
    one PEFT LoRA of it: their A's one above another, their B's on the diagonal, zeros elsewhere.
    """

    def __init__(self, method: Lora, sites: Sequence[Site], backbone: Backbone, generator: Generator):
        super().__init__()
        self.method, self.scaling, self.task_type = method, method.scaling, backbone.task_type
        self.transposed = any(site.transposed for site in sites)
        self.targets = list(sites)
        self.sites = frozenset(site.module for site in sites)
        where: dict[str, Any] = {"dtype": backbone.adapter_dtype, "device": backbone.device}
        self.A = nn.ParameterList()
        self.B = nn.ParameterList()
        for site in sites:
            a = torch.empty(method.r, site.in_features, dtype=torch.float32)
            nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
            self.A.append(nn.Parameter(a.to(**where)))
            self.B.append(nn.Parameter(torch.zeros(site.out_features, method.r, **where)))
        numbered = groupby(range(len(sites)), key=lambda i: sites[i].module)
        self._by_module = {module: list(own) for module, own in numbered}  # one site, or slices
        self._widths = {name: site.out_features for name, site in backbone.sites.items() if site.rows is None}

    def transform(self, site: str, x: Tensor, y: Tensor) -> Tensor:
        for i in self._by_module[site]:
            a, b = self.A[i], self.B[i]
            low = self.drop(x.to(a.dtype), self.method.lora_dropout) @ a.T
            if y.dtype == low.dtype and self.targets[i].rows is None:
                y = torch.addmm(y, low, b.T, alpha=self.scaling)
            else:
                y = added(y, low @ b.T * self.scaling, self.targets[i])
        return y

    @classmethod
    def transform_lanes(cls, lanes: Sequence[Any], site: str, x: Tensor, y: Tensor) -> Tensor:
        if len(lanes) == 1:
            return lanes[0].transform(site, x[0], y[0])[None]
        first = lanes[0]
        for i in first._by_module[site]:
            a = torch.stack([lane.A[i] for lane in lanes])  # [lanes, r, in]
            b = torch.stack([lane.B[i] for lane in lanes])  # [lanes, out, r]
            dropped = x.to(a.dtype)
            if first.training and first.method.lora_dropout:
                dropped = torch.stack([lane.drop(dropped[j], lane.method.lora_dropout) for j, lane in enumerate(lanes)])
            low = torch.bmm(dropped, a.transpose(1, 2))
            if y.dtype == low.dtype and first.targets[i].rows is None:
                y = torch.baddbmm(y, low, b.transpose(1, 2), alpha=first.scaling)
            else:
                y = added(y, torch.bmm(low, b.transpose(1, 2)) * first.scaling, first.targets[i])
        return y

    def signature(self) -> Hashable:
        shapes = ((site.name, a.shape) for site, a in zip(self.targets, self.A, strict=True))
        return ("lora", self.scaling, self.method.lora_dropout, *shapes)

    def tensors(self) -> dict[str, Tensor]:
        named = {}
        for site, a, b in zip(self.targets, self.A, self.B, strict=True):
            named[f"base_model.model.{site.name}.lora_A.weight"] = a
            named[f"base_model.model.{site.name}.lora_B.weight"] = b
        return named

    # --- on disk ---

    def stored(self) -> dict[str, Tensor]:
        named = {}
        for module, own in self._by_module.items():
            a, b = torch.cat([self.A[i] for i in own]), self.B[own[0]]
            if self.targets[own[0]].rows is not None:
                b = b.new_zeros(self._widths[module], len(own) * self.method.r)
                for k, i in enumerate(own):
                    b[features(self.targets[i]), k * self.method.r : (k + 1) * self.method.r] = self.B[i].detach()
            named[f"base_model.model.{module}.lora_A.weight"] = a
            named[f"base_model.model.{module}.lora_B.weight"] = b
        return named

    def take(self, stored: dict[str, Tensor]) -> None:
        if stored.keys() != (expected := self.stored().keys()):
            raise ValueError(f"other tensors than this adapter's: {sorted(stored.keys() ^ expected)[:3]}")
        for module, own in self._by_module.items():
            a, b = (stored[f"base_model.model.{module}.lora_{letter}.weight"] for letter in "AB")
            for k, i in enumerate(own):
                rank = slice(k * self.method.r, (k + 1) * self.method.r)
                self.A[i].copy_(a[rank])
                rows = b if self.targets[i].rows is None else b[features(self.targets[i])]
                self.B[i].copy_(rows[:, rank])

    def peft_config(self, split: bool = False) -> Any:
        """For the file, or (`split`) for a model whose fused modules were split into their roles."""
        from peft import LoraConfig

        method, modules = self.method, self._by_module
        wide = {} if split else {module: len(own) for module, own in modules.items() if len(own) > 1}
        return LoraConfig(
            task_type=self.task_type,
            r=method.r,
            lora_alpha=method.lora_alpha,  # pyright: ignore[reportArgumentType]  (a float is as good)
            lora_dropout=method.lora_dropout,
            use_rslora=method.use_rslora,
            target_modules=[site.name for site in self.targets] if split else list(modules),
            fan_in_fan_out=self.transposed and not (split and all(site.rows for site in self.targets)),
            rank_pattern={module: count * method.r for module, count in wide.items()},
            alpha_pattern={
                module: method.lora_alpha * (count**0.5 if method.use_rslora else count)
                for module, count in wide.items()
            },
        )


def added(y: Tensor, delta: Tensor, site: Site) -> Tensor:
    """y with delta added to the features that the site computes."""
    delta = delta.to(y.dtype)
    if site.rows is None:
        return y + delta
    if len(site.rows) == 1:
        out = y.clone()
        out[..., site.rows[0].start : site.rows[0].stop] += delta
        return out
    return y.index_add(-1, features(site).to(y.device), delta)
