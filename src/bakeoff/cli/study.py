"""Studies, run: quickstart, run, plan, status, verify."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from bakeoff.cli.app import (
    Directory,
    Engine,
    Executor,
    From,
    GroupSize,
    Limit,
    Out,
    Set,
    StudyName,
    Unsafe,
    app,
    console,
    quiet_libraries,
    show_table,
)
from bakeoff.errors import InputError

if TYPE_CHECKING:
    from bakeoff.run.plan import Plan
    from bakeoff.run.run import Outcome
    from bakeoff.store.state import State
    from bakeoff.store.store import Store
    from bakeoff.study.spec import Study


@app.command()
def quickstart(out: Out = None, set_: Set = None, limit: Limit = None, unsafe_no_sandbox: Unsafe = False) -> None:
    """Compare six methods on the embedded model, in minutes.

    A real comparison: offline, on a CPU.
    """
    _run("quickstart", out, set_, limit, unsafe=unsafe_no_sandbox)


@app.command()
def run(
    study: StudyName,
    out: Out = None,
    set_: Set = None,
    from_: From = None,
    limit: Limit = None,
    engine: Engine = "auto",
    executor: Executor = "inline",
    group_size: GroupSize = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and show the plan; write nothing.")
    ] = False,
    unsafe_no_sandbox: Unsafe = False,
) -> None:
    """Run a study, or what is missing of it, and write its report."""
    _run(study, out, set_, limit, engine, executor, group_size, dry_run, unsafe_no_sandbox, from_)


@app.command()
def plan(
    study: StudyName, set_: Set = None, from_: From = None, limit: Limit = None, group_size: GroupSize = None
) -> None:
    """Show a study's trials, parameters and groups; run nothing."""
    _run(study, None, set_, limit, group_size=group_size, dry_run=True, places=from_)


@app.command()
def status(
    directory: Directory,
    follow: Annotated[bool, typer.Option("--follow", help="Keep it up to date until the run ends.")] = False,
) -> None:
    """Say how far a study is.

    Which trials are done, running, failed and left, what is at work now, and for how long yet.
    """
    from bakeoff.store.store import Store

    store = Store.open(directory)
    (_follow if follow else _tell)(store)


@app.command()
def verify(directory: Directory) -> None:
    """Hold every file of a study against its hash.

    And the plan, the trials, checkpoints and results.json against each other. Exit code 1 where anything is damaged,
    each named. Writes nothing; `bakeoff run` sets aside what is damaged, and repeats it.
    """
    from bakeoff.report.verify import verify
    from bakeoff.store.store import Store

    found = verify(Store.open(directory))
    console.print(f"{directory}: {found.summary}", soft_wrap=True)
    for line in found.remarks:
        console.print(f"  {line}", soft_wrap=True)
    for line in found.damage:
        console.print(f"damaged: {line}", soft_wrap=True)
    if found.damage:
        raise typer.Exit(1)


def _tell(store: Store) -> None:
    from bakeoff.store.state import state

    for line in _told(store, state(store)):
        console.print(line, soft_wrap=True)


def _follow(store: Store) -> None:
    """The status every second until no process runs the study; where there is no terminal, a line for each change."""
    from rich.live import Live

    from bakeoff.store.state import state

    began, now, before = time.monotonic(), state(store), None
    with Live(console=console, auto_refresh=False) as live:
        while now.holder:
            lines = _told(store, now)
            if console.is_terminal:
                live.update("\n".join(lines), refresh=True)
            elif lines[0].split(";")[0] != before:
                before = lines[0].split(";")[0]
                console.print(lines[0], soft_wrap=True)
            time.sleep(max(1.0, 20 * (time.monotonic() - began)))  # of a large study less often: others work here
            began, now = time.monotonic(), state(store)
        live.update("")
    _tell(store)


def _told(store: Store, now: State) -> list[str]:
    """A study's state in lines."""
    from bakeoff.report.tables.text import duration
    from bakeoff.store.state import STATES
    from bakeoff.study.spec import labelled

    words = {"missing": "left"} if now.holder else {}
    counts = ", ".join(f"{now.count(one)} {words.get(one, one)}" for one in STATES if now.count(one))
    lines = [f"{store.directory}: {counts}"]
    if now.holder:
        left = "" if now.seconds_left is None else f"; about {duration(now.seconds_left)} left"
        lines = [lines[0] + left, f"  running: {now.at}", f"  by another process: {now.holder}"]
    elif now.count("missing"):
        lines.append("  no process is running it: `bakeoff run` goes on")
    if now.tuning:
        left = "they are chosen" if now.decided else "not all have run"
        lines.append(f"  {now.tuning} of them choose learning rates on held-out training examples; {left}")
    if now.left_out:
        lines.append(f"  stored trials of earlier forms of the study, in no table: {now.left_out}")
    for row, became, why in now.trials:
        if became in ("failed", "diverged", "damaged"):
            end = labelled(row["seed"], row.get("settings", {}).get("learning_rate"))
            lines.append(f"  {became}: {row['task']}/{row['method']}{end}: {why}")
    return lines


