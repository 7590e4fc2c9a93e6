"""The results as one JSON object and as a Markdown page."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bakeoff.bench.inputs import SYSTEM, Inputs
from bakeoff.bench.measure import Case
from bakeoff.errors import InputError
from bakeoff.store import durable

METHOD = """\
Each case is done by both engines in one run, one right after the other on the same batches, in turn; `ratio` is the
median over these pairs of plain seconds to lanes seconds, with the least and the greatest of them. Both start from the
same weights, on which every number of the adapter has an effect.

Plain is Hugging Face + PEFT, its batches in dataset order and padded to their longest. Training: the model's own loss
from labels, so with logits at every position, without a cache; then the Trainer's clipping, AdamW and schedule.
Scoring: one forward for each label with `logits_to_keep`. Generation: `generate` in batches of 16 prompts of equal
length, every row stopped at its own length, the batch running on to its last.

Where lanes save: the trunk, the tokens all prompts begin with, is read once for a batch (with no shared prompt the
ratios are smaller), padding is none, logits are computed where an answer's token is predicted, a text is read once for
all its labels, and five adapters are decoded together, each sequence giving its place to the next.

Beside the ratio, each timed after the pair (where there are five adapters: for the first, times five): `sorted`, per
real token, to plain on batches of like length, cut from 640 examples sorted by length and spread evenly over them;
`one forward`, to plain that reads both labels, one token each, off one forward; `one batch`, to `generate` on all
prompts at once.

`difference` is in nats: losses of training steps, log-probabilities of labels, and those of the tokens produced up to
the first that differs. The command fails above 1e-4, where gradients' norms or what training changed differ by more
than 1e-3, and where more than a tenth of the texts part. `of gemm` is the rate of the lanes' matrix products (counted
by torch's FlopCounterMode, dense attention included) over the wall clock, as a fraction of what a bare float32 product
of 2048 x 2048 reaches right before or after, whichever is faster; a case is called disturbed where these two differ by
more than 15 %.

