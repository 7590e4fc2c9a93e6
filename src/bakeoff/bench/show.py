"""The results as one JSON object and as a Markdown page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bakeoff.bench.inputs import SYSTEM, Inputs
from bakeoff.bench.measure import Case

METHOD = """\
Each case is done by both engines in one run, one right after the other on the same batches, in turn; `ratio` is the
median over these pairs of plain seconds to lanes seconds. Both start from the same weights. Plain is Hugging Face +
PEFT: batches in dataset order, padded to their longest (training: full logits and the Trainer's arithmetic; scoring:
one forward for each label with `logits_to_keep`; generation: `generate` in batches of 16 prompts of equal length, every
row stopped at its own length, the batch running on to its last). `sorted` is the ratio to the plain engine when batches
hold examples of like length. `difference` is in nats: losses of training steps, log-probabilities of labels, and those
of the tokens produced. `of gemm` is the rate of the lanes' matrix products (counted by torch's FlopCounterMode, dense
attention included) over the wall clock, as a fraction of what a bare float32 product of 2048 x 2048 reaches in the
same run."""


def payload(cases: Sequence[Case], given: Inputs, machine: dict[str, Any]) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "cases": [one.as_json() for one in cases],
        "system_prompt": SYSTEM.content,
        "token_lengths_from": f"{given.tokenizer}'s tokenizer",
        "machine": machine,
    }


def text(found: dict[str, Any]) -> str:
    """The JSON for people."""
    return json.dumps(found, indent=1, allow_nan=False)


def markdown(found: dict[str, Any]) -> str:
    """The same as a Markdown page."""
    machine = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    head = [
        "# Lanes against plain Hugging Face + PEFT",
        f"{machine['date']}; {machine['cpu']}, {machine['threads']} threads, {machine['dtype']}; {versions}.",
        f'System prompt: "{found["system_prompt"]}" Token lengths from {found["token_lengths_from"]}.',
        METHOD,
    ]
    columns = [
        "case",
        "what",
        "wanted",
        "ratio",
        "sorted",
        "difference",
        "of gemm",
        "trunk",
        "pairs",
        "lanes s",
        "plain s",
    ]
    rows = [columns, ["---"] * len(columns), *(_row(one) for one in found["cases"])]
    return "\n\n".join([*head, "\n".join(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def line(one: Case) -> str:
    """A case's result in one line."""
    beside = "" if one.ratio_length_sorted is None else f" ({one.ratio_length_sorted:.2f} length-sorted)"
    return (
        f"{one.name}: {one.ratio:.2f} x{beside}, wanted {one.wanted:g}; difference {one.max_loss_difference:.1e}; "
        f"{one.fraction_of_gemm:.0%} of {one.gemm_gflops:.0f} GFLOP/s; trunk {one.trunk_tokens} tokens; "
        f"{one.pairs} pairs, {one.lanes_seconds:.1f} s against {one.plain_seconds:.1f} s"
    )


def _row(one: dict[str, Any]) -> list[str]:
    beside = "" if one["ratio_length_sorted"] is None else f"{one['ratio_length_sorted']:.2f}"
    return [
        f"`{one['name']}`", one["what"], f"{one['wanted']:g}", f"{one['ratio']:.2f}", beside,
        f"{one['max_loss_difference']:.1e}", f"{one['fraction_of_gemm']:.0%}", str(one["trunk_tokens"]),
        str(one["pairs"]), f"{one['lanes_seconds']:.1f}", f"{one['plain_seconds']:.1f}",
    ]  # fmt: skip
