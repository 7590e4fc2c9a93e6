"""The program as a process: stopped by a signal, started in no directory, its reader gone, no room for what it says."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from synthetic_store import bernoulli, make_store

from bakeoff.cli.commands import app
from bakeoff.store.store import Store

COMMANDS = sorted(typer.main.get_command(app).commands)  # pyright: ignore[reportAttributeAccessIssue]
SIGNALS = (signal.SIGINT, signal.SIGTERM)
PROGRAM = "from bakeoff.cli import main; main()"
HEARD = """
from bakeoff.cli import program
listen = program.listen
program.listen = lambda handler: print("heard", flush=True) if listen(handler) else None
program.main()
"""
STUDY = """study: short
models: {nano: {path: NANO}}
tasks: [{use: mini_sentiment, train_limit: 8, test_limit: 4}]
methods: {lora: {use: lora, r: 2, target_modules: [query, value]}}
training: {learning_rate: 1e-3, per_device_train_batch_size: 4, max_steps: 2}
seeds: [0]
"""
LORA = "mini_sentiment/lora/seed 0"
PRINTING: dict[str, Sequence[str]] = {
    "status": ["made"],
    "verify": ["made"],
    "report": ["made"],
    "compare": ["made", "base", "lora", "--json"],
    "recommend": ["made", "--json"],
    "audit": ["--table", "printed.csv", "--json"],
    "grade-code": ["code.jsonl"],
    "grade-math": ["math.jsonl"],
    "list": ["methods"],
    "doctor": [],
}
TRAINING: dict[str, Sequence[str]] = {  # what loads torch, and so takes its time
    "plan": ["short.yaml"],
    "run": ["short.yaml", "--out", "new"],
    "quickstart": ["--limit", "4", "--set", "methods={base: {use: base}}", "--set", "seeds=[0]"],
    "export": ["run", LORA, "--to", "peft", "--out", "exported"],
    "try": ["run", LORA, "A good film."],
    "bench": ["train/stories3m/sst2", "--repeats", "1"],
}


def environment() -> dict[str, str]:
    """One in which Python keeps what is printed until it is much, as it does unless told otherwise."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}


def program(folder: Path, *arguments: str, code: str = PROGRAM, **how: Any) -> subprocess.Popen[str]:
    """The program in a directory."""
    usual: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=environment(), text=True, **usual | how
    )


@pytest.fixture
def here(tmp_path) -> Path:
    """A directory in which each command has something to work on."""
    import bakeoff.nano

    (tmp_path / "short.yaml").write_text(STUDY.replace("NANO", str(Path(bakeoff.nano.__file__).parent)))
    make_store(tmp_path / "made", bernoulli({"base": 0.4, "lora": 0.9, "prompt": 0.6}, 20))
    (tmp_path / "printed.csv").write_text("task,benchmark,method,metric,value\nt,t,a,accuracy,0.5\n")
    (tmp_path / "math.jsonl").write_text('{"gold": "1", "pred": "1"}\n')
    (tmp_path / "code.jsonl").write_text(
        '{"task_id": "t", "prompt": "def f(x):\\n", "completion": "    return x\\n", "entry_point": "f", '
        '"test": "def check(candidate):\\n    assert candidate(1) == 1\\n"}\n'
    )
    return tmp_path


# --- signals ---


def stopped(process: subprocess.Popen[str], number: int) -> None:
    """It ends as promised."""
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "Interrupted.\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_that_waits_ends_at_once(here, number):
    with Store(here / "made").lock():
        process = program(here, "status", "made", "--follow")
        assert process.stdout and process.stdout.readline().startswith("made: ")
        stopped(process, number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_whose_modules_are_loaded_ends_at_once(here, number):
    code = f"""
import sys
class Told:
    def find_spec(name, path=None, target=None):
        if name == "typer":
            print("loading", flush=True)
sys.meta_path.insert(0, Told)
{PROGRAM}
"""
    process = program(here, "list", "methods", code=code)
    assert process.stdout and process.stdout.readline() == "loading\n"
    stopped(process, number)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plan", "audit"])
def test_a_command_ends_wherever_a_signal_finds_it(here, command):
    """Planning loads torch and builds models, in whose calls from C++ no exception may be raised."""
    started = time.monotonic()
    assert program(here, command, "short.yaml").wait() == 0
    took, ended = time.monotonic() - started, []
    for n in range(16):
        process = program(here, command, "short.yaml", code=HEARD)
        assert process.stdout and process.stdout.readline() == "heard\n"
        time.sleep(took * n / 20)
        process.send_signal(SIGNALS[n % 2])
        err = process.communicate(timeout=60)[1]
        ended.append((process.returncode, err))
    whole, stopped = (0, ""), (130, "Interrupted.\n")  # the machine may be quicker by then
    assert set(ended) <= {whole, stopped} and set(ended[:4]) == {stopped}
    assert not (here / "runs").exists()


def test_a_run_whose_reader_the_same_signal_ends_is_interrupted_too(here):
    """As `bakeoff run | tee` is."""
    code = f"""
import os, signal
from bakeoff.run.interrupt import Interrupt
check = Interrupt.check
def struck(self):
    if not self.asked:
        os.kill(os.getpid(), signal.SIGINT)
    check(self)
Interrupt.check = struck
{PROGRAM}
"""
    reader, writer = os.pipe()
    os.close(reader)
    process = program(here, "run", "short.yaml", "--out", "out", code=code, stdout=writer)
    os.close(writer)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err.splitlines()[-1]) == (130, "Interrupted.")


