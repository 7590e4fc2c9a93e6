"""The command line: prints and exits, nothing else."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bakeoff import __version__
from bakeoff.errors import BakeoffError, InputError, suggest

if TYPE_CHECKING:
    from bakeoff.analysis.audit import Audit
    from bakeoff.run.plan import Plan
    from bakeoff.run.run import Outcome
    from bakeoff.store.store import Store
    from bakeoff.study.spec import Study
    from bakeoff.use.ledger import Entry

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Which fine-tuning method for this model, this task and this budget? A controlled comparison, with evidence.",
)
console = Console(markup=False, emoji=False, highlight=False)  # names and paths are shown as they are: `lora[r=4]`

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="A study file, or a built-in study's name.")]
Directory = Annotated[Path, typer.Argument(metavar="DIR", help="A directory that `bakeoff run` wrote.")]
TrialName = Annotated[
    str, typer.Argument(metavar="TRIAL", help="task/method/seed 0, or a trial's key or the start of one.")
]
Out = Annotated[str | None, typer.Option("--out", metavar="DIR", help="Where results go (default: runs/<study>).")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the study, e.g. training.max_steps=20.")
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="At most N training and N test examples per task.")
]
From = Annotated[
    Path | None,
    typer.Option("--from", metavar="FILE", help="Where models and data lie here: `models:` and `data:` in YAML."),
]
Engine = Annotated[str, typer.Option("--engine", help="auto, lanes or reference.")]
Executor = Annotated[str, typer.Option("--executor", help="Where groups run: inline.")]
Unsafe = Annotated[
    bool, typer.Option("--unsafe-no-sandbox", help="Run model-written code as you, unprotected; reports say so.")
]
GroupSize = Annotated[
    int | None,
    typer.Option("--group-size", metavar="N", help="Trials that share a pass (default: by device and model)."),
]


def main() -> None:
    """The `bakeoff` program. Exit codes: 0 done, 1 some trials failed or diverged, 2 bad input, 130 interrupted."""
    command: Any = typer.main.get_command(app)
    try:
        code = command.main(standalone_mode=False)
    except BakeoffError as error:
        Console(stderr=True, soft_wrap=True, markup=False, emoji=False, highlight=False).print(f"error: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        code = _shown_by_typer(error)
    if code == 130:
        print("Interrupted.", file=sys.stderr)
    sys.exit(code or 0)


def _shown_by_typer(error: Exception) -> int:
    """Usage errors and exits that typer raises; anything else flies on, it is a defect."""
    if type(error).__name__ == "Abort":
        return 130
    if hasattr(error, "show") and hasattr(error, "exit_code"):
        error.show()  # pyright: ignore[reportAttributeAccessIssue]
        return int(error.exit_code)  # pyright: ignore[reportAttributeAccessIssue]
    if hasattr(error, "exit_code"):
        return int(error.exit_code)  # pyright: ignore[reportAttributeAccessIssue]
    raise error


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        console.print(f"bakeoff {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        console.print(context.get_help())


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
    trials = store.plan()["trials"]
    states = [store.record(trial["key"]).status if store.has(trial["key"]) else "missing" for trial in trials]
    console.print(
        f"{directory}: "
        + ", ".join(f"{states.count(s)} {s}" for s in ("done", "diverged", "failed", "missing") if s in states)
    )
    for trial, state in zip(trials, states, strict=True):
        if state in ("failed", "diverged"):
            seed = "" if trial["seed"] is None else f"/seed {trial['seed']}"
            console.print(
                f"  {state}: {trial['task']}/{trial['method']}{seed}: {store.record(trial['key']).reason}", markup=False
            )


@app.command()
def report(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Directories that `bakeoff run` wrote.")],
    format_: Annotated[str, typer.Option("--format", help="Which files, of html, md, json, csv.")] = "html,md,json,csv",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="OUT", help="Where a summary of several studies is written.")
    ] = None,
) -> None:
    """Write a study's report anew, and show its table.

    Of several studies a summary: what is best where. From what is stored; needs no torch.
    """
    from bakeoff.report import write
    from bakeoff.store.store import Store

    stores, formats = [Store.open(directory) for directory in directories], tuple(format_.split(","))
    if len({store.directory.resolve() for store in stores}) < len(stores):
        raise InputError("DIR", "one study is given twice")
    if len(stores) > 1 or out:
        _summary(stores, formats, out)
        return
    paths = write(stores[0], formats)
    _table(stores[0].directory)
    for path in paths:
        console.print(f"wrote {path}", highlight=False)


@app.command()
def export(
    directory: Directory,
    trial: TrialName,
    to: Annotated[str, typer.Option("--to", help="peft or merged.")],
    out: Annotated[Path, typer.Option("--out", metavar="OUT", help="A new directory.")],
) -> None:
    """Write a trial's model for others, and check its answers.

    As PEFT adapters, or merged into one Hugging Face model.
    """
    from bakeoff.store.store import Store

    store = Store.open(directory)
    _quiet_libraries()
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
        typer.Option("--max-new-tokens", min=1, metavar="N", help="The longest answer (default: the task's)."),
    ] = None,
) -> None:
    """Talk to a trial's model.

    Each text is a user's turn of the trial's task, and is answered by itself.
    """
    from bakeoff.store.store import Store

    store = Store.open(directory)
    _quiet_libraries()
    from bakeoff.use.chat import asked, talk
    from bakeoff.use.trial import open_trial

    opened = open_trial(store, trial)
    reply = talk(opened, max_new_tokens)
    aside = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True, style="dim")
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


@app.command("grade-code")
def grade_code(
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="Rows in HumanEval's form or MBPP's.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="OUT", help="The rows with verdicts (default: FILE.graded.jsonl).")
    ] = None,
    k: Annotated[str, typer.Option("--k", metavar="K,...", help="Which pass@k to print, as 1,5.")] = "1",
    timeout: Annotated[float, typer.Option("--timeout", metavar="S", help="Seconds for a completion's tests.")] = 3.0,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, metavar="N", help="Completions at a time (default: one a CPU).")
    ] = None,
    also_official_semantics: Annotated[
        bool, typer.Option("--also-official-semantics", help="Also judge in one namespace, and list the differences.")
    ] = False,
    unsafe_no_sandbox: Unsafe = False,
) -> None:
    """Judge completions by their tests, sandboxed.

    Anybody's JSON lines, with task_id, prompt, completion, test, entry_point: writes verdicts and prints pass@k.
    """
    from bakeoff.grading.code import file as graded

    asked = graded.ask(file, out, k, timeout)
    with graded.grader(jobs, timeout, unsafe_no_sandbox) as grader:
        if grader.note:
            Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print(grader.note, style="bold red")
        found = graded.grade(asked, grader, also_official_semantics)
    for line in graded.told(found):
        console.print(line, soft_wrap=True)


@app.command("grade-math")
def grade_math(
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="Rows with `gold` and `pred`.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="OUT", help="The rows with verdicts (default: FILE.graded.jsonl).")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, metavar="N", help="Formulas at a time (default: one a CPU).")
    ] = None,
    without_math_verify: Annotated[
        bool, typer.Option("--without-math-verify", help="Leave formulas ungraded; only numbers and text are judged.")
    ] = False,
) -> None:
    """Judge mathematical answers against gold.

    Anybody's JSON lines: writes equal, wrong or ungraded, and which stage decided.
    """
    from rich.progress import Progress

    from bakeoff.grading import math_file as graded

    asked = graded.ask(file, out)
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars:
        bar = bars.add_task("judging", total=len(asked.rows))
        found = graded.grade(asked, jobs, not without_math_verify, done=lambda: bars.advance(bar))
    for line in graded.report(found):
        console.print(line, soft_wrap=True)


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
    cases: Annotated[list[str] | None, typer.Argument(metavar="[CASE]...", help="Which cases (default: all).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    repeats: Annotated[
        int | None, typer.Option("--repeats", min=1, metavar="N", help="Pairs of each case (default: its own number).")
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
    _quiet_libraries()
    from bakeoff.bench.cases import describe, named, prepare
    from bakeoff.bench.inputs import inputs
    from bakeoff.bench.measure import machine
    from bakeoff.bench.show import Page, head, line, payload, text

    wanted, given, about = named(cases or ()), inputs(model or (), data or (), from_), machine()
    page = Page(out) if out else None
    told = Console(stderr=as_json, markup=False, emoji=False, highlight=False, soft_wrap=True)
    ready = [prepare(name, given, repeats) for name in wanted]  # what is absent is said before anything is timed
    found = []
    for said in head(payload(found, wanted, given, about)):
        told.print(said)
    try:
        for number, (name, run) in enumerate(zip(wanted, ready, strict=True), 1):
            told.print(f"{number} of {len(wanted)}: {describe(name)}")
            found.append(run())
            told.print(line(found[-1]))
            if page:
                page.write(payload(found, wanted, given, about))
    finally:  # a run that is cut short says what it has
        if as_json:
            print(text(payload(found, wanted, given, about)))
    if other := [one.name for one in found if not one.same]:
        told.print(f"error: the engines do not compute the same: {', '.join(other)}")
        raise typer.Exit(1)


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
    _quiet_libraries()
    from bakeoff.use.paper import audit_paper

    return audit_paper(data)


def _audit_study(study: str, settings: Sequence[str], places: Path | None) -> None:
    from bakeoff.study.load import load

    asked = load(study, settings, places=places)
    _quiet_libraries()
    from bakeoff.use.ledger import audit as entries

    wrong = 0
    for number, entry in enumerate(entries(asked)):
        if number:
            console.print()
        _show_entry(entry)
        wrong += bool(entry.wrong)
    if wrong:
        raise typer.Exit(1)


@app.command("list")
def list_(what: Annotated[str, typer.Argument(metavar="methods|tasks|studies")]) -> None:
    """Name the methods, tasks or built-in studies there are."""
    from bakeoff.study import registry
    from bakeoff.study.load import builtin_names

    if what not in ("methods", "tasks", "studies"):
        raise InputError("list", f"unknown '{what}'", suggest(what, ("methods", "tasks", "studies")))
    if what == "studies":
        for name in builtin_names():
            console.print(name)
        return
    table = Table("name", "what it is", box=None, pad_edge=False)
    for name in registry.names("methods" if what == "methods" else "tasks"):
        table.add_row(name, registry.find("methods" if what == "methods" else "tasks", name, name).summary)
    console.print(table)


def _run(
    name: str, out: str | None, settings: Sequence[str] | None, limit: int | None,
    engine: str = "auto", executor: str = "inline", group_size: int | None = None, dry_run: bool = False,
    unsafe: bool = False, places: Path | None = None,
) -> None:  # fmt: skip
    from bakeoff.study.load import load

    study = load(name, settings or (), limit, places)
    _quiet_libraries()
    from bakeoff.run.run import execute, prepare

    job = prepare(study, out, engine=engine, executor=executor, group_size=group_size)
    _spare(name, study, job.store.directory / "study.yaml")
    if dry_run:
        _show_plan(job.plan)
        if job.note:
            console.print(job.note)
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


def _summary(stores: Sequence[Store], formats: Sequence[str], out: Path | None) -> None:
    """Several studies in one table; files only where `out` says so."""
    from bakeoff.analysis.summary import summarise
    from bakeoff.analysis.table import results
    from bakeoff.report import summary

    found = summarise([results(store) for store in stores])
    paths = summary.write(found, out, formats) if out else []
    console.print(summary.terminal(found))
    for path in paths:
        console.print(f"wrote {path}", highlight=False)


def _spare(name: str, study: Study, kept: Path) -> None:
    """InputError where the study file itself is what a run would rewrite, to something else."""
    from bakeoff.study.load import dump

    if os.path.isfile(name) and kept.is_file() and kept.samefile(name) and kept.read_text("utf-8") != dump(study):
        raise InputError("--out", f"{kept} is the study file itself and would be rewritten", "give another directory")


def _close(study: Study, outcome: Outcome) -> None:
    _table(outcome.store.directory)
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


def _table(directory: Path) -> None:
    import bakeoff
    from bakeoff.report.terminal import table

    console.print(table(bakeoff.open(directory)))


def _show_plan(made: Plan) -> None:
    trials, groups = made.trials, made.groups
    console.print(
        f"{made.study.study}: {len(trials)} trials in {len(groups)} groups of up to {made.group_size} on {made.device}"
    )
    for name in made.examples:
        console.print(f"  {name}: {made.told(name)}", soft_wrap=True)
        for line in made.told_of_data(name):
            console.print(f"    {line}", soft_wrap=True)
    table = Table("model", "method", "trainable", "of all", "trials", box=None, pad_edge=False)
    for (model, method), count in made.parameters.items():
        own = [t for t in trials if (t.model, t.method) == (model, method)]
        total = made.backbones[model].parameters() + (0 if _solo(made, method) else count)
        table.add_row(model, method, f"{count:,}", f"{100 * count / total:.4f} %", str(len(own)))
    console.print(table)


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


def _prompted() -> Iterator[str]:
    """The lines of stdin, asked for where a person types them."""
    while True:
        try:
            yield input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return


def _solo(made: Plan, method: str) -> bool:
    """Whether the method trains the base's own weights, so that it adds none."""
    from bakeoff.study import registry

    return registry.find("methods", made.study.methods[method].use, method).solo


def _quiet_libraries() -> None:
    """Silence what Hugging Face's libraries print about themselves."""
    warnings.filterwarnings("ignore", module=r"(transformers|peft|huggingface_hub|torch)\b.*")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # each try of a hub that is out of reach
    from huggingface_hub.utils import disable_progress_bars
    from transformers.utils import logging as chatter

    disable_progress_bars()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
