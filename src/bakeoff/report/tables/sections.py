"""Results grouped by benchmark, and what is said of a benchmark, its cells and its comparisons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bakeoff.analysis import words
from bakeoff.analysis.result import Asked, Cell, Comparison, Confusion, Results, Shown, Standing, Verdict

UNDEFINED = "\N{SECTION SIGN}"  # marks a metric that has no value in some run and counts as 0 there


@dataclass(frozen=True)
class Section:
    """One benchmark of one model: its headline cells, those of its other metrics, answers, comparisons, samples."""

    title: str
    anchor: str
    verdict: Verdict
    cells: tuple[Cell, ...]
    others: dict[str, tuple[Cell, ...]]
    confusions: tuple[Confusion, ...]
    comparisons: tuple[Comparison, ...]
    samples: tuple[Shown, ...]
    standings: tuple[Standing, ...] = ()
    asked: Asked | None = None

    @property
    def percent(self) -> bool:
        """Whether its headline scores are fractions, shown as percentages."""
        return all(cell.percent for cell in self.cells)

    @property
    def metrics(self) -> list[tuple[Cell, ...]]:
        """The cells of every metric, the headline first; nothing where that is the only one."""
        return [self.cells, *self.others.values()] if self.others else []

    @property
    def draws(self) -> int:
        """Completions per item."""
        return max(cell.draws for cell in self.cells)


def sections(results: Results) -> list[Section]:
    """Every benchmark in study order."""
    models = len({cell.model for cell in results.cells})
    found: list[Section] = []
    for i, verdict in enumerate(results.verdicts):
        place = (verdict.model, verdict.task, verdict.benchmark)
        cells = [c for c in results.cells if (c.model, c.task, c.benchmark) == place]
        metrics = dict.fromkeys(c.metric for c in cells if c.metric != verdict.metric)
        found.append(
            Section(
                title=words.place(verdict.model if models > 1 else "", verdict.task, verdict.benchmark, verdict.split),
                anchor=f"benchmark-{i + 1}",
                verdict=verdict,
                cells=tuple(c for c in cells if c.metric == verdict.metric),
                others={metric: tuple(c for c in cells if c.metric == metric) for metric in metrics},
                confusions=tuple(c for c in results.confusions if (c.model, c.task, c.benchmark) == place),
                comparisons=tuple(c for c in results.comparisons if (c.model, c.task, c.benchmark) == place),
                samples=tuple(s for s in results.samples if (s.model, s.task, s.benchmark) == place),
                standings=tuple(s for s in results.standings if (s.model, s.task, s.benchmark) == place),
                asked=next((a for a in results.asked if (a.model, a.task, a.benchmark) == place), None),
            )
        )
    return found


def floor(cells: Sequence[Cell]) -> str:
    """What unrelated answers score by the metric of these cells, in brackets; empty where it is not known."""
    cell = cells[0]
    return "" if cell.floor is None else f" (unrelated answers: {words.score(cell.floor, cell.percent)})"


def mark(section: Section, cell: Cell) -> str:
    """`best` for a winner alone, `top` for a method not separable from the best, else nothing; nor where all tie."""
    if cell.method == section.verdict.winner:
        return "best"
    means = [one.mean for one in section.cells if one.mean is not None]
    tie = len(means) > 1 and max(means) - min(means) < 1e-9
    return "top" if cell.method in section.verdict.winner_set and not tie else ""


def unranked(section: Section, cell: Cell) -> str:
    """Why, in short, a method is left out of its benchmark's ranking: `not ranked: a run diverged`; else nothing."""
    why = section.verdict.unranked.get(cell.method) if section.verdict.winner_set else None
    return f"not ranked: {why.split(';')[0]}" if why else ""


def best_ranked(section: Section) -> str:
    """The best mean of those that are ranked, of all where none is."""
    ranked, sign = section.verdict.winner_set, 1 if section.cells[0].lower_is_better else -1
    known = [cell for cell in section.cells if cell.mean is not None and (cell.method in ranked or not ranked)]
    return min(known, key=lambda cell: sign * (cell.mean or 0)).method


