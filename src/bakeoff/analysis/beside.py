"""Beside: published values set beside what a study measured, and why the two can or cannot be compared.

A published value comes from one run, judged on n items. It *agrees* where the interval of (measured - published) holds
zero, else it *differs*. That interval joins two others by square-and-add (`statistics.apart`):

- the measured mean's own, over runs and items;
- the published value's Wilson interval at its n, of all shares that round to its digits, widened by the run-to-run
  variation of one run, whose SD is that of the measured runs: `half^2 + (t_(k-1) sd)^2`, so a lucky or unlucky single
  run is no disagreement.

Both may have been judged on the same items, which this does not know: intervals are then wider than need be.

Where the runs were not of what was published, nothing is said but why: what ran is compared with the table's own
columns (model, n) and with the built-in study of the same name, or else of the same table, as it stands. What was
trained on concerns trained methods alone, what was tested on its own benchmark. Only shares of a known number of items
have an interval; other values are shown and not judged.

One answer to an item and the mean of several draws estimate the same share if all are drawn alike. Whether they were,
a source may leave open: then a `remark` says so beside the verdict.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from bakeoff.analysis import statistics as st
from bakeoff.analysis import words
from bakeoff.analysis.metrics import is_fraction
from bakeoff.analysis.printed import Row, count, parse, unit
from bakeoff.analysis.result import Beside, Cell
from bakeoff.errors import InputError
from bakeoff.store.record import Record
from bakeoff.study.load import builtin_names, load
from bakeoff.study.spec import Study, Trial

ROWS = {
    "stanfordnlp/sst2": (67_349, 872, 1_821),  # counted in GLUE's files
    "stanfordnlp/imdb": (25_000,),  # counted in the complete files: as many to train as to test
    "zwhe99/DeepMath-103K": (103_110, 103_022),  # num_examples on its card; on that of trl-lib's copy
    "HuggingFaceH4/MATH-500": (500,),  # counted
    "openai/gsm8k": (7_473, 1_319),  # counted
    "HuggingFaceH4/aime_2024": (30,),  # counted: 15 problems each of AIME I and II
    "openai/openai_humaneval": (164,),  # counted
    "codeparrot/codeparrot-clean": (5_361_373,),  # num_rows on its card
}
"""How many rows the splits of the paper's data sets have, and by what: counted in the files, or said on the hub's page.

Of DeepMath there are two numbers, and either is it.
"""
RUNS = 3  # of a trained method: fewer say too little of it


def beside(plan: Mapping[str, Any], cells: Sequence[Cell], records: Mapping[str, Record]) -> tuple[Beside, ...]:
    """Every row of the plan's published table beside its cell, of every model that was measured; () without a table."""
    if not plan.get("published"):
        return ()
    original = _original(plan["study"], plan["published"])
    trials: dict[tuple[str, str, str], Trial] = {}
    for record in records.values():
        trials.setdefault((record.trial.model, record.trial.task, record.trial.method), record.trial)
    found: list[Beside] = []
    for row in parse(plan["published"], "published"):
        own = [c for c in cells if (c.task, c.benchmark, c.method, c.metric) == _place(row)]
        found += [
            _beside(row, c, [*_reasons(row, c, plan), *_departures(trials.get((c.model, c.task, c.method)), original)])
            for c in own
        ] or [_absent(row, cells)]
    return tuple(found)


def _place(row: Row) -> tuple[str, str, str, str]:
    return row.task, row.benchmark, row.method, row.metric


def _beside(row: Row, cell: Cell, reasons: Sequence[str]) -> Beside:
    interval = _interval(row)
    why = [*reasons, *([] if interval else [_no_interval(row)])]
    apart = _apart(row, cell, interval) if interval and not why else None
    if apart and not (math.isfinite(apart.low) and math.isfinite(apart.high)):
        apart, why = None, ["what was measured has no interval"]
    verdict = "agrees" if apart and apart.low <= 0 <= apart.high else "differs"
    return _row(row, interval).model_copy(
        update={
            "model": cell.model,
            "mean": cell.mean,
            "ci_low": cell.ci_low,
            "ci_high": cell.ci_high,
            "n_items": cell.n_items,
            "runs": len(cell.per_seed),
            "trained": cell.trained,
            "difference": (cell.mean or 0.0) - float(row.value) if apart else None,
            "difference_low": apart.low if apart else None,
            "difference_high": apart.high if apart else None,
            "verdict": "cannot be compared" if why else verdict,
            "reason": "; ".join(why),
            "remark": "" if why else _remark(row, cell),
        }
    )


