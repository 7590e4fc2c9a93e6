"""Audit: what arithmetic and tests say of a results table as printed. Pure functions of rows; nothing is re-run.

A table without per-item results allows three kinds of statement: what no count of items can give, what no pairing of
the items can separate, and what the printed digits contradict. Everything else is said to be undecidable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from itertools import combinations, pairwise
from typing import Literal, TypeVar

from bakeoff.analysis import attainable, parameters, words
from bakeoff.analysis import statistics as st
from bakeoff.analysis.printed import Column, Row, count, unit
from bakeoff.analysis.result import ALPHA
from bakeoff.study.spec import Frozen

MOST = 2_000  # sizes that are searched for one that gives a value
BY_CHANCE = 0.01  # values all on a coarser grid are remarked where this were rarer
WHOLE = {"aime24": 30, "gsm8k": 1319, "math500": 500}  # items of the whole test sets, by the names our tasks have
FITS = 2  # so many of the settings that give a percentage are named

Said = Literal["false", "reversed", "impossible as stated", "not separable", "consistent", "cannot be decided"]
T = TypeVar("T")


class Finding(Frozen):
    """What one check says of one place: `check` and `verdict` for programs, `where` and `text` for people."""

    check: str
    where: str
    verdict: Said
    text: str
    lines: tuple[int, ...] = ()


class Bounds(Frozen):
    """A printed share of n items with its Wilson interval of 95 %."""

    where: str
    value: float
    count: int
    n: int
    low: float
    high: float


class Contrast(Frozen):
    """Two printed shares of the same n items of one column, the higher one first.

    `p` is Fisher's exact one, as if the items were others; `p_holm` adjusts it over the `family`. What McNemar's exact
    test on the items themselves would give lies between `p_best` and `p_worst`, over all pairings that the two counts
    allow. The interval of the difference is Newcombe's.
    """

    model: str
    task: str
    benchmark: str
    metric: str
    a: str
    b: str
    count_a: int
    count_b: int
    n: int
    difference: float
    low: float
    high: float
    p: float
    p_best: float
    p_worst: float
    p_holm: float = math.nan
    family: int = 0

    @property
    def column(self) -> Column:
        """What it was compared in."""
        return Column(self.model, self.task, self.benchmark, self.metric)

    @property
    def verdict(self) -> Said:
        """`consistent` where a difference stands after Holm's correction, else `not separable`."""
        return "consistent" if self.p_holm < ALPHA else "not separable"


class Audit(Frozen):
    """A table's findings, intervals and contrasts."""

    findings: tuple[Finding, ...]
    intervals: tuple[Bounds, ...]
    contrasts: tuple[Contrast, ...]


def audit(rows: Sequence[Row]) -> Audit:
    """Every generic check of a table, in the order of its columns."""
    found = contrasts(rows)
    return Audit(
        findings=(
            *grid(rows), *draws(rows), *classifier(rows), *best(rows, found), *digits(rows), *repeated(rows),
            *shares(rows),
        ),
        intervals=tuple(intervals(rows)),
        contrasts=tuple(found),
    )  # fmt: skip


# --- counts of items ---


def grid(rows: Sequence[Row]) -> Iterator[Finding]:
    """Whether each share is some count of its n items, and whether a whole column lies on a coarser grid than that."""
    for _, own in _columns(rows):
        counted = [row for row in own if row.counted]
        yield from (_on_grid(row) for row in counted if row.n)
        unknown = [row for row in counted if not row.n]
        if unknown:
            yield _size_of(unknown)
        yield from _coarser([row for row in counted if row.n and (row.k or 1) == 1])


def _on_grid(row: Row) -> Finding:
    n = (row.n or 0) * (row.k or 1)
    fits, cut = attainable.counts(row.value, n), attainable.cut_off(row.value, n)
    if fits:
        span = f"{fits[0]:,}" if len(fits) == 1 else f"{fits[0]:,} to {fits[-1]:,}"
        return _finding("grid", row, "consistent", f"{row.value} is {span} of {n:,}")
    if cut:
        return _finding("grid", row, "consistent", f"{row.value} is {cut[0]:,} of {n:,}, cut off and not rounded")
    near = _named(attainable.sizes([row.value], MOST))
    text = f"no count of {n:,} gives {row.value}: {_neighbours(row.value, n)}; it would take n = {near}"
    return _finding("grid", row, "impossible as stated", text)


