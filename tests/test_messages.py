"""Messages as token ids: the boundary, the end of turn and the cut, on real and on tiny tokenizers."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.decoders import ByteLevel
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from bakeoff.data.messages import decode, encode_choices, encode_prompt, encode_training, end_ids
from bakeoff.errors import InputError, TrialError
from bakeoff.tasks.task import Example, Message

ROOT = Path(__file__).resolve().parent.parent
STORIES = ROOT.parent / "shared" / "models" / "stories3M"
NANO = ROOT / "src" / "bakeoff" / "nano"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def example(answer: str = "positive", user: str = "a lovely film .") -> Example:
    turns = {"system": "Say whether it is positive.", "user": user, "assistant": answer}
    messages = tuple(Message.model_validate({"role": role, "content": text}) for role, text in turns.items())
    return Example(id="e1", messages=messages, choices=("negative", "positive"))


@pytest.fixture
def tiny() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer (one token per byte), with a chat template and GPT-2's single BOS = EOS."""
    vocabulary = {character: i for i, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|end|>", eos_token="<|end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def check(tokenizer, answer: str) -> None:
    """The leaf is the answer and the end of turn, token by token, and the prompt is the same for every use."""
    item = example(answer)
    encoded = encode_training(tokenizer, item, 4096)
    (leaf,) = encoded.leaves
    shown = ("" if tokenizer.chat_template else " ") + answer
    assert list(leaf) == tokenizer.encode(shown, add_special_tokens=False) + list(end_ids(tokenizer))
    assert decode(tokenizer, leaf) == answer
    scored = encode_choices(tokenizer, item, 4096)
    assert encoded.prompt == scored.prompt == encode_prompt(tokenizer, item, 4096).prompt
    assert encoded.cut == 0
    labels = [tokenizer.encode(shown.replace(answer, label), add_special_tokens=False) for label in item.choices]
    assert [list(label) for label in scored.leaves] == labels
    whole = tokenizer.decode([*encoded.prompt, *leaf])
    assert whole.index(item.messages[1].content) < whole.rindex(answer)


@pytest.mark.parametrize("answer", ["positive", "2 * 7 = 14\nFinal Answer: 14", "def f(x):\n    return x"])
@pytest.mark.parametrize("template", [TEMPLATE, None])
def test_leaf_on_a_byte_level_tokenizer(tiny, template, answer):
    tiny.chat_template = template
    check(tiny, answer)
    assert tiny.convert_ids_to_tokens(list(end_ids(tiny))) == ["<|im_end|>" if template else "<|end|>"]


@pytest.mark.parametrize("answer", ["positive", "2 * 7 = 14\nFinal Answer: 14"])
def test_leaf_on_a_sentence_tokenizer(answer):
    if not STORIES.is_dir():
        pytest.skip(f"not run: {STORIES} absent")
    tokenizer = AutoTokenizer.from_pretrained(STORIES)
    check(tokenizer, answer)
    assert encode_prompt(tokenizer, example(), 99).prompt[0] == tokenizer.bos_token_id
    negative, positive = encode_choices(tokenizer, example(), 99).leaves
    assert len(negative) == len(positive) == 5 and negative[0] == positive[0]
    assert end_ids(tokenizer) == (tokenizer.eos_token_id,)
    tokenizer.chat_template = TEMPLATE  # its tokens are unknown here: they are spelt, and EOS ends the answer
    check(tokenizer, answer)
    assert end_ids(tokenizer) == (tokenizer.eos_token_id,)
    tokenizer.chat_template = TEMPLATE.replace("<|im_end|>", "</s>")
    check(tokenizer, answer)
    assert end_ids(tokenizer) == (tokenizer.eos_token_id,)


@pytest.mark.parametrize("answer", ["positive", "2 * 7 = 14\nFinal Answer: 14", "def f(x):\n    return x"])
def test_leaf_on_the_embedded_tokenizer(answer):
    if not (NANO / "tokenizer.json").is_file():
        pytest.skip(f"not run: {NANO / 'tokenizer.json'} absent")
    check(AutoTokenizer.from_pretrained(NANO), answer)


def test_plain_form(tiny):
    tiny.chat_template = None
    encoded = encode_training(tiny, example(), 999)
    assert tiny.decode(encoded.prompt) == "<|end|>Say whether it is positive.\n\na lovely film .\n"
    assert tiny.decode(encoded.leaves[0]) == " positive<|end|>"


def test_cut_keeps_head_and_tail(tiny):
    item = example(user="0123456789" * 10)
    full = encode_training(tiny, item, 999)
    leaf = len(full.leaves[0])
    short = encode_training(tiny, item, leaf + 51)
    assert short.prompt == full.prompt[:26] + full.prompt[-25:]
    assert short.cut == len(full.prompt) - 51 and short.leaves == full.leaves
    assert encode_training(tiny, item, leaf + len(full.prompt)) == full
    tight = encode_training(tiny, item, 16)  # a quarter is the prompt's
    assert (tight.prompt, tight.leaves, tight.answer_cut) == (full.prompt[:4] + full.prompt[-3:], full.leaves, 0)
    longest = max(map(len, encode_choices(tiny, item, 999).leaves))
    assert len(encode_choices(tiny, item, 60).prompt) == 60 - longest
    assert len(encode_prompt(tiny, item, 60).prompt) == 60
    with pytest.raises(TrialError, match=rf"example e1.*{longest} answer tokens.*room for {longest} tokens"):
        encode_choices(tiny, item, longest)
    with pytest.raises(TrialError, match="room for -3"):
        encode_prompt(tiny, item, -3)


def test_templates_that_cannot_be_used(tiny):
    tiny.chat_template = TEMPLATE.replace("assistant\n{% endif", "assistant\nSure:\n{% endif")
    with pytest.raises(InputError, match=r"chat template of .*a whole conversation does not begin with it"):
        encode_training(tiny, example(), 999)
    tiny.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(InputError, match=r"refuses the turns .*System role not supported"):
        encode_prompt(tiny, example(), 999)
    tiny.chat_template = "{% for m in messages %}{{ m.role }}{% endfor %}"
    with pytest.raises(InputError, match="leaves out the assistant's text"):
        end_ids(tiny)


def test_an_answer_ends_in_eos_where_the_template_ends_it_in_nothing(tiny):
    tiny.chat_template = "{% for m in messages %}[{{ m.role }}] {{ m.content }} \n{% endfor %}" + (
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    (leaf,) = encode_training(tiny, example(), 999).leaves
    assert tiny.decode(leaf) == " positive<|end|>"
    assert end_ids(tiny) == (tiny.eos_token_id,)


def test_labels_must_differ_in_tokens(tiny):
    item = Example(id="e2", messages=example().messages, choices=("yes", "yes "))
    with pytest.raises(InputError, match="example e2: the labels"):
        encode_choices(tiny, item, 999)
