"""Parameters: which settings of LoRA, prompt and prefix tuning train a printed share of a model, by closed forms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import combinations
from typing import Literal

from bakeoff.analysis.printed import unit

RANKS = (1, 2, 4, 8, 16, 32, 64, 128)
PROMPT_TOKENS = range(1, 1001)
PREFIX_TOKENS = range(1, 151)
HIDDEN = (None, 64, 128, 256, 512, 768, 1024)  # of a prefix's projection; None: no projection
HEADS = (0, 1, 2)  # labels of a classification head, which is trained too; 0: the language model's own, which is not

Family = Literal["lora", "prompt", "prefix"]
FAMILIES: tuple[Family, ...] = ("lora", "prompt", "prefix")


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes, which are all that the closed forms need.

    `modules` are a layer's linear modules as (in, out); `key_values` is the width of a layer's keys, `base` the number
    of parameters, `ends` what lies outside the layers, such as embeddings, as (in, out).
    """

    name: str
    layers: int
    width: int
    key_values: int
    modules: dict[str, tuple[int, int]]
    ends: dict[str, tuple[int, int]]
    base: int

    def per_rank(self, names: Sequence[str]) -> int:
        """LoRA's parameters per unit of rank on these modules of every layer (and on what lies outside them)."""
        inside = sum(sum(self.modules[name]) for name in names if name in self.modules)
        return self.layers * inside + sum(sum(self.ends[name]) for name in names if name in self.ends)

    def lora(self, rank: int, names: Sequence[str], layers: int | None = None) -> int:
        """rank x layers x sum (in + out)."""
        return rank * (layers or self.layers) * sum(sum(self.modules[name]) for name in names)

    def prompt(self, tokens: int) -> int:
        """tokens x width."""
        return tokens * self.width

    def prefix(self, tokens: int, hidden: int | None = None) -> int:
        """tokens x layers x 2 x key width; projected, an embedding and two linear layers with biases, as PEFT's."""
        out = self.layers * 2 * self.key_values
        if hidden is None:
            return tokens * out
        return tokens * self.width + self.width * hidden + hidden + hidden * out + out

    def head(self, labels: int) -> int:
        """A classification head without bias: labels x width."""
        return labels * self.width


def gpt2(name: str = "gpt2", layers: int = 12, width: int = 768) -> Shape:
    """GPT-2: tied embeddings of 50,257 tokens and 1,024 positions, biases, two norms a layer and one at the end."""
    modules = {
        "c_attn": (width, 3 * width),
        "attn.c_proj": (width, width),
        "c_fc": (width, 4 * width),
        "mlp.c_proj": (4 * width, width),
    }
    ends = {"wte": (50257, width), "wpe": (1024, width), "lm_head": (width, 50257)}
    layer = sum(i * o + o for i, o in modules.values()) + 4 * width
    base = (50257 + 1024) * width + layers * layer + 2 * width
    return Shape(name, layers, width, width, modules, ends, base)


def qwen2(name: str, layers: int, width: int, keys: int, inner: int, vocabulary: int, tied: bool = False) -> Shape:
    """Qwen2: grouped keys and values of width `keys`, biases on query, key and value only, RMS norms."""
    modules = {
        "q_proj": (width, width),
        "k_proj": (width, keys),
        "v_proj": (width, keys),
        "o_proj": (width, width),
        "gate_proj": (width, inner),
        "up_proj": (width, inner),
        "down_proj": (inner, width),
    }
    ends = {"embed_tokens": (vocabulary, width), "lm_head": (width, vocabulary)}
    layer = sum(i * o for i, o in modules.values()) + width + 2 * keys + 2 * width
    base = (1 if tied else 2) * vocabulary * width + layers * layer + width
    return Shape(name, layers, width, keys, modules, ends, base)


SHAPES = {
    shape.name: shape
    for shape in (
        gpt2(),
        gpt2("distilgpt2", 6),
        gpt2("gpt2-medium", 24, 1024),
        gpt2("gpt2-large", 36, 1280),
        gpt2("gpt2-xl", 48, 1600),
        qwen2("deepseek-r1-distill-qwen-1.5b", 28, 1536, 256, 8960, 151936),
    )
}


def shape_of(model: str) -> Shape | None:
    """The sizes of a model by its hub id or name, None where they are not known here."""
    return SHAPES.get(model.rsplit("/", 1)[-1].lower())


@dataclass(frozen=True)
class Setting:
    """A method's setting with what it trains, head included, and what the percentage is of.

    `whole` says that it touches every layer.
    """

    family: Family
    told: str
    whole: bool
    trained: int
    of: int
    denominator: str
    labels: int

    @property
    def percent(self) -> float:
        """100 x trained / of."""
        return 100 * self.trained / self.of

    def __str__(self) -> str:
        head = f" + {self.labels}-label head" if self.labels else ""
        return f"{self.told}{head}: {self.trained:,} of {self.denominator} {self.of:,}"


@cache
def settings(name: str) -> tuple[Setting, ...]:
    """Every setting that is looked through for a model of `SHAPES`.

    LoRA: each rank of RANKS, each set of a layer's linear modules, on as many layers as divide their number; prompt
    and prefix tuning: their token counts, a prefix also with a projection; each with no head, or one of one or two
    labels, as a share of the base model (its head included) or of base and adapter.
    """
    shape = SHAPES[name]
    return tuple(
        Setting(family, told, whole, trained + head, base + added, denominator, labels)
        for family, told, whole, trained in _adapters(shape)
        for labels in HEADS
        for head, base in [(shape.head(labels), shape.base + shape.head(labels))]
        for denominator, added in (("base", 0), ("base + adapter", trained))
    )


def _adapters(shape: Shape) -> Iterator[tuple[Family, str, bool, int]]:
    subsets = [names for size in range(1, len(shape.modules) + 1) for names in combinations(shape.modules, size)]
    for names in subsets:
        for layers in (d for d in range(1, shape.layers + 1) if shape.layers % d == 0):
            where = "" if layers == shape.layers else f", {layers} of {shape.layers} layers"
            for rank in RANKS:
                told = f"LoRA r={rank} on {' + '.join(names)}{where}"
                yield "lora", told, not where, shape.lora(rank, names, layers)
    for tokens in PROMPT_TOKENS:
        yield "prompt", f"prompt tuning, {tokens} tokens", True, shape.prompt(tokens)
    for tokens in PREFIX_TOKENS:
        for hidden in HIDDEN:
            how = "without projection" if hidden is None else f"prefix_projection, hidden {hidden}"
            yield "prefix", f"prefix tuning, {tokens} tokens, {how}", True, shape.prefix(tokens, hidden)


def matches(percent: Decimal, name: str) -> list[Setting]:
    """The settings of a model that round to a printed percentage."""
    half = float(unit(percent)) / 2
    return [one for one in settings(name) if abs(one.percent - float(percent)) <= half]


def family_of(method: str) -> Family | None:
    """The family a row's name says it is, None for a mixture and for what is none of the three."""
    told = method.lower()
    found: list[Family] = [family for family in FAMILIES if family in told]
    return found[0] if len(found) == 1 else None