def _neighbours(value: Decimal, n: int) -> str:
    below = math.floor(value * n)
    return f"{below:,}/{n:,} is {below / n:.4f} and {below + 1:,}/{n:,} is {(below + 1) / n:.4f}"


def _size_of(rows: Sequence[Row]) -> Finding:
    values = [row.value for row in rows]
    text = f"{_amount(values)} would take n = {_named(attainable.sizes(values, MOST))}"
    whole = WHOLE.get(rows[0].column.benchmark)
    fit = sum(bool(whole and attainable.counts(value, whole)) for value in values)
    if whole is None or fit == len(values):
        return _finding("grid", rows, "cannot be decided", f"no n is stated; {text}")
    few = f"{fit} of {words.count(len(values), 'value')}" if len(values) > 1 else "this is not"
    counts = "can be counts" if len(values) > 1 else "a count"
    told = f"no n is stated, and {few} {counts} of the whole test set's {whole:,} items; {text}"
    return _finding("grid", rows, "impossible as stated", told)


def _coarser(rows: Sequence[Row]) -> Iterator[Finding]:
    """Whether fewer items would give the same values, though by chance they hardly would."""
    for n, own in _grouped(rows, lambda row: row.n or 0):
        values = [row.value for row in own]
        if not all(attainable.counts(value, n) for value in values):
            continue
        fewer = attainable.coarsest(values, n)
        chance = (fewer / n) ** len(values)
        if fewer < n and chance < BY_CHANCE and 1 / n > max(map(unit, values)):
            text = f"{_amount(values)} of n = {n:,} lie on the grid of {fewer:,} items too (chance {chance:.1g})"
            yield _finding("grid", own, "cannot be decided", text)


def draws(rows: Sequence[Row]) -> Iterator[Finding]:
    """Whether pass@k can come from the draws stated, and whether it fits pass@1: p1 <= pk <= min(1, k p1)."""
    for row in rows:
        k = _k_of(row.metric)
        if k and k > 1 and row.n and row.high is None:
            yield _from_draws(row, k, row.k or k)
    for _, own in _grouped(rows, lambda row: (row.column[:3], row.method)):
        told = [(k, row) for row in own if (k := _k_of(row.metric)) and row.high is None]
        known = sorted(told, key=lambda one: one[0])
        yield from (_ordered(few, many) for few, many in pairwise(known))


def _from_draws(row: Row, k: int, given: int) -> Finding:
    n = row.n or 0
    if given < k:
        return _finding("pass@k", row, "impossible as stated", f"pass@{k} from {given} draws cannot be estimated")
    if attainable.pass_at_k(row.value, n, given, k):
        return _finding("pass@k", row, "consistent", f"{row.value} can come from {given} draws of {n:,} problems")
    enough = next((m for m in range(given + 1, given + 40) if attainable.pass_at_k(row.value, n, m, k)), None)
    more = f"; the unbiased estimate from {enough} draws can give it" if enough else ""
    text = f"no {n:,} problems with {given} draws give {row.value} (x {n:,} = {row.value * n:.2f}){more}"
    if row.k is None:
        return _finding("pass@k", row, "cannot be decided", f"how many draws is not stated; {text}")
    return _finding("pass@k", row, "impossible as stated", text)


def _ordered(few: tuple[int, Row], many: tuple[int, Row]) -> Finding:
    (j, low), (k, high) = few, many
    p, q = float(low.value), float(high.value)
    off_p, off_q = float(unit(low.value)) / 2, float(unit(high.value)) / 2
    if q + off_q < p - off_p or q - off_q > k / j * (p + off_p):
        text = f"pass@{k} {high.value} lies outside pass@{j} {low.value} to {min(1, k / j * p):.4f}"
        return _finding("pass@k", (low, high), "impossible as stated", text)
    text = f"pass@{j} {low.value} and pass@{k} {high.value} are possible together"
    if 0 < p < 1 and q < 1:
        text += f", as if by {math.log(1 - q) / math.log(1 - p) * j:.2f} independent draws of {k}"
    return _finding("pass@k", (low, high), "consistent", text)


# --- classifiers ---


