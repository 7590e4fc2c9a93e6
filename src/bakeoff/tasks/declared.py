"""A task that a study declares itself: rows of any dataset, templates that make chats of them, and named metrics."""

from __future__ import annotations

import os
import string
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from bakeoff.data.datasets import Row, each, is_file_name, read
from bakeoff.data.template import Template
from bakeoff.errors import InputError, suggest
from bakeoff.grading import math, text
from bakeoff.grading.answers import final_answer
from bakeoff.grading.labels import grade_choice
from bakeoff.study.spec import Declared, Metric, TaskSpec
from bakeoff.tasks.task import Completion, Example, Grade, Message, Sources, Task, subset

HEADLINES = ("accuracy", "exact_match", "math_verify", "jaccard")  # each item has one, whatever the answer
LABELS = tuple(f"{kind}_{of}" for of in ("macro", "binary") for kind in ("f1", "precision", "recall"))
CHOICES = ("accuracy", "loss", *LABELS)
Scored = tuple[dict[str, float] | None, dict[str, Any]]  # scores (None: nothing could grade it), details for people


class DeclaredTask(Task):
    """What `of` makes of a study's declaration; docs/tasks.md tells of its keys."""

    name = "declared"
    kind: ClassVar[Literal["choose", "generate"]] = "generate"
    metrics = ("exact_match",)
    benchmarks = ("test",)
    summary = "a task that the study declares itself, on any data (docs/tasks.md)"

    def __init__(self, told: Declared, where: str):
        self.told, self.where = told, where
        self.description = _template(told.description, f"{where}.description", literal=True)
        self.question = _template(told.doc_to_text, f"{where}.doc_to_text")
        self.target = (
            None if isinstance(told.doc_to_target, int) else _template(told.doc_to_target, f"{where}.doc_to_target")
        )
        self.cluster = _template(told.cluster, f"{where}.cluster")
        self.choices = _choices(told.doc_to_choice, f"{where}.doc_to_choice")

    @classmethod
    def of(cls, spec: TaskSpec, name: str) -> Task:
        """The declared task; InputError where its keys do not fit together."""
        told, where = spec.declared, f"tasks.{name}"
        if told is None:
            raise InputError(where, "declares nothing", "give it a `dataset_path:` and no `use:` (docs/tasks.md)")
        chooses = told.doc_to_choice is not None
        _check_forms(told, where, chooses)
        _check_places(told, where, spec.split)
        _check_labels(told, f"{where}.metric_list")
        about = {
            "name": name,
            "kind": "choose" if chooses else "generate",
            "metrics": _metrics(told.metric_list, CHOICES if chooses else TEXTS, f"{where}.metric_list"),
            "benchmarks": (told.test_split,),
            "hub_ids": () if Path(told.dataset_path).is_absolute() else (told.dataset_path,),
            "summary": f"declared in the study, on {Path(told.dataset_path).name}.",
        }
        return type(cls.__name__, (cls,), about)(told, where)

    def train(self, sources: Sources, limit: int | None) -> list[Example]:
        return subset(self._examples(self.told.training_split, sources), limit)

    def test(self, benchmark: str, sources: Sources, limit: int | None) -> list[Example]:
        return subset(self._examples(self.told.test_split, sources), limit)

    def grade(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Grade]:
        if self.kind == "choose":
            how: dict[str, Any] = {"metrics": self.metrics, "positive": _positive(self.told.metric_list)}
            graded = zip(examples, completions, strict=True)
            return [Grade(**grade_choice(e.choices, e.answer, c.text, c.logprobs, **how)) for e, c in graded]
        asked = self.told.metric_list or (Metric(metric="exact_match"),)
        columns = [TEXTS[one.metric](one, examples, completions) for one in asked]
        return [_grade(scored) for scored in zip(*columns, strict=True)]

    def floors(self, benchmark: str, examples: Sequence[Example]) -> dict[str, float]:
        """What texts share by chance: Jaccard's index of unrelated targets."""
        if "jaccard" not in self.metrics or len(examples) < 2:
            return {}
        return {"jaccard": text.unrelated_floor([example.answer for example in examples])}

    def _examples(self, split: str, sources: Sources) -> list[Example]:
        """All examples of a split, so that a bad row is found whatever the limits."""
        rows = read(self.told.dataset_path, split, sources, config=self.told.dataset_name)
        make = self._chat if self.question is None else self._filled
        made = each(rows, lambda i: make(f"{split}-{i}", rows[i], rows.place(i)))
        if self.cluster is None:
            return made
        named = [self.cluster.text(row, rows.place(i)) for i, row in enumerate(rows)]
        return [one.model_copy(update={"reference": {"cluster": name}}) for one, name in zip(made, named, strict=True)]

    def _filled(self, name: str, row: Row, place: str) -> Example:
        """The example that the templates make of a row."""
        assert self.question
        choices = self._labels(row, place)
        target = self.told.doc_to_target if self.target is None else self.target.value(row, place)
        answer = _label(target, choices, place) if choices else str(target).strip()
        messages = [*self._system(row, place), Message(role="user", content=self.question.text(row, place))]
        return self._example(name, [*messages, Message(role="assistant", content=answer)], choices, place)

    def _chat(self, name: str, row: Row, place: str) -> Example:
        """The example that a row is by itself: its `messages`."""
        if "messages" not in row:
            what = f"{place} has no field 'messages', and there is no `doc_to_text:` that makes them"
            raise InputError(self.where, what, f"its fields: {', '.join(map(str, row))}")
        messages = [*self._system(row, place), *_messages(row["messages"], f"{place}, field 'messages'")]
        choices = self._labels(row, place)
        if choices:
            _label(messages[-1].content, choices, place)
        return self._example(name, messages, choices, place)

    def _system(self, row: Row, place: str) -> list[Message]:
        return [Message(role="system", content=self.description.text(row, place))] if self.description else []

    def _labels(self, row: Row, place: str) -> tuple[str, ...]:
        """The row's choices; none where text is generated."""
        if self.choices is None:
            return ()
        found = (
            self.choices.value(row, place)
            if isinstance(self.choices, Template)
            else [choice.text(row, place) for choice in self.choices]
        )
        if not isinstance(found, (list, tuple)) or not all(isinstance(one, (str, int, float)) for one in found):
            raise InputError(
                f"{self.where}.doc_to_choice", f"gives no list of texts in {place}, but {str(found)[:60]!r}"
            )
        labels = tuple(str(one).strip() for one in found)
        if len(set(labels)) < max(2, len(labels)) or "" in labels:
            raise InputError(place, f"the choices {list(labels)} are not two or more different texts")
        return labels

    def _example(self, name: str, messages: Sequence[Message], choices: tuple[str, ...], place: str) -> Example:
        roles = [message.role for message in messages]
        if roles[-2:] != ["user", "assistant"] or "system" in roles[1:]:
            what = f"the turns are {', '.join(roles)}"
            raise InputError(
                place, what, "wanted: at most one system message, first, and a user's and an assistant's last"
            )
        if empty := next((message.role for message in messages if not message.content.strip()), None):
            raise InputError(place, f"the {empty}'s text is empty")
        return Example(id=name, messages=tuple(messages), choices=choices)


