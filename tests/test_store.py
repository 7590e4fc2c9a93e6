"""The store: damage is named with its file and line, and what is said to do about it throws nothing away."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from synthetic_store import make_store

from bakeoff.cli import main
from bakeoff.errors import BakeoffError
from bakeoff.store.record import Prompt
from bakeoff.store.store import Store


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
    assert "move trials/" in told.err or "use the Bakeoff that wrote it" in told.err


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("samples.jsonl", '"id":"sst2-1"', '"id":"sst', "samples.jsonl, line 2: damaged (Invalid JSON"),
        ("samples.jsonl", '"id":"sst2-0"', '"id":7', "samples.jsonl, line 1: damaged (id: Input should be a valid str"),
        ("samples.jsonl", '"id":"sst2-0"', '"id":"sst2-1"', "samples.jsonl: holds 2 items of sst2, and the record sa"),
        ("curve.jsonl", '{"step":3', "#", "curve.jsonl, line 3: damaged (Invalid JSON"),
        ("record.json", '"done"', '"fine"', "record.json: damaged (status: Input should be 'done'"),
        ("record.json", '"schema_version": 1', '"schema_version": 2', "record.json: has schema version 2, and this B"),
    ],
)
def test_damage_in_a_trial_is_named_with_its_line(store, name, old, new, said):
    from bakeoff.analysis.table import results

    lora = next(trial["key"] for trial in store.plan()["trials"] if trial["method"] == "lora")
    edited(store.trials / lora / name, old, new)
    with pytest.raises(BakeoffError) as caught:
        results(store)
    assert f"{lora}/{said}" in str(caught.value) and "\n" not in str(caught.value)
    mend = "use the Bakeoff that wrote it" if "schema" in said else f"restore it, or move {store.trials / lora} out of"
    assert mend in str(caught.value)


def test_a_record_from_before_methods_were_measured_alone_is_read(store):
    key = store.plan()["trials"][1]["key"]
    path = store.trials / key / "record.json"
    data = json.loads(path.read_text())
    del data["cost"]["solo"]
    path.write_text(json.dumps(data))
    assert store.record(key).cost.solo is None


@pytest.mark.parametrize("name", ["samples.jsonl", "curve.jsonl"])
def test_a_file_that_is_gone_is_missed(store, name):
    key = store.plan()["trials"][1]["key"]
    (store.trials / key / name).unlink()
    with pytest.raises(BakeoffError, match=f"{name}: absent, though the trial is stored; restore it, or move"):
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


def test_prompts_are_written_once_for_a_data_set_and_damage_is_named(store):
    first, second = (Prompt(benchmark="sst2", id=name, turns=(("user", "Which?"),)) for name in ("sst2-0", "sst2-1"))
    store.keep_prompts("ab" * 32, [first])
    store.keep_prompts("ab" * 32, [second])
    assert store.prompts("ab" * 32) == [first] and store.prompts("cd" * 32) == []
    (path,) = (store.directory / "prompts").iterdir()
    path.write_text('{"benchmark":')
    with pytest.raises(BakeoffError, match=r"abab\.jsonl, line 1: damaged .*remove it, and the next run writes it"):
        store.prompts("ab" * 32)
