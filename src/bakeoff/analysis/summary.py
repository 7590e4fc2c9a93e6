"""Summary: the benchmarks of several studies, a line for each, with what may be called best and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.analysis import words
from bakeoff.analysis.result import Check, Results, Split, Verdict
from bakeoff.study.spec import Frozen


class Line(Frozen):
    """One benchmark of one study by its headline metric.

    `best` is the winner, or the member of the winner set with the best mean; None where nothing could be ranked. Its
    mean and 95 % interval follow, then those of the best untrained model. `winner` is set only where a method stands
    alone (`Verdict.winner`); `winner_set` is what is not separable from the best. `trained_on` says in words what the
    study trained on, `seeds` how many runs each trained method has, from the fewest to the most.
    """

    study: str
    model: str
    task: str
    trained_on: str
    benchmark: str
    split: Split
    metric: str
    winner: str | None
    winner_set: tuple[str, ...]
    best: str | None
    mean: float | None
    ci_low: float | None
    ci_high: float | None
    untrained: str | None
    untrained_mean: float | None
    n_items: int
    seeds: tuple[int, int]
    percent: bool
    headline: str
    doubts: int
    lint_found: int


class Checked(Frozen):
    """A study's checklist (`analysis.lint`)."""

    study: str
    checks: tuple[Check, ...]


class Summary(Frozen):
    """Lines in the order of the studies given, and theirs; each study's lint. `published()` is `summary.json`."""

    lines: tuple[Line, ...]
    lint: tuple[Checked, ...] = ()

    def published(self) -> dict[str, object]:
        """The content of `summary.json`: schema 1, full precision."""
        return {"schema": 1, **self.model_dump(mode="json")}


def summarise(studies: Sequence[Results]) -> Summary:
    """A line for every benchmark of every study."""
    return Summary(
        lines=tuple(_line(results, verdict) for results in studies for verdict in results.verdicts),
        lint=tuple(Checked(study=results.study, checks=results.lint) for results in studies),
    )


def _line(results: Results, verdict: Verdict) -> Line:
    place = (verdict.model, verdict.task, verdict.benchmark, verdict.metric)
    cells = [cell for cell in results.cells if (cell.model, cell.task, cell.benchmark, cell.metric) == place]
    best = next((cell for name in verdict.winner_set for cell in cells if cell.method == name), None)
    untrained = next((cell for cell in cells if not cell.trained and cell.mean is not None), None)
    runs = [len(cell.per_seed) for cell in cells if cell.trained and cell.per_seed]
    return Line(
        study=results.study,
        model=verdict.model,
        task=verdict.task,
        trained_on=_trained_on(results, verdict.task),
        benchmark=verdict.benchmark,
        split=verdict.split,
        metric=verdict.metric,
        winner=verdict.winner,
        winner_set=verdict.winner_set,
        best=best.method if best else None,
        mean=best.mean if best else None,
        ci_low=best.ci_low if best else None,
        ci_high=best.ci_high if best else None,
        untrained=untrained.method if untrained else None,
        untrained_mean=untrained.mean if untrained else None,
        n_items=verdict.n_items,
        seeds=(min(runs, default=0), max(runs, default=0)),
        percent=all(cell.percent for cell in cells),
        headline=verdict.headline,
        doubts=len(results.doubts),
        lint_found=sum(check.state == "found" for check in results.lint),
    )


def _trained_on(results: Results, task: str) -> str:
    """What a task was trained on: its data sets and the number of examples, or the task's name where none is known."""
    told = (results.provenance.get("trained_on") or {}).get(task)
    if not told:
        return task
    return f"{words.listed(told['of']) or task} ({told['examples']:,})"
