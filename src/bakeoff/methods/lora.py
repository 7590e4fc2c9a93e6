"""lora: low-rank adaptation of linear modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from bakeoff.methods.method import Method
from bakeoff.study.spec import Fraction

if TYPE_CHECKING:
    from torch import Generator

    from bakeoff.methods.adapters.adapter import Adapter
    from bakeoff.models.backbone import Backbone
    from bakeoff.models.sites import Site


class Lora(Method):
    """y + (lora_alpha / r) B A dropout(x) on each target module (Hu et al. 2021); equals peft.LoraConfig.

    A [r, in] starts Kaiming-uniform, B [out, r] at zero. `target_modules` takes PEFT's names, `all-linear` and roles
    (query, key, value, output, gate, up, down); without it PEFT's own choice for the architecture holds.
    """

    use: ClassVar[str] = "lora"
    summary: ClassVar[str] = "low-rank updates of linear modules (Hu et al. 2021)"
    example: ClassVar[dict[str, Any]] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}

    r: Annotated[int, Field(ge=1)] = 8
    lora_alpha: Annotated[float, Field(gt=0)] = 8
    lora_dropout: Fraction = 0.0
    target_modules: str | tuple[str, ...] | None = None

    def targets(self, backbone: Backbone) -> list[Site]:
        """The sites it adapts on this model; InputError if there are none or the rank is larger than one of them."""
        from bakeoff.errors import InputError
        from bakeoff.models.sites import match

        wanted = self.target_modules
        if wanted is None:
            from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as defaults

            if backbone.config.model_type not in defaults:
                raise InputError(
                    "target_modules",
                    f"PEFT has no default for {backbone.config.model_type}",
                    "name the modules or 'all-linear'",
                )
            wanted = defaults[backbone.config.model_type]
        sites = match(backbone.sites, wanted, "target_modules")
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
