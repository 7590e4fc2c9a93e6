"""Overlap: how many test items are in the training set, whole or by 13 words in a row."""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.example import Example
from bakeoff.study.spec import Frozen

N = 13  # words in a row, as GPT-3's authors (2020, appendix C) and lm-eval count them
Hashes = NDArray[np.uint64]


class Overlap(Frozen):
    """Of `of` test items, `exact` have a text that is also a training text, and `ngram13` share 13 words in a row.

    An item's text is that of its user's messages. Exact means equal in lower case with white space collapsed. For
    words in a row punctuation is dropped too, and the training set's answers are looked through beside its users'
    messages; an item shorter than 13 words cannot share any.
    """

    exact: int
    ngram13: int
    of: int


def overlap(train: Sequence[Example], test: Sequence[Example]) -> Overlap:
    """Count the test items that are also, or partly, in the training set. Seconds for 25,000 reviews."""
    asked = {_plain(_asked(example)) for example in train}
    exact = sum(_plain(_asked(example)) in asked for example in test)
    numbers: dict[str, int] = {}
    known = _runs((text for example in train for text in (_asked(example), example.answer)), numbers)[0]
    runs, owner = _runs(map(_asked, test), numbers)
    shared = np.unique(owner[np.isin(runs, known)]).size
    return Overlap(exact=exact, ngram13=int(shared), of=len(test))


def _asked(example: Example) -> str:
    """What the user says in an example."""
    return "\n".join(message.content for message in example.messages if message.role == "user")


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _runs(texts: Iterable[str], numbers: dict[str, int]) -> tuple[Hashes, NDArray[np.int64]]:
    """A 64-bit hash of every run of N words of each text, and which text it is of; `numbers` gives words a number.

    Two different runs share a hash by chance in one of 2e19 pairs: for a million runs on either side, 5e-8 in all.
    """
    found = [[numbers.setdefault(word, len(numbers)) for word in _words(text)] for text in texts]
    lengths = np.array([len(words) for words in found], dtype=np.int64)
    words = np.concatenate([np.array(one, dtype=np.int64) for one in found] or [np.zeros(0, dtype=np.int64)])
    owner = np.repeat(np.arange(len(found)), lengths)
    count = max(0, words.size - N + 1)
    whole = owner[:count] == owner[words.size - count :]  # the run ends in the text that it begins in
    mixed, hashes = _mixed(words), np.zeros(count, dtype=np.uint64)
    for place, factor in enumerate(_mixed(np.arange(-N, 0)) | np.uint64(1)):  # odd, so that no bit is lost
        hashes += mixed[place : place + count] * factor
    return hashes[whole], owner[:count][whole]


def _words(text: str) -> list[str]:
    return text.lower().translate(_NO_PUNCTUATION).split()


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _mixed(numbers: NDArray[np.int64]) -> Hashes:
    """Numbers as 64 bits that look random, each its own: the finaliser of splitmix64."""
    x = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
