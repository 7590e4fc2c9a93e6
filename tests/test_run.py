"""A run from study file to report: on a tiny model, in both engines, stopped and resumed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import tiny_model, tiny_tokenizer
from toy import Toy

import bakeoff
from bakeoff.analysis.table import results
from bakeoff.cli import main
from bakeoff.engine import reference
from bakeoff.engine.randomness import generator
from bakeoff.errors import InputError, TrialError
from bakeoff.methods.combine import Combine
from bakeoff.report import tables
from bakeoff.run import plan as planning
from bakeoff.run.progress import Progress
from bakeoff.run.run import run
from bakeoff.store.record import Solo
from bakeoff.study.load import load

pytestmark = pytest.mark.xdist_group("run")  # its study is run once, not by each worker
STUDY = """
study: toy
models: {{tiny: {{path: {model}}}}}
tasks: [{{use: toy}}, {{use: toy_text, decoding: {{max_new_tokens: 3, temperature: 1.0, samples: 2}}}}]
methods:
  base: {{use: base}}
  full: {{use: full}}
  lora: {{use: lora, r: 2, target_modules: all-linear}}
  prompt: {{use: prompt_tuning, num_virtual_tokens: 4}}
  prefix: {{use: prefix_tuning, num_virtual_tokens: 3}}
  lora+prompt: {{use: combine, parts: [lora, prompt]}}
training: {{learning_rate: 5e-3, per_device_train_batch_size: 4, max_steps: 5}}
seeds: [0, 1, 2]
plugins: [{plugin}]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    tiny_model("llama").save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    plugin = Path(__file__).with_name("toy.py")
    (folder / "toy.yaml").write_text(STUDY.format(model=folder / "model", plugin=plugin))
    return folder


@pytest.fixture(scope="module")
def finished(place):
    """The whole study, run once by lanes."""
    return run(load(place / "toy.yaml"), place / "out")


def numbers(store) -> dict[str, dict]:
    return {
        trial["key"]: {name: b.metrics for name, b in store.record(trial["key"]).benchmarks.items()}
        for trial in store.plan()["trials"]
    }


def test_everything_asked_is_on_disk(finished, place):
    store = finished.store
    assert (finished.ran, finished.kept, finished.failed) == (2 * (1 + 5 * 3), 0, ())
    names = {path.name for path in store.directory.iterdir()}
    assert {"study.yaml", "plan.json", "results.json", "report.html", "report.md", "trials"} <= names
    assert not {name for name in names if "partial" in name or name == "staging"}
    plan = store.plan()
    assert {path.name for path in store.trials.iterdir()} == {trial["key"] for trial in plan["trials"]}
    for trial in plan["trials"]:
        record, curve = store.record(trial["key"]), store.curve(trial["key"])
        assert record.status == "done" and record.provenance.engine == "lanes"
        planned = plan["parameters"][trial["model"]][trial["method"]]
        assert planned == {"trainable": record.trainable_params, "total": record.total_params}
        assert len(curve) == (0 if trial["method"] == "base" else 5) == record.cost.train_steps
        samples = store.samples(trial["key"])
        draws, benchmarks = (2, {"toy_text", "toy_more"}) if trial["task"] == "toy_text" else (1, {"toy"})
        assert {s.benchmark for s in samples} == benchmarks
        assert len(samples) == 12 * draws * len(benchmarks)
        assert (store.adapter(trial["key"]).exists()) == (trial["method"] != "base")
    cells = json.loads((store.directory / "results.json").read_text())["cells"]
    assert len(cells) == 3 * 6 and {cell["status"] for cell in cells} == {"done"}
    assert len(bakeoff.open(store.directory).cells) == len(cells)


