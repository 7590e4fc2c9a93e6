"""Evaluation: completions of a benchmark's examples by every lane, ready to be graded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from bakeoff.data.messages import Encoded, decode, encode_choices, encode_prompt, encode_training, end_ids
from bakeoff.engine.generate import Request, generate
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.randomness import sampler
from bakeoff.errors import TrialError
from bakeoff.store.record import Sample
from bakeoff.study.spec import Answering, Decoding
from bakeoff.tasks.task import Completion, Example, Task

SCORED_TOKENS = {"cpu": 4_096, "cuda": 65_536}  # tokens of one scoring pass, over all lanes
PORTION_PASSES = 16  # scoring passes of a portion
PORTION = {"cpu": 1_024, "cuda": 8_192}  # completions of a lane's portion: many times the slots, few idle at its end
LEFT_OUT = 0.01  # share of a benchmark's samples that may go without a grade


def nothing() -> None:
    """What is done between two passes where nobody asks for more."""


@dataclass(frozen=True)
class Questions:
    """A benchmark's examples as token ids for one context length, and how they are to be answered.

    `references` are the reference answers behind their prompts, where a `generate` task asks for their `loss`. Of a
    benchmark asked in portions, `portion` counts these from 0.
    """

    task: Task
    benchmark: str
    examples: tuple[Example, ...]
    encoded: tuple[Encoded, ...]
    decoding: Decoding
    scored: bool  # labels are scored by likelihood; else text is written
    references: tuple[Encoded, ...] = ()
    portion: int = 0

    def only(self, portion: int, indices: Sequence[int]) -> Questions:
        """Some of the examples, as a portion of the benchmark."""
        picked = (tuple(rows[i] for i in indices if rows) for rows in (self.examples, self.encoded, self.references))
        examples, encoded, references = picked
        return replace(self, examples=examples, encoded=encoded, references=references, portion=portion)

    @property
    def cut(self) -> int:
        """How many prompts were longer than the context and lost their middle."""
        return sum(item.cut > 0 for item in self.encoded)

    @property
    def references_cut(self) -> int:
        """How many reference answers were too long, and are scored without their end."""
        return sum(item.answer_cut > 0 for item in self.references)


def questions(
    task: Task,
    benchmark: str,
    examples: Sequence[Example],
    decoding: Decoding | None,
    tokenizer: object,
    context: int,
    answering: Answering = "likelihood",
) -> Questions:
    """Encode a benchmark's examples for a context of `context` tokens, the new ones included.

    `answering` is how labels are answered (`TaskSpec`); of a task without labels it says nothing.
    """
    how, scored = decoding or task.decoding, task.kind == "choose" and answering == "likelihood"
    if scored:
        encoded = tuple(encode_choices(tokenizer, example, context) for example in examples)
        return Questions(task, benchmark, tuple(examples), encoded, how, scored)
    encoded = tuple(encode_prompt(tokenizer, example, context - how.max_new_tokens) for example in examples)
    learned = examples if task.kind == "generate" and "loss" in task.metrics else ()
    references = tuple(encode_training(tokenizer, example, context) for example in learned)
    return Questions(task, benchmark, tuple(examples), encoded, how, scored, references)


def portions(lanes: Lanes, ask: Questions) -> list[Questions]:
    """The benchmark in portions, each answered by itself and kept: a function of the examples and the lanes' number.

    Scored ones are runs of whole passes, so that the passes, and with them all numbers, are those of one portion. Text
    is drawn in about PORTION completions: what their end costs, when slots idle, is little beside that.
    """
    device, count = lanes.backbone.device.type, len(ask.examples)
    if ask.scored:
        passes = _within(ask.encoded, SCORED_TOKENS.get(device, 4_096) // len(lanes.adapters))
        runs = [passes[i : i + PORTION_PASSES] for i in range(0, len(passes), PORTION_PASSES)]
        return [ask.only(n, sorted(i for one in run for i in one)) for n, run in enumerate(runs)]
    several = min(count, max(1, round(count * ask.decoding.samples / PORTION.get(device, 1_024))))
    ends = [count * n // several for n in range(several + 1)]
    return [ask.only(n, range(*ends[n : n + 2])) for n in range(several)]


def answer(
    lanes: Lanes, ask: Questions, keys: Sequence[str], beat: Callable[[], None] = nothing
) -> list[list[list[Completion]]]:
    """Every lane's completions of every example: one where labels are scored, `samples` draws where text is drawn.

    `keys` are the lanes' trial keys, from which the sampled draws' random numbers come. `beat` is called after each
    pass, and may raise to give up. [lanes][examples][draws]
    """
    if ask.scored:
        return [
            [[chosen(example, scores)] for example, scores in zip(ask.examples, lane, strict=True)]
            for lane in score(lanes, ask.encoded, beat)
        ]
    drawn = _generated(lanes, ask, keys, beat)
    return [with_losses(ask, *each) for each in zip(drawn, score(lanes, ask.references, beat), strict=True)]


def with_losses(
    ask: Questions, completions: list[list[Completion]], scores: Sequence[Sequence[float]]
) -> list[list[Completion]]:
    """One lane's completions with the loss of their reference answers, from the log-probabilities of these."""
    if not ask.references:
        return completions
    losses = [-score / len(item.leaves[0]) for item, (score,) in zip(ask.references, scores, strict=True)]
    return [
        [one.model_copy(update={"loss": loss}) for one in own] for own, loss in zip(completions, losses, strict=True)
    ]


