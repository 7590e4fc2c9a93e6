"""Studies, run: quickstart, run, plan, status."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
def status(directory: Directory) -> None:
    """Count a study's finished, failed and missing trials."""
    from bakeoff.store.store import Store

    store = Store.open(directory)
    plan = store.plan()
    tuning = (plan.get("tuning") or {}).get("trials", [])
    trials = [*tuning, *plan["trials"]]
    states = [store.record(trial["key"]).status if store.has(trial["key"]) else "missing" for trial in trials]
    console.print(
        f"{directory}: "
        + ", ".join(f"{states.count(s)} {s}" for s in ("done", "diverged", "failed", "missing") if s in states)
    )
    if tuning:
        left = "they are chosen" if plan["tuning"]["decided"] else "not all have run"
        console.print(f"  {len(tuning)} of them choose learning rates on held-out training examples; {left}")
    for trial, state in zip(trials, states, strict=True):
        if state in ("failed", "diverged"):
            seed = "" if trial["seed"] is None else f"/seed {trial['seed']}"
            console.print(
                f"  {state}: {trial['task']}/{trial['method']}{seed}: {store.record(trial['key']).reason}", markup=False
            )


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
        for note in job.notes:
            console.print(note)
        return
    from bakeoff.run.watch import Watch

    try:
        with Watch(console) as watch:
            outcome = execute(job, watch, unsafe_no_sandbox=unsafe)
    except KeyboardInterrupt:
        done = f"`bakeoff report {job.store.directory}` shows them"
        console.print(f"Finished trials are kept ({done}); run the same command again to go on.", soft_wrap=True)
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
    if outcome.failed:
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
