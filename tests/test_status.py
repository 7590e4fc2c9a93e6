"""status and verify: what became of a study, as its directory tells, damage named line by line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from synthetic_store import make_store

from bakeoff.cli import main
from bakeoff.report import write
from bakeoff.run.progress import Progress
from bakeoff.run.pulse import Pulse
from bakeoff.store import durable
from bakeoff.store.state import At, state
from bakeoff.store.store import Store
from bakeoff.store.store import sealed as sealed_plan

STATUS = {("sst2", "prompt", 0): "missing", ("sst2", "prompt", 1): "failed", ("sst2", "lora", 1): "diverged"}


def made(folder: Path, status=None) -> Store:
    store = make_store(folder, lambda *_: [1.0, 0.0, 1.0], seeds=(0, 1), status=status)
    store.write("plan.json", sealed_plan(store.plan()))
    write(store, ["json"])
    return store


def call(monkeypatch, capsys, *arguments: object) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["bakeoff", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return int(exit_.value.code or 0), told.out + told.err


def key(store: Store, method: str, seed: int | None) -> str:
    return next(t["key"] for t in store.plan()["trials"] if (t["method"], t["seed"]) == (method, seed))


def test_status_counts_what_became_of_each_trial(tmp_path, monkeypatch, capsys):
    store = made(tmp_path / "out", STATUS)
    shutil.copytree(store.trials / key(store, "base", None), store.trials / ("ab" * 32))
    code, told = call(monkeypatch, capsys, "status", store.directory)
    assert code == 0
    assert told.splitlines() == [
        f"{store.directory}: 2 done, 1 diverged, 1 failed, 1 missing",
        "  no process is running it: `bakeoff run` goes on",
        "  stored trials of earlier forms of the study, in no table: 1",
        "  diverged: sst2/lora/seed 1: out of memory",
        "  failed: sst2/prompt/seed 1: out of memory",
    ]


def test_the_time_left_is_at_the_finished_trials_times(tmp_path):
    store = made(tmp_path / "out", {("sst2", "lora", 1): "missing", ("sst2", "prompt", 0): "missing"})
    lora, prompt = (sum(_seconds(store, name, seed)) for name, seed in (("lora", 0), ("prompt", 1)))
    assert state(store).seconds_left == pytest.approx(lora + prompt)
    with store.lock():
        told = At(elapsed_seconds=90, counted_seconds=30, running=(key(store, "lora", 1),), group="g", step=3, steps=9)
        store.write("progress.json", told.model_dump_json())
        now = state(store)
    assert now.seconds_left == pytest.approx(3 * (lora + prompt)) and now.count("running") == 1
    assert str(now.at) == "g: step 3 of 9"
    store.write("progress.json", "{")
    assert state(store).at is None


def _seconds(store: Store, method: str, seed: int) -> tuple[float, float]:
    cost = store.record(key(store, method, seed)).cost
    return cost.train_seconds, cost.eval_seconds


def test_what_a_run_is_at_is_kept_while_it_runs(tmp_path):
    store = made(tmp_path / "out", STATUS)
    missing = next(store.record(key(store, "prompt", 1)).trial for _ in (0,))
    with store.lock(), Pulse(Progress(), store) as pulse:
        assert str(state(store).at) == "preparing"
        pulse.group([missing], "lanes")
        pulse.step(1, 10, {"1": 0.5})
        assert state(store).count("running") == 1
        pulse.evaluating("sst2")
        assert str(state(store).at) == "sst2/prompt/seed 1: answering sst2"
        before = (store.directory / "progress.json").read_bytes()
        pulse.step(2, 10, {"1": 0.5})  # within the second
        assert (store.directory / "progress.json").read_bytes() == before
        durable.armed["write.begin"] = lambda path: (_ for _ in ()).throw(OSError(28, "full"))
        try:
            pulse.evaluating("sst2")  # nobody waits for news
        finally:
            durable.armed.clear()
    assert not (store.directory / "progress.json").exists()


def test_status_follows_until_the_run_ends(tmp_path, monkeypatch, capsys):
    store = made(tmp_path / "out", STATUS)
    monkeypatch.setattr(time, "sleep", lambda seconds, sleep=time.sleep: sleep(seconds / 20))
    held, done = threading.Event(), threading.Event()

    def run() -> None:
        with store.lock():
            held.set()
            done.wait(0.4)

    thread = threading.Thread(target=run)
    thread.start()
    held.wait()
    code, told = call(monkeypatch, capsys, "status", store.directory, "--follow")
    thread.join()
    lines = told.splitlines()
    assert code == 0 and len([line for line in lines if "1 left" in line]) == 1
    assert lines[1] == f"{store.directory}: 2 done, 1 diverged, 1 failed, 1 missing"


def test_a_whole_study_is_verified(tmp_path, monkeypatch, capsys):
    store = made(tmp_path / "out")
    code, told = call(monkeypatch, capsys, "verify", store.directory)
    assert code == 0
    said = "5 trials planned: 5 done; 20 files of 5 stored trials are as they were written"
    assert told == f"{store.directory}: {said}\n"


def test_an_unfinished_one_is_no_damage_and_all_else_is_remarked(tmp_path, monkeypatch, capsys):
    store = made(tmp_path / "out", STATUS)
    shutil.copytree(store.trials / key(store, "base", None), store.trials / ("ab" * 32))
    (store.trials / key(store, "base", None) / "notes.txt").write_text("mine")
    (store.directory / "staging" / "x").mkdir(parents=True)
    durable.fill(store.directory / "staging" / "x" / "record.json", b"{")
    durable.publish(_staged(store), store.directory / "checkpoints" / "g" / "1")
    os.rename(store.trials / ("ab" * 32), store.trials / ("ac" * 32))
    (store.directory / "results.json").unlink()
    code, told = call(monkeypatch, capsys, "verify", store.directory)
    assert code == 0 and "damaged:" not in told
    for said in (
        "2 done, 1 diverged, 1 failed, 1 missing; 20 files of 5 stored trials are as they were written, and 1 checkp",
        "stored trials of earlier forms of the study, in no table: 1",
        "results.json: absent; `bakeoff report` writes it",
        f"trials/{key(store, 'base', None)}/notes.txt: not written by Bakeoff",
        "half-written files and directories of a run that died, which the next one clears away: 1",
    ):
        assert said in told


def _staged(store: Store) -> Path:
    (store.directory / "staging" / "c").mkdir(parents=True)
    durable.fill(store.directory / "staging" / "c" / "state.json", b"{}")
    return store.directory / "staging" / "c"


def test_damage_is_named_line_by_line(tmp_path, monkeypatch, capsys):
    store = made(tmp_path / "out")
    lora, prompt = key(store, "lora", 0), key(store, "prompt", 0)
    (store.trials / lora / "curve.jsonl").write_text("")
    shutil.rmtree(store.trials / prompt)
    (store.trials / prompt).symlink_to("nowhere")
    durable.publish(_staged(store), store.directory / "checkpoints" / "g" / "1")
    (store.directory / "checkpoints" / "g" / "1" / "state.json").write_text("[]")
    code, told = call(monkeypatch, capsys, "verify", store.directory)
    size = json.loads((store.trials / lora / "manifest.json").read_text())["curve.jsonl"]["bytes"]
    assert code == 1 and "3 done, 2 damaged" in told
    assert [line for line in told.splitlines() if line.startswith("damaged: ")] == [
        *sorted(
            [
                f"damaged: trials/{lora}: curve.jsonl: 0 bytes, and manifest.json says {size:,}",
                f"damaged: trials/{prompt}: no directory",
            ]
        ),
        "damaged: checkpoints/g/1: state.json: other bytes than manifest.json says",
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("plan.json", "damaged: plan.json: damaged (Invalid JSON"),
        ("results.json", "damaged: results.json: damaged (Invalid JSON"),
    ],
)
def test_damage_of_the_studys_own_files_is_named(tmp_path, monkeypatch, capsys, name, said):
    store = made(tmp_path / "out")
    data = (store.directory / name).read_bytes()
    (store.directory / name).write_bytes(data[: len(data) // 2])
    code, told = call(monkeypatch, capsys, "verify", store.directory)
    assert code == 1 and said in told


def test_results_that_the_trials_do_not_give_are_damage(tmp_path, monkeypatch, capsys):
    store = made(tmp_path / "out")
    path = store.directory / "results.json"
    path.write_text(path.read_text().replace("0.66", "0.77", 1))
    code, told = call(monkeypatch, capsys, "verify", store.directory)
    assert code == 1 and "damaged: results.json: not what the trials say" in told


def test_groups_that_are_not_the_plans_trials_are_damage(tmp_path, monkeypatch, capsys):
    store = made(tmp_path / "out")
    plan = store.plan()
    plan["groups"][0].pop()
    store.write("plan.json", sealed_plan(plan))
    code, told = call(monkeypatch, capsys, "verify", store.directory)
    assert code == 1 and "damaged: plan.json: lists 5 trials, and its groups hold 4 of them" in told


def test_a_report_of_nothing_says_so(tmp_path, monkeypatch, capsys):
    status = {("sst2", name, seed): "missing" for name in ("base", "lora", "prompt") for seed in (None, 0, 1)}
    store = make_store(tmp_path / "out", lambda *_: [1.0], seeds=(0, 1), status=status)
    code, told = call(monkeypatch, capsys, "report", store.directory)
    assert code == 0 and "no trial is finished, so that there is nothing to report yet" in told


def test_a_reader_that_goes_away_is_no_error():
    """`bakeoff ... | head`: the program ends quietly, whoever prints."""
    for arguments in (["list", "methods"], ["audit", "paper", "--json"]):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [sys.executable, "-c", "from bakeoff.cli import main; main()", *arguments],
            stdout=writing, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        os.close(writing)
        assert done.returncode == 1 and done.stderr == ""
