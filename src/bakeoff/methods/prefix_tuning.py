"""prefix_tuning: trained keys and values before every layer's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from bakeoff.methods.method import Method

if TYPE_CHECKING:
    from torch import Generator

    from bakeoff.methods.adapters.adapter import Adapter
    from bakeoff.models.backbone import Backbone


class PrefixTuning(Method):
    """`num_virtual_tokens` keys and values in every layer (Li and Liang 2021); equals peft.PrefixTuningConfig.

    Without PEFT's `prefix_projection`. They start standard normal; the text's own positions begin after them.
    """

    use: ClassVar[str] = "prefix_tuning"
    summary: ClassVar[str] = "trained keys and values in every layer (Li and Liang 2021)"
    # PEFT's example without projection: 1e-2, its guide: 3e-2; the ends are ours
    # (Li and Liang's 5e-5 is that of their reparameterisation)
    rates: ClassVar[tuple[float, ...]] = (3e-3, 1e-2, 3e-2, 1e-1)
    example: ClassVar[dict[str, Any]] = {"num_virtual_tokens": 10}

    num_virtual_tokens: Annotated[int, Field(ge=1)]

    def attach(self, backbone: Backbone, generator: Generator) -> Adapter:
        """The prefix of every layer."""
        from bakeoff.methods.adapters.prefix_tuning import PrefixAdapter

        return PrefixAdapter(self, backbone, generator)

    def parameters(self, backbone: Backbone) -> int:
        """num_virtual_tokens x layers x 2 x key-value heads x head size."""
        return self.num_virtual_tokens * backbone.layers * 2 * backbone.heads * backbone.head_dim

    def formula(self, backbone: Backbone) -> str:
        """num_virtual_tokens x layers x 2 x key-value heads x head size."""
        return f"{self.num_virtual_tokens} x {backbone.layers} x 2 x {backbone.heads} x {backbone.head_dim}"

    def virtual_tokens(self) -> int:
        """num_virtual_tokens."""
        return self.num_virtual_tokens
