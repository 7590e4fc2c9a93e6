"""What every format shares: results grouped by benchmark, quantities as text, and text made inert."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import fmean

from bakeoff.analysis import words
from bakeoff.analysis.grid import Grid, grids, typical_width
from bakeoff.analysis.result import Beside, Cell, Comparison, Confusion, Results, Shown, Standing, Verdict
from bakeoff.store.record import Solo

FROM_RUNS = "\N{DOUBLE DAGGER}"  # marks a cost that is no measurement of the method alone
UNDEFINED = "\N{SECTION SIGN}"  # marks a metric that has no value in some run and counts as 0 there


@dataclass(frozen=True)
class Section:
    """One benchmark of one model: its headline cells, those of its other metrics, answers, comparisons, samples."""

    title: str
    anchor: str
    verdict: Verdict
    cells: tuple[Cell, ...]
    others: dict[str, tuple[Cell, ...]]
    confusions: tuple[Confusion, ...]
    comparisons: tuple[Comparison, ...]
    samples: tuple[Shown, ...]
    standings: tuple[Standing, ...] = ()

    @property
    def percent(self) -> bool:
        """Whether its headline scores are fractions, shown as percentages."""
        return all(cell.percent for cell in self.cells)

    @property
    def metrics(self) -> list[tuple[Cell, ...]]:
        """The cells of every metric, the headline first; nothing where that is the only one."""
        return [self.cells, *self.others.values()] if self.others else []

    @property
    def draws(self) -> int:
        """Completions per item."""
        return max(cell.draws for cell in self.cells)


def sections(results: Results) -> list[Section]:
    """Every benchmark in study order."""
    models = len({cell.model for cell in results.cells})
    found: list[Section] = []
    for i, verdict in enumerate(results.verdicts):
        place = (verdict.model, verdict.task, verdict.benchmark)
        cells = [c for c in results.cells if (c.model, c.task, c.benchmark) == place]
        metrics = dict.fromkeys(c.metric for c in cells if c.metric != verdict.metric)
        found.append(
            Section(
                title=words.place(verdict.model if models > 1 else "", verdict.task, verdict.benchmark, verdict.split),
                anchor=f"benchmark-{i + 1}",
                verdict=verdict,
                cells=tuple(c for c in cells if c.metric == verdict.metric),
                others={metric: tuple(c for c in cells if c.metric == metric) for metric in metrics},
                confusions=tuple(c for c in results.confusions if (c.model, c.task, c.benchmark) == place),
                comparisons=tuple(c for c in results.comparisons if (c.model, c.task, c.benchmark) == place),
                samples=tuple(s for s in results.samples if (s.model, s.task, s.benchmark) == place),
                standings=tuple(s for s in results.standings if (s.model, s.task, s.benchmark) == place),
            )
        )
    return found


def floor(cells: Sequence[Cell]) -> str:
    """What unrelated answers score by the metric of these cells, in brackets; empty where it is not known."""
    cell = cells[0]
    return "" if cell.floor is None else f" (unrelated answers: {words.score(cell.floor, cell.percent)})"


def swept(section: Section) -> list[Grid]:
    """The grids of a benchmark: by its headline metric, and by those on a scale of their own (loss, BLEU)."""
    others = [cells for cells in section.others.values() if not all(cell.percent for cell in cells)]
    noise = {one.metric: one.width for one in section.standings}
    noise |= {section.verdict.metric: typical_width(section.comparisons)}
    return [g for cells in (section.cells, *others) for g in grids(cells, noise.get(cells[0].metric, 0.0))]


def swept_explained(section: Section, grid: Grid) -> str:
    """What a grid's colours and borders are."""
    order = "lower is better, and the stronger the colour, the lower" if grid.lower else "the stronger, the better"
    told = f"Colours: {order}; they span at least a typical interval of a difference, so that noise looks even."
    if not grid.spread:
        told = "All values are the same, so no cell is coloured as the best."
    members, family = _near(section, grid)
    if not members:
        return f"{told} No border: nothing could be ranked."
    return (
        f"{told} Border: the best, and what is not separable from it by {grid.metric} (all methods of the benchmark, "
        f"Holm family of {family})."
    )