def test_what_test_items_ask_is_stored_once_and_shown(finished, place):
    """Not in any trial: `toy` has 12 items, `toy_text` 12 on each of two benchmarks."""
    store = finished.store
    data = {store.record(trial["key"]).trial.dataset for trial in store.plan()["trials"]}
    assert {len(store.prompts(name)) for name in data} == {12, 24} and len(data) == 2
    (asked,) = (one for name in data for one in store.prompts(name) if (one.benchmark, one.id) == ("toy", "toy-3"))
    (row,) = (row for row in Toy()._rows("toy", 12) if row.id == "toy-3")
    assert asked.turns == (("system", "w10 w11"), ("user", row.prompt[1].content))
    assert all(row.prompt[1].content not in path.read_text() for path in store.trials.glob("*/samples.jsonl"))
    page = (store.directory / "report.html").read_text()
    assert f"<pre>{Toy()._rows('toy', 12)[0].prompt[1].content}</pre>" in page


def test_the_commands_that_the_page_names_do_it_again(finished, tmp_path, monkeypatch, capsys):
    """In the directory itself, moved elsewhere: nothing is trained, and the report is the same."""
    moved = shutil.copytree(finished.store.directory, tmp_path / "moved")
    told = [command for command, _ in tables.commands(results(finished.store))]
    assert told[:3] == ["bakeoff plan study.yaml", "bakeoff run study.yaml --out .", "bakeoff report ."]
    page = (moved / "report.html").read_text()
    assert all(f"<code>{command}</code>" in page for command in told)
    monkeypatch.chdir(moved)
    for command in told[:3]:
        monkeypatch.setattr(sys, "argv", command.split())
        with pytest.raises(SystemExit) as exit_:
            main()
        assert exit_.value.code == 0, capsys.readouterr().err
    assert (moved / "report.html").read_text() == page


def test_a_report_names_a_local_model_by_its_folder_not_its_path(finished, place):
    for name in ("report.html", "report.md", "results.json", "cells.csv"):
        assert str(place) not in (finished.store.directory / name).read_text()
    assert "model (a local folder)" in (finished.store.directory / "report.html").read_text()


def test_same_seed_trials_of_all_methods_see_the_same_text(finished):
    tokens = {
        record.cost.train_tokens
        for trial in finished.store.plan()["trials"]
        if (record := finished.store.record(trial["key"])).trial.seed == 0 and record.trial.task == "toy"
    }
    assert len(tokens) == 1


def test_cut_training_prompts_are_counted_and_shown(place):
    """A context of 12, a quarter kept for virtual tokens, 2 for the answer: longer prompts lose their middle."""
    folder = place / "short"
    model = tiny_model("llama")
    model.config.max_position_embeddings = 12
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    study = load(place / "toy.yaml", ["tasks=[toy]", f"models.tiny.path={folder}", "seeds=[0]"])
    store = run(study, place / "cut-short").store
    record = next(r for t in store.plan()["trials"] if (r := store.record(t["key"])).trial.method == "lora")
    prompts = [len(e.prompt[0].content.split()) + len(e.prompt[1].content.split()) for e in Toy()._rows("train", 40)]
    assert record.counts == {
        "training_prompts_cut": sum(n > 12 - 3 - 2 for n in prompts),
        "training_answers_cut": 0,
    }
    assert 0 < record.counts["training_prompts_cut"] < 40
    assert any(doubt.kind == "training prompts cut" for doubt in bakeoff.open(store.directory).doubts)


def test_train_tokens_are_those_of_the_examples_seen(finished):
    """Five steps of four: the first 20 of the seed's order; each prompt, its one-word label and the end of turn."""
    for trial in finished.store.plan()["trials"]:
        record = finished.store.record(trial["key"])
        if trial["method"] != "base":
            order = torch.randperm(40, generator=generator(trial["seed"], "order/0"))[:20]
            rows = [Toy().train({}, 40)[int(i)] for i in order]
            seen = sum(len(message.content.split()) for row in rows for message in row.messages) + len(rows)
            assert record.cost.train_tokens == seen


