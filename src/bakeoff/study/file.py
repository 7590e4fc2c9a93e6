"""A study file as a mapping, before anything in it is checked: read, changed by settings, made whole."""

from __future__ import annotations

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode

from bakeoff.errors import InputError, suggest

_KEYS = (
    "study",
    "models",
    "tasks",
    "methods",
    "training",
    "tune",
    "protocol",
    "seeds",
    "data",
    "plugins",
    "notes",
    "published",
    "forgetting",
    "equivalence_margin",
)
_REQUIRED = ("study", "models", "tasks", "methods")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # what no file or path can hold
LARGEST = 2**18  # bytes of a study file: parsed in seconds; those there are have a few thousand
MOST = 100_000  # values that it may stand for, those counted again that an alias repeats
_KINDS = ("null", "bool", "int", "float", "str", "seq", "map", "timestamp", "binary", "merge")
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in _KINDS}


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; InputError for what cannot be read or is no study's kind of data."""
    data = _yaml(_text(path), str(path))
    if data is None:
        mend = f"a study needs {', '.join(f'`{key}:`' for key in _REQUIRED)}; `bakeoff list studies` names examples"
        raise InputError(str(path), "is empty", mend)
    if not isinstance(data, dict):
        raise InputError(str(path), f"expected a mapping at the top, got a {type(data).__name__}")
    _plain(data, "")
    return data


def put(raw: dict[str, Any], setting: str) -> None:
    """Put a setting in its place. What follows `data.` is a hub id, dots and all."""
    key, equals, text = setting.partition("=")
    steps = ["data", key.removeprefix("data.")] if key.startswith("data.") else key.split(".")
    if not equals or not all(steps):
        raise InputError(f"--set {setting}", "expected key=value", "such as training.max_steps=20")
    value = _yaml(text, f"--set {setting}")
    _plain(value, key)
    for step in reversed(steps):
        value = {step: value}
    absolute(value, Path.cwd())
    place: Any = raw
    for parent in steps[:-1]:
        place, value = place.setdefault(parent, {}) if isinstance(place, dict) else place, value[parent]
        if not isinstance(place, dict):
            raise InputError(f"--set {setting}", f"'{parent}' is no mapping", "dotted keys go through mappings only")
    place[steps[-1]] = value[steps[-1]]


def placed(raw: dict[str, Any], file: Path) -> frozenset[str]:
    """Take from a file `models: {name: {path: ...}}` what the study names, and from its `data:` every hub id.

    The hub ids are returned: those that no task reads are dropped later, when the tasks are known.
    """
    said = read(file)
    for key in said:
        if key not in ("models", "data") or not isinstance(said[key], dict):
            what = "is no place of models or data"
            raise InputError(f"{file}: {key}", what, "wanted: mappings `models:` and `data:`")
    absolute(said, file.resolve().parent)
    for name, spec in said.get("models", {}).items():
        for key in spec if isinstance(spec, dict) else ():
            if key not in ("path", "revision"):
                what = "says no place; `path:` and `revision:` do"
                raise InputError(f"{file}: models.{name}.{key}", what, "put it into the study, or give it with --set")
        if isinstance(raw.get("models"), dict) and isinstance(raw["models"].get(name), dict) and isinstance(spec, dict):
            unpinned = {"revision": None} if str(spec.get("path")).startswith("/") else {}
            raw["models"][name] = {**raw["models"][name], **unpinned, **spec}
    offered = said.get("data", {})
    if isinstance(raw.get("data") or {}, dict):
        raw["data"] = {**(raw.get("data") or {}), **offered}
    return frozenset(offered)


def check_keys(raw: dict[str, Any], path: Path) -> None:
    """InputError for an unknown key at the top, one that is missing, and one that holds the wrong kind of data."""
    for key in raw:
        if key == "device":
            raise InputError(key, "a GPU is used where torch sees one, else the CPU", "drop the key")
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


def absolute(raw: dict[str, Any], base: Path) -> None:
    """Local paths become absolute; what is no local path stays as it is (a hub id), and so does what is no study."""

    def fix(path: Any, hub: tuple[int, ...] = (0, 1)) -> Any:  # how many slashes an id of the hub may have there
        if not isinstance(path, str):
            return path
        local = os.path.realpath(base / os.path.expanduser(path))
        named = path.startswith((".", "~", "/")) or path.count("/") not in hub
        return local if named or os.path.exists(local) else path

    def fixed(entry: Any, key: str, hub: tuple[int, ...] = (0, 1)) -> Any:
        return {**entry, key: fix(entry[key], hub)} if isinstance(entry, dict) and key in entry else entry

    for key, inner, hub in (("models", "path", (1,)), ("methods", "adapter_config", ())):
        if isinstance(raw.get(key), dict):
            raw[key] = {name: fixed(entry, inner, hub) for name, entry in raw[key].items()}
    if isinstance(raw.get("plugins"), list):
        raw["plugins"] = [fix(plugin, ()) for plugin in raw["plugins"]]
    if isinstance(raw.get("data"), dict):
        raw["data"] = {hub: fixed(fix(place), "path") for hub, place in raw["data"].items()}
    if isinstance(raw.get("tasks"), list):
        raw["tasks"] = [fixed(entry, "dataset_path") for entry in raw["tasks"]]
    if "published" in raw:
        raw["published"] = fix(raw["published"], (0,))
    if "forgetting" in raw:
        raw["forgetting"] = fixed(raw["forgetting"], "text")


