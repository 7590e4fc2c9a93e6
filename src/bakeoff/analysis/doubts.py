"""Doubts: what in the results themselves speaks against leaning on them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bakeoff.analysis import attainable, words
from bakeoff.analysis.benchmark import Graded, Table
from bakeoff.analysis.metrics import is_count, of_draws
from bakeoff.analysis.result import Cell, Comparison, Doubt, Run, Tuning
from bakeoff.store.record import Record

Told = list[tuple[str, str]]  # kind, text
NAMED = 4  # so many trials or pairs are named, more are counted
SHORT = ("cut", "trunc")  # counts whose names hold one of these say that something was cut short


def of_trials(runs: Sequence[Run]) -> list[Doubt]:
    """Planned trials without a result: those not in the store, then failures by their reason."""
    many = len({run.model for run in runs}) > 1
    doubts: list[Doubt] = []
    missing = [run for run in runs if run.status == "missing"]
    if missing:
        told = f"{words.count(len(missing), 'trial')} of {len(runs)} not in the store: {_which(missing, many)}."
        doubts.append(Doubt(kind="missing", text=told))
    lost: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.status in ("failed", "diverged"):
            lost.setdefault((run.status, run.reason.strip()), []).append(run)
    for (status, reason), those in lost.items():
        why = _quoted(reason, 300) if reason else "no reason recorded"
        doubts.append(Doubt(kind=status, text=f"{_which(those, many)}: {why}"))
    return doubts


def of_plan(plan: Mapping[str, Any]) -> list[Doubt]:
    """What the plan itself says against its results: models whose weights nothing ever trained, data unlike others'."""
    names = plan.get("notes", {}).get("random_weights") or []
    told = "random, an architecture that nothing was trained on: what is scored is no skill of the model of that name."
    doubts = [Doubt(kind="random weights", text=f"The weights of {words.listed(names)} are {told}")] if names else []
    remarks = {name: task.get("remark") for name, task in plan.get("tasks", {}).items()}
    return doubts + [Doubt(kind="data", text=f"{name}: {remark}") for name, remark in remarks.items() if remark]


def of_benchmark(table: Table, cells: Sequence[Cell], pairs: Sequence[Comparison]) -> Told:
    """Doubts about one benchmark: its split, collapsed and absent runs, few seeds, pooling, answers, mismatches."""
    return [
        *_validation(table, cells),
        *_incomplete(cells),
        *_constant(table, cells),
        *_few_seeds(cells),
        *_pooling(table, cells, pairs),
        *_unparsable(cells),
        *_left_out(table),
        *_undecided(table),
        *_mismatches(table),
        *_cut_short(table),
    ]


def of_overlap(overlaps: Mapping[str, Mapping[str, int]]) -> list[Doubt]:
    """Test items that were trained on, by place."""
    return [
        Doubt(kind="overlap", text=words.overlap(place, **found))
        for place, found in overlaps.items()
        if found["exact"] or found["ngram13"]
    ]


def of_metric(table: Table, cells: Sequence[Cell]) -> Told:
    """Doubts about one metric of a benchmark: runs in which it has no value, no possible one, or too few draws."""
    return [*_undefined(table, cells), *_off_the_grid(table), *_too_few_draws(table)]


def of_weights(runs: Sequence[Run], graded: Mapping[str, Graded], plan: Mapping[str, Any]) -> list[Doubt]:
    """Trials that trained more or fewer parameters than their method's formula says, or a part of which never moved."""
    sizes, many = plan.get("parameters", {}), len({run.model for run in runs}) > 1
    counted: dict[tuple[int, int], list[Run]] = {}
    still: dict[str, list[Run]] = {}
    lost: dict[str, list[Run]] = {}
    for run in runs:
        record = graded[run.key].record if run.key in graded else None
        declared = sizes.get(run.model, {}).get(run.method, {}).get("trainable")
        if record is None or record.status == "failed":
            continue
        if declared is not None and record.trainable_params != declared:
            counted.setdefault((record.trainable_params, declared), []).append(run)
        for name, part in record.parts.items():
            if record.status == "done" and not part.moved:
                (lost if part.moved is None else still).setdefault(_part(record, name), []).append(run)
    told = [
        (
            "parameters",
            f"{_which(those, many)}: {found:,} parameters were trained, {said:,} are the method's by formula.",
        )
        for (found, said), those in counted.items()
    ]
    told += [
        ("frozen part", f"{_which(those, many)}: {name} never moved from its initial weights, so it was not trained.")
        for name, those in still.items()
    ]
    told += [
        ("part not finite", f"{_which(those, many)}: {name} holds numbers that are not finite after training.")
        for name, those in lost.items()
    ]
    return [Doubt(kind=kind, text=text) for kind, text in told]


