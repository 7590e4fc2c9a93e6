"""Messages as token ids: where the prompt ends, what is learned or scored after it, and what is dropped to fit.

With a chat template, a conversation is that template's text and nothing is added to it. Without one there is a single
plain form, for every tokenizer (BOS and EOS where the tokenizer has them):

    BOS {system}\\n\\n{user}\\n {answer} EOS            an earlier answer in the prompt:  {answer}\\n\\n

The prompt ends with the newline and the answer begins with a space, because of how tokenizers treat the start of a
text. Byte-level ones (GPT-2) hold words with their leading space (" positive" is one token, "positive" two), so the
label is the word as it stands inside a sentence. Sentence ones (Llama 2) put a space before any text they are given:
" positive" then starts with one lone space token, the same for every label, so it moves no comparison between labels.

Prompt and answer are tokenised apart and joined, so the boundary between them is exact: no token straddles it, the
prompt's tokens are the same in training, scoring and generation, and the loss falls on the answer and its end alone.

The generation prompt of a reasoning model may open a block of reasoning (`<think>`, DeepSeek-R1-Distill) with which
the same template begins no finished answer. That opening is left out, for the base as for what is trained; `remark`
says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from bakeoff.data.example import Example
from bakeoff.errors import InputError, TrialError

Ids = tuple[int, ...]
Turn = tuple[str, str]  # role, content
Tokenizer = Any  # a transformers tokenizer, handed in: this module imports neither transformers nor torch


PLAIN = {"system": "{}\n\n", "user": "{}\n", "assistant": " {}\n\n"}  # a turn of the prompt without a template
THINK = "<think>"  # opens a block of reasoning


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example as token ids: a prompt, and the continuations of it that are learned or scored.

    `prompt` ends just before the assistant's text. `leaves` holds one answer (training), every label (choose) or
    nothing (generate). `cut` says how many tokens were dropped from the middle of the prompt to fit, `answer_cut` how
    many from the end of the answer.
    """

    prompt: Ids
    leaves: tuple[Ids, ...]
    cut: int = 0
    answer_cut: int = 0