def _absent(row: Row, cells: Sequence[Cell]) -> Beside:
    """A row that nothing was measured for."""
    for name, key, known in (
        ("task", row.task, {cell.task for cell in cells}),
        ("benchmark", row.benchmark, {cell.benchmark for cell in cells if cell.task == row.task}),
        ("method", row.method, {cell.method for cell in cells if cell.task == row.task}),
    ):
        if key not in known:
            return _row(row, _interval(row)).model_copy(update={"reason": f"the {name} {key} is not in this study"})
    return _row(row, _interval(row)).model_copy(update={"reason": f"{row.metric} was not measured"})


def _row(row: Row, interval: st.Interval | None) -> Beside:
    """What is known of a published row by itself."""
    return Beside(
        model="",
        task=row.task,
        benchmark=row.benchmark,
        method=row.method,
        metric=row.metric,
        printed=str(row.value) + (f" to {row.high}" if row.high is not None else ""),
        value=float(row.value),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        n=row.items,
        inferred=row.n is None and row.items is not None,
        source=row.source,
        mean=None,
        ci_low=None,
        ci_high=None,
        n_items=0,
        runs=0,
        trained=True,
        difference=None,
        difference_low=None,
        difference_high=None,
        verdict="cannot be compared",
        reason="",
        percent=is_fraction(row.metric),
    )


# --- the arithmetic ---


def _interval(row: Row) -> st.Interval | None:
    """The published value's Wilson interval, None where it is no share of a known number of items.

    It holds that of every share that rounds to the value: 0.70 may be 0.695 or 0.705.
    """
    if count(row) is None:
        return None
    n, value, half = row.items or 0, float(row.value), float(unit(row.value)) / 2
    return st.Interval(st.wilson(max(value - half, 0) * n, n).low, st.wilson(min(value + half, 1) * n, n).high)


def _apart(row: Row, cell: Cell, interval: st.Interval) -> st.Interval:
    """The interval of measured - published."""
    mean, value = cell.mean or 0.0, float(row.value)
    one_run = st.student(len(cell.per_seed) - 1) * cell.seed_sd if cell.seed_sd is not None else 0.0
    low = value - math.hypot(value - interval.low, one_run)
    high = value + math.hypot(interval.high - value, one_run)
    known = cell.ci_low is not None and cell.ci_high is not None
    own = st.Interval(cell.ci_low or 0.0, cell.ci_high or 0.0) if known else st.Interval(math.nan, math.nan)
    return st.apart(mean, own, value, st.Interval(low, high))


def _no_interval(row: Row) -> str:
    if row.counted:
        return "the source does not say on how many items"
    return "the published value is a range" if row.high is not None else f"a published {row.metric} has no interval"


# --- the reasons ---


def _reasons(row: Row, cell: Cell, plan: Mapping[str, Any]) -> Iterator[str]:
    """Why a row and a cell are not of the same thing, from the table's columns and what was stored."""
    wanted, facts = row.model_inferred or row.model, plan.get("notes", {})
    told = facts.get("models", {}).get(cell.model, cell.model)
    path = str(facts.get("paths", {}).get(cell.model, told))
    if wanted and not _is_model(path, wanted):
        name, theirs = PurePath(path).name, PurePath(wanted).name
        yield f"another model: {f'a local folder, {name}' if name == theirs else name}, not {wanted}"
    if cell.model in facts.get("random_weights", ()):
        yield "random weights"
    yield from _stand_ins(facts.get("data", ()), _data(cell, plan))
    if cell.mean is None:
        yield f"no result ({cell.status})"
        return
    if cell.split != "test":
        yield f"judged on the {cell.split} split"
    if row.n is not None and cell.n_items != row.n:
        yield f"{cell.n_items:,} of {row.n:,} items" if cell.n_items < row.n else f"n = {cell.n_items:,}, not {row.n:,}"
    if cell.status != "done":
        yield f"{cell.status}: {len(cell.per_seed)} of {cell.planned_runs} runs"
    if cell.trained and len(cell.per_seed) < RUNS:
        yield f"{words.count(len(cell.per_seed), 'run')} of the method, fewer than {RUNS}"


