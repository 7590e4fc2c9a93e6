"""Results, read: report, audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bakeoff.cli.app import From, Set, app, console, quiet_libraries, show_table
from bakeoff.errors import InputError

if TYPE_CHECKING:
    from bakeoff.analysis.audit import Audit
    from bakeoff.store.store import Store
    from bakeoff.use.ledger import Entry


@app.command()
def report(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Directories that `bakeoff run` wrote.")],
    format_: Annotated[
        str | None, typer.Option("--format", help="Which files, of html, md, tex, json, csv, svg; all unless told.")
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
        tuple(format_.split(",")) if format_ else None,
    )
    if len({store.directory.resolve() for store in stores}) < len(stores):
        raise InputError("DIR", "one study is given twice")
    if len(stores) > 1 or out:
        _summary(stores, formats, out)
        return
    paths = write(stores[0], formats)
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
        raise InputError("audit", "one of STUDY, `paper` and --table FILE.csv is needed")
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
