"""Judge the embedded base model by what fine-tuning brings out of it: plain Hugging Face and PEFT, one trial each.

    python scripts/probe_nano.py --model src/bakeoff/nano --methods base lora=5e-3 prompt=0.03 --tasks sentiment math

A method may carry its learning rate. Sentiment is judged by the likelier label, math and code by greedy decoding.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, get_linear_schedule_with_warmup

from bakeoff.data import mini

RATES = {"base": 0.0, "lora": 5e-3, "lora-qv": 5e-3, "prompt": 3e-2, "prefix": 3e-2, "lora+prompt": 5e-3, "full": 1e-3}
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("src/bakeoff/nano"))
    parser.add_argument("--tasks", nargs="+", default=["sentiment", "math", "code"])
    parser.add_argument("--methods", nargs="+", default=list(RATES), help="name, or name=learning_rate")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--train", type=int, default=1000, help="training examples")
    parser.add_argument("--test", type=int, default=200, help="test examples")
    parser.add_argument("--tokens", type=int, default=8, help="soft prompt tokens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--show", type=int, default=0, help="completions to print")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(
        "| task | method | learning rate | steps | first loss | last loss | score | train s | test s |\n"
        + "|---" * 9
        + "|"
    )
    for task, method in itertools.product(arguments.tasks, arguments.methods):
        name, _, rate = method.partition("=")
        trial(task, name, float(rate or RATES[name]), arguments)


def trial(task: str, method: str, learning_rate: float, arguments: argparse.Namespace) -> None:
    """Train one adapter and print its row of the table."""
    torch.manual_seed(arguments.seed)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model, soft = attach(method, arguments)
    make = getattr(mini, task)
    started, losses = time.monotonic(), [float("nan")]
    if method != "base":
        train_rows = make("train", arguments.train, arguments.seed)
        losses = train(model, soft, tokenizer, train_rows, learning_rate, arguments)
    middle = time.monotonic()
    score = test(model, soft, tokenizer, make("test", arguments.test, 0), arguments.show)
    ended, few = time.monotonic(), min(5, len(losses))
    print(
        f"| {task} | {method} | {learning_rate:g} | {arguments.steps} | {sum(losses[:few]) / few:.2f} "
        f"| {sum(losses[-few:]) / few:.3f} | {score:.3f} | {middle - started:.0f} | {ended - middle:.0f} |",
        flush=True,
    )


def attach(method: str, arguments: argparse.Namespace) -> tuple[Any, torch.nn.Parameter | None]:
    """The model with the method's parameters, and its soft prompt if it has one."""
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32)
    embeddings = model.get_input_embeddings().weight.detach()
    model.requires_grad_(method == "full")
    soft = None
    if method.startswith("lora"):
        targets = ["q_proj", "v_proj"] if method == "lora-qv" else "all-linear"
        model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=targets, task_type="CAUSAL_LM"))
    if "prompt" in method:
        soft = torch.nn.Parameter(embeddings[torch.randperm(len(embeddings))[: arguments.tokens]].clone())
    if method == "prefix":
        model = get_peft_model(model, PrefixTuningConfig(num_virtual_tokens=10, task_type="CAUSAL_LM"))
    return model, soft


def encode(tokenizer: Any, row: Row) -> tuple[list[int], list[int]]:
    """The prompt's tokens, and the target's: the answer and the end of the turn."""
    prompt = tokenizer.apply_chat_template(row["messages"][:2], tokenize=False, add_generation_prompt=True)
    answer = row["messages"][2]["content"] + tokenizer.eos_token
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, answer)]


def inputs(model: Any, soft: torch.nn.Parameter | None, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Token ids, or their embeddings after the soft prompt."""
    if soft is None:
        return {"input_ids": ids}
    embedded = model.get_input_embeddings()(ids)
    return {"inputs_embeds": torch.cat([soft.expand(len(ids), -1, -1), embedded], 1)}


def train(
    model: Any, soft: torch.nn.Parameter | None, tokenizer: Any, rows: list[Row], rate: float, arguments: Any
) -> list[float]:
    """Optimise with AdamW, a short warm-up, a linear decay and clipping; the losses of the steps."""
    parameters = [p for p in model.parameters() if p.requires_grad] + ([soft] if soft is not None else [])
    groups = [{"params": parameters}]
    if soft is not None and len(parameters) > 1:
        groups = [{"params": parameters[:-1]}, {"params": [soft], "lr": rate}]
    optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, max(1, arguments.steps // 10), arguments.steps)
    encoded, rng, losses = [encode(tokenizer, row) for row in rows], random.Random(arguments.seed), []
    order = itertools.chain.from_iterable(rng.sample(encoded, len(encoded)) for _ in itertools.count())
    model.train()
    for _ in range(arguments.steps):
        batch = list(itertools.islice(order, arguments.batch))
        width = max(len(p) + len(a) for p, a in batch)
        ids = torch.tensor([p + a + [tokenizer.pad_token_id] * (width - len(p) - len(a)) for p, a in batch])
        labels = torch.tensor([[-100] * len(p) + a + [-100] * (width - len(p) - len(a)) for p, a in batch])
        logits = model(**inputs(model, soft, ids)).logits[:, -width:]
        loss = cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def test(model: Any, soft: torch.nn.Parameter | None, tokenizer: Any, rows: list[Row], show: int) -> float:
    """The share of the test rows that are answered right."""
    model.eval()
    right = 0
    for prompts, group in batches(tokenizer, rows):
        given = inputs(model, soft, prompts)
        if "choices" in group[0]:
            logits = model(**given).logits[:, -1]
            choices = [tokenizer.convert_tokens_to_ids(choice) for choice in group[0]["choices"]]
            texts = [group[0]["choices"][i] for i in logits[:, choices].argmax(-1).tolist()]
        else:
            mask = torch.ones(next(iter(given.values())).shape[:2], dtype=torch.long)
            out = model.generate(**given, attention_mask=mask, max_new_tokens=48, do_sample=False)
            texts = tokenizer.batch_decode(out[:, prompts.shape[1] if soft is None else 0 :], skip_special_tokens=True)
        right += sum(correct(row, text) for row, text in zip(group, texts, strict=True))
        for row, text in list(zip(group, texts, strict=True))[: max(show, 0)]:
            print(repr(row["messages"][1]["content"][-60:]), "->", repr(text))
            show -= 1
    return right / len(rows)


def batches(tokenizer: Any, rows: list[Row]) -> Iterator[tuple[torch.Tensor, list[Row]]]:
    """Rows whose prompts have the same length, so that nothing is padded."""
    pairs = sorted(((encode(tokenizer, row)[0], row) for row in rows), key=lambda pair: len(pair[0]))
    for _, group in itertools.groupby(pairs, key=lambda pair: len(pair[0])):
        prompts, group_rows = zip(*group, strict=True)
        yield torch.tensor(prompts), list(group_rows)


def correct(row: Row, text: str) -> bool:
    """Whether a completion is right: the label, the number after `Final Answer:`, or all asserts pass."""
    if "tests" not in row:
        found = re.search(r"Final Answer: (-?\d+)", text)
        return row["answer"] == (text if "choices" in row else found and found.group(1))
    space: dict[str, Any] = {"__builtins__": {f.__name__: f for f in (max, min, sum, len, range, AssertionError)}}
    try:
        exec("\n".join([text, *row["tests"]]), space)
    except Exception:
        return False
    return True


if __name__ == "__main__":
    main()
