"""Shown: the few completions that a report prints, by a rule and not by taste, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bakeoff.analysis.benchmark import Table
from bakeoff.analysis.result import Asked, Run, Shown
from bakeoff.store.record import Prompt, Sample
from bakeoff.store.store import Store

FIRST = 3  # items shown as they come
MOST = 20  # items of a benchmark
COMPLETIONS = 320  # of all benchmarks and methods, if they have more than the first items
CHARACTERS = 600  # of a completion, or of a turn of a prompt


def chosen(table: Table, benchmarks: int = 1) -> list[str]:
    """The first items of a benchmark, then those on which methods differ most by the mean over runs, in item order."""
    if not table.arrays:
        return []
    most = max(FIRST, min(MOST, COMPLETIONS // (benchmarks * len(table.arrays))))
    means = np.array([array.mean(axis=0) for array in table.arrays.values()])  # [methods, items]
    spread = np.ptp(means, axis=0)
    apart = [int(i) for i in np.argsort(-spread, kind="stable") if i >= FIRST and spread[i] > 0]
    return [table.items[i] for i in sorted([*range(min(FIRST, len(table.items))), *apart[: most - FIRST]])]


def shown(store: Store, tables: Sequence[Table]) -> list[Shown]:
    """The chosen items' first draws of every method's first run with a result; each run's samples are read once."""
    wanted = [(table, chosen(table, len(tables))) for table in tables]
    keys = dict.fromkeys(runs[0].key for table, _ in wanted for runs in table.done.values() if runs)
    items = {(table.benchmark, item) for table, picked in wanted for item in picked}
    read = {key: _first_draws(store.samples(key), items) for key in keys}
    return [
        _shown(table, picked, name, runs[0], read[runs[0].key])
        for table, picked in wanted
        for name, runs in table.done.items()
        if runs
    ]


def asked(store: Store, tables: Sequence[Table]) -> list[Asked]:
    """What the chosen items ask, where the store tells it; each data set's prompts are read once."""
    read: dict[str, dict[tuple[str, str], Prompt]] = {}
    found: list[Asked] = []
    for table in tables:
        picked = chosen(table, len(tables))
        data = {table.graded[run.key].record.trial.dataset for runs in table.done.values() for run in runs}
        for name in data - set(read):
            read[name] = {(prompt.benchmark, prompt.id): prompt for prompt in store.prompts(name)}
        known = {
            item: prompt for name in data for item in picked if (prompt := read[name].get((table.benchmark, item)))
        }
        if picked and len(known) == len(picked):
            prompts = tuple(_abridged(known[item]) for item in picked)
            found.append(Asked(model=table.model, task=table.task, benchmark=table.benchmark, prompts=prompts))
    return found


def _first_draws(samples: Sequence[Sample], items: set[tuple[str, str]]) -> dict[tuple[str, str], Sample]:
    found: dict[tuple[str, str], Sample] = {}
    for sample in samples:
        if (place := (sample.benchmark, sample.id)) in items:
            found.setdefault(place, _shortened(sample))
    return found


def _shown(table: Table, picked: Sequence[str], name: str, run: Run, read: Mapping[tuple[str, str], Sample]) -> Shown:
    places = {item: i for i, item in enumerate(table.items)}
    means = table.arrays[name].mean(axis=0)
    return Shown(
        model=table.model,
        task=table.task,
        benchmark=table.benchmark,
        method=name,
        seed=run.seed,
        samples=tuple(read[table.benchmark, item] for item in picked),
        means=() if table.aggregate else tuple(float(means[places[item]]) for item in picked),
    )


def _shortened(sample: Sample) -> Sample:
    detail = {name: _cut(value) if isinstance(value, str) else value for name, value in sample.detail.items()}
    return sample.model_copy(update={"text": _cut(sample.text), "detail": detail})


def _abridged(prompt: Prompt) -> Prompt:
    return prompt.model_copy(update={"turns": tuple((role, _without_middle(text)) for role, text in prompt.turns)})


def _without_middle(text: str) -> str:
    """A question stands at either end of a long prompt: of that it is the middle that is left out."""
    rest, end = len(text) - CHARACTERS, CHARACTERS // 3
    return text if rest <= 0 else f"{text[: CHARACTERS - end]} [{rest:,} more characters] {text[-end:]}"


def _cut(text: str) -> str:
    rest = len(text) - CHARACTERS
    return text if rest <= 0 else f"{text[:CHARACTERS]} [{rest:,} more characters]"
