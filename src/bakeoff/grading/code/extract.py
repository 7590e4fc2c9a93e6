"""The code in a completion: what its Markdown fences hold, or all of it."""

from __future__ import annotations

import re

from bakeoff.grading.text import spoken

FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)


def extract(text: str, entry_point: str) -> str:
    """The code of a completion: its first fenced block that defines `entry_point`, else its first, else the text.

    A fence that is never closed holds the rest. Looked for after the last `</think>`; reasoning that does not end has
    none.
    """
    text = spoken(text)
    blocks = FENCE.findall(text)
    defining = [block for block in blocks if defines(block, entry_point)]
    return (defining or blocks or [text])[0].strip("\n")


def defines(code: str, entry_point: str) -> bool:
    """Whether the text of `code` gives `entry_point` a value at its top level; nothing is compiled or run."""
    name = re.escape(entry_point)
    return bool(re.search(rf"^(?:(?:async\s+)?def|class)\s+{name}\b|^{name}\s*(?::[^=\n]+)?=[^=]", code, re.MULTILINE))