def test_cut_test_prompts_are_counted(place):
    """In a context of 16, a quarter is kept for virtual tokens and three are drawn: nine words of prompt stay."""
    shutil.copytree(place / "model", place / "narrow")
    config = place / "narrow" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "max_position_embeddings": 16}))
    settings = [f"models.tiny.path={place / 'narrow'}", "methods={base: {use: base}}"]
    store = run(load(place / "toy.yaml", settings), place / "cut").store
    counts = {
        name: benchmark.counts["prompts_cut"]
        for trial in store.plan()["trials"]
        for name, benchmark in store.record(trial["key"]).benchmarks.items()
    }
    words = {name: [len(row.prompt[-1].content.split()) + 2 for row in Toy().test(name, {}, 12)] for name in counts}
    room = {"toy": 11, "toy_text": 9, "toy_more": 9}  # a label of one token; three tokens to be drawn
    assert counts == {name: sum(length > room[name] for length in words[name]) for name in counts}
    assert counts["toy_text"] and counts["toy_more"]


def test_the_parts_of_a_combination_are_seen_to_move(finished):
    for trial in finished.store.plan()["trials"]:
        record = finished.store.record(trial["key"])
        assert list(record.parts) == (["part0", "part1"] if trial["method"] == "lora+prompt" else [])
        assert all(part.moved and part.moved > 0 for part in record.parts.values())
        assert not record.parts or sum(p.trainable_params for p in record.parts.values()) == record.trainable_params
    (check,) = (check for check in bakeoff.open(finished.store.directory).lint if check.name == "frozen part")
    assert (check.state, check.text[:11]) == ("clean", "In 6\N{NO-BREAK SPACE}trials")


def test_a_part_that_was_frozen_is_found_out(place, monkeypatch):
    """Nothing else would tell: it has no gradient to miss, and its parameters are counted and saved as ever."""
    attach = Combine.attach

    def frozen(self, backbone, generator):
        adapter = attach(self, backbone, generator)
        adapter.members()["part1"].requires_grad_(False)
        return adapter

    monkeypatch.setattr(Combine, "attach", frozen)
    store = run(load(place / "toy.yaml", ["tasks=[toy]", "seeds=[0]"]), place / "frozen").store
    record = next(r for t in store.plan()["trials"] if (r := store.record(t["key"])).trial.method == "lora+prompt")
    assert (record.status, record.parts["part1"].moved) == ("done", 0) and record.parts["part0"].moved
    found = bakeoff.open(store.directory)
    assert next(check.state for check in found.lint if check.name == "frozen part") == "found"
    (doubt,) = (doubt.text for doubt in found.doubts if doubt.kind == "frozen part")
    assert doubt.startswith("toy/lora+prompt/seed 0: part1 (prompt_tuning) never moved from its initial weights")


def test_running_again_trains_nothing(finished, place):
    class Watched(Progress):
        def group(self, trials, engine):
            raise AssertionError("nothing is left to do")

    before = numbers(finished.store)
    again = run(load(place / "toy.yaml"), place / "out", progress=Watched())
    assert (again.ran, again.kept) == (0, len(before))
    assert numbers(again.store) == before


def test_a_second_run_gives_the_same_numbers_and_adapters(finished, place):
    other = run(load(place / "toy.yaml", ["tasks=[toy]"]), place / "other").store
    for key, metrics in numbers(other).items():
        assert metrics == numbers(finished.store)[key]
        assert other.samples(key) == finished.store.samples(key)
        assert other.curve(key) == finished.store.curve(key)
        for file in other.adapter(key).rglob("*.safetensors"):
            twin = finished.store.adapter(key) / file.relative_to(other.adapter(key))
            assert file.read_bytes() == twin.read_bytes()


