"""Method and Adapter: frozen hyperparameters, and what one trial adds to a frozen model."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from bakeoff.study.registry import find
from bakeoff.study.spec import Frozen

if TYPE_CHECKING:
    from torch import Generator

    from bakeoff.methods.adapters.adapter import Adapter
    from bakeoff.models.backbone import Backbone


class Method(Frozen, ABC):
    """A fine-tuning method's hyperparameters, named and defaulted as PEFT's. A subclass is one file named like `use`.

    `trains` is False where there is nothing to train (one trial, no seed). `draws` is False where every seed starts
    from the same weights. `solo` says that the method changes the base's own weights, so that its trial shares a model
    with nobody. `lanes` is False where only the reference engine can run it. `version` goes up when the method's
    mathematics change, and with it every key. `example` is a small configuration: the one shown to people and held to
    the laws. `rates` is the grid of learning rates that `tune: published` tries, ascending, its source in a comment:
    four values for every method, and those that are not from a publication are marked as ours.
    """

    use: ClassVar[str]
    version: ClassVar[int] = 1
    trains: ClassVar[bool] = True
    draws: ClassVar[bool] = True
    solo: ClassVar[bool] = False
    lanes: ClassVar[bool] = True
    summary: ClassVar[str] = ""
    rates: ClassVar[tuple[float, ...]] = ()
    example: ClassVar[dict[str, Any]] = {}

    @abstractmethod
    def attach(self, backbone: Backbone, generator: Generator) -> Adapter:
        """A new adapter for `backbone`, its initial weights drawn from `generator` alone.

        InputError where the method cannot be attached to this model (no target module, no room for its tokens).
        """

    @abstractmethod
    def parameters(self, backbone: Backbone) -> int:
        """How many numbers the method trains on `backbone`, by its formula: without building anything."""

    def formula(self, backbone: Backbone) -> str:
        """`parameters` as arithmetic for people, with the model's numbers put in: `8 x (192 + 192)`."""
        return f"{self.parameters(backbone):,}"

    def grid(self) -> tuple[float, ...]:
        """The learning rates to tune over; none where no such grid is published."""
        return self.rates

    def virtual_tokens(self) -> int:
        """Positions of the context the method takes for itself."""
        return 0


def summed(terms: Iterable[str]) -> str:
    """A sum in which equal terms are taken together: 8, 8 and 4 are `2 x 8 + 4`."""
    counts = Counter(terms)
    return " + ".join(term if count == 1 else f"{count} x {term}" for term, count in counts.items())


def build(use: str, config: Mapping[str, Any], where: str = "methods") -> Method:
    """The method of that kind with those hyperparameters; pydantic's ValidationError where they do not fit."""
    return find("methods", use, where).model_validate_json(json.dumps(config))