# --- what a declaration says ---


def _template(source: str | None, where: str, literal: bool = False) -> Template | None:
    return None if source is None else Template(source, where, literal)


def _choices(told: str | Sequence[str] | None, where: str) -> Template | list[Template] | None:
    if told is None or isinstance(told, str):
        return _template(told, where)
    if len(told) < 2:
        raise InputError(where, f"{list(told)} leaves nothing to choose", "give two choices or more")
    return [Template(choice, where, literal=True) for choice in told]


def _check_forms(told: Declared, where: str, chooses: bool) -> None:
    """InputError where keys contradict each other."""
    if (told.doc_to_text is None) != (told.doc_to_target is None):
        given, absent = ("text", "target") if told.doc_to_target is None else ("target", "text")
        what = f"`doc_to_{given}:` is there without `doc_to_{absent}:`"
        raise InputError(where, what, "give both, or neither for rows that hold `messages`")
    if isinstance(told.doc_to_target, int) and not chooses:
        raise InputError(
            f"{where}.doc_to_target", f"{told.doc_to_target} is the number of a choice, and there are none"
        )
    if told.output_type and (told.output_type == "multiple_choice") != chooses:
        what = f"{told.output_type} {'does not go with' if chooses else 'needs'} `doc_to_choice:`"
        raise InputError(f"{where}.output_type", what)


