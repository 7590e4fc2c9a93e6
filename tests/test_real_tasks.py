"""The mathematics and code tasks from study file to report, on real data and a small pretrained model."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from conftest import SHARED, shared

from bakeoff.run.run import Outcome, run
from bakeoff.study.load import load

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("real tasks")]
STUDY = """
study: real
models: {{stories: {{path: {shared}/models/stories260K}}}}
tasks:
  - {{use: deepmath, train_limit: 16, test_limit: 3, decoding: {{max_new_tokens: 12}}}}
  - {{use: codeparrot_humaneval, train_limit: 16, test_limit: 2,
     decoding: {{max_new_tokens: 12, temperature: 0.8, samples: 5}}}}
methods:
  base: {{use: base}}
  lora: {{use: lora, r: 2, target_modules: [query, value]}}
training: {{learning_rate: 1e-3, per_device_train_batch_size: 4, max_steps: 2}}
seeds: [0, 1]
forgetting: {{text: {shared}/data/imdb, split: train, limit: 4}}
data:
  zwhe99/DeepMath-103K: {shared}/data/math
  HuggingFaceH4/MATH-500: {shared}/data/math500
  openai/gsm8k: {shared}/data/gsm8k
  HuggingFaceH4/aime_2024: {shared}/data/aime24
  codeparrot/codeparrot-clean: {shared}/data/pycode
  openai/openai_humaneval: {shared}/data/humaneval
"""


@pytest.fixture(scope="module", params=["lanes", "reference"])
def outcome(request, tmp_path_factory) -> Outcome:
    shared("models", "stories260K")
    folder: Path = tmp_path_factory.mktemp(request.param)
    (folder / "study.yaml").write_text(STUDY.format(shared=SHARED))
    return run(load(folder / "study.yaml"), folder / "out", engine=request.param)


def test_every_benchmark_has_its_scores(outcome):
    assert outcome.failed == () and outcome.ran == 2 * 3
    cells = json.loads((outcome.store.directory / "results.json").read_text())["cells"]
    found = {(cell["benchmark"], cell["metric"]) for cell in cells}
    maths = {(b, m) for b in ("deepmath", "math500", "gsm8k", "aime24") for m in ("exact_match", "answered", "loss")}
    assert found >= maths | {("humaneval", metric) for metric in ("pass@1", "pass@5", "jaccard")}
    for cell in cells:
        assert cell["status"] == "done" and cell["mean"] is not None and math.isfinite(cell["mean"])
        assert cell["text_loss"] > 0 and len(cell["text_loss_changes"]) == (2 if cell["trained"] else 0)
        assert (cell["floor"] is None) == (cell["metric"] != "jaccard")


def test_the_loss_separates_where_exact_match_does_not(outcome):
    for trial in outcome.store.plan()["trials"]:
        record = outcome.store.record(trial["key"])
        if trial["task"] == "deepmath":
            losses = [benchmark.metrics["loss"] for benchmark in record.benchmarks.values()]
            assert all(1 < loss < 15 for loss in losses) and len(set(losses)) == 4
            assert all(benchmark.metrics["exact_match"] == 0 for benchmark in record.benchmarks.values())
        samples = outcome.store.samples(trial["key"])
        assert all(("loss" in sample.scores) == (trial["task"] == "deepmath") for sample in samples)


def test_what_is_cut_is_told(outcome):
    """A context of 512 holds few HumanEval prompts in a vocabulary of 512."""
    page = (outcome.store.directory / "report.md").read_text()
    assert "prompts cut" in page and "unrelated answers:" in page and "text loss change" in page