def gathered(told: Sequence[tuple[str, Told]]) -> list[Doubt]:
    """The doubts of all benchmarks, `told` by place; what holds at several places is said once."""
    places: dict[tuple[str, str], list[str]] = {}
    for place, doubts in told:
        for doubt in doubts:
            places.setdefault(doubt, []).append(place)
    every = f"all {len(told)} benchmarks"
    return [
        Doubt(kind=kind, text=f"{every if len(where) == len(told) > 2 else words.listed(where)}: {text}")
        for (kind, text), where in places.items()
    ]


def of_scope(
    runs: Sequence[Run], graded: Mapping[str, Graded], protocol: str | None = None, tuned: Sequence[Tuning] = ()
) -> list[Doubt]:
    """What the seeds do and do not vary, and whose learning rate it is."""
    doubts: list[Doubt] = []
    seeds = sorted({run.seed for run in runs if run.seed is not None})
    if seeds:
        told = (
            "A seed sets the adapter's initial weights, the order of the data and adapter dropout, all together "
            f"({'seed' if len(seeds) == 1 else 'seeds'} {words.listed([str(seed) for seed in seeds])}). Training "
            "examples, hyperparameters and base model are the same in every run; their variance is in no interval."
        )
        doubts.append(Doubt(kind="scope", text=told))
    rates: dict[str, set[float]] = {}
    for run in runs:
        training = graded[run.key].record.trial.training if run.key in graded else None
        if training is not None:
            rates.setdefault(words.base(run.method), set()).add(training.learning_rate)
    distinct = {rate for own in rates.values() for rate in own}
    if tuned:
        doubts.append(Doubt(kind="learning rate", text=_chosen(tuned)))
    elif len(rates) > 1 and len(distinct) == 1:
        asked = " by the study's protocol" if protocol == "shared" else ""
        rate = f"All methods share one learning rate ({min(distinct):g}){asked}."
        told = f"{rate} Methods differ in the rate that suits them."
        doubts.append(Doubt(kind="learning rate", text=told))
    elif len(rates) > 1:
        each = [f"{name} {'/'.join(f'{rate:g}' for rate in sorted(own))}" for name, own in rates.items()]
        told = f"As the study sets them: {', '.join(each)}. How they were chosen is not recorded here."
        doubts.append(Doubt(kind="learning rate", text=told))
    return doubts


# --- inside ---


def _undefined(table: Table, cells: Sequence[Cell]) -> Told:
    without = [
        f"{c.method} ({c.undefined_seeds} of {words.count(len(c.per_seed), 'run')})" for c in cells if c.undefined_seeds
    ]
    if not without:
        return []
    why = "has no value, since there is nothing to take the share of, and counts as 0"
    always = all(c.undefined_seeds == len(c.per_seed) for c in cells)
    return [("undefined", f"{table.metric} {why}: {'in every run' if always else words.listed(without)}.")]


def _part(record: Record, name: str) -> str:
    """A part of a combination with its kind, since a trial's key knows no names of methods: `part1 (prompt_tuning)`."""
    kinds = {part["name"]: part["use"] for part in record.trial.method_config.get("parts", ())}
    return f"{name} ({kinds[name]})" if kinds.get(name, name) != name else name


def _off_the_grid(table: Table) -> Told:
    off = [f"{label} {value:.6g}" for label, value, n in on_grid(table) if not attainable.is_count(value, n)]
    if not off:
        return []
    shown = words.listed(off) if len(off) <= NAMED else f"{words.listed(off[:NAMED])} and {len(off) - NAMED} more"
    return [("off the grid", f"{table.metric} counts completions, but no count of them gives {shown}.")]


def on_grid(table: Table) -> list[tuple[str, float, int]]:
    """The run means of a metric that counts completions, each with the number that it is a count of.

    Items x draws; for pass@k items x C(draws, k). Left out are runs of which some sample has no score.
    """
    k = of_draws(table.metric)
    if k is None and not is_count(table.metric):
        return []
    found: list[tuple[str, float, int]] = []
    for label, run in _each(table):
        counted = table.graded[run.key].benchmarks[table.benchmark]
        scores = table.graded[run.key].scores[table.benchmark, table.metric]
        if not counted.left_out and counted.draws >= (k or 1):
            mean = math.fsum(scores.values()) / len(scores)
            found.append((label, mean, len(scores) * math.comb(counted.draws, k or 1)))
    return found


