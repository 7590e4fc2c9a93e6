"""PrefixAdapter: keys and values of every layer."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor, nn

from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.models.backbone import Backbone

if TYPE_CHECKING:
    from bakeoff.methods.prefix_tuning import PrefixTuning


class PrefixAdapter(Adapter):
    """One table [tokens, layers * 2 * heads * head_dim], as peft.PrefixEncoder without projection holds it."""

    stage = 3

    def __init__(self, method: PrefixTuning, backbone: Backbone, generator: Generator):
        super().__init__()
        self.method, self.task_type, self.stacks = method, backbone.task_type, backbone.stacks
        self.shape = (backbone.layers, 2, backbone.heads, backbone.head_dim)
        start = torch.randn(
            method.num_virtual_tokens, backbone.layers * 2 * backbone.heads * backbone.head_dim, generator=generator
        )
        self.embeddings = nn.Parameter(start.to(dtype=backbone.adapter_dtype, device=backbone.device))

    def prefix(self) -> Tensor:
        return self.embeddings.view(-1, *self.shape).permute(1, 2, 3, 0, 4)

    def signature(self) -> Hashable:
        return ("prefix", self.embeddings.shape)

    def tensors(self) -> dict[str, Tensor]:
        return {"prompt_embeddings": self.embeddings}

    def peft_config(self) -> Any:
        from peft import PrefixTuningConfig

        layers, _, heads, head_dim = self.shape
        return PrefixTuningConfig(
            task_type=self.task_type,
            num_virtual_tokens=self.method.num_virtual_tokens,
            token_dim=heads * head_dim,
            num_transformer_submodules=self.stacks,
            num_layers=layers,
            num_attention_heads=heads,
            encoder_hidden_size=heads * head_dim,
        )
