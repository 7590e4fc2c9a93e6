"""Loading: a study file (YAML 1.2) or a built-in name to a Study, with every mistake named in one line."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from bakeoff.errors import InputError, suggest
from bakeoff.study import registry
from bakeoff.study.spec import Declared, Forgetting, MethodSpec, Model, Revision, Study, TaskSpec, Training

_KEYS = (
    "study",
    "models",
    "tasks",
    "methods",
    "training",
    "seeds",
    "data",
    "plugins",
    "notes",
    "published",
    "forgetting",
)
_ROW_KEYS = ("use", "training", "quantize")  # keys of a method's entry that are no hyperparameters
_REQUIRED = ("study", "models", "tasks", "methods")
_LM_EVAL = {  # keys of lm-eval's task files that a study says in another way, or not at all
    "task": "give the task a `name:`",
    "generation_kwargs": "say it with `decoding: {max_new_tokens, temperature, top_p, samples}`",
    "repeats": "say it with `decoding: {samples: N, temperature: T}`",
    "validation_split": "name the split to judge on `test_split:`, or hold examples out with `validation: N`",
    "dataset_kwargs": "name a local folder or file in `dataset_path:`",
    "num_fewshot": "nothing is prompted with examples here: they are trained on",
    "process_docs": "write the columns that the templates need into the file",
    "filter_list": "`metric: math_verify` finds an answer in a text",
}
_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # what no file or path can hold
M = TypeVar("M", bound=BaseModel)


def builtin_names() -> list[str]:
    """The studies that come with the package."""
    root = _builtin_root()
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.yaml"))


def load(
    study: str | Path, settings: Sequence[str] = (), limit: int | None = None, places: str | Path | None = None
) -> Study:
    """The study of a file or a built-in name.

    `places` is a file that says where models and data lie on this machine, as `--from` takes it; `settings` are
    `key=value` with dotted keys and YAML values, as `--set` takes them, and go before it; `limit` cuts the training and
    the test set of every task, and so is part of what is asked. Relative paths are relative to the file that they
    stand in, those of settings to the working directory. InputError names what is wrong, and nothing is written.
    """
    path = _find(str(study))
    raw = _read(path)
    _absolute(raw, path.parent)
    offered = _placed(raw, Path(places)) if places is not None else frozenset()
    for setting in settings:
        _set(raw, setting)
    _check_keys(raw, path)
    _with_adapter_configs(raw)
    for i, plugin in enumerate(raw["plugins"]):
        registry.load_plugin(Path(plugin), f"plugins.{i}")
    if limit is not None:
        raw["tasks"] = [_limited(entry, limit) for entry in raw["tasks"]]
    return _checked(raw, offered)


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
    if os.path.isdir(name):
        raise InputError(name, "is a directory, not a study file", "name a YAML file")
    if not os.path.isfile(name):
        here = [str(p) for p in Path().glob("*.yaml") if not p.name.startswith(".")]
        raise InputError(name, "no such study file or built-in study", suggest(name, [*builtin_names(), *here]))
    return Path(name).resolve()


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"is not UTF-8 at byte {error.start}", "save it as UTF-8") from None
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})") from None
    data = _yaml(text, str(path))
    if data is None:
        raise InputError(str(path), "is empty", "`bakeoff list studies` names examples")
    if not isinstance(data, dict):
        raise InputError(str(path), f"expected a mapping at the top, got a {type(data).__name__}")
    _plain(data, "")
    return data


def _yaml(text: str, where: str) -> Any:
    """The data in a YAML text; InputError with the line of what is no YAML, or of a key that is there twice."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        twice = re.match(r'found duplicate key "(.*?)" with', error.problem or "")
        what, mend = (f"the key '{twice[1]}' is there twice", "drop one of them") if twice else (error.problem, "")
        raise InputError(where + line, " ".join(str(what).split()), mend) from None
    except (YAMLError, ValueError, LookupError, RecursionError) as error:  # the last three: tags, dates, deep nesting
        raise InputError(where, f"cannot be read as YAML ({' '.join(str(error).split())})") from None