def outlined(section: Section, grid: Grid) -> tuple[str, ...]:
    """The methods that a grid marks: best, or not separable from the best, by its metric."""
    return _near(section, grid)[0]


def _near(section: Section, grid: Grid) -> tuple[tuple[str, ...], int]:
    """The winner set by a grid's metric, and how many pairs were tested for it."""
    if grid.metric == section.verdict.metric:
        return section.verdict.winner_set, section.verdict.family
    found = next((one for one in section.standings if one.metric == grid.metric), None)
    return (found.members, found.family) if found else ((), 0)


def mark(section: Section, cell: Cell) -> str:
    """`best` for a winner alone, `top` for a method not separable from the best, else nothing."""
    if cell.method == section.verdict.winner:
        return "best"
    return "top" if cell.method in section.verdict.winner_set else ""


def breakable(method: str) -> list[str]:
    """A method's name in the pieces that a line may end between: `lora+prompt`, `[r=8,`, `lora_alpha=16]`."""
    return re.sub(r"(?=\[)|(?<=,)", "\n", method).split("\n")


def metric(cell: Cell) -> str:
    """A metric as the head of a column: its name, its unit, and which way it counts where that is downwards."""
    return cell.metric + (", %" if cell.percent else "") + (" (lower is better)" if cell.lower_is_better else "")


def value(cell: Cell) -> str:
    """A cell's mean without its unit; marked where some run has no value, nothing where there is no result."""
    if cell.mean is None:
        return ""
    return words.number(cell.mean, cell.percent) + (f"{words.THIN}{UNDEFINED}" if cell.undefined_seeds else "")


def interval(cell: Cell) -> str:
    """A cell's interval; nothing where there is no result."""
    return "" if cell.mean is None else words.interval(cell.ci_low, cell.ci_high, cell.percent)


def metrics_explained(section: Section) -> str:
    """What the marks and the less usual metrics in a table of several are."""
    told = ["Mean, with its 95\N{NO-BREAK SPACE}% interval; methods are compared by the first metric alone."]
    names = [cells[0].metric for cells in section.metrics]
    if any(name.endswith("_binary") for name in names):
        told.append("*_binary are of the positive label.")
    if any(name.endswith("_macro") for name in names):
        told.append("*_macro are unweighted means over the gold labels.")
    if "loss" in names and section.confusions:
        told.append("loss: nats, the gold label's negative log-likelihood among the labels.")
    if any(cell.undefined_seeds for cells in section.metrics for cell in cells):
        told.append(f"{UNDEFINED} In some run there was nothing to take a share of; it counts as 0 there.")
    return " ".join(told)


@dataclass(frozen=True)
class Answered:
    """What a method answered to the items of one gold label: counts over its runs, and their share of these items.

    `said` is in the order of the labels, then those that said none. `note` stands in a method's first row.
    """

    method: str
    gold: str
    said: tuple[tuple[int, float], ...]
    first: bool
    note: str


def answered(section: Section) -> list[Answered]:
    """Every method's answers, a row for each gold label."""
    rows: list[Answered] = []
    for found in section.confusions:
        gold = [(label, counts) for label, counts in zip(found.labels, found.counts, strict=True) if sum(counts)]
        for i, (label, counts) in enumerate(gold):
            said = tuple((count, count / sum(counts)) for count in counts)
            rows.append(Answered(found.method, label, said, i == 0, _constant(found) if i == 0 else ""))
    return rows


def _constant(found: Confusion) -> str:
    if not found.constant:
        return ""
    labels = [f'"{label}"' for label in found.constant]
    told = f"said {words.listed(labels)} to everything"
    return told if found.constant_runs == found.runs else f"{told} in {found.constant_runs} of {found.runs} runs"


def balance(section: Section) -> str:
    """How many items have which gold label, and what saying the most frequent one to everything would score."""
    found = section.confusions[0]
    pairs = [(label, n) for label, n in zip(found.labels, found.items, strict=True) if n]
    label, most = max(pairs, key=lambda pair: pair[1])
    counts = words.listed([f"{n:,} {name}" for name, n in pairs])
    share = words.score(most / sum(found.items))
    return f"Gold: {counts}; to say {label} to everything would be right in {share}."


