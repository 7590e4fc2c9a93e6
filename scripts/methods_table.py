"""Run every native method and every PEFT type on tiny models of nine architectures, and write docs/methods.md.

A cell holds only what ran: eight steps with finite losses, after which every trained tensor has moved, and the saved
adapter scores as the trained one when it is loaded again. `python scripts/methods_table.py` takes about ten minutes.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import sys
import tempfile
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers

from bakeoff.data.messages import Encoded
from bakeoff.engine import reference
from bakeoff.engine.evaluate import score
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.plain import Plain
from bakeoff.engine.prove import doubt
from bakeoff.engine.randomness import generator
from bakeoff.engine.train import Learner, train
from bakeoff.methods.method import Method, build
from bakeoff.models.backbone import Backbone
from bakeoff.study import registry
from bakeoff.study.spec import Training

VOCABULARY, WIDTH = 97, 32
SIZE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
WIDE: dict[str, Any] = {**SIZE, "intermediate_size": 64}
T5: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": WIDTH,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
}
# The class of transformers, its configuration's keys, and the modules that PEFT types are pointed at: query and value
# (or what holds them), key, value and the feed-forward's last for IA3, and the norms.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any], list[str], list[str], list[str]]] = {
    "GPT-2": ("GPT2LMHead", {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": 2, "n_head": 4},
              ["c_attn"], ["c_attn", "mlp.c_proj"], ["ln_1", "ln_2"]),
    "Llama": ("LlamaForCausalLM", WIDE,
              ["q_proj", "v_proj"], ["k_proj", "v_proj", "down_proj"], ["input_layernorm", "norm"]),
    "Qwen2": ("Qwen2ForCausalLM", {**WIDE, "num_key_value_heads": 2},
              ["q_proj", "v_proj"], ["k_proj", "v_proj", "down_proj"], ["input_layernorm", "norm"]),
    "Mistral": ("MistralForCausalLM", {**WIDE, "num_key_value_heads": 2, "sliding_window": 8},
                ["q_proj", "v_proj"], ["k_proj", "v_proj", "down_proj"], ["input_layernorm", "norm"]),
    "GPT-NeoX": ("GPTNeoXForCausalLM", WIDE,
                 ["query_key_value"], ["query_key_value", "dense_4h_to_h"], ["input_layernorm"]),
    "Phi": ("PhiForCausalLM", WIDE, ["q_proj", "v_proj"], ["k_proj", "v_proj", "fc2"], ["input_layernorm"]),
    "OPT": ("OPTForCausalLM", {**SIZE, "ffn_dim": 64, "word_embed_proj_dim": WIDTH},
            ["q_proj", "v_proj"], ["k_proj", "v_proj", "fc2"], ["self_attn_layer_norm", "final_layer_norm"]),
    "Gemma": ("GemmaForCausalLM", {**WIDE, "num_key_value_heads": 1, "head_dim": 8},
              ["q_proj", "v_proj"], ["k_proj", "v_proj", "down_proj"], ["input_layernorm", "norm"]),
    "T5": ("T5ForConditionalGeneration", {**T5, "decoder_start_token_id": 0},
           ["q", "v"], ["k", "v", "wo"], ["layer_norm"]),
}  # fmt: skip
# Keys of PEFT types whose defaults are too large for these models, or which need some.
KEYS: dict[str, dict[str, Any]] = {
    "ADAPTION_PROMPT": {"adapter_len": 4, "adapter_layers": 1},
    "ADALORA": {"init_r": 4, "target_r": 3, "tinit": 2, "tfinal": 2},
    "BOFT": {"boft_block_size": 8},
    "C3A": {"block_size": 8},
    "CARTRIDGE": {"num_virtual_tokens": 4},
    "DELORA": {"r": 4},
    "FOURIERFT": {"n_frequency": 20},
    "GRALORA": {"r": 4},
    "HRA": {"r": 4},
    "LILY": {"r": 4},
    "LORA": {"r": 4},
    "MISS": {"r": 4},
    "OFT": {"oft_block_size": 8},
    "P_TUNING": {"num_virtual_tokens": 4},
    "PREFIX_TUNING": {"num_virtual_tokens": 4},
    "PROMPT_TUNING": {"num_virtual_tokens": 4},
    "PSOFT": {"r": 4},
    "PVERA": {"r": 8},
    "RANDLORA": {"r": 4},
    "ROAD": {"group_size": 8},
    "SHIRA": {"r": 2},
    "TRAINABLE_TOKENS": {"token_indices": [5, 6, 7]},
    "UNILORA": {"r": 4},
    "VBLORA": {"vector_length": 16, "num_vectors": 8, "topk": 2},
    "VERA": {"r": 8},
    "WAVEFT": {"n_frequency": 20},
}
VARIANTS = {
    "LORA, use_dora": ("LORA", {"r": 4, "use_dora": True}),
    "LORA, pissa": ("LORA", {"r": 4, "init_lora_weights": "pissa"}),
}
NO_TARGETS = {"TRAINABLE_TOKENS", "ADAPTION_PROMPT", "SHADOW"}
TRAINING = Training(learning_rate=1e-2, per_device_train_batch_size=4, max_steps=8)
Refusal = str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/methods.md"))
    parser.add_argument("--only", default="", help="rows whose name holds this text; printed, not written")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    native = {name: native_method(name) for name in natives()}
    peft = {name: peft_method(name) for name in peft_types()}
    tables = [
        {name: row(name, make) for name, make in rows.items() if asked.only.lower() in name.lower()}
        for rows in (native, peft)
    ]
    page = written(*tables)
    if asked.only:
        print(page)
    else:
        asked.out.write_text(page)


# --- what is run ---


def natives() -> list[str]:
    kinds = {name: registry.find("methods", name, "") for name in registry.names("methods")}
    return [name for name, kind in kinds.items() if kind.trains and kind.lanes]


def peft_types() -> list[str]:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    return sorted([*(kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING), *VARIANTS])


def native_method(name: str) -> Callable[[str], Method]:
    return lambda architecture: build(name, registry.find("methods", name, "").example)


def peft_method(name: str) -> Callable[[str], Method]:
    def make(architecture: str) -> Method:
        kind, keys = VARIANTS.get(name, (name, KEYS.get(name, {})))
        _, _, targets, scaled, norms = ARCHITECTURES[architecture]
        where: dict[str, Any] = {"target_modules": norms if kind == "LN_TUNING" else targets}
        if kind == "IA3":
            where = {"target_modules": scaled, "feedforward_modules": scaled[-1:]}
        if kind in NO_TARGETS or "num_virtual_tokens" in keys:
            where = {}
        try:
            return build("peft", {"peft_type": kind, **keys, **where})
        except Exception as error:
            if "target_modules: unknown key" in str(error):
                return build("peft", {"peft_type": kind, **keys})
            raise

    return make


def backbone(architecture: str) -> Backbone:
    name, keys, *_ = ARCHITECTURES[architecture]
    kind: Any = getattr(transformers, name if name.endswith(("LM", "Generation")) else f"{name}Model")
    torch.manual_seed(0)
    model = kind(kind.config_class(**keys))
    with torch.no_grad():
        for parameter in model.parameters():  # a trained model's biases are not zero, and GLoRA scales them
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return Backbone(model, SimpleNamespace(eos_token_id=1), architecture)


def row(name: str, make: Callable[[str], Method]) -> dict[str, dict[str, Refusal]]:
    """For each architecture, each engine's refusal, or an empty text where all was well."""
    print(name, file=sys.stderr, flush=True)
    return {a: {engine: refusal(make, a, engine) for engine in ("lanes", "reference")} for a in ARCHITECTURES}


