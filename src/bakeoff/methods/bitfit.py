"""bitfit: only the biases are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bakeoff.methods.method import Method, summed

if TYPE_CHECKING:
    from torch import Generator

    from bakeoff.methods.adapters.adapter import Adapter
    from bakeoff.models.backbone import Backbone


class BitFit(Method):
    """Every bias of the decoder's linear and normalisation modules is trained, nothing else (Ben Zaken et al. 2022).

    Many models have none or few (Llama none, Qwen2 those of query, key and value): `bias: all` gives one, starting at
    zero, to every such module that lacks it.
    """

    use: ClassVar[str] = "bitfit"
    draws: ClassVar[bool] = False
    summary: ClassVar[str] = "only the biases are trained (Ben Zaken et al. 2022)"
    # Ben Zaken et al. 2022 (section 4)
    rates: ClassVar[tuple[float, ...]] = (1e-4, 4e-4, 7e-4, 1e-3)
    example: ClassVar[dict[str, Any]] = {"bias": "all"}

    bias: Literal["existing", "all"] = "existing"
    layers_to_transform: int | tuple[int, ...] | None = None

    def targets(self, backbone: Backbone) -> dict[str, int]:
        """The modules whose bias is trained, and how long it is; InputError where the model has none."""
        from bakeoff.errors import InputError
        from bakeoff.models.sites import layer_of

        modules = {site.name: (site.out_features, site.bias) for site in backbone.sites.values() if site.rows is None}
        modules |= {norm.name: (norm.features, norm.bias) for norm in backbone.norms.values()}
        found = {name: width for name, (width, has) in modules.items() if has or self.bias == "all"}
        if not found:
            raise InputError("bias", "this model has no biases", "`bias: all` adds them")
        if self.layers_to_transform is None:
            return found
        wanted = self.layers_to_transform
        layers = {wanted} if isinstance(wanted, int) else set(wanted)
        if absent := sorted(layers - {layer_of(name) for name in found}):
            raise InputError("layers_to_transform", f"there is no layer {absent[0]} with a bias to train")
        return {name: width for name, width in found.items() if layer_of(name) in layers}

    def attach(self, backbone: Backbone, generator: Generator) -> Adapter:
        """What is added to each bias, starting at zero; nothing is drawn."""
        from bakeoff.methods.adapters.bitfit import BitFitAdapter

        return BitFitAdapter(self.targets(backbone), backbone)

    def parameters(self, backbone: Backbone) -> int:
        """The sum of the biases' lengths."""
        return sum(self.targets(backbone).values())

    def formula(self, backbone: Backbone) -> str:
        """modules x length, for each length."""
        return summed(str(width) for width in self.targets(backbone).values())
