"""Labels judged: one choice, and the counts of many (accuracy, macro F1, a predictor that says one thing only)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often each gold label was predicted as what: `counts[gold, predicted]`; a prediction of None is no label."""

    labels: tuple[str, ...]
    counts: dict[tuple[str, str | None], int]

    @property
    def total(self) -> int:
        """How many predictions were counted."""
        return sum(self.counts.values())

    @property
    def accuracy(self) -> float:
        """The share predicted right, 0 to 1; a prediction of None is wrong."""
        return sum(self.counts.get((label, label), 0) for label in self.labels) / self.total

    @property
    def macro_f1(self) -> float:
        """The unweighted mean over all labels of F1 = 2 TP / (2 TP + FP + FN), 0 for a label never gold nor predicted.

        Equals scikit-learn's `f1_score(..., labels=labels, average="macro", zero_division=0)`.
        """
        return sum(self._f1(label) for label in self.labels) / len(self.labels)

    @property
    def constant(self) -> str | None:
        """The one label that was predicted for everything although gold has several; None for any other predictor."""
        predicted = {p for (_, p), n in self.counts.items() if n}
        gold = {g for (g, _), n in self.counts.items() if n}
        return predicted.pop() if len(predicted) == 1 and len(gold) > 1 else None

    def _f1(self, label: str) -> float:
        hits = self.counts.get((label, label), 0)
        gold = sum(n for (g, _), n in self.counts.items() if g == label)
        predicted = sum(n for (_, p), n in self.counts.items() if p == label)
        return 2 * hits / (gold + predicted) if gold + predicted else 0.0


def confusion(gold: Sequence[str], predicted: Sequence[str | None], labels: Sequence[str]) -> Confusion:
    """Count predictions against gold. A predicted text that is no label counts as None; ValueError for such a gold."""
    if not gold:
        raise ValueError("no predictions to count")
    if strange := set(gold) - set(labels):
        raise ValueError(f"gold labels {sorted(strange)} are not among {list(labels)}")
    pairs = [(g, p if p in labels else None) for g, p in zip(gold, predicted, strict=True)]
    return Confusion(tuple(labels), dict(Counter(pairs)))


def grade_choice(choices: Sequence[str], gold: str, text: str, logprobs: Sequence[float] = ()) -> dict[str, Any]:
    """One choice as `scores` (accuracy 0 or 1) and `detail`: gold, what was chosen, and the margin.

    `margin` (nats) is the gold label's log-probability less the best of the others': above 0 where gold was preferred.
    A text that is no label is wrong and `unparsable`.
    """
    chosen = text.strip()
    detail: dict[str, Any] = {"gold": gold, "chosen": chosen}
    if chosen not in choices:
        detail["unparsable"] = True
    if logprobs:
        by_label = dict(zip(choices, logprobs, strict=True))
        detail["margin"] = by_label[gold] - max(p for label, p in by_label.items() if label != gold)
    return {"scores": {"accuracy": float(chosen == gold)}, "detail": detail}
