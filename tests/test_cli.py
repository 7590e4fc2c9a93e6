"""The command line: what is printed, how it exits, and that bad input writes nothing."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn
from rich.table import Table
from synthetic_store import bernoulli, make_store

from bakeoff.cli import main
from bakeoff.cli.app import Screen
from bakeoff.run.watch import Watch

SHORT = """
study: short
models: {nano: {path: NANO}}
tasks: [{use: mini_sentiment, train_limit: 16, test_limit: 8}]
methods:
  base: {use: base}
  lora: {use: lora, r: 2, target_modules: [query, value]}
training: {learning_rate: 1e-3, per_device_train_batch_size: 4, max_steps: 2}
seeds: [0]
"""


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    import bakeoff.nano

    monkeypatch.chdir(tmp_path)
    nano = Path(bakeoff.nano.__file__).parent
    (tmp_path / "short.yaml").write_text(SHORT.replace("NANO", str(nano)))
    return tmp_path


def call(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bakeoff", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


def test_a_run_its_repetition_and_its_report(here, monkeypatch, capsys):
    assert call(monkeypatch, "run", "short.yaml") == 0
    out = capsys.readouterr().out
    assert "lora" in out and "runs/short/report.html" in out.replace("\n", "")
    assert re.search(r"^1 of 2 trials, 0:\d\d: mini_sentiment/", out, re.MULTILINE)  # what a log gets, not a terminal
    assert re.search(r"^2 of 2 trials, ", out, re.MULTILINE)
    assert call(monkeypatch, "run", "short.yaml") == 0
    assert "nothing left to run" in capsys.readouterr().out
    assert call(monkeypatch, "status", "runs/short") == 0
    assert "2 done" in capsys.readouterr().out
    (here / "runs/short/report.html").unlink()
    assert call(monkeypatch, "report", "runs/short", "--format", "html") == 0
    assert (here / "runs/short/report.html").is_file()


def test_several_studies_are_summed_up_and_their_own_reports_left_alone(here, monkeypatch, capsys):
    for name in ("first", "second"):
        make_store(here / name, bernoulli({"base": 0.4, "lora": 0.9, "prompt": 0.6}, 120), study=name)
    assert call(monkeypatch, "report", "first", "second") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "first: lora beats every other ranked method" in shown and "second: lora beats" in shown
    assert "wrote" not in shown and not (here / "first" / "report.html").exists()
    assert call(monkeypatch, "report", "first", "second", "first/") == 2
    assert "one study is given twice" in capsys.readouterr().err
    assert call(monkeypatch, "report", "first", "second", "--out", "both", "--format", "md,json") == 0
    assert sorted(path.name for path in (here / "both").iterdir()) == ["summary.json", "summary.md"]
    assert call(monkeypatch, "report", "first", "nowhere", "--out", "neither") == 2
    assert not (here / "neither").exists()
    assert call(monkeypatch, "report", "first", "--out", "short.yaml") == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == "error: --out: short.yaml cannot be written to (File exists); give another directory"
    (here / "theirs").write_text("theirs")
    (here / "linked").mkdir()
    (here / "linked" / f".summary.md.{os.getpid()}.partial").symlink_to(here / "theirs")
    assert call(monkeypatch, "report", "first", "--out", "linked", "--format", "md") == 0
    assert [path.name for path in (here / "linked").iterdir()] == ["summary.md"]
    assert (here / "theirs").read_text() == "theirs"


def test_one_file_says_where_the_model_lies(here, monkeypatch, capsys):
    (here / "places.yaml").write_text((here / "short.yaml").read_text().split("\n")[2] + "\n")
    (here / "short.yaml").write_text(SHORT.replace("NANO", "owner/absent"))
    assert call(monkeypatch, "plan", "short.yaml", "--from", "places.yaml", "--set", "seeds=[0, 1, 2]") == 0
    told = capsys.readouterr().out.replace("\N{NO-BREAK SPACE}", " ")
    assert "4 trials in 2 groups" in told
    assert (
        "detectable on mini_sentiment, n = 8 items, k = 3 seeds each: " in told and "at a seed SD of 2.5 points" in told
    )
    assert call(monkeypatch, "plan", "short.yaml", "--from", "place.yaml") == 2
    assert "place.yaml: cannot be read" in capsys.readouterr().err


def test_a_diverged_trial_is_named_and_the_run_exits_1(here, monkeypatch, capsys):
    diverging = ("run", "short.yaml", "--set", "training.learning_rate=1e30", "--set", "training.max_grad_norm=0")
    for _ in range(2):
        assert call(monkeypatch, *diverging) == 1
        assert "diverged: mini_sentiment/lora/seed 0: the loss was" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(here, monkeypatch, capsys):
    assert call(monkeypatch, "run", "short.yaml", "--dry-run") == 0
    assert "2 trials in 2 groups" in capsys.readouterr().out
    assert call(monkeypatch, "plan", "short.yaml") == 0
    assert [path.name for path in here.iterdir()] == ["short.yaml"]


def test_swept_names_are_shown_whole(here, monkeypatch, capsys):
    """`[r=4]` is part of a name and no markup, in the plan and in the progress bars."""
    assert call(monkeypatch, "plan", "short.yaml", "--set", "methods.lora.r={sweep: [2, 4]}") == 0
    shown = capsys.readouterr().out
    assert "lora[r=2]" in shown and "lora[r=4]" in shown
    told = io.StringIO()
    with Watch(Console(file=told, force_terminal=True, width=160)) as watch:
        watch.start(2, 0)
        watch._bars.update(watch._steps, description="sst2 lora[r=4]", visible=True)
    assert "sst2 lora[r=4]" in told.getvalue()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "short.yaml", "--set", "method.lora.r=2"], "error: method: unknown key; did you mean 'methods'?"),
        (["run", "short.yaml", "--set", "methods.lora.rank=2"], "error: methods.lora.rank: unknown key"),
        (["run", "short.yaml", "--set", "methods.lora.use=lorra"], "unknown method 'lorra'; did you mean 'lora'?"),
        (["run", "short.yaml", "--set", "models.nano.path=./absent"], "error: models.nano.path: no directory at"),
        (["run", "short.yaml", "--set", "models.nano.path=owner/absent"], "error: models.nano.path: 'owner/absent'"),
        (["run", "short.yaml", "--set", "methods.lora.target_modules=[qq]"], "'qq' matches none of"),
        (["run", "short.yml"], "error: short.yml: no such study file"),
        (["run", "short.yaml", "--engine", "lane"], "error: --engine: unknown 'lane'; did you mean 'lanes'?"),
        (["run", "short.yaml", "--executor", "rey"], "error: --executor: unknown 'rey'; did you mean 'ray'?"),
        (
            ["run", "short.yaml", "--engine", "foo", "--dry-run"],
            "error: --engine: unknown 'foo'; accepted: auto, lanes",
        ),
        (["run", "short.yaml", "--executor", "spark", "--dry-run"], "error: --executor: unknown 'spark'; accepted: "),
        (
            ["run", "short.yaml", "--group-size", "0", "--dry-run"],
            "error: --group-size: '0' is no whole number; give 1 or more",
        ),
        (["plan", "short.yaml", "--group-size", "-2"], "error: --group-size: '-2' is no whole number; give 1 or more"),
        (["run", "short.yaml", "--out", "short.yaml"], "short.yaml is a file, not a directory; give another directory"),
        (["run", "short.yaml", "--out", "short.yaml", "--dry-run"], "short.yaml is a file, not a directory"),
        (["run", "short.yaml", "--out", "short.yaml/sub"], "short.yaml is a file, not a directory"),
        (["run", "short.yaml", "--out", "/proc/x"], "error: --out: /proc/x cannot be written to (No such file or dir"),
        (["run", "short.yaml", "--out", ""], "error: --out: is empty; name a directory"),
        (["quickstart", "--out", ""], "error: --out: is empty; name a directory"),
        (["report", "nowhere"], "error: nowhere: no study's results here"),
        (["list", "method"], "unknown 'method'; did you mean 'methods'?"),
    ],
)
def test_bad_input_is_one_line_exit_2_and_nothing_written(here, monkeypatch, capsys, arguments, said):
    assert call(monkeypatch, *arguments) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.count("\n") == 1 and "Traceback" not in printed.err + printed.out
    assert [path.name for path in here.iterdir()] == ["short.yaml"]


@pytest.mark.parametrize("name", ["study.yaml", "report.html", "cells.csv", "staging/mine.txt"])
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_files_that_are_no_runs_are_not_overwritten(here, monkeypatch, capsys, name, dry):
    """A first run into a directory where one of its names is taken, the study file itself among them."""
    mine = here / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text((here / "short.yaml").read_text())
    assert call(monkeypatch, "run", str(mine), "--out", ".", *dry) == 2
    assert f"holds a {name.split('/')[0]} that is no run's" in capsys.readouterr().err
    assert mine.read_text() == (here / "short.yaml").read_text()
    assert {path.name for path in here.iterdir()} == {"short.yaml", name.split("/")[0]}


def test_another_study_is_not_replaced(here, monkeypatch, capsys):
    assert call(monkeypatch, "run", "short.yaml", "--out", "out") == 0
    before = {path: path.read_bytes() for path in (here / "out").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert call(monkeypatch, "run", "short.yaml", "--out", "out", "--set", "study=other") == 2
    assert "--out: out holds the study 'short', not 'other'; give another directory" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (here / "out").rglob("*") if path.is_file()} == before
    assert call(monkeypatch, "run", "out/study.yaml", "--out", "out") == 0  # what a run kept can be run again
    kept = here / "out" / "study.yaml"
    for text, settings in ((kept.read_text(), ["--set", "seeds=[0, 1]"]), ("# mine\n" + kept.read_text(), [])):
        kept.write_text(text)
        capsys.readouterr()
        assert call(monkeypatch, "run", "out/study.yaml", "--out", "out", *settings) == 2
        assert "out/study.yaml is the study file itself and would be rewritten" in capsys.readouterr().err
        assert kept.read_text() == text


def test_usage_errors_exit_2(here, monkeypatch, capsys):
    assert call(monkeypatch, "run", "short.yaml", "--no-such-option") == 2
    for arguments, said in (
        (["run", "short.yaml", "--no-such-option"], "error: bakeoff run: no such option: --no-such-option"),
        (["run", "short.yaml", "--limit", "0"], "error: --limit: '0' is no whole number; give 1 or more"),
        (["run", "short.yaml", "--limit", "ten"], "error: --limit: 'ten' is no whole number; give 1 or more"),
        (["compare", "--table", "t.csv", "--margin", "abc"], "error: --margin: 'abc' is no number above 0; give one"),
        (["plan"], "error: bakeoff plan: missing argument 'STUDY'; `bakeoff plan --help` says what is accepted"),
    ):
        capsys.readouterr()
        assert call(monkeypatch, *arguments) == 2
        told = capsys.readouterr().err
        assert said in told and told.count("\n") == 1


def test_an_interrupt_exits_130(here, monkeypatch, capsys):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bakeoff.run.run.execute", interrupted)
    assert call(monkeypatch, "run", "short.yaml") == 130
    told = capsys.readouterr().out
    assert "`bakeoff report runs/short` shows them" in told and "run the same command again" in told


def test_help_lists_and_version(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert call(monkeypatch, "--help") == 0
    told = capsys.readouterr().out
    assert "..." not in told.split("Commands:")[1]  # a command's first line fits behind its name
    assert all(command in told for command in ("quickstart", "run", "plan", "status", "report", "list"))
    for command in re.findall(r"^  ([\w-]+) ", told.split("Commands:")[1], re.MULTILINE):
        assert call(monkeypatch, command, "--help") == 0
        assert not re.search(r"[{}<]|x>=", capsys.readouterr().out.replace("runs/<study>", "")), command
    for what, name in (("methods", "prefix_tuning"), ("tasks", "sst2"), ("studies", "quickstart")):
        assert call(monkeypatch, "list", what) == 0
        assert re.search(rf"^{name} +\w", capsys.readouterr().out, re.MULTILINE)  # its name, and what it is
    assert call(monkeypatch, "--version") == 0
    assert "bakeoff 0." in capsys.readouterr().out


def test_reports_open_without_torch():
    """`report`, `status` and `list` work where torch is absent."""
    import subprocess

    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        "import bakeoff.cli.commands, bakeoff.report, bakeoff.analysis.table, bakeoff.study.load as load\n"
        "from bakeoff.study import registry\n"
        "assert load.builtin_names() and [registry.find('methods', n, n) for n in registry.names('methods')]\n"
        "load.load('quickstart')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("code", ["\x1b[2J", "\x1b]0;title\x07", "\x9b2J", "\u202e"])
def test_no_terminal_obeys_what_a_name_holds(code):
    """Whatever draws it: a line, a table, a bar; what the program itself says to the terminal is left."""
    file = io.StringIO()
    screen = Screen(file=file, force_terminal=True, width=80)
    table = Table(f"head{code}")
    table.add_row(f"row{code}")
    screen.print(f"line{code}", style="bold")
    screen.print(table)
    with Progress(TextColumn("{task.description}"), console=screen) as bars:
        bars.add_task(f"bar{code}")
    told = file.getvalue()
    assert re.search(r"\x1b\[1mline\\[xu]", told)
    for name in ("line", "head", "row", "bar"):  # a cell may be too narrow for what is spelled
        assert name in told and f"{name}{code}" not in told