def _remark(row: Row, cell: Cell) -> str:
    """What leaves open whether the two were drawn alike: the mean of several draws beside one, or beside who knows."""
    if cell.draws == 1 or row.k == cell.draws:
        return ""
    how = "one answer to each item, drawn in a way that it does not say" if row.k == 1 else "its draws are not said"
    return f"the source: {how}; here the mean of {cell.draws} draws"


def _is_model(path: str, wanted: str) -> bool:
    """Whether a model's path is the hub id wanted: by name, or in the hub's cache; a folder of that name may be any."""
    if PurePath(path).is_absolute():
        return f"models--{wanted.replace('/', '--')}" in PurePath(path).parts
    return path.rsplit("/", 1)[-1].lower() == wanted.rsplit("/", 1)[-1].lower()


def _data(cell: Cell, plan: Mapping[str, Any]) -> set[str]:
    """The data sets that a cell's score hangs on: its benchmark's, and where it is trained those it was trained on.

    All that the study read where the plan does not tell, which is older then.
    """
    told = plan.get("tasks", {}).get(cell.task, {})
    tested = told.get("tested_on", {}).get(cell.benchmark)
    if tested is None:
        return {one["id"] for one in plan.get("notes", {}).get("data", ())}
    return {*tested, *(told["trained_on"]["of"] if cell.trained else ())}


def _stand_ins(sources: Sequence[Mapping[str, Any]], concerned: Collection[str]) -> Iterator[str]:
    """Local files that serve a known data set of those concerned and have the number of rows of none of its splits."""
    for one in sources:
        whole = ROWS.get(one["id"]) if one["id"] in concerned else None
        if one.get("files") and whole and one["rows"] not in whole:
            yield f"other data: {one['rows']:,} rows in place of {one['id']}'s {whole[0]:,}"


def _original(study: str, published: str = "") -> Study | None:
    """The built-in study of that name as it stands, else the first one with that table; None where there is none."""
    built_in: list[Study] = []
    for name in builtin_names():
        try:
            built_in.append(load(name))
        except InputError:
            continue
    same = [one for one in built_in if one.study == study]
    return next(iter([*same, *(one for one in built_in if published and one.published == published)]), None)


def _departures(trial: Trial | None, original: Study | None) -> Iterator[str]:
    """What ran otherwise than the built-in study has it: `max_steps 20 (the study: -1)`."""
    if original is None or trial is None:
        return
    task, method = original.tasks.get(trial.task), original.methods.get(trial.method)
    if task is None or method is None:
        yield "not a row of the built-in study"
        return
    training_alone = set() if trial.training else {"train_limit", "validation"}
    spec = task.model_dump(mode="json", exclude={"use", "split"} | training_alone)
    yield from _changed(spec, trial.task_spec.model_dump(mode="json"))
    if trial.training is not None:
        yield from _changed(method.training.model_dump(mode="json"), trial.training.model_dump(mode="json"))
    yield from _changed(_numbered(method.config), _numbered(trial.method_config))
    yield from _changed({"quantize": method.quantize}, {"quantize": trial.quantize})


def _numbered(config: Mapping[str, Any]) -> dict[str, Any]:
    """A method's hyperparameters with the parts of a combination by their number."""
    parts = {str(i): part for i, part in enumerate(config.get("parts", ()))}
    return {**config, "parts": parts} if parts else dict(config)


def _changed(written: Mapping[str, Any], ran: Mapping[str, Any]) -> Iterator[str]:
    for name, value in written.items():
        if isinstance(value, Mapping) and isinstance(ran.get(name), Mapping):
            yield from _changed(value, ran[name])
        elif name != "name" and ran.get(name) != value:
            yield f"{name} {_told(ran.get(name))} (the study: {_told(value)})"


def _told(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
