"""Re-scoring: a written model, read back by transformers and PEFT alone, against the trial's stored answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bakeoff.data.example import Example, Message
from bakeoff.data.messages import encode_training
from bakeoff.engine import reference
from bakeoff.engine.evaluate import Questions, questions
from bakeoff.engine.plain import Plain, after_prompts
from bakeoff.errors import InputError
from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.models.backbone import Backbone, exact_kernels, nf4, trusting
from bakeoff.run.plan import context_for
from bakeoff.store.record import Sample
from bakeoff.study.spec import Model, Quantize
from bakeoff.tasks.task import splits
from bakeoff.use.trial import Opened

RESCORED = 100  # stored answers of a trial that are asked for again, over all its benchmarks
NATS = {"float64": 1e-6, "float32": 1e-3}  # how far a log-probability may be off; merging rounds the weights
SAME_TEXT = {"float64": 0.95, "float32": 0.95}  # share of greedy texts: one rounding at a tie changes all that follows
HALF_NATS, HALF_SAME = 0.5, 0.7  # the same in 16-bit weights


@dataclass(frozen=True)
class Agreement:
    """How far a written model's answers are those the trial stored, on one benchmark.

    `same` of `asked` answers are equal (None where they were drawn by chance); `nats` is the largest difference of a
    log-probability (None for greedy text). `wanted` says what is good enough.
    """

    benchmark: str
    asked: int
    stored: int
    same: int | None
    nats: float | None
    good: bool
    wanted: str

    def __str__(self) -> str:
        told = [] if self.same is None else [f"{self.same} the same"]
        told += [] if self.nats is None else [f"log-probabilities at most {self.nats:.1e} nats apart"]
        asked = f"{self.asked} of {self.stored} stored answers asked again"
        return f"{self.benchmark}: {asked}: {', '.join(told)} (wanted: {self.wanted})"


class Written:
    """A Hugging Face model, asked for logits and texts as the reference engine asks its own."""

    def __init__(self, model: Any, tokenizer: Any, device: torch.device):
        self.model = model.eval()
        self.backbone = SimpleNamespace(tokenizer=tokenizer, device=device)

    def leaf_logits(self, prompts: Sequence[Sequence[int]], leaves: Sequence[Sequence[int]]) -> Tensor:
        """The logits that predict each leaf's tokens after its prompt, [leaves, tokens of the longest, vocabulary]."""
        sequences = [[*prompt, *leaf[:-1]] for prompt, leaf in zip(prompts, leaves, strict=True)]
        longest, device = max(map(len, sequences)), self.backbone.device
        ids = torch.tensor([[*s, *[0] * (longest - len(s))] for s in sequences], device=device)
        mask = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in sequences], device=device)
        logits = self.model(input_ids=ids, attention_mask=mask).logits[:, -longest:]
        return after_prompts(logits, list(map(len, prompts)), max(map(len, leaves)))

    def generate(self, prompts: Sequence[Sequence[int]], config: Any) -> list[list[int]]:
        """What `generate` puts after prompts of one length."""
        ids = torch.tensor(prompts, device=self.backbone.device)
        out = self.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        return [row[ids.shape[1] :] for row in out.tolist()]


