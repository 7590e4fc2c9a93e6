"""Results as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bakeoff.analysis import words
from bakeoff.analysis.grid import Grid
from bakeoff.analysis.result import Cell, Comparison, Results
from bakeoff.report import checklist, tables
from bakeoff.report.tables import Section

MOST = 15  # pairs shown unfolded
_SPECIAL = re.compile(r"([\\`*_\[\]|~$@]|:(?=//)|^[-+#])")


def render(results: Results) -> str:
    """The whole report; every text that a model, a file or a failure produced is escaped."""
    found = tables.sections(results)
    lines = [f"# {escape(results.study)}", ""]
    lines += [f"> **{escape(banner)}**", ""] if (banner := tables.banner(results)) else []
    lines += [
        f"- **{escape(section.verdict.headline)}** {escape(section.verdict.evidence)}".rstrip() for section in found
    ]
    lines += ["", "## What to doubt", ""]
    lines += [f"- {escape(doubt.kind)}: {escape(doubt.text)}" for doubt in results.doubts] or ["- Nothing was noticed."]
    if results.lint:
        checked = [[escape(text) for text in row] for row in checklist.rows(results.lint)]
        lines += ["", escape(checklist.line(results.lint)), "", *grid(checklist.HEADS, checked, "lll")]
    if notes := tables.assumed(results):
        lines += ["", "## What this study assumes", "", tables.ASSUMED_EXPLAINED, ""]
        lines += [f"- {escape(note)}" for note in notes]
    lines += ["", f"{tables.intervals_explained(results)} {tables.times_explained(results)}", ""]
    for i, section in enumerate(found, start=1):
        lines += [f"## {escape(section.title)}", "", *_scores(section), ""]
        lines += _figure(f"{i}-scores.svg", "scores") if any(cell.mean is not None for cell in section.cells) else []
        if section.metrics:
            lines += [escape(tables.metrics_explained(section)), "", *_metrics(section), ""]
        if section.confusions:
            lines += [*_answers(section), ""]
        for swept in tables.swept(section):
            lines += [*_swept(section, swept), ""]
        if section.comparisons:
            lines += [*_differences(section), "", *_figure(f"{i}-differences.svg", "differences from the best mean")]
    lines += _tuning(results)
    lines += ["## Cost", "", tables.cost_explained(results), "", *_costs(results), ""]
    if results.win_rates:
        lines += ["## Over all benchmarks", "", *_win_rates(results), ""]
    lines += _forgetting(results)
    if results.beside:
        lines += ["## Published beside measured", "", *_beside(results), ""]
    lines += ["## Provenance", "", *_provenance(results), ""]
    return "\n".join(lines)


def escape(text: str) -> str:
    """One line of text that Markdown shows as it is: no markup, no HTML, no mention, no link."""
    flat = " ".join(tables.inert(text).split("\n")).replace("\t", " ")
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", flat)


def _scores(section: Section) -> list[str]:
    head = [
        "method",
        tables.metric(section.cells[0]),
        "95 % interval",
        "per seed",
        "seed SD",
        "runs",
        "items",
        "trainable parameters",
        "of all, adapter included",
        "training time",
        "adapter",
        "status",
    ]
    return grid([escape(name) for name in head], [_score_row(section, cell) for cell in section.cells], "lrrrrrrrrrrl")


def _score_row(section: Section, cell: Cell) -> list[str]:
    mark = tables.mark(section, cell)
    out = f" ({escape(why)})" if (why := tables.unranked(section, cell)) else ""
    name = escape(cell.method)
    dagger = " \N{DAGGER}" if cell.scope == "this checkpoint only" and cell.mean is not None else ""
    return [
        f"**{name}** (best)" if mark == "best" else f"**{name}**" if mark == "top" else name + out,
        tables.value(cell) or "n/a",
        tables.interval(cell) + dagger,
        " ".join(words.number(score, cell.percent) for score in cell.per_seed) if cell.trained else "",
        words.number(cell.seed_sd, cell.percent) if cell.seed_sd is not None else "",
        tables.runs(cell),
        f"{cell.n_items:,}",
        tables.whole(cell.trainable_params),
        tables.share(cell.trainable_percent),
        tables.training(cell),
        tables.size(cell.adapter_bytes) if cell.trained else "",
        tables.status(cell),
    ]


def _metrics(section: Section) -> list[str]:
    """Methods by metrics, each mean with its interval."""
    heads = ["method", *(escape(tables.metric(cells[0]) + tables.floor(cells)) for cells in section.metrics)]
    rows = [
        [escape(own[0].method), *(escape(f"{tables.value(cell)} {tables.interval(cell)}") for cell in own)]
        for own in zip(*section.metrics, strict=True)
        if own[0].mean is not None
    ]
    return grid(heads, rows, "l" + "r" * len(section.metrics))


def _answers(section: Section) -> list[str]:
    """What every method answered, by gold label."""
    labels, none = section.confusions[0].labels, tables.no_label(section)
    said = [f"said {label}" for label in labels] + (["no label"] if none else [])
    rows = [
        [
            escape(row.method) if row.first else "",
            escape(row.gold),
            *(f"{n:,} ({words.score(share)})" for n, share in (row.said if none else row.said[:-1])),
            escape(row.note),
        ]
        for row in tables.answered(section)
    ]
    told = "" if none else " Every answer was a label."
    lead = f"Answers. {tables.balance(section)} Counts over all runs, and their share of the gold label's items.{told}"
    return [escape(lead), "", *grid(["method", "gold", *map(escape, said), ""], rows, "ll" + "r" * len(said) + "l")]


def _swept(section: Section, swept: Grid) -> list[str]:
    """A swept method's means as rows and columns, in bold what an html report gives a border."""
    marked = tables.outlined(section, swept)

    def shown(row: float, column: float) -> str:
        cell = swept.cells.get((row, column))
        if cell is None or cell.mean is None:
            return cell.status if cell else ""
        text = words.number(cell.mean, cell.percent)
        return f"**{text}**" if cell.method in marked else text

    unit = ", %" if swept.percent else ", lower is better" if swept.lower else ""
    head = [escape(f"{swept.down} \\ {swept.across}"), *(f"{column:g}" for column in swept.columns)]
    rows = [[f"{row:g}", *(shown(row, column) for column in swept.columns)] for row in swept.rows]
    return [f"Swept: {escape(swept.family)}, {escape(swept.metric)}{unit}", "", *grid(head, rows, "r" * len(head))]


