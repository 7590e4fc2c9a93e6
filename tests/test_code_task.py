"""A study with a task that runs model-written code: which sandbox held it, what a broken one does, a missing one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from conftest import tiny_model, tiny_tokenizer
from hostile import below, parents

from bakeoff.errors import InputError
from bakeoff.grading.code import tiers
from bakeoff.run.run import run
from bakeoff.study.load import load
from bakeoff.study.spec import Study
from bakeoff.tasks.mini_code import MiniCode
from bakeoff.tasks.task import Completion

PLUGIN = '''
from toy import ToyText
from bakeoff.grading.code import Item, grade_code, judge
from bakeoff.tasks.task import Grade

class ToyCode(ToyText):
    """Whatever is answered, one program is judged; the tests of BROKEN's examples, by number, cannot be run."""
    name = "toy_code"
    BROKEN = ()
    metrics = ("pass@1",)
    benchmarks = ("toy_code",)
    runs_code = True

    def grade(self, examples, completions):
        broken = [int(example.id.split("-")[1]) in self.BROKEN for example in examples]
        items = [Item("def f(x): return x", ("assert f(" if b else "assert f(1) == 1",), "f") for b in broken]
        return [Grade(**grade_code(item, verdict)) for item, verdict in zip(items, judge(items), strict=True)]
'''
STUDY = """
study: toy
models: {{tiny: {{path: {model}}}}}
tasks: [{{use: toy_code, test_limit: {limit}}}]
methods: {{base: {{use: base}}}}
plugins: [{plugin}]
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def study(model, tmp_path) -> Callable[..., Study]:
    """The study with so many test examples, of which the tests of some cannot be run."""

    def load_it(limit: int = 3, broken: tuple[int, ...] = ()) -> Study:
        plugin, file = tmp_path / "plugin.py", tmp_path / "study.yaml"
        plugin.write_text(PLUGIN.replace("BROKEN = ()", f"BROKEN = {broken}"))
        file.write_text(STUDY.format(model=model, plugin=plugin, limit=limit))
        return load(file)

    return load_it


def told(out: Path) -> tuple[dict, str]:
    pages = "".join((out / name).read_text() for name in ("report.html", "report.md"))
    return json.loads((out / "results.json").read_text())["provenance"], pages


def test_results_name_the_sandbox(study, tmp_path):
    outcome = run(study(), tmp_path / "out")
    (trial,) = outcome.store.plan()["trials"]
    provenance, pages = told(tmp_path / "out")
    assert outcome.store.record(trial["key"]).provenance.sandboxes == tuple(provenance["sandboxes"])
    assert provenance["sandboxes"] in (["bubblewrap"], ["landlock"])
    assert provenance["sandboxes"][0] in pages and "UNPROTECTED" not in pages


def test_an_unprotected_run_carries_a_banner(study, tmp_path):
    run(study(), tmp_path / "out", unsafe_no_sandbox=True)
    provenance, pages = told(tmp_path / "out")
    assert provenance["sandboxes"] == ["none"] and pages.count("UNPROTECTED") == 2
    assert tiers.wanted() == tiers.PROTECTED


def test_a_missing_sandbox_is_said_before_anything_is_written(study, tmp_path, monkeypatch):
    with monkeypatch.context() as bare:
        bare.setattr(shutil, "which", lambda name: None)
        bare.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(InputError, match="bubblewrap is not installed"):
            run(study(), tmp_path / "out")
        assert not (tmp_path / "out").exists()
    run(study(), tmp_path / "out")
    monkeypatch.setattr(tiers, "missing", lambda tier: "gone")
    assert run(study(), tmp_path / "out").ran == 0  # nothing is left to run: the report alone needs no sandbox


def test_samples_on_which_the_sandbox_breaks_are_left_out(study, tmp_path):
    """Of 100 examples, one's tests cannot be run: the mean is over 99, and record and report say so."""
    outcome = run(study(100, broken=(7,)), tmp_path / "out")
    (trial,) = outcome.store.plan()["trials"]
    benchmark = outcome.store.record(trial["key"]).benchmarks["toy_code"]
    assert (benchmark.metrics["pass@1"], benchmark.n_items, benchmark.counts["harness_errors"]) == (1.0, 100, 1)
    samples = outcome.store.samples(trial["key"])
    assert [sample.detail["verdict"] for sample in samples if not sample.scores] == ["harness-error"]
    (cell,) = json.loads((tmp_path / "out/results.json").read_text())["cells"]
    assert (cell["mean"], cell["n_items"]) == (1.0, 99)
    _, pages = told(tmp_path / "out")
    assert pages.count("samples that could not be graded (of 100 in a run), and so are in no mean: base 1.") == 2
    assert pages.count("not graded in every run; left out everywhere.") == 2


def test_more_than_one_in_a_hundred_fail_the_trial_and_the_next_run_tries_again(study, tmp_path):
    outcome = run(study(99, broken=(7,)), tmp_path / "out")
    assert [record.reason for record in outcome.failed] == [
        "toy_code: 1 of 99 samples could not be graded, more than 1%: "
        "the tests cannot be run: SyntaxError: '(' was never closed (<test>, line 1)"
    ]
    again = run(study(99), tmp_path / "out")
    assert (again.ran, again.failed) == (1, ())


def test_a_sample_whose_jail_is_killed_each_time_has_no_score():
    """A completion that takes its time finds its zygote killed under it, three times; the others do not notice."""
    task = MiniCode()
    examples = task.test("mini_code", {}, 20)
    texts = [example.answer for example in examples]
    texts[7] = "import time\ntime.sleep(2)\n" + texts[7]
    with murderer(seconds=0.5) as killed:
        grades = task.grade(examples, [Completion(text=text) for text in texts])
    assert [grade.scores for grade in grades] == [{} if i == 7 else {"pass@1": 1.0} for i in range(20)]
    assert grades[7].detail["verdict"] == "harness-error" and grades[7].detail["why"]
    assert len(killed) >= 3  # the candidate's zygote or the judge's, or both, each time


# ---- help ---------------------------------------------------------------------------------------------------------


@contextmanager
def murderer(seconds: float) -> Iterator[set[int]]:
    """Kill, below this process, the parent of every fork (it has its parent's command line) that lives so long."""
    killed: set[int] = set()
    over = threading.Event()

    def kill() -> None:
        first: dict[int, float] = {}
        while not over.wait(0.05):
            every = parents()
            for pid in below(os.getpid()):
                parent = every.get(pid, os.getpid())
                if parent == os.getpid() or not command(pid) or command(pid) != command(parent):
                    continue
                first.setdefault(pid, time.monotonic())
                if time.monotonic() - first[pid] > seconds and parent not in killed:
                    killed.add(parent)
                    os.kill(parent, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
