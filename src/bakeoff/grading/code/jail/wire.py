"""The wire between judge and candidate: plain data as tagged JSON, limited in size, depth and number of parts.

None, bool, str, finite float and int below 2**53 are JSON's own; everything else is a list that starts with a tag:

    l list   t tuple   s set   z frozenset   d dict (keys and values in turn)   r range   i int (hexadecimal)
    f float (nan, inf, -inf)   c complex   b bytes   a bytearray   n a builtin type or function by name
    h something that stays where it is: [h, number]   o the receiver's own: [o, number]

Values of a subclass travel as the plain base value, so that no method of theirs ever reaches the receiver.
"""

from __future__ import annotations

import builtins
import json
import math
from collections.abc import Callable, Iterable
from typing import Any

MAX_BYTES = 4 << 20
MAX_DEPTH = 200
MAX_PARTS = 500_000
JSON_INT = 1 << 53

TYPES = (
    "int float complex bool str bytes bytearray list tuple set frozenset dict range object type slice BaseException "
    "Exception ArithmeticError AssertionError AttributeError EOFError IndexError KeyError LookupError NameError "
    "NotImplementedError OSError OverflowError RecursionError RuntimeError StopIteration TypeError ValueError "
    "ZeroDivisionError"
)
FUNCTIONS = "abs all any ascii bin chr divmod hash hex len max min oct ord pow repr round sorted sum"
NAMED = {name: getattr(builtins, name) for name in f"{TYPES} {FUNCTIONS}".split()}
NAMES = {id(value): name for name, value in NAMED.items()}

Keep = Callable[[Any], list[Any] | None]  # what to send for something that is not plain: a tagged list
Find = Callable[[list[Any]], Any]  # what such a list stands for


class WireError(ValueError):
    """It cannot be sent, or what came is no message."""


def encode(value: Any, keep: Keep | None = None) -> bytes:
    """The message for a value. WireError for what is too large, too deep or, without `keep`, not plain data."""
    left = [MAX_PARTS]
    text = json.dumps(_packed(value, keep, 0, left), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    data = text.encode("utf-8", "surrogatepass")  # escaped, two lone surrogates would become one character
    if len(data) > MAX_BYTES:
        raise WireError(f"more than {MAX_BYTES} bytes")
    return data


def decode(data: bytes, find: Find | None = None) -> Any:
    """The value of a message; exactly what `encode` was given, for plain data. WireError for anything else."""
    if len(data) > MAX_BYTES:
        raise WireError(f"more than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8", "surrogatepass")
        return _unpacked(json.loads(text, parse_constant=_refuse), find, 0)
    except WireError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as error:
        raise WireError(f"no message: {type(error).__name__}") from None


def _packed(value: Any, keep: Keep | None, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise WireError(f"more than {MAX_PARTS} parts")
    if depth > MAX_DEPTH:
        raise WireError(f"deeper than {MAX_DEPTH} levels")
    kind = type(value)
    if value is None or kind is bool:
        return value
    if issubclass(kind, str):
        if str.__len__(value) > MAX_BYTES:
            raise WireError(f"more than {MAX_BYTES} bytes")
        return value if kind is str else str.__str__(value)
    if issubclass(kind, int):
        number = value if kind is int else int.__index__(value)
        if -JSON_INT < number < JSON_INT:
            return number
        if number.bit_length() > 8 * MAX_BYTES:
            raise WireError(f"more than {MAX_BYTES} bytes")
        return ["i", f"{number:x}"]
    if issubclass(kind, float):
        number = float.__float__(value)
        return number if math.isfinite(number) else ["f", repr(number)]
    if issubclass(kind, complex):
        parts = (complex.real.__get__(value), complex.imag.__get__(value))  # pyright: ignore[reportAttributeAccessIssue]
        return ["c", *(_packed(part, keep, depth, left) for part in parts)]
    for base, tag in ((bytes, "b"), (bytearray, "a")):
        if issubclass(kind, base):
            if base.__len__(value) > MAX_BYTES:
                raise WireError(f"more than {MAX_BYTES} bytes")
            return [tag, base.hex(value)]
    for base, tag in ((list, "l"), (tuple, "t"), (set, "s"), (frozenset, "z")):
        if issubclass(kind, base):
            return [tag, *_all(base.__iter__(value), keep, depth, left)]
    if issubclass(kind, dict):
        flat = (part for pair in dict.items(value) for part in pair)
        return ["d", *_all(flat, keep, depth, left)]
    if kind is range:
        return ["r", *_all((value.start, value.stop, value.step), keep, depth, left)]
    if id(value) in NAMES and NAMED[NAMES[id(value)]] is value:
        return ["n", NAMES[id(value)]]
    kept = keep(value) if keep else None
    if kept is None:
        raise WireError(f"{kind.__name__[:60]} is not plain data")
    return kept


def _all(values: Iterable[Any], keep: Keep | None, depth: int, left: list[int]) -> list[Any]:
    return [_packed(value, keep, depth + 1, left) for value in values]


def _unpacked(item: Any, find: Find | None, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise WireError(f"deeper than {MAX_DEPTH} levels")
    if item is None or isinstance(item, str | bool | int | float):
        return item
    if not isinstance(item, list) or not item or not isinstance(item[0], str):
        raise WireError("no message: no tag")
    tag, rest = item[0], item[1:]
    if tag in PLAIN:
        return PLAIN[tag](*rest)
    if tag in ("h", "o"):
        if find is None:
            raise WireError("not plain data")
        return find(item)
    values = [_unpacked(part, find, depth + 1) for part in rest]
    if tag not in BUILT:
        raise WireError("no message: unknown tag")
    return BUILT[tag](values)


def _int(text: str) -> int:
    return int(text, 16)


def _float(text: str) -> float:
    if text not in ("nan", "inf", "-inf"):
        raise WireError("no message: no such number")
    return float(text)


def _dict(values: list[Any]) -> dict[Any, Any]:
    return dict(zip(values[::2], values[1::2], strict=True))


def _refuse(name: str) -> Any:
    raise WireError(f"no message: {name}")


PLAIN: dict[str, Callable[..., Any]] = {
    "i": _int,
    "f": _float,
    "b": bytes.fromhex,
    "a": bytearray.fromhex,
    "n": NAMED.__getitem__,
}
BUILT: dict[str, Callable[[list[Any]], Any]] = {
    "l": list,
    "t": tuple,
    "s": set,
    "z": frozenset,
    "d": _dict,
    "r": lambda values: range(*values),
    "c": lambda values: complex(*values),
}
