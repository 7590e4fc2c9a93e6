"""What there is here: list, doctor, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from bakeoff.cli.app import Screen, app, console, quiet_libraries, whole
from bakeoff.errors import InputError, suggest


@app.command("list")
def list_(what: Annotated[str, typer.Argument(metavar="methods|tasks|studies", help="Which list.")]) -> None:
    """Name the methods, tasks or built-in studies there are."""
    from bakeoff.study import registry
    from bakeoff.study.load import builtin_names, builtin_summary

    if what == "methods" or what == "tasks":
        told = {name: registry.find(what, name, name).summary for name in registry.names(what)}
    elif what == "studies":
        told = {name: builtin_summary(name) for name in builtin_names()}
    else:
        raise InputError("list", f"unknown '{what}'", suggest(what, ("methods", "tasks", "studies")))
    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("what it is")
    for name, summary in told.items():
        table.add_row(name, summary)
    console.print(table)


@app.command()
def doctor() -> None:
    """Try each sandbox for model-written code here.

    Says which work, which is used, and why others do not.
    """
    from bakeoff.grading.code.doctor import examine

    lines, healthy = examine()
    for line in lines:
        console.print(line, soft_wrap=True)
    if not healthy:
        raise typer.Exit(1)


@app.command()
def bench(
    cases: Annotated[list[str] | None, typer.Argument(metavar="CASE", help="Which cases (default: all).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    repeats: Annotated[
        int | None,
        typer.Option(
            "--repeats", parser=whole("--repeats"), metavar="N", help="Pairs of each case (default: its own number)."
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME=DIR", help="stories3M, or gpt2 for its tokenizer (default: --from)."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="HUB_ID=PATH", help="stanfordnlp/sst2 or stanfordnlp/imdb (default: --from)."),
    ] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Names both (default: studies/bench.yaml, if there).")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE.md", help="Write a page, and FILE.json.")] = None,
) -> None:
    """Time lanes against plain Hugging Face + PEFT on this machine.

    Both do the same work, with the same weights and numbers.
    """
    quiet_libraries()
    from bakeoff.bench.cases import describe, named, prepare
    from bakeoff.bench.inputs import inputs
    from bakeoff.bench.measure import machine
    from bakeoff.bench.show import Page, head, line, payload, text
    from bakeoff.run.interrupt import lastly

    wanted, given, about = named(cases or ()), inputs(model or (), data or (), from_), machine()
    page = Page(out) if out else None
    told = Screen(stderr=as_json, soft_wrap=True)
    ready = [prepare(name, given, repeats) for name in wanted]  # what is absent is said before anything is timed
    found = []
    for said in head(payload(found, wanted, given, about)):
        told.print(said)
    with lastly(lambda: print(text(payload(found, wanted, given, about))) if as_json else None):  # be it cut short
        for number, (name, run) in enumerate(zip(wanted, ready, strict=True), 1):
            told.print(f"{number} of {len(wanted)}: {describe(name)}")
            found.append(run())
            told.print(line(found[-1]))
            if page:
                page.write(payload(found, wanted, given, about))
    if other := [one.name for one in found if not one.same]:
        told.print(f"error: the engines do not compute the same: {', '.join(other)}")
        raise typer.Exit(1)