def refusal(make: Callable[[str], Method], architecture: str, engine: str) -> Refusal:
    try:
        base, method = backbone(architecture), make(architecture)
        if engine == "lanes":
            if not method.lanes:
                return "PEFT types run through the reference engine only"
            if why := doubt(base):
                return why
        return tried(base, method, engine)
    except Exception as error:  # whatever a library says is what the table is about
        said = " ".join(str(error).split())
        return said if type(error).__module__.startswith("bakeoff") else f"{type(error).__name__}: {said}"


def tried(base: Backbone, method: Method, engine: str) -> Refusal:
    declared = method.parameters(base)
    adapter = method.attach(base, generator(0, "init"))
    if (counted := sum(p.numel() for p in adapter.parameters())) != declared:
        return f"{counted} numbers are trained, but {declared} were declared"
    one = Learner("it", adapter if engine == "lanes" else Plain(base, adapter), examples(16), TRAINING, 0)
    start = {name: p.detach().clone() for name, p in one.adapter.named_parameters() if p.requires_grad}
    if engine == "lanes":
        train(Lanes(base, [adapter]), [one])
    else:
        reference.train(one)
    if one.diverged or not all(math.isfinite(line.loss) for line in one.curve):
        return f"it diverges: {one.diverged}"
    end = dict(one.adapter.named_parameters())
    still = [name for name in start if torch.equal(start[name], end[name]) and "lora_E" not in name]
    if still:
        return f"{len(still)} of {len(start)} trained tensors never move, such as {still[0]}"
    return reloaded(base, method, engine, one)


