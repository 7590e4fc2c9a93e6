"""Targets: the modules that PEFT adapts on an architecture where a study names none."""

from __future__ import annotations

from typing import Literal

from bakeoff.errors import InputError


def default(model_type: str, method: Literal["lora", "ia3", "ia3_feedforward"]) -> list[str]:
    """PEFT's own choice for the architecture; InputError at `target_modules` where it has none."""
    from peft.utils import constants

    known = {
        "lora": constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING,
        "ia3": constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING,
        "ia3_feedforward": constants.TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING,
    }[method]
    if model_type not in known:
        raise InputError("target_modules", f"PEFT has no default for {model_type}", "name modules or roles")
    return list(known[model_type])