def _too_few_draws(table: Table) -> Told:
    k = of_draws(table.metric)
    counted = {label: table.graded[run.key].benchmarks[table.benchmark] for label, run in _each(table)}
    few = {label: one.fewest for label, one in counted.items() if k and one.fewest < k}
    if not few:
        return []
    what = f"{table.metric} takes {k} completions of an item, and some items have fewer"
    return [("too few draws", f"{what}: {_where(few, len(counted))}. It has no unbiased estimate there.")]


def _chosen(tuned: Sequence[Tuning]) -> str:
    """How the learning rates came about, and what their choice leaves open."""
    trials = sorted({one.budget for one in tuned})
    items = sorted({one.n_items for one in tuned})
    budget = f"{trials[0]}" if len(trials) == 1 else f"{trials[0]} to {trials[-1]}"
    held = f"{items[0]:,}" if len(items) == 1 else f"{items[0]:,} to {items[-1]:,}"
    return (
        f"Each method's is the best of {budget} by one run each (seed {tuned[0].seed}) on {held} held-out training "
        "examples. Another tuning seed or other examples might have chosen another; that is in no interval."
    )


def _validation(table: Table, cells: Sequence[Cell]) -> Told:
    if table.split != "validation":
        return []
    several = sum(table.trained[name] for name in table.arrays)
    told = f"judged on {words.count(len(table.items), 'held-out training example')}, not on the test set"
    return [("validation", told + (f"; the best of {several} is optimistic." if several > 1 else "."))]


def _incomplete(cells: Sequence[Cell]) -> Told:
    short = [f"{c.method} {len(c.per_seed)} of {c.planned_runs}" for c in cells if c.status == "incomplete"]
    return [("incomplete", f"means over fewer runs than planned: {', '.join(short)}.")] if short else []


def _constant(table: Table, cells: Sequence[Cell]) -> Told:
    told: Told = []
    for cell in cells:
        if not cell.constant_seeds:
            continue
        run = next(r for r, same in zip(table.done[cell.method], table.constant[cell.method], strict=True) if same)
        counted = table.graded[run.key].benchmarks[table.benchmark]
        answer, items = (
            _quoted(counted.constant or ""),
            "item whose answer could be read" if counted.unparsable else "item",
        )
        who = f"{cell.method} ({cell.constant_seeds} of {words.count(len(cell.per_seed), 'run')})"
        if cell.trained:
            out = "; kept out of the pooled seed variance" if table.pool else ""
            told.append(("constant", f"{who} gave one answer, {answer}, to every {items}{out}."))
        else:
            told.append(("constant", f"{cell.method}, untrained, gave one answer, {answer}, to every {items}."))
    return told


def _few_seeds(cells: Sequence[Cell]) -> Told:
    told: Told = []
    trained = [cell for cell in cells if cell.trained and cell.per_seed]
    for k, kind, text in (
        (1, "one seed", "the numbers hold for these checkpoints and not for the methods"),
        (2, "two seeds", "two runs tell little of run-to-run variance, which is pooled over methods where it can be"),
    ):
        names = [cell.method for cell in trained if len(cell.per_seed) == k]
        if names:
            all_ = len(names) == len(trained) > 1
            told.append((kind, f"{f'all {len(names)} trained methods' if all_ else words.listed(names)}: {text}."))
    return told


def _pooling(table: Table, cells: Sequence[Cell], pairs: Sequence[Comparison]) -> Told:
    flips = [f"{pair.a} against {pair.b}" for pair in pairs if pair.unpooled]
    sds = [cell.seed_sd for cell in cells if cell.seed_sd is not None and cell.method in table.pooled]
    if not flips or not sds:
        return []
    spread = f"seed SD {words.number(min(sds), table.percent)} to {words.number(max(sds), table.percent)}"
    which = words.listed(flips) if len(flips) <= NAMED else f"{len(flips)} of {len(pairs)} pairs"
    told = (
        f"{which} would get the opposite verdict if each method's run-to-run variance came from its own few runs and "
        f"not from all methods' together ({spread})."
    )
    return [("pooling", told)]


