"""Looks: the colour and dash of every method, the same on the whole page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from markupsafe import Markup

from bakeoff.analysis import words

COLOURS, DASHES = 8, 6
Looks = Mapping[str, str]
"""A method's classes: `m3 d1`, a colour and a dash pattern."""


def looks(order: Sequence[str], untrained: Collection[str]) -> dict[str, str]:
    """The classes of every method, in study order.

    Untrained methods are `m0`. A method has the colour of its name without what is swept, so that `lora[r=4]` and
    `lora[r=8]` are alike; methods of one colour differ in the dash.
    """
    bases = list(dict.fromkeys(words.base(name) for name in order if name not in untrained))
    seen: Counter[str] = Counter()
    found: dict[str, str] = {}
    for name in dict.fromkeys(order):
        shade = "m0" if name in untrained else f"m{bases.index(words.base(name)) % COLOURS + 1}"
        found[name] = f"{shade} d{seen[shade] % DASHES}"
        seen[shade] += 1
    return found


def key(shade: str) -> Markup:
    """A short line as a method's curve is drawn."""
    return Markup(
        '<svg class="key" width="30" height="10" aria-hidden="true"><path class="curve {}" d="M1 5L29 5"/></svg>'
    ).format(shade)
