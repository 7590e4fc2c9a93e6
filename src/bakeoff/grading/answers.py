"""The answer a completion gives: what stands in its last \\boxed{}, after its last `####` or after "Final Answer:"."""

from __future__ import annotations

import re

from bakeoff.grading.text import spoken

MARKER = re.compile(r"\\f?box(?:ed)?\s*\{|####|final answer\s*\**\s*:", re.IGNORECASE)
SENTENCE = re.compile(r"\bfinal answer\**\s+is\b\s*:?|\banswer(?:\s+\w+){0,4}?(?:\s+is\b\s*:?|\**\s*:)", re.IGNORECASE)
MINERVA = re.compile(r"\bfinal answer\**\s+is\b:?\s*(.+?)\.?\s*I hope it is correct", re.IGNORECASE | re.DOTALL)
BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
BETWEEN_BOXES = re.compile(r"[ $]*(?:[,;]|[,;]? *(?:and|or|\\text\{ *(?:and|or) *\}))[ $]*", re.IGNORECASE)
FORMULA = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|(?<!\\)\$([^$\n]+)\$", re.DOTALL)
STOPS = ("\nQuestion:", "\n\nProblem:")  # where a model that does not know how to end asks itself the next question
BOILERPLATE = re.compile(r"^the final answer is:?\s*|\.?\s*I hope it is correct\.?\s*$", re.IGNORECASE)
PROSE = 12  # words that make a text more than an answer


def final_answer(text: str) -> str | None:
    """The last marked answer of `text`, or None where nothing is marked: an unmarked number is no answer.

    Looked for after the last `</think>` and before the model's own next question; a `<think>` that is never closed
    holds no answer. The last marker with something behind it decides: `\\boxed{x}` with balanced braces gives x (boxes
    in a row: `x, y`), `#### x` and `Final Answer: x` the rest of the line (a line that is empty: the next). Where there
    is none: "The final answer is x. I hope it is correct.", then the last words in bold that hold a number. `**`, `$`
    around it and a full stop at its end are taken off.
    """
    text = _last_words(text)
    for marker in reversed(list(MARKER.finditer(text))):
        rest = text[marker.end() :]
        answer = _clean(_boxes(text, marker) if marker.group().endswith("{") else _line(rest))
        if answer:
            return answer
    if sentences := MINERVA.findall(text):
        return _clean(sentences[-1]) or None
    bold = [found for found in BOLD.findall(text) if re.search(r"\d", found) and not found.rstrip().endswith(":")]
    return _clean(bold[-1]) or None if bold else None


def stated(text: str) -> str | None:
    """The answer of a text that is a whole completion or only an answer; None where it gives none.

    A marked answer as `final_answer` finds it; else what follows the last "answer is" or "answer:"; else the text
    itself, unless it is prose; else the last formula between dollars in it.
    """
    if answer := final_answer(text):
        return answer
    text = _last_words(text)
    if MARKER.search(text):  # a marker with nothing behind it
        return None
    if sentences := list(SENTENCE.finditer(text)):
        return _clean(re.split(r"\.(?:\s|$)", _line(text[sentences[-1].end() :]))[0]) or None
    prose = len(re.findall(r"(?<![A-Za-z\\])[A-Za-z]{3,}", text)) > PROSE
    said = re.search(r"(?<![A-Za-z\\])[A-Za-z]{3,} [a-z]+ [a-z]+", FORMULA.sub(" ", text))
    if (prose or said) and (formulas := [next(filter(None, found)) for found in FORMULA.findall(text)]):
        return _clean(formulas[-1]) or None
    return None if prose else text.strip() or None


def _last_words(text: str) -> str:
    """What stands after the last `</think>` and before the model's own next question."""
    text = spoken(text)
    for stop in STOPS:
        text = text.partition(stop)[0]
    return text


def _boxes(text: str, last: re.Match[str]) -> str:
    """What is in the last box, and in those right before it, joined by commas; nothing where it is never closed."""
    found = [_braced(text[last.end() :])]
    before = [m for m in MARKER.finditer(text, 0, last.start()) if m.group().endswith("{")]
    start = last.start()
    for box in reversed(before):
        inner = _braced(text[box.end() :])
        between = text[box.end() + len(inner) + 1 : start]
        if not inner or not found[0] or not BETWEEN_BOXES.fullmatch(between):
            break
        found.insert(0, inner)
        start = box.start()
    return ", ".join(found)


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
