"""base: the untouched model, which every method has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bakeoff.methods.method import Method

if TYPE_CHECKING:
    from torch import Generator

    from bakeoff.methods.adapters.adapter import Adapter
    from bakeoff.models.backbone import Backbone


class Base(Method):
    """Nothing is added and nothing is trained."""

    use: ClassVar[str] = "base"
    trains: ClassVar[bool] = False
    summary: ClassVar[str] = "the untouched model; nothing is trained"

    def attach(self, backbone: Backbone, generator: Generator) -> Adapter:
        """An adapter whose every hook is the identity."""
        from bakeoff.methods.adapters.adapter import Adapter

        return Adapter()

    def parameters(self, backbone: Backbone) -> int:
        """0."""
        return 0