def no_label(section: Section) -> bool:
    """Whether any answer said no label."""
    return any(counts[-1] for found in section.confusions for counts in found.counts)


def runs(cell: Cell) -> str:
    """How many runs a cell's mean is of: `3`, `2 of 3`."""
    kept = len(cell.per_seed)
    return str(kept) if kept == cell.planned_runs else f"{kept} of {cell.planned_runs}"


def whole(x: int | None) -> str:
    """`294,912`, or `n/a`."""
    return "n/a" if x is None else f"{x:,}"


def share(percent: float | None) -> str:
    """A percentage that may be small, to three decimals: `0.237 %`, `< 0.001 %`; `0 %` and `100 %` are exact."""
    if percent is None:
        return "n/a"
    if percent in (0, 100):
        return f"{percent:.0f}{words.THIN}%"
    return f"<{words.THIN}0.001{words.THIN}%" if percent < 0.001 else f"{percent:.3f}{words.THIN}%"


def duration(seconds: float | None) -> str:
    """`0.84 s`, `12.3 s`, `4 min 10 s`, `2 h 05 min`."""
    if seconds is None:
        return "n/a"
    space = words.THIN
    if seconds < 1:
        return f"{seconds:.2f}{space}s"
    if seconds < 100:
        return f"{seconds:.1f}{space}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{space}min{space}{rest:02d}{space}s"
    return f"{minutes // 60}{space}h{space}{minutes % 60:02d}{space}min"


def size(number: int | None) -> str:
    """Bytes in decimal units: `0 B`, `812 B`, `1.2 MB`."""
    if number is None:
        return "n/a"
    amount = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f}{words.THIN}{unit}" if unit == "B" else f"{amount:.1f}{words.THIN}{unit}"
        amount /= 1000
    raise AssertionError


def rate(tokens_per_second: float | None) -> str:
    """Tokens per second, whole."""
    return "n/a" if tokens_per_second is None else f"{tokens_per_second:,.0f}"


def status(cell: Cell) -> str:
    """A cell's status, with how much of it there is."""
    if cell.status == "incomplete":
        return f"incomplete, {len(cell.per_seed)} of {cell.planned_runs} runs"
    return cell.status


def decision(pair: Comparison, escape: Callable[[str], str] = str) -> str:
    """A comparison's verdict with the better method by name."""
    if pair.verdict in ("a better", "b better"):
        return f"{escape(pair.a if pair.verdict == 'a better' else pair.b)} better"
    return pair.verdict


def banner(results: Results) -> str:
    """What stands above everything else; empty where nothing does."""
    if "none" not in (results.provenance.get("sandboxes") or []):
        return ""
    return (
        "Model-written code ran UNPROTECTED, with no sandbox (--unsafe-no-sandbox): it could tamper with its verdicts "
        "and with this machine's files."
    )


def assumed(results: Results) -> list[str]:
    """What the study says it assumes (its `notes:`)."""
    return [str(note) for note in (results.provenance.get("notes") or {}).get("study") or []]


def beside(results: Results) -> list[tuple[Beside, dict[str, str]]]:
    """Every published value with its row of text by the heads of the table that sets it beside what was measured."""
    models = len({one.model for one in results.beside if one.model}) > 1
    numbers = {reason: number for number, reason in enumerate(beside_reasons(results), 1)}
    return [(one, _beside(one, models, numbers)) for one in results.beside]


def beside_reasons(results: Results) -> list[str]:
    """Why published values cannot be compared: each reason once, as rows first have it; a row has their numbers."""
    return list(dict.fromkeys(reason for one in results.beside for reason in _reasons(one)))


def _reasons(one: Beside) -> list[str]:
    return [reason for reason in one.reason.split("; ") if reason]