def _unparsable(cells: Sequence[Cell]) -> Told:
    shares = {cell.method: words.score(cell.unparsable) for cell in cells if cell.unparsable > 0}
    if not shares:
        return []
    alike = len(shares) == len(cells) > 2 and len(set(shares.values())) == 1
    each = ", ".join(f"{method} {share}" for method, share in shares.items())
    told = f"{shares[cells[0].method]} for every method" if alike else each
    return [("unparsable", f"completions no answer could be read from: {told}.")]


def _left_out(table: Table) -> Told:
    counted = {label: table.graded[run.key].benchmarks[table.benchmark] for label, run in _each(table)}
    lost = {label: one.left_out for label, one in counted.items() if one.left_out}
    if not lost:
        return []
    most = max(one.samples for one in counted.values())
    what = f"samples that could not be graded (of {most:,} in a run), and so are in no mean"
    return [("left out", f"{what}: {_where(lost, len(counted))}.")]


def _undecided(table: Table) -> Told:
    counted = {label: table.graded[run.key].benchmarks[table.benchmark] for label, run in _each(table)}
    found = {label: one.undecided for label, one in counted.items() if one.undecided}
    if not found:
        return []
    most = max(one.samples for one in counted.values())
    what = f"answers too long or too hard to be judged (of {most:,} in a run), which count as not right"
    return [("undecided", f"{what}: {_where(found, len(counted))}.")]


def _mismatches(table: Table) -> Told:
    told: Told = []
    if table.dropped:
        told.append(
            ("items differ", f"{words.count(table.dropped, 'item')} not graded in every run; left out everywhere.")
        )
    for label, run in _each(table):
        scores = table.graded[run.key].scores[table.benchmark, table.metric]
        benchmark = table.graded[run.key].record.benchmarks.get(table.benchmark)
        claimed = benchmark.metrics.get(table.metric) if benchmark else None
        mean = math.fsum(scores.values()) / len(scores)
        if claimed is not None and not math.isclose(mean, claimed, rel_tol=1e-6, abs_tol=1e-9):
            text = f"the record of {label} says {claimed:.6g} {table.metric}, its samples {mean:.6g}, which are shown."
            told.append(("record differs", text))
    return told


def _cut_short(table: Table) -> Told:
    """Counts of things cut short (prompts, completions), by name, with the runs that had them."""
    found: dict[str, dict[str, int]] = {}
    runs = _each(table)
    for label, run in runs:
        record = table.graded[run.key].record
        benchmark = record.benchmarks.get(table.benchmark)
        for name, number in {**record.counts, **(benchmark.counts if benchmark else {})}.items():
            if number and any(part in name for part in SHORT):
                found.setdefault(name.replace("_", " "), {})[label] = number
    kept = {name: "; the head and the tail were kept" for name in found if name.endswith("prompts cut")}
    trained = sum(run.seed is not None for _, run in runs)  # an untrained model has no training prompts to be cut
    of = {name: trained if name.startswith("training") else len(runs) for name in found}
    return [(name, f"{_where(counts, of[name])}{kept.get(name, '')}.") for name, counts in found.items()]


def _where(counts: Mapping[str, int], runs: int) -> str:
    """`7 in every run`, or each run with its count."""
    if len(counts) == runs > 1 and len(set(counts.values())) == 1:
        return f"{next(iter(counts.values())):,} in every run"
    return ", ".join(f"{label} {number:,}" for label, number in counts.items())


def _each(table: Table) -> list[tuple[str, Run]]:
    return [
        (name if run.seed is None else f"{name}/seed {run.seed}", run)
        for name, runs in table.done.items()
        for run in runs
    ]


def _which(runs: Sequence[Run], many: bool) -> str:
    """A few trials by name, more as counts per task."""
    if len(runs) <= NAMED:
        return ", ".join(_label(run, many) for run in runs)
    places = Counter(f"{run.model}/{run.task}" if many else run.task for run in runs)
    return ", ".join(f"{number} of {place}" for place, number in places.items())


def _label(run: Run, many: bool) -> str:
    name = f"{run.task}/{run.method}" + ("" if run.seed is None else f"/seed {run.seed}")
    return f"{run.model}/{name}" if many else name


def _quoted(text: str, most: int = 40) -> str:
    short = " ".join(text.split())
    return f'"{short[:most]}{"..." if len(short) > most else ""}"'
