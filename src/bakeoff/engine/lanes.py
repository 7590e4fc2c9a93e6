"""Lanes: several adapters on one frozen model, each owning its rows of a packed pass."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from bakeoff.data.messages import Encoded
from bakeoff.engine.packing import Packed, pack
from bakeoff.methods.adapters.adapter import Adapter, View
from bakeoff.models.backbone import Backbone


class PackCache:
    """What transformers' attention takes for a cache in a packed pass.

    Before each row's keys and values it puts its lane's prefix and the `shared` first columns of its lane's first row
    (soft prompt and trunk). With `keep`, a layer's keys and values without the prefix, [rows, heads, shared + tokens,
    head_dim], stay in `kept`.
    """

    def __init__(self, packed: Packed, prefix: Tensor | None, keep: bool = False):
        self.packed, self.prefix, self.keep = packed, prefix, keep  # prefix: [layers, 2, rows, heads, tokens, head_dim]
        self.kept: list[tuple[Tensor, Tensor]] = []

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if self.packed.shared:
            keys, values = self._lent(keys), self._lent(values)
        if self.keep:
            self.kept.append((keys, values))
        if self.prefix is None:
            return keys, values
        before = self.prefix[layer].to(keys.dtype)
        return torch.cat([before[0], keys], dim=2), torch.cat([before[1], values], dim=2)

    def get_seq_length(self, *_: Any) -> int:
        return self.packed.prefix + self.packed.shared

    def _lent(self, own: Tensor) -> Tensor:
        each, shared = self.packed.rows_per_lane, self.packed.shared
        return torch.cat([own[::each, :, :shared].repeat_interleave(each, dim=0), own], dim=2)


class Lanes:
    """Adapters that share passes over one backbone."""

    def __init__(self, backbone: Backbone, adapters: Sequence[Adapter]):
        self.backbone, self.adapters = backbone, list(adapters)
        self.soft = [0 if (soft := a.soft_prompt()) is None else len(soft) for a in adapters]
        self.prefix = [0 if (prefix := a.prefix()) is None else prefix.shape[3] for a in adapters]
        self.sites = sorted(frozenset().union(*(a.sites for a in adapters)))
        self.inputs = sorted(frozenset().union(*(a.inputs for a in adapters)))
        # runs of neighbouring lanes that can be transformed together: (first, end)
        runs = [list(run) for _, run in groupby(range(len(adapters)), key=lambda i: adapters[i].signature())]
        self.runs = [(run[0], run[-1] + 1) for run in runs]

    def subset(self, lanes: Sequence[int]) -> Lanes:
        """The same backbone with some of the adapters."""
        return (
            self
            if list(lanes) == list(range(len(self.adapters)))
            else Lanes(self.backbone, [self.adapters[i] for i in lanes])
        )

    def pack(self, items: Sequence[Sequence[Encoded]], **options: Any) -> Packed:
        """One batch of examples per lane as one pass."""
        tails = [max(1, adapter.tail) for adapter in self.adapters]
        return pack(items, self.soft, self.prefix, self.backbone.device, tails=tails, **options)

    def hidden(self, packed: Packed, cache: PackCache | None = None) -> Tensor:
        """The last hidden states of a packed pass, [rows, tokens, width]; `cache` where its keys are to be kept."""
        embeds = self._embed(packed)
        if cache is None and (packed.shared or packed.prefix):
            cache = self.cache(packed)
        self.tell(packed.spans >= 0, packed.positions, packed.left, packed.virtual)
        with self.transforming():
            return self.backbone.hidden(embeds, packed.positions, packed.mask, cache)

    def cache(self, packed: Packed, keep: bool = False) -> PackCache:
        """What a packed pass's attention reads beside the rows' own keys and values."""
        return PackCache(packed, self.prefix_rows(packed.rows_per_lane), keep)

    def tell(self, real: Tensor, positions: Tensor, left: Tensor, virtual: Sequence[int]) -> None:
        """Tell every adapter what its tokens of the next pass are; each [rows, tokens], rows lane by lane."""
        lanes = len(self.adapters)
        real, positions, left = (each.reshape(lanes, -1) for each in (real, positions, left))
        for i, adapter in enumerate(self.adapters):
            adapter.seen(View(real[i], positions[i] - virtual[i], left[i]))

    def logits(self, hidden: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Next-token logits at the given positions only, [positions, vocabulary]."""
        return self.backbone.head(hidden[row, column])

    def transforming(self) -> Any:
        """A context in which the model's sites go through the lanes' transforms (rows lie lane by lane)."""
        return self.backbone.transformed(self.sites, self._transform, self.inputs, self._enter)

    def prefix_rows(self, rows_per_lane: int) -> Tensor | None:
        """Every lane's prefix, right-padded with zeros to the longest: [layers, 2, rows, heads, tokens, head_dim]."""
        longest = max(self.prefix)
        if not longest:
            return None
        shape = (self.backbone.layers, 2, self.backbone.heads, longest, self.backbone.head_dim)
        lanes = []
        for adapter in self.adapters:
            own = adapter.prefix()
            if own is None:
                own = torch.zeros(shape, device=self.backbone.device, dtype=self.backbone.dtype)
            lanes.append(torch.nn.functional.pad(own, (0, 0, 0, longest - own.shape[3])))
        return torch.stack(lanes, dim=2).repeat_interleave(rows_per_lane, dim=2)

    def _embed(self, packed: Packed) -> Tensor:
        embeds = self.backbone.embedding(packed.ids)
        if any(packed.soft):
            embeds = embeds.clone()
            for lane, tokens in enumerate(packed.soft):
                if tokens:
                    soft = self.adapters[lane].soft_prompt()
                    assert soft is not None
                    embeds[lane * packed.rows_per_lane, :tokens] = soft.to(embeds.dtype)
        return embeds

    def _transform(self, site: str, x: Tensor, y: Tensor) -> Tensor:
        lanes = len(self.adapters)
        xs, ys = x.reshape(lanes, -1, x.shape[-1]), y.reshape(lanes, -1, y.shape[-1])
        parts = [self._transform_run(site, xs[a:b], ys[a:b], self.adapters[a:b]) for a, b in self.runs]
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).view(y.shape)

    def _enter(self, site: str, x: Tensor) -> Tensor:
        own = x.reshape(len(self.adapters), -1, x.shape[-1])
        changed = [a.enter(site, own[i]) if site in a.inputs else own[i] for i, a in enumerate(self.adapters)]
        return torch.stack(changed).view(x.shape)

    @staticmethod
    def _transform_run(site: str, x: Tensor, y: Tensor, adapters: list[Adapter]) -> Tensor:
        first = adapters[0]
        return type(first).transform_lanes(adapters, site, x, y) if site in first.sites else y
