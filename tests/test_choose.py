"""The tasks of labels on real data, and labels that are written instead of scored."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from conftest import shared, tiny_backbone
from test_laws import _stirred, method
from toy import Toy

from bakeoff.engine import reference
from bakeoff.engine.evaluate import answer, graded, questions
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.plain import Plain
from bakeoff.errors import InputError
from bakeoff.run import plan as planning
from bakeoff.run.run import run
from bakeoff.store.store import Store
from bakeoff.study.load import load
from bakeoff.study.spec import TaskSpec
from bakeoff.tasks.sst2_imdb import IMDB, SST2, Sst2Imdb
from bakeoff.tasks.task import Completion, splits

KEY = "ab" * 32


def reviews() -> dict[str, str]:
    return {SST2: str(shared("data", "sst2")), IMDB: str(shared("data", "imdb"))}


# --- sst2_imdb ---


@pytest.mark.slow
def test_the_whole_of_sst2_and_imdb():
    sources = reviews()
    train, test = Sst2Imdb().train(sources, None), Sst2Imdb().test("imdb", sources, None)
    assert (len(train), len(test)) == (67_349, 25_000)
    assert sum(example.answer == "positive" for example in test) == 12_500
    assert not any("<br" in example.prompt[-1].content for example in test)
    assert len({example.id for example in (*train, *test)}) == len(train) + len(test)


def test_a_review_is_asked_for_as_a_sentence_is():
    sources = reviews()
    sentence, review = Sst2Imdb().train(sources, 1)[0], Sst2Imdb().test("imdb", sources, 1)[0]
    for example in (sentence, review):
        assert [message.role for message in example.messages] == ["system", "user", "assistant"]
        assert example.choices == ("negative", "positive") and example.answer in example.choices
    assert sentence.messages[0] == review.messages[0]


@pytest.mark.parametrize("limit", [8, 20, 64, 200, 1000, 2000])
def test_a_limit_leaves_both_classes_about_as_they_were(limit):
    """Within three standard deviations of a fair draw."""
    examples = Sst2Imdb().test("imdb", reviews(), limit)
    positive = sum(example.answer == "positive" for example in examples)
    assert len(examples) == limit
    assert abs(positive - limit / 2) <= 3 * math.sqrt(limit) / 2 and 0 < positive < limit


def test_what_a_review_is_scored_by():
    example = Sst2Imdb().test("imdb", reviews(), 1)[0]
    other = "positive" if example.answer == "negative" else "negative"
    scored = Completion(text=other, logprobs=(-3.0, -3.0))
    written = Completion(text=f" {example.answer.title()}!")
    first, second = Sst2Imdb().grade([example, example], [scored, written])
    assert first.scores == {"accuracy": 0.0, "loss": pytest.approx(math.log(2))}
    assert second.scores == {"accuracy": 1.0}
    assert second.detail == {"gold": example.answer, "chosen": example.answer, "positive": "positive"}


# --- labels that are written ---


@pytest.mark.parametrize("name", ["base", "lora", "prefix_tuning"])
def test_both_engines_write_the_same_labels(name):
    """The model's greedy text, in which a label is looked for; nothing is scored."""
    backbone = tiny_backbone("llama")
    adapter = _stirred(method(name), backbone)
    rows = Toy().test("toy", {}, 12)
    ask = questions(Toy(), "toy", rows, None, backbone.tokenizer, 150, "generate")
    assert not ask.scored and all(item.leaves == () for item in ask.encoded)
    own = answer(Lanes(backbone, [adapter]), ask, [KEY])[0]
    assert reference.answer(Plain(backbone, adapter).eval(), ask, KEY) == own
    assert all(one.logprobs == () and one.text for (one,) in own)
    assert all("logprobs" not in sample.detail for sample in graded(ask, own))


def test_answering_is_part_of_a_trials_key_and_only_where_it_is_asked(tmp_path):
    study = "study: s\nmodels: {nano: {path: NANO}}\ntasks: [TASK]\nmethods: {base: {use: base}}\n"
    keys, path = [], tmp_path / "none"
    for i, task in enumerate(
        ("mini_sentiment", *(f"{{use: mini_sentiment, answering: {a}}}" for a in ("likelihood", "generate")))
    ):
        path = tmp_path / f"{i}.yaml"
        path.write_text(study.replace("NANO", _nano()).replace("TASK", task))
        made = planning.make(load(path, limit=12))
        keys.append(made.trials[0].key())
        told = json.loads(made.as_json())["tasks"]["mini_sentiment"]
        assert told["answering"] == ("generate" if i == 2 else "likelihood")
    assert keys[0] == keys[1] != keys[2]
    path.write_text(study.replace("NANO", _nano()).replace("TASK", "{use: mini_math, answering: generate}"))
    with pytest.raises(InputError, match=r"tasks\.mini_math\.answering: mini_math has no labels"):
        planning.make(load(path, limit=12))


def _nano() -> str:
    import bakeoff.nano

    return str(Path(bakeoff.nano.__file__).parent)


STUDY = """
study: reviews
models: {{small: {{path: {model}}}}}
tasks:
  - {{use: sst2_imdb, train_limit: 16, test_limit: 12}}
  - {{use: sst2_imdb, name: written, train_limit: 16, test_limit: 12, answering: generate, decoding: {how}}}
methods:
  base: {{use: base}}
  lora: {{use: lora, r: 2, target_modules: [query, value]}}
training: {{learning_rate: 5e-3, per_device_train_batch_size: 4, max_steps: 3}}
seeds: [0, 1]
data:
  stanfordnlp/sst2: {data}/sst2
  stanfordnlp/imdb: {data}/imdb
"""


@pytest.mark.slow
def test_reviews_and_exams_run_to_their_report(tmp_path):
    """On stories260K: by likelihood and written, every metric in the record and on the page, cut reviews told."""
    text = STUDY.format(model=shared("models", "stories260K"), data=shared("data"), how="{max_new_tokens: 12}")
    (tmp_path / "reviews.yaml").write_text(text)
    finished = run(load(tmp_path / "reviews.yaml"), tmp_path / "out")
    assert finished.failed == ()
    store = Store.open(tmp_path / "out")
    plan = store.plan()
    for trial in plan["trials"]:
        record = store.record(trial["key"])
        ((benchmark, told),) = record.benchmarks.items()
        wanted = {
            "sst2_imdb": ["accuracy", "loss", "f1_binary", "precision_binary", "recall_binary"],
            "written": ["accuracy", "f1_binary", "precision_binary", "recall_binary"],
        }[trial["task"]]
        assert list(told.metrics) == wanted and told.n_items == 12
        size = max(len(line) for line in (store.trials / trial["key"] / "samples.jsonl").read_text().splitlines())
        assert size < 450, "25,000 reviews times methods times seeds are kept"
        assert benchmark == "imdb"
    page = (store.directory / "report.html").read_text()
    assert "f1_binary" in page and "Gold:" in page and "said negative" in page and "prompts cut" in page


def test_splits_of_the_whole_are_what_a_study_asks_for():
    spec = TaskSpec(use="sst2_imdb", train_limit=30, test_limit=12)
    found = splits(Sst2Imdb(), spec, reviews())
    assert len(found.train) == 30 and list(found.benchmarks) == ["imdb"]
    assert found.fingerprint == splits(Sst2Imdb(), spec, reviews()).fingerprint