def _beside(one: Beside, models: bool, numbers: Mapping[str, int]) -> dict[str, str]:
    n = "" if one.n is None else f"{one.n:,}{' (inferred)' if one.inferred else ''}"
    known = one.low is not None and one.high is not None
    apart = one.difference_low is not None and one.difference_high is not None
    return {
        "benchmark, metric": f"{words.place(one.model if models else '', one.task, one.benchmark)}, {one.metric}",
        "method": one.method,
        "published": _as_printed(one) + (f" {words.interval(one.low, one.high, one.percent)}" if known else ""),
        "its n": n,
        "measured": "" if one.mean is None else _with_interval(one.mean, one.ci_low, one.ci_high, one.percent),
        "runs \N{MULTIPLICATION SIGN} items": f"{one.runs} \N{MULTIPLICATION SIGN} {one.n_items:,}"
        if one.mean is not None
        else "",
        "difference": _with_interval(one.difference, one.difference_low, one.difference_high, one.percent, True)
        if apart
        else "",
        "verdict": " ".join([one.verdict, *_marks([numbers[reason] for reason in _reasons(one)])]),
    }


def _marks(numbers: Sequence[int]) -> list[str]:
    """Numbers of notes in brackets; nothing for none."""
    return [f"({', '.join(map(str, sorted(numbers)))})"] if numbers else []


def _with_interval(x: float | None, low: float | None, high: float | None, percent: bool, sign: bool = False) -> str:
    return f"{(words.signed if sign else words.number)(x, percent)} {words.interval(low, high, percent)}"


def _as_printed(one: Beside) -> str:
    """A published value with the digits that were printed, a fraction as percent: `79.80`."""
    if not one.percent or " " in one.printed:
        return one.printed
    return f"{Decimal(one.printed).scaleb(2):f}"


def beside_summary(results: Results) -> str:
    """One sentence: how many published values agree, differ, or cannot be compared and mostly why."""
    found = Counter(one.verdict for one in results.beside)
    told = [f"{found[verdict]} {said[found[verdict] > 1]}" for verdict, said in _SUMMED.items() if found[verdict]]
    why = Counter(reason for one in results.beside for reason in _reasons(one))
    mostly = f" (mostly: {why.most_common(1)[0][0]})" if why else ""
    return f"Of {words.count(len(results.beside), 'published value')}, {words.listed(told)}{mostly}."


_SUMMED = {
    "agrees": ("agrees", "agree"),
    "differs": ("differs", "differ"),
    "cannot be compared": ("cannot be compared", "cannot be compared"),
}

BESIDE_EXPLAINED = (
    "A published value is of one run on n items: its interval is Wilson's where it is a share of a known number of "
    "items. It agrees with what was measured where the 95\N{NO-BREAK SPACE}% interval of the difference, which also "
    "allows for the run-to-run variation of one run, holds zero. Values are not judged where what ran is not what was "
    "published; numbers in brackets are those of the reasons, which stand below the table."
)


def how_it_ran(results: Results) -> list[tuple[str, str]]:
    """Provenance as label and text, in the order a reader asks for it; what is unknown is left out."""
    how = results.provenance

    def joined(name: str) -> str:
        return ", ".join(str(one) for one in how.get(name) or [])

    started = [how.get("first_started"), how.get("last_started")]
    versions = ", ".join(f"{name} {'/'.join(found)}" for name, found in (how.get("versions") or {}).items())
    rows = [
        ("bakeoff", str(how.get("bakeoff") or "")),
        ("trials", f"{how.get('trials_stored')} of {how.get('trials_planned')} stored"),
        ("engine", joined("engines")),
        ("executor", joined("executors")),
        ("group size", joined("group_sizes")),
        ("device", joined("devices")),
        ("threads", joined("threads")),
        ("weights held in", joined("dtypes")),
        ("platform", joined("platforms")),
        ("sandbox of model-written code", joined("sandboxes")),
        ("versions", versions),
        ("BLEU (sacrebleu)", joined("signatures")),
        ("model weights (sha256)", joined("weights")),
        ("dataset (sha256)", joined("datasets")),
        ("trials started", " to ".join(dict.fromkeys(str(one) for one in started if one))),
    ]
    rows += [("data", source["told"]) for source in (how.get("notes") or {}).get("data") or []]
    overlaps = how.get("overlaps") or {}
    rows += [("training and test data", words.overlap(place, **found)) for place, found in overlaps.items()]
    return [(label, text) for label, text in rows if text]