def encode_training(tokenizer: Tokenizer, example: Example, max_length: int) -> Encoded:
    """The prompt and one leaf, the answer with its end of turn: the loss is the leaf's alone.

    A quarter of `max_length` is the prompt's, or what it needs of that: a longer answer loses its end. Raises
    InputError where the chat template cannot be used.
    """
    text, (answer,) = _texts(tokenizer, example, [example.answer])
    prompt, leaf = _prompt_ids(tokenizer, text), _ids(tokenizer, answer) + end_ids(tokenizer)
    kept = leaf[: max(1, max_length - min(len(prompt), max_length // 4))]
    return replace(_fit(example, prompt, (kept,), max_length), answer_cut=len(leaf) - len(kept))


def encode_choices(tokenizer: Tokenizer, example: Example, max_length: int) -> Encoded:
    """The prompt and one leaf per label of `example.choices`, without the end of turn.

    Raises TrialError where the labels leave no room for a prompt, InputError where the chat template cannot be used.
    """
    prompt, labels = _texts(tokenizer, example, example.choices)
    leaves = tuple(_ids(tokenizer, label.rstrip()) for label in labels)
    if not all(leaves) or len(set(leaves)) < max(len(leaves), 2):
        raise InputError(f"example {example.id}", f"the labels {list(example.choices)} are not told apart in tokens")
    return _fit(example, _prompt_ids(tokenizer, prompt), leaves, max_length)


def encode_prompt(tokenizer: Tokenizer, example: Example, max_length: int) -> Encoded:
    """The prompt alone; `max_length` already leaves room for the tokens to be drawn."""
    prompt, _ = _texts(tokenizer, example, ())
    return _fit(example, _prompt_ids(tokenizer, prompt), (), max_length)


def encode_text(tokenizer: Tokenizer, text: str, max_length: int) -> Encoded:
    """Plain text from its start, at most `max_length` tokens: BOS (its own first token where there is none), the rest.

    The rest is one leaf: its loss is that of a language model on the text. A text of a single token has an empty leaf.
    """
    bos = () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)
    ids = (bos + _ids(tokenizer, text))[:max_length]
    return Encoded(ids[:1], (ids[1:],))


def remark(tokenizer: Tokenizer) -> str:
    """What is done otherwise than the chat template says, in a sentence; mostly nothing."""
    opening = _opening(tokenizer, _template(tokenizer))
    if not opening:
        return ""
    return f"Its chat template's generation prompt ends in {opening!r}, which is left out for every method."


def end_ids(tokenizer: Tokenizer) -> Ids:
    """The end-of-turn tokens that training appends to every answer; generation stops at the first of them.

    What the chat template writes after an assistant's text, white space apart. EOS in its place where there is no
    template, or where what it writes does not begin with a token of its own kind (`<|im_end|>` spelt in letters,
    because the tokenizer does not know it): generation could not stop at a letter.
    """
    return _end_ids(tokenizer, _template(tokenizer))


def decode(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The answer that token ids spell: the inverse of a leaf, without special tokens and the plain form's space."""
    text = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text if _template(tokenizer) else text.removeprefix(" ")


def _texts(tokenizer: Tokenizer, example: Example, answers: Sequence[str]) -> tuple[str, list[str]]:
    """The prompt's text, and for each answer the text that follows it, up to but without the end of turn."""
    template = _template(tokenizer)
    prompt = [(message.role, message.content) for message in example.prompt]
    if not template:
        return "".join(PLAIN[role].format(content) for role, content in prompt), [f" {answer}" for answer in answers]
    end = _turn_end(tokenizer, template)
    start = _render(tokenizer, prompt, add_generation_prompt=True).removesuffix(_opening(tokenizer, template))
    texts = []
    for answer in answers:
        full = _render(tokenizer, [*prompt, ("assistant", answer)])
        where = f"chat template of {tokenizer.name_or_path}"
        if not full.startswith(start):
            raise InputError(
                where,
                f"its generation prompt ends in {start[-40:]!r}, but a whole conversation does not begin with it",
                "use a template whose generation prompt begins the assistant's turn",
            )
        text = full[len(start) :].rstrip().removesuffix(end)
        if "".join(answer.split()) not in "".join(text.split()):
            what = f"it writes {text[:40]!r} for the answer {answer[:40]!r} of example {example.id}"
            raise InputError(
                where, what, "leave out of the answers what it drops, such as the reasoning before </think>"
            )
        texts.append(text)
    return start, texts


def _render(tokenizer: Tokenizer, turns: Sequence[Turn], add_generation_prompt: bool = False) -> str:
    """The chat template's text of a conversation."""
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
    except Exception as error:  # a template is a program of the model's author: it may raise anything
        roles = ", ".join(role for role, _ in turns)
        where = f"chat template of {tokenizer.name_or_path}"
        raise InputError(where, f"it refuses the turns {roles}: {error}") from error


@lru_cache(maxsize=32)
def _end_ids(tokenizer: Tokenizer, template: str) -> Ids:
    ids = _ids(tokenizer, _turn_end(tokenizer, template))
    if ids and ids[0] in tokenizer.added_tokens_decoder:
        return ids
    if tokenizer.eos_token_id is None:
        raise InputError(f"tokenizer {tokenizer.name_or_path}", "it has neither an end-of-turn nor an EOS token")
    return (tokenizer.eos_token_id,)


@lru_cache(maxsize=32)
def _turn_end(tokenizer: Tokenizer, template: str) -> str:
    """What `template` writes after an assistant's text, without white space around it; nothing without a template."""
    if not template:
        return ""
    probe = "the probed answer"
    _, found, after = _render(tokenizer, [("user", "a question"), ("assistant", probe)]).rpartition(probe)
    if not found:
        raise InputError(f"chat template of {tokenizer.name_or_path}", "it leaves out the assistant's text")
    return after.strip()


@lru_cache(maxsize=32)
def _opening(tokenizer: Tokenizer, template: str) -> str:
    """The `<think>`, with white space, that ends the generation prompt and begins no answer; mostly nothing."""
    if not template:
        return ""
    asked = _render(tokenizer, [("user", "a question")], add_generation_prompt=True)
    whole = _render(tokenizer, [("user", "a question"), ("assistant", "the probed answer")])
    _, found, after = asked.rpartition(THINK)
    return found + after if found and not after.strip() and not whole.startswith(asked) else ""


def _template(tokenizer: Tokenizer) -> str:
    """The chat template as text: what tells tokenizers apart that were given another one."""
    return str(tokenizer.chat_template or "")


def _prompt_ids(tokenizer: Tokenizer, text: str) -> Ids:
    """A prompt's ids: a chat template writes its own BOS, the plain form gets it here."""
    bos = tokenizer.bos_token_id
    return (() if bos is None or _template(tokenizer) else (bos,)) + _ids(tokenizer, text)


def _ids(tokenizer: Tokenizer, text: str) -> Ids:
    """Token ids of a piece of text, nothing added to it."""
    return tuple(tokenizer(text, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"])


def _fit(example: Example, prompt: Ids, leaves: tuple[Ids, ...], max_length: int) -> Encoded:
    """Drop the middle of a prompt that does not fit beside its longest leaf; head and tail get half of the room each.

    Both ends are kept because instructions stand at the start and the question at the end.
    """
    longest = max((len(leaf) for leaf in leaves), default=0)
    room = max_length - longest
    if room < 1 or not prompt:
        raise TrialError(
            f"example {example.id}: {len(prompt)} prompt tokens and {longest} answer tokens do not fit: "
            f"the model has room for {max_length} tokens in all"
        )
    cut = max(0, len(prompt) - room)
    if cut:
        tail = room // 2
        prompt = prompt[: room - tail] + prompt[len(prompt) - tail :]
    return Encoded(prompt, leaves, cut)
