"""Answers through the functions a run calls: both engines' text, what draws depend on, what is cut to fit."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from conftest import tiny_backbone, tiny_model, tiny_tokenizer
from test_laws import _stirred, method
from toy import Toy, ToyText

from bakeoff.engine import reference
from bakeoff.engine.evaluate import answer, questions
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.plain import Plain
from bakeoff.models.backbone import Backbone
from bakeoff.run.plan import context_for
from bakeoff.study.spec import Decoding

KEY = "ab" * 32


def asked(decoding: Decoding, count: int = 12, benchmark: str = "toy_text", context: int = 200):
    task = ToyText()
    rows = task.test("toy_text", {}, count)
    return questions(task, benchmark, rows, decoding, tiny_tokenizer(), context)


@pytest.mark.parametrize("name", ["base", "lora", "prefix_tuning", "loreft", "combine", "full"])
def test_the_reference_writes_what_lanes_write(name):
    """Greedy texts, and which of them were cut short, in both engines; what the model's authors set plays no part."""
    model = tiny_model("llama")
    model.generation_config.repetition_penalty = 3.0
    backbone = Backbone(model, tiny_tokenizer())
    adapter = _stirred(method(name), backbone)
    ask = asked(Decoding(max_new_tokens=8))
    words = Counter(word for (one,) in answer(Lanes(backbone, [adapter]), ask, [KEY])[0] for word in one.text.split())
    often = tiny_tokenizer().convert_tokens_to_ids(words.most_common(3)[2][0])
    with torch.no_grad():  # the end of turn in place of a frequent word, so that some texts end by themselves
        model.lm_head.weight[[1, often]] = model.lm_head.weight[[often, 1]].clone()
    own = answer(Lanes(backbone, [adapter]), ask, [KEY])[0]
    assert reference.answer(Plain(backbone, adapter).eval(), ask, KEY) == own
    assert {one.truncated for (one,) in own} == {True, False}


def test_draws_examples_and_benchmarks_have_chances_of_their_own():
    """Two draws of one example differ; so do two examples of one prompt, two benchmarks of one example, two trials."""
    how = Decoding(max_new_tokens=8, temperature=1.0, samples=2)
    backbone = tiny_backbone("llama")
    first, *_ = ToyText().test("toy_text", {}, 1)
    rows = [first, first.model_copy(update={"id": "other"})]
    lanes = Lanes(backbone, [method("base").attach(backbone, torch.Generator())] * 2)
    texts: list[str] = []
    for benchmark in ("toy_text", "toy_more"):
        ask = questions(ToyText(), benchmark, rows, how, backbone.tokenizer, 200)
        drawn = answer(lanes, ask, [KEY, "cd" * 32])
        assert drawn == answer(lanes, ask, [KEY, "cd" * 32])
        texts += [one.text for lane in drawn for example in lane for one in example]
    assert len(texts) == len(set(texts)) == 2 * 2 * 2 * 2


def test_the_references_draws_differ():
    how = Decoding(max_new_tokens=8, temperature=1.0, samples=2)
    backbone = tiny_backbone("llama")
    model = Plain(backbone, method("base").attach(backbone, torch.Generator())).eval()
    drawn = reference.answer(model, asked(how, 4), KEY)
    assert [len(own) for own in drawn] == [2] * 4
    assert all(a.text != b.text for a, b in drawn)
    assert drawn == reference.answer(model, asked(how, 4), KEY)
    assert drawn != reference.answer(model, asked(how, 4), "cd" * 32)
    narrow = how.model_copy(update={"top_p": 1e-6, "samples": 1})
    greedy = Decoding(max_new_tokens=8)
    assert reference.answer(model, asked(narrow, 4), KEY) == reference.answer(model, asked(greedy, 4), KEY)


# --- what fits ---


def test_prompts_are_cut_in_the_middle_and_counted():
    """A prompt is w10 w11 and the sentence; with 14 tokens of context and 5 to be drawn, 9 of it stay."""
    ask = asked(Decoding(max_new_tokens=5), context=14)
    words = [[10, 11, *(int(word[1:]) for word in row.prompt[-1].content.split())] for row in ask.examples]
    assert 0 < ask.cut == sum(len(ids) > 9 for ids in words) < len(words)
    for ids, item in zip(words, ask.encoded, strict=True):
        assert item.cut == max(0, len(ids) - 9)
        assert list(item.prompt) == (ids if len(ids) <= 9 else [*ids[:5], *ids[-4:]])


def test_labels_take_their_room_from_the_prompt():
    rows = Toy().test("toy", {}, 12)
    ask = questions(Toy(), "toy", rows, None, tiny_tokenizer(), 10)  # one token of label: 9 of prompt
    longer = sum(len(row.prompt[-1].content.split()) > 7 for row in rows)
    assert 0 < ask.cut == longer < 12
    assert max(len(item.prompt) for item in ask.encoded) == 9


@pytest.mark.parametrize(
    ("context", "virtual", "text"),
    [(256, 0, 192), (256, 64, 192), (256, 100, 156), (1024, 8, 960), (100, 0, 75), (100, 40, 60)],
)
def test_text_takes_the_context_less_64_or_a_quarter_or_the_virtual_tokens(context, virtual, text):
    backbone = tiny_backbone("llama")
    backbone.context = context
    assert context_for(backbone, virtual) == text
