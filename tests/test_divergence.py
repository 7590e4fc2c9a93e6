"""A loss that explodes, weights that are no numbers, one answer to everything: told, and never averaged away."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from conftest import VOCABULARY, tiny_backbone, tiny_model, tiny_tokenizer
from torch import nn

import bakeoff
from bakeoff.analysis.collapsed import collapsed
from bakeoff.analysis.tuning import outcome
from bakeoff.data.messages import Encoded
from bakeoff.engine import reference
from bakeoff.engine.divergence import exploded, unfit
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.plain import Plain
from bakeoff.engine.randomness import generator
from bakeoff.engine.train import Learner, train
from bakeoff.methods.method import build
from bakeoff.run.run import run
from bakeoff.store.record import CurveRow, Sample
from bakeoff.study.load import load
from bakeoff.study.spec import Training

STUDY = """
study: toy
models: {{tiny: {{path: {model}}}}}
tasks: [toy_labels]
methods:
  base: {{use: base}}
  lora: {{use: lora, r: 2, target_modules: all-linear}}
training: {{learning_rate: 5e-3, per_device_train_batch_size: 4, max_steps: 5}}
plugins: [{plugin}]
"""
PLUGIN = '''
import sys
sys.path.insert(0, {tests!r})
from typing import ClassVar
from bakeoff.grading.labels import grade_choice
from bakeoff.tasks.task import Grade
from toy import Toy


class ToyLabels(Toy):
    """Low words or high words, graded as labels."""

    name: ClassVar[str] = "toy_labels"
    benchmarks: ClassVar[tuple[str, ...]] = ("toy_labels",)

    def grade(self, examples, completions):
        return [
            Grade(**grade_choice(e.choices, e.answer, c.text, c.logprobs))
            for e, c in zip(examples, completions, strict=True)
        ]
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    tiny_model("llama").save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    (folder / "labels.py").write_text(PLUGIN.format(tests=str(Path(__file__).parent)))
    (folder / "toy.yaml").write_text(STUDY.format(model=folder / "model", plugin=folder / "labels.py"))
    return folder


def curve(*losses: float) -> list[CurveRow]:
    return [CurveRow(step=i, loss=loss, learning_rate=1, grad_norm=1) for i, loss in enumerate(losses, start=1)]


def test_a_loss_explodes_above_twice_no_knowledge_in_ten_steps_running():
    told = exploded(curve(4.5, 4, *[9.3] * 10), math.log(97))
    assert told.startswith("the loss exploded: it was above 9.15 nats in 10 steps running, 9.3 at step 12; it began at")
    assert not exploded(curve(4.5, *[9.3] * 9, 9.1), math.log(97))
    assert not exploded(curve(4.5, *[99] * 9), math.log(97))
    assert not exploded(curve(5, *[20] * 10), math.log(50_000))  # for so many tokens it is no more than a bad start
    assert not exploded(curve(12, *[20] * 10), math.log(97))  # nor where it began badly
    assert not exploded(curve(5, *[99] * 10), math.inf)
    assert not exploded([], 1.0)


def test_weights_that_are_no_numbers_are_named():
    layer = nn.Linear(2, 2)
    assert not unfit(layer)
    with torch.no_grad():
        layer.bias[0] = math.inf
    assert unfit(layer) == "1 of 2 trained tensors are not finite, bias first"


def learners(engine: str) -> list[Learner]:
    """Two of a group, the first with a curve before it that makes its loss an explosion."""
    backbone = tiny_backbone("llama")
    adapters = [
        build("lora", {"r": 2, "target_modules": "all-linear"}).attach(backbone, generator(s, "init")) for s in (0, 1)
    ]
    wrapped = adapters if engine == "lanes" else [Plain(backbone, adapter) for adapter in adapters]
    training = Training(max_steps=14, per_device_train_batch_size=2)
    items = [Encoded((3, 4, 5), ((i, 6),)) for i in range(7, 20)]
    ones = [Learner(str(i), adapter, items, training, i) for i, adapter in enumerate(wrapped)]
    ones[0].uniform, ones[0].curve = 1.0, curve(2.0)
    if engine == "lanes":
        train(Lanes(backbone, adapters), ones)
    else:
        for one in ones:
            reference.train(one)
    return ones


@pytest.mark.parametrize("engine", ["lanes", "reference"])
def test_a_lane_whose_loss_explodes_is_left_out_alone(engine):
    wild, calm = learners(engine)
    assert wild.diverged.startswith("the loss exploded: it was above 4 nats in 10 steps running")
    assert (len(wild.curve), len(calm.curve), calm.diverged) == (1 + 10, 14, "")


def test_weights_that_end_as_no_numbers_diverged():
    """The last step's loss and gradient are finite, and what it makes of the weights is not."""
    backbone = tiny_backbone("llama")
    adapter = build("lora", {"r": 2, "target_modules": "all-linear"}).attach(backbone, generator(0, "init"))
    items = [Encoded((3, 4, 5), ((6,),))]
    one = Learner(
        "it", adapter, items, Training(learning_rate=3e37, max_steps=1, weight_decay=1e30, max_grad_norm=0), 0
    )
    train(Lanes(backbone, [adapter]), [one])
    assert len(one.curve) == 1 and "trained tensors are not finite" in one.diverged


