"""Figures made by hand as SVG: a file each. The same ones stand on the page and, as files, alone.

Every function returns `Markup` made of numbers and fixed class names; the text in it is escaped. Colours are the style
sheet's (`--m0` is untrained, `--m1` ... the methods in study order); methods of one colour differ in the dash
and, where two numbers are swept, the tint.
"""

from bakeoff.report.figures.curves import curves
from bakeoff.report.figures.heat import heat, heat_height, ramp, trend
from bakeoff.report.figures.looks import COLOURS, DASHES, Looks, key, looks
from bakeoff.report.figures.pareto import numbered, pareto
from bakeoff.report.figures.plot import Plot
from bakeoff.report.figures.scale import Scale, decades, scale
from bakeoff.report.figures.strips import axis, dots, forest
from bakeoff.report.figures.tuning import tuning

__all__ = [
    "COLOURS",
    "DASHES",
    "Looks",
    "Plot",
    "Scale",
    "axis",
    "curves",
    "decades",
    "dots",
    "forest",
    "heat",
    "heat_height",
    "key",
    "looks",
    "numbered",
    "pareto",
    "ramp",
    "scale",
    "trend",
    "tuning",
]
