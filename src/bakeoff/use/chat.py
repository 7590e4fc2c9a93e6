"""Talking to a trial's model: a text becomes the user's turn of the trial's task."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bakeoff.data.example import Example, Message
from bakeoff.engine import evaluate, prove, reference
from bakeoff.engine.evaluate import questions
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.plain import Plain
from bakeoff.errors import InputError
from bakeoff.run.plan import context_for
from bakeoff.study.spec import Decoding
from bakeoff.tasks.task import Completion
from bakeoff.use.trial import Opened


@dataclass(frozen=True)
class Reply:
    """What the model makes of a text: an answer; for tasks of labels, each label's share of their probability too."""

    text: str
    shares: dict[str, float]
    cut: bool  # the text was longer than the context and lost its middle
    truncated: bool  # the token limit ended the answer


def talk(opened: Opened, max_new_tokens: int | None = None) -> Callable[[str], Reply]:
    """A function that answers texts, each on its own, with the trial's model under the task's own system message."""
    backbone = opened.backbone()
    adapter = opened.adapter(backbone)
    model = Plain(backbone, adapter).eval() if prove.doubt(backbone) else None
    context = context_for(backbone, opened.method.virtual_tokens())
    sample = _sample(opened)
    how = _decoding(opened, max_new_tokens)
    if how.max_new_tokens >= context:
        raise InputError("--max-new-tokens", f"{how.max_new_tokens} leave no room for text in {context} tokens")
    key, answering = opened.record.key, opened.trial.task_spec.answering

    def reply(text: str) -> Reply:
        ask = questions(opened.task, "try", [_turn(sample, text)], how, backbone.tokenizer, context, answering)
        if model is None:
            (answers,) = evaluate.answer(Lanes(backbone, [adapter]), ask, [key])
        else:
            answers = reference.answer(model, ask, key)
        return _reply(sample, answers[0][0], bool(ask.cut))

    return reply


def asked(opened: Opened) -> str:
    """What a text is put to, in a line: the trial's task, and the system message before the text."""
    sample = _sample(opened)
    system = [message.content for message in sample.prompt if message.role == "system"]
    return f"{opened.trial.task} ({opened.task.summary})" + (f', asked as "{system[0]}"' if system else "")


def _sample(opened: Opened) -> Example:
    """An example like those that the trial was judged on."""
    if opened.trial.task_spec.split == "validation":
        return opened.task.train(opened.study.data, 1)[0]
    return opened.task.test(next(iter(opened.record.benchmarks)), opened.study.data, 1)[0]


def _decoding(opened: Opened, max_new_tokens: int | None) -> Decoding:
    """One draw, otherwise as the trial was tested."""
    how = opened.trial.task_spec.decoding or opened.task.decoding
    return how.model_copy(update={"samples": 1, "max_new_tokens": max_new_tokens or how.max_new_tokens})


def _turn(sample: Example, text: str) -> Example:
    """An example that asks `text` where `sample` asks its own question."""
    system = [message for message in sample.prompt if message.role == "system"]
    messages = (*system, Message(role="user", content=text), Message(role="assistant", content=""))
    return Example(id=text, messages=messages, choices=sample.choices)


def _reply(sample: Example, one: Completion, cut: bool) -> Reply:
    best = max(one.logprobs, default=0.0)
    weights = [math.exp(value - best) for value in one.logprobs]
    shares = {label: weight / sum(weights) for label, weight in zip(sample.choices, weights, strict=False)}
    return Reply(one.text, shares, cut, one.truncated)