def test_a_run_whose_loss_explodes_has_no_answers(place):
    settings = ["methods.full={use: full, training: {learning_rate: 10, max_grad_norm: 0, max_steps: 16}}"]
    outcome = run(load(place / "toy.yaml", settings), place / "exploding")
    (lost,) = outcome.failed
    assert (lost.trial.method, lost.status) == ("full", "diverged")
    assert lost.reason.startswith("the loss exploded: it was above 9.")
    rows = outcome.store.curve(lost.key)
    assert 10 < len(rows) < 16 and all(row.loss > 2 * math.log(VOCABULARY) for row in rows[-10:])
    assert outcome.store.adapter(lost.key).exists() and not outcome.store.samples(lost.key)


def sample(benchmark: str, i: int, said: str, gold: str | None) -> Sample:
    detail = {} if gold is None else {"gold": gold, "chosen": said}
    return Sample(benchmark=benchmark, id=str(i), text=said, scores={"accuracy": float(said == gold)}, detail=detail)


def test_one_answer_to_all_items_of_every_benchmark_of_labels_is_a_collapse():
    def made(benchmark, said, gold, n=12):
        return [sample(benchmark, i, said(i), gold(i)) for i in range(n)]

    yes, either = (lambda _: "yes"), (lambda i: "yes" if i % 3 else "no")
    same = made("a", yes, either)
    assert collapsed(same) == 'one answer to everything: "yes" to all 12 items of a, of which 4 have another label'
    assert collapsed(same + made("b", yes, either)).count("of which") == 2
    assert not collapsed(same + made("b", either, either))  # one of two: it keeps its scores, and is doubted there
    assert not collapsed(made("a", yes, either, 9))  # of few items it tells nothing
    assert not collapsed(made("a", yes, yes))  # the labels are all the same, too
    assert not collapsed(made("a", yes, lambda _: None))  # texts, no labels


def test_a_trained_constant_predictor_is_shown_and_has_no_mean(place, monkeypatch):
    """The base gives one answer, too, but nothing trained it."""
    from bakeoff.tasks.task import Completion

    def first(example, scores):
        return Completion(text=example.choices[0], logprobs=tuple(scores))

    monkeypatch.setattr("bakeoff.engine.evaluate.chosen", first)
    outcome = run(load(place / "toy.yaml"), place / "constant")
    (lost,) = outcome.failed
    assert (lost.trial.method, lost.status) == ("lora", "diverged")
    assert lost.reason.startswith('one answer to everything: "w3" to all 12 items of toy_labels, of which ')
    assert len(outcome.store.samples(lost.key)) == 12 and lost.benchmarks["toy_labels"].metrics
    assert tuned(lost) == (None, "diverged")
    cells = {c["method"]: c for c in json.loads((outcome.store.directory / "results.json").read_text())["cells"]}
    assert (cells["lora"]["status"], cells["lora"]["mean"], cells["lora"]["diverged_runs"]) == ("diverged", None, 1)
    assert cells["base"]["status"] == "done"
    found = bakeoff.open(outcome.store.directory)
    assert any(doubt.kind == "diverged" and 'one answer to everything: "w3"' in doubt.text for doubt in found.doubts)
    check = next(check for check in found.lint if check.name == "constant predictor")
    assert check.state == "found" and "gave one answer to every item, and no score" in check.text
    (answers,) = (one for one in found.confusions if one.method == "lora")
    assert (answers.constant, answers.constant_runs) == (("w3",), 1)
    assert 'one answer to everything: "w3"' in (outcome.store.directory / "report.md").read_text()


def tuned(record) -> tuple[float | None, str]:
    """What tuning makes of it."""
    tried = outcome(1.0, record)
    return tried.goodness, tried.status
