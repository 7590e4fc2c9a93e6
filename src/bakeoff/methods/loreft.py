"""loreft: low-rank edits of hidden representations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from bakeoff.methods.method import Method

if TYPE_CHECKING:
    from torch import Generator

    from bakeoff.methods.adapters.adapter import Adapter
    from bakeoff.models.backbone import Backbone


class Loreft(Method):
    """h + R^T (W h + b - R h) after a decoder layer, at the prompt's first and last tokens (Wu et al. 2024).

    R [low_rank_dimension, width] has orthonormal rows. Each layer has one edit for the `first` tokens and one for the
    `last` (one for both with `share_weights`); a token that is both counts as first. Tokens of the answer are never
    edited. `layers_to_transform` None means every layer. After the model's last layer there is no edit of the first
    tokens: nothing reads them any more, so it would be counted and never trained.
    """

    use: ClassVar[str] = "loreft"
    summary: ClassVar[str] = "low-rank edits of hidden states at the prompt's ends (Wu et al. 2024)"
    # Wu et al. 2024: 9e-4 and, for GLUE, 4e-4 up; pyreft's README: 2e-3 and 4e-3
    rates: ClassVar[tuple[float, ...]] = (4e-4, 9e-4, 2e-3, 4e-3)
    example: ClassVar[dict[str, Any]] = {"low_rank_dimension": 4, "first": 2, "last": 3}

    low_rank_dimension: Annotated[int, Field(ge=1)] = 4
    first: Annotated[int, Field(ge=0)] = 1
    last: Annotated[int, Field(ge=0)] = 1
    share_weights: bool = False
    layers_to_transform: int | tuple[int, ...] | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Loreft:
        if not (self.first or self.last):
            raise ValueError("first and last are both 0: no token would be edited")
        return self

    def targets(self, backbone: Backbone) -> list[str]:
        """The decoder layers after which hidden states are edited."""
        from bakeoff.errors import InputError

        if backbone.encoder_decoder:
            raise InputError("use", "loreft edits the layers of a decoder-only model", "leave it out")
        if self.low_rank_dimension > backbone.width:
            what = f"{self.low_rank_dimension} is more than the model's width"
            raise InputError("low_rank_dimension", what, f"give 1 to {backbone.width}")
        blocks, wanted = backbone.blocks(), self.layers_to_transform
        if wanted is None:
            return blocks
        layers = sorted({wanted} if isinstance(wanted, int) else set(wanted))
        if not layers or layers[0] < 0 or layers[-1] >= len(blocks):
            raise InputError("layers_to_transform", f"{layers} are not all layers", f"accepted: 0 to {len(blocks) - 1}")
        return [blocks[i] for i in layers]

    def edits(self, backbone: Backbone) -> dict[str, tuple[str, ...]]:
        """What each edited layer's edits are for: `first`, `last` or `both`."""
        if self.share_weights:
            return {block: ("both",) for block in self.targets(backbone)}
        last = ("last",) if self.last else ()
        found = {
            block: (*(("first",) if self.first and block != backbone.blocks()[-1] else ()), *last)
            for block in self.targets(backbone)
        }
        return {block: edits for block, edits in found.items() if edits}

    def attach(self, backbone: Backbone, generator: Generator) -> Adapter:
        """R, W and b of each edit."""
        from bakeoff.methods.adapters.loreft import LoreftAdapter

        return LoreftAdapter(self, self.edits(backbone), backbone, generator)

    def parameters(self, backbone: Backbone) -> int:
        """edits x (2 x width x rank + rank)."""
        rank = self.low_rank_dimension
        return sum(map(len, self.edits(backbone).values())) * (2 * backbone.width * rank + rank)

    def formula(self, backbone: Backbone) -> str:
        """edits x (2 x width x rank + rank)."""
        edits, rank = sum(map(len, self.edits(backbone).values())), self.low_rank_dimension
        return f"{edits} x (2 x {backbone.width} x {rank} + {rank})"
