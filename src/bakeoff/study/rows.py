"""Methods' rows: every entry of `methods:` as complete hyperparameters, its sweeps and combinations written out."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bakeoff.errors import InputError, suggest
from bakeoff.study import registry
from bakeoff.study.spec import MethodSpec, Training
from bakeoff.study.validate import validated

_ROW_KEYS = ("use", "training", "quantize", "tune")  # keys of a method's entry that are no hyperparameters


def rows(entries: Mapping[str, Any], shared: Mapping[str, Any]) -> Iterator[tuple[str, MethodSpec]]:
    """Every row's name and what it is; InputError where two rows would be the same."""
    found: dict[str, str] = {}
    for name in entries:
        for suffix, config, training in _variants(str(name), entries, shared):
            use = entries[name]["use"]
            row = f"{name}[{suffix}]" if suffix else str(name)
            spec = {"use": use, "config": config, "quantize": entries[name].get("quantize")}
            spec |= {"training": validated(Training, training, f"methods.{name}.training").model_dump()}
            spec = validated(MethodSpec, spec, f"methods.{name}")
            same = json.dumps([use, _unnamed(config), spec.quantize, spec.training.model_dump()], sort_keys=True)
            if same in found:
                raise InputError(f"methods.{row}", f"is the same as '{found[same]}'", "drop one of them")
            found[same] = row
            yield row, spec


def check_training(values: Mapping[str, Any], where: str) -> None:
    """InputError at the place where they stand for training values, swept or not, that cannot be used."""
    alone = {k: {n: x for n, x in v.items() if n != "with"} if isinstance(v, dict) else v for k, v in values.items()}
    for _, point in _swept(alone, where):
        validated(Training, point, where)


def _variants(name: str, entries: Mapping[str, Any], shared: Mapping[str, Any]) -> Iterator[tuple[str, dict, dict]]:
    """Every (suffix, complete config, training) that a method's sweeps make; parts that are swept sweep along."""
    where, entry = f"methods.{name}", entries[name]
    if "[" in name:
        raise InputError(where, "a name with [ is one that a sweep makes", "take another")
    if not isinstance(entry, dict) or not isinstance(entry.get("use"), str):
        raise InputError(where, f"expected a mapping with `use:`, got {entry!r}")
    kind = registry.find("methods", entry["use"], where)
    own = {key: value for key, value in entry.items() if key not in _ROW_KEYS}
    override = {} if entry.get("training") is None else entry["training"]
    if not isinstance(override, dict):
        raise InputError(f"{where}.training", f"expected a mapping, got {override!r}")
    if "training" in entry and not kind.trains:
        raise InputError(f"{where}.training", f"'{entry['use']}' trains nothing", "drop it")
    check_training(override, f"{where}.training")
    training = {**shared, **override} if kind.trains else {}
    named_parts = own.pop("parts", None)
    rates = own.pop("learning_rates", None) if named_parts else None
    for parts_suffix, parts in _part_variants(named_parts, where, entries, rates):
        for suffix, values in _swept({**own, **{("training", key): value for key, value in training.items()}}, where):
            config = {key: value for key, value in values.items() if isinstance(key, str)} | parts
            chosen = {key[1]: value for key, value in values.items() if not isinstance(key, str)}
            complete = validated(kind, config, where).model_dump(mode="json")
            yield ",".join(filter(None, (parts_suffix, suffix))), complete, chosen


