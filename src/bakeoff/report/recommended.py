"""Recommendations for a terminal and as JSON: what `bakeoff recommend` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from rich.text import Text

from bakeoff.analysis import words
from bakeoff.analysis.recommend import Cost, Limits, Recommendation
from bakeoff.analysis.result import Results
from bakeoff.report import checklist, tables


def shown(found: Sequence[Recommendation], results: Results) -> Iterator[Text]:
    """Each recommendation with its evidence, costs and what was left out; then what speaks against leaning on it."""
    for one in found:
        yield Text(tables.inert(one.sentence), style="bold" if one.method else "yellow")
        for told in (one.evidence, *_costs(one)):
            if told:
                yield Text(f"  {tables.inert(told)}")
        for left in one.excluded:
            yield Text(f"  Left out: {tables.inert(left.method)}: {tables.inert(left.why)}.", style="dim")
        yield Text()
    doubts = f" {words.count(len(results.doubts), 'doubt')}, in the report." if results.doubts else ""
    yield Text(checklist.line(results.lint) + doubts, style="dim")


def as_json(found: Sequence[Recommendation], limits: Limits) -> str:
    """`{"schema": 1, "limits": {...}, "recommendations": [...]}`."""
    told = {"limits": limits.model_dump(), "recommendations": [one.model_dump(mode="json") for one in found]}
    return json.dumps({"schema": 1, **told}, indent=1, ensure_ascii=False, allow_nan=False)


def _costs(one: Recommendation) -> Iterator[str]:
    for name, cost in ((one.method, one.cost), (one.runner_up, one.runner_up_cost)):
        if name and cost:
            yield f"Cost of {name}: {_cost(cost)}."


def _cost(cost: Cost) -> str:
    """What was measured of it."""
    if cost.params == 0:
        return "nothing is trained"
    told = [f"{tables.whole(cost.params)} trained parameters"]
    if cost.memory is not None:
        told.append(f"{tables.size(cost.memory)} at the peak of training")
    if cost.latency is not None:
        told.append(f"an answer takes {cost.latency:.2f} times the bare model's time")
    return ", ".join(told)
