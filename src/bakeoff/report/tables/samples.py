"""Samples: a few items with what they ask, what every method answered, and where methods part."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from bakeoff.report.tables.sections import Section
from bakeoff.store.record import Sample

Agreement = Literal["right", "wrong", "differ", "same"]
Turn = tuple[str, str]  # role, text
_STAGES = ("stage", "verdict")  # what graders call that which decided, in a sample's detail


@dataclass(frozen=True)
class Answer:
    """One method's completion of an item; `mean` is its score over all runs, `stage` what the grader says decided."""

    method: str
    seed: int | None
    sample: Sample
    mean: float | None
    stage: str


@dataclass(frozen=True)
class Item:
    """An item with every method's answer; `agreement` over their means: all right, all wrong, or they differ.

    `turns` are what it asks after the turns that all items share, nothing where the store does not tell.
    """

    id: str
    agreement: Agreement
    answers: tuple[Answer, ...]
    turns: tuple[Turn, ...] = ()


def items(section: Section) -> list[Item]:
    """The items whose completions are shown, in the benchmark's order."""
    found: dict[str, list[Answer]] = {}
    for shown in section.samples:
        means = shown.means or [None] * len(shown.samples)
        for sample, mean in zip(shown.samples, means, strict=True):
            found.setdefault(sample.id, []).append(Answer(shown.method, shown.seed, sample, mean, _stage(sample)))
    lower = section.cells[0].lower_is_better
    prompts, first = section.asked.prompts if section.asked else (), len(shared(section))
    turns = {prompt.id: prompt.turns[first:] for prompt in prompts}
    return [Item(name, _agreement(own, lower), tuple(own), turns.get(name, ())) for name, own in found.items()]


def shared(section: Section) -> tuple[Turn, ...]:
    """The turns that every item shown begins with (a system prompt, worked examples): all but its last, at most."""
    if section.asked is None:
        return ()
    abreast = zip(*(prompt.turns[:-1] for prompt in section.asked.prompts), strict=False)
    return tuple(turns[0] for turns in takewhile(lambda turns: len(set(turns)) == 1, abreast))


def _agreement(answers: list[Answer], lower: bool) -> Agreement:
    scores = {next(iter(a.sample.scores.values()), 0.0) if a.mean is None else a.mean for a in answers}
    if len(scores) > 1:
        return "differ"
    return "same" if lower else {0.0: "wrong", 1.0: "right"}.get(scores.pop(), "same")  # pyright: ignore[reportReturnType]


def _stage(sample: Sample) -> str:
    told = next((sample.detail[name] for name in _STAGES if isinstance(sample.detail.get(name), str)), "")
    return told or ("unparsable" if sample.detail.get("unparsable") else "")