def test_the_reference_engine_writes_the_same_trials(finished, place):
    """The key does not know the engine; losses agree to law 1's tolerance, label scores too."""
    store = run(load(place / "toy.yaml", ["tasks=[toy]"]), place / "reference", engine="reference").store
    for key in numbers(store):
        record = store.record(key)
        assert record.provenance.engine == "reference"
        own, other = store.curve(key), finished.store.curve(key)
        assert [row.loss for row in own] == pytest.approx([row.loss for row in other], abs=1e-5)
        for a, b in zip(store.samples(key), finished.store.samples(key), strict=True):
            assert a.detail["logprobs"] == pytest.approx(b.detail["logprobs"], abs=1e-3)
        assert record.trainable_params == finished.store.record(key).trainable_params
        for name, part in finished.store.record(key).parts.items():
            assert record.parts[name].moved == pytest.approx(part.moved, rel=1e-3)
        assert record.cost.train_tokens == finished.store.record(key).cost.train_tokens


def test_what_was_interrupted_is_resumed_in_its_group(finished, place):
    """A run stopped after its third trial goes on to the numbers of an undisturbed one."""

    class Stop(Progress):
        count = 0

        def trial(self, record):
            self.count += 1
            if self.count == 3:
                raise KeyboardInterrupt

    study = load(place / "toy.yaml", ["tasks=[toy]"])
    with pytest.raises(KeyboardInterrupt):
        run(study, place / "stopped", progress=Stop())
    resumed = run(study, place / "stopped")
    assert 0 < resumed.kept < 16 and resumed.ran == 16 - resumed.kept
    whole = numbers(finished.store)
    assert all(metrics == whole[key] for key, metrics in numbers(resumed.store).items())


def test_half_a_group_resumes_as_the_whole_group(finished, place):
    """Losing one seed's directory re-runs its group and changes no other bit."""
    study = load(place / "toy.yaml", ["tasks=[toy]"])
    store = run(study, place / "half").store
    lost = next(t["key"] for t in store.plan()["trials"] if t["method"] == "lora" and t["seed"] == 1)
    kept = {p: p.read_bytes() for p in store.trials.rglob("record.json") if lost not in str(p)}
    shutil.rmtree(store.trials / lost)
    again = run(study, place / "half")
    assert again.ran == 1
    assert numbers(again.store)[lost] == numbers(finished.store)[lost]
    assert again.store.curve(lost) == finished.store.curve(lost)
    assert all(path.read_bytes() == content for path, content in kept.items())


class Noting(Progress):
    def __init__(self):
        self.notes: list[str] = []

    def note(self, text):
        self.notes.append(text)


@pytest.mark.parametrize("size", [None, 3, 1])
def test_a_resumed_run_keeps_its_groups(finished, place, size):
    """A group runs again as it was, whatever --group-size says now; one note where it says another."""
    import shutil

    study = load(place / "toy.yaml", ["tasks=[toy]"])
    store = run(study, place / f"resized-{size}").store
    before = store.plan()
    lost = next(t["key"] for t in before["trials"] if t["method"] == "prefix" and t["seed"] == 1)
    shutil.rmtree(store.trials / lost)
    progress = Noting()
    again = run(study, place / f"resized-{size}", group_size=size, progress=progress)
    assert again.ran == 1
    assert store.plan() == before and store.record(lost).provenance.group_size == 3
    assert store.curve(lost) == finished.store.curve(lost)
    told = [f"--group-size 1 is not used: {place / 'resized-1'} goes on in its groups of up to 3"] if size == 1 else []
    assert [note.split(",")[0] for note in progress.notes] == told