def _set(raw: dict[str, Any], setting: str) -> None:
    """Put a setting in its place. What follows `data.` is a hub id, dots and all."""
    key, equals, text = setting.partition("=")
    steps = ["data", key.removeprefix("data.")] if key.startswith("data.") else key.split(".")
    if not equals or not all(steps):
        raise InputError(f"--set {setting}", "expected key=value", "such as training.max_steps=20")
    value = _yaml(text, f"--set {setting}")
    _plain(value, key)
    for step in reversed(steps):
        value = {step: value}
    _absolute(value, Path.cwd())
    place: Any = raw
    for parent in steps[:-1]:
        place, value = place.setdefault(parent, {}) if isinstance(place, dict) else place, value[parent]
        if not isinstance(place, dict):
            raise InputError(f"--set {setting}", f"'{parent}' is no mapping", "dotted keys go through mappings only")
    place[steps[-1]] = value[steps[-1]]


def _placed(raw: dict[str, Any], file: Path) -> frozenset[str]:
    """Take from a file `models: {name: {path: ...}}` what the study names, and from its `data:` every hub id.

    The hub ids are returned: those that no task reads are dropped later, when the tasks are known.
    """
    said = _read(file)
    for key in said:
        if key not in ("models", "data") or not isinstance(said[key], dict):
            what = "is no place of models or data"
            raise InputError(f"{file}: {key}", what, "wanted: mappings `models:` and `data:`")
    _absolute(said, file.resolve().parent)
    for name, spec in said.get("models", {}).items():
        if isinstance(raw.get("models"), dict) and isinstance(raw["models"].get(name), dict) and isinstance(spec, dict):
            raw["models"][name] = {**raw["models"][name], **spec}
    offered = said.get("data", {})
    if isinstance(raw.get("data") or {}, dict):
        raw["data"] = {**(raw.get("data") or {}), **offered}
    return frozenset(offered)


def _plain(value: Any, where: str, above: tuple[int, ...] = ()) -> None:
    """InputError at the place of what no study holds: a key such as `7:`, a date, bytes, a list inside itself."""
    if type(value) in (dict, list):
        if id(value) in above:
            raise InputError(where, "holds itself")
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(value, dict) and not isinstance(key, str):
                raise InputError(where or "study file", f"the key {key!r} is no text", "put it in quotes")
            _plain(item, f"{where}.{key}" if where else str(key), (*above, id(value)))
    elif value is not None and not isinstance(value, (str, int, float)):
        raise InputError(where, f"is a {type(value).__name__}, no text and no number", "put it in quotes")
    elif isinstance(value, str) and _NO_TEXT.search(value):
        raise InputError(where, f"{value!r} holds a character that is no text")


def _check_keys(raw: dict[str, Any], path: Path) -> None:
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
        "notes": list,
        "forgetting": dict,
    }.items():
        if raw.get(key) is not None and not isinstance(raw[key], kind):
            raise InputError(key, f"expected a {'list' if kind is list else 'mapping'}, got {raw[key]!r}")
    raw["plugins"], raw["data"] = raw.get("plugins") or [], raw.get("data") or {}
    for i, plugin in enumerate(raw["plugins"]):
        if not isinstance(plugin, str):
            raise InputError(f"plugins.{i}", f"expected a Python file's path, got {plugin!r}")


