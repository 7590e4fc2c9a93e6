"""The ledger: a method's parameters by its formula, as built and as saved, without training."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from bakeoff.engine.randomness import generator
from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.methods.method import Method, build
from bakeoff.models.backbone import Backbone, locate
from bakeoff.models.sites import layer_of
from bakeoff.run.interrupt import lastly
from bakeoff.run.plan import count
from bakeoff.study.spec import Study

LOADED_BYTES = 4 * 2**30  # models with larger weights are counted without loading them


@dataclass(frozen=True)
class Entry:
    """One method on one model. `declared` is what `formula` comes to, `counted` what an adapter was built with.

    `stored` numbers lie in a saved file of `file_bytes`; where the weights were not loaded nothing was saved and the
    bytes are computed. `padding` of the stored numbers are zeros or ones that PEFT's format needs where roles lie
    inside a fused module. `lines` are the counted tensors by module; `base` is the base model's size.
    """

    model: str
    method: str
    formula: str
    declared: int
    counted: int
    stored: int
    padding: int
    file_bytes: int
    saved: bool
    lines: tuple[str, ...]
    base: int
    added: int

    @property
    def wrong(self) -> str:
        """How formula, count and file disagree, or an empty text."""
        if self.declared != self.counted:
            return f"the formula says {self.declared:,}, but {self.counted:,} numbers are trained"
        if self.stored - self.padding != self.counted:
            return f"{self.counted:,} numbers are trained, but {self.stored - self.padding:,} are on disk"
        return ""

    @property
    def percentages(self) -> dict[str, float]:
        """The trained numbers in percent, by what they are a share of."""
        found = {f"of the base's {self.base:,}": self.counted / self.base}
        if self.added:
            total = self.base + self.added
            found[f"of base + adapter's {total:,}"] = self.counted / total
        return {name: 100 * share for name, share in found.items()}


def audit(study: Study) -> Iterator[Entry]:
    """An entry for every model and method of the study; nothing is trained and no data are read."""
    for model, spec in study.models.items():
        weights = sum(file.stat().st_size for file in locate(spec, f"models.{model}.path").glob("*.safetensors"))
        loaded = weights <= LOADED_BYTES
        backbone = Backbone.load(spec, name=model) if loaded else Backbone.skeleton(spec, model)
        for name, method in study.methods.items():
            declared = count(study, backbone, name)
            yield _entry(backbone, name, build(method.use, method.config), declared, loaded)


def _entry(backbone: Backbone, name: str, method: Method, declared: int, loaded: bool) -> Entry:
    base = backbone.parameters()
    adapter = method.attach(backbone, generator(0, "init"))
    try:
        tensors = adapter.tensors() if method.trains else {}
        counted = sum(p.numel() for p in adapter.parameters() if p.requires_grad) if method.trains else 0
        stored, file_bytes = _saved(adapter) if loaded and tensors else _computed(tensors)
        return Entry(
            model=backbone.name,
            method=name,
            formula=method.formula(backbone),
            declared=declared,
            counted=counted,
            stored=stored,
            padding=_padding(adapter) if loaded else 0,
            file_bytes=file_bytes,
            saved=loaded,
            lines=tuple(_lines(tensors, backbone)),
            base=base,
            added=0 if method.solo else counted,
        )
    finally:
        adapter.release()


def _saved(adapter: Adapter) -> tuple[int, int]:
    """How many numbers, and bytes, a saved adapter has: it is written to a temporary folder and read again."""
    folder = tempfile.TemporaryDirectory()
    with lastly(folder.cleanup):
        adapter.save(Path(folder.name))
        files = list(Path(folder.name).rglob("*.safetensors"))
        return sum(map(_numbers, files)), sum(file.stat().st_size for file in files)


def _numbers(file: Path) -> int:
    with safe_open(file, "pt") as tensors:
        return sum(tensors.get_tensor(name).numel() for name in tensors.keys())  # noqa: SIM118


def _computed(tensors: Mapping[str, Any]) -> tuple[int, int]:
    return sum(t.numel() for t in tensors.values()), sum(t.numel() * t.element_size() for t in tensors.values())


def _padding(adapter: Any) -> int:
    """What `stored` has beyond `tensors`, where it differs by design: roles inside fused modules."""
    parts = list(getattr(adapter, "parts", [adapter]))
    sliced = [part for part in parts if any(getattr(site, "rows", None) for site in getattr(part, "targets", []))]
    return sum(_computed(part.stored())[0] - _computed(part.tensors())[0] for part in sliced)


# --- the lines ---


def _lines(tensors: Mapping[str, Any], backbone: Backbone) -> Iterator[str]:
    """The tensors by module, equal modules of several layers together: `layers 0-3 mlp.up_proj: 4 x (...) = 12,288`."""
    known = {name for name, _ in backbone.model.named_modules()} | set(backbone.sites)
    terms: dict[tuple[str, str], list[str]] = {}  # by a combination's part and the module
    sizes: dict[tuple[str, str], int] = {}
    for name, tensor in tensors.items():
        part, module, own = _split(name, known)
        shape = " x ".join(str(size) for size in tensor.shape if size > 1) or "1"
        terms.setdefault((part, module), []).append(f"{own} {shape}")
        sizes[part, module] = sizes.get((part, module), 0) + tensor.numel()
    groups: dict[tuple[str, str, str], list[str]] = {}
    for (part, module), own in terms.items():
        groups.setdefault((part, _without_layer(module), " + ".join(own)), []).append(module)
    for (part, place, own), modules in groups.items():
        layers = [layer for module in modules if (layer := layer_of(module)) is not None]
        place = place or ("" if layers else "outside the modules")  # a whole layer has no place inside itself
        where = " ".join(filter(None, [f"{part}:" if part else "", _spans(layers), place]))
        total = sum(sizes[part, module] for module in modules)
        yield f"{where}: {f'{len(modules)} x ({own})' if len(modules) > 1 else own} = {total:,}"


def _split(name: str, known: set[str]) -> tuple[str, str, str]:
    """A tensor's name as the combination's part it is of, its module of the base model, and what it is there."""
    part, _, rest = name.rpartition("/")
    words = rest.removeprefix("base_model.model.").split(".")
    for end in range(len(words) - 1, 0, -1):
        if (module := ".".join(words[:end])) in known:
            return part, module, ".".join(words[end:]).removesuffix(".weight")
    return part, "", ".".join(words)


def _without_layer(module: str) -> str:
    """A module's name inside its layer; the whole name where it is in none."""
    words = module.split(".")
    number = next((i for i, word in enumerate(words) if word.isdigit()), None)
    return module if number is None else ".".join(words[number + 1 :])


def _spans(layers: Sequence[int]) -> str:
    """`layer 2`, `layers 0-3`, `layers 0-3, 5`."""
    if not layers:
        return ""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    told = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
    return f"layer {told}" if len(layers) == 1 else f"layers {told}"
