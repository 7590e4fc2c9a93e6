"""Claims: what the paper that Bakeoff grew from says in its text, set against what its own numbers allow.

"Systematic Comparison of Parameter-Efficient Fine-Tuning Methods for Large Language Models" (Popuri, Nimmagadda and
Ravinuthala). Its tables are data (`published/`); what its text states is written here as STATED and as quotations.
Every number in a finding is computed when it is asked for. What only an architecture or a data set can tell is in
`bakeoff.use.paper`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from bakeoff.analysis import attainable, words
from bakeoff.analysis import statistics as st
from bakeoff.analysis.audit import (
    WHOLE,
    Audit,
    Contrast,
    Finding,
    Said,
    against,
    audit,
    best,
    contrast,
    contrasts,
    intervals,
)
from bakeoff.analysis.parameters import SHAPES, Setting, matches, settings
from bakeoff.analysis.printed import Row, count, published, unit
from bakeoff.analysis.result import ALPHA

TABLES = ("table2", "table3", "table4", "table5", "table6")
STATED = {"r": 8, "prompt tokens": 8, "prefix tokens": 10, "alpha": 16}  # 3.3, A.2 to A.4
R1_REPORTED = Decimal("0.839")  # MATH-500 of DeepSeek-R1-Distill-Qwen-1.5B by its authors: README of DeepSeek-R1
ABLATION_ITEMS = (1000, 5000)  # Table 6 states no n: these are assumed in turn
GPT2 = SHAPES["gpt2"]


def paper() -> Audit:
    """The generic checks of Tables 2 to 5, one Holm family for all of them, and a finding for each claim."""
    tables, family = {name: published(name) for name in TABLES}, _family()
    checks: list[Finding] = []
    for name, rows in tables.items():
        generic = [finding for finding in audit(rows).findings if finding.check not in ("best", "pairs")]
        here = [*generic, *(best(rows, family) if name != "table6" else ())]
        checks += [one.model_copy(update={"where": f"{name.replace('table', 'Table ')}: {one.where}"}) for one in here]
    rows = [row for own in tables.values() for row in own]
    return Audit(findings=(*claims(), *checks), intervals=tuple(intervals(rows)), contrasts=tuple(family))


def claims() -> list[Finding]:
    """A finding for every claim of the text that its numbers speak to, in the order parameters, maths, code, ..."""
    return [*_parameters(), *_maths(), *_code(), *_sentiment(), *_ablation(), *_whole()]


# --- parameters (Table 5's last column, appendix A) ---


def _parameters() -> Iterator[Finding]:
    lora, prompt, prefix = (_percent(method) for method in ("lora", "prompt", "prefix"))
    own, theirs = _stated_lora(), _reproduced("0.6530")
    yield _claim(
        "abstract, 5.4: LoRA reaches 79 % with only 0.01 % of the parameters",
        "false",
        f"{lora} % is {_as_told(lora)}; LoRA r=8 trains {_share(own)} of query and value, and {prompt} %, printed for "
        f"prompt tuning, is {theirs}. Column or row labels are exchanged; which accuracy is whose cannot be decided",
    )
    ratio, right, stated = prefix / lora, prefix / prompt, _share(GPT2.prefix(10) + GPT2.head(2))
    yield _claim(
        "5.4, 8: LoRA is 1000 times as parameter-efficient as prefix tuning",
        "false",
        f"printed {prefix} / {lora} = {ratio:.0f}; with LoRA's own share {prefix} / {prompt} = {right:.1f}; and the "
        f"prefix of A.4, 10 tokens without projection, trains {stated}, less than LoRA r=8 on query and value, "
        f"{_share(own)}",
    )
    yield _claim(
        "5.4: prompt tuning uses 50 times the parameters of LoRA",
        "reversed",
        f"printed {prompt} / {lora} = {prompt / lora:.0f}, but {prompt} % is LoRA's share and {lora} % that of prompt "
        f"tuning with 20 tokens: LoRA uses {prompt / lora:.0f} times those of prompt tuning",
    )
    yield _claim(
        "3.3, A.4: prefix tuning has 10 tokens and no projection",
        "false",
        f"that trains {stated}; {prefix} % is {_as_told(prefix)}",
    )
    eight = _share(GPT2.prompt(STATED["prompt tokens"]) + GPT2.head(2))
    yield _claim(
        "3.3, A.3: prompt tuning has 8 tokens",
        "false",
        f"that trains {eight}, which is printed nowhere; {lora} % is {_as_told(lora)}",
    )
    yield _params_column()


def _as_told(percent: Decimal) -> str:
    """The settings on every layer, two labels and of the base alone, that give a percentage, and how many do at all."""
    found = matches(percent, GPT2.name)
    kept = [one for one in found if one.whole and one.labels == 2 and one.denominator == "base"]
    many = f"{len(settings(GPT2.name)):,} settings"
    rest = f"one of {len(found)} among {many} that give it" if len(found) > 1 else f"no other of {many} gives it"
    return f"{_either(kept)} ({rest})"


def _reproduced(percent: str) -> str:
    found = [one for one in matches(Decimal(percent), GPT2.name) if one.whole and one.family == "lora"]
    return _either(found)


def _either(found: Sequence[Setting]) -> str:
    return " or ".join(map(str, found)) or "no such setting"


def _stated_lora() -> int:
    """LoRA r=8 on query and value (GPT-2: c_attn, which holds both), with the head."""
    return GPT2.lora(STATED["r"], ["c_attn"]) + GPT2.head(2)


def _share(trained: int) -> str:
    total = GPT2.base + GPT2.head(2)
    return f"{trained:,} ({100 * trained / total:.4f} %)"


def _params_column() -> Finding:
    """Table 6's parameters, printed to 0.1 million, as parameters per unit of rank."""
    half = Decimal("0.05")
    printed = {_rank(row): Decimal(row.trainable_params.rstrip("M")) for row in published("table6")}
    low = max(math.ceil((value - half) * 10**6 / rank) for rank, value in printed.items())
    high = min(math.floor((value + half) * 10**6 / rank) for rank, value in printed.items())
    names = [*GPT2.modules, *GPT2.ends]
    sets = [chosen for size in range(1, len(names) + 1) for chosen in combinations(names, size)]
    found = [chosen for chosen in sets if low <= GPT2.per_rank(chosen) <= high]
    inside = GPT2.per_rank(list(GPT2.modules))
    other = Decimal(printed[8]) * 10**6 / (_percent("lora") / 100 * GPT2.base)
    told = " or ".join(f"{' + '.join(chosen)} ({GPT2.per_rank(chosen):,})" for chosen in found)
    return _claim(
        "Table 6: LoRA on GPT-2 has 0.8M parameters at r=4 to 12.8M at r=64",
        "impossible as stated",
        f"that is {low:,} to {high:,} per rank; query and value give {GPT2.per_rank(['c_attn']):,}, all linear modules "
        f"{inside:,}; of {len(sets)} sets of modules {len(found)} fit: {told}. And 1.6M at r=8 is {other:.0f} times "
        "Table 5's share for the same model and rank",
    )