def test_every_method_is_measured_alone_once(finished):
    """The runs of a row share one measurement; what is not trained has an answer's alone."""
    solos: dict[tuple[str, str], set[Solo | None]] = {}
    for trial in finished.store.plan()["trials"]:
        cost = finished.store.record(trial["key"]).cost
        solos.setdefault((trial["task"], trial["method"]), set()).add(cost.solo)
    assert all(len(found) == 1 and None not in found for found in solos.values())
    cells = json.loads((finished.store.directory / "results.json").read_text())["cells"]
    for cell in cells:
        assert cell["solo"]["inference_ratio"] > 0
        assert cell["solo"]["context_tokens"] == {"prompt": 4, "lora+prompt": 4, "prefix": 3}.get(cell["method"], 0)
        if cell["method"] == "base":
            assert (cell["solo_train_seconds"], cell["solo"]["step_seconds"]) == (None, None)
        else:
            assert cell["solo_train_seconds"] == pytest.approx(5 * cell["solo"]["step_seconds"])
            assert cell["peak_bytes"] == cell["solo"]["peak_bytes"]
    page = (finished.store.directory / "report.html").read_text()
    assert "Cost per method comes from a short measurement of it alone" in page


@pytest.mark.parametrize("engine", ["lanes", "reference"])
def test_a_measurement_that_fails_is_noted_and_changes_no_bit(place, finished, monkeypatch, engine):
    """With the meter and without it: the same curves, samples and adapters."""
    study, progress = load(place / "toy.yaml", ["tasks=[toy]", "seeds=[0, 1]"]), Noting()
    metered = run(study, place / f"metered-{engine}", engine=engine).store
    with monkeypatch.context() as patch:
        patch.setattr("bakeoff.engine.meter.measure", lambda *_: torch.empty(2**60))
        outcome = run(study, place / f"unmetered-{engine}", engine=engine, progress=progress)
    store = outcome.store
    assert outcome.failed == () and len(progress.notes) == 6
    assert all("its cost alone could not be measured (RuntimeError: " in note for note in progress.notes)
    assert numbers(store) == numbers(metered)
    for key in numbers(store):
        assert store.record(key).cost.solo is None and metered.record(key).cost.solo is not None
        assert store.curve(key) == metered.curve(key)
        assert store.samples(key) == metered.samples(key)
        files = sorted(store.adapter(key).rglob("*.safetensors"))
        assert all(
            f.read_bytes() == (metered.adapter(key) / f.relative_to(store.adapter(key))).read_bytes() for f in files
        )
    assert "its cost is not known" in (store.directory / "report.md").read_text() or engine == "reference"


def test_other_trials_make_new_groups(place):
    study = load(place / "toy.yaml", ["tasks=[toy]", "methods={lora: {use: lora, r: 2}}", "seeds=[0]"])
    store = run(study, place / "more").store
    run(load(place / "toy.yaml", ["tasks=[toy]", "methods={lora: {use: lora, r: 2}}"]), place / "more")
    assert [len(group) for group in store.plan()["groups"]] == [3]


def test_what_a_dead_run_left_half_written_is_cleared(place, monkeypatch):
    """A run that dies between staging a trial and committing it; the next one no longer asks for that trial."""
    from bakeoff.store.store import Store

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    only = "methods={lora: {use: lora, r: %d, target_modules: all-linear}}"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "commit", die)
        run(load(place / "toy.yaml", ["tasks=[toy]", "seeds=[0]", only % 2]), place / "died")
    assert list((place / "died" / "staging").iterdir()) and not (place / "died" / "trials").exists()
    again = run(load(place / "toy.yaml", ["tasks=[toy]", "seeds=[0]", only % 1]), place / "died")
    assert (again.ran, again.failed) == (1, ())
    assert not (place / "died" / "staging").exists()


