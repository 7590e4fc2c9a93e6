"""CombinedAdapter: the composition of several adapters' hooks."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bakeoff.methods.adapters.adapter import Adapter, View


class CombinedAdapter(Adapter):
    """Soft prompts and prefixes one after another, transforms one over another: by stage, then in the parts' order."""

    def __init__(self, parts: dict[str, Adapter]):
        super().__init__()
        self.names = sorted(parts, key=lambda name: parts[name].stage)
        self.parts = nn.ModuleList(parts[name] for name in self.names)
        self.sites = frozenset().union(*(part.sites for part in parts.values()))
        self.inputs = frozenset().union(*(part.inputs for part in parts.values()))
        self.tail = max(part.tail for part in parts.values())

    @property
    def _adapters(self) -> list[Any]:
        return list(self.parts)

    def soft_prompt(self) -> Tensor | None:
        found = [part.soft_prompt() for part in self._adapters if part.soft_prompt() is not None]
        return torch.cat(found) if found else None

    def prefix(self) -> Tensor | None:
        found = [part.prefix() for part in self._adapters if part.prefix() is not None]
        return torch.cat(found, dim=3) if found else None

    def enter(self, site: str, x: Tensor) -> Tensor:
        for part in self._adapters:
            if site in part.inputs:
                x = part.enter(site, x)
        return x

    def transform(self, site: str, x: Tensor, y: Tensor) -> Tensor:
        for part in self._adapters:
            if site in part.sites:
                y = part.transform(site, x, y)
        return y

    @classmethod
    def transform_lanes(cls, lanes: Sequence[Any], site: str, x: Tensor, y: Tensor) -> Tensor:
        for i, part in enumerate(lanes[0]._adapters):
            if site in part.sites:
                y = type(part).transform_lanes([lane.parts[i] for lane in lanes], site, x, y)
        return y

    def signature(self) -> Hashable:
        return ("combine", *(part.signature() for part in self._adapters))

    def seed_noise(self, generator: torch.Generator) -> None:
        for part in self._adapters:
            part.seed_noise(generator)

    def seen(self, view: View) -> None:
        for part in self._adapters:
            part.seen(view)

    def after_step(self, step: int) -> None:
        for part in self._adapters:
            part.after_step(step)

    def memory(self) -> dict[str, Tensor]:
        own = self.members()
        return {f"{name}/{key}": tensor for name, part in own.items() for key, tensor in part.memory().items()}

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        for name, part in self.members().items():
            start = f"{name}/"
            part.recall({key.removeprefix(start): tensor for key, tensor in memory.items() if key.startswith(start)})

    def rates(self) -> dict[nn.Parameter, float]:
        return {parameter: rate for part in self._adapters for parameter, rate in part.rates().items()}

    def members(self) -> dict[str, Adapter]:
        return dict(zip(self.names, self._adapters, strict=True))

    def tensors(self) -> dict[str, Tensor]:
        return {
            f"{name}/{key}": tensor
            for name, part in zip(self.names, self._adapters, strict=True)
            for key, tensor in part.tensors().items()
        }

    def save(self, directory: Path) -> None:
        """A PEFT adapter per part in a sub-folder `part<i>`, and `combine.json`, which names them in order."""
        for i, part in enumerate(self._adapters):
            part.save(directory / f"part{i}")
        manifest = {"parts": [{"name": name, "directory": f"part{i}"} for i, name in enumerate(self.names)]}
        (directory / "combine.json").write_text(json.dumps(manifest, indent=1) + "\n")

    def check(self, directory: Path) -> None:
        for i, part in enumerate(self._adapters):
            part.check(directory / f"part{i}")

    def load(self, directory: Path) -> None:
        for i, part in enumerate(self._adapters):
            part.load(directory / f"part{i}")
