"""Loading: a study file (YAML 1.2) or a built-in name to a Study, with every mistake named in one line."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bakeoff.errors import InputError, suggest
from bakeoff.study import registry
from bakeoff.study.spec import MethodSpec, Model, Study, TaskSpec, Training

_KEYS = ("study", "models", "tasks", "methods", "training", "seeds", "data", "plugins")
_REQUIRED = ("study", "models", "tasks", "methods")
M = TypeVar("M", bound=BaseModel)


def builtin_names() -> list[str]:
    """The studies that come with the package."""
    root = _builtin_root()
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.yaml"))


def load(study: str | Path, settings: Sequence[str] = (), limit: int | None = None) -> Study:
    """The study of a file or a built-in name.

    `settings` are `key=value` with dotted keys and YAML values, as `--set` takes them; `limit` cuts the training and
    the test set of every task, and so is part of what is asked. Relative paths are relative to the study file.
    InputError names what is wrong, and nothing is written.
    """
    path = _find(str(study))
    raw = _read(path)
    for setting in settings:
        _set(raw, setting)
    _check_keys(raw, path)
    _absolute(raw, path.parent)
    _with_adapter_configs(raw, path.parent)
    for i, plugin in enumerate(raw.get("plugins") or []):
        registry.load_plugin(Path(plugin), f"plugins.{i}")
    if limit is not None:
        raw["tasks"] = [_limited(entry, limit) for entry in raw["tasks"]]
    return _checked(raw)


def dump(study: Study) -> str:
    """The study as a YAML text that `load` reads."""
    stream = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue]
    yaml.dump(study.source, stream)
    return stream.getvalue()


# --- reading ---


def _builtin_root() -> Path:
    return Path(str(files("bakeoff.study"))) / "builtin"


def _find(name: str) -> Path:
    builtin = _builtin_root() / f"{name}.yaml"
    if name in builtin_names():
        return builtin
    path = Path(name)
    if path.is_dir():
        raise InputError(name, "is a directory, not a study file", "name a YAML file")
    if not path.is_file():
        here = [str(p) for p in Path().glob("*.yaml")]
        raise InputError(name, "no such study file or built-in study", suggest(name, [*builtin_names(), *here]))
    return path.resolve()


def _read(path: Path) -> dict[str, Any]:
    try:
        data = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except YAMLError as error:
        raise InputError(str(path), " ".join(str(error).split())) from None
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"is not UTF-8 at byte {error.start}", "save it as UTF-8") from None
    if data is None:
        raise InputError(str(path), "is empty", "`bakeoff list studies` names examples")
    if not isinstance(data, dict):
        raise InputError(str(path), f"expected a mapping at the top, got a {type(data).__name__}")
    return data


def _set(raw: dict[str, Any], setting: str) -> None:
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise InputError(f"--set {setting}", "expected key=value", "such as training.max_steps=20")
    *parents, last = key.split(".")
    place: Any = raw
    for parent in parents:
        place = place.setdefault(parent, {}) if isinstance(place, dict) else place
        if not isinstance(place, dict):
            raise InputError(f"--set {setting}", f"'{parent}' is no mapping", "dotted keys go through mappings only")
    try:
        place[last] = YAML(typ="safe", pure=True).load(value)
    except YAMLError as error:
        raise InputError(f"--set {setting}", " ".join(str(error).split())) from None


def _check_keys(raw: Mapping[str, Any], path: Path) -> None:
    for key in raw:
        if key not in _KEYS:
            raise InputError(str(key), "unknown key", suggest(str(key), _KEYS))
    for key in _REQUIRED:
        if not raw.get(key):
            raise InputError(str(path), f"`{key}:` is missing or empty", f"a study needs {', '.join(_REQUIRED)}")
    for key, kind in {
        "models": dict,
        "tasks": list,
        "methods": dict,
        "training": dict,
        "seeds": list,
        "data": dict,
        "plugins": list,
    }.items():
        if raw.get(key) is not None and not isinstance(raw[key], kind):
            raise InputError(key, f"expected a {'list' if kind is list else 'mapping'}, got {raw[key]!r}")


def _absolute(raw: dict[str, Any], base: Path) -> None:
    """Local paths become absolute; what is no local path stays as it is (a hub id)."""

    def fix(path: Any) -> Any:
        if not isinstance(path, str):
            return path
        local = (base / Path(path).expanduser()).resolve()
        return str(local) if local.exists() or path.startswith((".", "~", "/")) else path

    raw["models"] = {
        name: {**model, "path": fix(model.get("path"))} if isinstance(model, dict) else model
        for name, model in raw["models"].items()
    }
    raw["plugins"] = [fix(plugin) for plugin in raw.get("plugins") or []]
    raw["data"] = {hub: fix(path) for hub, path in (raw.get("data") or {}).items()}
    for hub, path in raw["data"].items():
        if not isinstance(path, str) or not Path(path).exists():
            raise InputError(f"data.{hub}", f"nothing at {path}", "paths are relative to the study file")


def _with_adapter_configs(raw: dict[str, Any], base: Path) -> None:
    """`adapter_config: FILE` (or its directory) becomes what PEFT wrote in it; the method's own keys go before."""
    for name, entry in raw["methods"].items():
        if isinstance(entry, dict) and isinstance(entry.get("adapter_config"), str):
            path = base / Path(entry["adapter_config"]).expanduser()
            found = _adapter_config(path / "adapter_config.json" if path.is_dir() else path, f"methods.{name}")
            own = {key: value for key, value in entry.items() if key != "adapter_config"}
            raw["methods"][name] = {**found, **own}


