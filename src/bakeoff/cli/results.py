"""Results, read: report, compare, recommend, audit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from bakeoff.cli.app import Directory, From, Set, app, console, positive, quiet_libraries, show_table, whole
from bakeoff.errors import InputError, suggest

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bakeoff.analysis.audit import Audit
    from bakeoff.analysis.result import Check, Comparison, Results
    from bakeoff.store.store import Store
    from bakeoff.use.ledger import Entry


@app.command()
def report(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR", help="Directories that `bakeoff run` wrote.")],
    format_: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT,...", help="Of html, md, tex, json, csv, svg (default: all)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="OUT", help="Where a summary of several studies is written.")
    ] = None,
) -> None:
    """Write a study's report anew, and show its table.

    Of several studies a summary: what is best where. From what is stored; needs no torch.
    """
    from bakeoff.report import write
    from bakeoff.store.store import Store

    stores, formats = (
        [Store.open(directory) for directory in directories],
        tuple(format_.split(",")) if format_ is not None else None,
    )
    if len({store.directory.resolve() for store in stores}) < len(stores):
        raise InputError("DIR", "one study is given twice", "name each once")
    if len(stores) > 1 or out:
        _summary(stores, formats, out)
        return
    paths = write(stores[0], formats)
    if not stores[0].stored():
        console.print(f"{directories[0]}: no trial is finished, so that there is nothing to report yet", soft_wrap=True)
    show_table(stores[0].directory)
    for path in paths:
        if path.parent == stores[0].directory:
            console.print(f"wrote {path}", highlight=False)
    if drawn := sum(path.suffix == ".svg" for path in paths):
        console.print(f"wrote {drawn} figures in {stores[0].directory / 'figures'}", highlight=False)


def _summary(stores: Sequence[Store], formats: Sequence[str] | None, out: Path | None) -> None:
    """Several studies in one table; files only where `out` says so."""
    from bakeoff.analysis.summary import summarise
    from bakeoff.analysis.table import results
    from bakeoff.report import summary

    found = summarise([results(store) for store in stores])
    paths = summary.write(found, out, formats) if out else []
    console.print(summary.terminal(found))
    for path in paths:
        console.print(f"wrote {path}", highlight=False)


@app.command()
def compare(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A directory that `bakeoff run` wrote.")
    ] = None,
    a: Annotated[str | None, typer.Argument(metavar="A", help="A method of it.")] = None,
    b: Annotated[str | None, typer.Argument(metavar="B", help="Another one.")] = None,
    table: Annotated[
        Path | None, typer.Option("--table", metavar="FILE.csv", help="Compare the methods of your own table instead.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="METHOD", help="Every method against this one, not all pairs.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            parser=positive("--margin", "0.02"),
            metavar="X",
            help="Differences up to this are none: is a pair equivalent? (.02 for fractions.)",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric", metavar="NAME", help="What the scores are: loss, perplexity and the like count downwards."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, `comparisons` as in results.json.")
    ] = False,
) -> None:
    """Compare methods: which is better, by how much, how surely.

    DIR A B: two methods of a study. --table FILE.csv (.tsv, .gz): any results in long form, a row for each score, with
    the columns method, seed, item, score, and perhaps task and cluster (of items that hang together: questions about
    one text). Every run needs the same items; average an item's draws first. An EMPTY seed means a model that is not
    trained, so that it has no run-to-run variance; of a trained model with one run give the seed, and no more is said
    than of that checkpoint. Three seeds or more make verdicts about methods. Needs no torch.
    """
    from bakeoff.report import comparisons

    _fits(directory, table, {"--baseline": baseline, "--margin": margin, "--metric": metric})
    if table is None:
        study, pairs = _compared(directory, a, b)
        printed, lint = comparisons.of_study(pairs, study), study.lint
    else:
        pairs, printed, lint = _tabled(table, metric or "score", baseline, margin)
    if as_json:
        print(comparisons.as_json(pairs, lint))
        return
    for line in printed:
        console.print(line, soft_wrap=isinstance(line, Text))


def _fits(directory: Path | None, table: Path | None, options: Mapping[str, str | float | None]) -> None:
    """InputError where what was given does not go together, or means nothing."""
    if (table is None) == (directory is None):
        raise InputError("compare", "DIR A B or --table FILE.csv is needed", "`bakeoff compare --help` shows both")
    for option, given in options.items():
        if table is None and given is not None:
            raise InputError(
                option, "goes with --table alone", "a study's results are compared as results.json has them"
            )
    metric = options["--metric"]
    if isinstance(metric, str) and not metric.strip():
        raise InputError("--metric", "is empty", "give the name of what the scores are, such as accuracy or loss")


def _tabled(
    table: Path, metric: str, baseline: str | None, margin: float | None
) -> tuple[list[Comparison], Iterator[RenderableType], Sequence[Check]]:
    """A long table's comparisons, what is printed of them, and its lint."""
    from bakeoff.analysis import wins
    from bakeoff.analysis.long_table import read
    from bakeoff.analysis.table_lint import lint
    from bakeoff.report import comparisons

    scores = read(table, metric, baseline, margin)
    found = [(one, wins.counted(one, one.comparisons())) for one in scores]
    checks = lint(scores)
    told = (comparisons.shown(one, own) for one, own in found)
    pairs = [pair for _, own in found for pair in own]
    return pairs, chain(*told, comparisons.win_rates(scores), comparisons.lint(checks)), checks