def costs(results: Results) -> list[list[Cell]]:
    """Each model's and task's cells once per method, where it has a cost: costs do not depend on the benchmark."""
    groups: dict[tuple[str, str], dict[str, Cell]] = {}
    for cell in results.cells:
        if cell.trained or cell.solo:
            groups.setdefault((cell.model, cell.task), {}).setdefault(cell.method, cell)
    return [list(group.values()) for group in groups.values()]


def forgetting(results: Results) -> list[list[Cell]]:
    """Each model's and task's cells once per trained method, where the loss of held-out text is known."""
    return [known for group in costs(results) if (known := [cell for cell in group if cell.text_loss_changes])]


def forgotten(cell: Cell) -> dict[str, str]:
    """What a method's training did to the loss of held-out text, by the heads of its table."""
    changes = cell.text_loss_changes
    assert cell.text_loss is not None
    return {
        "before": words.number(cell.text_loss, False, 3),
        "after": words.number(cell.text_loss + fmean(changes), False, 3),
        "text loss change": _added(fmean(changes)),
        "per seed": " ".join(map(_added, changes)),
    }


def forgetting_explained(results: Results) -> str:
    """What the table of forgetting shows, and what has no place in it; empty where the study asks for none."""
    asked = results.provenance.get("forgetting")
    if not asked:
        return ""
    told = (
        f"Loss (nats per token) of {words.count(asked['texts'], 'text')} from {asked['text']}, cut to the context, "
        "under the bare base and after training; above 0 the text is predicted worse than before."
    )
    without = words.listed(asked["not_available"])
    return told + (f" Not available for {without}: an encoder-decoder model has no loss of plain text." * bool(without))


def _added(change: float) -> str:
    shown = words.number(change, False, 3)
    return f"+{shown}" if float(f"{change:.3f}") > 0 else shown


def cost(cell: Cell) -> dict[str, str]:
    """A method's cost by the heads of the cost table; nothing is said of the training of what is not trained."""
    solo, trained = cell.solo, cell.trained
    return {
        "training per run": training(cell),
        "optimiser step": _step(solo) if trained else "",
        "tokens per second": rate(solo and solo.tokens_per_second) if trained else "",
        "FLOPs per step": flops(solo and solo.step_flops) if trained else "",
        "peak memory": _peak(cell) if trained else "",
        "of it the method's": size(solo and solo.added_bytes) if trained else "",
        "one answer": step_time(solo and solo.inference_seconds),
        "one answer, base = 1": f"{solo.inference_ratio:.2f}" if solo else "n/a",
        "context taken": words.count(solo.context_tokens, "token") if solo else "n/a",
        "trainable parameters": whole(cell.trainable_params),
        "of all": share(cell.trainable_percent),
        "adapter on disk": size(cell.adapter_bytes) if trained else "",
    }


def training(cell: Cell) -> str:
    """A run's training time, at the pace of the method alone; marked where it is the runs' own time."""
    return _marked(cell, duration(cell.solo_train_seconds)) if cell.trained else ""


def _marked(cell: Cell, text: str) -> str:
    """A cost with FROM_RUNS behind it where no measurement of the method alone is stored."""
    return text if cell.solo or text == "n/a" else f"{text}{words.THIN}{FROM_RUNS}"


def _step(solo: Solo | None) -> str:
    """The median of the timed steps, and their range: `8.3 ms (8.1 ms to 9.0 ms)`."""
    shown = step_time(solo and solo.step_seconds)
    if solo is None or solo.step_seconds_min is None or solo.step_seconds_max is None:
        return shown
    return f"{shown} ({step_time(solo.step_seconds_min)} to {step_time(solo.step_seconds_max)})"


def cost_explained(results: Results) -> str:
    """What the columns of the cost table are."""
    return (
        f"{times_explained(results)} A step is the median of a few, with their range. Tokens are those trained on, "
        "prompt and answer, without padding; FLOPs those of matrix products and attention, forward and backward. Peak "
        "memory is the process's resident set on a CPU, and what is allocated (and reserved) on a GPU; beside it, the "
        "part that was not there before the method came. An answer is one prompt of the task read and 16 tokens "
        "decoded, the adapter not merged, against the same without it; context is taken by virtual tokens."
    )