def _check_places(told: Declared, where: str, split: str) -> None:
    """InputError where training and test rows would be the same, or a file is not there."""
    if split == "test" and (os.path.isfile(told.dataset_path) or told.training_split == told.test_split):
        what = "training and test rows would be the same"
        mend = "give a folder with a file for each split, or hold rows out: `validation: N, split: validation`"
        raise InputError(f"{where}.dataset_path", what, mend)
    if is_file_name(told.dataset_path) and not os.path.exists(told.dataset_path):
        raise InputError(
            f"{where}.dataset_path", f"nothing at {told.dataset_path}", "paths are relative to the study file"
        )


def _check_labels(told: Declared, where: str) -> None:
    """InputError where precision, recall or F1 is asked for and the labels are not the same in all rows."""
    choices = told.doc_to_choice if isinstance(told.doc_to_choice, tuple) else ()
    fixed = bool(choices) and not any("{" in choice for choice in choices)
    for one in told.metric_list:
        if one.metric in LABELS and told.doc_to_choice and not fixed:
            raise InputError(where, f"{one.metric} needs the same labels in every row", "list them in `doc_to_choice:`")
        binary = one.metric.endswith("_binary")
        if (one.pos_label is not None) != binary:
            what = "needs `pos_label:`, the label that it is of" if binary else "has no `pos_label:`"
            raise InputError(where, f"{one.metric} {what}", "such as {metric: f1_binary, pos_label: yes}")
        if binary and fixed and one.pos_label not in choices:
            what = f"pos_label '{one.pos_label}' is none of the choices"
            raise InputError(where, what, suggest(str(one.pos_label), choices))
    if len({one.pos_label for one in told.metric_list} - {None}) > 1:
        raise InputError(where, "metrics have different `pos_label:`s", "one label is the positive one")


def _positive(asked: Sequence[Metric]) -> str:
    """The positive label; empty where there is none."""
    return next((one.pos_label for one in asked if one.pos_label), "")


def _metrics(asked: Sequence[Metric], known: Collection[str], where: str) -> tuple[str, ...]:
    """The metrics' names, the headline first; the first known one where none is asked for."""
    names = [one.metric for one in asked]
    for one in asked:
        if one.metric not in known:
            raise InputError(where, f"unknown metric '{one.metric}'", suggest(one.metric, known))
        if names.count(one.metric) > 1:
            raise InputError(where, f"'{one.metric}' is there twice", "name each metric once")
        if one.metric != "exact_match" and (one.ignore_case or one.ignore_punctuation):
            what = f"ignore_case and ignore_punctuation are exact_match's, not {one.metric}'s"
            raise InputError(where, what, "drop them")
    if names and names[0] not in HEADLINES:
        what = f"'{names[0]}' cannot be the headline, which comparisons are made by"
        raise InputError(where, what, f"put {' or '.join(one for one in known if one in HEADLINES)} before it")
    _check_graders(names, where)
    return tuple(names or list(known)[:1])


