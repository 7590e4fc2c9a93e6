"""Results as LaTeX tables for `\\input`: booktabs, one of scores and one of differences for each benchmark."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bakeoff.analysis import words
from bakeoff.analysis.result import Cell, Comparison, Results
from bakeoff.report import checklist, tables
from bakeoff.report.tables import Section
from bakeoff.report.views import turned

MOST = 35  # rows of a table that still fits a page
LONG = 18  # letters of a name that a column breaks
HEAD = r"""% Tables for \input{tables.tex}. The document needs \usepackage[utf8]{inputenc}, \usepackage[T1]{fontenc},
% \usepackage{textcomp} and \usepackage{booktabs}.
"""
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    words.MINUS: "$-$", words.THIN: "~", "\N{MULTIPLICATION SIGN}": r"$\times$", "\N{DAGGER}": r"\textdagger{}",
    "\N{DOUBLE DAGGER}": r"\textdaggerdbl{}", "\N{SECTION SIGN}": r"\textsection{}", "\n": " ", "\t": " ",
}  # fmt: skip


def render(results: Results) -> str:
    """Every benchmark's scores, then its differences from the best mean."""
    parts = [HEAD + "".join(f"% {_comment(told)}\n" for told in checklist.told(results.lint))]
    for section in tables.sections(results):
        parts.append(_scores(section))
        if section.comparisons:
            parts.append(_differences(section))
    return "\n".join(parts)


def escape(text: str) -> str:
    """One line of text that LaTeX sets as it is; what has no Latin-1 form is named by its code point."""
    plain = (_SPECIAL.get(c, c if " " <= c <= "\xff" else f"U+{ord(c):04X}") for c in tables.inert(text))
    return re.sub(r"([-,])(?=\1)", r"\1{}", "".join(plain))  # two of these would become one sign


def _comment(text: str) -> str:
    """Text in one line that LaTeX passes over."""
    return " ".join(tables.inert(text).split())


def _scores(section: Section) -> str:
    head = ["method", tables.metric(section.cells[0]), "95 % interval", "runs", "trainable", "training"]
    rows = [_score_row(section, cell) for cell in section.cells]
    names = [cell.method for cell in section.cells]
    return _table(_score_caption(section), f"tab:{section.anchor}-scores", head, rows, names, "rrrrr")


def _score_row(section: Section, cell: Cell) -> list[str]:
    mark, one = tables.mark(section, cell), cell.scope == "this checkpoint only" and cell.mean is not None
    name, value = _name(cell.method), escape(tables.value(cell)) or "n/a"
    if mark:
        tie = r"\textsuperscript{\textdagger}" if len(section.verdict.winner_set) > 1 else ""
        name, value = rf"\textbf{{{name}}}", rf"\textbf{{{value}}}{tie}"
    return [
        name,
        value,
        escape(tables.interval(cell)) + (r"\textsuperscript{*}" if one else ""),
        escape(tables.runs(cell)),
        escape(tables.whole(cell.trainable_params)),
        escape(tables.training(cell)),
    ]


def _score_caption(section: Section) -> str:
    verdict = section.verdict
    k = words.seeds(len(cell.per_seed) for cell in section.cells if cell.trained and cell.per_seed)
    told = [f"{section.title}: {tables.metric(section.cells[0])}; n = {words.count(verdict.n_items, 'item')}, {k}."]
    if any(tables.mark(section, cell) for cell in section.cells):
        bold = "the best of those ranked" if len(verdict.winner_set) == 1 else "\N{DAGGER} not separable from the best"
        told.append(f"Bold: {bold} ({_test(section)}).")
    else:
        told.append("Nothing is told apart." if verdict.winner_set else "Nothing is ranked.")
    told.append("Intervals: 95 %, over test items and runs; * over test items only, for this checkpoint.")
    if any(tables.FROM_RUNS in tables.training(cell) for cell in section.cells):
        told.append(f"{tables.FROM_RUNS} Not measured alone: from its runs.")
    return " ".join(told)


def _test(section: Section) -> str:
    """The tests by name, and what p is corrected for."""
    named = words.listed(sorted({pair.test for pair in section.comparisons}))
    return f"{named}, Holm's correction over a family of {section.verdict.family}, p < 0.05"


def _differences(section: Section) -> str:
    """All pairs; those with the best mean alone where they are more than a page holds."""
    unit = "points" if section.percent else "difference"
    caption = (
        f"{section.title}: paired differences in {section.cells[0].metric}; n = "
        f"{words.count(section.verdict.n_items, 'item')}; {_test(section)}; intervals are not corrected."
    )
    pairs, best, few = section.comparisons, tables.best_ranked(section), len(section.comparisons) > MOST
    if few:
        pairs = tuple(turned(pair, best) for pair in pairs if best in (pair.a, pair.b))
        caption += f" Here b = {best}; results.json has all {len(section.comparisons)} pairs."
    head = ["a \N{MINUS SIGN} b", unit, "95 % interval", "p", "p, Holm", "verdict"]
    names = [[pair.a] if few else [pair.a, pair.b] for pair in pairs]
    rows = [[" $-$ ".join(map(_name, own)), *_tested(pair)] for own, pair in zip(names, pairs, strict=True)]
    return _table(caption, f"tab:{section.anchor}-differences", head, rows, [" - ".join(own) for own in names], "rrrrl")


def _tested(pair: Comparison) -> list[str]:
    told = [
        words.signed(pair.difference, pair.percent),
        words.interval(pair.ci_low, pair.ci_high, pair.percent),
        words.p_value(pair.p),
        words.p_value(pair.p_holm),
        pair.verdict + ("; equivalent" if pair.equivalent else ""),
    ]
    return [escape(text) for text in told]


def _name(method: str) -> str:
    """A method's name; a long one may break after a sign, and within words beyond 16 letters."""
    if len(method) <= LONG:
        return escape(method)
    return r"\allowbreak{}".join(map(escape, re.findall(r"[A-Za-z0-9.]{0,16}[^A-Za-z0-9.]|[A-Za-z0-9.]{1,16}", method)))


def _table(
    caption: str, label: str, head: Sequence[str], rows: Iterable[Sequence[str]], names: Sequence[str], sides: str
) -> str:
    """A float; where names are long, their column takes what the others leave, and breaks them."""
    first = r"p{0.27\linewidth}" if max(map(len, names)) > LONG else "l"
    if first != "l":
        rows = [(rf"\raggedright\hangindent=1em {name}", *rest) for name, *rest in rows]
    lines = [
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{{re.sub('[^a-z0-9:-]', '', label)}}}",
        rf"\begin{{tabular}}{{@{{}}{first}{sides}@{{}}}}",
        r"\toprule",
        " & ".join(escape(text) for text in head) + r" \\",
        r"\midrule",
        *("{}" + " & ".join(row) + r" \\" for row in rows),  # {}: a name in brackets is no option of the row before
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)
