"""Sites: where a method may act on a model, and the roles that mean the same on every architecture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from bakeoff.errors import InputError, suggest

# The last parts of module names, by role: Llama, Qwen2, Mistral, Gemma, Phi, Phi-3, OPT, GPT-NeoX, GPT-2 and T5.
ROLES = {
    "query": ("q_proj", "q"),
    "key": ("k_proj", "k"),
    "value": ("v_proj", "v"),
    "output": ("o_proj", "out_proj", "attn.c_proj", "self_attn.dense", "attention.dense", "o"),
    "gate": ("gate_proj", "wi_0"),
    "up": ("up_proj", "fc1", "c_fc", "dense_h_to_4h", "wi", "wi_1"),
    "down": ("down_proj", "fc2", "mlp.c_proj", "dense_4h_to_h", "wo"),
}
# Modules that compute several roles at once, by architecture: the roles in their order along the output.
FUSED = {
    "gpt2": {"attn.c_attn": ("query", "key", "value")},
    "gpt_neox": {"query_key_value": ("query", "key", "value")},
    "phi3": {"qkv_proj": ("query", "key", "value"), "gate_up_proj": ("gate", "up")},
}
PER_HEAD = {"gpt_neox"}  # the roles' outputs alternate head by head


@dataclass(frozen=True, slots=True)
class Site:
    """A linear module of the model, or one role's slice of a fused one.

    `name` is the module's full name, for a slice followed by its role (`h.0.attn.c_attn.query`); `module` is the
    module whose output is changed; `rows` are the output features that the slice computes (None: all of them).
    `transposed` says that the weight is stored [in, out] (GPT-2). `bias` says whether the module has one.
    """

    name: str
    module: str
    in_features: int
    out_features: int
    transposed: bool = False
    bias: bool = False
    rows: tuple[range, ...] | None = None

    @property
    def role(self) -> str | None:
        """query, key, value, output, gate, up or down; None for fused and other modules."""
        if self.rows is not None:
            return self.name.rsplit(".", 1)[1]
        return next((role for role, ends in ROLES.items() if any(_ends(self.name, end) for end in ends)), None)

    @property
    def layer(self) -> int | None:
        """The number of the decoder layer it is in, or None."""
        return layer_of(self.module)


def find_sites(model: Any, head: nn.Module | None) -> dict[str, Site]:
    """Every linear module of `model` but its output head, and every role's slice of the fused ones, by name."""
    fused = FUSED.get(model.config.model_type, {})
    sites: dict[str, Site] = {}
    for name, module in model.named_modules():
        if module is head or not isinstance(module, (nn.Linear, Conv1D)):
            continue
        transposed = isinstance(module, Conv1D)
        sizes = (module.nx, module.nf) if isinstance(module, Conv1D) else (module.in_features, module.out_features)
        sites[name] = Site(name, name, *sizes, transposed, module.bias is not None)
        roles = next((roles for end, roles in fused.items() if _ends(name, end)), ())
        for role, rows in _slices(model.config, roles, sizes[1]).items():
            out = sum(map(len, rows))
            sites[f"{name}.{role}"] = Site(
                f"{name}.{role}", name, sizes[0], out, transposed, module.bias is not None, rows
            )
    return sites


@dataclass(frozen=True, slots=True)
class Norm:
    """A normalisation module: its full name, its width, and whether it has a bias."""

    name: str
    features: int
    bias: bool


def find_norms(model: Any) -> dict[str, Norm]:
    """Every LayerNorm and RMSNorm of `model`, by full name, in the model's order."""
    return {
        name: Norm(name, module.weight.numel(), getattr(module, "bias", None) is not None)
        for name, module in model.named_modules()
        if re.search(r"(Layer|RMS)Norm", type(module).__name__)
        and isinstance(getattr(module, "weight", None), nn.Parameter)
    }


