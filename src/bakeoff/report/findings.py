"""An audit's findings for a terminal and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.text import Text

from bakeoff.analysis import words
from bakeoff.analysis.audit import Audit, Finding
from bakeoff.report import tables

CHECKS = {
    "claim": "What the text claims",
    "grid": "Counts of items",
    "pass@k": "pass@k",
    "constant": "One answer to everything",
    "confusion": "Accuracy, precision, recall and F1",
    "best": "The best of a column against the next",
    "pairs": "All pairs of a column",
    "digits": "Printed twice",
    "repeated": "The same digits elsewhere",
    "parameters": "Trained parameters",
    "code": "Overlap with the reference solutions",
    "architecture": "Architectures and libraries",
}
_STYLES = {"consistent": "green", "cannot be decided": "yellow", "not separable": "yellow"}
_PLAIN = ("grid",)  # where all is consistent, only how many are


def shown(audit: Audit) -> Iterator[Text]:
    """The findings by check, each with its verdict first; then how many there are of each."""
    for check in dict.fromkeys(finding.check for finding in audit.findings):
        yield Text(CHECKS.get(check, check), style="bold")
        yield from _lines(check, [finding for finding in audit.findings if finding.check == check])
        yield Text()
    found = Counter(finding.verdict for finding in audit.findings)
    told = ", ".join(f"{many} {verdict}" for verdict, many in found.most_common())
    yield Text(f"{words.count(len(audit.findings), 'finding')}: {told}." if told else "No check fits these rows.")


def _lines(check: str, findings: Sequence[Finding]) -> Iterator[Text]:
    fine = [finding for finding in findings if finding.verdict == "consistent"] if check in _PLAIN else []
    for finding in findings:
        if finding not in fine:
            lines = f" (line{'s' if len(finding.lines) > 1 else ''} {_spans(finding.lines)})" if finding.lines else ""
            verdict = (finding.verdict, _STYLES.get(finding.verdict, "bold red"))
            yield Text.assemble("  ", verdict, f": {tables.inert(finding.where)}{lines}: {tables.inert(finding.text)}")
    if fine:
        yield Text.assemble("  ", ("consistent", "green"), f": {words.count(len(fine), 'value')} of that kind")


def _spans(numbers: Sequence[int]) -> str:
    """`2`, `2, 5`, `2-5`: where lines lie side by side."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def as_json(audit: Audit) -> str:
    """Findings, intervals and contrasts as one JSON object, schema 1."""
    found = audit.model_dump(mode="json")
    for one, pair in zip(found["contrasts"], audit.contrasts, strict=True):
        one["verdict"] = pair.verdict
    return json.dumps({"schema": 1, **found}, indent=1, ensure_ascii=False, allow_nan=False)