def _absolute(raw: dict[str, Any], base: Path) -> None:
    """Local paths become absolute; what is no local path stays as it is (a hub id), and so does what is no study."""

    def fix(path: Any) -> Any:
        if not isinstance(path, str):
            return path
        local = (base / Path(path).expanduser()).resolve()
        return str(local) if local.exists() or path.startswith((".", "~", "/")) else path

    def fixed(entry: Any, key: str) -> Any:
        return {**entry, key: fix(entry[key])} if isinstance(entry, dict) and key in entry else entry

    for key, inner in (("models", "path"), ("methods", "adapter_config")):
        if isinstance(raw.get(key), dict):
            raw[key] = {name: fixed(entry, inner) for name, entry in raw[key].items()}
    if isinstance(raw.get("plugins"), list):
        raw["plugins"] = [fix(plugin) for plugin in raw["plugins"]]
    if isinstance(raw.get("data"), dict):
        raw["data"] = {hub: fixed(fix(place), "path") for hub, place in raw["data"].items()}
    if isinstance(raw.get("tasks"), list):
        raw["tasks"] = [fixed(entry, "dataset_path") for entry in raw["tasks"]]
    if "published" in raw:
        raw["published"] = fix(raw["published"])
    if "forgetting" in raw:
        raw["forgetting"] = fixed(raw["forgetting"], "text")


def _with_adapter_configs(raw: dict[str, Any]) -> None:
    """`adapter_config: FILE` (or its directory) becomes what PEFT wrote in it; the method's own keys go before."""
    for name, entry in raw["methods"].items():
        if isinstance(entry, dict) and isinstance(entry.get("adapter_config"), str):
            path = Path(entry["adapter_config"])
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
    own = {key: limit if entry.get(key) is None else entry[key] for key in ("train_limit", "test_limit")}
    return {**entry, **{key: min(limit, value) if isinstance(value, int) else value for key, value in own.items()}}


# --- checking ---


def _checked(raw: dict[str, Any], offered: Collection[str]) -> Study:
    models = {str(name): validated(Model, spec, f"models.{name}") for name, spec in raw["models"].items()}
    tasks = dict(_tasks(raw["tasks"]))
    forgetting = validated(Forgetting, raw["forgetting"], "forgetting") if raw.get("forgetting") else None
    raw["data"] = _data(raw["data"], tasks, [forgetting.text] if forgetting else [], offered)
    shared = raw.get("training") or {}
    _check_training(shared, "training")
    methods = dict(_methods(raw["methods"], shared))
    resolved = {
        "study": raw["study"],
        "models": {name: model.model_dump() for name, model in models.items()},
        "tasks": {name: task.model_dump() for name, task in tasks.items()},
        "methods": {name: method.model_dump() for name, method in methods.items()},
        "forgetting": forgetting and forgetting.model_dump(),
        "data": raw["data"],
        "plugins": raw["plugins"],
        "notes": raw.get("notes") or [],
        "published": None if raw.get("published") is None else _published(raw["published"]),
        "source": raw,
        **({"seeds": raw["seeds"]} if raw.get("seeds") is not None else {}),
    }
    return validated(Study, resolved, "")


def _tasks(entries: Iterable[Any]) -> Iterator[tuple[str, TaskSpec]]:
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        entry = {"use": entry} if isinstance(entry, str) else entry
        where = f"tasks.{i}"
        if isinstance(entry, dict) and "dataset_path" in entry and "use" not in entry:
            entry = _declared(entry, where)
        if not isinstance(entry, dict) or not isinstance(entry.get("use"), str):
            raise InputError(where, f"expected a task's name or a mapping with `use:`, got {entry!r}")
        kind = registry.find("tasks", entry["use"], where)
        name = str(entry.get("name", entry["use"]))
        if name in seen:
            raise InputError(where, f"task '{name}' is there twice", "give one of them another `name:`")
        seen.add(name)
        spec = validated(TaskSpec, {key: value for key, value in entry.items() if key != "name"}, f"tasks.{name}")
        _check_benchmarks(spec, kind.of(spec, name).benchmarks, f"tasks.{name}.benchmarks")
        yield name, spec