def _figure(name: str, told: str) -> list[str]:
    """A figure of `figures/`, embedded."""
    return [f"![{told}](figures/{name})", ""]


def _folded(summary: str, lines: Iterable[str]) -> list[str]:
    """Lines behind a line that opens them."""
    return ["<details>", f"<summary>{summary}</summary>", "", *lines, "", "</details>"]


def _differences(section: Section) -> list[str]:
    """All pairs; where they are many, those with the best mean, and all of them folded."""
    unit = ", points" if section.percent else ""
    head = [
        "a",
        "b",
        f"a \N{MINUS SIGN} b{unit}",
        "95 % interval",
        "p",
        f"p (Holm, {section.verdict.family})",
        "test",
        "verdict",
    ]
    every = grid(head, map(_difference_row, section.comparisons), "llrrrrll")
    if len(section.comparisons) <= MOST:
        return every
    best = tables.best_ranked(section)
    near = [pair for pair in section.comparisons if best in (pair.a, pair.b)]
    folded = _folded(f"All {len(section.comparisons)} pairs", every)
    return [f"With {escape(best)}:", "", *grid(head, map(_difference_row, near), "llrrrrll"), "", *folded]


def _difference_row(pair: Comparison) -> list[str]:
    return [
        escape(pair.a),
        escape(pair.b),
        words.signed(pair.difference, pair.percent),
        words.interval(pair.ci_low, pair.ci_high, pair.percent),
        escape(words.p_value(pair.p)),
        escape(words.p_value(pair.p_holm)),
        pair.test,
        tables.decision(pair, escape),
    ]


def _win_rates(results: Results) -> list[str]:
    many = len({rate.model for rate in results.win_rates}) > 1
    rows = [[escape(one.model)] * many + [escape(one.method), *tables.win_rate(one)] for one in results.win_rates]
    head = ["model"] * many + ["method", "mean win rate, %", "95 % interval"]
    return [escape(tables.win_rates_explained(results)), "", *grid(head, rows, "l" * many + "lrr")]


def _beside(results: Results) -> list[str]:
    rows = [row for _, row in tables.beside(results)]
    drawn = grid(list(rows[0]), [[escape(text) for text in row.values()] for row in rows], "llrrrrrl")
    reasons = [f"{number}. {escape(reason)}" for number, reason in enumerate(tables.beside_reasons(results), 1)]
    why = ["", "Why values cannot be compared, and what verdicts leave open:", "", *reasons] if reasons else []
    return [f"{escape(tables.beside_summary(results))} {tables.BESIDE_EXPLAINED}", "", *drawn, *why]


def _tuning(results: Results) -> list[str]:
    """How learning rates were chosen; nothing where none were."""
    if not results.tuning:
        return []
    rows = [[escape(text) for text in tables.tuning_row(one).values()] for one in results.tuning]
    drawn = grid(list(tables.tuning_row(results.tuning[0])), rows, "lllllrlll")
    return ["## Tuning", "", escape(tables.tuning_explained(results.tuning)), "", *drawn, ""]


def _costs(results: Results) -> list[str]:
    cells = [cell for group in tables.costs(results) for cell in group]
    heads = list(tables.cost(results.cells[0]))
    rows = [[escape(c.model), escape(c.task), escape(c.method), *map(escape, tables.cost(c).values())] for c in cells]
    return grid(["model", "task", "method", *map(escape, heads)], rows, "lll" + "r" * len(heads))


def _forgetting(results: Results) -> list[str]:
    told = tables.forgetting_explained(results)
    cells = [cell for group in tables.forgetting(results) for cell in group]
    if not told or not cells:
        return ["## Forgetting", "", escape(told), ""] if told else []
    heads = list(tables.forgotten(cells[0]))
    rows = [[escape(c.model), escape(c.task), escape(c.method), *tables.forgotten(c).values()] for c in cells]
    drawn = grid(["model", "task", "method", *heads], rows, "lll" + "r" * len(heads))
    return ["## Forgetting", "", escape(told), "", *drawn, ""]


def _provenance(results: Results) -> list[str]:
    lines = [f"- {label}: {escape(text)}" for label, text in tables.how_it_ran(results)]
    rows = [
        [
            escape(run.model),
            escape(run.task),
            escape(run.method),
            "" if run.seed is None else str(run.seed),
            run.status,
            f"`{run.key[:12]}`",
        ]
        for run in results.trials
    ]
    drawn = grid(["model", "task", "method", "seed", "status", "key"], rows, "lllrll")
    figures = "Every figure of the page is a file in [figures/](figures/)."
    return [*lines, "", figures, "", *_folded(f"All {words.count(len(rows), 'trial')}", drawn)]


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], sides: str) -> list[str]:
    """A table's lines; `sides` has an l or an r for each column."""
    rule = ["---:" if side == "r" else "---" for side in sides]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]
