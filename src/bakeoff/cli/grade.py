"""Graders for anybody's JSON lines: grade-code, grade-math."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bakeoff.cli.app import Screen, Unsafe, app, console, positive, whole


@app.command("grade-code")
def grade_code(
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="Rows in HumanEval's form or MBPP's.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="OUT", help="The rows with verdicts (default: FILE.graded.jsonl).")
    ] = None,
    k: Annotated[str, typer.Option("--k", metavar="K,...", help="Which pass@k to print, as 1,5.")] = "1",
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", parser=positive("--timeout", "3"), metavar="S", help="Seconds for a completion's tests."
        ),
    ] = 3.0,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", parser=whole("--jobs"), metavar="N", help="Completions at a time (default: one a CPU)."),
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
            Screen(stderr=True, soft_wrap=True).print(grader.note, style="bold red")
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
        int | None,
        typer.Option("--jobs", parser=whole("--jobs"), metavar="N", help="Formulas at a time (default: one a CPU)."),
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
    with Progress(console=Screen(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars:
        bar = bars.add_task("judging", total=len(asked.rows))
        found = graded.grade(asked, jobs, not without_math_verify, done=lambda: bars.advance(bar))
    for line in graded.report(found):
        console.print(line, soft_wrap=True)