def text_losses(lanes: Lanes, items: Sequence[Encoded]) -> list[float]:
    """Every lane's loss of texts (`encode_text`), nats per token, all tokens alike."""
    return [mean_loss(items, scores) for scores in score(lanes, items)]


def mean_loss(items: Sequence[Encoded], scores: Sequence[Sequence[float]]) -> float:
    """The loss of all leaves together, nats per token, from their log-probabilities."""
    return -math.fsum(sum(own) for own in scores) / sum(len(leaf) for item in items for leaf in item.leaves)


def chosen(example: Example, scores: Sequence[float]) -> Completion:
    """The most likely label (the first of equals) and every label's log-probability."""
    return Completion(text=example.choices[scores.index(max(scores))], logprobs=tuple(scores))


@torch.inference_mode()
def score(lanes: Lanes, items: Sequence[Encoded], beat: Callable[[], None] = nothing) -> list[list[list[float]]]:
    """The log-probability (nats) of every leaf of every item, summed over its tokens: [lanes][items][leaves]."""
    count = len(lanes.adapters)
    found: list[list[list[float]]] = [[[0.0] * len(item.leaves) for item in items] for _ in range(count)]
    budget = SCORED_TOKENS.get(lanes.backbone.device.type, 4_096) // count
    for batch in _within(items, budget) if items else []:
        packed = lanes.pack([[items[i] for i in batch]] * count)
        want = packed.targets
        width = packed.ids.shape[1]
        place, inverse = torch.unique(want.row * width + want.column, return_inverse=True)
        logits = lanes.logits(lanes.hidden(packed), place // width, place % width)
        logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        each = (logits[inverse, want.id] - logits.logsumexp(-1)[inverse]).tolist()
        for lane, item, leaf, value in zip(
            want.lane.tolist(), want.item.tolist(), want.leaf.tolist(), each, strict=True
        ):
            found[lane][batch[item]][leaf] += value
        beat()
    return found


def _generated(
    lanes: Lanes, ask: Questions, keys: Sequence[str], beat: Callable[[], None]
) -> list[list[list[Completion]]]:
    draws = ask.decoding.samples
    requests = [
        [
            Request(item, sampler(key, f"{ask.benchmark}/{example.id}", draw) if ask.decoding.temperature else None)
            for example, item in zip(ask.examples, ask.encoded, strict=True)
            for draw in range(draws)
        ]
        for key in keys
    ]
    tokenizer = lanes.backbone.tokenizer
    generate(lanes, requests, ask.decoding, end_ids(tokenizer), beat=beat)
    done = [[Completion(text=decode(tokenizer, r.ids), truncated=not r.stopped) for r in lane] for lane in requests]
    return [[lane[i : i + draws] for i in range(0, len(lane), draws)] for lane in done]


def check(samples: Sequence[Sample]) -> None:
    """TrialError where more than LEFT_OUT of a benchmark's samples have no grade: the rest would mean too little."""
    lost = [sample for sample in samples if not sample.scores]
    if lost and len(lost) / len(samples) > LEFT_OUT:
        why = lost[0].detail.get("why", "no reason given")
        told = f"{len(lost)} of {len(samples)} samples could not be graded, more than {LEFT_OUT:.0%}"
        raise TrialError(f"{lost[0].benchmark}: {told}: {why}")


def graded(ask: Questions, completions: Sequence[Sequence[Completion]]) -> list[Sample]:
    """One lane's completions of a benchmark or a portion, graded, as samples in the order of its examples and draws."""
    pairs = [
        (example, draw, one)
        for example, own in zip(ask.examples, completions, strict=True)
        for draw, one in enumerate(own)
    ]
    grades = ask.task.grade([example for example, _, _ in pairs], [one for _, _, one in pairs])
    return [
        Sample(
            benchmark=ask.benchmark,
            id=example.id,
            draw=draw,
            text=one.text,
            scores=grade.scores,
            detail=_detail(one, grade.detail, example),
        )
        for (example, draw, one), grade in zip(pairs, grades, strict=True)
    ]


def _detail(one: Completion, detail: dict, example: Example) -> dict:
    more = {"logprobs": list(one.logprobs)} if one.logprobs else {}
    more |= {"cluster": example.reference["cluster"]} if "cluster" in example.reference else {}
    return {**detail, **more, **({"truncated": True} if one.truncated else {})}


def _within(items: Sequence[Encoded], budget: int) -> list[list[int]]:
    """Items of like length in batches of at most `budget` tokens: the rows of a pass are as long as its longest."""
    found: list[list[int]] = [[]]
    tokens = 0
    sizes = [len(item.prompt) + sum(map(len, item.leaves)) for item in items]
    for i in sorted(range(len(items)), key=lambda i: (sizes[i], i)):
        size = sizes[i]
        if found[-1] and tokens + size > budget:
            found.append([])
            tokens = 0
        found[-1].append(i)
        tokens += size
    return found
