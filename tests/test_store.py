"""The store: damage is named with its file and line, and what is said to do about it throws nothing away."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from synthetic_store import edit, make_store

from bakeoff.cli import main
from bakeoff.errors import BakeoffError, DamageError, InputError, StorageError
from bakeoff.store import durable
from bakeoff.store.record import Prompt
from bakeoff.store.store import Store, lines, prompts_file
from bakeoff.store.store import sealed as sealed_plan


@pytest.fixture
def store(tmp_path) -> Store:
    return make_store(tmp_path / "out", lambda *_: [1.0, 0.0, 1.0], ("base", "lora"), seeds=(0,))


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("command", ["report", "status"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("garbage {", "plan.json: damaged (Invalid JSON"),
        ("[]", "plan.json: damaged ("),
        ("{}", "plan.json: damaged (schema: Field required)"),
        ('{"schema": 2}', "plan.json: has schema version 2, and this Bakeoff"),
    ],
)
def test_a_damaged_plan_is_one_line(store, monkeypatch, capsys, command, content, said):
    (store.directory / "plan.json").write_text(content)
    monkeypatch.setattr(sys, "argv", ["bakeoff", command, str(store.directory)])
    with pytest.raises(SystemExit) as exit_:
        main()
    told = capsys.readouterr()
    assert exit_.value.code == 1
    assert said in told.err and told.err.count("\n") == 1 and "Traceback" not in told.err
    assert "restore it, or run the study again" in told.err or "use the one that wrote it" in told.err


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("samples.jsonl", '"id":"sst2-1"', '"id":"sst', "samples.jsonl, line 2: damaged (Invalid JSON"),
        ("samples.jsonl", '"id":"sst2-0"', '"id":7', "samples.jsonl, line 1: damaged (id: Input should be a valid str"),
        ("samples.jsonl", '"id":"sst2-0"', '"id":"sst2-1"', "samples.jsonl: holds 2 items of sst2, and the record sa"),
        ("curve.jsonl", '{"step":3', "#", "curve.jsonl, line 3: damaged (Invalid JSON"),
        ("record.json", '"done"', '"fine"', "record.json: damaged (status: Input should be 'done'"),
        (
            "record.json",
            '"schema_version": 1',
            '"schema_version": 2',
            "record.json: has schema version 2 (of Bakeoff 0",
        ),
    ],
)
def test_damage_in_a_trial_is_named_with_its_line(store, name, old, new, said):
    from bakeoff.analysis.table import results

    lora = next(trial["key"] for trial in store.plan()["trials"] if trial["method"] == "lora")
    edited(store.trials / lora / name, old, new)
    with pytest.raises(BakeoffError) as caught:
        results(store)
    assert f"{lora}/{said}" in str(caught.value) and "\n" not in str(caught.value)
    mend = "0.1.0) reads 1; use the one that" if "schema" in said else "restore it, or run the study again, which sets"
    assert mend in str(caught.value)


def test_a_record_from_before_methods_were_measured_alone_is_read(store):
    key = store.plan()["trials"][1]["key"]
    path = store.trials / key / "record.json"
    data = json.loads(path.read_text())
    del data["cost"]["solo"]
    edit(path, json.dumps(data))
    assert store.record(key).cost.solo is None


@pytest.mark.parametrize("name", ["samples.jsonl", "curve.jsonl"])
def test_a_file_that_is_gone_is_missed(store, name):
    key = store.plan()["trials"][1]["key"]
    (store.trials / key / name).unlink()
    with pytest.raises(BakeoffError, match=f"{name}: absent, though the trial is stored; restore it, or run"):
        store.record(key)


def test_another_trials_record_is_refused(store):
    base, lora = (trial["key"] for trial in store.plan()["trials"])
    shutil.copy(store.trials / base / "record.json", store.trials / lora / "record.json")
    with pytest.raises(BakeoffError, match=rf"{lora}/record.json: is the record of another trial \({base}\)"):
        store.record(lora)


def test_a_damaged_trial_moved_away_is_missing_and_nothing_else(store, tmp_path):
    """The advice works: the others stay."""
    base, lora = (trial["key"] for trial in store.plan()["trials"])
    (store.trials / lora / "record.json").write_text("{")
    (store.trials / lora).rename(tmp_path / "aside")
    assert store.record(base).status == "done" and not store.has(lora)


def test_a_report_that_cannot_be_written_is_one_line(store):
    from bakeoff.report import write

    (store.directory / "results.json").mkdir()
    with pytest.raises(BakeoffError, match=r"results.json: cannot be written \(Is a directory\)"):
        write(store, ["json"])
    assert json.loads((store.directory / "plan.json").read_text())


@pytest.fixture
def sealed(tmp_path) -> Store:
    return make_store(tmp_path / "out", lambda *_: [1.0, 0.0], ("base", "lora", "prompt"), seeds=(0,))


def keys(store: Store) -> dict[str, str]:
    return {trial["method"]: trial["key"] for trial in store.plan()["trials"]}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("samples.jsonl", '"text":"n', '"text":"m'),
        ("curve.jsonl", '"loss":0', '"loss":1'),
        ("record.json", "294912", "294913"),
    ],
)
def test_a_file_that_reads_well_and_is_not_what_was_written_is_damaged(sealed, name, old, new):
    lora = keys(sealed)["lora"]
    edited(sealed.trials / lora / name, old, new)
    with pytest.raises(DamageError, match=rf"{lora}/{name}: damaged \(other bytes than were written\); restore it, or"):
        assert sealed.samples(lora) and sealed.curve(lora)


def test_an_adapter_is_held_against_its_hash(sealed):
    lora = keys(sealed)["lora"]
    sealed.stage(lora)
    record = sealed.record(lora)
    shutil.rmtree(sealed.trials / lora)
    (adapter := sealed.stage(lora) / "adapter").mkdir()
    durable.fill(adapter / "weights", b"abc")
    sealed.commit(record.trial, record, [], [])
    assert sealed.adapter(lora).is_dir()
    (sealed.trials / lora / "adapter" / "weights").write_bytes(b"abd")
    with pytest.raises(DamageError, match=r"adapter/weights: other bytes than manifest.json says"):
        sealed.adapter(lora)


def test_damage_is_examined_counted_as_absent_and_set_aside(sealed):
    own = keys(sealed)
    (sealed.trials / own["lora"] / "trial.json").unlink()
    shutil.rmtree(sealed.trials / own["prompt"])
    (sealed.trials / own["prompt"]).write_text("a file")
    (sealed.directory / "study.yaml").mkdir()
    (sealed.directory / "results.json").write_text("{")
    (sealed.trials / own["base"] / ".DS_Store").write_text("nobody's harm")
    found = sealed.examine()
    assert (
        found["study.yaml"] == "study.yaml: a directory, no file" and "results.json: damaged (" in found["results.json"]
    )
    assert (
        found[own["lora"]] == "trial.json: absent, and manifest.json lists it"
        and found[own["prompt"]] == f"{own['prompt']}: no directory"
    )
    assert len(found) == 4 and sealed.stored() == {own["base"]} and not sealed.has(own["lora"])
    moved = sealed.repair()
    assert moved[own["lora"]] == sealed.directory / "damaged" / own["lora"] and moved[own["lora"]].is_dir()
    assert {path.name for path in (sealed.directory / "damaged").iterdir()} == {*found}
    assert not sealed.examine() and not sealed.has(own["prompt"])


def test_what_was_mended_in_the_meantime_is_not_moved(sealed):
    lora = keys(sealed)["lora"]
    path = sealed.trials / lora / "record.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert list(sealed.examine()) == [lora]
    path.write_bytes(whole)
    assert not sealed.repair() and sealed.finished(lora)


def test_a_plan_that_reads_well_and_is_not_what_was_written_is_damaged(tmp_path):
    made = make_store(tmp_path / "out", lambda *_: [1.0], ("base",))
    made.write("plan.json", sealed_plan(made.plan() | {"notes": {"x": '"sha256": ""'}}))
    assert "sha256" not in made.plan()
    edited(tmp_path / "out" / "plan.json", '"device": "cpu"', '"device": "cpv"')
    with pytest.raises(DamageError, match=r"plan.json: damaged \(other bytes than were written\)"):
        made.plan()


@pytest.mark.parametrize("key", ["../../etc", "/etc", "a/b", "."])
def test_a_plans_keys_lead_nowhere_else(store, key):
    plan = store.plan()
    plan["trials"][0]["key"] = key
    store.write("plan.json", json.dumps(plan))
    with pytest.raises(DamageError, match=r"trials.0.key: String should match pattern"):
        store.plan()


def test_a_plans_files_lead_nowhere_else(store):
    (store.directory.parent / "mine").write_text("text")
    store.write("plan.json", json.dumps(store.plan() | {"files": {"../mine": "00"}}))
    assert list(store.examine()) == ["plan.json"] and list(store.repair()) == ["plan.json"]
    assert (store.directory.parent / "mine").read_text() == "text"


def test_folders_that_lead_elsewhere_are_set_aside(store, tmp_path):
    (tmp_path / "mine").mkdir()
    (store.directory / "staging").symlink_to(tmp_path / "mine")
    assert store.examine() == {"staging": "staging: no directory"}
    assert store.repair()["staging"].is_symlink() and (tmp_path / "mine").is_dir()


def test_what_is_finished_stays_whoever_comes_later(sealed):
    base, lora = sealed.record(keys(sealed)["base"]), sealed.record(keys(sealed)["lora"])
    before = (sealed.trials / lora.key / "manifest.json").read_bytes()
    sealed.stage(lora.key)
    sealed.commit(lora.trial, lora.model_copy(update={"status": "failed"}), [], [])
    assert (sealed.trials / lora.key / "manifest.json").read_bytes() == before
    assert not (sealed.directory / "staging").exists() and sealed.finished(base.key)


def test_what_failed_is_replaced(sealed):
    lora = sealed.record(keys(sealed)["lora"])
    shutil.rmtree(sealed.trials / lora.key)
    for status in ("failed", "done"):
        sealed.stage(lora.key)
        sealed.commit(lora.trial, lora.model_copy(update={"status": status, "benchmarks": {}}), [], [])
        assert sealed.record(lora.key).status == status and not sealed.wrong(lora.key)
    assert not (sealed.directory / "staging").exists()


def test_what_another_writer_finished_in_the_moment_between_stays(sealed, tmp_path):
    lora = sealed.record(keys(sealed)["lora"])
    place = sealed.trials / lora.key
    place.rename(tmp_path / "done")
    sealed.stage(lora.key)
    sealed.commit(lora.trial, lora.model_copy(update={"status": "failed", "benchmarks": {}}), [], [])

    def quicker(path: Path) -> None:
        shutil.rmtree(path)
        (tmp_path / "done").rename(path)

    sealed.stage(lora.key)
    durable.armed["move.begin"] = quicker
    try:
        sealed.commit(lora.trial, lora.model_copy(update={"benchmarks": {}}), [], [])
    finally:
        durable.armed.clear()
    assert sealed.record(lora.key) == lora and not sealed.wrong(lora.key)
    assert not (sealed.directory / "staging").exists()


def test_a_directory_that_is_gone_is_not_made_anew_half_empty(sealed):
    lora = sealed.record(keys(sealed)["lora"])
    shutil.rmtree(sealed.directory)
    with pytest.raises(StorageError, match=r"No such file or directory.*the directory is gone"):
        sealed.stage(lora.key)
    with pytest.raises(StorageError, match="the directory is gone"):
        sealed.commit(lora.trial, lora, [], [])
    assert not sealed.directory.exists()


def test_what_is_staged_is_cleared_at_one_stroke(sealed):
    """A worker of a run that died, which is about to store its trial, stores none that lacks its adapter."""
    lora = sealed.record(keys(sealed)["lora"])
    shutil.rmtree(sealed.trials / lora.key)
    (sealed.stage(lora.key) / "adapter").mkdir()
    Store(sealed.directory).clear_staging()
    with pytest.raises(StorageError, match="No such file or directory"):
        sealed.commit(lora.trial, lora, [], [])
    assert not sealed.has(lora.key) and not sealed.partial()


def test_only_what_is_a_runs_own_is_cleared(sealed):
    """Not what an export beside it is about to write, nor a person's file."""
    others = [sealed.directory / ".merged.partial", sealed.directory / ".notes.partial"]
    for path in others:
        path.write_text("theirs")
    (sealed.directory / ".plan.json.17.partial").write_text("half")
    sealed.clear_staging()
    assert all(path.exists() for path in others) and not sealed.partial()


