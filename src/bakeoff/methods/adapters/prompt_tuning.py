"""PromptAdapter: the virtual tokens' embeddings."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor, nn

from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.models.backbone import Backbone

if TYPE_CHECKING:
    from bakeoff.methods.prompt_tuning import PromptTuning


class PromptAdapter(Adapter):
    """Embeddings [tokens, width] put before the input, as peft.PromptEmbedding holds them.

    Of an encoder-decoder model they are `num_virtual_tokens` for the encoder, and as many for the decoder, which PEFT
    counts and saves but does not put anywhere.
    """

    stage = 3

    def __init__(self, method: PromptTuning, backbone: Backbone, generator: Generator):
        super().__init__()
        self.method, self.backbone_config = method, backbone.config
        self.tokenizer = backbone.tokenizer.name_or_path or backbone.name
        self.task_type, self.stacks = backbone.task_type, backbone.stacks
        start = self._start(backbone, generator)
        self.embeddings = nn.Parameter(start.to(dtype=backbone.adapter_dtype, device=backbone.device))

    def _start(self, backbone: Backbone, generator: Generator) -> Tensor:
        method, table = self.method, backbone.embedding.weight
        tokens = method.num_virtual_tokens * self.stacks
        if method.prompt_tuning_init == "RANDOM":
            return torch.randn(tokens, table.shape[1], generator=generator)
        if method.prompt_tuning_init == "SAMPLE_VOCAB":
            ids = torch.randint(0, table.shape[0], (tokens,), generator=generator)
        else:
            text = backbone.tokenizer(method.prompt_tuning_init_text)["input_ids"]
            ids = torch.tensor([text[i % len(text)] for i in range(tokens)])
        return table[ids.to(table.device)].detach().clone()

    def soft_prompt(self) -> Tensor:
        return self.embeddings

    def signature(self) -> Hashable:
        return ("prompt", self.embeddings.shape)

    def tensors(self) -> dict[str, Tensor]:
        return {"prompt_embeddings": self.embeddings}

    def peft_config(self) -> Any:
        from peft import PromptTuningConfig

        text = self.method.prompt_tuning_init_text
        return PromptTuningConfig(
            task_type=self.task_type,
            num_virtual_tokens=self.method.num_virtual_tokens,
            prompt_tuning_init=self.method.prompt_tuning_init,
            prompt_tuning_init_text=text,
            tokenizer_name_or_path=self.tokenizer if text else None,
            token_dim=self.embeddings.shape[1],
            num_transformer_submodules=self.stacks,
            num_layers=self.backbone_config.num_hidden_layers,
            num_attention_heads=self.backbone_config.num_attention_heads,
        )
