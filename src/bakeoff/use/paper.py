"""Paper: what only real architectures, PEFT itself and HumanEval's solutions say of the paper's claims."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch

from bakeoff.analysis.audit import Audit, Finding, Said
from bakeoff.analysis.claims import GPT2, STATED, paper
from bakeoff.analysis.printed import Row, published
from bakeoff.data.datasets import read
from bakeoff.errors import InputError, suggest
from bakeoff.grading.text import tokens, unrelated_floor
from bakeoff.models.sites import find_sites, match

HUMANEVAL = "openai/openai_humaneval"
STATED_TARGETS = ("q_proj", "v_proj")


def audit_paper(data: Sequence[str] = ()) -> Audit:
    """All that is known of the paper; `data` are HUB_ID=PATH, of which HumanEval's is used."""
    sources = _sources(data)
    known = paper()
    return known.model_copy(update={"findings": (*known.findings, *architectures(), overlap(sources))})


def _sources(data: Sequence[str]) -> dict[str, str]:
    found = {name: path for one in data for name, _, path in [one.partition("=")]}
    for name, path in found.items():
        if name != HUMANEVAL:
            raise InputError(f"--data {name}", "the audit has no use for it", suggest(name, [HUMANEVAL]))
        if not path:
            raise InputError(f"--data {name}", "no path is given", f"write --data {name}=PATH")
    return found


def architectures() -> Iterator[Finding]:
    """Findings that need transformers and PEFT, on models without weights."""
    yield from (_targets(name, model) for name, model in _models().items())
    yield from _counted()
    yield _hybrid()


def overlap(sources: Mapping[str, str]) -> Finding:
    """Table 4's token Jaccard beside what two unrelated solutions of HumanEval share; without the data, undecided."""
    rows = [row for row in published("table4") if row.metric == "jaccard"]
    told = ", ".join(f"{row.method} {row.value}" for row in rows)
    where = "Table 4: Token Jaccard, generated against reference solution"
    if HUMANEVAL not in sources:
        text = f"{told}; to set them beside the overlap of unrelated solutions give --data {HUMANEVAL}=PATH"
        return _finding("code", where, "cannot be decided", text)
    fields = {"prompt": str, "canonical_solution": str}
    texts = [row["canonical_solution"] for row in read(HUMANEVAL, ("test", "HumanEval"), sources, fields=fields)]
    return _overlap(rows, texts, where, told)


def _overlap(rows: Sequence[Row], texts: Sequence[str], where: str, told: str) -> Finding:
    floor, words = unrelated_floor(texts), _of_words(texts)
    below = [row for row in rows if float(row.value) < min(floor, words)]
    best = next(row for row in rows if row.method == "prompt")
    distinct = sum(len(tokens(text)) for text in texts) / len(texts)
    text = (
        f"{told}; two unrelated solutions of the {len(texts)} share {floor:.3f} of their tokens ({words:.3f} of what "
        f"spaces divide). {len(below)} of {len(rows)} lie below that, prompt tuning's, with the highest Pass@1, by a "
        f"factor of {min(floor, words) / float(best.value):.0f}: an answer that holds the reference's {distinct:.0f} "
        f"tokens would need {distinct / float(best.value):,.0f} different ones. Metric or answers are broken"
    )
    return _finding("code", where, "impossible as stated" if below else "cannot be decided", text)


def _of_words(texts: Sequence[str]) -> float:
    """The mean Jaccard index of all pairs of texts, by what white space divides."""
    sets = [frozenset(text.split()) for text in texts]
    found = [len(a & b) / len(a | b) for a, b in combinations(sets, 2) if a or b]
    return sum(found) / len(found)


def _models() -> dict[str, Any]:
    """One layer of each of the paper's architectures, without weights."""
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        Qwen2Config,
        Qwen2ForCausalLM,
        T5Config,
        T5ForConditionalGeneration,
    )

    with torch.device("meta"):
        return {
            "GPT-2": GPT2LMHeadModel(GPT2Config(n_layer=1)),
            "T5": T5ForConditionalGeneration(T5Config(num_layers=1)),
            "DeepSeek-R1-Distill-Qwen-1.5B (Qwen2)": Qwen2ForCausalLM(Qwen2Config(num_hidden_layers=1)),
        }


def _targets(name: str, model: Any) -> Finding:
    where = f"A.2: LoRA on {' and '.join(STATED_TARGETS)}, for {name}"
    sites = find_sites(model, model.get_output_embeddings())
    there = sorted({site.name.rsplit(".", 1)[-1] for site in sites.values() if site.rows is None})
    try:
        match(sites, STATED_TARGETS, "target_modules")
    except InputError as error:
        text = f"{error.what}: its modules are {', '.join(there)}"
        return _finding("architecture", where, "impossible as stated", text)
    return _finding("architecture", where, "consistent", f"both are among its modules, {', '.join(there)}")


def _counted() -> Iterator[Finding]:
    """PEFT's own counts of the settings that give Table 5's percentages, beside the closed forms."""
    import peft

    for told, config, expected in (
        (
            "LoRA r=8 on c_attn and c_proj",
            peft.LoraConfig(task_type="SEQ_CLS", r=STATED["r"], target_modules=["c_attn", "c_proj"]),
            GPT2.lora(STATED["r"], ["c_attn", "attn.c_proj", "mlp.c_proj"]),
        ),
        (
            "prompt tuning, 20 tokens",
            peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=20),
            GPT2.prompt(20),
        ),
        (
            "prefix tuning, 20 tokens, projected",
            peft.PrefixTuningConfig(
                task_type="SEQ_CLS", num_virtual_tokens=20, prefix_projection=True, encoder_hidden_size=768
            ),
            GPT2.prefix(20, 768),
        ),
    ):
        counted, expected = _trained(_with(config)), expected + GPT2.head(2)
        text = (
            f"PEFT {peft.__version__} trains {counted:,} of GPT-2 with a two-label head; the closed form {expected:,}"
        )
        yield _finding("architecture", f"Table 5: {told}", "consistent" if counted == expected else "false", text)


def _with(config: Any) -> Any:
    import peft
    from transformers import GPT2Config, GPT2ForSequenceClassification

    with torch.device("meta"):
        return peft.get_peft_model(GPT2ForSequenceClassification(GPT2Config()), config)


def _trained(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _hybrid() -> Finding:
    """What PEFT's own nesting of soft prompts around LoRA trains."""
    import peft
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config(n_layer=1))
        lora = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", r=8, target_modules=["c_attn"]))
        prompt = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=STATED["prompt tokens"])
        nested = peft.get_peft_model(lora, prompt)  # pyright: ignore[reportArgumentType]
    left = [name for name, parameter in nested.named_parameters() if parameter.requires_grad]
    frozen = not any("lora" in name for name in left)
    which = "the prompt alone: LoRA is silently frozen" if frozen else "LoRA among them"
    text = (
        f"PEFT {peft.__version__} has no such method; soft prompts put around a LoRA model train {_trained(nested):,} "
        f"numbers, {which}. How it was done is not said"
    )
    return _finding("architecture", "3.3: the hybrid trains LoRA and soft prompts", "cannot be decided", text)


def _finding(check: str, where: str, verdict: Said, text: str) -> Finding:
    return Finding(check=check, where=where, verdict=verdict, text=text)
