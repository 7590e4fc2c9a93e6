"""The embedded base model: small, whole, loadable, and able to go on with a text."""

import hashlib
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import bakeoff.nano
from bakeoff.data import mini

FOLDER = Path(bakeoff.nano.__file__).parent
ROWS = [*mini.sentiment("train", 40), *mini.sentiment("test", 40), *mini.math("test", 40), *mini.code("test", 40)]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(FOLDER).eval()


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_the_folder_is_small_and_its_checksums_hold():
    files = [p for p in FOLDER.iterdir() if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 8e6
    lines = [line.split("  ") for line in (FOLDER / "SHA256SUMS").read_text().splitlines()]
    sums = {name: digest for digest, name in lines}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"} <= set(sums)
    for name, digest in sums.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, name


def test_it_loads_as_a_small_float32_llama(model, tokenizer):
    assert model.config.model_type == "llama" and model.config.tie_word_embeddings
    assert model.config.max_position_embeddings == 512
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert 1e6 < model.num_parameters() < 2.6e6
    assert len(tokenizer) == model.config.vocab_size <= 2048
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3


def test_a_conversation_begins_with_its_prompt_and_the_answer_tokenises_alone(tokenizer):
    for row in ROWS:
        prompt = tokenizer.apply_chat_template(row["messages"][:2], tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template(row["messages"], tokenize=False)
        answer = row["messages"][2]["content"] + tokenizer.eos_token
        assert whole.startswith(prompt + answer)
        assert ids(tokenizer, prompt) + ids(tokenizer, answer) == ids(tokenizer, prompt + answer)
        assert tokenizer.decode(ids(tokenizer, answer)) == answer


def test_label_words_are_single_tokens_and_digits_stand_alone(tokenizer):
    assert [len(ids(tokenizer, label)) for label in mini.LABELS] == [1, 1]
    assert tokenizer.convert_ids_to_tokens(ids(tokenizer, "1234")) == list("1234")


def test_examples_are_short_in_tokens(tokenizer):
    for row in ROWS:
        count = sum(len(ids(tokenizer, m["content"])) for m in row["messages"][1:])
        assert count <= (110 if row["messages"][1]["content"].count(".") > 3 else 70)


def test_the_base_goes_on_with_a_text(model, tokenizer):
    text = (
        "Note:\nEvery step has its own line.\nTom has 12 apples. Tom buys 5 more. How many apples does Tom have now?\n"
    )
    given = torch.tensor([ids(tokenizer, tokenizer.bos_token + text)])
    out = model.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=12, do_sample=False)
    assert re.search(r"12 \+ 5 = 1\d\b", tokenizer.decode(out[0]))  # the step is right; its sum is not always


def test_the_base_finds_its_own_prose_likelier_than_shuffled_prose(model, tokenizer):
    given = torch.tensor(
        [ids(tokenizer, tokenizer.bos_token + "I saw it on a Sunday with my brother. The plot is dull.")]
    )
    mixed = given[:, torch.randperm(given.shape[1], generator=torch.Generator().manual_seed(0))]
    with torch.no_grad():
        assert model(given, labels=given).loss + 2 < model(mixed, labels=mixed).loss
