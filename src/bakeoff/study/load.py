"""Loading: a study file (YAML 1.2) or a built-in name to a Study, with every mistake named in one line."""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from bakeoff.errors import InputError, suggest
from bakeoff.study import registry
from bakeoff.study.file import absolute, check_keys, limited, placed, put, read, with_adapter_configs
from bakeoff.study.rows import check_training, rows
from bakeoff.study.spec import Declared, Forgetting, MethodSpec, Model, Revision, Study, TaskSpec, Tune
from bakeoff.study.tune import check, check_shared, held_out, tune, with_grids
from bakeoff.study.validate import validated

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


def builtin_names() -> list[str]:
    """The studies that come with the package."""
    root = _builtin_root()
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.yaml"))


def builtin_summary(name: str) -> str:
    """What a built-in study is: the first sentence of the comment that its file begins with."""
    lines = (_builtin_root() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = [line.removeprefix("# ") for line in itertools.takewhile(lambda line: line.startswith("#"), lines)]
    return re.split(r"(?<=\.)\s", " ".join(comment))[0].removesuffix(".")


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
    raw = read(path)
    absolute(raw, path.parent)
    offered = placed(raw, Path(places)) if places is not None else frozenset()
    for setting in settings:
        put(raw, setting)
    check_keys(raw, path)
    with_adapter_configs(raw)
    for i, plugin in enumerate(raw["plugins"]):
        registry.load_plugin(Path(plugin), f"plugins.{i}")
    if raw.get("tune") is not None:
        raw["tasks"] = [held_out(entry, limit) for entry in raw["tasks"]]
    if limit is not None:
        raw["tasks"] = [limited(entry, limit) for entry in raw["tasks"]]
    return _checked(raw, offered, path.parent)


def dump(study: Study) -> str:
    """The study as a YAML text that `load` reads."""
    stream = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue]
    yaml.dump(study.source, stream)
    return stream.getvalue()


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


def _checked(raw: dict[str, Any], offered: Collection[str], folder: Path) -> Study:
    models = {str(name): validated(Model, spec, f"models.{name}") for name, spec in raw["models"].items()}
    tasks = dict(_tasks(raw["tasks"]))
    forgetting = validated(Forgetting, raw["forgetting"], "forgetting") if raw.get("forgetting") else None
    raw["data"] = _data(raw["data"], tasks, [forgetting.text] if forgetting else [], offered)
    shared = raw.get("training") or {}
    check_training(shared, "training")
    tuning = None if raw.get("tune") is None else tune(raw["tune"])
    methods = with_grids(dict(rows(raw["methods"], shared)), raw["methods"], tuning)
    _check_protocol(raw, tuning, tasks, methods)
    resolved = {
        "study": raw["study"],
        "models": {name: model.model_dump() for name, model in models.items()},
        "tasks": {name: task.model_dump() for name, task in tasks.items()},
        "methods": {name: method.model_dump() for name, method in methods.items()},
        "tune": tuning and tuning.model_dump(),
        "protocol": raw.get("protocol"),
        "forgetting": forgetting and forgetting.model_dump(),
        "data": raw["data"],
        "plugins": raw["plugins"],
        "equivalence_margin": raw.get("equivalence_margin"),
        "notes": raw.get("notes") or [],
        "published": None if raw.get("published") is None else _published(raw["published"]),
        "source": raw,
        "folder": str(folder),
        **({"seeds": raw["seeds"]} if raw.get("seeds") is not None else {}),
    }
    return validated(Study, resolved, "")


def _check_protocol(
    raw: Mapping[str, Any], tuning: Tune | None, tasks: Mapping[str, TaskSpec], methods: Mapping[str, MethodSpec]
) -> None:
    """InputError where `tune:` or `protocol:` does not go with the rest of the study."""
    if tuning:
        check(tasks, tuning, tuple(raw.get("seeds") or (0,)))
    if raw.get("protocol") == "shared":
        if tuning:
            what = "shared: one learning rate for all methods, but `tune:` chooses each its own"
            raise InputError("protocol", what, "drop one of the two")
        check_shared(methods)


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
    if not os.path.exists(path):
        mend = "a path is relative to the file that it stands in, in --set to the working directory"
        raise InputError(where, f"nothing at {path}", mend)
    return path


def _published(name: Any) -> str:
    """The text of a table of published values: one that comes with the package, or a CSV file."""
    room = Path(str(files("bakeoff"))) / "analysis" / "published"
    known = {path.stem: path for path in room.glob("*.csv")}
    path = known.get(str(name)) or Path(str(name))
    if not os.path.isfile(path):
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
