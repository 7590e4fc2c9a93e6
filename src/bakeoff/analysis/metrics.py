"""Metrics by name: what scale a metric is on, and which way is better."""

from __future__ import annotations

import math
import re
from functools import cache

# words of a metric's name (parted by anything but letters); lm-evaluation-harness's names are read the same way
COSTS = frozenset(
    {"loss", "nll", "perplexity", "ppl", "bits", "brier", "wer", "cer", "ter", "error", "mae", "mse", "rmse"}
)
OTHER_SCALES = frozenset({"loss", "nll", "perplexity", "ppl", "bits", "bleu", "chrf", "ter", "mae", "mse", "rmse"})

COUNTS = frozenset({"accuracy", "acc", "match", "answered"})


@cache
def lower_is_better(metric: str) -> bool:
    """Whether less of it is better: losses, perplexities, bits, error rates."""
    return bool(_words(metric) & COSTS)


def is_fraction(metric: str) -> bool:
    """Whether it is by its name a fraction, shown in percent: BLEU counts to 100, losses are nats."""
    return not _words(metric) & OTHER_SCALES


def bounds(metric: str) -> tuple[float, float]:
    """Between what its values lie, by its name: losses and error rates are not below 0, BLEU and chrF not above 100."""
    named = _words(metric)
    low = 0.0 if named & (COSTS | OTHER_SCALES) else -math.inf
    return low, 100.0 if named & {"bleu", "chrf"} else math.inf


def is_count(metric: str) -> bool:
    """Whether it is by its name a share of completions: accuracy, exact_match, pass@1."""
    return bool(_words(metric) & COUNTS) or of_draws(metric) == 1


def of_draws(metric: str) -> int | None:
    """The k of pass@k; None for other metrics."""
    found = re.fullmatch(r"pass@([1-9]\d*)", metric)
    return int(found[1]) if found else None


def _words(metric: str) -> set[str]:
    return set(re.split(r"[^a-z]+", metric.lower()))