def test_a_failing_trial_is_recorded_named_and_tried_again(place, monkeypatch):
    from bakeoff.methods.adapters.prefix_tuning import PrefixAdapter

    study = load(place / "toy.yaml", ["tasks=[toy]", "seeds=[0]"])
    with monkeypatch.context() as patch:
        patch.setattr(PrefixAdapter, "prefix", lambda self: 1 / 0)
        outcome = run(study, place / "failing")
    assert [record.trial.method for record in outcome.failed] == ["prefix"]
    assert "ZeroDivisionError" in outcome.failed[0].reason
    done = next(r for r in map(outcome.store.record, numbers(outcome.store)) if r.trial.method == "prompt")
    failed = outcome.failed[0]
    assert failed.trainable_params == planning.make(study).parameters["tiny", "prefix"] > 0
    assert failed.total_params - failed.trainable_params == done.total_params - done.trainable_params
    cells = json.loads((outcome.store.directory / "results.json").read_text())["cells"]
    assert {c["method"]: c["status"] for c in cells}["prefix"] == "failed"
    assert next(c for c in cells if c["method"] == "prefix")["mean"] is None
    assert "prefix" in (outcome.store.directory / "report.md").read_text()
    again = run(study, place / "failing")
    assert (again.ran, again.failed) == (1, ())


def test_a_groups_failing_rerun_is_the_lost_trials_alone(place, monkeypatch):
    """Three seeds done and one lost: the re-run's failure is recorded for that seed, and the next one replaces it."""
    settings = ["tasks=[toy]", "methods={lora: {use: lora, r: 2, target_modules: all-linear}}"]
    study = load(place / "toy.yaml", settings)
    store = run(study, place / "rerun").store
    keys = {trial["seed"]: trial["key"] for trial in store.plan()["trials"]}
    kept = {p: p.read_bytes() for p in store.trials.rglob("*") if p.is_file() and keys[1] not in str(p)}
    shutil.rmtree(store.trials / keys[1])
    for reason in ("the first reason", "the second reason"):

        def fail(*_: object, reason: str = reason) -> None:
            raise RuntimeError(reason)

        with monkeypatch.context() as patch:
            patch.setattr("bakeoff.engine.train.lane_losses", fail)
            outcome = run(study, place / "rerun")
        assert [(record.key, record.reason) for record in outcome.failed] == [(keys[1], f"RuntimeError: {reason}")]
        assert (store.record(keys[1]).status, store.record(keys[1]).reason) == ("failed", f"RuntimeError: {reason}")
        asked = json.loads((store.trials / keys[1] / "trial.json").read_text())
        assert (asked["seed"], asked["method"]) == (1, "lora")
        assert store.record(keys[1]).trial.seed == 1
    assert all(path.read_bytes() == content for path, content in kept.items())
    again = run(study, place / "rerun")
    assert (again.ran, again.failed, store.record(keys[1]).status) == (1, (), "done")


def test_a_trial_that_cannot_be_graded_fails_alone(place, monkeypatch):
    """Three seeds share a pass; the answers of the second cannot be graded."""
    from bakeoff.engine.evaluate import graded

    calls: list[object] = []

    def second_fails(ask, completions):
        calls.append(ask)
        if len(calls) == 2:
            raise TrialError("2 of 100 samples could not be graded")
        return graded(ask, completions)

    settings = ["tasks=[{use: toy, validation: 8, split: validation}]", "seeds=[0, 1, 2]"]
    only = "methods={lora: {use: lora, r: 2, target_modules: all-linear}}"
    with monkeypatch.context() as patch:
        patch.setattr("bakeoff.engine.evaluate.graded", second_fails)
        outcome = run(load(place / "toy.yaml", [*settings, only]), place / "ungraded")
    assert [(r.trial.seed, r.status, r.reason) for r in outcome.failed] == [
        (1, "failed", "2 of 100 samples could not be graded")
    ]
    states = {t["seed"]: outcome.store.record(t["key"]).status for t in outcome.store.plan()["trials"]}
    assert states == {0: "done", 1: "failed", 2: "done"}


