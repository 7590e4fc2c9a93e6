"""Published values beside measured ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal

from bakeoff.analysis import words
from bakeoff.analysis.result import Beside, Results


def beside(results: Results) -> list[tuple[Beside, dict[str, str]]]:
    """Every published value with its row of text by the heads of the table that sets it beside what was measured."""
    models = len({one.model for one in results.beside if one.model}) > 1
    numbers = {reason: number for number, reason in enumerate(beside_reasons(results), 1)}
    return [(one, _beside(one, models, numbers)) for one in results.beside]


def beside_reasons(results: Results) -> list[str]:
    """Why published values cannot be compared, or what a verdict leaves open: each once, as rows first have it.

    A row has their numbers.
    """
    return list(dict.fromkeys(note for one in results.beside for note in _notes(one)))


def _notes(one: Beside) -> list[str]:
    return _reasons(one) + ([one.remark] if one.remark else [])


def _reasons(one: Beside) -> list[str]:
    return [reason for reason in one.reason.split("; ") if reason]


def _beside(one: Beside, models: bool, numbers: Mapping[str, int]) -> dict[str, str]:
    n = "" if one.n is None else f"{one.n:,}{' (inferred)' if one.inferred else ''}"
    known = one.low is not None and one.high is not None
    apart = one.difference_low is not None and one.difference_high is not None
    return {
        "benchmark, metric": f"{words.place(one.model if models else '', one.task, one.benchmark)}, {one.metric}",
        "method": one.method,
        "published": _as_printed(one) + (f" {words.interval(one.low, one.high, one.percent)}" if known else ""),
        "its n": n,
        "measured": "" if one.mean is None else _with_interval(one.mean, one.ci_low, one.ci_high, one.percent),
        "runs \N{MULTIPLICATION SIGN} items": f"{one.runs} \N{MULTIPLICATION SIGN} {one.n_items:,}"
        if one.mean is not None
        else "",
        "difference": _with_interval(one.difference, one.difference_low, one.difference_high, one.percent, True)
        if apart
        else "",
        "verdict": " ".join([one.verdict, *_marks([numbers[note] for note in _notes(one)])]),
    }


def beside_values(one: Beside) -> dict[str, float | None]:
    """The stored numbers behind a row of `beside`, where its text is led by a single one."""
    apart = one.difference_low is not None and one.difference_high is not None
    return {
        "published": one.value,
        "its n": one.n,
        "measured": one.mean,
        "difference": one.difference if apart else None,
    }


def _marks(numbers: Sequence[int]) -> list[str]:
    """Numbers of notes in brackets, `(1 to 4, 7)`; nothing for none."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    shown = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return [f"({', '.join(shown)})"] if shown else []


def _with_interval(x: float | None, low: float | None, high: float | None, percent: bool, sign: bool = False) -> str:
    return f"{(words.signed if sign else words.number)(x, percent)} {words.interval(low, high, percent)}"


def _as_printed(one: Beside) -> str:
    """A published value with the digits that were printed, a fraction as percent: `79.80`."""
    if not one.percent or " " in one.printed:
        return one.printed
    return f"{Decimal(one.printed).scaleb(2):f}"


def beside_summary(results: Results) -> str:
    """One sentence: how many published values agree, differ, or cannot be compared and mostly why."""
    found = Counter(one.verdict for one in results.beside)
    told = [f"{found[verdict]} {said[found[verdict] > 1]}" for verdict, said in _SUMMED.items() if found[verdict]]
    why = Counter(reason for one in results.beside for reason in _reasons(one))
    mostly = f" (mostly: {why.most_common(1)[0][0]})" if why else ""
    return f"Of {words.count(len(results.beside), 'published value')}, {words.listed(told)}{mostly}."


_SUMMED = {
    "agrees": ("agrees", "agree"),
    "differs": ("differs", "differ"),
    "cannot be compared": ("cannot be compared", "cannot be compared"),
}

BESIDE_EXPLAINED = (
    "A published value is of one run on n items: its interval is Wilson's where it is a share of a known number of "
    "items. It agrees with what was measured where the 95\N{NO-BREAK SPACE}% interval of the difference, which also "
    "allows for the run-to-run variation of one run, holds zero. Values are not judged where what ran is not what was "
    "published; numbers in brackets are those of the reasons and remarks below the table."
)