def _part_variants(
    parts: Any, where: str, entries: Mapping[str, Any], rates: Any = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    if parts is None:
        yield "", {}
        return
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise InputError(f"{where}.parts", f"expected a list of methods' names, got {parts!r}")
    for part in parts:
        if part not in entries:
            raise InputError(
                f"{where}.parts",
                f"unknown method '{part}'",
                suggest(part, [n for n in entries if f"methods.{n}" != where]),
            )
        if isinstance(entries[part], dict) and "parts" in entries[part]:
            raise InputError(f"{where}.parts", f"'{part}' has parts itself and cannot be one")
        if parts.count(part) > 1:
            raise InputError(f"{where}.parts", f"'{part}' is there twice", "name each part once")
    variants: list[list[Any]] = []
    plain = {
        n: {k: v for k, v in e.items() if k != "training"} if isinstance(e, dict) else e for n, e in entries.items()
    }
    for part in parts:
        if isinstance(entries[part], dict) and entries[part].get("quantize"):
            what = f"the part '{part}' asks for a quantized base, which all parts share"
            raise InputError(f"{where}.parts", what, f"put `quantize:` on '{where.removeprefix('methods.')}' itself")
        _check_ties(part, plain[part], f"{where}.parts")
        distinct = {
            json.dumps(config, sort_keys=True): (suffix, config) for suffix, config, _ in _variants(part, plain, {})
        }
        variants.append([(part, entries[part]["use"], *found) for found in distinct.values()])
    for *chosen, rated in itertools.product(*variants, _part_rates(rates, parts, where)):
        nested = [
            {"name": part, "use": use, "config": config, "learning_rate": rated[1].get(part)}
            for part, use, _, config in chosen
        ]
        yield ",".join(filter(None, [*(suffix for _, _, suffix, _ in chosen), rated[0]])), {"parts": nested}


def _check_ties(part: str, entry: Any, where: str) -> None:
    """InputError where a part sweeps a value with one of training, which is its own row's and not a combination's."""
    for key, value in entry.items() if isinstance(entry, dict) else ():
        leader = value.get("with") if isinstance(value, dict) else None
        if isinstance(leader, str) and leader in Training.model_fields and leader not in entry:
            what = f"the part '{part}' sweeps {key} with {leader}, which a combination has of its own for all its parts"
            raise InputError(where, what, f"name a part that gives {key} without `with:`")


def _part_rates(rates: Any, parts: Sequence[str], where: str) -> list[tuple[str, dict[str, Any]]]:
    """Every (suffix, learning rate by part) that `learning_rates:` makes of a combination."""
    place = f"{where}.learning_rates"
    if rates is None:
        return [("", {})]
    if not isinstance(rates, dict):
        raise InputError(place, f"expected a mapping of parts to rates, got {rates!r}", "such as {prompt: 3e-2}")
    for part in rates:
        if part not in parts:
            raise InputError(f"{place}.{part}", "is no part of this combination", suggest(str(part), parts))
    named = {f"{part}.learning_rate": rate for part, rate in rates.items()}
    return [
        (suffix, {key.removesuffix(".learning_rate"): rate for key, rate in chosen.items()})
        for suffix, chosen in _swept(named, place)
    ]


def _swept(values: Mapping[Any, Any], where: str) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Every combination of the swept values, `{sweep: [...]}`, and its name, such as `r=4,lora_alpha=8`.

    `{sweep: [...], with: r}` is no axis of its own: it takes its first value where `r` does, and so on.
    """
    axes: dict[Any, list[Any]] = {}
    tied: dict[Any, tuple[Any, list[Any]]] = {}
    for key, value in values.items():
        if isinstance(value, dict) and (not isinstance(key, str) or "sweep" in value):
            place = f"{where}.{key if isinstance(key, str) else '.'.join(key)}"
            sweep = value.get("sweep")
            if not {"sweep"} <= set(value) <= {"sweep", "with"} or not isinstance(sweep, list) or not sweep:
                raise InputError(place, f"expected a value or {{sweep: [...]}}, got {value!r}")
            if "with" in value:
                tied[key] = (_leader(values, value, place), value["sweep"])
            else:
                axes[key] = value["sweep"]
    for point in itertools.product(*(range(len(axis)) for axis in axes.values())):
        at = dict(zip(axes, point, strict=True))
        chosen = {key: axes[key][i] for key, i in at.items()}
        suffix = ",".join(f"{_last(key)}={value}" for key, value in chosen.items())
        yield suffix, {**values, **chosen, **{key: own[at[leader]] for key, (leader, own) in tied.items()}}


def _leader(values: Mapping[Any, Any], follower: Mapping[str, Any], place: str) -> Any:
    """The key that a tied sweep goes along with; InputError where it is not swept, or over another number of values."""
    swept = {_last(key): key for key, v in values.items() if isinstance(v, dict) and "sweep" in v and "with" not in v}
    leader = swept.get(follower["with"]) if isinstance(follower["with"], str) else None
    if leader is None:
        what = f"{follower['with']!r} is not swept here"
        raise InputError(f"{place}.with", what, suggest(str(follower["with"]), swept))
    if not isinstance(values[leader]["sweep"], list):  # told where it stands
        return leader
    mine, its = len(follower["sweep"]), len(values[leader]["sweep"])
    if mine != its:
        what = f"{mine} values go along with {its} of {follower['with']}"
        raise InputError(f"{place}.sweep", what, "give one for each")
    return leader


def _last(key: Any) -> str:
    """A hyperparameter's own name: `learning_rate` of `("training", "learning_rate")`."""
    return key if isinstance(key, str) else key[1]


def _unnamed(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "parts": [{**part, "name": ""} for part in config["parts"]]} if "parts" in config else config
