"""ia3: learned vectors that rescale activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bakeoff.methods.method import Method, summed

if TYPE_CHECKING:
    from torch import Generator

    from bakeoff.methods.adapters.adapter import Adapter
    from bakeoff.models.backbone import Backbone
    from bakeoff.models.sites import Site


class Ia3(Method):
    """l * y on each target module, W (l * x) on those that are feed-forward (Liu et al. 2022); equals peft.IA3Config.

    Every l starts at ones. Targets without `target_modules` are PEFT's for the architecture. `feedforward_modules`
    are those of them whose input is scaled; PEFT's where nothing is said, the role `down` where targets are named.
    """

    use: ClassVar[str] = "ia3"
    draws: ClassVar[bool] = False
    summary: ClassVar[str] = "learned vectors that rescale keys, values and the feed-forward input (Liu et al. 2022)"
    # Liu et al. 2022: 3e-3, with Adafactor; PEFT's guide, with AdamW: 8e-3; the ends are ours
    rates: ClassVar[tuple[float, ...]] = (1e-3, 3e-3, 8e-3, 2e-2)
    example: ClassVar[dict[str, Any]] = {}

    target_modules: str | tuple[str, ...] | None = None
    feedforward_modules: str | tuple[str, ...] | None = None
    layers_to_transform: int | tuple[int, ...] | None = None

    def targets(self, backbone: Backbone) -> tuple[list[Site], list[Site]]:
        """The sites whose output is scaled, and those whose input is."""
        from bakeoff.errors import InputError
        from bakeoff.models.sites import match
        from bakeoff.models.targets import default

        kind = backbone.config.model_type
        wanted = default(kind, "ia3") if self.target_modules is None else self.target_modules
        sites = match(backbone.sites, wanted, "target_modules", self.layers_to_transform)
        forward = self.feedforward_modules
        if forward is not None:
            chosen = {site.name for site in match(backbone.sites, forward, "feedforward_modules")} if forward else set()
        elif self.target_modules is None:
            chosen = {site.name for site in match(backbone.sites, default(kind, "ia3_feedforward"), "target_modules")}
        else:
            chosen = {site.name for site in sites if site.role == "down"}
        sliced = [site for site in sites if site.rows is not None and site.name in chosen]
        if sliced:
            what = f"'{sliced[0].role}' shares its input with other roles in this model"
            raise InputError("feedforward_modules", what, "name roles with an input of their own, such as down")
        if forward and not chosen & {site.name for site in sites}:
            raise InputError("feedforward_modules", "none of them is among the target modules", "name some of those")
        return [s for s in sites if s.name not in chosen], [s for s in sites if s.name in chosen]

    def attach(self, backbone: Backbone, generator: Generator) -> Adapter:
        """A vector for each target module; nothing is drawn."""
        from bakeoff.methods.adapters.ia3 import Ia3Adapter

        return Ia3Adapter(*self.targets(backbone), backbone)

    def parameters(self, backbone: Backbone) -> int:
        """Sum of the output features of the scaled outputs and the input features of the scaled inputs."""
        outputs, inputs = self.targets(backbone)
        return sum(site.out_features for site in outputs) + sum(site.in_features for site in inputs)

    def formula(self, backbone: Backbone) -> str:
        """modules x features, for each width."""
        outputs, inputs = self.targets(backbone)
        widths = [site.out_features for site in outputs] + [site.in_features for site in inputs]
        return summed(str(width) for width in widths)
