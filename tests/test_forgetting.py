"""Losses that are no training loss: of held-out text before and after training, and of reference answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from conftest import tiny_backbone, tiny_model, tiny_tokenizer
from scipy import stats
from test_encoder_decoder import tiny_t5
from test_laws import _stirred, method
from toy import ToyText

import bakeoff
from bakeoff.data.messages import encode_text
from bakeoff.engine import reference
from bakeoff.engine.evaluate import answer, questions, text_losses
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.plain import Plain
from bakeoff.errors import InputError
from bakeoff.run import plan as planning
from bakeoff.run.run import run
from bakeoff.study.load import dump, load
from bakeoff.study.spec import Decoding
from bakeoff.tasks.task import Completion, Example, Grade

STUDY = """
study: toy
models: {{tiny: {{path: {model}}}}}
tasks: [toy]
methods:
  base: {{use: base}}
  lora: {{use: lora, r: 2, target_modules: all-linear}}
  prompt: {{use: prompt_tuning, num_virtual_tokens: 4}}
training: {{learning_rate: 5e-2, per_device_train_batch_size: 4, max_steps: 4}}
seeds: [0, 1]
plugins: [{plugin}]
"""
TEXTS = ["w20 w21 w22 w23 w24", "w30 w31", "  ", "w40 " * 500, "w50 w51 w52"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("forgetting")
    tiny_model("llama").save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    plain = STUDY.format(model=folder / "model", plugin=Path(__file__).with_name("toy.py"))
    (folder / "plain.yaml").write_text(plain)
    (folder / "asked.yaml").write_text(plain + "forgetting: {text: texts.jsonl, limit: 4}\n")
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return folder


@pytest.fixture(scope="module", params=["lanes", "reference"])
def finished(request, place):
    return run(load(place / "asked.yaml"), place / request.param, engine=request.param)


def by_hand(backbone, texts: list[str], context: int) -> tuple[float, int]:
    """Nats and tokens of texts under the bare model, by Hugging Face's own loss."""
    nats, tokens = 0.0, 0
    for text in texts:
        ids = torch.tensor([[0, *backbone.tokenizer(text, add_special_tokens=False)["input_ids"]][:context]])
        own = ids.shape[1] - 1
        nats += float(backbone.model(input_ids=ids, labels=ids).loss) * own
        tokens += own
    return nats, tokens


def test_the_loss_of_held_out_text_before_and_after(finished, place):
    records = [finished.store.record(trial["key"]) for trial in finished.store.plan()["trials"]]
    nats, tokens = by_hand(tiny_backbone("llama"), [text for text in TEXTS if text.strip()], 256 - 64)
    for record in records:
        assert record.text_loss and (record.text_loss.texts, record.text_loss.tokens) == (4, tokens)
        assert record.text_loss.before == pytest.approx(nats / tokens, abs=1e-5)
        assert (record.text_loss.change == 0) == (record.trial.method == "base")
    assert len({record.text_loss.after for record in records if record.text_loss}) == 5


def test_the_report_shows_the_change_with_every_seed(finished):
    (lora,) = [cell for cell in bakeoff.open(finished.store.directory).cells if cell.method == "lora"]
    losses = [
        record.text_loss
        for trial in finished.store.plan()["trials"]
        if trial["method"] == "lora" and (record := finished.store.record(trial["key"])).text_loss
    ]
    assert lora.text_loss_changes == tuple(loss.change for loss in losses if loss) and len(lora.text_loss_changes) == 2
    low, high = lora.text_loss_interval
    assert (low, high) == pytest.approx(stats.ttest_1samp(lora.text_loss_changes, 0).confidence_interval())
    published = json.loads((finished.store.directory / "results.json").read_text())["cells"]
    told = next(cell for cell in published if cell["method"] == "lora")
    assert told["text_loss_after"] == pytest.approx(sum(loss.after for loss in losses if loss) / 2)
    assert (told["text_loss_change_low"], told["text_loss_change_high"]) == (low, high)
    for name in ("report.md", "report.html"):
        page = (finished.store.directory / name).read_text()
        assert "text loss change" in page and "Forgetting" in page
        assert all(f"{abs(change):.3f}" in page for change in lora.text_loss_changes)


def test_both_engines_tell_the_same(place):
    told = []
    for engine in ("lanes", "reference"):
        store = run(load(place / "asked.yaml"), place / engine, engine=engine).store
        told.append([store.record(t["key"]).text_loss for t in store.plan()["trials"]])
    for one, other in zip(*told, strict=True):
        assert one and other
        assert one.before == pytest.approx(other.before, abs=1e-5)
        assert one.after == pytest.approx(other.after, abs=1e-4)