# --- maths (Tables 2 and 3) ---


def _maths() -> Iterator[Finding]:
    for benchmark, n in WHOLE.items():
        yield _size(benchmark, n)
    base = _row("table2", "math500", "base")
    n, c = base.items or 0, count(base) or 0
    chance = _at_most(c, n, float(R1_REPORTED))
    yield _claim(
        "Table 2: the base model scores 46 % on MATH-500",
        "cannot be decided",
        f"the table names no model; DeepSeek-R1-Distill-Qwen-1.5B scores {R1_REPORTED} by its authors, from which "
        f"{c} or less of {n} would come with probability {chance:.0e}: another model, or broken or cut-off answers",
    )
    versus = [contrast(_row("table2", b, "lora+prompt"), _row("table2", b, "lora")) for b in _MATHS]
    gaps = [one.count_a - one.count_b if one.a == "lora+prompt" else one.count_b - one.count_a for one in versus]
    told = ", ".join(
        f"{one.benchmark} {words.signed(gap, percent=False).removesuffix('.00')} items (McNemar p >= {one.p_best:.3g})"
        for one, gap in zip(versus, gaps, strict=True)
    )
    yield _claim(
        "1, 5.1, 8: Prompt+LoRA excels at mathematical reasoning",
        "not separable" if all(one.p_best >= ALPHA for one in versus) else "cannot be decided",
        f"it is highest on {sum(_is_best('table2', b, 'lora+prompt') for b in _MATHS)} of {len(_MATHS)}; against LoRA, "
        f"under the best of all pairings: {told}",
    )
    yield _compare(
        "5.2: Prompt+LoRA is best on MATH-500 (against prompt tuning)", "table2", "math500", "lora+prompt", "prompt"
    )
    for benchmark in _MATHS:
        yield _compare(
            f"Table 2: Prompt+LoRA improves on the base model ({benchmark})", "table2", benchmark, "lora+prompt", "base"
        )
    yield _compare("Table 2: LoRA improves on the base model (deepmath)", "table2", "deepmath", "lora", "base")
    yield _compare("Table 2: QLoRA, never described, against LoRA (deepmath)", "table2", "deepmath", "lora", "qlora")
    yield _compare(
        "Table 2: QLoRA, never described, is below the base model (math500)", "table2", "math500", "base", "qlora"
    )
    yield _compare("5.2: with T5, Prompt+LoRA again is best", "table3", "deepmath", "lora+prompt", "prompt")


