"""Wins by item: how many items each method wins against each other one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bakeoff.report.tables.sections import Section

SHADES = 5  # strengths in which a lead is coloured
MANY = 8  # methods, beyond which columns have numbers for names


@dataclass(frozen=True)
class Won:
    """The items that a row's method wins and loses against a column's; `shade` says who leads, by how much: -5 to 5."""

    won: int
    lost: int
    shade: int


def wins(section: Section) -> list[tuple[str, list[Won | None]]]:
    """Every method against every other, None against itself; nothing where items have no score of their own."""
    found: dict[tuple[str, str], Won] = {}
    for pair in section.comparisons:
        if pair.items_a is None or pair.items_b is None:
            return []
        found[pair.a, pair.b] = _won(pair.items_a, pair.items_b, pair.n_items)
        found[pair.b, pair.a] = _won(pair.items_b, pair.items_a, pair.n_items)
    names = [cell.method for cell in section.cells if any(cell.method in pair for pair in found)]
    return [(name, [found.get((name, other)) for other in names]) for name in names]


def _won(won: int, lost: int, items: int) -> Won:
    lead = (won - lost) / items if items else 0.0
    shade = round(lead * SHADES) or (lead > 0) - (lead < 0)
    return Won(won, lost, shade)


def even(rows: Sequence[tuple[str, Sequence[Won | None]]]) -> bool:
    """Whether no method wins an item against any other."""
    return not any(won.won for _, row in rows for won in row if won)
