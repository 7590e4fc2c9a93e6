"""Tuning, as a study asks for it: every method's grid of learning rates, and the examples held out to choose on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bakeoff.errors import InputError
from bakeoff.study import registry
from bakeoff.study.spec import MethodSpec, TaskSpec, Tune
from bakeoff.study.validate import validated

PUBLISHED = "published"
HELD_OUT = 500  # training examples of each task, where the task does not say


def tune(asked: Any, where: str = "tune") -> Tune:
    """`tune:` as data: a mapping, or the word `published`, which says what an empty mapping does."""
    if asked != PUBLISHED and not isinstance(asked, dict):
        raise InputError(where, f"expected `published` or a mapping, got {asked!r}", "such as {learning_rate: [...]}")
    return validated(Tune, {} if asked == PUBLISHED else asked, where)


def held_out(entry: Any, limit: int | None) -> Any:
    """A task's entry with the number of examples to choose on, at most `limit`; what is no entry stays as it is."""
    entry = {"use": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or not isinstance(entry.get("validation", 0), int):
        return entry
    wanted = entry.get("validation") or HELD_OUT
    return {**entry, "validation": wanted if limit is None else min(wanted, limit)}


def with_grids(rows: Mapping[str, MethodSpec], entries: Mapping[str, Any], asked: Tune | None) -> dict[str, MethodSpec]:
    """Every row with its grid of learning rates; InputError where one has none, or where they differ in size."""
    tuned: dict[str, MethodSpec] = {}
    for row, spec in rows.items():
        name = row.partition("[")[0]
        where, own = f"methods.{name}.tune", entries[name].get("tune")
        trains = registry.find("methods", spec.use, where).trains
        if own is not None and not trains:
            raise InputError(where, f"'{spec.use}' trains nothing", "drop it")
        if own is not None and asked is None:
            raise InputError(where, "the study itself has no `tune:`", "add `tune: published`, or drop this one")
        wanted = asked if own is None else _own(own, where)
        tuned[row] = spec.model_copy(update={"rates": _grid(spec, wanted, where)}) if wanted and trains else spec
    _alike({row: spec for row, spec in tuned.items() if spec.rates})
    return tuned


def check(tasks: Mapping[str, TaskSpec], asked: Tune, seeds: tuple[int, ...]) -> None:
    """InputError where the report would rest on what the rates are chosen on: the examples, or the seed."""
    for name, spec in tasks.items():
        if spec.split == "validation":
            what = "`tune:` chooses on held-out examples, and judges what is chosen on the test set"
            raise InputError(f"tasks.{name}.split", what, "drop `split: validation`, or `tune:`")
    if asked.seed in seeds:
        what = f"{asked.seed} is one of `seeds:` too, and would flatter the rate that suits it"
        raise InputError("tune.seed", what, "give another, or leave it out")


def check_shared(rows: Mapping[str, MethodSpec]) -> None:
    """InputError where `protocol: shared` is said of methods that do not all learn at one rate."""
    rates: dict[float, str] = {}
    for row, spec in rows.items():
        if registry.find("methods", spec.use, row).trains:
            rates.setdefault(spec.training.learning_rate, row)
            for part in spec.config.get("parts", ()):
                rates.setdefault(part["learning_rate"] or spec.training.learning_rate, row)
    if len(rates) > 1:
        (one, first), (other, second) = list(rates.items())[:2]
        what = f"shared: one learning rate for all, but '{first}' has {one:g} and '{second}' {other:g}"
        raise InputError("protocol", what, "set `training.learning_rate` once for the study")


def _own(asked: Any, where: str) -> Tune:
    """A method's own `tune:`, which may say its grid and nothing else."""
    for key in asked if isinstance(asked, dict) else ():
        if key != "learning_rate":
            raise InputError(f"{where}.{key}", "is the study's, and the same for all methods", "put it under `tune:`")
    return tune(asked, where)


def _grid(spec: MethodSpec, asked: Tune, where: str) -> tuple[float, ...]:
    """The rates that a row tries first."""
    if asked.learning_rate:
        return asked.learning_rate
    kind = registry.find("methods", spec.use, where)
    if published := kind.model_validate_json(json.dumps(spec.config)).grid():
        return published
    raise InputError(where, f"no grid is published for '{spec.use}'", "give it one: `tune: {learning_rate: [...]}`")


def _alike(rows: Mapping[str, MethodSpec]) -> None:
    """InputError where methods would get unequal numbers of trials, or where two rows differ in their rate alone."""
    found: dict[str, str] = {}
    for row, spec in rows.items():
        first = next(iter(rows))
        mine, its = len(spec.rates), len(rows[first].rates)
        if mine != its:
            what = f"a grid of {mine} values, where '{first}' has {its}"
            raise InputError(f"methods.{row}.tune", what, "every method gets the same number of trials")
        plain = spec.model_copy(update={"training": spec.training.model_copy(update={"learning_rate": 1.0})})
        other = found.setdefault(plain.model_dump_json(), row)
        if other != row:
            what = f"differs from '{other}' in its learning rate alone, which `tune:` chooses"
            raise InputError(f"methods.{row}", what, "drop the sweep, or one of them")
