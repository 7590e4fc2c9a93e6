"""Make the embedded base model from nothing: generate its text, train its tokenizer and pretrain its weights.

    python scripts/pretrain_nano.py --out src/bakeoff/nano --steps 2400

Everything follows from the seed. Rows are packed with whole documents; the loss is the plain next-token loss.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from nano_corpus import documents
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
WORDS = Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] | capitalize }}:\n"
    "{{ message['content'] }}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}Assistant:\n{% endif %}"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=24, help="rows in a batch")
    parser.add_argument("--length", type=int, default=192, help="tokens in a row")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--matrix-learning-rate", type=float, default=0.02)
    parser.add_argument("--vocabulary", type=int, default=1280)
    parser.add_argument("--save-every", type=int, default=300, help="steps between saves")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="compile the model, which needs a C++ compiler")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    tokenizer = train_tokenizer(arguments.seed, arguments.vocabulary)
    model = LlamaForCausalLM(configuration(tokenizer))
    train(model, tokenizer, arguments)


def train_tokenizer(seed: int, vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE over the generated text, digits one by one, with the chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(WORDS, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(itertools.islice(documents(seed), 20_000), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def configuration(tokenizer: Any) -> LlamaConfig:
    """The shape of the model: four layers, 192 wide."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def rows(tokenizer: Any, seed: int, length: int) -> Iterator[list[int]]:
    """Rows of whole documents, `<s> text </s>` each, filled from a small shelf so that little padding is left."""
    stream = documents(seed)
    shelf: list[list[int]] = []
    while True:
        while len(shelf) < 64:
            encoded = tokenizer([next(stream) for _ in range(64)], add_special_tokens=False)["input_ids"]
            whole = [[tokenizer.bos_token_id, *ids, tokenizer.eos_token_id] for ids in encoded]
            shelf += [ids for ids in whole if len(ids) <= length]
        row: list[int] = shelf.pop(0)
        while (fitting := [i for i, ids in enumerate(shelf) if len(ids) <= length - len(row)]) and len(row) < length:
            row = row + shelf.pop(fitting[0])
        yield row + [tokenizer.pad_token_id] * (length - len(row))


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, for matrices: Jordan et al. (2024), in float32 and in stacks."""

    def __init__(self, parameters: list[torch.nn.Parameter], learning_rate: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": learning_rate, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step; matrices of one shape are made orthogonal together."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[torch.nn.Parameter]] = {}
            for parameter in group["params"]:
                shapes.setdefault(parameter.shape, []).append(parameter)
            for (height, width), parameters in shapes.items():
                updates = []
                for parameter in parameters:
                    assert parameter.grad is not None
                    mean = self.state[parameter].setdefault("mean", torch.zeros_like(parameter))
                    mean.lerp_(parameter.grad, 1 - group["momentum"])
                    updates.append(parameter.grad.lerp(mean, group["momentum"]))
                scale = group["lr"] * max(1.0, height / width) ** 0.5
                for parameter, update in zip(parameters, orthogonal(torch.stack(updates)), strict=True):
                    parameter.mul_(1 - 0.01 * group["lr"]).sub_(scale * update)


def orthogonal(x: torch.Tensor, steps: int = 4) -> torch.Tensor:
    """The nearest orthogonal matrices to a stack of matrices, roughly, by Newton and Schulz's iteration."""
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.mT if tall else x


def train(model: LlamaForCausalLM, tokenizer: Any, arguments: argparse.Namespace) -> None:
    """Next-token pretraining with a short warm-up and a cosine to a tenth; saves as it goes."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    adamw = torch.optim.AdamW(others, lr=arguments.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    optimizers = [adamw, Muon(matrices, learning_rate=arguments.matrix_learning_rate)]

    def rate(step: int) -> float:
        warm = min(1.0, (step + 1) / 50)
        return warm * (0.1 + 0.45 * (1 + math.cos(math.pi * step / arguments.steps)))

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, rate) for optimizer in optimizers]
    forward = torch.compile(model) if arguments.compile else model
    stream = rows(tokenizer, arguments.seed + 1, arguments.length)
    started, mean = time.monotonic(), 0.0
    for step in range(1, arguments.steps + 1):
        batch = torch.tensor([next(stream) for _ in range(arguments.rows)])
        logits = forward(input_ids=batch[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), batch[:, 1:].flatten(), ignore_index=tokenizer.pad_token_id
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        mean += (loss.item() - mean) / min(step, 20)
        if step % 10 == 0:
            seconds = time.monotonic() - started
            print(
                f"step {step}  loss {mean:.3f}  {step * batch.numel() / seconds:.0f} tokens/s  {seconds:.0f} s",
                flush=True,
            )
        if step % arguments.save_every == 0 or step == arguments.steps:
            save(model, tokenizer, arguments.out)


def save(model: LlamaForCausalLM, tokenizer: Any, out: Path) -> None:
    """Write the Hugging Face folder: weights in float16, to be loaded as float32, and the checksums of its files."""
    out.mkdir(parents=True, exist_ok=True)
    state = {name: value.half() for name, value in model.state_dict().items() if name != "lm_head.weight"}
    model.save_pretrained(out, state_dict=state)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "dtype": "float32"}, indent=2) + "\n")
    GenerationConfig(
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    ).save_pretrained(out)
    tokenizer.save_pretrained(out, save_jinja_files=False)
    settings = json.loads((out / "tokenizer_config.json").read_text())
    settings = {**settings, "tokenizer_class": "PreTrainedTokenizerFast"}
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    (out / "model.safetensors").chmod(0o644)
    write_checksums(out)


def write_checksums(out: Path) -> None:
    """Write SHA256SUMS, in the format of `sha256sum`, for every file of the model."""
    names = sorted(p.name for p in out.iterdir() if p.suffix in {".json", ".safetensors", ".md"})
    lines = [f"{hashlib.sha256((out / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (out / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    main()
