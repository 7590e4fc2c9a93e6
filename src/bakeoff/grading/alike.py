"""Two clean answers compared part by part: numbers exactly, text by letter, and formulas by whoever can."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from bakeoff.grading.notation import (
    Shape,
    choice,
    exactly,
    interval,
    measure,
    named,
    plain,
    shape,
    unnamed,
    value,
    words,
)

Formulas = Callable[[str, str], bool | None]
"""Whether two formulas, gold first, are equal; None where that cannot be told."""

DEEPEST = 20  # lists within lists
MOST = 60  # parts of a list whose order is free


def alike(gold: str, pred: str, formulas: Formulas, depth: int = 0) -> bool | None:
    """Whether two clean answers are equal; None where only `formulas` could say and does not.

    Lists and sets may come in any order, tuples, intervals and matrices may not; brackets must agree; a name that only
    one side gives (`x=3` and `3`) and a unit that only one side has (`3 cm` and `3`) do not count.
    """
    if plain(gold) == plain(pred):
        return True
    if depth > DEEPEST:
        return None
    gold, pred = unnamed(*_intervals(gold, exactly(gold, choice(gold, pred))))
    a, b = shape(gold), shape(pred)
    if a.kind == b.kind == "one":
        return _one(a.parts[0], b.parts[0], formulas)

    def inner(x: str, y: str) -> bool | None:
        return alike(x, y, formulas, depth + 1)

    if a.kind == b.kind == "union":
        return _matched(a.parts, b.parts, inner) or formulas(gold, pred)
    if _comparable(a, b):
        return _parts(a, b, inner)
    if _differently_made(a, b):
        return False
    return formulas(gold, pred)


def _intervals(gold: str, pred: str) -> tuple[str, str]:
    """Two clean texts, inequalities as intervals: where both are, for the same letter, or the other is no "one"."""
    a, b = interval(gold), interval(pred)
    if a != gold and b != pred:
        x, y = (set(re.findall("[A-Za-z]", re.sub(r"\\[A-Za-z]+(?:\{[A-Z]\})?", "", text))) for text in (gold, pred))
        return (a, b) if x == y else (gold, pred)
    if a != gold and shape(other := named(pred)[1]).kind != "one":
        return a, other
    if b != pred and shape(other := named(gold)[1]).kind != "one":
        return other, b
    return gold, pred


def _one(gold: str, pred: str, formulas: Formulas) -> bool | None:
    """Two answers of one part each, without their units where these can be the same."""
    (a, unit), (b, other) = measure(gold), measure(pred)
    if unit and other and not _same_unit(unit, other):
        return False
    m, n = value(a), value(b)
    if m is not None and n is not None:
        return m == n
    if plain(a) == plain(b):
        return True
    if re.search(r"\\ldots|\d ?_", a + " " + b) or _told_apart(a, b, m is not None, n is not None):
        return False
    return formulas(a, b)


_UNIT_NAMES = {
    "m": "meter metre", "cm": "centimeter centimetre", "mm": "millimeter millimetre", "km": "kilometer kilometre",
    "in": "inch inche", "ft": "foot feet", "yd": "yard", "mi": "mile", "g": "gram", "kg": "kilogram", "mg": "milligram",
    "oz": "ounce", "lb": "pound", "l": "liter litre", "ml": "milliliter millilitre", "h": "hr hour", "min": "minute",
    "s": "sec second", "mph": "milesperhour mileperhour", "kph": "kilometersperhour kmperhour kmh",
}  # fmt: skip
_SHORT_NAME = {name: short for short, names in _UNIT_NAMES.items() for name in (short, *names.split())}


def _same_unit(a: str, b: str) -> bool:
    """`mile` and `mi`, `dollars` and `dollarsperday`, `cm2` and `squarecentimeters`; `m` and `mm` are not the same."""
    (x, power), (y, other) = _unit(a), _unit(b)
    if power and other and power != other:
        return False
    short, long = sorted((x, y), key=len)
    if short in _SHORT_NAME and long in _SHORT_NAME:
        return _SHORT_NAME[short] == _SHORT_NAME[long]
    return x == y or (len(short) > 2 and long.startswith(short) and long not in _SHORT_NAME)


def _unit(text: str) -> tuple[str, str]:
    """A unit's name in the singular, and its power where it gives one."""
    power, name = re.sub(r"\D", "", text), re.sub(r"[^a-z]", "", text)
    name = name[:-1] if len(name) > 2 and name.endswith("s") else name
    found = re.fullmatch(r"(square|sq|cubic|cu)(\w+)", name)
    if found and (len(found[1]) > 2 or found[2] in _SHORT_NAME):
        return found[2], "2" if found[1].startswith("sq") else "3"
    return name, power


