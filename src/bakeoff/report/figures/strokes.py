"""Strokes: the pieces that figures are made of. Places along a figure are percentages of its width, down it pixels."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

from bakeoff.report.figures.scale import Scale


def strip(classes: str, height: int, told: str, parts: Iterable[Markup]) -> Markup:
    """A figure as wide as what it stands in; without `told` it is decoration."""
    says = Markup('role="img"' if told else 'aria-hidden="true"')
    title = Markup("<title>{}</title>").format(told) if told else Markup("")
    return Markup('<svg class="{}" width="100%" height="{}" {}>{}{}</svg>').format(
        classes, height, says, title, joined(parts)
    )


def ticks(on: Scale, height: int) -> list[Markup]:
    """Upright lines at the ticks."""
    return [
        Markup('<line class="tick" x1="{0}%" x2="{0}%" y1="0" y2="{1}"/>').format(n(on.place(t)), height)
        for t in on.ticks
    ]


def across(start: float, end: float, y: float, classes: str) -> Markup:
    """A level line."""
    return Markup('<line class="{}" x1="{}%" x2="{}%" y1="{y}" y2="{y}"/>').format(classes, n(start), n(end), y=n(y))


def upright(x: float, start: float, end: float, classes: str) -> Markup:
    """An upright line."""
    return Markup('<line class="{}" x1="{x}%" x2="{x}%" y1="{}" y2="{}"/>').format(classes, n(start), n(end), x=n(x))


def dot(x: float, y: float, radius: float, classes: str) -> Markup:
    """A disc or ring."""
    return Markup('<circle class="{}" cx="{}%" cy="{}" r="{}"/>').format(classes, n(x), n(y), n(radius))


def text(x: float, y: float, words: str, anchor: str = "middle", aside: float = 0) -> Markup:
    """A line of text, `aside` pixels to the right of x."""
    moved = Markup(' dx="{}"').format(n(aside)) if aside else Markup("")
    return Markup('<text x="{}%" y="{}" text-anchor="{}"{}>{}</text>').format(n(x), n(y), anchor, moved, escape(words))


def joined(parts: Iterable[Markup]) -> Markup:
    """The pieces, one after the other."""
    return Markup("").join(parts)


def n(x: float, places: int = 2) -> str:
    """A number as short as so many decimals allow."""
    return f"{x:.{places}f}".rstrip("0").rstrip(".")
