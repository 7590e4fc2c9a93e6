"""One trial, used: export, try."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from bakeoff.cli.app import Directory, Screen, TrialName, app, console, quiet_libraries, whole


@app.command()
def export(
    directory: Directory,
    trial: TrialName,
    to: Annotated[str, typer.Option("--to", metavar="peft|merged", help="Adapters, or one model.")],
    out: Annotated[Path, typer.Option("--out", metavar="OUT", help="A new directory.")],
) -> None:
    """Write a trial's model for others, and check its answers.

    As PEFT adapters, or merged into one Hugging Face model.
    """
    from bakeoff.store.store import Store

    store = Store.open(directory)
    quiet_libraries()
    from bakeoff.use.export import export as write
    from bakeoff.use.trial import open_trial

    opened = open_trial(store, trial)
    for agreement in write(opened, to, out):
        console.print(f"{agreement}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{opened.label}: wrote {out} ({to})", markup=False, highlight=False, soft_wrap=True)


@app.command("try")
def try_(
    directory: Directory,
    trial: TrialName,
    text: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="What to say; without it, stdin.")] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-new-tokens",
            parser=whole("--max-new-tokens"),
            metavar="N",
            help="The longest answer (default: the task's).",
        ),
    ] = None,
) -> None:
    """Talk to a trial's model.

    Each text is a user's turn of the trial's task, and is answered by itself.
    """
    from bakeoff.store.store import Store

    store = Store.open(directory)
    quiet_libraries()
    from bakeoff.use.chat import asked, talk
    from bakeoff.use.trial import open_trial

    opened = open_trial(store, trial)
    reply = talk(opened, max_new_tokens)
    aside = Screen(stderr=True, soft_wrap=True, style="dim")
    aside.print(asked(opened))
    for line in text or _prompted():
        if not line.strip():
            continue
        if text and len(text) > 1:
            aside.print(f"> {line}")
        said = reply(line)
        shares = ", ".join(f"{label} {100 * share:.1f} %" for label, share in said.shares.items())
        console.print(f"{said.text} ({shares})" if shares else said.text, soft_wrap=True)
        if said.cut:
            aside.print("(the text was too long and lost its middle)")
        if said.truncated:
            aside.print("(cut off at the longest answer; --max-new-tokens N allows more)")


def _prompted() -> Iterator[str]:
    """The lines of stdin, asked for where a person types them."""
    while True:
        try:
            yield input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return
