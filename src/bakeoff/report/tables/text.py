"""Quantities as text, and text made inert."""

from __future__ import annotations

import re
import unicodedata

from bakeoff.analysis import words


def breakable(method: str) -> list[str]:
    """A method's name in the pieces that a line may end between: `lora+prompt`, `[r=8,`, `lora_alpha=16]`."""
    return re.sub(r"(?=\[)|(?<=,)", "\n", method).split("\n")


def whole(x: int | None) -> str:
    """`294,912`, or `n/a`."""
    return "n/a" if x is None else f"{x:,}"


def share(percent: float | None) -> str:
    """A percentage that may be small, to three decimals: `0.237 %`, `< 0.001 %`; `0 %` and `100 %` are exact."""
    if percent is None:
        return "n/a"
    if percent in (0, 100):
        return f"{percent:.0f}{words.THIN}%"
    return f"<{words.THIN}0.001{words.THIN}%" if percent < 0.001 else f"{percent:.3f}{words.THIN}%"


def duration(seconds: float | None) -> str:
    """`0.84 s`, `12.3 s`, `4 min 10 s`, `2 h 05 min`."""
    if seconds is None:
        return "n/a"
    space = words.THIN
    if seconds < 1:
        return f"{seconds:.2f}{space}s"
    if seconds < 100:
        return f"{seconds:.1f}{space}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{space}min{space}{rest:02d}{space}s"
    return f"{minutes // 60}{space}h{space}{minutes % 60:02d}{space}min"


def size(number: int | None) -> str:
    """Bytes in decimal units: `0 B`, `812 B`, `1.2 MB`."""
    if number is None:
        return "n/a"
    amount = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f}{words.THIN}{unit}" if unit == "B" else f"{amount:.1f}{words.THIN}{unit}"
        amount /= 1000
    raise AssertionError


def rate(tokens_per_second: float | None) -> str:
    """Tokens per second, whole."""
    return "n/a" if tokens_per_second is None else f"{tokens_per_second:,.0f}"


def step_time(seconds: float | None) -> str:
    """A short time: `8.3 ms`, `420 ms`, then as `duration`."""
    if seconds is None or seconds >= 1:
        return duration(seconds)
    return f"{seconds * 1000:.{1 if seconds < 0.1 else 0}f}{words.THIN}ms"


def flops(number: int | None) -> str:
    """Floating-point operations in decimal units: `1.3 G`."""
    if number is None:
        return "n/a"
    amount = float(number)
    for unit in ("", "k", "M", "G", "T"):
        if amount < 1000:
            return f"{amount:.{1 if unit else 0}f}{words.THIN}{unit}".rstrip(words.THIN)
        amount /= 1000
    return f"{amount:.1f}{words.THIN}P"


def inert(text: str) -> str:
    """Text with control characters and direction overrides spelled out, so that no terminal or page obeys them."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _spelled(character) for character in text)


def no_formula(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _spelled(character: str) -> str:
    if character in "\n\t":
        return character
    kind = unicodedata.category(character)
    if kind in ("Cc", "Cs") or (kind == "Cf" and character not in "\u200c\u200d\u00ad"):
        return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"
    return character


def short(number: float, space: str = "") -> str:
    """A count for an axis: `800`, `1k`, `2.5M`."""
    amount = float(number)
    for unit in ("", "k", "M"):
        if amount < 999.5:
            return f"{amount:.3g}{space}{unit}"
        amount /= 1000
    return f"{amount:.3g}{space}G"
