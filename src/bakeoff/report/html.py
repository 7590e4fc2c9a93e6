"""Results as one self-contained page: no network, every text escaped, one script and one style by their hashes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from bakeoff.analysis import words
from bakeoff.analysis.result import Cell, Results
from bakeoff.report import checklist, figures, tables
from bakeoff.report.tables import Section
from bakeoff.report.views import Panel, View, palette, panels, tuning_panels, views

PAGE = Path(__file__).parent / "page"
STYLES = ("figure.css", "page.css")
# So that a page stays within 1 MB without its samples: beyond so many pairs (those of ten methods) a benchmark's table
# of all has no figures, and beyond so many of all benchmarks there is none.
DRAWN, LISTED = 45, 500
_COUNTED = ("bleu", "bleu_signature")  # a sample's details that tell people nothing: counts for a mean over items


def render(results: Results) -> str:
    """The page of a study (page/page.html.j2 and the sections beside it)."""
    looks, drawn, learning = palette(results), views(results), panels(results)
    script = asset("page.js")
    return environment().get_template("page.html.j2").render(
        r=results,
        policy=policy(style(), script),
        css=Markup(style()),
        script=Markup(script),
        data=island({f"learning-{i}": _lines(panel) for i, panel in enumerate(learning, start=1)}),
        words=words,
        t=tables,
        sections=drawn,
        overview=_overview(drawn),
        panels=learning,
        tuned=tuning_panels(results),
        checked=checklist.line(results.lint),
        checks=checklist.rows(results.lint),
        assumed=tables.assumed(results),
        notes=_notes(results),
        colour=looks.__getitem__,
        key=lambda method: figures.key(looks[method]),
        how=tables.how_it_ran(results),
        banner=tables.banner(results),
        configured=_configured(results),
        DRAWN=DRAWN,
        listed=len(results.comparisons) <= LISTED,
    )  # fmt: skip


@cache
def environment() -> jinja2.Environment:
    """Templates with every text escaped, each compiled once."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(inert=lambda text: tables.inert(str(text)), detail=_detail, name=_name)
    return found


def asset(name: str) -> str:
    """A style or script that goes into the page as it is."""
    return (PAGE / name).read_text(encoding="utf-8")


def style() -> str:
    """The page's style sheet."""
    return "".join(asset(name) for name in STYLES)


def policy(css: str, script: str = "") -> str:
    """A content-security policy that allows this style and this script, by their hashes, and nothing else."""
    allowed = f"default-src 'none'; style-src {_hash(css)}; base-uri 'none'; form-action 'none'"
    return f"{allowed}; script-src {_hash(script)}" if script else allowed


def island(data: Any) -> Markup:
    """JSON that no text can end: `<`, `>` and `&` are escapes."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _lines(panel: Panel) -> list[dict[str, Any]]:
    """A panel's curves for the script that reads values off."""
    return [
        {"method": curve.method, "step": list(curve.step), "mean": [float(f"{x:.4g}") for x in curve.mean]}
        for curve in panel.lines
    ]


def _overview(drawn: Sequence[View]) -> list[tuple[Section, dict[str, Cell]]]:
    """Benchmarks x methods, where there is more than one benchmark."""
    found = [(view.section, {cell.method: cell for cell in view.section.cells}) for view in drawn]
    return found if len(found) > 1 else []


def _notes(results: Results) -> list[tuple[str, str]]:
    """The runner's remarks on models and tasks, as label and text; methods have a table of their own."""
    told = results.provenance.get("notes") or {}
    return [
        (f"{kind[:-1]} {name}", str(text))
        for kind in ("models", "tasks")
        for name, text in (told.get(kind) or {}).items()
    ]


def _configured(results: Results) -> list[tuple[str, str, str, str]]:
    """Every method as it was trained: name, kind, hyperparameters, training; what is off is left out."""
    return [
        (name, how["use"], words.settings(how["config"]), words.settings(how["training"] or {}))
        for name, how in results.provenance["methods"].items()
    ]


def _name(method: str) -> Markup:
    """A method's name that breaks nowhere but before `[` and after a comma; what is swept is set smaller."""
    plain, *swept = tables.breakable(method)
    small = Markup('<wbr><span class="swept">{}</span>')
    return Markup("").join([escape(plain), *(small.format(piece) for piece in swept)])


def _rounded(value: Any) -> Any:
    """Numbers of a detail to four digits."""
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _detail(detail: dict[str, Any]) -> Sequence[tuple[str, str]]:
    """A sample's details for people: short values as they are, others as JSON, cut; without counts and empty ones."""
    rows: list[tuple[str, str]] = []
    for name, value in detail.items():
        if name in _COUNTED or value == "":
            continue
        text = value if isinstance(value, str) else json.dumps(_rounded(value), ensure_ascii=False, default=str)
        rows.append((name, text if len(text) <= 160 else text[:160] + " ..."))
    return rows