def _compared(directory: Path | None, a: str | None, b: str | None) -> tuple[Results, list[Comparison]]:
    """A study and its comparisons of two methods, one for each benchmark that both have a result on."""
    from bakeoff.analysis.table import results
    from bakeoff.store.store import Store

    assert directory is not None
    if a is None or b is None or a == b:
        raise InputError("compare", "two methods of the study are needed", "bakeoff compare DIR A B")
    found = results(Store.open(directory))
    names = dict.fromkeys(cell.method for cell in found.cells)
    for name in (a, b):
        if name not in names:
            raise InputError(str(directory), f"no method '{name}'", suggest(name, names))
    pairs = [pair for pair in found.comparisons if {pair.a, pair.b} == {a, b}]
    if not pairs:
        raise InputError(str(directory), f"no benchmark on which both {a} and {b} have a result", "see bakeoff status")
    return found, pairs


@app.command()
def recommend(
    directory: Directory,
    params: Annotated[
        int | None,
        typer.Option("--max-params", parser=whole("--max-params", 0), metavar="N", help="Trained parameters at most."),
    ] = None,
    memory: Annotated[
        str | None, typer.Option("--max-memory", metavar="SIZE", help="Memory at the peak of training: 800MB, 16GiB.")
    ] = None,
    latency: Annotated[
        str | None,
        typer.Option("--max-latency", metavar="RATIO|MS", help="Time of an answer: 1.2 (to the bare model's) or 50ms."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Recommend a method, or say what would decide.

    A method is recommended where it is separably better than every other that fits, or the cheapest of several that are
    equivalent, on three seeds or more; otherwise what would decide is said: so many more seeds, or items. Costs are
    those that were measured (see the report's cost table); where the best may fit a limit on what was not measured,
    nothing is recommended. Needs no torch.
    """
    from bakeoff.analysis.recommend import Limits
    from bakeoff.analysis.recommend import recommend as recommended
    from bakeoff.analysis.table import results
    from bakeoff.report import recommended as printed
    from bakeoff.store.store import Store

    limits = Limits(params=params, memory=_bytes(memory), **_latency(latency))
    found = results(Store.open(directory))
    chosen = recommended(found, limits)
    if as_json:
        print(printed.as_json(chosen, limits))
    else:
        for line in printed.shown(chosen, found):
            console.print(line, soft_wrap=True)


def _bytes(text: str | None) -> int | None:
    """Bytes of `800MB`, `16 GiB` or `1200000`; units without i are decimal."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?)B?|B)?", text.strip(), re.IGNORECASE)
    if not found:
        raise InputError("--max-memory", f"'{text}' is no amount of memory", "give bytes, or 800MB, 16GB, 12GiB")
    power = " KMGT".index((found[2] or " ").upper())
    return round(float(found[1]) * (1024 if found[3] else 1000) ** power)


def _latency(text: str | None) -> dict[str, float]:
    """A limit on the time of an answer: a ratio (`1.2`, `1.2x`) or seconds (of `50ms`, `0.05s`)."""
    if text is None:
        return {}
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(x|ms|s)?", text.strip())
    if not found or not float(found[1]):
        raise InputError("--max-latency", f"'{text}' is no time", "give 1.2 (times the bare model's) or 50ms")
    amount, unit = float(found[1]), found[2]
    return {"latency": amount} if unit in (None, "x") else {"latency_seconds": amount / (1000 if unit == "ms" else 1)}


@app.command()
def audit(
    study: Annotated[
        str | None, typer.Argument(metavar="STUDY|paper", help="A study file, a built-in study's name, or `paper`.")
    ] = None,
    set_: Set = None,
    from_: From = None,
    table: Annotated[
        Path | None, typer.Option("--table", metavar="FILE.csv", help="Check your own results table instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object (with --table and paper).")] = False,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="HUB_ID=PATH", help="HumanEval for `paper`: openai/openai_humaneval=PATH."),
    ] = None,
) -> None:
    """Count trained parameters, or check a results table.

    STUDY: every method's parameters by formula, as built and on disk; nothing is trained. --table: what the printed
    numbers of a table (CSV: task, benchmark, method, metric, value and, where known, n, k, trainable_percent, model)
    allow to be said: values that no count of items gives, differences that nothing separates. paper: the same for the
    paper that Bakeoff grew from, and its claims one by one. Findings are no failure: the exit code is 0.
    """
    if (study is None) == (table is None):
        raise InputError(
            "audit", "one of STUDY, `paper` and --table FILE.csv is needed", "`bakeoff audit --help` shows each"
        )
    for option, given, fits in (
        ("--set", set_, table is None and study != "paper"),
        ("--from", from_, table is None and study != "paper"),
        ("--json", as_json, table is not None or study == "paper"),
        ("--data", data, study == "paper"),
    ):
        if given and not fits:
            raise InputError(option, "has no use here", "`bakeoff audit --help` says what it goes with")
    if table is None and study != "paper":
        _audit_study(str(study), set_ or (), from_)
        return
    from bakeoff.report import findings

    found = _audit_paper(data or ()) if table is None else _audit_table(table)
    if as_json:
        print(findings.as_json(found))
    else:
        for line in findings.shown(found):
            console.print(line, soft_wrap=True)


def _audit_table(table: Path) -> Audit:
    from bakeoff.analysis.audit import audit
    from bakeoff.analysis.printed import read

    return audit(read(table))


def _audit_paper(data: Sequence[str]) -> Audit:
    quiet_libraries()
    from bakeoff.use.paper import audit_paper

    return audit_paper(data)


def _audit_study(study: str, settings: Sequence[str], places: Path | None) -> None:
    from bakeoff.study.load import load

    asked = load(study, settings, places=places)
    quiet_libraries()
    from bakeoff.use.ledger import audit as entries

    wrong = 0
    for number, entry in enumerate(entries(asked)):
        if number:
            console.print()
        _show_entry(entry)
        wrong += bool(entry.wrong)
    if wrong:
        raise typer.Exit(1)


def _show_entry(entry: Entry) -> None:
    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    say(f"{entry.model} / {entry.method}", "bold")
    for line in entry.lines:
        say(f"    {line}")
    padded = f", {entry.padding:,} more to fill up fused modules" if entry.padding else ""
    computed = "" if entry.saved else " (computed, nothing was saved)"
    declared = f"{entry.declared:,}"
    say(f"  formula  {entry.formula}" + (f" = {declared}" if entry.formula != declared else ""))
    say(f"  counted  {entry.counted:,}")
    say(f"  on disk  {entry.stored - entry.padding:,}{padded}: {entry.file_bytes:,} bytes{computed}")
    for name, percent in entry.percentages.items():
        say(f"  percent  {percent:.4f} % {name}")
    if entry.wrong:
        say(f"  error: {entry.wrong}", "bold red")