def read(
    base: Path,
    adapters: Iterable[Path],
    tokenizer: Path,
    backbone: Backbone,
    quantize: Quantize | None = None,
    spec: Model | None = None,
) -> Written:
    """The model in `base` with the PEFT adapters around it, one over the other: what a user of PEFT would write.

    In `backbone`'s dtype and on its device, its weights in 4 bits where the trial's were. `spec` says whether its
    authors' code may run.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    safe = trusting(spec) if spec else {"use_safetensors": True}
    how: dict[str, Any] = {"dtype": backbone.dtype, "device_map": str(backbone.device), **safe}
    if quantize:
        how["quantization_config"] = nf4(backbone.dtype)
    model: Any = AutoModelForCausalLM.from_pretrained(base, **how)
    exact_kernels(model)
    model.generation_config = GenerationConfig()  # the authors' habits: not followed in the trial either
    whole = model
    for folder in adapters:
        whole = PeftModel.from_pretrained(model, folder)
        if hasattr(whole, "prompt_encoder") and backbone.dtype == torch.float64:  # PEFT makes it float32 over any base
            whole.prompt_encoder.to(backbone.dtype)
    trusted = bool(spec and spec.trust_remote_code)
    return Written(whole, AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=trusted), backbone.device)


@torch.inference_mode()
def rescore(opened: Opened, written: Written, backbone: Backbone, adapter: Adapter) -> list[Agreement]:
    """Ask `written` for up to RESCORED of the trial's stored answers and compare, benchmark by benchmark.

    Labels are compared by log-probability, greedy texts by letter; texts drawn by chance by the log-probability that
    the written model and the trial's own give them.
    """
    kept = opened.store.samples(opened.record.key)
    each = max(1, RESCORED // len(opened.record.benchmarks))
    return [
        _compared(opened, ask, [s for s in kept if s.benchmark == ask.benchmark], written, backbone, adapter)
        for ask in _questions(opened, backbone, each)
    ]


def _questions(opened: Opened, backbone: Backbone, each: int) -> list[Questions]:
    """The first `each` examples of every benchmark, encoded as they were for the trial."""
    trial = opened.trial
    found = splits(opened.task, trial.task_spec, opened.study.data)
    if found.fingerprint != trial.dataset:
        raise InputError(f"tasks.{trial.task}", f"its data are no longer those that {opened.label} was tested on")
    context, spec = context_for(backbone, opened.method.virtual_tokens()), trial.task_spec
    return [
        questions(opened.task, name, rows[:each], spec.decoding, backbone.tokenizer, context, spec.answering)
        for name, rows in found.benchmarks.items()
    ]


def _compared(
    opened: Opened, ask: Questions, kept: Sequence[Sample], written: Any, backbone: Backbone, adapter: Adapter
) -> Agreement:
    wanted = {sample.id: sample for sample in kept if sample.draw == 0}
    samples = [wanted[example.id] for example in ask.examples]
    nats = NATS.get(opened.trial.dtype, HALF_NATS)
    within = f"at most {nats:g} nats"
    if not ask.scored and ask.decoding.temperature:
        items = [_told(example, sample, backbone) for example, sample in zip(ask.examples, samples, strict=True)]
        own = reference.score(Plain(backbone, adapter).eval(), items)
        off = _largest(own, reference.score(written, items))
        return Agreement(ask.benchmark, len(samples), len(wanted), None, off, off <= nats, within)
    again = [own[0] for own in reference.answer(written, ask, opened.record.key)]
    same = sum(one.text == sample.text for one, sample in zip(again, samples, strict=True))
    if ask.scored:
        off = _largest([sample.detail["logprobs"] for sample in samples], [one.logprobs for one in again])
        return Agreement(ask.benchmark, len(samples), len(wanted), same, off, off <= nats, within)
    enough = SAME_TEXT.get(opened.trial.dtype, HALF_SAME) * len(samples)
    return Agreement(
        ask.benchmark, len(samples), len(wanted), same, None, same >= enough, f"at least {math.ceil(enough)} the same"
    )


def _told(example: Example, sample: Sample, backbone: Backbone) -> Any:
    """The example with the stored text for its answer, as token ids."""
    kept = sample.text.rpartition("</think>")[2]  # all that the template of a reasoning model keeps of an answer
    messages = (*example.prompt, Message(role="assistant", content=kept))
    return encode_training(backbone.tokenizer, example.model_copy(update={"messages": messages}), backbone.context)


def _largest(own: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    """The largest difference; not a number where one is none."""
    return float(np.max([np.abs(np.subtract(a, b)).max() for a, b in zip(own, other, strict=True)]))