@pytest.mark.parametrize("name", ["trials", "damaged"])
def test_a_link_that_leads_out_of_the_directory_is_refused(sealed, tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    shutil.rmtree(sealed.directory / name, ignore_errors=True)
    (sealed.directory / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"{name} is a link, and results would end up elsewhere; give another"):
        sealed.earlier("made")
    assert sealed.examine() == {name: f"{name}: no directory"}


def test_a_directory_that_cannot_be_looked_into_is_named(sealed, tmp_path):
    for name in ("a" * 300, "loop"):
        (tmp_path / "loop").unlink(missing_ok=True)
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(InputError, match="cannot be read"):
            Store.open(tmp_path / name)
        with pytest.raises(InputError, match="cannot be used"):
            Store(tmp_path / name).earlier("made")
    shutil.rmtree(sealed.trials)
    sealed.trials.symlink_to("trials")
    with pytest.raises(DamageError, match=r"trials: cannot be read .*; allow reading there"):
        sealed.stored()
    with pytest.raises(InputError, match=r"'a\\x00b': holds a NUL, which no name can; give another directory"):
        Store("a\0b")


def test_a_plan_that_is_gone_is_missed_where_a_run_has_begun(sealed):
    (sealed.directory / "plan.json").unlink()
    assert sealed.examine() == {"plan.json": "plan.json: absent"} and sealed.earlier("made") is None
    shutil.rmtree(sealed.trials)
    sealed.write("study.yaml", "study: made")
    with pytest.raises(InputError, match=r"holds a study.yaml that is no run's \(plan.json is absent\)"):
        sealed.earlier("made")
    (sealed.directory / "staging" / "one").mkdir(parents=True)
    durable.publish(sealed.directory / "staging" / "one", sealed.directory / "checkpoints" / "group" / "1")
    assert sealed.earlier("made") is None


def test_prompts_are_read_and_damage_is_named(store):
    first = Prompt(benchmark="sst2", id="sst2-0", turns=(("user", "Which?"),))
    store.write(prompts_file("ab" * 32), lines([first]))
    assert store.prompts("ab" * 32) == [first] and store.prompts("cd" * 32) == []
    (path,) = (store.directory / "prompts").iterdir()
    path.write_text('{"benchmark":')
    with pytest.raises(DamageError, match=r"abab\.jsonl, line 1: damaged .*restore it, or run the study again"):
        store.prompts("ab" * 32)
