"""Collapsed: a trained run that says one thing to everything has learnt nothing, whatever that scores."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.analysis.benchmark import counted
from bakeoff.store.record import Sample


def collapsed(samples: Sequence[Sample]) -> str:
    """How a run gave one answer to all items of every benchmark of labels, for people; empty where it did not.

    Each has 10 items or more and labels that differ. A run that does so on one of its benchmarks and not on another has
    learnt something: it keeps its scores, and a report doubts them where they are constant.
    """
    benchmarks: dict[str, list[Sample]] = {}
    for sample in samples:
        if "gold" in sample.detail:
            benchmarks.setdefault(sample.benchmark, []).append(sample)
    told = [_told(name, own) for name, own in benchmarks.items()]
    return "one answer to everything: " + "; ".join(told) if told and all(told) else ""


def _told(benchmark: str, samples: Sequence[Sample]) -> str:
    said, gold = counted(samples).constant, {sample.id: str(sample.detail["gold"]) for sample in samples}
    if said is None or len(set(gold.values())) < 2:
        return ""
    others = sum(label != said for label in gold.values())
    short = " ".join(said.split())[:60]
    return f'"{short}" to all {len(gold):,} items of {benchmark}, of which {others:,} have another label'
