"""Lint: what every report is checked for before anybody leans on it.

Each check would have caught something in published tables. What is found is told by the doubts that a check names; the
checklist adds what was looked at and found to be in order, which no list of doubts can say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bakeoff.analysis import words
from bakeoff.analysis.benchmark import CONSTANT_ITEMS, Graded
from bakeoff.analysis.metrics import is_count, of_draws
from bakeoff.analysis.result import Cell, Check, Doubt, Run, Verdict
from bakeoff.analysis.verdicts import goodness

SEEDS = 3  # runs that a trained method needs to be named the winner
Said = Mapping[str, int]  # doubts by kind


def lint(
    plan: Mapping[str, Any],
    runs: Sequence[Run],
    graded: Mapping[str, Graded],
    cells: Sequence[Cell],
    verdicts: Sequence[Verdict],
    doubts: Sequence[Doubt],
) -> tuple[Check, ...]:
    """The checklist of a study's results, in a fixed order."""
    said = Counter(doubt.kind for doubt in doubts)
    have = [cell for cell in cells if cell.mean is not None]
    return (
        _values(have, said),
        _draws(have, said),
        _constant(have, runs, graded, said),
        _parameters(plan, runs, graded, said),
        _parts(runs, graded, said),
        _percentages(cells),
        _leaders(verdicts, cells, said),
        _hidden(have, said),
        _overlap(plan, said),
    )


def _values(cells: Sequence[Cell], said: Said) -> Check:
    counts = [cell for cell in cells if is_count(cell.metric) or of_draws(cell.metric)]
    metrics = words.listed(sorted({cell.metric for cell in counts}))
    many = sum(len(cell.per_seed) for cell in counts)
    clean = f"{words.count(many, 'run mean')} ({metrics}) can be what so many items and draws give."
    return _check("values", ("off the grid", "record differs"), said, clean, "no metric here counts completions", many)


def _draws(cells: Sequence[Cell], said: Said) -> Check:
    several = [cell for cell in cells if (of_draws(cell.metric) or 0) > 1]
    fewest = min((cell.draws for cell in several), default=0)
    metrics = words.listed(sorted({cell.metric for cell in several}))
    clean = f"{metrics} from {words.count(fewest, 'draw')} of every item, or more."
    return _check("pass@k", ("too few draws",), said, clean, "no pass@k with k above 1", len(several))


def _constant(cells: Sequence[Cell], runs: Sequence[Run], graded: Mapping[str, Graded], said: Said) -> Check:
    """No run answers all items alike, be it by one answer or by none that can be read."""
    counted = [one for run in runs if run.key in graded for one in graded[run.key].benchmarks.values()]
    mute = sum(one.unparsable == one.samples for one in counted if len(one.items) >= CONSTANT_ITEMS)
    collapsed = sum(run.status == "diverged" and _same(graded[run.key]) for run in runs if run.key in graded)
    if mute or collapsed:
        told = [f"{words.count(mute, 'run')} on a benchmark gave no answer to any item that could be read"] * bool(mute)
        told += [f"{words.count(collapsed, 'run')} gave one answer to every item, and no score"] * bool(collapsed)
        told += [words.count(said["constant"], "doubt") + ": constant"] if said.get("constant") else []
        kinds = tuple(k for k in ("constant", "unparsable", *["diverged"] * bool(collapsed)) if said.get(k))
        return Check(name="constant predictor", state="found", text=f"{'; '.join(told)}.", doubts=kinds)
    enough = {(c.model, c.task, c.benchmark, c.method): len(c.per_seed) for c in cells if c.n_items >= CONSTANT_ITEMS}
    many = sum(enough.values())
    clean = f"None of {words.count(many, 'run')} on a benchmark gave one answer to every item."
    none = f"no benchmark has {CONSTANT_ITEMS} items or more"
    return _check("constant predictor", ("constant",), said, clean, none, many)


def _same(run: Graded) -> bool:
    """Whether a run gave one answer to every item of some benchmark."""
    return any(one.constant is not None for one in run.benchmarks.values())


def _parameters(
    plan: Mapping[str, Any], runs: Sequence[Run], graded: Mapping[str, Graded], said: Said
) -> Check:  # fmt: skip
    sizes = plan.get("parameters", {})
    compared = [
        run for run in runs if run.key in graded and run.status != "failed" and run.method in sizes.get(run.model, {})
    ]
    clean = f"{words.count(len(compared), 'trial')} trained as many parameters as the method's formula says."
    none = "no stored trial has a formula in the plan"
    return _check("trained parameters", ("parameters",), said, clean, none, len(compared))


