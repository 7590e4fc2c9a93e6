"""The answer a completion gives: what stands in its last \\boxed{}, after its last `####` or after "Final Answer:"."""

from __future__ import annotations

import re

MARKER = re.compile(r"\\boxed\s*\{|####|final answer\s*\**\s*:", re.IGNORECASE)
STOPS = ("\nQuestion:", "\n\nProblem:")  # where a model that does not know how to end asks itself the next question
BOILERPLATE = re.compile(r"^the final answer is:?\s*|\.?\s*I hope it is correct\.?\s*$", re.IGNORECASE)


def final_answer(text: str) -> str | None:
    """The last marked answer of `text`, or None where nothing is marked: an unmarked number is no answer.

    Looked for after the last `</think>` and before the model's own next question. The last marker with something
    behind it decides: `\\boxed{x}` with balanced braces gives x, `#### x` and `Final Answer: x` the rest of the line
    (a line that is empty: the next). `**`, `$` around it and a full stop at its end are taken off.
    """
    text = text.rpartition("</think>")[2]
    for stop in STOPS:
        text = text.partition(stop)[0]
    for marker in reversed(list(MARKER.finditer(text))):
        rest = text[marker.end() :]
        answer = _clean(_braced(rest) if marker.group().endswith("{") else _line(rest))
        if answer:
            return answer
    return None


def _braced(rest: str) -> str:
    """What stands before the brace that closes the one just opened; nothing where none does."""
    depth = 1
    for place, character in enumerate(rest):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[:place]
    return ""


def _line(rest: str) -> str:
    """The first line with something in it."""
    return rest.lstrip().partition("\n")[0]


def _clean(answer: str) -> str:
    """An answer without Markdown's bold, stock phrases, dollars around it and a full stop at its end."""
    answer = BOILERPLATE.sub("", answer.replace("**", "").strip()).strip()
    answer = answer.removesuffix(".").strip()
    if len(answer) > 2 and answer[0] == answer[-1] == "$":
        answer = answer.strip("$").strip()
    return answer.removesuffix(".").strip()