def with_adapter_configs(raw: dict[str, Any]) -> None:
    """`adapter_config: FILE` (or its directory) becomes what PEFT wrote in it; the method's own keys go before."""
    for name, entry in raw["methods"].items():
        if isinstance(entry, dict) and isinstance(entry.get("adapter_config"), str):
            path = Path(entry["adapter_config"])
            found = _adapter_config(path / "adapter_config.json" if os.path.isdir(path) else path, f"methods.{name}")
            own = {key: value for key, value in entry.items() if key != "adapter_config"}
            raw["methods"][name] = {**found, **own}


def limited(entry: Any, limit: int) -> Any:
    """A task's entry with at most `limit` training and test examples."""
    entry = {"use": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict):
        return entry
    own = {key: limit if entry.get(key) is None else entry[key] for key in ("train_limit", "test_limit")}
    return {**entry, **{key: min(limit, value) if isinstance(value, int) else value for key, value in own.items()}}


def _adapter_config(path: Path, where: str) -> dict[str, Any]:
    try:
        if os.path.exists(path) and not path.is_file():
            raise InputError(f"{where}.adapter_config", f"{path} is not a file")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{where}.adapter_config", f"{path} cannot be read ({said})") from None
    if not isinstance(found, dict):
        raise InputError(f"{where}.adapter_config", f"{path} holds no mapping")
    return found


def _text(path: Path) -> str:
    """A file's text; InputError for what is no file, too large to be a study, or not UTF-8."""
    try:
        if os.path.exists(path) and not path.is_file():  # a device has no end
            raise InputError(str(path), "is not a file")
        if (size := path.stat().st_size) > LARGEST:
            raise InputError(str(path), f"is too large for a study: {size:,} bytes", f"at most {LARGEST:,} are read")
        return path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"is not UTF-8 at byte {error.start}", "save it as UTF-8") from None
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})") from None


def _yaml(text: str, where: str) -> Any:
    """The data in a YAML text; InputError with the line of what is no YAML, or no plain data."""
    reader = YAML(typ="safe", pure=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an anchor that is there twice is told in five lines, and is no mistake
            root = reader.compose(text)
        _check_nodes(root, where, {}, ())
        return None if root is None else reader.constructor.construct_document(root)
    except MarkedYAMLError as error:
        raise _marked(error, text, where) from None
    except (YAMLError, ValueError, LookupError, RecursionError) as error:  # the last three: tags, dates, deep nesting
        raise InputError(where, f"cannot be read as YAML ({' '.join(str(error).split())})") from None


def _marked(error: MarkedYAMLError, text: str, where: str) -> InputError:
    """What is no YAML, with its line, its column and what stands there."""
    what, mark = " ".join(str(error.problem).split()), error.problem_mark
    if mark is None:
        return InputError(where, what)
    line = next(iter(text.split("\n")[mark.line : mark.line + 1]), "").strip()[:60]
    return InputError(f"{where}, line {mark.line + 1}, column {mark.column + 1}", what, f"it reads {line!r}")


def _check_nodes(node: Any, where: str, sizes: dict[int, int], above: tuple[int, ...]) -> int:
    """How many values a part of a YAML file stands for; `sizes` holds the parts that were counted before.

    InputError for a tag that makes objects, for a key that is there twice, and where there are too many (alias bombs).
    """
    if node is None or id(node) in above:  # in itself: told by its place when it is data
        return 0
    if id(node) in sizes:
        return sizes[id(node)]
    line = f"{where}, line {node.start_mark.line + 1}"
    if str(node.tag) not in _TAGS:
        what = f"the tag {str(node.tag).replace('tag:yaml.org,2002:', '!!')} is not allowed"
        raise InputError(line, what, "a study holds plain values; nothing was run")
    parts = () if isinstance(node, ScalarNode) else node.value
    if isinstance(node, MappingNode):
        _check_twice(node, where)
        parts = [one for pair in node.value for one in pair]
    size = 1 + sum(_check_nodes(one, where, sizes, (*above, id(node))) for one in parts)
    if size > MOST:
        raise InputError(line, f"stands for more than {MOST:,} values, aliases written out", "a study has hundreds")
    sizes[id(node)] = size
    return size


def _check_twice(node: MappingNode, where: str) -> None:
    """InputError, with both lines, for a key that a mapping has twice."""
    first: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, ScalarNode):
            continue
        if key.value in first:
            line = f"{where}, line {key.start_mark.line + 1}"
            what = f"the key '{key.value}' is there twice, first in line {first[key.value]}"
            raise InputError(line, what, "drop one of them")
        first[key.value] = key.start_mark.line + 1


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
