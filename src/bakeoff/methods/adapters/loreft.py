"""LoreftAdapter: the edits of each layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor, nn

from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.models.backbone import Backbone

if TYPE_CHECKING:
    from bakeoff.methods.loreft import Loreft


class Edit(nn.Module):
    """h + R^T (W h + b - R h): the formula of pyreft's LoreftIntervention.

    R^T is the orthonormal factor of a free matrix, `rotation` [width, rank]. (pyreft reaches the same R's through
    Householder reflections, whose coordinates an optimiser walks differently, and a square buffer for each edit.)
    """

    def __init__(self, width: int, rank: int, generator: Generator):
        super().__init__()
        self.source: Any = nn.utils.skip_init(nn.Linear, width, rank)
        self.rotation = nn.Parameter(torch.empty(width, rank))
        bound = 1 / math.sqrt(width)  # nn.Linear's own start
        with torch.no_grad():
            self.source.weight.uniform_(-bound, bound, generator=generator)
            self.source.bias.uniform_(-bound, bound, generator=generator)
            nn.init.orthogonal_(self.rotation, generator=generator)

    def directions(self) -> Tensor:
        """R transposed, [width, rank]: the orthonormal factor of `rotation`, its columns' signs kept."""
        q, r = torch.linalg.qr(self.rotation)
        return q * r.diagonal().sgn()

    def forward(self, h: Tensor) -> Tensor:
        r = self.directions()
        return h + (self.source(h) - h @ r) @ r.T


class LoreftAdapter(Adapter):
    """Edits of the residual stream after each layer, at the prompt's ends."""

    stage = 2

    def __init__(self, method: Loreft, edits: Mapping[str, Sequence[str]], backbone: Backbone, generator: Generator):
        super().__init__()
        self.method, self.names, self.tail = method, list(edits), method.last
        self.sites = frozenset(edits)
        self.edits = nn.ModuleList(
            nn.ModuleDict({end: Edit(backbone.width, method.low_rank_dimension, generator) for end in ends})
            for ends in edits.values()
        )
        self.edits.to(dtype=backbone.adapter_dtype, device=backbone.device)
        self._index = {name: i for i, name in enumerate(self.names)}

    def transform(self, site: str, x: Tensor, y: Tensor) -> Tensor:
        places = self._places()
        out = y.clone()
        for end, edit in self._edits(site):
            h = y[places[end]]
            out[places[end]] = edit(h.to(edit.rotation.dtype)).to(y.dtype)
        return out

    def tensors(self) -> dict[str, Tensor]:
        return {
            f"{name}.{end}.{key}": parameter
            for name in self.names
            for end, edit in self._edits(name)
            for key, parameter in edit.named_parameters()
        }

    def merge(self, model: Any, directory: Path) -> Any:
        raise ValueError("it edits some tokens and not others, and weights treat all alike")

    def _edits(self, site: str) -> list[tuple[str, Any]]:
        own: Any = self.edits[self._index[site]]
        return list(own.items())

    def _places(self) -> dict[str, Tensor]:
        """Which of the pass's tokens are a prompt's first, last, or either, each [tokens] boolean."""
        assert self.view is not None
        prompt = self.view.real & (self.view.left > 0) & (self.view.start >= 0)
        first = prompt & (self.view.start < self.method.first)
        last = prompt & ~first & (self.view.left <= self.method.last)
        return {"first": first, "last": last, "both": first | last}
