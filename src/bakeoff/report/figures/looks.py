"""Looks: the colour and dash of every method, the same on the whole page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from markupsafe import Markup

from bakeoff.analysis import words

COLOURS, DASHES, TINTS = 8, 6, 5
Looks = Mapping[str, str]
"""A method's classes: `m3 d1 t2`, a colour, a dash pattern, and how far a line is lightened (not at all without)."""


def looks(order: Sequence[str], untrained: Collection[str]) -> dict[str, str]:
    """The classes of every method, in study order.

    Untrained methods are `m0`. A method has the colour of its name without what is swept, so that `lora[r=4]` and
    `lora[r=8]` are alike; methods of one colour differ in the dash, those swept over two numbers by the first of them,
    and in the tint by the second.
    """
    bases = list(dict.fromkeys(words.base(name) for name in order if name not in untrained))
    seen: Counter[str] = Counter()
    found: dict[str, str] = {}
    for name in dict.fromkeys(order):
        shade = "m0" if name in untrained else f"m{bases.index(words.base(name)) % COLOURS + 1}"
        family = [other for other in order if words.base(other) == words.base(name)]
        found[name] = f"{shade} {_by_sweep(name, family) or f'd{seen[shade] % DASHES}'}"
        seen[shade] += 1
    return found


def _by_sweep(name: str, family: Sequence[str]) -> str:
    """Dash and tint of a method swept over two numbers; empty where it is not, or where dashes would not do."""
    swept = [words.swept(other) for other in family]
    varied = [key for key in swept[0] if len({one.get(key) for one in swept}) > 1]
    if len(varied) != 2:
        return ""
    first, second = (list(dict.fromkeys(one.get(key) for one in swept)) for key in varied)
    if len(first) > DASHES:
        return ""
    own = words.swept(name)
    tint = round(second.index(own.get(varied[1])) * (TINTS - 1) / (len(second) - 1))
    return f"d{first.index(own.get(varied[0]))}" + (f" t{tint}" if tint else "")


def key(shade: str) -> Markup:
    """A short line as a method's curve is drawn."""
    return Markup(
        '<svg class="key" width="30" height="10" aria-hidden="true"><path class="curve {}" d="M1 5L29 5"/></svg>'
    ).format(shade)
