"""Adapter: what one trial adds to a frozen model, as hooks that are the identity until a method overrides them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class Adapter(nn.Module):
    """The trainable part of one trial. Its parameters are what is trained, counted and saved.

    `sites` names the modules whose outputs `transform` changes; dropout draws from
    `noise`, which `seed_noise` sets, and applies in training mode only.
    """

    sites: frozenset[str] = frozenset()
    noise: torch.Generator | None = None
    real: Tensor | None = None

    def soft_prompt(self) -> Tensor | None:
        """Embeddings put before every sequence, [tokens, width], or None."""
        return None

    def prefix(self) -> Tensor | None:
        """Keys and values put before every layer's own, [layers, 2, heads, tokens, head_dim], or None."""
        return None

    def transform(self, site: str, x: Tensor, y: Tensor) -> Tensor:
        """The site's new output, [tokens, out], from its input x, [tokens, in], and its output y, [tokens, out]."""
        return y

    @classmethod
    def transform_lanes(cls, lanes: Sequence[Any], site: str, x: Tensor, y: Tensor) -> Tensor:
        """`transform` of several adapters of one signature at once: x [lanes, tokens, in], y [lanes, tokens, out]."""
        return torch.stack([lane.transform(site, x[i], y[i]) for i, lane in enumerate(lanes)])

    def signature(self) -> Hashable:
        """Adapters of equal signature have tensors of equal shapes and may be transformed together."""
        return id(self)

    def seed_noise(self, generator: torch.Generator) -> None:
        """Give the adapter the generator that its dropout draws from."""
        self.noise = generator

    def seen(self, real: Tensor) -> None:
        """Told before each packed pass which of the lane's tokens are real, [tokens] boolean: dropout skips padding."""
        self.real = real

    def after_step(self, step: int) -> None:
        """Called after each optimiser step, with its number from 1."""

    def release(self) -> None:
        """Give back what was changed in the base model; called when the trial is over."""

    # --- on disk ---

    def tensors(self) -> dict[str, Tensor]:
        """The trained tensors by the names PEFT gives them in adapter_model.safetensors."""
        return {}

    def peft_config(self) -> Any:
        """The PeftConfig that describes the adapter to PEFT, or None where there is nothing to describe."""
        return None

    def save(self, directory: Path) -> None:
        """Write adapter_config.json and adapter_model.safetensors as PEFT reads them."""
        directory.mkdir(parents=True, exist_ok=True)
        config = self.peft_config()
        if config is not None:
            config.save_pretrained(directory)
        tensors = {name: tensor.detach().contiguous().cpu().clone() for name, tensor in self.tensors().items()}
        if tensors:
            save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})

    def load(self, directory: Path) -> None:
        """Take the trained tensors from a directory that `save` or PEFT wrote."""
        path = directory / "adapter_model.safetensors"
        own = self.tensors()
        if not own:
            return
        stored = load_file(path)
        if stored.keys() != own.keys():
            raise ValueError(f"{path} holds other tensors than this adapter: {sorted(stored.keys() ^ own.keys())[:3]}")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(stored[name])
