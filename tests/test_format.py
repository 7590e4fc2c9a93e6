"""The format, token by token: what a model reads and which tokens are learned, by the chat templates of known models.

The goldens (goldens/*.txt) list every token of one conversation; `python tests/test_format.py` writes them anew, to be
read before they are committed. The texts that the tokens spell are written out below, by each model's documentation.
"""

# ruff: noqa: RUF001

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from transformers import AutoTokenizer, GPT2Tokenizer

from bakeoff.bench import inputs
from bakeoff.data.example import Example, Message
from bakeoff.data.messages import Encoded, encode_choices, encode_prompt, encode_text, encode_training, remark
from bakeoff.errors import InputError

HERE = Path(__file__).resolve().parent
NANO = HERE.parent / "src" / "bakeoff" / "nano"
MODELS = HERE.parent.parent / "shared" / "models"
SYSTEM, USER, LABELS = "Good or bad?", "a lovely film .", ("bad", "good")

# What is read and what is learned, as text; {bos} and {eos} are the tokenizer's own.
TEXTS = {
    "plain": ("{bos}Good or bad?\n\na lovely film .\n", " good{eos}"),
    "nano": ("{bos}System:\nGood or bad?\nUser:\na lovely film .\nAssistant:\n", "good{eos}"),
    "llama2": ("{bos}[INST] <<SYS>>\nGood or bad?\n<</SYS>>\n\na lovely film . [/INST]", " good {eos}"),
    "llama3": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nGood or bad?<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\na lovely film .<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "good<|eot_id|>",
    ),
    "qwen2": (
        "<|im_start|>system\nGood or bad?<|im_end|>\n<|im_start|>user\na lovely film .<|im_end|>\n"
        "<|im_start|>assistant\n",
        "good<|im_end|>",
    ),
    "deepseek-r1-distill-qwen": (
        "<｜begin▁of▁sentence｜>Good or bad?<｜User｜>a lovely film .<｜Assistant｜>",
        "good<｜end▁of▁sentence｜>",
    ),
}
TEXTS["qwen2.5"] = TEXTS["qwen2"]  # they differ where there is no system message
SPECIAL: dict[str, dict[str, Any]] = {  # the tokens of their own kind that a model's tokenizer has
    "llama3": {
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "additional_special_tokens": ["<|start_header_id|>", "<|end_header_id|>"],
    },
    "qwen2": {"eos_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>"]},
    "qwen2.5": {"eos_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>"]},
    "deepseek-r1-distill-qwen": {
        "bos_token": "<｜begin▁of▁sentence｜>",
        "eos_token": "<｜end▁of▁sentence｜>",
        "additional_special_tokens": ["<｜User｜>", "<｜Assistant｜>"],
    },
}
CASES = [
    ("plain", "gpt2"),
    ("plain", "stories3M"),
    ("plain", "stories260K"),
    ("nano", "nano"),
    ("llama2", "stories3M"),
    ("llama3", "gpt2"),
    ("qwen2", "gpt2"),
    ("qwen2", "stories3M"),
    ("qwen2", "nano"),
    ("qwen2.5", "gpt2"),
    ("deepseek-r1-distill-qwen", "gpt2"),
]


def load(template: str, name: str) -> Any:
    """The tokenizer at hand with the template and its special tokens; the test is skipped where there is none."""
    if name == "gpt2":
        folder = inputs._packaged()
        if folder is None:
            pytest.skip("not run: GPT-2's tokenizer is absent (extra `bench`)")
        tokenizer = GPT2Tokenizer(str(folder / "encoder.json"), str(folder / "vocab.bpe"))
    else:
        path = NANO if name == "nano" else MODELS / name
        if not (path / "tokenizer.json").is_file():
            pytest.skip(f"not run: shared/models/{name} is absent")
        tokenizer = AutoTokenizer.from_pretrained(path)
    if template == "plain":
        tokenizer.chat_template = None
    elif template != "nano":
        tokenizer.chat_template = (HERE / "templates" / f"{template}.jinja").read_text(encoding="utf-8").strip()
    if template in SPECIAL:
        tokenizer.add_special_tokens(SPECIAL[template])
    return tokenizer


def example(*turns: str, system: str = SYSTEM, user: str = USER, answer: str = "good") -> Example:
    """A conversation; `turns` are an earlier question and its answer."""
    roles = ["system", *("user", "assistant")[: len(turns)], "user", "assistant"]
    texts = [system, *turns, user, answer]
    messages = [Message.model_validate({"role": r, "content": t}) for r, t in zip(roles, texts, strict=True)]
    return Example(id="e1", messages=tuple(messages), choices=LABELS)


def listed(tokenizer: Any, title: str, prompt: Sequence[int], leaves: Mapping[str, Sequence[int]]) -> str:
    """Every token as a line: its id, itself, and whether it is read, learned or scored."""
    lines = [f"# {title}"]
    for kind, ids in {"read": prompt, **leaves}.items():
        for number, token in zip(ids, tokenizer.convert_ids_to_tokens(list(ids)), strict=True):
            lines.append(f"{number:6}  {token:22}  {kind}")
    return "\n".join(lines) + "\n"


def drawn(template: str, name: str, tokenizer: Any) -> str:
    """The golden of a case: training, labels, a longer conversation, and one that is cut."""
    item, earlier = example(), example("a dull film .", "<think>dull</think>bad")
    trained, chosen = encode_training(tokenizer, item, 999), encode_choices(tokenizer, item, 999)
    several = encode_training(tokenizer, earlier, 999)
    length = len(trained.leaves[0]) + 8
    cut = encode_training(tokenizer, item, length)
    labels = {f"scored: {label}": leaf for label, leaf in zip(LABELS, chosen.leaves, strict=True)}
    return "\n".join(
        [
            listed(tokenizer, f"{template}, {name}: training", trained.prompt, {"learned": trained.leaves[0]}),
            listed(tokenizer, "labels behind the same prompt", (), labels),
            listed(tokenizer, "an earlier turn", several.prompt, {"learned": several.leaves[0]}),
            listed(tokenizer, f"{cut.cut} tokens cut out", cut.prompt, {"learned": cut.leaves[0]}),
        ]
    )


