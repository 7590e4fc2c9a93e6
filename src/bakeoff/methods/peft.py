"""peft: any method of the PEFT library, by its own keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict, model_validator

from bakeoff.methods.method import Method

if TYPE_CHECKING:
    from torch import Generator

    from bakeoff.methods.adapters.adapter import Adapter
    from bakeoff.models.backbone import Backbone


class Peft(Method):
    """What PEFT's configuration of that `peft_type` builds (LORA with use_dora, ADALORA, VERA, OFT, P_TUNING, ...).

    The other keys are the fields of PEFT's configuration, its defaults included once the study is loaded; unknown ones
    are errors. Loading such a study imports PEFT. AdaLoRA's `total_step` is the trial's number of steps where none is
    given. Through the reference engine only.
    """

    use: ClassVar[str] = "peft"
    lanes: ClassVar[bool] = False
    summary: ClassVar[str] = "any method of the PEFT library, by its own keys (reference engine only)"
    example: ClassVar[dict[str, Any]] = {"peft_type": "LORA", "use_dora": True, "r": 4, "target_modules": "all-linear"}

    model_config = ConfigDict(extra="allow")

    peft_type: str

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: dict[str, Any]) -> dict[str, Any]:
        from bakeoff.methods.adapters.peft import complete

        return complete(given)

    @property
    def config(self) -> dict[str, Any]:
        """Every key of PEFT's configuration but those that describe a model or a file."""
        return {"peft_type": self.peft_type, **(self.model_extra or {})}

    def attach(self, backbone: Backbone, generator: Generator) -> Adapter:
        """A copy of the model as PEFT changes it, its weights drawn from a seed that `generator` gives."""
        from bakeoff.methods.adapters.peft import PeftAdapter

        return PeftAdapter(self.config, backbone, generator)

    def parameters(self, backbone: Backbone) -> int:
        """What PEFT trains on a model of this shape, counted on one without weights."""
        from bakeoff.methods.adapters.peft import count

        return count(self.config, backbone)

    def virtual_tokens(self) -> int:
        """num_virtual_tokens, where the method has them."""
        return int(self.config.get("num_virtual_tokens") or 0)
