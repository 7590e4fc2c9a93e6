"""FullAdapter: the base's own parameters, trainable until released."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from bakeoff.errors import InputError
from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.models import files
from bakeoff.models.backbone import Backbone


class FullAdapter(Adapter):
    """All parameters of the backbone, changed in place while the trial runs; `release` restores them to the bit."""

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.model, self._habits = backbone.model, backbone.generation_config
        self._original = {name: tensor.detach().clone() for name, tensor in self.model.named_parameters()}
        self.model.requires_grad_(True)

    def train(self, mode: bool = True) -> FullAdapter:
        """Nothing changes: the base's own dropout is off for every method."""
        return self

    def built(self) -> nn.Module:
        return self.model

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.model.named_parameters())

    def release(self) -> None:
        self.model.requires_grad_(False)
        with torch.no_grad():
            for name, tensor in self.model.named_parameters():
                tensor.grad = None
                tensor.copy_(self._original[name])

    def save(self, directory: Path) -> None:
        """Write the whole model as `save_pretrained` does: it is no adapter, so there is no adapter_config.json."""
        plain = self.model.generation_config
        self.model.generation_config = self._habits or plain
        try:
            self.model.save_pretrained(directory)
        finally:
            self.model.generation_config = plain

    def check(self, directory: Path) -> None:
        files.check(directory, str(directory), trusted=False)
        own, found = self.model.state_dict(), files.all_shapes(directory)
        for name, shape in found.items():
            if name in own and shape != tuple(own[name].shape):
                what = f"{name} is {list(shape)}, and of this base model {list(own[name].shape)}"
                raise InputError(str(directory), what, "use the model that the trial stored")

    def load(self, directory: Path) -> None:
        self.check(directory)
        how = {"dtype": self.model.dtype, "use_safetensors": True}
        stored = dict(type(self.model).from_pretrained(directory, **how).named_parameters())
        with torch.no_grad():
            for name, tensor in self.model.named_parameters():
                tensor.copy_(stored[name])
