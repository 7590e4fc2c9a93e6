"""The benchmark's cases on a tiny model: the same numbers in both engines, and every key of the JSON. No timings."""

from __future__ import annotations

import json

import pytest
from conftest import tiny_backbone
from test_laws import examples

from bakeoff.bench import cases
from bakeoff.bench.inputs import Inputs, inputs
from bakeoff.bench.measure import Pair, case, gemm_rate, machine
from bakeoff.bench.show import line, markdown, payload, text
from bakeoff.data.messages import Encoded
from bakeoff.engine.meter import flops
from bakeoff.errors import InputError

KEYS = {"name", "ratio", "max_loss_difference", "fraction_of_gemm", "ratio_length_sorted", "pairs", "trunk_tokens"}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(cases, "BATCH", 4)
    monkeypatch.setattr(cases, "REVIEWS", 3)
    monkeypatch.setattr(cases, "LONGEST", 9)
    monkeypatch.setattr(cases, "SHORTEST", 2)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_training_pairs_have_equal_losses(kind):
    pairs, trunk, more = cases.train_matrix(tiny_backbone(kind), examples(12), seeds=1)
    assert (len(pairs), trunk, more["trials"]) == (2, 5, 4)
    assert all(pair.flops > 0 and pair.difference < 1e-5 for pair in pairs)
    assert more["padded_tokens"] > more["real_tokens"]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_labels_score_the_same(kind):
    pairs, _, _ = cases.score_labels(tiny_backbone(kind), examples(6, leaves=2))
    assert len(pairs) == 2 and all(pair.difference < 1e-4 and pair.length_sorted > 0 for pair in pairs)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_texts_are_the_same_and_stop_where_told(kind):
    prompts = [Encoded(tuple(range(4, 14)), ()), *(Encoded((*range(4, 13), n), ()) for n in range(20, 27))]
    pairs, _, more = cases.generate_texts(tiny_backbone(kind), prompts, 1)
    assert pairs[0].difference < 1e-4
    assert more["same_texts"] == more["texts"] == 40
    assert sorted(cases.stop_lengths(8)) == [2, 3, 4, 5, 6, 7, 8, 9]


def test_the_result_is_json_and_markdown_with_the_named_keys():
    pairs = [Pair(lanes=1, plain=seconds, flops=5e8, difference=1e-7) for seconds in (2, 9, 4)]
    one = case("train/x", pairs, gemm=1e9, trunk=33, wanted=4, what="some work", real_tokens=7)
    found = json.loads(text(payload([one], Inputs({"stories3M": "x"}, {}), machine())))
    row = found["cases"][0]
    assert row.keys() >= KEYS
    assert (row["ratio"], row["fraction_of_gemm"], row["real_tokens"]) == (4, 0.5, 7)
    assert "stories3M" in found["token_lengths_from"] and "| `train/x` |" in markdown(found)
    assert line(one).startswith("train/x: 4.00 x, wanted 4;")


def test_operations_are_those_of_the_products():
    import torch

    a = torch.ones(3, 5)
    assert flops(lambda: a @ a.T) == 2 * 3 * 5 * 3
    assert gemm_rate(64, 1) > 0


def test_what_is_absent_or_unknown_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="stories3M"):
        _ = inputs([], []).gpt2_124m
    with pytest.raises(InputError, match="stanfordnlp/sst2"):
        inputs([], ["stanfordnlp/sst=x"])
    with pytest.raises(InputError, match="train/gpt2-124m/sst2"):
        cases.named(["train/gpt2-124m/sst"])
    file = tmp_path / "bench.yaml"
    file.write_text("models: {stories3M: {path: m}}\ndata: {stanfordnlp/sst2: s}\n")
    found = inputs([], ["stanfordnlp/sst2=elsewhere"], file)
    assert found.models == {"stories3M": str(tmp_path / "m")} and found.data == {"stanfordnlp/sst2": "elsewhere"}