`gpt2-124m` is GPT-2's architecture with random weights, the base's own dropout off; its GELU is torch's single
operation in both engines (GPT-2's configuration spells it out in eight, which plain would run and lanes would not).
`stories3m` has its real weights."""
TRUNK = (30, 36)  # tokens that the wanted ratios are meant for


def payload(cases: Sequence[Case], asked: Sequence[str], given: Inputs, machine: dict[str, Any]) -> dict[str, Any]:
    """What `--json` prints; `asked` names the cases that were to be run."""
    return {
        "cases": [one.as_json() for one in cases],
        "asked": list(asked),
        "system_prompt": SYSTEM.content,
        "token_lengths_from": f"{given.tokenizer}'s tokenizer",
        "gpt2_weights": "random",
        "machine": machine,
    }


def text(found: dict[str, Any]) -> str:
    """The JSON for people."""
    return json.dumps(found, indent=1, allow_nan=False)


def head(found: dict[str, Any]) -> list[str]:
    """The machine, and what was read and run on it."""
    machine = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return [
        f"{machine['date']}; {machine['cpu']}, {machine['threads']} threads, {machine['dtype']}; {versions}.",
        f'System prompt: "{found["system_prompt"]}" Token lengths of gpt2-124m (random weights) from '
        f"{found['token_lengths_from']}.",
    ]


def markdown(found: dict[str, Any]) -> str:
    """The same as a Markdown page."""
    columns = (
        *("case", "what", "wanted", "ratio", "sorted", "one forward", "one batch", "difference", "of gemm", "trunk"),
        *("pairs", "lanes s", "plain s"),
    )
    rows = [columns, ["---"] * len(columns), *(_row(one) for one in found["cases"])]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    parts = ["# Lanes against plain Hugging Face + PEFT", *head(found), METHOD, table]
    if missing := [f"`{name}`" for name in found["asked"] if name not in [one["name"] for one in found["cases"]]]:
        parts.append(f"Not finished: {', '.join(missing)}.")
    parts += [f"`{one['name']}`: {also}." for one in found["cases"] if (also := _also(one))]
    return "\n\n".join(parts) + "\n"


class Page:
    """A page and its numbers beside it, FILE.md and FILE.json. InputError where they cannot be written."""

    def __init__(self, path: Path):
        if path.suffix == ".json":
            raise InputError("--out", f"{path.name} is where the numbers go", f"name the page: {path.stem}.md")
        self.page, self.numbers = path, path.with_suffix(".json")
        for file in (self.page, self.numbers):
            place = file.absolute()
            nearest = next(each for each in (place, *place.parents) if each.exists())
            if nearest.is_dir() == (nearest == place) or not os.access(nearest, os.W_OK):
                raise InputError("--out", f"{file} cannot be written, for {nearest}", "name another page, FILE.md")

    def write(self, found: dict[str, Any]) -> None:
        with durable.storing(self.page):
            self.page.parent.mkdir(parents=True, exist_ok=True)
        durable.write(self.page, markdown(found).encode())
        durable.write(self.numbers, f"{text(found)}\n".encode())


def line(one: Case) -> str:
    """A case's result in one line."""
    found = one.as_json()
    said = [
        f"{one.name}: {_ratio(found)} x, wanted {one.wanted:g}{'' if one.ratio >= one.wanted else ' (not reached)'}",
        *([] if one.ratio_length_sorted is None else [f"{one.ratio_length_sorted:.2f} x length-sorted"]),
        *([f"{found['ratio_one_forward']:.2f} x one forward"] if "ratio_one_forward" in found else []),
        *([f"{found['ratio_in_one_batch']:.2f} x one batch"] if "ratio_in_one_batch" in found else []),
        f"difference {_difference(found)}",
        f"{one.fraction_of_gemm:.0%} of {max(one.gemm_gflops):.0f} GFLOP/s",
        f"trunk {_trunk(found)} tokens",
        f"{len(one.ratios)} pairs, {one.lanes_seconds:.1f} s against {one.plain_seconds:.1f} s",
        *(["disturbed: the machine's rate changed"] if one.disturbed else []),
    ]
    return "; ".join(said)


def _row(one: dict[str, Any]) -> list[str]:
    beside = (_maybe(one, f"ratio_{key}") for key in ("length_sorted", "one_forward", "in_one_batch"))
    return [
        f"`{one['name']}`", one["what"], f"{one['wanted']:g}", _ratio(one), *beside, _difference(one),
        f"{one['fraction_of_gemm']:.0%}", _trunk(one), str(len(one["ratios"])), f"{one['lanes_seconds']:.1f}",
        f"{one['plain_seconds']:.1f}",
    ]  # fmt: skip


def _also(one: dict[str, Any]) -> str:
    """What else a case has to say, in words."""
    said = []
    if "ratio_by_method" in one:
        said.append("by method " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in one["ratio_by_method"].items()))
    if one["name"].startswith("train/"):
        value = one["max_update_difference"]
        said.append(f"gradients and updates differ by {'no number' if value is None else f'{value:.1e}'}")
    if "padded_tokens" in one:
        said.append(f"{one['real_tokens']:,} real tokens, {one['padded_tokens']:,} padded, in {one['rows']:,} rows")
    if one["disturbed"]:
        before, after = one["gemm_gflops"]
        said.append(f"disturbed: the machine made {before:.0f} GFLOP/s before and {after:.0f} after it")
    if "texts" in one:
        said.append(f"{one['same_texts']} of {one['texts']} texts are the same to the last token")
        said.append(
            f"keys and values take {one['lanes_cache_mib']:,.0f} MiB in lanes, {one['plain_cache_mib']:,.0f} MiB in "
            f"plain, {one['plain_cache_in_one_batch_mib']:,.0f} MiB in one batch"
        )
    return "; ".join(said)


def _ratio(one: dict[str, Any]) -> str:
    spread = f" ({min(one['ratios']):.2f} to {max(one['ratios']):.2f})" if len(one["ratios"]) > 1 else ""
    return f"{one['ratio']:.2f}{spread}"


def _difference(one: dict[str, Any]) -> str:
    value = one["max_loss_difference"]
    return "not a number" if value is None else f"{value:.1e}" + ("" if one["same"] else " (not the same)")


def _trunk(one: dict[str, Any]) -> str:
    low, high = TRUNK
    return f"{one['trunk_tokens']}" + ("" if low <= one["trunk_tokens"] <= high else f" (not {low} to {high})")


def _maybe(one: dict[str, Any], key: str) -> str:
    return "" if one.get(key) is None else f"{one[key]:.2f}"