def test_a_diverging_trial_is_shown_and_the_others_finish(place):
    settings = ["tasks=[toy]", "seeds=[0]", "methods.lora.training={learning_rate: 1e30, max_grad_norm: 0}"]
    outcome = run(load(place / "toy.yaml", settings), place / "diverging")
    states = {t["method"]: outcome.store.record(t["key"]).status for t in outcome.store.plan()["trials"]}
    assert states.pop("lora") == "diverged" and set(states.values()) == {"done"}
    cells = json.loads((outcome.store.directory / "results.json").read_text())["cells"]
    lora = next(c for c in cells if c["method"] == "lora")
    assert (lora["status"], lora["mean"]) == ("diverged", None)
    assert [(record.trial.method, record.status) for record in outcome.failed] == [("lora", "diverged")]


def test_groups_are_a_function_of_the_study(place):
    made = planning.make(load(place / "toy.yaml"))
    again = planning.make(load(place / "toy.yaml"))
    assert made.as_json() == again.as_json()
    assert [len(group) for group in made.groups] == [1, 1, 1, 1, 3, 3, 3, 3] * 2
    alone = planning.make(load(place / "toy.yaml"), group_size=1)
    assert {len(group) for group in alone.groups} == {1}


def test_the_plan_says_what_is_judged_on_held_out_training_examples(place):
    split = "tasks=[{use: toy, validation: 8, split: validation}, toy_text]"
    told = json.loads(planning.make(load(place / "toy.yaml", [split])).as_json())
    assert {name: task["split"] for name, task in told["tasks"].items()} == {"toy": "validation", "toy_text": "test"}
    assert "judged on 8 held-out training examples" in told["notes"]["tasks"]["toy"]
    assert "tested on 12 of toy_text" in told["notes"]["tasks"]["toy_text"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("methods.lora.target_modules=[q_prj]", "methods.lora.target_modules: 'q_prj' matches none of the 14 linear"),
        ("methods.lora.target_modules=[]", "methods.lora.target_modules: names no module; name modules, roles or"),
        ("methods.lora.r=1000", "methods.lora.r: 1000 is more than the smallest target module's 32"),
        ("methods.prefix.num_virtual_tokens=200", "leave no room for text in a context of 256"),
        ("models.tiny.path=./absent", "models.tiny.path: no directory at"),
    ],
)
def test_what_does_not_fit_the_model_is_said_before_anything_is_written(place, setting, said):
    with pytest.raises(InputError) as caught:
        run(load(place / "toy.yaml", [setting]), place / "never")
    assert said in str(caught.value)
    assert not (place / "never").exists()


def test_one_writer_at_a_time(place, finished):
    from bakeoff.store.store import Store

    with Store(place / "out").lock(), pytest.raises(InputError, match="another process"):
        run(load(place / "toy.yaml"), place / "out")


def test_the_python_api_can_be_called_again_and_again(tmp_path):
    """Also once the room of that name is imported, and with the names imported before."""
    code = """
import bakeoff
from bakeoff import load, run
study = load("quickstart", ["tasks=[mini_sentiment]", "methods={base: {use: base}}"], limit=12)
for n, each in enumerate((run, bakeoff.run, bakeoff.run)):
    assert each(study, str(n)).ran == 1
import bakeoff.run.plan
assert bakeoff.run(study, "0").kept == 1 and len(bakeoff.run.plan.make(study).trials) == 1
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_a_trial_that_fails_alone_costs_no_other_of_its_group(place, monkeypatch):
    """In the reference engine, where each is trained by itself."""
    train = reference.train

    def failing(learner, stepped):
        if learner.name == "0":
            raise ValueError("only seed 0 is bad")
        return train(learner, stepped)

    monkeypatch.setattr(reference, "train", failing)
    only = ["tasks=[toy]", "methods={prompt: {use: prompt_tuning, num_virtual_tokens: 4}}"]
    outcome = run(load(place / "toy.yaml", only), place / "one-bad", engine="reference")
    assert [(one.trial.seed, one.reason) for one in outcome.failed] == [(0, "ValueError: only seed 0 is bad")]
    assert {outcome.store.record(one["key"]).status for one in outcome.store.plan()["trials"][1:]} == {"done"}