def reloaded(base: Backbone, method: Method, engine: str, one: Learner) -> Refusal:
    """Save, load into a new adapter, and compare scores."""
    adapter: Any = one.adapter
    if engine == "reference":
        adapter.collect()
        adapter = adapter.adapter
    wanted = scores(base, engine, one.adapter)
    with tempfile.TemporaryDirectory() as folder:
        adapter.save(Path(folder))
        adapter.release()
        again = method.attach(base, generator(1, "init"))
        again.load(Path(folder))
        found = scores(base, engine, again if engine == "lanes" else Plain(base, again))
    worst = max(abs(a - b) for a, b in zip(wanted, found, strict=True))
    return "" if worst < 1e-4 else f"saved and loaded again, scores differ by {worst:.2g} nats"


def scores(base: Backbone, engine: str, adapter: Any) -> list[float]:
    items = examples(4, seed=1, leaves=2)
    adapter.eval()
    found = score(Lanes(base, [adapter]), items)[0] if engine == "lanes" else reference.score(adapter, items)
    return [value for own in found for value in own]


def examples(count: int, seed: int = 0, leaves: int = 1) -> list[Encoded]:
    chance = random.Random(seed)

    def some(low: int, high: int) -> tuple[int, ...]:
        return tuple(chance.randrange(3, VOCABULARY) for _ in range(chance.randint(low, high)))

    return [Encoded(some(6, 16), tuple(some(1, 6) for _ in range(leaves))) for _ in range(count)]


# --- how it is written ---


Row = dict[str, dict[str, Refusal]]


def written(native: dict[str, Row], peft: dict[str, Row]) -> str:
    notes: list[str] = []
    tables = [table("method", native, notes), table("peft_type", peft, notes)]
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    return PAGE.format(
        date=datetime.now(UTC).date().isoformat(), versions=versions, native=tables[0], peft=tables[1],
        notes="\n".join(f"{i}. {note}" for i, note in enumerate(notes, 1)),
    )  # fmt: skip


def table(title: str, rows: dict[str, Row], notes: list[str]) -> str:
    lines = [[title, *ARCHITECTURES], ["---"] * (1 + len(ARCHITECTURES))]
    lines += [[f"`{name}`", *(cell(own[a], notes) for a in ARCHITECTURES)] for name, own in rows.items()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(engines: dict[str, Refusal], notes: list[str]) -> str:
    """`lanes, reference`, or the engine that is left with the other's reason, or the reference's refusal."""
    works = [engine for engine, why in engines.items() if not why]
    why = engines["reference"] or engines["lanes"]
    if len(works) == len(engines) or (works and why.startswith("PEFT types")):
        return ", ".join(works)
    return f"{', '.join(works) or 'refused'} {number(why, notes)}"


def number(why: Refusal, notes: list[str]) -> str:
    plain = re.sub(r"\b(Conv1D|Linear)\([^)]*\)", r"\1", why)[:240].replace("|", "\\|")
    if plain not in notes:
        notes.append(plain)
    return f"({notes.index(plain) + 1})"


PAGE = """# Methods, architectures, engines

Made by running them: `python scripts/methods_table.py`, {date}, {versions}, float32 on a CPU.

Every cell is a tiny model with random weights (two layers, width 32; Mistral with a sliding window of 8) that took
eight optimiser steps. `lanes` and `reference` name the engines in which the losses were finite, every trained tensor
moved, the declared number of trained parameters was the counted one, and the saved adapter, loaded again, gave the same
scores to 1e-4 nats. A number names the reason in the notes. What is refused is said before anything runs where the
model's shape shows it, else the trial fails with that reason.

## Native methods

{native}

## `use: peft`, by `peft_type` (reference engine only)

Pointed at the query and value projections (or the fused module that holds them), the norms for LN_TUNING, with small
sizes where PEFT's defaults do not fit a model this small; what is refused here for its size may fit yours.

{peft}

## Notes

{notes}

What to know of some types:

- AdaLoRA: `total_step` is the trial's number of optimiser steps where none is given. Ranks are allotted after every
  step by that step's gradients; the orthogonal regularisation is added once to every step's loss, as PEFT's forward
  adds it, and is not in the curve, which holds the loss over target tokens for every method.
- P-tuning and projected prefixes: what is saved is what their encoder puts out, as PEFT saves it, so that fewer numbers
  lie on disk than were trained. VeRA's shared projections are saved and not trained.
- Virtual tokens on T5: PEFT's prompt tuning counts, saves and hands out tokens for both stacks, and puts only the
  encoder's before the text. The other half gets no gradient. Prefixes go to the decoder's self-attention.
- `MULTITASK_PROMPT_TUNING`, `POLY`, `CPT` and `XLORA` need more than a study gives (see the notes).
"""


if __name__ == "__main__":
    main()