def _declared(entry: dict[str, Any], where: str) -> dict[str, Any]:
    """An entry that declares a task, with the keys that say what the task is under `declared`, checked."""
    if not isinstance(entry.get("name"), str):
        raise InputError(where, "a task that is declared here needs a `name:`")
    where, common = f"tasks.{entry['name']}", [*TaskSpec.model_fields, "name"]
    for key in entry:
        if key in _LM_EVAL:
            raise InputError(f"{where}.{key}", "is lm-eval's, and not read here", _LM_EVAL[key])
        if key not in Declared.model_fields and (key not in common or key in ("use", "declared")):
            raise InputError(f"{where}.{key}", "unknown key", suggest(key, [*Declared.model_fields, *common]))
    own = {key: value for key, value in entry.items() if key in Declared.model_fields}
    if isinstance(own.get("metric_list"), list):
        own["metric_list"] = [{"metric": one} if isinstance(one, str) else one for one in own["metric_list"]]
    declared = validated(Declared, own, where).model_dump(mode="json")
    return {key: value for key, value in entry.items() if key not in own} | {"use": "declared", "declared": declared}


def _check_benchmarks(spec: TaskSpec, known: Sequence[str], where: str) -> None:
    """InputError for a benchmark that the task does not have, or that is named twice."""
    wanted = spec.benchmarks or ()
    for name in wanted:
        if name not in known:
            raise InputError(where, f"unknown benchmark '{name}'", suggest(name, known))
        if wanted.count(name) > 1:
            raise InputError(where, f"'{name}' is there twice", "name each benchmark once")


def _data(
    data: Mapping[str, Any], tasks: Mapping[str, TaskSpec], others: Sequence[str], offered: Collection[str]
) -> dict[str, Any]:
    """The places of data, less what was merely offered and no task reads; InputError for what is not there."""
    kinds = {name: registry.find("tasks", spec.use, name) for name, spec in tasks.items()}
    read = [hub for name, spec in tasks.items() for hub in kinds[name].of(spec, name).hub_ids]
    read += others
    used = {hub: _source(f"data.{hub}", place) for hub, place in data.items() if hub in read or hub not in offered}
    for hub in used:
        if hub not in read:
            raise InputError(f"data.{hub}", "no task of this study reads it", suggest(hub, read))
    return used


def _source(where: str, place: Any) -> str | dict[str, str]:
    """What `data:` says of a hub id: a local path, written `PATH` or `{path: PATH}`, or `{revision: REVISION}`."""
    if isinstance(place, dict) and set(place) == {"revision"}:
        return validated(Revision, place, where).model_dump()
    path = place["path"] if isinstance(place, dict) and set(place) == {"path"} else place
    if not isinstance(path, str):
        raise InputError(where, f"expected a path, {{path: ...}} or {{revision: ...}}, got {place!r}")
    if not Path(path).exists():
        mend = "a path is relative to the file that it stands in, in --set to the working directory"
        raise InputError(where, f"nothing at {path}", mend)
    return path


def _published(name: Any) -> str:
    """The text of a table of published values: one that comes with the package, or a CSV file."""
    room = Path(str(files("bakeoff"))) / "analysis" / "published"
    known = {path.stem: path for path in room.glob("*.csv")}
    path = known.get(str(name)) or Path(str(name))
    if not path.is_file():
        raise InputError("published", f"no table and no file of that name: {name}", suggest(str(name), known))
    try:
        text = path.read_text(encoding="utf-8")
        head = csv.DictReader(io.StringIO(text)).fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError("published", f"{path} cannot be read ({error})") from None
    absent = [column for column in ("task", "benchmark", "method", "metric", "value") if column not in head]
    if absent:
        raise InputError("published", f"{path} has no column '{absent[0]}'")
    return text


def _check_training(values: Mapping[str, Any], where: str) -> None:
    """InputError at the place where they stand for training values, swept or not, that cannot be used."""
    alone = {k: {n: x for n, x in v.items() if n != "with"} if isinstance(v, dict) else v for k, v in values.items()}
    for _, point in _swept(alone, where):
        validated(Training, point, where)


def _methods(entries: Mapping[str, Any], shared: Mapping[str, Any]) -> Iterator[tuple[str, MethodSpec]]:
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