def metric(cell: Cell) -> str:
    """A metric as the head of a column: its name, its unit, and which way it counts where that is downwards."""
    return cell.metric + (", %" if cell.percent else "") + (" (lower is better)" if cell.lower_is_better else "")


def value(cell: Cell) -> str:
    """A cell's mean without its unit; marked where some run has no value, nothing where there is no result."""
    if cell.mean is None:
        return ""
    return words.number(cell.mean, cell.percent) + (f"{words.THIN}{UNDEFINED}" if cell.undefined_seeds else "")


def interval(cell: Cell) -> str:
    """A cell's interval; nothing where there is no result."""
    return "" if cell.mean is None else words.interval(cell.ci_low, cell.ci_high, cell.percent)


def metrics_explained(section: Section) -> str:
    """What the marks and the less usual metrics in a table of several are."""
    told = ["Mean, with its 95\N{NO-BREAK SPACE}% interval; methods are compared by the first metric alone."]
    names = [cells[0].metric for cells in section.metrics]
    if any(name.endswith("_binary") for name in names):
        told.append("*_binary are of the positive label.")
    if any(name.endswith("_macro") for name in names):
        told.append("*_macro are unweighted means over the gold labels.")
    if "loss" in names and section.confusions:
        told.append("loss: nats, the gold label's negative log-likelihood among the labels.")
    if any(cell.undefined_seeds for cells in section.metrics for cell in cells):
        told.append(f"{UNDEFINED} In some run there was nothing to take a share of; it counts as 0 there.")
    return " ".join(told)


def runs(cell: Cell) -> str:
    """How many runs a cell's mean is of: `3`, `2 of 3`."""
    kept = len(cell.per_seed)
    return str(kept) if kept == cell.planned_runs else f"{kept} of {cell.planned_runs}"


def status(cell: Cell) -> str:
    """A cell's status, with how much of it there is."""
    if cell.status == "incomplete":
        return f"incomplete, {len(cell.per_seed)} of {cell.planned_runs} runs"
    return cell.status


def decision(pair: Comparison, escape: Callable[[str], str] = str) -> str:
    """A comparison's verdict with the better method by name."""
    if pair.verdict in ("a better", "b better"):
        return f"{escape(pair.a if pair.verdict == 'a better' else pair.b)} better"
    return pair.verdict + ("; equivalent" if pair.equivalent else "")


def run_variance(verdict: Verdict, percent: bool) -> str:
    """Whose run-to-run variance a benchmark's intervals hold: `seed SD pooled over 4 methods: 1.3 (8 df)`."""
    if verdict.bartlett_p is not None and verdict.seed_sd is None:
        p = words.p_equals("p", verdict.bartlett_p)
        return f"run variances differ between methods (Bartlett {p}), so each method keeps its own"
    if verdict.seed_sd is None or (verdict.pool_methods == 1 and verdict.own_variance):
        return "each method keeps its own run variance" if verdict.own_variance else ""
    spread = f"{words.number(verdict.seed_sd, percent)} ({verdict.pool_df} df)"
    told = f"seed SD pooled over {words.count(verdict.pool_methods, 'method')}: {spread}"
    if not verdict.own_variance:
        return told
    keep = "keeps its" if len(verdict.own_variance) == 1 else "keep their"
    return f"{told}; {words.listed(verdict.own_variance)} {keep} own variance"


def intervals_explained(results: Results) -> str:
    """One sentence on what the intervals are, true of these results."""
    scopes = {cell.scope for cell in results.cells if cell.mean is not None}
    both = (
        "A 95\N{NO-BREAK SPACE}% interval of a mean covers what another draw of test items and another set of training "
        "runs could have given (two-way variance; run-to-run variance is pooled over a benchmark's trained methods, "
        "but a method at the ceiling or floor or with a collapsed run keeps its own, and all do where theirs differ)"
    )
    one = "covers another draw of test items only, for this very checkpoint"
    if scopes == {"runs and items"}:
        return both + "."
    if scopes == {"this checkpoint only"}:
        return f"A 95\N{NO-BREAK SPACE}% interval marked \N{DAGGER} {one}."
    return f"{both}; one marked \N{DAGGER} (untrained, or one run) {one}."