def classifier(rows: Sequence[Row]) -> Iterator[Finding]:
    """Whether accuracy, precision, recall and F1 are of one confusion table, balanced classes assumed."""
    for _, own in _grouped(rows, lambda row: (row.column[:3], row.method)):
        told = {name: row for row in own if row.high is None and (name := _MEASURES.get(row.metric))}
        accuracy = told.get("accuracy")
        if not accuracy or len(told) < 2:
            continue
        if constant(told):
            text = "accuracy, precision and F1 are those of one answer to every item (recall 1, balanced classes)"
            yield _finding("constant", list(told.values()), "consistent", text)
        if accuracy.n and accuracy.n % 2 == 0:
            yield _confusion(told, accuracy.n)


_MEASURES = {
    "accuracy": "accuracy", "precision": "precision", "precision_binary": "precision", "recall": "recall",
    "recall_binary": "recall", "f1": "f1", "f1_binary": "f1",
}  # fmt: skip


def constant(told: Mapping[str, Row]) -> bool:
    """Whether what is told is a constant positive answer on balanced classes: accuracy and precision 1/2, F1 2/3."""
    wanted = {"accuracy": 1 / 2, "precision": 1 / 2, "recall": 1.0, "f1": 2 / 3}
    return "f1" in told and all(
        abs(float(row.value) - wanted[name]) <= float(unit(row.value)) / 2 + 1e-12 for name, row in told.items()
    )


