"""Texts compared by overlap: a sentence's BLEU counts, and the Jaccard index of two texts' tokens."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bakeoff.errors import InputError, extra

TOKEN = re.compile(r"\w+|[^\w\s]")
LARGEST = 1000  # texts of which every pair is looked at


def spoken(text: str) -> str:
    """A completion without its reasoning: what stands after the last `</think>`, up to a `<think>` that never ends."""
    return text.rpartition("</think>")[2].partition("<think>")[0]


def _version() -> str:
    try:
        return version("sacrebleu")
    except PackageNotFoundError:
        return "none"


BLEU_SIGNATURE = f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{_version()}"


def bleu_statistics(pred: str, ref: str) -> list[int]:
    """What corpus BLEU needs of one text: [length, reference's length, matching 1- to 4-grams, all 1- to 4-grams].

    Their sums over a corpus give exactly sacrebleu's `corpus_bleu`, whose tokens and settings these are. InputError
    where sacrebleu is not installed.
    """
    score = _bleu().corpus_score([pred], [[ref]])
    return [int(n) for n in (score.sys_len, score.ref_len, *score.counts, *score.totals)]


def tokens(text: str) -> frozenset[str]:
    """The different tokens of a text: words (letters, digits, underscores) and every other visible character alone."""
    return frozenset(TOKEN.findall(text))


def jaccard(a: str, b: str) -> float:
    """The share of two texts' different tokens that both have, 0 to 1; 1 where neither has any."""
    return _overlap(tokens(a), tokens(b))


def unrelated_floor(texts: Sequence[str]) -> float:
    """The mean Jaccard index over all pairs of different texts: what texts of this kind share without being related.

    Of more than 1,000 texts, 1,000 drawn with a fixed seed. ValueError for fewer than two.
    """
    if len(texts) < 2:
        raise ValueError("a floor needs two texts or more")
    drawn = texts if len(texts) <= LARGEST else random.Random(0).sample(list(texts), LARGEST)
    found = [_overlap(a, b) for a, b in itertools.combinations([tokens(text) for text in drawn], 2)]
    return sum(found) / len(found)


def _overlap(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a or b else 1.0


@cache
def _bleu() -> Any:
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise InputError("BLEU", "sacrebleu is not installed", extra("math")) from None
    return BLEU()