def _variants(name: str, entries: Mapping[str, Any], shared: Mapping[str, Any]) -> Iterator[tuple[str, dict, dict]]:
    """Every (suffix, complete config, training) that a method's sweeps make; parts that are swept sweep along."""
    where, entry = f"methods.{name}", entries[name]
    if not isinstance(entry, dict) or not isinstance(entry.get("use"), str):
        raise InputError(where, f"expected a mapping with `use:`, got {entry!r}")
    kind = registry.find("methods", entry["use"], where)
    own = {key: value for key, value in entry.items() if key not in _ROW_KEYS}
    override = {} if entry.get("training") is None else entry["training"]
    if not isinstance(override, dict):
        raise InputError(f"{where}.training", f"expected a mapping, got {override!r}")
    if "training" in entry and not kind.trains:
        raise InputError(f"{where}.training", f"'{entry['use']}' trains nothing", "drop it")
    _check_training(override, f"{where}.training")
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
        if entries[part].get("quantize"):
            what = f"the part '{part}' asks for a quantized base, which all parts share"
            raise InputError(f"{where}.parts", what, f"put `quantize:` on '{where.removeprefix('methods.')}' itself")
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


def validated(kind: type[M], data: Any, where: str) -> M:
    """`data` as a `kind`; InputError for the first thing that does not fit, with the nearest key."""
    try:
        return kind.model_validate_json(json.dumps(data))
    except InputError as error:  # a kind that checks its keys itself
        raise InputError(".".join(filter(None, [where, error.where])), error.what, error.mend) from None
    except ValidationError as error:
        errors = [(_place(data, one["loc"]), one) for one in error.errors()]
    except ValueError as error:
        raise InputError(where or "study file", f"holds a number that is too long ({error})") from None
    place, first = next((one for one in errors if one[1]["type"] == "extra_forbidden"), errors[0])
    inside = [one for one in errors if one[0][: len(place)] == place]  # the alternatives of `str | tuple[str, ...]`
    place, first = max(inside, key=lambda one: len(one[0]))
    told = ".".join(filter(None, [where, *place])) or "study file"
    if first["type"] == "extra_forbidden":
        raise InputError(told, "unknown key", suggest(place[-1], _fields(kind, place[:-1])))
    if first["type"] == "missing":
        raise InputError(told, "is missing")
    if first["type"] == "too_short":
        wanted = first["ctx"]["min_length"]  # pyright: ignore[reportTypedDictNotRequiredAccess]
        raise InputError(told, f"needs at least {wanted} {'item' if wanted == 1 else 'items'}")
    messages = dict.fromkeys(_words(one["msg"]) for where, one in inside if where == place)
    message = " or ".join(messages).replace(" or Input should be", " or")
    given = "" if isinstance(first["input"], (dict, list)) else f", got {first['input']!r}"
    raise InputError(told, message[0].lower() + message[1:] + given)


def _words(message: str) -> str:
    """pydantic's message in a study's words."""
    for word, ours in (
        ("Value error, ", ""),
        ("a valid tuple", "a list"),
        ("a valid array", "a list"),
        ("an object", "a mapping"),
    ):
        message = message.replace(word, ours)
    return message


def _place(data: Any, loc: Iterable[int | str]) -> tuple[str, ...]:
    """The keys and numbers of pydantic's `loc` that lead into `data`, without the names of a union's alternatives."""
    place: list[str] = []
    for step in loc:
        if isinstance(data, dict) and isinstance(step, str):
            place, data = [*place, step], data.get(step)
        elif isinstance(data, (list, tuple)) and isinstance(step, int):
            place, data = [*place, str(step)], data[step]
    return tuple(place)


def _fields(kind: Any, path: Sequence[Any]) -> list[str]:
    """The accepted keys of the model at `path` inside `kind`."""
    for step in path:
        annotation = kind.model_fields[step].annotation if step in getattr(kind, "model_fields", {}) else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        kind = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), kind)
    return [name for name in kind.model_fields if name not in ("use", "source")]
