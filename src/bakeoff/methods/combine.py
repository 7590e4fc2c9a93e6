"""combine: several methods on one model at once, all of them training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, field_validator

from bakeoff.methods.method import Method, build
from bakeoff.study.spec import Frozen, Positive

if TYPE_CHECKING:
    from torch import Generator

    from bakeoff.methods.adapters.adapter import Adapter
    from bakeoff.models.backbone import Backbone


class Part(Frozen):
    """One of the combined methods: its name in the study, its kind, its hyperparameters, and its own rate if any."""

    name: str
    use: str
    config: dict[str, Any]
    learning_rate: Positive | None = None


class Combine(Method):
    """The composition of its parts' hooks; in a study, `parts:` names other methods of it.

    Parts that `learning_rates:` names learn at that rate, the others at the trial's; one schedule scales them all.
    Every part trains. (Nesting one PEFT model in another silently freezes the inner one.)
    """

    use: ClassVar[str] = "combine"
    summary: ClassVar[str] = "several methods at once, such as LoRA and prompt tuning, all of them training"
    example: ClassVar[dict[str, Any]] = {
        "parts": [
            {"name": "lora", "use": "lora", "config": {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}},
            {"name": "prompt", "use": "prompt_tuning", "config": {"num_virtual_tokens": 8}},
        ]
    }

    parts: Annotated[tuple[Part, ...], Field(min_length=2)]

    @field_validator("parts")
    @classmethod
    def _can_share(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        for part in parts:
            method = build(part.use, part.config)
            if method.solo or not method.trains or not method.lanes or isinstance(method, Combine):
                raise ValueError(f"'{part.name}' ({part.use}) cannot be a part of a combination")
        return parts

    def methods(self) -> dict[str, Method]:
        """The combined methods by their names."""
        return {part.name: build(part.use, part.config) for part in self.parts}

    def attach(self, backbone: Backbone, generator: Generator) -> Adapter:
        """One adapter that holds every part's."""
        from bakeoff.methods.adapters.combine import CombinedAdapter

        adapters = {name: method.attach(backbone, generator) for name, method in self.methods().items()}
        for part in self.parts:
            adapters[part.name].learning_rate = part.learning_rate
        return CombinedAdapter(adapters)

    def parameters(self, backbone: Backbone) -> int:
        """The sum over the parts."""
        return sum(method.parameters(backbone) for method in self.methods().values())

    def formula(self, backbone: Backbone) -> str:
        """The sum over the parts."""
        return " + ".join(f"({method.formula(backbone)})" for method in self.methods().values())

    def grid(self) -> tuple[float, ...]:
        """That of the part with the smallest rates, among parts without one of their own: it is the first to diverge.

        No grid is published for combinations; where a larger rate suits, tuning goes on upwards.
        """
        shared = (build(part.use, part.config) for part in self.parts if part.learning_rate is None)
        return min((method.grid() for method in shared if method.grid()), default=())

    def virtual_tokens(self) -> int:
        """The sum over the parts."""
        return sum(method.virtual_tokens() for method in self.methods().values())