def _told_apart(a: str, b: str, a_is_number: bool, b_is_number: bool) -> bool:
    """Whether two texts that are not the same are different because of what they are: words, letters, numbers.

    Small letters of the same word in another order may be the same product.
    """
    x, y = (words(text) or (bool(re.fullmatch("[A-Za-z]", text)) and text not in "eiI") for text in (a, b))
    product = sorted(a) == sorted(b) and not (a + b).isupper()
    return (x and y and not product) or (x and b_is_number) or (y and a_is_number)


ORDERED = frozenset(("()", "[]", "[)", "(]"))
_SETS = re.compile(r"\\(?:le|ge|ne|in|notin|mathbb|setminus|cup|cap|emptyset|begin)(?![A-Za-z])|[<>=|]")


def _comparable(a: Shape, b: Shape) -> bool:
    """Whether two shapes can be compared part by part."""
    kinds = {a.kind, b.kind}
    if len(kinds) == 1 or kinds in ({"list", "{}"}, {"list", "()"}):
        return True
    if max(len(a.parts), len(b.parts)) > 2 and kinds <= {"()", "[]", "list"}:
        return True  # no interval: brackets are a matter of taste
    return kinds == {"one", "{}"} and len(a.parts) == len(b.parts) == 1


def _differently_made(a: Shape, b: Shape) -> bool:
    """Whether two shapes that cannot be compared part by part are different for certain."""
    if {a.kind, b.kind} <= ORDERED | {"{}", "list"}:
        return True
    single = [x.parts[0] for x in (a, b) if x.kind == "one"]
    return bool(single) and not any(map(_SETS.search, single))


def _parts(a: Shape, b: Shape, inner: Formulas) -> bool | None:
    """Whether all parts are alike, in their order, or where that is free in some order."""
    if {a.kind, b.kind} & ORDERED or a.kind.startswith("matrix") or _by_name(a, b):
        if len(a.parts) != len(b.parts):
            return False
        return _all(inner(x, y) for x, y in zip(a.parts, b.parts, strict=True))
    if a.kind == b.kind == "{}":
        return _all((_covered(a.parts, b.parts, inner), _covered(b.parts, a.parts, lambda y, x: inner(x, y))))
    return _matched(a.parts, b.parts, inner)


def _by_name(a: Shape, b: Shape) -> bool:
    """Whether one side alone gives all its parts different names: then the other's come in the same order."""
    names, others = (([named(part)[0] for part in shape.parts]) for shape in (a, b))
    return any(all(x) and len(set(x)) == len(x) > 1 and not any(y) for x, y in ((names, others), (others, names)))


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    """False where one is False, else None where one is None."""
    unsure = False
    for verdict in verdicts:
        if verdict is False:
            return False
        unsure = unsure or verdict is None
    return None if unsure else True


def _any(verdicts: Iterable[bool | None]) -> bool | None:
    """True where one is True, else None where one is None."""
    opposite = _all(None if verdict is None else not verdict for verdict in verdicts)
    return None if opposite is None else not opposite


def _covered(these: Sequence[str], those: Sequence[str], inner: Formulas) -> bool | None:
    """Whether each of these is among those."""
    if len(these) * len(those) > MOST**2:
        return None
    return _all(_any(inner(x, y) for y in those) for x in these)


def _matched(gold: Sequence[str], pred: Sequence[str], inner: Formulas) -> bool | None:
    """Whether each part of gold has a part of pred to itself."""
    if len(gold) != len(pred):
        return False
    if len(gold) > MOST:
        return None
    left, unsure = list(pred), False
    for part in gold:
        verdicts = {}
        for i, other in enumerate(left):
            verdicts[i] = inner(part, other)
            if verdicts[i]:
                del left[i]
                break
        else:
            if None not in verdicts.values():
                return False
            unsure = True
    return None if unsure else True