def test_only_a_study_that_asks_has_other_keys(place):
    plain, asked = (planning.make(load(place / f"{name}.yaml")) for name in ("plain", "asked"))
    changed = planning.make(load(place / "asked.yaml", ["forgetting.limit=2"]))
    again = planning.make(load(place / "asked.yaml"))
    keys = [{trial.key() for trial in one.trials} for one in (plain, asked, changed, again)]
    assert not keys[0] & keys[1] and not keys[1] & keys[2] and keys[1] == keys[3]
    assert "forgetting" not in json.loads(plain.as_json())
    assert json.loads(asked.as_json())["forgetting"]["texts"] == 4
    (place / "again.yaml").write_text(dump(asked.study))
    assert load(place / "again.yaml").forgetting == asked.study.forgetting


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("forgetting.text=nowhere.jsonl", "nowhere.jsonl"),
        ("forgetting.field=txt", "field 'txt'"),
        ("forgetting.limits=3", "forgetting.limits: unknown key; did you mean 'limit'"),
        ("forgetting={limit: 3}", "forgetting.text: is missing"),
        ("forgetting=[a]", "forgetting: expected a mapping"),
    ],
)
def test_what_cannot_be_asked_is_said_at_once(place, setting, message):
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        planning.make(load(place / "asked.yaml", [setting]))


def test_text_without_words_is_refused(place):
    (place / "blank.jsonl").write_text('{"text": " "}\n')
    with pytest.raises(InputError, match="holds no text in 'text'"):
        planning.make(load(place / "asked.yaml", [f"forgetting.text={place / 'blank.jsonl'}"]))


def test_an_encoder_decoder_model_has_no_loss_of_text_and_the_report_says_so(place):
    folder = place / "t5"
    t5 = tiny_t5()
    t5.model.save_pretrained(folder)
    t5.tokenizer.save_pretrained(folder)
    settings = [f"models.t5.path={folder}", "seeds=[0]", "methods={lora: {use: lora, r: 2, target_modules: [query]}}"]
    store = run(load(place / "asked.yaml", settings), place / "out-t5").store
    told = {trial["model"]: store.record(trial["key"]).text_loss for trial in store.plan()["trials"]}
    assert told["t5"] is None and told["tiny"]
    for name in ("report.md", "report.html"):
        assert "Not available for t5" in (store.directory / name).read_text()


@pytest.mark.parametrize("name", ["prompt_tuning", "prefix_tuning", "lora", "loreft", "full"])
def test_engines_agree_on_text_under_every_kind_of_adapter(name):
    backbone = tiny_backbone("llama")
    adapter = _stirred(method(name), backbone)
    items = [encode_text(backbone.tokenizer, text, 60) for text in TEXTS if text.strip()]
    (own,) = text_losses(Lanes(backbone, [adapter]), items)
    assert own == pytest.approx(reference.text_loss(Plain(backbone, adapter).eval(), items), abs=1e-5)


# --- the loss of reference answers ---


class Judged(ToyText):
    """Free text, with the loss of the reference answer among the scores."""

    metrics = ("accuracy", "loss")

    def grade(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Grade]:
        grades = super().grade(examples, completions)
        pairs = zip(grades, completions, strict=True)
        return [Grade(scores={**grade.scores, "loss": one.loss or 0.0}) for grade, one in pairs]


def test_a_task_may_ask_for_the_loss_of_its_reference_answers():
    """Nats per token of the answer and its end of turn, the same for every draw, equal in both engines and by hand."""
    backbone = tiny_backbone("llama")
    how = Decoding(max_new_tokens=3, temperature=1.0, samples=2)
    rows = Judged().test("toy_text", {}, 5)
    ask = questions(Judged(), "toy_text", rows, how, backbone.tokenizer, 200)
    adapter = method("base").attach(backbone, torch.Generator())
    drawn = answer(Lanes(backbone, [adapter]), ask, ["ab" * 32])[0]
    other = reference.answer(Plain(backbone, adapter).eval(), ask, "ab" * 32)
    for row, own, again in zip(rows, drawn, other, strict=True):
        words = " ".join(message.content for message in row.messages) + " </s>"
        ids = torch.tensor([[*backbone.tokenizer(words, add_special_tokens=False)["input_ids"]]])
        labels = torch.full_like(ids, -100)
        labels[0, -2:] = ids[0, -2:]
        wanted = float(backbone.model(input_ids=ids, labels=labels).loss)
        assert [one.loss for one in (*own, *again)] == pytest.approx([wanted] * 4, abs=1e-5)
    plain = questions(ToyText(), "toy_text", rows, how, backbone.tokenizer, 200)
    assert all(one.loss is None for own in answer(Lanes(backbone, [adapter]), plain, ["ab" * 32])[0] for one in own)
