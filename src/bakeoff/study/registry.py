"""The registry: methods and tasks found by module name, never by importing them all."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import pkgutil
import sys
import traceback
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

from bakeoff.errors import InputError, suggest

Room = Literal["methods", "tasks"]
_SHARED = {"methods": "method", "tasks": "task"}  # the module of each room that defines the noun itself
_plugins: dict[tuple[str, str], type] = {}
_loaded: dict[Path, str] = {}  # the SHA-256 of each plugin file, as it was when it was run


def names(room: Room) -> list[str]:
    """Every kind of the room: the package's modules, installed entry points (`bakeoff.<room>`), loaded plugins."""
    return sorted(_own(room) | _installed(room).keys() | {name for r, name in _plugins if r == room})


def find(room: Room, name: str, where: str) -> Any:
    """The class of that kind; InputError at `where`, with the nearest name, if there is none."""
    if (room, name) in _plugins:
        return _plugins[room, name]
    if name not in names(room):
        raise InputError(where, f"unknown {room[:-1]} '{name}'", suggest(name, names(room)))
    if name in _installed(room):
        return _installed(room)[name].load()
    return _kinds(room, importlib.import_module(f"bakeoff.{room}.{name}"))[name]


def load_plugin(path: Path, where: str, sha256: str | None = None) -> None:
    """Run a study's plugin file and register the methods and tasks it defines. It is code: load only what you trust.

    InputError where it is not one, and where it is another file than the `sha256` that is asked for.
    """
    if not os.path.isfile(path):
        raise InputError(where, f"no file at {path}", "plugins are Python files, relative to the study file")
    module_name = f"bakeoff_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise InputError(where, f"{path} is not a Python file")
    source = path.read_bytes()
    found_sha256 = hashlib.sha256(source).hexdigest()
    if sha256 not in (None, found_sha256):
        raise InputError(where, f"{path} is another file than when the run began")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        exec(compile(source, path, "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(where, f"{path} cannot be loaded{_line(error, path)} ({told})") from error
    found = {(room, name): kind for room in _SHARED for name, kind in _kinds(room, module).items()}
    if not found:
        raise InputError(where, f"{path} defines no method and no task")
    _plugins.update(found)
    _loaded[path] = found_sha256


def plugin_hash(path: str | Path) -> str:
    """The SHA-256 of a plugin that was loaded, as it was then, whatever lies there now."""
    return _loaded[Path(path)]


@cache
def _own(room: Room) -> frozenset[str]:
    """The kinds of the package itself."""
    package = importlib.import_module(f"bakeoff.{room}")
    return frozenset(m.name for m in pkgutil.iter_modules(package.__path__) if not m.ispkg) - {_SHARED[room]}


@cache
def _installed(room: Room) -> dict[str, EntryPoint]:
    """The kinds of other installed packages; looking through them all takes milliseconds, so it is done once."""
    return {point.name: point for point in entry_points(group=f"bakeoff.{room}")}


def _line(error: BaseException, path: Path) -> str:
    """The last line of the file that an error came through."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""


def _kinds(room: str, module: Any) -> dict[str, type]:
    """The room's classes that the module itself defines, by their name (`use` of a method, `name` of a task)."""
    attribute = "use" if room == "methods" else "name"
    own = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    return {vars(kind)[attribute]: kind for kind in own if isinstance(vars(kind).get(attribute), str)}
