"""Validation: data to a pydantic model, with the first mistake named in one line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bakeoff.errors import InputError, suggest

M = TypeVar("M", bound=BaseModel)


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
