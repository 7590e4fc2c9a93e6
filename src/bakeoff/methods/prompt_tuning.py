"""prompt_tuning: trained embeddings before every sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from bakeoff.methods.method import Method

if TYPE_CHECKING:
    from torch import Generator

    from bakeoff.methods.adapters.adapter import Adapter
    from bakeoff.models.backbone import Backbone


class PromptTuning(Method):
    """`num_virtual_tokens` embeddings put before the input (Lester et al. 2021); equals peft.PromptTuningConfig.

    They start standard normal (RANDOM), as the embeddings of random vocabulary entries (SAMPLE_VOCAB), or as those of
    `prompt_tuning_init_text`, cut or repeated to length (TEXT).
    """

    use: ClassVar[str] = "prompt_tuning"
    summary: ClassVar[str] = "trained embeddings before the input (Lester et al. 2021)"
    # PEFT's guide: 3e-2; Lester et al. 2021: 0.3, with Adafactor; 1e-2 and 1e-1 are ours
    rates: ClassVar[tuple[float, ...]] = (1e-2, 3e-2, 1e-1, 3e-1)
    example: ClassVar[dict[str, Any]] = {"num_virtual_tokens": 8, "prompt_tuning_init": "SAMPLE_VOCAB"}

    num_virtual_tokens: Annotated[int, Field(ge=1)]
    prompt_tuning_init: Literal["RANDOM", "SAMPLE_VOCAB", "TEXT"] = "RANDOM"
    prompt_tuning_init_text: str | None = None

    @model_validator(mode="after")
    def _text_where_needed(self) -> PromptTuning:
        if (self.prompt_tuning_init == "TEXT") != bool(self.prompt_tuning_init_text):
            raise ValueError("prompt_tuning_init: TEXT and prompt_tuning_init_text go together")
        return self

    def attach(self, backbone: Backbone, generator: Generator) -> Adapter:
        """The virtual tokens' embeddings."""
        from bakeoff.methods.adapters.prompt_tuning import PromptAdapter

        return PromptAdapter(self, backbone, generator)

    def parameters(self, backbone: Backbone) -> int:
        """num_virtual_tokens x width, twice that of an encoder-decoder model (as PEFT counts)."""
        return self.num_virtual_tokens * backbone.stacks * backbone.embedding.weight.shape[1]

    def formula(self, backbone: Backbone) -> str:
        """num_virtual_tokens x width."""
        return f"{self.num_virtual_tokens} x {backbone.embedding.weight.shape[1]}"

    def virtual_tokens(self) -> int:
        """num_virtual_tokens."""
        return self.num_virtual_tokens
