"""Every study of the paper from its name to its report: real data, tiny models, seconds."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from conftest import ROOT, shared

from bakeoff.analysis.grid import grids
from bakeoff.analysis.table import results
from bakeoff.errors import InputError
from bakeoff.run.plan import make
from bakeoff.run.run import run
from bakeoff.study.expand import expand
from bakeoff.study.load import builtin_names, load
from bakeoff.tasks.task import build, splits

PAPER = [name for name in builtin_names() if name.startswith("paper/")]
TINY = {
    "gpt2": {"n_embd": 64, "n_head": 2, "n_positions": 256},
    "qwen2": {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 512,
    },
    "t5": {"d_model": 64, "d_ff": 128, "d_kv": 16, "num_layers": 2, "num_heads": 4},
}  # fmt: skip
MATHS = "tasks=[{use: deepmath, decoding: {max_new_tokens: 8}}]"
ONE_MATHS = "tasks=[{use: deepmath, benchmarks: [deepmath], decoding: {max_new_tokens: 8}}]"
CODE = "tasks=[{use: codeparrot_humaneval, decoding: {max_new_tokens: 8, temperature: 0.6, samples: 5}}]"
LOWER_RANKS = [  # a rank may not exceed the features of the smallest module, 32 in stories260K
    "methods.lora.r={sweep: [2, 4, 8, 16, 32]}",
    "methods.lora.lora_alpha={sweep: [4, 8, 16, 32, 64], with: r}",
]
SCALED = {  # study: its model's name, what stands for it, settings
    "paper/sentiment": ("gpt2", "stories260K", []),
    "paper/math": ("deepseek", "qwen2", [MATHS, "models.deepseek.dtype=float32"]),
    "paper/t5": ("t5", "t5", [ONE_MATHS]),
    "paper/code": ("deepseek", "stories260K", [CODE, "models.deepseek.dtype=float32"]),
    "paper/ablation": ("gpt2", "gpt2", [ONE_MATHS]),
    "paper/ablation-2r": ("gpt2", "stories260K", [ONE_MATHS, *LOWER_RANKS]),
    "paper/placement": ("gpt2", "gpt2", []),
}


SILENT = {  # what the paper does not say, and the study does
    "paper/sentiment": ["classification head", "no modules of GPT-2"],
    "paper/math": ["DeepSeek-R1-Distill-Qwen-1.5B", "held out by a fixed draw"],
    "paper/t5": ["There is no T5-Medium", "held out by a fixed draw"],
    "paper/code": ["50,000 of the first 500,000", "5 draws at temperature 0.6"],
    "paper/ablation": ["16 at every rank", "10,000 problems"],
    "paper/ablation-2r": ["twice the rank", "10,000 problems"],
}


def random_model(architecture: str, out: Path) -> Path:
    """A tiny model of that architecture by scripts/random_model.py, with stories260K's tokenizer."""
    spec = importlib.util.spec_from_file_location("random_model", ROOT / "scripts" / "random_model.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.make(architecture, out, shared("models", "stories260K"), {"vocab_size": 512, **TINY[architecture]})


def test_every_study_of_the_paper_is_run_here():
    assert set(SCALED) == set(PAPER)


@pytest.mark.parametrize("name", PAPER)
def test_a_study_of_the_paper_is_as_the_paper_says(name):
    """Its stated hyperparameters, three seeds, the assumptions told, and the published table where there is one."""
    found = load(name)
    assert found.seeds == (0, 1, 2) and found.notes
    for method, spec in found.methods.items():
        if spec.use == "base":
            continue
        training = spec.training
        assert (training.per_device_train_batch_size, training.num_train_epochs) == (16, 3)
        assert (training.warmup_steps, training.weight_decay) == (100, 0.01)
        if "ablation" not in name:
            assert training.learning_rate == 5e-4, method
        if spec.use == "lora" and "ablation" not in name:
            assert [spec.config[key] for key in ("r", "lora_alpha", "lora_dropout")] == [8, 16, 0.1], method
        if spec.use == "prompt_tuning":
            assert spec.config["num_virtual_tokens"] == 8
        if spec.use == "prefix_tuning":
            assert spec.config["num_virtual_tokens"] == 10
    assert (found.published is None) == (name == "paper/placement")
    told = " ".join(found.notes)
    for said in ("RTX 6000 Ada", "TrainingArguments", *SILENT.get(name, ())):
        assert (said in told) or name == "paper/placement", said


@pytest.mark.parametrize(("name", "scale"), [("paper/ablation", (4, 2, 1, 0.5, 0.25)), ("paper/ablation-2r", (2,) * 5)])
def test_the_ablations_have_15_cells_each(name, scale):
    rows = {method: spec.config for method, spec in load(name).methods.items() if method != "base"}
    assert list(rows) == [
        f"lora[r={r},learning_rate={rate}]" for r in (4, 8, 16, 32, 64) for rate in (1e-4, 5e-4, 1e-3)
    ]
    scales = [config["lora_alpha"] / config["r"] for config in list(rows.values())[::3]]
    assert tuple(scales) == scale
    assert len(expand(load(name), {"gpt2": "w"}, {"deepmath": "d"})) == 1 + 15 * 3


def test_answers_of_the_t5_study_leave_room_for_prompts_in_t5s_own_context(tmp_path):
    """The plan holds at 512 positions with the study's own decoding; longer answers are refused before anything."""
    shared("data")
    where = random_model("t5", tmp_path / "t5")
    asked, places = [f"models.t5.path={where}", "training.max_steps=2"], ROOT / "studies" / "local-data.yaml"
    without = {"qlora"} if importlib.util.find_spec("bitsandbytes") is None else set()
    study = load("paper/t5", asked, limit=4, places=places)
    study = study.model_copy(update={"methods": {n: m for n, m in study.methods.items() if n not in without}})
    plan = make(study)
    assert plan.backbones["t5"].context == 512 and len(plan.examples["deepmath"].train) == 4
    longer = [*asked, "tasks=[{use: deepmath, benchmarks: [deepmath], decoding: {max_new_tokens: 448}}]"]
    study = load("paper/t5", [*longer, "methods={base: {use: base}}"], limit=4, places=places)
    with pytest.raises(InputError, match=r"tasks\.deepmath\.decoding\.max_new_tokens: 448 leave no room"):
        make(study)


@pytest.mark.parametrize("name", ["paper/sentiment", "paper/math", "paper/code"])
def test_a_file_that_is_missing_without_a_network_is_named(name, tmp_path):
    """Each of a study's data sets in turn: which id and split, where it was looked for, how to give it."""
    shared("data")
    study = load(name, limit=4, places=ROOT / "studies" / "local-data.yaml")
    ((task_name, spec),) = study.tasks.items()
    task = build(spec, task_name)
    assert set(study.data) == set(task.hub_ids)
    if "math" in name:
        pytest.importorskip("math_verify", reason="not run: the extra `math` is not installed")
    for hub in task.hub_ids:
        with pytest.raises(InputError) as caught:
            splits(task, spec, {other: place for other, place in study.data.items() if other != hub})
        told = str(caught.value)
        assert told.startswith(f"{hub}, split '") and "looked in: the study's `data:`" in told and "\n" not in told
        assert f"`data: {{{hub}: FOLDER}}`" in told and f"`--set data.{hub}=FOLDER`" in told


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_a_study_of_the_paper_runs_to_its_report(name, tmp_path):
    """From local files alone: 4 examples, 2 steps, 2 seeds; a model with random weights is called that."""
    model, stands_in, settings = SCALED[name]
    if "qlora" in load(name).methods:
        pytest.importorskip("bitsandbytes", reason="not run: the extra `quant` is not installed")
    shared("data")
    tiny = stands_in != "stories260K"
    where = random_model(stands_in, tmp_path / "model") if tiny else shared("models", stands_in)
    asked = [
        "training.max_steps=2",
        "training.warmup_steps=0",
        "seeds=[0, 1]",
        *settings,
        f"models.{model}.path={where}",
    ]
    study = load(name, asked, limit=4, places=ROOT / "studies" / "local-data.yaml")
    outcome = run(study, tmp_path / "out")
    assert [record.reason for record in outcome.failed] == []
    found = results(outcome.store)
    planned = {trial.key() for trial in expand(study, {model: "w"}, {task: "d" for task in study.tasks})}
    assert len(found.trials) == len(planned) == sum(run.status == "done" for run in found.trials)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "What this study assumes" in page
    assert ("random weights" in [doubt.kind for doubt in found.doubts]) == tiny
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert plan.get("published") == study.published and plan["notes"]["study"] == list(study.notes)
    if "ablation" in name:
        cells = [cell for cell in found.cells if cell.metric == found.verdicts[0].metric]
        (grid,) = grids(cells)
        assert (len(grid.columns), len(grid.rows), len(grid.cells)) == (5, 3, 15)
        assert page.count('<svg class="heat"') >= 1