def match(
    sites: dict[str, Site],
    targets: str | Sequence[str],
    where: str,
    layers: int | Sequence[int] | None = None,
) -> list[Site]:
    """The sites that `target_modules` means, in the layers that `layers_to_transform` means (all of them if None).

    A list holds PEFT's module names (the whole name or its last parts) and roles; a text is `all-linear`, a role, or
    a regular expression over whole names. InputError at `where` if an entry matches nothing, or two the same module.
    """
    if not targets:
        raise InputError(where, "names no module", "name modules, roles or 'all-linear'")
    whole = {name: site for name, site in sites.items() if site.rows is None}
    if targets == "all-linear":
        chosen = set(whole)
    elif isinstance(targets, str) and targets not in ROLES:
        chosen = _by_pattern(whole, targets, where)
    else:
        chosen = set().union(*(_by_name(sites, whole, t, where) for t in _listed(targets)))
    found = [site for name, site in sites.items() if name in chosen]
    for site in found:
        if site.rows is not None and site.module in chosen:
            raise InputError(
                where, f"'{site.role}' is a part of '{_last(site.module)}', which is there too", "drop one"
            )
    return found if layers is None else _in_layers(found, layers)


def features(site: Site) -> Tensor:
    """The numbers of the output features that a slice computes, [out]."""
    assert site.rows is not None
    return torch.tensor([i for span in site.rows for i in span])


def layer_of(name: str) -> int | None:
    """The first number in a module's dotted name: its layer."""
    return next((int(part) for part in name.split(".") if part.isdigit()), None)


def _by_name(sites: dict[str, Site], whole: dict[str, Site], target: str, where: str) -> set[str]:
    if target == "all-linear":
        return set(whole)
    if target in ROLES:
        found = {name for name, site in sites.items() if site.role == target}
    else:
        found = {name for name in whole if _ends(name, target)}
    if not found:
        raise _no_match(sites, target, where)
    return found


def _by_pattern(whole: dict[str, Site], pattern: str, where: str) -> set[str]:
    try:
        found = {name for name in whole if re.fullmatch(pattern, name)}
    except re.error as error:
        raise InputError(where, f"{pattern!r} is no regular expression ({error})") from None
    if not found:
        raise _no_match(whole, pattern, where)
    return found


def _in_layers(sites: list[Site], layers: int | Sequence[int]) -> list[Site]:
    wanted = {layers} if isinstance(layers, int) else set(layers)
    there = {site.layer for site in sites if site.layer is not None}
    absent = sorted(wanted - there)
    if absent or not wanted:
        what = f"there is no layer {absent[0]} with a target module" if absent else "an empty list leaves no layer"
        raise InputError("layers_to_transform", what, f"accepted: {_spans(there)}")
    return [site for site in sites if site.layer in wanted]


def _slices(config: Any, roles: Sequence[str], width: int) -> dict[str, tuple[range, ...]]:
    """The output features of each role of a fused module of `width` outputs."""
    if not roles:
        return {}
    if config.model_type in PER_HEAD:
        heads = config.num_attention_heads
        size = width // (heads * len(roles))
        starts = {role: [size * (head * len(roles) + i) for head in range(heads)] for i, role in enumerate(roles)}
        return {role: tuple(range(s, s + size) for s in own) for role, own in starts.items()}
    if "query" in roles:  # grouped-query attention: fewer keys and values than queries
        heads = config.num_attention_heads
        groups = getattr(config, "num_key_value_heads", None) or heads
        unit = width // (heads + 2 * groups)
        sizes = [heads * unit, groups * unit, groups * unit]
    else:
        sizes = [width // len(roles)] * len(roles)
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return {role: (range(end - size, end),) for role, size, end in zip(roles, sizes, ends, strict=True)}


def _no_match(sites: dict[str, Site], target: str, where: str) -> InputError:
    whole = [name for name, site in sites.items() if site.rows is None]
    ends = sorted({_last(name) for name in whole})
    roles = sorted({site.role for site in sites.values() if site.role} | {"all-linear"})
    hint = suggest(target, [*ends, *roles])
    listing = "" if hint.startswith("accepted") else f" (there are: {', '.join(ends)}; roles: {', '.join(roles)})"
    return InputError(where, f"'{target}' matches none of the {len(whole)} linear modules", hint + listing)


def _listed(targets: str | Sequence[str]) -> Iterable[str]:
    return [targets] if isinstance(targets, str) else targets


def _spans(numbers: Iterable[int]) -> str:
    """Sorted numbers for people: `0 to 11`, or a list where some are missing."""
    known = sorted(numbers)
    if known and known == list(range(known[0], known[-1] + 1)):
        return f"{known[0]} to {known[-1]}"
    return ", ".join(map(str, known)) or "none"


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith("." + end)