@pytest.mark.parametrize(("template", "name"), CASES)
def test_every_token_of_a_conversation(template, name):
    golden = HERE / "goldens" / f"{template}.{name}.txt"
    assert drawn(template, name, load(template, name)) == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize(("template", "name"), CASES)
def test_the_tokens_spell_what_the_model_was_made_for(template, name):
    """The learned tokens are the answer and the end of turn, and no others; every use reads the same prompt."""
    tokenizer = load(template, name)
    read, learned = (text.format(bos=tokenizer.bos_token, eos=tokenizer.eos_token) for text in TEXTS[template])
    trained = encode_training(tokenizer, example(), 999)
    assert (spelt(tokenizer, trained.prompt), spelt(tokenizer, trained.leaves[0])) == (read, learned)
    assert trained.leaves[0][-1] == tokenizer.eos_token_id
    assert trained.prompt.count(tokenizer.bos_token_id) == read.count(tokenizer.bos_token)
    assert trained.prompt == encode_choices(tokenizer, example(), 999).prompt
    assert trained.prompt == encode_prompt(tokenizer, example(), 999).prompt


def spelt(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of token ids, special ones too, without the space that sentence tokenizers put behind these."""
    text = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    sentence = any(token.startswith("\u2581") for token in tokenizer.convert_ids_to_tokens(list(ids)))
    return re.sub(r"(<s>|<\|im_start\|>|<\|im_end\|>) ", r"\1", text) if sentence else text


def test_head_and_tail_of_a_long_prompt_are_kept():
    tokenizer = load("qwen2", "nano")
    item = example(user=" ".join(f"word{i}" for i in range(100)))
    whole, cut = encode_training(tokenizer, item, 9999), encode_training(tokenizer, item, 60)
    room = 60 - len(whole.leaves[0])
    assert cut.prompt == whole.prompt[: room - room // 2] + whole.prompt[-(room // 2) :]
    assert (cut.leaves, cut.cut, cut.answer_cut) == (whole.leaves, len(whole.prompt) - room, 0)


def test_an_answer_that_leaves_a_prompt_too_little_room_loses_its_end():
    tokenizer = load("qwen2", "nano")
    item = example(answer=" ".join(f"step{i}" for i in range(100)))
    whole, cut = encode_training(tokenizer, item, 9999), encode_training(tokenizer, item, 60)
    assert cut.leaves[0] == whole.leaves[0][:45] and cut.answer_cut == len(whole.leaves[0]) - 45
    assert len(cut.prompt) == 15 and cut.cut == len(whole.prompt) - 15
    short = encode_training(tokenizer, example(system="", user="?", answer=item.answer), 120)
    assert (short.cut, len(short.prompt) + len(short.leaves[0])) == (0, 120) and len(short.prompt) < 30


# --- reasoning models ---


def test_the_block_of_reasoning_is_not_opened_for_the_model():
    """DeepSeek's generation prompt ends in `<think>`, with which its template begins no answer."""
    tokenizer = load("deepseek-r1-distill-qwen", "gpt2")
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "?"}], tokenize=False, add_generation_prompt=True
    )
    assert asked.endswith("<｜Assistant｜><think>\n")
    assert spelt(tokenizer, encode_prompt(tokenizer, example(), 999).prompt).endswith("a lovely film .<｜Assistant｜>")
    assert remark(tokenizer) == (
        "Its chat template's generation prompt ends in '<think>\\n', which is left out for every method."
    )
    assert [remark(load(template, "gpt2")) for template in ("plain", "qwen2", "llama3")] == ["", "", ""]


def test_the_reasoning_of_an_earlier_turn_is_dropped_and_that_of_an_answer_refused():
    """As the template drops it from every answer, the loss would silently be over the rest alone."""
    tokenizer = load("deepseek-r1-distill-qwen", "gpt2")
    earlier = encode_prompt(tokenizer, example("a dull film .", "<think>dull, so bad</think>bad"), 999)
    assert "<｜Assistant｜>bad<｜end▁of▁sentence｜>" in spelt(tokenizer, earlier.prompt)
    with pytest.raises(InputError, match=r"chat template of .* it writes 'good' for the answer '<think>lovely"):
        encode_training(tokenizer, example(answer="<think>lovely, so good</think>good"), 999)
    kept = encode_training(load("qwen2", "gpt2"), example(answer="<think>lovely</think>good"), 999)
    assert kept.cut == 0


# --- plain text ---


@pytest.mark.parametrize(("name", "bos"), [("nano", 1), ("stories3M", 1), ("gpt2", 1)])
def test_plain_text_is_one_leaf_behind_bos(name, bos):
    tokenizer = load("plain", name)
    text = "Once upon a time there was a film."
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert encode_text(tokenizer, text, 999) == Encoded((tokenizer.bos_token_id,), (tuple(ids),))
    assert encode_text(tokenizer, text, 4) == Encoded((tokenizer.bos_token_id,), (tuple(ids[:3]),))
    tokenizer.bos_token = None
    assert encode_text(tokenizer, text, 999) == Encoded((ids[0],), (tuple(ids[1:]),))


if __name__ == "__main__":
    for kind, model in CASES:
        (HERE / "goldens" / f"{kind}.{model}.txt").write_text(drawn(kind, model, load(kind, model)), encoding="utf-8")
