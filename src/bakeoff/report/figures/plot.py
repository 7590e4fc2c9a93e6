"""Plot: a plane with labels left of it and below; the plane takes what width there is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from bakeoff.report.figures.scale import Scale
from bakeoff.report.figures.strokes import joined, n

LEFT, BELOW, PAD = 44, 16, 8  # pixels: for the labels, and free above and below what is drawn


@dataclass(frozen=True)
class Plot:
    """A plane of `height` pixels. `stretched`: its inside is 0 to 100 across and down, else percent and pixels."""

    height: int
    inner: Markup
    left: Markup
    below: Markup
    told: str
    stretched: bool = False

    def __html__(self) -> str:
        """As it stands on a page."""
        return Markup(
            '<div class="plot"><svg class="axis-y" width="{w}" height="{h}" aria-hidden="true">{left}</svg>'
            '<svg class="plane" width="100%" height="{h}"{box} role="img" aria-label="{told}">{inner}</svg>'
            '<svg class="axis-x" width="100%" height="{b}" aria-hidden="true">{below}</svg></div>'
        ).format(
            w=LEFT, h=self.height, b=BELOW, left=self.left, box=self._box(), told=self.told, inner=self.inner,
            below=self.below,
        )  # fmt: skip

    def alone(self, y: float, width: float) -> Markup:
        """As pieces of one SVG file, from y down."""
        return Markup(
            '<svg y="{y}" width="{w}" height="{h}">{left}</svg>'
            '<svg x="{x}" y="{y}" width="{wide}" height="{h}"{box} role="img" aria-label="{told}">{inner}</svg>'
            '<svg x="{x}" y="{under}" width="{wide}" height="{b}">{below}</svg>'
        ).format(
            x=LEFT + 6, y=n(y), w=LEFT, wide=n(width - LEFT - 6), h=self.height, b=BELOW, under=n(y + self.height),
            left=self.left, box=self._box(), told=self.told, inner=self.inner, below=self.below,
        )  # fmt: skip

    def _box(self) -> Markup:
        if not self.stretched:
            return Markup("")
        pad, whole = 100 * PAD / (self.height - 2 * PAD), 100 * self.height / (self.height - 2 * PAD)
        return Markup(' viewBox="0 -{} 100 {}" preserveAspectRatio="none"').format(n(pad), n(whole))


def down(y: Scale, height: int, value: float) -> float:
    """Where a value lies in a plane of that height, in pixels."""
    return PAD + (height - 2 * PAD) * (1 - y.share(value))


def left(y: Scale, height: int, labels: Iterable[str]) -> Markup:
    """The labels of the ticks of y."""
    return joined(
        Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(LEFT - 4, n(down(y, height, t) + 4), label)
        for t, label in zip(y.ticks, labels, strict=True)
    )


def below(places: Iterable[float], labels: Iterable[str]) -> Markup:
    """Labels under the plane at these percentages of its width."""
    return joined(
        Markup('<text x="{}%" y="12" text-anchor="{}">{}</text>').format(
            n(place), "start" if place < 3 else "end" if place > 97 else "middle", label
        )
        for place, label in zip(places, labels, strict=True)
    )