def _parts(runs: Sequence[Run], graded: Mapping[str, Graded], said: Said) -> Check:
    records = [graded[run.key].record for run in runs if run.status == "done" and run.key in graded]
    measured = [record.parts for record in records if record.parts]
    known = [part.moved for parts in measured for part in parts.values() if part.moved is not None]
    least = f" (L2 norms of {min(known):.2g} to {max(known):.2g})" if known else ""
    clean = (
        f"In {words.count(len(measured), 'trial')} of combinations every part moved from its initial weights{least}."
    )
    combined = any(record.trial.method_use == "combine" for record in records)
    none = "these trials' records do not say how far parts moved" if combined else "no combination was trained"
    return _check("frozen part", ("frozen part", "part not finite"), said, clean, none, len(measured))


def _percentages(cells: Sequence[Cell]) -> Check:
    shown = [cell for cell in cells if cell.trainable_percent is not None]
    bare = {cell.method for cell in shown if not cell.total_params}
    totals = sorted({cell.total_params for cell in shown if cell.total_params})
    if bare:
        return Check(name="percentages", state="found", text=f"Of what is not known: {words.listed(sorted(bare))}.")
    if not totals:
        return _none("percentages", "no percentage is shown")
    span = f"{totals[0]:,}" if len(totals) == 1 else f"{totals[0]:,} to {totals[-1]:,}"
    text = f"Those of trained parameters are of all parameters, the adapter's included ({span})."
    return Check(name="percentages", state="clean", text=text)


def _leaders(verdicts: Sequence[Verdict], cells: Sequence[Cell], said: Said) -> Check:
    """Whoever a headline names highest has several runs, and whoever it names the winner three, or is not trained."""
    led = [(verdict, cell) for verdict in verdicts if (cell := leader(verdict, cells))]
    single = [_led(verdict, cell) for verdict, cell in led if cell.trained and len(cell.per_seed) == 1]
    few = [_led(v, c) for v, c in led if v.winner and c.trained and 1 < len(c.per_seed) < SEEDS]
    if single or few:
        told = [f"Named highest from one seed: {words.listed(single)}."] if single else []
        told += [f"Named winner with fewer than {SEEDS}: {words.listed(few)}."] if few else []
        kinds = tuple(kind for kind in ("one seed",) if single and said.get(kind))
        return Check(name="winner's seeds", state="found", text=" ".join(told), doubts=kinds)
    if not led:
        return _none("winner's seeds", "no method is named above another")
    winners = sum(verdict.winner is not None for verdict in verdicts)
    text = f"Of {words.count(len(led), 'benchmark')} none is led by one seed; {words.count(winners, 'winner')} named"
    text += f", none of fewer than {SEEDS} seeds (unless untrained)." if winners else "."
    return Check(name="winner's seeds", state="clean", text=text)


def leader(verdict: Verdict, cells: Sequence[Cell]) -> Cell | None:
    """Whom a verdict's headline names highest: the best of those ranked, or of all where none is; of one, nobody."""
    place = (verdict.model, verdict.task, verdict.benchmark, verdict.metric)
    here = [c for c in cells if (c.model, c.task, c.benchmark, c.metric) == place and c.mean is not None]
    if len(here) < 2:
        return None
    ranked = [cell for name in verdict.winner_set[:1] for cell in here if cell.method == name]
    return (ranked or sorted(here, key=goodness, reverse=True))[0]


def _led(verdict: Verdict, cell: Cell) -> str:
    return f"{cell.method} on {words.place('', verdict.task, verdict.benchmark, verdict.split)}"


def _hidden(cells: Sequence[Cell], said: Said) -> Check:
    """Every mean is over all planned runs: none is the better for a run that failed or diverged."""
    many = len({(c.model, c.task, c.benchmark, c.method) for c in cells})
    clean = f"{words.count(many, 'result')} of a method on a benchmark: each over all of its planned runs."
    return _check(
        "lost runs", ("incomplete", "failed", "diverged", "missing"), said, clean, "nothing has a result", many
    )


def _overlap(plan: Mapping[str, Any], said: Said) -> Check:
    found = [one for task in plan.get("tasks", {}).values() for one in task.get("overlap", {}).values()]
    items = sum(one["of"] for one in found)
    clean = f"None of {words.count(items, 'test item')} is in its training set or shares 13 words in a row with it."
    return _check("overlap", ("overlap",), said, clean, "the plan did not count it", items)


def _check(name: str, kinds: Sequence[str], said: Said, clean: str, none: str, looked: int) -> Check:
    """Found where a doubt of these kinds was told, not applicable where there was nothing to look at."""
    found = tuple(kind for kind in kinds if said.get(kind))
    if found:
        many = sum(said[kind] for kind in found)
        return Check(
            name=name, state="found", text=f"{words.count(many, 'doubt')}: {words.listed(found)}.", doubts=found
        )
    return Check(name=name, state="clean", text=clean) if looked else _none(name, none)


def _none(name: str, why: str) -> Check:
    return Check(name=name, state="not applicable", text=f"{why[0].upper()}{why[1:]}.")