_MATHS = ("deepmath", "aime24", "gsm8k", "math500")


def _size(benchmark: str, n: int) -> Finding:
    """Which of a benchmark's values the whole test set can give, and how few items would give all of them."""
    rows = [row for row in published("table2") if row.benchmark == benchmark]
    values = [row.value for row in rows]
    fits = [value for value in values if attainable.counts(value, n)]
    small = attainable.sizes(values, 1000)
    said = f"{len(fits)} of its {len(values)} values are counts of its {n:,} items; all are counts of {small[0]}"
    if len(fits) == len(values):
        fewer = attainable.coarsest(values, n)
        said += f" (by chance {(fewer / n) ** len(values):.0e})"
    verdict: Said = "impossible as stated" if len(fits) < len(values) else "cannot be decided"
    whole = f"Table 2: evaluated on {benchmark} ({n:,} items)"
    return _claim(whole, verdict, said + (f"; the test set has {n}" if n < small[0] else "; a subset is not disclosed"))


def _at_most(c: int, n: int, p: float) -> float:
    """The probability of c or less of n."""
    return math.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(c + 1))


# --- code (Table 4) ---


def _code() -> Iterator[Finding]:
    methods = ("base", "lora", "prompt", "lora+prompt")
    ones = [_row("table4", "humaneval", m, "pass@1") for m in methods]
    fives = [_row("table4", "humaneval", m, "pass@5") for m in methods]
    exact = [attainable.counts(row.value, 164) for row in ones]
    yield _claim(
        "Table 4: Pass@1 of 164 problems",
        "consistent" if all(len(found) == 1 for found in exact) else "impossible as stated",
        f"{words.listed([str(found[0]) for found in exact if found])} of 164: one answer to each",
    )
    by = {draws: sum(attainable.pass_at_k(row.value, 164, draws, 5) for row in fives) for draws in range(5, 11)}
    yield _claim(
        "4.3: Pass@5 from 5 candidates per problem",
        "consistent" if by[5] == len(fives) else "impossible as stated",
        f"x 164 = {words.listed([f'{row.value * 164:.2f}' for row in fives])}; attainable "
        + ", ".join(f"{many} of 4 from {draws} draws" for draws, many in by.items()),
    )
    grows = [math.log(1 - float(q.value)) / math.log(1 - float(p.value)) for p, q in zip(ones, fives, strict=True)]
    within = all(p.value <= q.value <= min(1, 5 * p.value) for p, q in zip(ones, fives, strict=True))
    yield _claim(
        "Table 4: Pass@1 and Pass@5 measure one model",
        "cannot be decided" if within else "impossible as stated",
        f"each Pass@5 lies within its bounds, but grows as if by {min(grows):.2f} to {max(grows):.2f} independent "
        "draws of 5: draws that are much alike, or two protocols, since Pass@1 lies on the grid of single answers",
    )
    yield _compare(
        "5.3: prompt tuning surpasses the foundation model", "table4", "humaneval", "prompt", "base", "pass@1"
    )
    yield _compare("5.3: LoRA is far below the foundation model", "table4", "humaneval", "base", "lora", "pass@1")
    yield _compare(
        "Table 4: Prompt+LoRA against the foundation model", "table4", "humaneval", "base", "lora+prompt", "pass@1"
    )
    hybrid = _pair("table4", "humaneval", "lora+prompt", "lora", "pass@1")
    yield _claim(
        "5.3: LoRA's weight changes interfere, prompt-based methods leave the weights intact",
        "cannot be decided",
        f"Prompt+LoRA changes the weights too, and {against(hybrid)}",
    )
    gap = 100 * (ones[2].value - ones[1].value)
    yield _claim(
        "5.3: a 61-percentage-point gap",
        "consistent" if round(gap) == 61 else "false",
        f"{ones[2].value} - {ones[1].value} = {gap.normalize()} points: cut off, not rounded (to {round(gap)})",
    )