def step_time(seconds: float | None) -> str:
    """A short time: `8.3 ms`, `420 ms`, then as `duration`."""
    if seconds is None or seconds >= 1:
        return duration(seconds)
    return f"{seconds * 1000:.{1 if seconds < 0.1 else 0}f}{words.THIN}ms"


def flops(number: int | None) -> str:
    """Floating-point operations in decimal units: `1.3 G`."""
    if number is None:
        return "n/a"
    amount = float(number)
    for unit in ("", "k", "M", "G", "T"):
        if amount < 1000:
            return f"{amount:.{1 if unit else 0}f}{words.THIN}{unit}".rstrip(words.THIN)
        amount /= 1000
    return f"{amount:.1f}{words.THIN}P"


def _peak(cell: Cell) -> str:
    reserved = cell.solo.reserved_bytes if cell.solo else None
    return _marked(cell, size(cell.peak_bytes)) + (f" ({size(reserved)} reserved)" if reserved is not None else "")


def run_variance(verdict: Verdict, percent: bool) -> str:
    """Whose run-to-run variance a benchmark's intervals hold: `seed SD pooled over 4 methods: 1.3 (8 df)`."""
    if verdict.bartlett_p is not None and verdict.seed_sd is None:
        p = words.p_equals("p", verdict.bartlett_p)
        return f"run variances differ between methods (Bartlett {p}), so each method keeps its own"
    if verdict.seed_sd is None or (verdict.pool_methods == 1 and verdict.own_variance):
        return "each method keeps its own run variance" if verdict.own_variance else ""
    spread = f"{words.number(verdict.seed_sd, percent)} ({verdict.pool_df} df)"
    told = f"seed SD pooled over {words.count(verdict.pool_methods, 'method')}: {spread}"
    if not verdict.own_variance:
        return told
    keep = "keeps its" if len(verdict.own_variance) == 1 else "keep their"
    return f"{told}; {words.listed(verdict.own_variance)} {keep} own variance"


def intervals_explained(results: Results) -> str:
    """One sentence on what the intervals are, true of these results."""
    scopes = {cell.scope for cell in results.cells if cell.mean is not None}
    both = (
        "A 95\N{NO-BREAK SPACE}% interval of a mean covers what another draw of test items and another set of training "
        "runs could have given (two-way variance; run-to-run variance is pooled over a benchmark's trained methods, "
        "but a method at the ceiling or floor or with a collapsed run keeps its own, and all do where theirs differ)"
    )
    one = "covers another draw of test items only, for this very checkpoint"
    if scopes == {"runs and items"}:
        return both + "."
    if scopes == {"this checkpoint only"}:
        return f"A 95\N{NO-BREAK SPACE}% interval marked \N{DAGGER} {one}."
    return f"{both}; one marked \N{DAGGER} (untrained, or one run) {one}."


def times_explained(results: Results) -> str:
    """Where training times and costs come from."""
    told: list[str] = []
    if any(cell.solo for cell in results.cells):
        told.append(
            "Cost per method comes from a short measurement of it alone on the model, in the engine of its runs, since "
            "runs may share passes; training time is a run's steps at that pace."
        )
    elif any(cell.lanes > 1 for cell in results.cells):
        told.append("Runs shared passes and no measurement of a method alone is stored, so its cost is not known.")
    if any(FROM_RUNS in training(cell) for cell in results.cells):
        told.append(f"{FROM_RUNS} No measurement of it alone is stored: taken from its runs, which shared no pass.")
    return " ".join(told) or "No training time is stored."


def inert(text: str) -> str:
    """Text with control characters and direction overrides spelled out, so that no terminal or page obeys them."""
    return "".join(_spelled(character) for character in text)


def _spelled(character: str) -> str:
    if character in "\n\t":
        return character
    kind = unicodedata.category(character)
    if kind in ("Cc", "Cs") or (kind == "Cf" and character not in "\u200c\u200d\u00ad"):
        return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"
    return character