def test_a_signal_that_is_ignored_stays_so(here):
    with Store(here / "made").lock():
        process = program(
            here, "status", "made", "--follow", preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)
        )
        assert process.stdout and process.stdout.readline().startswith("made: ")
        process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[1] == "" and process.returncode == 0


def test_what_is_to_be_done_lastly_is_done_wherever_the_signal_comes(tmp_path):
    """In a `__del__` too, where an exception would be lost; a second signal does not wait for it."""
    code = """
import os, signal, sys, time
from bakeoff.run.interrupt import Stop, lastly, listen
listen(Stop())
class Held:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
with lastly(lambda: print("cleared")), lastly(lambda: 1 / 0), lastly(lambda: sys.argv[1:] and Held()):
    Held()
    print("went on")
"""
    for arguments, out in (([], "cleared\n"), (["twice"], "")):
        process = program(tmp_path, *arguments, code=code)
        assert (*process.communicate(timeout=60), process.returncode) == (out, "Interrupted.\n" if out else "", 130)


def test_an_export_that_is_stopped_leaves_nothing(tmp_path):
    from bakeoff.run.interrupt import Stop, listen
    from bakeoff.use.export import _staged

    if not (child := os.fork()):
        os.close(2)
        listen(Stop())
        with _staged(tmp_path / "exported") as folder:
            (folder / "model").write_text("half")
            os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    assert list(tmp_path.iterdir()) == []


# --- where it starts, and who reads ---


def test_a_working_directory_that_is_gone_is_one_line(tmp_path):
    """Whatever is asked, before anything is loaded."""
    asked = {}
    for command in ["--help", *COMMANDS]:
        (tmp_path / command).mkdir()
        shell = ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", sys.executable, "-c", PROGRAM, command]
        asked[command] = subprocess.Popen(
            shell, cwd=tmp_path / command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    for command, process in asked.items():
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err.count("\n")) == (2, "", 1), command
        assert err.startswith("error: the working directory is gone; change to one that is there")


def unheard(here: Path, command: str, *arguments: str) -> tuple[int, str]:
    """How a command ends whose reader has gone, and what it says of it."""
    reading, writing = os.pipe()
    os.close(reading)
    process = program(here, command, *arguments, stdout=writing)
    os.close(writing)
    err = process.communicate(timeout=600)[1]
    return process.returncode, err


def test_every_command_prints_something_here():
    assert sorted([*PRINTING, *TRAINING]) == COMMANDS


@pytest.mark.parametrize("command", PRINTING)
def test_a_reader_that_has_had_enough_is_no_error(here, command):
    assert unheard(here, command, *PRINTING[command]) == (1, "")


def test_nor_is_one_that_has_enough_of_help_or_of_a_study_that_is_followed(here):
    assert unheard(here, "--help") == unheard(here, "--version") == unheard(here, "plan", "--help") == (1, "")
    with Store(here / "made").lock():
        assert unheard(here, "status", "made", "--follow") == (1, "")


@pytest.mark.slow
def test_nor_where_models_are_at_work(here):
    """What a run has finished by then is kept."""
    process = program(here, "run", "short.yaml", "--out", "run")
    assert process.communicate(timeout=600)[1] == "" and process.returncode == 0
    for command, arguments in TRAINING.items():
        code, err = unheard(here, command, *arguments)
        if command == "bench" and code == 2:  # the real models and data that it wants are not here
            continue
        assert code == (0 if command in ("run", "quickstart") else 1), command  # work goes on, whoever reads of it
        assert not re.search("Traceback|ignored|error", err), (command, err)
    shutil.rmtree(here / "exported", ignore_errors=True)
    assert len([*(here / "new" / "trials").iterdir()]) == 1
    assert [path.name for path in here.iterdir() if path.name.endswith(".partial")] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_no_room_for_what_is_printed_is_one_line(here):
    for arguments in (["list", "methods"], ["compare", "made", "base", "lora", "--json"]):
        with open("/dev/full", "w") as full:
            process = program(here, *arguments, stdout=full)
        err = process.communicate(timeout=60)[1]
        assert process.returncode == 1 and err.count("\n") == 1
        assert err.startswith("error: what is printed: cannot be written (No space left on device); ")