def _adapter_config(path: Path, where: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{where}.adapter_config", f"{path} cannot be read ({said})") from None
    if not isinstance(found, dict):
        raise InputError(f"{where}.adapter_config", f"{path} holds no mapping")
    return found


def _limited(entry: Any, limit: int) -> Any:
    entry = {"use": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict):
        return entry
    cut = {key: min(limit, entry.get(key) or limit) for key in ("train_limit", "test_limit")}
    return {**entry, **cut}


# --- checking ---


def _checked(raw: dict[str, Any]) -> Study:
    models = {str(name): validated(Model, spec, f"models.{name}") for name, spec in raw["models"].items()}
    tasks = dict(_tasks(raw["tasks"]))
    shared = raw.get("training") or {}
    methods = dict(_methods(raw["methods"], shared))
    resolved = {
        "study": raw["study"],
        "models": {name: model.model_dump() for name, model in models.items()},
        "tasks": {name: task.model_dump() for name, task in tasks.items()},
        "methods": {name: method.model_dump() for name, method in methods.items()},
        "data": raw["data"],
        "plugins": raw["plugins"],
        "source": raw,
        **({"seeds": raw["seeds"]} if raw.get("seeds") is not None else {}),
    }
    return validated(Study, resolved, "")


def _tasks(entries: Iterable[Any]) -> Iterator[tuple[str, TaskSpec]]:
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        entry = {"use": entry} if isinstance(entry, str) else entry
        where = f"tasks.{i}"
        if not isinstance(entry, dict) or not isinstance(entry.get("use"), str):
            raise InputError(where, f"expected a task's name or a mapping with `use:`, got {entry!r}")
        registry.find("tasks", entry["use"], where)
        name = str(entry.get("name", entry["use"]))
        if name in seen:
            raise InputError(where, f"task '{name}' is there twice", "give one of them another `name:`")
        seen.add(name)
        spec = {key: value for key, value in entry.items() if key != "name"}
        yield name, validated(TaskSpec, spec, f"tasks.{name}")


def _methods(entries: Mapping[str, Any], shared: Mapping[str, Any]) -> Iterator[tuple[str, MethodSpec]]:
    found: dict[str, str] = {}
    for name in entries:
        for suffix, config, training in _variants(str(name), entries, shared):
            use = entries[name]["use"]
            row = f"{name}[{suffix}]" if suffix else str(name)
            spec = MethodSpec(
                use=use, config=config, training=validated(Training, training, f"methods.{name}.training")
            )
            same = json.dumps([use, _unnamed(config), spec.training.model_dump()], sort_keys=True)
            if same in found:
                raise InputError(f"methods.{row}", f"is the same as '{found[same]}'", "drop one of them")
            found[same] = row
            yield row, spec


def _variants(name: str, entries: Mapping[str, Any], shared: Mapping[str, Any]) -> Iterator[tuple[str, dict, dict]]:
    """Every (suffix, complete config, training) that a method's sweeps make; parts that are swept sweep along."""
    where, entry = f"methods.{name}", entries[name]
    if not isinstance(entry, dict) or not isinstance(entry.get("use"), str):
        raise InputError(where, f"expected a mapping with `use:`, got {entry!r}")
    kind = registry.find("methods", entry["use"], where)
    own = {key: value for key, value in entry.items() if key not in ("use", "training")}
    override = entry.get("training") or {}
    if not isinstance(override, dict):
        raise InputError(f"{where}.training", f"expected a mapping, got {override!r}")
    training = {**shared, **override} if kind.trains else {}
    named_parts = own.pop("parts", None)
    for parts_suffix, parts in _part_variants(named_parts, where, entries):
        for suffix, values in _swept({**own, **{("training", key): value for key, value in training.items()}}, where):
            config = {key: value for key, value in values.items() if isinstance(key, str)} | parts
            chosen = {key[1]: value for key, value in values.items() if not isinstance(key, str)}
            complete = validated(kind, config, where).model_dump(mode="json")
            yield ",".join(filter(None, (parts_suffix, suffix))), complete, chosen


def _part_variants(parts: Any, where: str, entries: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
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
        if f"methods.{part}" == where:
            raise InputError(f"{where}.parts", "a method cannot be a part of itself")
    variants = []
    plain = {
        n: {k: v for k, v in e.items() if k != "training"} if isinstance(e, dict) else e for n, e in entries.items()
    }
    for part in parts:
        distinct = {
            json.dumps(config, sort_keys=True): (suffix, config) for suffix, config, _ in _variants(part, plain, {})
        }
        variants.append([(part, entries[part]["use"], *found) for found in distinct.values()])
    for chosen in itertools.product(*variants):
        nested = [{"name": part, "use": use, "config": config} for part, use, _, config in chosen]
        yield ",".join(suffix for _, _, suffix, _ in chosen if suffix), {"parts": nested}


def _swept(values: Mapping[Any, Any], where: str) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Every combination of the swept values, `{sweep: [...]}`, and its name, such as `r=4,lora_alpha=8`."""
    axes: dict[Any, list[Any]] = {}
    for key, value in values.items():
        if isinstance(value, dict) and (not isinstance(key, str) or "sweep" in value):
            name = key if isinstance(key, str) else ".".join(key)
            if set(value) != {"sweep"} or not isinstance(value["sweep"], list) or not value["sweep"]:
                raise InputError(f"{where}.{name}", f"expected a value or {{sweep: [...]}}, got {value!r}")
            axes[key] = value["sweep"]
    for point in itertools.product(*axes.values()):
        chosen = dict(zip(axes, point, strict=True))
        suffix = ",".join(f"{key if isinstance(key, str) else key[1]}={value}" for key, value in chosen.items())
        yield suffix, {**values, **chosen}


def _unnamed(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "parts": [{**part, "name": ""} for part in config["parts"]]} if "parts" in config else config


def validated(kind: type[M], data: Any, where: str) -> M:
    """`data` as a `kind`; InputError for the first thing that does not fit, with the nearest key."""
    try:
        return kind.model_validate_json(json.dumps(data))
    except InputError as error:  # a kind that checks its keys itself
        raise InputError(".".join(filter(None, [where, error.where])), error.what, error.mend) from None
    except (TypeError, ValueError) as error:
        if not isinstance(error, ValidationError):
            raise InputError(where, f"holds something that is no plain value ({error})") from None
        first = error.errors()[0]
    place = ".".join(filter(None, [where, *(str(part) for part in first["loc"])]))
    if first["type"] == "extra_forbidden":
        raise InputError(place, "unknown key", suggest(str(first["loc"][-1]), _fields(kind, first["loc"][:-1])))
    if first["type"] == "missing":
        raise InputError(place, "is missing")
    message = first["msg"].removeprefix("Value error, ")
    given = "" if isinstance(first["input"], (dict, list)) else f", got {first['input']!r}"
    raise InputError(place, message[0].lower() + message[1:] + given)


def _fields(kind: Any, path: Sequence[Any]) -> list[str]:
    """The accepted keys of the model at `path` inside `kind`."""
    for step in path:
        annotation = kind.model_fields[step].annotation if step in getattr(kind, "model_fields", {}) else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        kind = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), kind)
    return [name for name in kind.model_fields if name not in ("use", "source")]
