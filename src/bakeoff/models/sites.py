"""Sites: the named linear modules of a model, and the roles they play on every architecture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from transformers.pytorch_utils import Conv1D

from bakeoff.errors import InputError, suggest

# The last parts of module names, by role. As in Llama, Qwen2, Mistral, Gemma, Phi, OPT, GPT-NeoX and GPT-2.
ROLES = {
    "query": ("q_proj",),
    "key": ("k_proj",),
    "value": ("v_proj",),
    "output": ("o_proj", "out_proj", "attn.c_proj", "self_attn.dense", "attention.dense"),
    "gate": ("gate_proj",),
    "up": ("up_proj", "fc1", "c_fc", "dense_h_to_4h"),
    "down": ("down_proj", "fc2", "mlp.c_proj", "dense_4h_to_h"),
}
# Modules that compute several roles at once; a role that is only there is refused with the module's name.
FUSED = {
    "c_attn": ("query", "key", "value"),
    "query_key_value": ("query", "key", "value"),
    "qkv_proj": ("query", "key", "value"),
    "gate_up_proj": ("gate", "up"),
}


@dataclass(frozen=True, slots=True)
class Site:
    """A linear module of the model: its full name, its sizes, and whether its weight is stored transposed (GPT-2)."""

    name: str
    in_features: int
    out_features: int
    transposed: bool

    @property
    def role(self) -> str | None:
        """query, key, value, output, gate, up or down; None for fused and other modules."""
        return next((role for role, ends in ROLES.items() if any(_ends(self.name, end) for end in ends)), None)


def find_sites(model: nn.Module, head: nn.Module | None) -> dict[str, Site]:
    """Every linear module of `model` but its output head, by full name, in the model's order."""
    sites = {}
    for name, module in model.named_modules():
        if module is head:
            continue
        if isinstance(module, nn.Linear):
            sites[name] = Site(name, module.in_features, module.out_features, False)
        elif isinstance(module, Conv1D):
            sites[name] = Site(name, module.nx, module.nf, True)
    return sites


def match(sites: dict[str, Site], targets: str | Sequence[str], where: str) -> list[Site]:
    """The sites that `target_modules` means.

    A list holds PEFT's module names (the whole name or its last parts) and roles; a text is `all-linear`, a role, or
    a regular expression over whole names. InputError at `where` if an entry matches nothing.
    """
    if not targets:
        raise InputError(where, "names no module", "name modules, roles or 'all-linear'")
    if targets == "all-linear":
        return list(sites.values())
    if isinstance(targets, str) and targets not in ROLES:
        return _by_pattern(sites, targets, where)
    chosen: set[str] = set()
    for target in [targets] if isinstance(targets, str) else targets:
        found = {s.name for s in sites.values() if s.role == target or (target not in ROLES and _ends(s.name, target))}
        if target == "all-linear":
            found = set(sites)
        if not found:
            raise _no_match(sites, target, where)
        chosen |= found
    return [site for name, site in sites.items() if name in chosen]


def _by_pattern(sites: dict[str, Site], pattern: str, where: str) -> list[Site]:
    try:
        found = [site for name, site in sites.items() if re.fullmatch(pattern, name)]
    except re.error as error:
        raise InputError(where, f"{pattern!r} is no regular expression ({error})") from None
    if not found:
        raise _no_match(sites, pattern, where)
    return found


def _no_match(sites: dict[str, Site], target: str, where: str) -> InputError:
    ends = sorted({name.rsplit(".", 1)[-1] for name in sites})
    fused = [end for end in ends if target in FUSED.get(end, ())]
    if fused:
        return InputError(
            where, f"this model computes '{target}' inside the fused module '{fused[0]}'", f"name '{fused[0]}'"
        )
    roles = sorted({site.role for site in sites.values() if site.role} | {"all-linear"})
    hint = suggest(target, [*ends, *roles])
    listing = "" if hint.startswith("accepted") else f" (there are: {', '.join(ends)}; roles: {', '.join(roles)})"
    return InputError(where, f"'{target}' matches none of the {len(sites)} linear modules", hint + listing)


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith("." + end)
