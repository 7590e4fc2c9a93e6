"""full: full fine-tuning, every weight of the base is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bakeoff.methods.method import Method

if TYPE_CHECKING:
    from torch import Generator

    from bakeoff.methods.adapters.adapter import Adapter
    from bakeoff.models.backbone import Backbone


class Full(Method):
    """Every parameter of the model, embeddings included, is trained; tied ones stay tied."""

    use: ClassVar[str] = "full"
    draws: ClassVar[bool] = False
    solo: ClassVar[bool] = True
    summary: ClassVar[str] = "full fine-tuning: every weight of the base is trained"
    # Devlin et al. 2019 (A.3) and Liu et al. 2019 (RoBERTa, table 10), together; so Ben Zaken et al. 2022
    rates: ClassVar[tuple[float, ...]] = (1e-5, 2e-5, 3e-5, 5e-5)

    def attach(self, backbone: Backbone, generator: Generator) -> Adapter:
        """An adapter that holds the base's own parameters; its `release` puts the original values back."""
        from bakeoff.methods.adapters.full import FullAdapter

        return FullAdapter(backbone)

    def parameters(self, backbone: Backbone) -> int:
        """All parameters of the base, tied ones once."""
        return backbone.parameters()
