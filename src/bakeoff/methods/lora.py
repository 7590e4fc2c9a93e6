"""lora: low-rank adaptation of linear modules."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from bakeoff.methods.method import Method, summed
from bakeoff.study.spec import Fraction

if TYPE_CHECKING:
    from torch import Generator

    from bakeoff.methods.adapters.adapter import Adapter
    from bakeoff.models.backbone import Backbone
    from bakeoff.models.sites import Site


class Lora(Method):
    """y + (lora_alpha / r) B A dropout(x) on each target module (Hu et al. 2021); equals peft.LoraConfig.

    A [r, in] starts Kaiming-uniform, B [out, r] at zero. `target_modules` takes PEFT's names, `all-linear` and roles
    (query, key, value, output, gate, up, down); without it PEFT's own choice for the architecture holds. A role inside
    a fused module (GPT-2's c_attn) has its own A and B on its slice. `layers_to_transform` keeps to some layers.
    """

    use: ClassVar[str] = "lora"
    summary: ClassVar[str] = "low-rank updates of linear modules (Hu et al. 2021)"
    # Hu et al. 2021 (appendix D): 1e-4 to 5e-4, GPT-2 and GPT-3 at 2e-4; PEFT's examples: 1e-3
    rates: ClassVar[tuple[float, ...]] = (1e-4, 2e-4, 5e-4, 1e-3)
    example: ClassVar[dict[str, Any]] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}

    r: Annotated[int, Field(ge=1)] = 8
    lora_alpha: Annotated[float, Field(gt=0)] = 8
    lora_dropout: Fraction = 0.0
    use_rslora: bool = False
    target_modules: str | tuple[str, ...] | None = None
    layers_to_transform: int | tuple[int, ...] | None = None

    @property
    def scaling(self) -> float:
        """What B A x is multiplied by: lora_alpha / r, with use_rslora lora_alpha / sqrt(r) (Kalajdzievski 2023)."""
        return self.lora_alpha / (math.sqrt(self.r) if self.use_rslora else self.r)

    def targets(self, backbone: Backbone) -> list[Site]:
        """The sites it adapts on this model; InputError if there are none or the rank is larger than one of them."""
        from bakeoff.errors import InputError
        from bakeoff.models.sites import match
        from bakeoff.models.targets import default

        named = self.target_modules
        wanted = default(backbone.config.model_type, "lora") if named is None else named
        sites = match(backbone.sites, wanted, "target_modules", self.layers_to_transform)
        smallest = min(min(site.in_features, site.out_features) for site in sites)
        if self.r > smallest:
            raise InputError(
                "r", f"{self.r} is more than the smallest target module's {smallest} features", f"give 1 to {smallest}"
            )
        return sites

    def attach(self, backbone: Backbone, generator: Generator) -> Adapter:
        """A and B for each target module."""
        from bakeoff.methods.adapters.lora import LoraAdapter

        return LoraAdapter(self, self.targets(backbone), backbone, generator)

    def parameters(self, backbone: Backbone) -> int:
        """Sum over target modules of r (in + out)."""
        return sum(self.r * (site.in_features + site.out_features) for site in self.targets(backbone))

    def formula(self, backbone: Backbone) -> str:
        """modules x r x (in + out), for each shape."""
        sites = self.targets(backbone)
        return summed(f"{self.r} x ({site.in_features} + {site.out_features})" for site in sites)
