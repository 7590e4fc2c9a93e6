"""Answers: what every method said to the items of every gold label."""

from __future__ import annotations

from dataclasses import dataclass

from bakeoff.analysis import words
from bakeoff.analysis.result import Confusion
from bakeoff.report.tables.sections import Section


@dataclass(frozen=True)
class Answered:
    """What a method answered to the items of one gold label: counts over its runs, and their share of these items.

    `said` is in the order of the labels, then those that said none. `note` stands in a method's first row.
    """

    method: str
    gold: str
    said: tuple[tuple[int, float], ...]
    first: bool
    note: str


def answered(section: Section) -> list[Answered]:
    """Every method's answers, a row for each gold label."""
    rows: list[Answered] = []
    for found in section.confusions:
        gold = [(label, counts) for label, counts in zip(found.labels, found.counts, strict=True) if sum(counts)]
        for i, (label, counts) in enumerate(gold):
            said = tuple((count, count / sum(counts)) for count in counts)
            rows.append(Answered(found.method, label, said, i == 0, _constant(found) if i == 0 else ""))
    return rows


def _constant(found: Confusion) -> str:
    if not found.constant:
        return ""
    labels = [f'"{label}"' for label in found.constant]
    told = f"said {words.listed(labels)} to everything"
    return told if found.constant_runs == found.runs else f"{told} in {found.constant_runs} of {found.runs} runs"


def balance(section: Section) -> str:
    """How many items have which gold label, and what saying the most frequent one to everything would score."""
    found = section.confusions[0]
    pairs = [(label, n) for label, n in zip(found.labels, found.items, strict=True) if n]
    label, most = max(pairs, key=lambda pair: pair[1])
    counts = words.listed([f"{n:,} {name}" for name, n in pairs])
    share = words.score(most / sum(found.items))
    return f"Gold: {counts}; to say {label} to everything would be right in {share}."


def no_label(section: Section) -> bool:
    """Whether any answer said no label."""
    return any(counts[-1] for found in section.confusions for counts in found.counts)