# --- sentiment (Table 5) ---


def _sentiment() -> Iterator[Finding]:
    lora, prompt, base = (_row("table5", "imdb", m, "accuracy") for m in ("lora", "prompt", "base"))
    short = next(row.value for row in published("table1") if row.benchmark == "imdb")
    right = lora.value.quantize(unit(short))
    yield _claim(
        "abstract, Table 1: LoRA reaches 79 %",
        "consistent" if short == right else "false",
        f"Table 5 and section 5.4 have {lora.value}, which is {right} when rounded; {short} is cut off",
    )
    yield _compare("5.4: LoRA is better than prompt tuning on IMDB", "table5", "imdb", "lora", "prompt", "accuracy")
    half = unit(base.value) / 2
    ends = [_assumed(base.value + side, prompt.value, 25_000) for side in (half, -half)]
    yield _claim(
        "Table 5: prompt tuning is above the foundation model",
        "consistent" if ends[0][2] < ALPHA else "cannot be decided",
        f"{prompt.value} against {base.value}, which two digits leave between {base.value - half} and "
        f"{base.value + half}: {_gain(ends[0])} or {_gain(ends[1])}",
    )
    loss = _row("table5", "imdb", "base", "loss")
    yield _claim(
        "Table 5: the foundation model's row",
        "cannot be decided",
        f"accuracy, F1 and precision are all {base.value}, with two digits and a loss of {loss.value} to {loss.high}, "
        f"above that of guessing ({math.log(2):.3f}): another harness than the other rows'",
    )
    small = [n for n in range(100, 6001, 100) if all(_solutions(m, n) for m in ("lora", "prompt"))]
    whole = {m: len(_solutions(m, 25_000)) for m in ("prompt", "lora")}
    yield _claim(
        "Table 5: 25,000 reviews were evaluated",
        "consistent",
        f"accuracy, precision and F1 of prompt tuning and LoRA have {whole['prompt']} and {whole['lora']} solutions on "
        f"12,500 + 12,500 reviews; of the hundreds up to 6,000 {_few(small)} would do",
    )
    prefix = _solutions("prefix", 25_000)
    yield _claim(
        "5.4: prefix tuning achieves only 50 % accuracy",
        "consistent",
        f"accuracy 1/2, precision 1/2 and F1 2/3 are one answer to every review: {len(prefix)} confusion tables fit, "
        f"with {min(t.tn + t.fn for t in prefix)} to {max(t.tn + t.fn for t in prefix)} reviews called negative. A "
        "training failure, no property of the method",
    )