def _confusion(told: Mapping[str, Row], n: int) -> Finding:
    rest = {name: row.value for name, row in told.items() if name != "accuracy"}
    found = attainable.confusions(n, n // 2, told["accuracy"].value, **rest)
    named = words.listed(list(told))
    if not found:
        text = f"no confusion counts of {n:,} items in balanced classes give these {named}"
        return _finding("confusion", list(told.values()), "impossible as stated", text)
    one = found[0]
    which = f"TP {one.tp:,}, FP {one.fp:,}, FN {one.fn:,}, TN {one.tn:,}"
    more = f" and {words.count(len(found) - 1, 'other')}" if len(found) > 1 else ""
    text = f"{named} are of one confusion table of {n:,} items in balanced classes: {which}{more}"
    return _finding("confusion", list(told.values()), "consistent", text)


# --- comparisons ---


def intervals(rows: Sequence[Row]) -> Iterator[Bounds]:
    """The Wilson interval of every share of a known number of items."""
    for row in rows:
        if (c := count(row)) is not None and (row.k or 1) == 1:
            n = row.items or 0
            low, high = st.wilson(c, n)
            yield Bounds(where=_place(row), value=float(row.value), count=c, n=n, low=low, high=high)


def contrasts(rows: Sequence[Row]) -> list[Contrast]:
    """Every pair of shares of the same n in a column, Holm-adjusted over all pairs of the table."""
    found = [
        contrast(x, y)
        for _, own in _columns(rows)
        for x, y in combinations([row for row in own if separate(row)], 2)
        if x.items == y.items and x.method != y.method
    ]
    adjusted = st.holm([one.p for one in found])
    return [
        one.model_copy(update={"p_holm": float(p), "family": len(found)})
        for one, p in zip(found, adjusted, strict=True)
    ]


def separate(row: Row) -> bool:
    """Whether a row's digits say enough to be tested: one count, or a share to within half its standard error."""
    if not row.counted or not row.items or (row.k or 1) > 1:
        return False
    many, p = len(attainable.counts(row.value, row.items)), float(row.value)
    return many == 1 or (many > 1 and float(unit(row.value)) <= math.sqrt(p * (1 - p) / row.items))


def contrast(x: Row, y: Row) -> Contrast:
    """Two rows of one column compared; ValueError where they are no shares of the same number of items."""
    a, b = (x, y) if x.value >= y.value else (y, x)
    n, one, other = a.items or 0, count(a), count(b)
    if one is None or other is None or b.items != n:
        raise ValueError(f"{_place(a)} and {_place(b)} are no shares of the same number of items")
    low, high = st.newcombe(one, n, other, n)
    alone = min(one, n - other)  # the most items that only a can have got right
    return Contrast(
        **a.column._asdict(),
        a=a.method,
        b=b.method,
        count_a=one,
        count_b=other,
        n=n,
        difference=(one - other) / n,
        low=low,
        high=high,
        p=st.fisher(one, n, other, n),
        p_best=st.split_p(one - other, 0),
        p_worst=st.split_p(alone, alone - (one - other)),
    )


def detectable(n: int, share: float = 0.5, correlation: float = 0.5) -> float:
    """The difference of two shares of the same n items that a paired test finds with 80 % power."""
    return st.minimum_detectable_difference(2 * share * (1 - share) * (1 - correlation) / n)


def best(rows: Sequence[Row], found: Sequence[Contrast]) -> Iterator[Finding]:
    """Of each column: whether the highest value stands apart from the next, and how many pairs do at all."""
    for column, own in _columns(rows):
        here = [one for one in found if one.column == column]
        if here:
            yield from (_too_short(row) for row in own if row.counted and row.items and not separate(row))
        ranked = sorted((row for row in own if separate(row)), key=lambda row: -row.value)
        if not here or len(ranked) < 2:
            continue
        top = next((c for c in here if {c.a, c.b} == {ranked[0].method, ranked[1].method}), None)
        if top:
            yield Finding(
                check="best", where=_column(column), verdict=top.verdict, text=against(top), lines=_lines(ranked[:2])
            )
        apart = sum(one.verdict == "consistent" for one in here)
        text = (
            f"{apart} of {words.count(len(here), 'pair')} stand after Holm's correction over {here[0].family}; n = "
            f"{here[0].n:,} detects {words.points(detectable(here[0].n))} with 80{words.THIN}% power"
        )
        yield Finding(
            check="pairs", where=_column(column), verdict="consistent" if apart else "not separable", text=text,
            lines=_lines(own),
        )  # fmt: skip


def _too_short(row: Row) -> Finding:
    """A row that no test can take: its digits leave too many counts open, or none at all."""
    counts = attainable.counts(row.value, row.items or 0)
    span = f"may stand for {counts[0]:,} to {counts[-1]:,}" if len(counts) > 1 else "is no count"
    if (row.k or 1) > 1:
        span = "is a mean over draws"
    text = f"{row.value} {span} of {row.items:,}, so it is not compared with the others"
    return _finding("pairs", row, "cannot be decided", text)


def against(pair: Contrast) -> str:
    """A contrast in a sentence: counts, interval, tests, and what pairing the items could change."""
    ahead = pair.count_a - pair.count_b
    if not ahead:
        return f"{pair.a} and {pair.b} both have {pair.count_a:,} of {pair.n:,}"
    told = (
        f"{pair.a} has {words.count(ahead, 'item')} of {pair.n:,} more than {pair.b}: "
        f"{words.signed(pair.difference)} points {words.interval(pair.low, pair.high)}, Fisher "
        f"{_p('p', pair.p)}"
    )
    told += f", {_p('p_holm', pair.p_holm)} (family of {pair.family})" if pair.family else ""
    if pair.p_best >= ALPHA:
        return f"{told}; no pairing of the items gives McNemar p below {pair.p_best:.2g}"
    if pair.p_worst < ALPHA:
        return f"{told}; even the worst pairing of the items gives McNemar {_p('p', pair.p_worst)}"
    return f"{told}; by how the items pair, McNemar p lies from {pair.p_best:.1g} to {pair.p_worst:.2g}"


# --- digits ---


def digits(rows: Sequence[Row]) -> Iterator[Finding]:
    """What is printed more than once, with other digits: rounded, cut off or contradictory."""
    for _, own in _grouped(rows, lambda row: (*row.column, row.method)):
        longest = max(own, key=lambda row: -int(row.value.as_tuple().exponent))
        yield from (_same(row, longest) for row in own if row is not longest and row.high is longest.high is None)


def _same(short: Row, full: Row) -> Finding:
    told = f"{short.value}, elsewhere {full.value}"
    if full.value.quantize(unit(short.value), ROUND_HALF_UP) == short.value:
        return _finding("digits", (short, full), "consistent", f"{told}: rounded")
    if full.value.quantize(unit(short.value), ROUND_DOWN) == short.value:
        right = full.value.quantize(unit(short.value), ROUND_HALF_UP)
        return _finding("digits", (short, full), "false", f"{told}: cut off, not rounded (to {right})")
    return _finding("digits", (short, full), "false", f"{told}: they contradict each other")


def repeated(rows: Sequence[Row]) -> Iterator[Finding]:
    """Values of three digits or more that stand in two columns of one benchmark: copied, or chance."""
    long = [row for row in rows if _significant(row.value) >= 3 and row.high is None]
    for _, own in _grouped(long, lambda row: (row.column[:3], row.value)):
        if len({row.metric for row in own}) > 1:
            places = words.listed([f"{row.method}'s {row.metric}" for row in own])
            text = f"{own[0].value} is {places}: one may be a copy of the other"
            yield _finding("repeated", own, "cannot be decided", text)


def _significant(value: Decimal) -> int:
    """Digits from the first to the last that is not 0; thirds, which come about by themselves, have none."""
    if any(abs(value - Decimal(third) / 3) <= unit(value) / 2 for third in (1, 2)):
        return 0
    return len(value.normalize().as_tuple().digits)


# --- parameters ---


def shares(rows: Sequence[Row]) -> Iterator[Finding]:
    """Which settings of the row's model train the printed percentage, and whether any is of the row's method."""
    told = [row for row in rows if row.trainable_percent is not None]
    for _, own in _grouped(told, lambda row: (row.task, row.method, row.model, row.trainable_percent)):
        yield _share(own[0], own)


def _share(row: Row, own: Sequence[Row]) -> Finding:
    percent, shape = row.trainable_percent, parameters.shape_of(row.model)
    assert percent is not None
    if shape is None:
        known = f"known sizes: {', '.join(parameters.SHAPES)}"
        what = f"the model {row.model} is not known" if row.model else "no model is stated"
        return _finding("parameters", own, "cannot be decided", f"{percent} %: {what} ({known})", row.method)
    found, family = parameters.matches(percent, shape.name), parameters.family_of(row.method)
    whole = [one for one in found if one.whole]
    given = f"given by {len(found)} of {len(parameters.settings(shape.name)):,} settings"
    named = "; ".join(map(str, (whole or found)[:FITS]))
    text = f"{percent} % of {shape.name}: {given}, {len(whole)} on every layer" + (f": {named}" if named else "")
    if family is None:
        return _finding("parameters", own, "cannot be decided", text, row.method)
    mine = [one for one in found if one.family == family]
    if any(one.whole for one in mine):
        return _finding("parameters", own, "consistent", text, row.method)
    if mine:
        partial = f"{text}; {family} gives it on some layers only: {mine[0]}"
        return _finding("parameters", own, "cannot be decided", partial, row.method)
    return _finding("parameters", own, "impossible as stated", f"{text}; none is {family}", row.method)


# --- inside ---


def _columns(rows: Sequence[Row]) -> list[tuple[Column, list[Row]]]:
    return _grouped(rows, lambda row: row.column)


def _grouped(rows: Iterable[Row], by: Callable[[Row], T]) -> list[tuple[T, list[Row]]]:
    groups: dict[T, list[Row]] = {}
    for row in rows:
        groups.setdefault(by(row), []).append(row)
    return list(groups.items())


def _finding(check: str, rows: Row | Sequence[Row], verdict: Said, text: str, where: str = "") -> Finding:
    own = [rows] if isinstance(rows, Row) else list(rows)
    names = list(dict.fromkeys(row.method for row in own))
    metrics = list(dict.fromkeys(row.metric for row in own))
    parts = [_benchmark(own[0].column), *(names if len(names) == 1 else []), *(metrics if len(metrics) == 1 else [])]
    return Finding(check=check, where=where or ", ".join(parts), verdict=verdict, text=text, lines=_lines(own))


def _lines(rows: Iterable[Row]) -> tuple[int, ...]:
    return tuple(sorted({row.line for row in rows}))


def _place(row: Row) -> str:
    return f"{_benchmark(row.column)}, {row.method}, {row.metric}"


def _benchmark(column: Column) -> str:
    return words.place(column.model.rsplit("/", 1)[-1], column.task, column.benchmark)


def _column(column: Column) -> str:
    return f"{_benchmark(column)}, {column.metric}"


def _k_of(metric: str) -> int | None:
    """The k of `pass@k`."""
    name, at, k = metric.partition("@")
    return int(k) if name == "pass" and at and k.isdigit() and int(k[:6]) > 0 and len(k) < 6 else None


def _named(sizes: Sequence[int]) -> str:
    """A few sizes by number: `50, 100, 150 and others`."""
    more = " and others" if len(sizes) > 3 else ""
    return ", ".join(f"{size:,}" for size in sizes[:3]) + more if sizes else "more than 2,000"


def _amount(values: Sequence[Decimal]) -> str:
    return f"the value {values[0]}" if len(values) == 1 else f"the {len(values)} values"


def _p(name: str, p: float) -> str:
    return f"{name} = {p:.3f}" if p >= 0.001 else f"{name} = {p:.0e}"
