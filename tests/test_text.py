"""Overlap of texts: BLEU's counts add up to sacrebleu's own number; Jaccard by hand and on HumanEval."""

from __future__ import annotations

import gzip
import json

import pytest
from conftest import shared
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.grading.text import BLEU_SIGNATURE, bleu_statistics, jaccard, unrelated_floor

SENTENCES = st.lists(
    st.sampled_from(["the", "cat", ",", "sat", "on", "a", "mat", ".", "3.5", "x=2", "$", "naïve"]), max_size=12
).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=6))
def test_counts_add_up_to_sacrebleus_corpus_bleu(pairs):
    bleu = pytest.importorskip("sacrebleu.metrics.bleu").BLEU
    sums = [sum(column) for column in zip(*(bleu_statistics(p, r) for p, r in pairs), strict=True)]
    whole = bleu().corpus_score([p for p, _ in pairs], [[r for _, r in pairs]])
    ours = bleu.compute_bleu(sums[2:6], sums[6:10], sums[0], sums[1], smooth_method="exp")
    assert ours.score == pytest.approx(whole.score, abs=1e-12)
    assert [sums[0], sums[1], *sums[2:]] == [whole.sys_len, whole.ref_len, *whole.counts, *whole.totals]


def test_the_signature_is_sacrebleus():
    bleu = pytest.importorskip("sacrebleu.metrics.bleu").BLEU()
    bleu.corpus_score(["a"], [["a"]])
    assert str(bleu.get_signature()) == BLEU_SIGNATURE


def test_known_counts():
    pytest.importorskip("sacrebleu")
    assert bleu_statistics("the cat sat", "the cat sat down") == [3, 4, 3, 2, 1, 0, 3, 2, 1, 0]
    assert bleu_statistics("", "a b") == [0, 2] + [0] * 8


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [
        ("", "", 1.0),
        ("", "x", 0.0),
        ("  \n", "", 1.0),
        ("x x x", "x", 1.0),
        ("return a+b", "return b + a", 1.0),
        ("a_1 = [2]", "a_1 = 2", 3 / 5),
        ("f(x)", "g(y)", 2 / 6),
    ],
)
def test_jaccard(a, b, value):
    assert jaccard(a, b) == jaccard(b, a) == value


def test_the_floor_of_unrelated_texts():
    assert unrelated_floor(["a b", "b c", "c a"]) == pytest.approx(1 / 3)
    assert unrelated_floor(["a"] * 2000) == 1.0
    with pytest.raises(ValueError, match="two texts"):
        unrelated_floor(["a"])


def test_the_floor_of_humaneval_bodies():
    with gzip.open(shared("data", "humaneval", "HumanEval.jsonl.gz"), "rt", encoding="utf-8") as file:
        bodies = [json.loads(line)["canonical_solution"] for line in file]
    assert len(bodies) == 164
    assert unrelated_floor(bodies) == pytest.approx(0.2654, abs=0.0001)
