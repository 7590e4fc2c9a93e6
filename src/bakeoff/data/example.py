"""Example: one item of a task as chat messages, with what its grader needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from bakeoff.study.spec import Frozen


class Message(Frozen):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class Example(Frozen):
    """One item: messages that end with the assistant's reference answer.

    `choices` are the labels scored in a `choose` task; `reference` holds what the grader needs (gold answer, tests).
    Items whose references name the same `cluster` hang together and are drawn together (statistics).
    """

    id: str
    messages: tuple[Message, ...]
    choices: tuple[str, ...] = ()
    reference: dict[str, Any] = {}

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the assistant's last."""
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        """The assistant's last message."""
        return self.messages[-1].content


def clusters(examples: Sequence[Example]) -> int | None:
    """How many clusters items lie in; None where some item has none."""
    named = {one.reference.get("cluster") for one in examples}
    return len(named) if named and None not in named else None
