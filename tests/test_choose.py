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
from bakeoff.tasks.medmcqa import HUB_ID, MedMcqa
from bakeoff.tasks.sst2_imdb import IMDB, SST2, Sst2Imdb
from bakeoff.tasks.task import Completion, splits

KEY = "ab" * 32


def reviews() -> dict[str, str]:
    return {SST2: str(shared("data", "sst2")), IMDB: str(shared("data", "imdb"))}


def exam() -> dict[str, str]:
    return {HUB_ID: str(shared("data", "medmcqa", "dev.json"))}


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


# --- medmcqa ---


def test_medmcqa_from_one_file_holds_a_quarter_out_and_says_so():
    sources = exam()
    train, test = MedMcqa().train(sources, None), MedMcqa().test("medmcqa", sources, None)
    assert (len(train), len(test)) == (3_138, 1_045)
    assert not {example.id for example in train} & {example.id for example in test}
    folder = {HUB_ID: str(Path(sources[HUB_ID]).parent)}
    assert MedMcqa().train(folder, None) == train and MedMcqa().test("medmcqa", folder, 7) != []
    told = MedMcqa().remark(sources)
    assert told == MedMcqa().remark(folder)
    assert told.startswith("training and test set both come from one split: 1,045 of its 4,183 rows")
    counts = {letter: sum(e.answer == letter for e in (*train, *test)) for letter in "ABCD"}
    assert counts == {"A": 1348, "B": 1085, "C": 925, "D": 825}


def test_medmcqa_is_asked_in_lm_evals_words():
    """The row of the file with the first question, whose right option is the first."""
    sources = exam()
    every = {e.id: e for e in (*MedMcqa().train(sources, None), *MedMcqa().test("medmcqa", sources, None))}
    example = every["45258d3d-b974-44dd-a161-c3fccbdadd88"]
    assert example.messages[1].content == (
        "Question: Which of the following is not true for myelinated nerve fibers:\n"
        "Choices:\n"
        "A. Impulse through myelinated fibers is slower than non-myelinated fibers\n"
        "B. Membrane currents are generated at nodes of Ranvier\n"
        "C. Saltatory conduction of impulses is seen\n"
        "D. Local anesthesia is effective only when the nerve is not covered by myelin sheath\n"
        "Answer:"
    )
    assert (example.answer, example.choices) == ("A", ("A", "B", "C", "D"))


def _rows(path: Path, answers: list[int]) -> None:
    row = {"question": "q", "opa": "w", "opb": "x", "opc": "y", "opd": "z"}
    path.write_text("".join(json.dumps({**row, "id": str(i), "cop": cop}) + "\n" for i, cop in enumerate(answers)))


@pytest.mark.parametrize("first", [0, 1])
def test_answers_that_count_from_0_and_from_1_are_the_same(tmp_path, first):
    for split in ("train", "validation"):
        _rows(tmp_path / f"{split}.jsonl", [first, first + 3, first + 1, first + 2])
    sources = {HUB_ID: str(tmp_path)}
    assert [example.answer for example in MedMcqa().train(sources, None)] == ["A", "D", "B", "C"]
    assert [example.answer for example in MedMcqa().test("medmcqa", sources, None)] == ["A", "D", "B", "C"]
    assert MedMcqa().remark(sources) == ""


@pytest.mark.parametrize("answers", [[1, 2, 3], [0, 4], [1, 5], [-1, -1], [0, -1]])
def test_answers_of_which_nobody_knows_where_they_count_from_are_an_error(tmp_path, answers):
    _rows(tmp_path / "train.jsonl", answers)
    with pytest.raises(InputError, match="split train, field 'cop': cannot tell where it counts from"):
        MedMcqa().train({HUB_ID: str(tmp_path)}, None)


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
  - {{use: medmcqa, train_limit: 12, test_limit: 12}}
methods:
  base: {{use: base}}
  lora: {{use: lora, r: 2, target_modules: [query, value]}}
training: {{learning_rate: 5e-3, per_device_train_batch_size: 4, max_steps: 3}}
seeds: [0, 1]
data:
  stanfordnlp/sst2: {data}/sst2
  stanfordnlp/imdb: {data}/imdb
  openlifescienceai/medmcqa: {data}/medmcqa
"""


@pytest.mark.slow
def test_reviews_and_exams_run_to_their_report(tmp_path):
    """On stories260K: by likelihood and written, every metric in the record and on the page, cut reviews told."""
    text = STUDY.format(model=shared("models", "stories260K"), data=shared("data"), how="{max_new_tokens: 12}")
    (tmp_path / "reviews.yaml").write_text(text)
    finished = run(load(tmp_path / "reviews.yaml"), tmp_path / "out")
    for record in finished.failed:  # so small a model, trained for three steps, may say one thing to all
        assert record.status == "diverged" and record.reason.startswith("one answer to everything")
    store = Store.open(tmp_path / "out")
    plan = store.plan()
    for trial in plan["trials"]:
        record = store.record(trial["key"])
        ((benchmark, told),) = record.benchmarks.items()
        wanted = {
            "sst2_imdb": ["accuracy", "loss", "f1_binary", "precision_binary", "recall_binary"],
            "written": ["accuracy", "f1_binary", "precision_binary", "recall_binary"],
            "medmcqa": ["accuracy", "f1_macro"],
        }[trial["task"]]
        assert list(told.metrics) == wanted and told.n_items == 12
        size = max(len(line) for line in (store.trials / trial["key"] / "samples.jsonl").read_text().splitlines())
        assert size < 450, "25,000 reviews times methods times seeds are kept"
        assert benchmark == ("medmcqa" if trial["task"] == "medmcqa" else "imdb")
    page = (store.directory / "report.html").read_text()
    assert "f1_binary" in page and "Gold:" in page and "said negative" in page and "prompts cut" in page
    told = "training and test set both come from one split"
    assert told in page and told in (store.directory / "report.md").read_text()


def test_splits_of_the_whole_are_what_a_study_asks_for():
    spec = TaskSpec(use="sst2_imdb", train_limit=30, test_limit=12)
    found = splits(Sst2Imdb(), spec, reviews())
    assert len(found.train) == 30 and list(found.benchmarks) == ["imdb"]
    assert found.fingerprint == splits(Sst2Imdb(), spec, reviews()).fingerprint
