"""A run goes on from whatever became of its directory: damage is named and mended, and nothing is trained twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import tiny_model, tiny_tokenizer
from synthetic_store import relist

from bakeoff.errors import BakeoffError, InputError, StorageError
from bakeoff.run.progress import Progress
from bakeoff.run.run import Outcome, execute, prepare, run
from bakeoff.store import durable
from bakeoff.store.record import Record
from bakeoff.store.store import Store
from bakeoff.study.load import load
from bakeoff.study.spec import Trial

pytestmark = pytest.mark.xdist_group("damage")
STUDY = """
study: toy
models: {{tiny: {{path: {model}}}}}
tasks: [{{use: toy}}]
methods:
  base: {{use: base}}
  lora: {{use: lora, r: 2, target_modules: all-linear}}
  prompt: {{use: prompt_tuning, num_virtual_tokens: 4}}
training: {{learning_rate: 5e-3, per_device_train_batch_size: 4, max_steps: 2}}
seeds: [0, 1]
plugins: [{plugin}]
"""


class Noting(Progress):
    def __init__(self):
        self.notes: list[str] = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("damage")
    tiny_model("llama").save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    plugin = Path(__file__).with_name("toy.py")
    (folder / "toy.yaml").write_text(STUDY.format(model=folder / "model", plugin=plugin))
    run(load(folder / "toy.yaml"), folder / "whole")
    return folder


@pytest.fixture
def store(place, tmp_path) -> Store:
    """A finished study, for tests to damage."""
    shutil.copytree(place / "whole", tmp_path / "out")
    return Store(tmp_path / "out")


def again(place: Path, store: Store, *settings: str) -> tuple[Outcome, list[str]]:
    progress = Noting()
    return run(load(place / "toy.yaml", settings), store.directory, progress=progress), progress.notes


def key(store: Store, method: str, seed: int | None) -> str:
    return next(t["key"] for t in store.plan()["trials"] if (t["method"], t["seed"]) == (method, seed))


def content(store: Store) -> dict[str, object]:
    """Everything that counts, times apart."""
    return {
        trial["key"]: (
            store.record(trial["key"]).benchmarks,
            store.samples(trial["key"]),
            store.curve(trial["key"]),
            {p.name: p.read_bytes() for p in sorted(store.adapter(trial["key"]).rglob("*.safetensors"))},
        )
        for trial in store.plan()["trials"]
    }


@pytest.mark.parametrize(
    "name", ["record.json", pytest.param("adapter/adapter_model.safetensors", marks=pytest.mark.slow)]
)
def test_a_damaged_trial_is_named_set_aside_and_trained_anew(place, store, name):
    lora = key(store, "lora", 1)
    path = store.trials / lora / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 8
    path.write_bytes(data)
    outcome, notes = again(place, store)
    assert (outcome.ran, outcome.kept) == (1, 4)
    (note,) = notes
    assert note.startswith(f"toy/lora/seed 1 ({lora[:8]}) is damaged ({name}: ")
    assert note.endswith("): set aside in damaged/ and trained anew")
    assert (store.directory / "damaged" / lora / name).read_bytes() == data
    assert content(store) == content(Store(place / "whole"))
    assert not store.examine()


def test_lost_and_damaged_files_of_the_study_are_made_anew(place, store):
    plan = store.plan()
    (store.directory / "plan.json").write_text("{")
    (store.directory / "results.json").unlink()
    (store.directory / "report.md").unlink()
    (store.directory / "report.md").mkdir()
    edited = (store.directory / "study.yaml").read_text().replace("5e-3", "5e-4")
    (store.directory / "study.yaml").write_text(edited)
    outcome, notes = again(place, store)
    assert outcome.ran == 0 and store.plan() == plan
    assert notes[0].startswith("damaged: plan.json: damaged (Invalid JSON") and notes[0].endswith(
        "made anew from the study"
    )
    assert notes[1] == "damaged: report.md: a directory, no file: set aside in damaged/ and written anew"
    assert (store.directory / "report.md").is_file() and (store.directory / "results.json").is_file()
    assert "5e-4" not in (store.directory / "study.yaml").read_text()


def test_a_study_file_that_is_not_the_plans_is_set_aside(place, store):
    path = store.directory / "study.yaml"
    edited = path.read_text().replace("max_steps: 2", "max_steps: 3")
    path.write_text(edited)
    (prompts,) = (store.directory / "prompts").iterdir()
    prompts.write_bytes(prompts.read_bytes()[:-100])
    _, notes = again(place, store)
    why = (
        "not what plan.json says (edited, damaged, or left by a run that died): set aside in damaged/ and written anew"
    )
    assert notes == [f"damaged: study.yaml: {why}", f"damaged: prompts/{prompts.name}: {why}"]
    assert (store.directory / "damaged" / "study.yaml").read_text() == edited
    assert not store.examine() and len(prompts.read_text().splitlines()) == 12


def test_prompts_that_are_gone_are_written_anew(place, store):
    (prompts,) = (store.directory / "prompts").iterdir()
    before = prompts.read_bytes()
    prompts.unlink()
    _, notes = again(place, store)
    assert notes == [f"prompts/{prompts.name} is absent: made anew from the study"]
    assert prompts.read_bytes() == before


def test_what_another_process_began_meanwhile_is_gone_on_with(place, tmp_path):
    """Two prepared runs of one study, of which the other one had to halve its group; and one of another study."""
    study, out = load(place / "toy.yaml"), tmp_path / "out"
    job, other = prepare(study, out), prepare(study.model_copy(update={"study": "other"}), out)
    execute(prepare(study, out, group_size=1))
    groups = Store(out).plan()["groups"]
    shutil.rmtree(next(iter((out / "trials").iterdir())))
    execute(job)
    assert Store(out).plan()["groups"] == groups
    with pytest.raises(InputError, match=f"{out} holds the study 'toy', not 'other'"):
        execute(other)


def test_a_lost_plan_is_made_anew_and_the_trials_are_kept(place, store):
    plan = store.plan()
    (store.directory / "plan.json").unlink()
    outcome, notes = again(place, store)
    assert (outcome.ran, outcome.kept) == (0, 5) and store.plan() == plan
    assert notes == ["plan.json is absent: made anew from the study, with 5 stored trials"]


def test_an_edited_study_keeps_what_it_has(place, store):
    outcome, notes = again(place, store, "seeds=[0, 1, 2]", "methods.prompt.num_virtual_tokens=5")
    assert (outcome.ran, outcome.kept) == (1 + 3, 3)
    assert notes == [
        "new in this study: toy/lora/seed 2, toy/prompt/seed 0, toy/prompt/seed 1, toy/prompt/seed 2",
        "2 stored trials of an earlier form of the study: kept in trials/, and in no table",
    ]
    cells = json.loads((store.directory / "results.json").read_text())["cells"]
    assert [cell["seeds"] for cell in cells] == [[], [0, 1, 2], [0, 1, 2]]
    assert len(list(store.trials.iterdir())) == 9
    back, notes = again(place, store)  # and back: nothing is trained twice
    assert (back.ran, back.kept) == (0, 5)
    assert notes == ["4 stored trials of an earlier form of the study: kept in trials/, and in no table"]
    assert content(store) == content(Store(place / "whole"))


@pytest.mark.parametrize("name", ["plan.json", "results.json", "record.json"])
def test_what_a_newer_version_wrote_is_refused_and_left_alone(place, store, name):
    path = store.directory / name
    if name == "record.json":
        path = store.trials / key(store, "base", None) / name
    data = json.loads(path.read_text())
    data["schema_version" if name == "record.json" else "schema"] = 2
    path.write_text(json.dumps(data))
    if name == "record.json":
        relist(path.parent)
    (store.directory / "report.html").unlink()
    with pytest.raises(BakeoffError, match=rf"{name}: has schema version 2.*, and this Bakeoff \(0.1.0\) reads 1; use"):
        again(place, store)
    assert json.loads(path.read_text()) == data and not (store.directory / "report.html").exists()


def test_a_full_disk_ends_the_run_and_is_no_trials_failure(place, store):
    shutil.rmtree(store.trials / key(store, "base", None))
    left = {path.name for path in store.trials.iterdir()}

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    durable.armed["fill.end"] = full
    try:
        with pytest.raises(StorageError, match=r"No space left on device.*free some space and run the same command"):
            again(place, store)
    finally:
        durable.armed.clear()
    assert {path.name for path in store.trials.iterdir()} == left and store.holder() is None
    outcome, _ = again(place, store)
    assert outcome.ran == 1 and content(store) == content(Store(place / "whole"))


def test_too_little_room_is_said_before_anything_is_written(place, tmp_path, monkeypatch):
    """LoRA on every linear layer and four virtual tokens, two seeds each, and a group with three checkpoints."""
    study, usage = load(place / "toy.yaml"), shutil.disk_usage(tmp_path)
    need = prepare(study, tmp_path / "out").need
    parameters = {trial.method: record.trainable_params for trial, record in _trials(Store(place / "whole"))}
    assert need.adapters == 4 * 2 * (parameters["lora"] + parameters["prompt"])
    assert need.checkpoints == 3 * 3 * 4 * 2 * parameters["lora"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=need.needed - 1))
    with pytest.raises(
        InputError, match=r"--out: too little room for what .*out will hold: it needs about .* is free; fr"
    ):
        prepare(study, tmp_path / "out")
    assert prepare(study, place / "whole").need.needed == 0 and not (tmp_path / "out").exists()


def test_what_a_run_that_died_left_gives_way_to_what_is_written(place, store, monkeypatch):
    """A resume that fits is not refused for the room that its own checkpoints take."""
    shutil.rmtree(store.trials / key(store, "lora", 0))
    need = prepare(load(place / "toy.yaml"), store.directory).need.needed
    for name in ("checkpoints/g/1/tensors", "staging/half/record"):
        (store.directory / name).parent.mkdir(parents=True)
        (store.directory / name).write_bytes(bytes(need // 2))
    usage = shutil.disk_usage(store.directory)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2))
    assert prepare(load(place / "toy.yaml"), store.directory).need.free == 2 + 2 * (need // 2)
    (store.directory / "staging" / "half" / "record").unlink()
    with pytest.raises(InputError, match="too little room"):
        prepare(load(place / "toy.yaml"), store.directory)


def _trials(store: Store) -> list[tuple[Trial, Record]]:
    records = [store.record(row["key"]) for row in store.plan()["trials"]]
    return [(record.trial, record) for record in records]
