"""Adapter: what one trial adds to a frozen model, as hooks that are the identity until a method overrides them."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bakeoff.methods.adapters import stored


@dataclass(frozen=True, slots=True)
class View:
    """What an adapter may know of the tokens of a pass, each [tokens].

    `real` is False for padding; `start` counts a token's place in its own text from 0 (negative for virtual tokens);
    `left` counts the prompt's tokens from this one to its last, both included: 0 from the answer on, `SHARED` in a
    trunk that prompts of unequal length share.
    """

    real: Tensor
    start: Tensor
    left: Tensor


SHARED = 2**30


class Adapter(nn.Module):
    """The trainable part of one trial. Its parameters are what is trained, counted and saved.

    `sites` names the modules whose outputs `transform` changes, `inputs` those whose inputs `enter` changes. `tail` is
    how many of a prompt's last tokens it treats unlike the others: packing does not let examples share them. Dropout
    draws from `noise`, which `seed_noise` sets, and applies in training mode only. `learning_rate` is its own where it
    is a part that does not learn at the trial's. In a combination, parts of a lower
    `stage` act first, whatever their order: 0 adds to a module's output, 1 scales what is there, 2 acts on the
    result, 3 puts virtual tokens before the text.
    """

    sites: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()
    tail: int = 0
    stage: int = 0
    task_type: str = "CAUSAL_LM"  # what PEFT calls the model's kind
    learning_rate: float | None = None
    noise: torch.Generator | None = None
    view: View | None = None

    def soft_prompt(self) -> Tensor | None:
        """Embeddings put before every sequence, [tokens, width], or None."""
        return None

    def prefix(self) -> Tensor | None:
        """Keys and values put before every layer's own, [layers, 2, heads, tokens, head_dim], or None."""
        return None

    def enter(self, site: str, x: Tensor) -> Tensor:
        """The site's new input, [tokens, in]."""
        return x

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

    def seen(self, view: View) -> None:
        """Told before each pass what the lane's tokens are: dropout skips padding, some methods act by position."""
        self.view = view

    def drop(self, x: Tensor, p: float) -> Tensor:
        """Dropout of x, [tokens, width], in training mode: a draw per real token from the adapter's own generator.

        So neither padding nor company, which change how long a pass is, change what is dropped.
        """
        if not (self.training and p):
            return x
        assert self.view is not None
        real = self.view.real
        keep = torch.zeros_like(x)
        drawn = torch.rand(int(real.sum()), x.shape[-1], generator=self.noise) >= p
        keep[real] = drawn.to(x) / (1 - p)
        return x * keep

    def built(self) -> nn.Module | None:
        """The whole model to train, where the adapter is no addition to the frozen one but a model of its own."""
        return None

    def begin(self, steps: int) -> None:
        """Called before training, with the number of optimiser steps to come."""

    def penalty(self) -> Tensor | None:
        """What is added to the mean loss of each optimiser step (not to the curve), or None."""
        return None

    def after_step(self, step: int) -> None:
        """Called after each optimiser step, with its number from 1; the gradients are still there."""

    def state(self) -> dict[str, Tensor]:
        """The tensors that training changes: the trained parameters, and buffers."""
        trained = {name: p for name, p in self.named_parameters() if p.requires_grad}
        return trained | dict(self.named_buffers())

    def memory(self) -> dict[str, Tensor]:
        """What `after_step` keeps for later steps beside `state`, as tensors; `recall` takes it back."""
        return {}

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        """Be as when `memory` was called."""

    def rates(self) -> dict[nn.Parameter, float]:
        """The parameters that learn at a rate of their own, with that rate."""
        return {} if self.learning_rate is None else dict.fromkeys(self.parameters(), self.learning_rate)

    def members(self) -> dict[str, Adapter]:
        """The adapters that a combination is made of, by name; none where it is no combination."""
        return {}

    def release(self) -> None:
        """Give back what was changed in the base model; called when the trial is over."""

    # --- on disk ---

    def tensors(self) -> dict[str, Tensor]:
        """The trained tensors by the names PEFT gives them in adapter_model.safetensors."""
        return {}

    def peft_config(self) -> Any:
        """The PeftConfig that describes the adapter to PEFT, or None where PEFT has no such method."""
        return None

    def stored(self) -> dict[str, Tensor]:
        """The tensors of adapter_model.safetensors: `tensors`, unless the file's format is another."""
        return self.tensors()

    def take(self, stored: dict[str, Tensor]) -> None:
        """Set the trained tensors from those of an adapter_model.safetensors."""
        own = self.tensors()
        if stored.keys() != own.keys():
            raise ValueError(f"other tensors than this adapter's: {sorted(stored.keys() ^ own.keys())[:3]}")
        for name, tensor in own.items():
            tensor.copy_(stored[name])

    def save(self, directory: Path) -> None:
        """Write adapter_config.json (where PEFT has the method) and adapter_model.safetensors, as PEFT reads them."""
        directory.mkdir(parents=True, exist_ok=True)
        config = self.peft_config()
        if config is not None:
            config = copy.copy(config)
            for name, value in vars(config).items():
                if isinstance(value, set):  # PEFT would write it in an order that is another in each process
                    setattr(config, name, sorted(value))
            config.save_pretrained(directory)
        tensors = {name: tensor.detach().contiguous().cpu().clone() for name, tensor in self.stored().items()}
        if tensors:
            save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})

    def check(self, directory: Path) -> None:
        """InputError where a directory does not hold this adapter as plain data; only its files' heads are read."""
        shapes = {name: tuple(tensor.shape) for name, tensor in self.stored().items()}
        if shapes:
            stored.check(directory, shapes, self.peft_config())

    @torch.no_grad()
    def load(self, directory: Path) -> None:
        """Take the trained tensors from a directory that `save` or PEFT wrote."""
        self.check(directory)
        if self.tensors():
            self.take(load_file(directory / "adapter_model.safetensors"))

    def merge(self, model: Any, directory: Path) -> Any:
        """The Hugging Face `model` with this adapter, saved in `directory`, in its weights, by PEFT's own merge.

        ValueError says why where no weights of the model do what the adapter does.
        """
        if self.peft_config() is None:
            raise ValueError("what it computes is no change of the base's weights")
        from peft import PeftModel

        whole: Any = PeftModel.from_pretrained(model, directory)
        return whole.merge_and_unload()
