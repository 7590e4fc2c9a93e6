"""Checklist: what every report is checked for, as a line and as rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bakeoff.analysis import words
from bakeoff.analysis.result import Check

HEADS = ("check", "state", "what was looked at, or found")


def line(lint: Sequence[Check]) -> str:
    """`Lint: 7 clean, 1 not applicable, 1 found: overlap.`"""
    states = Counter(check.state for check in lint)
    told = [f"{states[state]} {state}" for state in ("clean", "not applicable", "found") if states[state]]
    found = words.listed([check.name for check in lint if check.state == "found"])
    return f"Lint: {', '.join(told)}{': ' if found else ''}{found}."


def told(lint: Sequence[Check]) -> list[str]:
    """The line, then a line for each thing that was found."""
    return [line(lint), *(f"{name}: {text}" for name, state, text in rows(lint) if state == "found")]


def rows(lint: Sequence[Check]) -> list[tuple[str, str, str]]:
    """A row for each check, what was found first."""
    order = ("found", "clean", "not applicable")
    return [(check.name, check.state, check.text) for check in sorted(lint, key=lambda check: order.index(check.state))]