def _check_graders(names: Sequence[str], where: str) -> None:
    """InputError where a metric needs what is not installed: before anything is trained."""
    if "math_verify" in names:
        math.require(f"{where}: math_verify")
    if "bleu" in names:
        text.bleu_statistics("", "")


# --- what a row says ---


def _messages(value: Any, where: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise InputError(where, f"a list of messages is wanted, not {str(value)[:60]!r}")
    for one in value:
        fits = isinstance(one, Mapping) and set(one) == {"role", "content"} and isinstance(one["content"], str)
        if not fits or one["role"] not in ("system", "user", "assistant"):
            wanted = "{'role': 'system', 'user' or 'assistant', 'content': text}"
            raise InputError(where, f"{wanted} is wanted, not {str(one)[:60]!r}")
    return [Message(**one) for one in value]


def _label(target: Any, choices: Sequence[str], place: str) -> str:
    """The choice that a target means: the one that it is the text of, else the one of that number, from 0."""
    told = str(int(target) if isinstance(target, bool) else target).strip()
    if told in choices:
        return told
    if told.isdecimal() and len(told) < 9 and int(told) < len(choices):
        return choices[int(told)]
    raise InputError(place, f"the answer {told[:60]!r} is none of the choices {list(choices)}")


# --- how a text is scored ---


def _grade(found: Sequence[Scored]) -> Grade:
    """One grade of all metrics; without scores where one of them could not be had."""
    scores: dict[str, float] = {}
    detail: dict[str, Any] = {}
    for one, told in found:
        scores |= one or {}
        detail |= told
    return Grade(scores={} if any(one is None for one, _ in found) else scores, detail=detail)


def _said(completion: Completion) -> str:
    """A text without a reasoning model's thoughts."""
    return text.spoken(completion.text).strip()


def _exact_match(how: Metric, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Scored]:
    """Whether the text is the target, white space at the ends apart."""

    def plain(said: str) -> str:
        said = said.lower() if how.ignore_case else said
        return (said.translate(_NO_PUNCTUATION) if how.ignore_punctuation else said).strip()

    return [
        (
            {"exact_match": float(plain(_said(c)) == plain(e.answer))},
            {"gold": e.answer} | ({} if _said(c) else {"unparsable": True}),
        )
        for e, c in zip(examples, completions, strict=True)
    ]


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _math(how: Metric, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Scored]:
    """Whether the answer that the text ends in is the target's, as mathematics; a target may be the answer alone."""
    golds = [final_answer(example.answer) or example.answer for example in examples]
    answers = [final_answer(one.text) for one in completions]
    verdicts = math.judge(list(zip(golds, answers, strict=True)))
    return [_math_scored(*each) for each in zip(golds, answers, verdicts, strict=True)]


def _math_scored(gold: str, answer: str | None, judged: math.Judged) -> Scored:
    detail: dict[str, Any] = {"gold": gold, "answer": answer, "stage": judged.stage}
    if judged.equal is None:
        detail |= {"why": judged.detail, "undecided": judged.refused}
        if not judged.refused:
            return None, detail
    return {"math_verify": float(bool(judged.equal))}, detail | ({} if answer is not None else {"unparsable": True})


def _jaccard(how: Metric, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Scored]:
    return [({"jaccard": text.jaccard(_said(c), e.answer)}, {}) for e, c in zip(examples, completions, strict=True)]


def _bleu(how: Metric, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Scored]:
    """A text's part in the BLEU of all."""
    return [
        ({}, {"bleu": text.bleu_statistics(_said(c), e.answer), "bleu_signature": text.BLEU_SIGNATURE})
        for e, c in zip(examples, completions, strict=True)
    ]


TEXTS: dict[str, Callable[[Metric, Sequence[Example], Sequence[Completion]], list[Scored]]] = {
    "exact_match": _exact_match,
    "math_verify": _math,
    "jaccard": _jaccard,
    "bleu": _bleu,
}
