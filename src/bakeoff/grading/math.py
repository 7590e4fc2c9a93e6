"""Mathematical answers judged equal: exact numbers first, else their text without typography."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal

Stage = Literal["number", "text"]
LONGEST = 400  # digits of a number that is read as one

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_NUMBER = re.compile(rf"([+-]?)(?:({_DIGITS})(\.\d*)?|(\.\d+))")
_FRACTION = re.compile(r"([+-]?)\\frac\{([^{}]+)\}\{([^{}]+)\}")
_WRAPPED = re.compile(r"\\(?:text|mathrm|textbf|mbox)\{([^{}]*)\}")


def equal(gold: str, pred: str) -> tuple[bool, Stage]:
    """Whether two answers are equal, and which stage decided: `number` where both are plain numbers, else `text`.

    Numbers (`1,234`, `-0.50`, `3/4`, `\\frac{3}{4}`) are compared exactly, never rounded; text is compared without
    spaces, dollars, a full stop at its end and LaTeX's spacing, sizing and wrapping commands. A percentage is text:
    50% is neither 50 nor 1/2. Algebra is not tried here, so equal formulas written differently are told apart.
    """
    a, b = number(gold), number(pred)
    if a is not None and b is not None:
        return a == b, "number"
    return normalise(gold) == normalise(pred), "text"


def number(text: str) -> Fraction | None:
    """A plain number or a fraction of two as an exact value; None for anything else."""
    text = normalise(text)
    if len(text) > LONGEST:
        return None
    if fraction := _FRACTION.fullmatch(text):
        sign, above, below = fraction.groups()
        value = _ratio(above, below)
        return -value if value is not None and sign == "-" else value
    above, slash, below = text.partition("/")
    return _ratio(above, below) if slash else _plain(text)


def normalise(text: str) -> str:
    """An answer without typography: spaces, dollars, the last full stop, \\left, \\!, \\text{...}, the d of \\dfrac."""
    text = re.sub(r"\\[!,;: ]|\\left(?![a-z])|\\right(?![a-z])|\\\(|\\\)|\\?\$|~", "", text)
    text = re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)  # "5 6" is not 56
    text = re.sub(r"\\[dt]frac", r"\\frac", text).replace("−", "-").replace("{,}", ",")  # noqa: RUF001
    text = _WRAPPED.sub(r"\1", text)
    return text.removesuffix(".").replace("\\%", "%")


def _ratio(above: str, below: str) -> Fraction | None:
    """One plain number divided by another; None where either is none, or the division has no value."""
    a, b = _plain(above), _plain(below)
    return None if a is None or not b else a / b


def _plain(text: str) -> Fraction | None:
    """A decimal number, thousands separated or not, without an exponent."""
    if not _NUMBER.fullmatch(text):
        return None
    return Fraction(text.replace(",", "").removesuffix("."))
