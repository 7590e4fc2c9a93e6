"""bottleneck: small networks after the sub-layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from bakeoff.methods.method import Method, summed
from bakeoff.study.spec import Positive

if TYPE_CHECKING:
    from torch import Generator

    from bakeoff.methods.adapters.adapter import Adapter
    from bakeoff.models.backbone import Backbone
    from bakeoff.models.sites import Site


class Bottleneck(Method):
    """y + W_up f(W_down y + b_down) + b_up after a sub-layer's last projection, before its residual sum.

    With `mh_adapter` and `output_adapter` after attention and feed-forward both (Houlsby et al. 2019), with
    `output_adapter` alone after the feed-forward only (Pfeiffer et al. 2021). The inner width is the model's divided by
    `reduction_factor`. Keys and start (weights normal with deviation 0.02, biases zero) are AdapterHub's BnConfig.
    """

    use: ClassVar[str] = "bottleneck"
    summary: ClassVar[str] = "small networks after the sub-layers (Houlsby et al. 2019, Pfeiffer et al. 2021)"
    # Houlsby et al. 2019: 3e-5, 3e-4, 3e-3; Pfeiffer et al. 2021: 1e-4
    rates: ClassVar[tuple[float, ...]] = (3e-5, 1e-4, 3e-4, 3e-3)
    example: ClassVar[dict[str, Any]] = {"mh_adapter": True, "reduction_factor": 4}

    mh_adapter: bool = False
    output_adapter: bool = True
    reduction_factor: Positive = 16.0
    non_linearity: Literal["relu", "gelu", "swish", "tanh"] = "relu"
    layers_to_transform: Annotated[int | tuple[int, ...] | None, Field()] = None

    @model_validator(mode="after")
    def _somewhere(self) -> Bottleneck:
        if not (self.mh_adapter or self.output_adapter):
            raise ValueError("mh_adapter and output_adapter are both off: nothing would be trained")
        return self

    def targets(self, backbone: Backbone) -> list[Site]:
        """The projections after which a network stands."""
        from bakeoff.models.sites import match

        roles = [role for role, on in (("output", self.mh_adapter), ("down", self.output_adapter)) if on]
        return match(backbone.sites, roles, "mh_adapter/output_adapter", self.layers_to_transform)

    def inner(self, site: Site) -> int:
        """The inner width at a site: at least 1."""
        return max(1, int(site.out_features / self.reduction_factor))

    def attach(self, backbone: Backbone, generator: Generator) -> Adapter:
        """A network for each of the projections."""
        from bakeoff.methods.adapters.bottleneck import BottleneckAdapter

        return BottleneckAdapter(self, self.targets(backbone), backbone, generator)

    def parameters(self, backbone: Backbone) -> int:
        """Sum over places of width x inner x 2 + inner + width."""
        pairs = [(site.out_features, self.inner(site)) for site in self.targets(backbone)]
        return sum(2 * width * inner + inner + width for width, inner in pairs)

    def formula(self, backbone: Backbone) -> str:
        """places x (2 x width x inner + inner + width)."""
        pairs = [(site.out_features, self.inner(site)) for site in self.targets(backbone)]
        return summed(f"(2 x {width} x {inner} + {inner} + {width})" for width, inner in pairs)
