"""Tiny real models made on the spot, and where the optional real data lies."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
VOCABULARY = 97
ARCHITECTURES = ("gpt2", "llama", "qwen2")


def tiny_model(kind: str, seed: int = 0, width: int = 32) -> Any:
    """A two-layer causal language model with random weights; qwen2 has grouped-query attention."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    special: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    inner = 48 if width == 32 else 2 * width
    shape: dict[str, Any] = dict(vocab_size=VOCABULARY, hidden_size=width, intermediate_size=inner, num_hidden_layers=2)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "gpt2":
            config = GPT2Config(vocab_size=VOCABULARY, n_embd=width, n_layer=2, n_head=4, n_positions=256, **special)
            return GPT2LMHeadModel(config)
        if kind == "llama":
            return LlamaForCausalLM(LlamaConfig(**shape, num_attention_heads=4, max_position_embeddings=256, **special))
        return Qwen2ForCausalLM(
            Qwen2Config(**shape, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, **special)
        )


def tiny_tokenizer():
    """Words w0, w1, ... to ids, with an end token and a plain chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<s>": 0, "</s>": 1, "<unk>": 2} | {f"w{i}": i for i in range(3, VOCABULARY)}
    raw = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }} </s>{% else %}{{ m.content }} {% endif %}"
        "{% endfor %}"
    )
    return tokenizer


def tiny_backbone(kind: str, dtype: torch.dtype = torch.float32):
    from bakeoff.models.backbone import Backbone

    return Backbone(tiny_model(kind).to(dtype), tiny_tokenizer(), kind)


@pytest.fixture(autouse=True)
def _signals_are_pytests():
    """`bakeoff.cli.main` keeps the signals of its process, and here that is pytest's.

    Whoever runs the tests in the background may have them ignore SIGINT, which a run would respect: it is heard here.
    """
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.fixture(autouse=True, scope="session")
def _short_metering():
    """One timed step and one reading of each method's cost: enough where only its being there matters."""
    from bakeoff.engine import meter

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"TIMED_STEPS": 1, "READINGS": 1, "DECODED_TOKENS": 2}.items():
            patch.setattr(meter, name, value)
        yield


@pytest.fixture(autouse=True, scope="session")
def _unsynced():
    """No waiting for the disk, some milliseconds for each file: what is synced, and when, is held by test_durable."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(params=ARCHITECTURES)
def architecture(request) -> str:
    return request.param


def shared(*parts: str) -> Path:
    """A path of the optional real data; the test is listed as not run where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"not run: {Path('shared', *parts)} is absent")
    return path