def _solutions(method: str, n: int) -> list[attainable.Confusion]:
    told = [_row("table5", "imdb", method, m).value for m in ("accuracy", "precision_binary", "f1_binary")]
    return attainable.confusions(n, n // 2, told[0], told[1], None, told[2])


def _few(sizes: Sequence[int]) -> str:
    return words.listed([f"{size:,}" for size in sizes]) if sizes else "none"


# --- the ablation (Table 6) ---


def _ablation() -> Iterator[Finding]:
    score: dict[Any, Decimal] = {
        (_rank(row), _rate(row)): row.value for row in published("table6") if row.metric == "exact_match"
    }
    ranks, rates = (sorted({key[i] for key in score}) for i in (0, 1))
    n = ABLATION_ITEMS[0]
    steps = {(a, b): _assumed(score[a, 5e-4], score[b, 5e-4], n) for a, b in pairwise(ranks)}
    told = ", ".join(f"r={int(a)} to {int(b)} {_gain(one)}" for (a, b), one in steps.items())
    yield _claim(
        "6: performance improves up to r=32, the optimum, and plateaus beyond",
        "not separable",
        f"no n is stated; if n = {n:,}: {told}. r=16, 32 and 64 are not separable, so r=16 would do",
    )
    wins = sum(all(score[r, 5e-4] >= score[r, rate] for rate in rates) for r in ranks)
    nearest = _assumed(score[32, 1e-3], score[32, 5e-4], n)
    yield _claim(
        "6: learning rate 5e-4 consistently is best",
        "not separable",
        f"it is highest at {wins} of {len(ranks)} ranks (sign test p = {st.split_p(wins, len(ranks) - wins):.4f}), "
        f"each run once; against 1e-3 at r=32 {_gain(nearest)} if n = {n:,}",
    )
    above = sum(score[r, 1e-3] > score[r, 1e-4] for r in ranks)
    yield _claim(
        "6: 1e-3 causes instability and 1e-4 underperforms",
        "false" if above == len(ranks) else "cannot be decided",
        f"1e-3 is above 1e-4 at {above} of {len(ranks)} ranks (r=32: {score[32, 1e-3]} to {score[32, 1e-4]}), and no "
        "run is shown that varies",
    )
    yield _additive(score)
    top, math_best = (
        max(score.values()),
        max(r.value for r in [*published("table2"), *published("table3")] if r.benchmark == "deepmath"),
    )
    yield _claim(
        "Table 6: GPT-2 answers up to 74.2 % of DeepMath",
        "cannot be decided",
        f"the larger models of Tables 2 and 3 answer {math_best} at most; {top} would be another metric or other items",
    )
    alpha = STATED["alpha"]
    yield _claim(
        "6: rank is varied",
        "cannot be decided",
        f"alpha is not stated; if it stays at {alpha}, alpha / r falls from {alpha / min(ranks):g} to "
        f"{alpha / max(ranks):g}, so rank and effective learning rate change together",
    )


def _rank(row: Row) -> int:
    return int(row.method.split("r=")[1].split(",")[0])


def _rate(row: Row) -> float:
    return float(row.method.split("learning_rate=")[1].rstrip("]"))


def _assumed(a: Decimal, b: Decimal, n: int) -> tuple[float, st.Interval, float]:
    """b - a with its interval and Fisher's p, if each is a share of n items."""
    one, other = round(b * n), round(a * n)
    return float(b - a), st.newcombe(one, n, other, n), st.fisher(one, n, other, n)


def _gain(found: tuple[float, st.Interval, float]) -> str:
    difference, interval, p = found
    shown = f"p = {p:.2f}" if p >= 0.01 else f"p = {p:.0e}"
    return f"{words.signed(difference)} points {words.interval(*interval)}, {shown}"


def _additive(score: Mapping[Any, Decimal]) -> Finding:
    """How likely the equal differences of Table 6 are, if its cells really were additive and vary as counts do.

    Three independent contrasts of cells are exactly 0.0: r=16 to 32 is the same at three rates (two), and 5e-4 to 1e-3
    at r=64 as at r=32 (one; at r=16 it follows). The density at 0 of a normal vector with their covariance, times the
    rounding unit to the third, is the probability that all three print as 0.
    """
    gains = {rate: score[32, rate] - score[16, rate] for rate in (1e-4, 5e-4, 1e-3)}
    drops = {rank: score[rank, 5e-4] - score[rank, 1e-3] for rank in (16, 32, 64)}
    told = ", ".join(f"{chance:.0e} (n = {n:,})" for n in ABLATION_ITEMS for chance in [additive_chance(score, n)])
    return _claim(
        "Table 6: fifteen independent runs",
        "cannot be decided",
        f"r=16 to 32 adds {_points(gains.values())} at all three rates, and 5e-4 over 1e-3 {_points(drops.values())} "
        f"at r=16, 32 and 64. If the effects truly add up, rounded shares of items do that with probability {told}. "
        "It was found by looking, which makes such things likelier, and proves nothing",
    )


def additive_chance(score: Mapping[Any, Decimal], n: int) -> float:
    """The probability that the three contrasts of `_additive` are 0 to the printed digit, for cells of n items."""
    cells = [(r, rate) for r in (16, 32, 64) for rate in (1e-4, 5e-4, 1e-3)]
    wanted = (
        {(32, 1e-4): 1, (16, 1e-4): -1, (32, 5e-4): -1, (16, 5e-4): 1},
        {(32, 5e-4): 1, (16, 5e-4): -1, (32, 1e-3): -1, (16, 1e-3): 1},
        {(64, 5e-4): 1, (64, 1e-3): -1, (32, 5e-4): -1, (32, 1e-3): 1},
    )
    weights = np.array([[one.get(cell, 0) for cell in cells] for one in wanted], dtype=float)
    spread = np.array([float(score[cell] * (1 - score[cell])) / n for cell in cells])
    covariance = (weights * spread) @ weights.T
    density = 1 / math.sqrt((2 * math.pi) ** 3 * float(np.linalg.det(covariance)))
    return density * float(unit(score[32, 5e-4])) ** 3


def _points(values: Iterable[Decimal]) -> str:
    return words.listed([f"{100 * value:.1f}" for value in dict.fromkeys(values)])


# --- the whole ---


def _whole() -> Iterator[Finding]:
    yield _claim(
        "A.6: DeepSeek-R1-Distill-Qwen-1.5B with Transformers 4.35",
        "impossible as stated",
        "its architecture, Qwen2, came with Transformers 4.37 (the model cards of Qwen2: KeyError 'qwen2' before it). "
        "Read, not computed",
    )
    yield _claim(
        "7: results represent single training runs",
        "consistent",
        "so every difference above is one between checkpoints; none is one between methods",
    )


# --- inside ---


def _claim(where: str, verdict: Said, text: str) -> Finding:
    return Finding(check="claim", where=where, verdict=verdict, text=text)


def _row(table: str, benchmark: str, method: str, metric: str = "exact_match") -> Row:
    return next(
        row for row in published(table) if (row.benchmark, row.method, row.metric) == (benchmark, method, metric)
    )


def _percent(method: str) -> Decimal:
    percent = _row("table5", "imdb", method, "accuracy").trainable_percent
    assert percent is not None
    return percent


def _pair(table: str, benchmark: str, a: str, b: str, metric: str = "exact_match") -> Contrast:
    """A contrast with its Holm-adjusted p."""
    column = _row(table, benchmark, a, metric).column
    return next(one for one in _family() if {one.a, one.b} == {a, b} and one.column == column)


@cache
def _family() -> tuple[Contrast, ...]:
    """Every pair of Tables 2 to 5 whose counts are known; Table 6 states no n."""
    return tuple(contrasts([row for name in TABLES[:-1] for row in published(name)]))


def _compare(where: str, table: str, benchmark: str, a: str, b: str, metric: str = "exact_match") -> Finding:
    """`a` above `b`: what the contrast says."""
    pair = _pair(table, benchmark, a, b, metric)
    verdict = "reversed" if pair.verdict == "consistent" and pair.a != a else pair.verdict
    return _claim(where, verdict, against(pair))


def _is_best(table: str, benchmark: str, method: str) -> bool:
    rows = [row for row in published(table) if row.benchmark == benchmark]
    return max(rows, key=lambda row: row.value).method == method