def _run(
    name: str, out: str | None, settings: Sequence[str] | None, limit: int | None,
    engine: str = "auto", executor: str = "inline", group_size: int | None = None, dry_run: bool = False,
    unsafe: bool = False, places: Path | None = None,
) -> None:  # fmt: skip
    from bakeoff.study.load import load

    study = load(name, settings or (), limit, places)
    quiet_libraries()
    from bakeoff.run.run import execute, prepare

    job = prepare(study, out, engine=engine, executor=executor, group_size=group_size)
    _spare(name, study, job.store.directory / "study.yaml")
    if dry_run:
        _show_plan(job.plan)
        console.print(f"  disk: {job.need}", soft_wrap=True)
        for note in job.notes:
            console.print(note, soft_wrap=True)
        return
    from bakeoff.run.watch import Watch

    try:
        with Watch(console) as watch:
            outcome = execute(job, watch, unsafe_no_sandbox=unsafe)
    except KeyboardInterrupt:
        done = f"`bakeoff report {job.store.directory}` shows them"
        kept = f"Finished trials are kept ({done}), and how far the others came"
        with suppress(OSError, SystemExit):  # its reader may be gone: the same Ctrl-C ends a `| tee`
            console.print(f"{kept}; run the same command again to go on.", soft_wrap=True)
        raise
    _close(study, outcome)


def _spare(name: str, study: Study, kept: Path) -> None:
    """InputError where the study file itself is what a run would rewrite, to something else."""
    from bakeoff.study.load import dump

    if os.path.isfile(name) and kept.is_file() and kept.samefile(name) and kept.read_text("utf-8") != dump(study):
        raise InputError("--out", f"{kept} is the study file itself and would be rewritten", "give another directory")


def _close(study: Study, outcome: Outcome) -> None:
    show_table(outcome.store.directory)
    trained = f"{outcome.ran} trials run" if outcome.ran else "nothing left to run"
    kept = f", {outcome.kept} kept from before" if outcome.kept else ""
    console.print(f"{study.study}: {trained}{kept}. Read {outcome.store.directory / 'report.html'}", highlight=False)
    alike: dict[tuple[str, str], list[str]] = {}  # trials that ended in the same way: the reason is said once
    for record in outcome.failed:
        alike.setdefault((record.status, str(record.reason)), []).append(record.trial.label())
    for (status, reason), labels in alike.items():
        console.print(f"{status}: {', '.join(labels)}: {reason}", markup=False, highlight=False)
    if outcome.paused:
        console.print(outcome.paused, soft_wrap=True)
    if outcome.failed or outcome.paused:
        raise typer.Exit(1)


def _show_plan(made: Plan) -> None:
    from bakeoff.analysis.sentences import ASSUMED
    from bakeoff.run.plan import told_of_tuning

    trials, groups = made.trials, made.groups
    known = sum(len(stage) for stage in made.stages)
    console.print(
        f"{made.study.study}: {known} trials in {len(groups)} groups of up to {made.group_size} on {made.device}"
    )
    if made.rounds:
        console.print(f"  {told_of_tuning(made)}", soft_wrap=True)
        for name, spec in made.study.methods.items():
            if spec.rates:
                console.print(f"    {name}: {', '.join(f'{rate:g}' for rate in spec.rates)}", soft_wrap=True)
    for name in made.examples:
        console.print(f"  {name}: {made.told(name)}", soft_wrap=True)
        for line in made.told_of_data(name):
            console.print(f"    {line}", soft_wrap=True)
    detectable = [line for name in made.examples for line in made.detectable(name)]
    for line in [f"  detectable on {one}" for one in detectable] + ([f"  {ASSUMED}"] if detectable else []):
        console.print(line, soft_wrap=True)
    table = Table("model", "method", "trainable", "of all", "trials", box=None, pad_edge=False)
    for (model, method), count in made.parameters.items():
        own = [t for t in trials if (t.model, t.method) == (model, method)]
        total = made.backbones[model].parameters() + (0 if _solo(made, method) else count)
        table.add_row(model, method, f"{count:,}", f"{100 * count / total:.4f} %", str(len(own)))
    console.print(table)


def _solo(made: Plan, method: str) -> bool:
    """Whether the method trains the base's own weights, so that it adds none."""
    from bakeoff.study import registry

    return registry.find("methods", made.study.methods[method].use, method).solo
