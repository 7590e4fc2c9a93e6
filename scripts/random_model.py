"""An architecture with random weights as a model directory: to try a study where the real weights are not to be had.

    python scripts/random_model.py gpt2 OUT --tokenizer DIR [--set n_layer=2 --set n_embd=64 ...] [--seed 0]

`gpt2`, `qwen2` and `t5` have the sizes of GPT-2 (124M), DeepSeek-R1-Distill-Qwen-1.5B and t5-base; `--set` changes them
by the names of transformers' configurations. The tokenizer is that of any model directory. `config.json` is marked, and
a report says of every model so marked that its weights are random.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"vocab_size": 50257},
    "qwen2": {
        "vocab_size": 151936,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "max_position_embeddings": 131072,
    },
    "t5": {
        "vocab_size": 32128,
        "d_model": 768,
        "d_ff": 3072,
        "d_kv": 64,
        "num_layers": 12,
        "num_heads": 12,
        "n_positions": 512,
    },
}


def make(
    architecture: str, out: Path, tokenizer: Path, changes: Mapping[str, Any] | None = None, seed: int = 0
) -> Path:
    """Write the model and its tokenizer into `out`, which is returned."""
    words = AutoTokenizer.from_pretrained(tokenizer)
    special: dict[str, Any] = {"eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    special |= {"decoder_start_token_id": words.pad_token_id} if architecture == "t5" else {}
    special |= {"bos_token_id": words.bos_token_id} if architecture != "t5" else {}
    sizes = {**SIZES[architecture], **special, **(changes or {})}
    config = AutoConfig.for_model(architecture, **sizes, bakeoff_random_weights=True)
    kind = AutoModelForSeq2SeqLM if architecture == "t5" else AutoModelForCausalLM
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind.from_config(config)
    model.save_pretrained(out)
    words.save_pretrained(out)
    return out


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("architecture", choices=SIZES)
    asked.add_argument("out", type=Path)
    asked.add_argument("--tokenizer", type=Path, required=True)
    asked.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    disable_progress_bar()
    pairs = (one.partition("=") for one in given.set)
    changes = {name: YAML(typ="safe", pure=True).load(value) for name, _, value in pairs}
    print(make(given.architecture, given.out, given.tokenizer, changes, given.seed))


if __name__ == "__main__":
    main()
