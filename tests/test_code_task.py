"""A study with a task that runs model-written code: which sandbox held it is recorded, and a missing one stops it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import tiny_model, tiny_tokenizer

from bakeoff.errors import InputError
from bakeoff.grading.code import tiers
from bakeoff.run.run import run
from bakeoff.study.load import load

PLUGIN = '''
from toy import ToyText
from bakeoff.grading.code import Grader, Item
from bakeoff.tasks.task import Grade

class ToyCode(ToyText):
    """Whatever is answered, one program is judged."""
    name = "toy_code"
    metrics = ("pass@1",)
    benchmarks = ("toy_code",)
    runs_code = True

    def grade(self, examples, completions):
        with Grader() as grader:
            verdicts = grader.grade([Item("def f(x): return x", ("assert f(1) == 1",), "f") for _ in completions])
        return [Grade(scores={"pass@1": float(v.label == "pass")}, detail={"sandbox": v.sandbox}) for v in verdicts]
'''
STUDY = """
study: toy
models: {{tiny: {{path: {model}}}}}
tasks: [{{use: toy_code, test_limit: 3}}]
methods: {{base: {{use: base}}}}
plugins: [{plugin}]
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("code")
    tiny_model("llama").save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    (folder / "plugin.py").write_text(PLUGIN)
    (folder / "study.yaml").write_text(STUDY.format(model=folder / "model", plugin=folder / "plugin.py"))
    return load(folder / "study.yaml")


def told(out: Path) -> tuple[dict, str]:
    pages = "".join((out / name).read_text() for name in ("report.html", "report.md"))
    return json.loads((out / "results.json").read_text())["provenance"], pages


def test_results_name_the_sandbox(study, tmp_path):
    outcome = run(study, tmp_path)
    (trial,) = outcome.store.plan()["trials"]
    provenance, pages = told(tmp_path)
    assert outcome.store.record(trial["key"]).provenance.sandboxes == tuple(provenance["sandboxes"])
    assert provenance["sandboxes"] in (["bubblewrap"], ["landlock"])
    assert provenance["sandboxes"][0] in pages and "UNPROTECTED" not in pages


def test_an_unprotected_run_carries_a_banner(study, tmp_path):
    run(study, tmp_path, unsafe_no_sandbox=True)
    provenance, pages = told(tmp_path)
    assert provenance["sandboxes"] == ["none"] and pages.count("UNPROTECTED") == 2
    assert tiers.wanted() == tiers.PROTECTED


def test_a_missing_sandbox_is_said_before_anything_is_written(study, tmp_path, monkeypatch):
    with monkeypatch.context() as bare:
        bare.setattr(shutil, "which", lambda name: None)
        bare.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(InputError, match="bubblewrap is not installed"):
            run(study, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    run(study, tmp_path / "out")
    monkeypatch.setattr(tiers, "missing", lambda tier: "gone")
    assert run(study, tmp_path / "out").ran == 0  # nothing is left to run: the report alone needs no sandbox
