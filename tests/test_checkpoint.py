"""A group that dies and goes on from its checkpoints: the records, samples, curves and files of an undisturbed one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import tiny_model, tiny_tokenizer

from bakeoff.engine.state import restore
from bakeoff.errors import StorageError, TrialError
from bakeoff.report.verify import verify
from bakeoff.run import checkpoint, plan
from bakeoff.run.group import Workplace, carry_out
from bakeoff.run.interrupt import Interrupt
from bakeoff.run.progress import Progress
from bakeoff.run.run import run
from bakeoff.store import durable
from bakeoff.store.record import Record
from bakeoff.store.store import Store
from bakeoff.study import registry
from bakeoff.study.load import load

pytestmark = pytest.mark.xdist_group("checkpoint")
TEXT = "{use: toy_text, decoding: {max_new_tokens: 3, temperature: 1.0, samples: 2}}"
LORA = "{use: lora, r: 2, lora_dropout: 0.3, target_modules: all-linear}"
STUDY = """
study: toy
models: {{tiny: {{path: {model}}}}}
tasks: [{{use: toy}}, {text}]
methods:
  full: {{use: full}}
  lora: {lora}
training: {{learning_rate: 5e-3, per_device_train_batch_size: 6, gradient_accumulation_steps: 2, max_steps: 5}}
seeds: [0, 1, 2]
plugins: [{plugin}]
"""
GROUPS = [("lanes", "lora", "toy"), ("lanes", "lora", "toy_text"), ("reference", "lora", "toy_text")]
MORE = [("lanes", "full", "toy_text"), ("reference", "full", "toy"), ("reference", "lora", "toy")]


class Died(BaseException):
    """What nobody catches: the process would be gone."""


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory) -> Iterator[Path]:
    """Twelve examples make several portions, and a checkpoint comes whenever there is something new."""
    folder = tmp_path_factory.mktemp("toy")
    tiny_model("llama").save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    plugin = Path(__file__).with_name("toy.py")
    (folder / "toy.yaml").write_text(STUDY.format(model=folder / "model", plugin=plugin, text=TEXT, lora=LORA))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bakeoff.engine.evaluate.PORTION", {"cpu": 8})
        patch.setattr("bakeoff.engine.evaluate.PORTION_PASSES", 1)
        patch.setattr("bakeoff.engine.evaluate.SCORED_TOKENS", {"cpu": 150})
        patch.setattr("bakeoff.engine.reference.PORTION", 5)
        patch.setattr(checkpoint, "SECONDS", 0.0)
        patch.setattr(checkpoint, "REST", 0)
        patch.setattr(Workplace, "solo", lambda *_: None)
        yield folder
    planned.cache_clear()
    undisturbed.cache_clear()


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    durable.armed.clear()


@cache
def planned(place: Path) -> plan.Plan:
    return plan.make(load(place / "toy.yaml"))


class Notes(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def begun(place: Path, name: str) -> Store:
    """The directory as a run has it before its first group."""
    store = Store(place / name)
    store.directory.mkdir(exist_ok=True)
    store.write("plan.json", planned(place).as_json())
    store.clear_staging()
    return store


def sit(place: Path, name: str, kind: tuple[str, str, str], progress: Progress | None = None) -> list[Record]:
    """One sitting of a group in the directory `name`."""
    engine, method, task = kind
    made = planned(place)
    number, group = next(
        (n, group) for n, group in enumerate(made.groups) if (group[0].method, group[0].task) == (method, task)
    )
    store = begun(place, name)
    return carry_out(Workplace(made, store, engine, "inline", progress or Progress()), number, group)


def told(record: Record) -> dict[str, Any]:
    """A record without what is told of time and machine."""
    data = record.model_dump(mode="json", exclude={"provenance"})
    return data | {"cost": {k: v for k, v in data["cost"].items() if not k.endswith("seconds")}}


@cache
def undisturbed(place: Path, kind: tuple[str, str, str]) -> dict[str, Any]:
    return came_to(place, "-".join(kind), sit(place, "-".join(kind), kind))


def came_to(place: Path, name: str, records: list[Record]) -> dict[str, Any]:
    """Everything that is stored of the trials; nothing else is left."""
    store = Store(place / name)
    assert not any((store.directory / "checkpoints").glob("*"))
    assert all(record.status == "done" for record in records), records[0].reason
    return {
        record.key: (
            told(store.record(record.key)),
            store.samples(record.key),
            store.curve(record.key),
            {file.name: file.read_bytes() for file in store.adapter(record.key).iterdir()},
        )
        for record in records
    }


def dies(point: str, after: int) -> None:
    """Die at a failpoint of a checkpoint, the `after`-th time that it is passed."""
    passed: list[Path] = []

    def at(path: Path) -> None:
        if "checkpoint" in str(path):
            passed.append(path)
            if len(passed) == after:
                raise Died

    durable.armed[point] = at


@pytest.mark.parametrize("kind", [*GROUPS, *(pytest.param(kind, marks=pytest.mark.slow) for kind in MORE)])
def test_a_group_that_dies_after_every_step_and_every_portion(place, kind):
    """At the first step, in the middle and at the edge of an epoch (of four steps), at the last step, in evaluation."""
    expected, name, sittings = undisturbed(place, kind), f"chain-{'-'.join(kind)}", 0
    while True:
        sittings += 1
        dies("publish.end", 1)
        try:
            records = sit(place, name, kind)
            break
        except Died:
            assert sittings < 60
    assert came_to(place, name, records) == expected
    steps = {at for record in records for at in record.provenance.resumed_at}
    assert steps == {1, 2, 3, 4, 5}
    portions = sittings - 1 - 5 * (3 if kind[0] == "reference" and kind[1] == "lora" else 1)
    assert portions >= 3  # of the evaluation, each begun anew
    assert all(record.cost.train_seconds > 0 < record.cost.eval_seconds for record in records)


@pytest.mark.parametrize("point", [point for point in durable.POINTS if point.split(".")[0] in ("fill", "publish")])
def test_a_group_that_dies_while_a_checkpoint_is_written(place, point):
    kind = GROUPS[1]
    dies(point, 3)
    with pytest.raises(Died):
        sit(place, f"died-{point}", kind)
    durable.armed.clear()
    records = sit(place, f"died-{point}", kind)
    assert came_to(place, f"died-{point}", records) == undisturbed(place, kind)
    assert all(record.provenance.resumed_at for record in records)


def test_one_that_dies_before_its_first_step_or_between_two_trials(place):
    kind = GROUPS[1]

    class Stop(Progress):
        def group(self, trials, engine):
            raise Died

    with pytest.raises(Died):
        sit(place, "unbegun", kind, Stop())
    commits: list[Path] = []

    def second(path: Path) -> None:
        commits.append(path)
        if "trials" in path.parts and sum("trials" in one.parts for one in commits) == 2:
            raise Died

    durable.armed["publish.begin"] = second
    with pytest.raises(Died):
        sit(place, "unbegun", kind)
    durable.armed.clear()
    assert len(list((place / "unbegun" / "trials").iterdir())) == 1
    records = sit(place, "unbegun", kind)
    assert came_to(place, "unbegun", records) == undisturbed(place, kind)
    assert [record.provenance.resumed_at for record in records] == [(), (5,), (5,)]


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_used(place):
    kind, notes = GROUPS[1], Notes()
    dies("publish.end", 4)
    with pytest.raises(Died):
        sit(place, "damaged", kind)
    durable.armed.clear()
    (home,) = (place / "damaged" / "checkpoints").iterdir()
    assert sorted(path.name for path in home.iterdir()) == ["2", "3", "4"]  # it died before the oldest was dropped
    tensors = home / "4" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"!")
    records = sit(place, "damaged", kind, notes)
    note, going_on = notes.notes
    assert going_on.endswith("going on from the checkpoint of step 3")
    assert "4: damaged (tensors.safetensors: other bytes than manifest.json says)" in note
    assert note.endswith("the one before it is used")
    assert len(list((place / "damaged" / "damaged").iterdir())) == 1
    assert records[0].provenance.resumed_at == (3,)
    assert came_to(place, "damaged", records) == undisturbed(place, kind)


def test_a_checkpoint_of_another_version_is_told_and_not_used(place, monkeypatch):
    kind, notes = GROUPS[1], Notes()
    dies("publish.end", 2)
    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr("bakeoff.__version__", "0.0.1")
        sit(place, "older", kind)
    durable.armed.clear()
    records = sit(place, "older", kind, notes)
    assert [note.split(": ", 1)[1] for note in notes.notes] == [
        "not used, it was made by bakeoff 0.0.1, not 0.1.0; training starts anew"
    ]
    assert records[0].provenance.resumed_at == ()
    assert came_to(place, "older", records) == undisturbed(place, kind)


def test_a_checkpoint_that_does_not_fit_is_told_and_the_group_begins_anew(place, monkeypatch):
    """The code of a method was changed, under the same version: the second learner's state is of another form."""
    kind, notes = GROUPS[1], Notes()
    dies("publish.end", 2)
    with pytest.raises(Died):
        sit(place, "misfit", kind)
    durable.armed.clear()
    (home,) = (place / "misfit" / "checkpoints").iterdir()
    restored: list[int] = []

    def changed(*learner: Any) -> None:
        restored.append(1)
        if len(restored) == 2:
            raise TrialError("the saved trained tensors are not those of this trial: extra")
        restore(*learner)

    monkeypatch.setattr("bakeoff.run.course.restore", changed)
    records = sit(place, "misfit", kind, notes)
    why = "the saved trained tensors are not those of this trial: extra"
    assert notes.notes == [f"{home}: not used ({why}); training starts anew"]
    assert records[0].provenance.resumed_at == ()
    assert came_to(place, "misfit", records) == undisturbed(place, kind)


def test_an_edited_plugin_starts_what_was_under_way_anew(place, monkeypatch):
    kind, notes = GROUPS[1], Notes()
    dies("publish.end", 2)
    with pytest.raises(Died):
        sit(place, "edited", kind)
    durable.armed.clear()
    plugin = place / "toy.py"
    plugin.write_bytes(Path(__file__).with_name("toy.py").read_bytes() + b"# edited\n")
    registry.load_plugin(plugin, "plugins.0")
    made = replace(planned(place), study=planned(place).study.model_copy(update={"plugins": (str(plugin),)}))
    monkeypatch.setitem(globals(), "planned", lambda _: made)
    assert {record.status for record in sit(place, "edited", kind, notes)} == {"done"}
    (note,) = notes.notes
    assert re.search(
        r"not used, it was made by plugins.0 toy.py [0-9a-f]{12}, not [0-9a-f]{12}; training starts anew$", note
    )


def test_other_threads_are_told_and_files_that_nobody_wrote_do_no_harm(place):
    kind, notes, threads = GROUPS[1], Notes(), torch.get_num_threads()
    dies("publish.end", 2)
    with pytest.raises(Died):
        sit(place, "threads", kind)
    durable.armed.clear()
    for one in (place / "threads" / "checkpoints").glob("*/*"):
        (one / ".DS_Store").write_text("x")
    torch.set_num_threads(threads + 1)
    try:
        records = sit(place, "threads", kind, notes)
    finally:
        torch.set_num_threads(threads)
    changed, going_on = notes.notes
    assert f"gone on with {threads + 1} threads of the processor, not {threads}: numbers may differ" in changed
    assert going_on.endswith("going on from the checkpoint of step 2")
    assert records[0].provenance.resumed_at == (2,)


def test_a_full_temporary_directory_is_no_trials_failure(place, monkeypatch):
    """While answers are graded; run again, they are not drawn again."""

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device", "/tmp/x")

    with monkeypatch.context() as patch, pytest.raises(StorageError, match=r"/tmp/x: cannot be written .*free some"):
        patch.setattr("bakeoff.engine.evaluate.graded", full)
        sit(place, "full", GROUPS[1])
    assert not Store(place / "full").stored()
    assert came_to(place, "full", sit(place, "full", GROUPS[1])) == undisturbed(place, GROUPS[1])


def test_checkpoints_go_at_one_stroke(place, monkeypatch):
    """Whoever reads them, during a run or after one that died over it, finds no half."""
    kind = GROUPS[1]
    dies("publish.end", 4)
    with pytest.raises(Died):
        sit(place, "stroke", kind)
    durable.armed.clear()

    def dying(path: Path, **_: Any) -> None:
        next(file for file in Path(path).rglob("*") if file.is_file()).unlink()
        raise Died

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(checkpoint, "shutil", SimpleNamespace(rmtree=dying))
        sit(place, "stroke", kind)
    store = Store(place / "stroke")
    assert not [line for line in verify(store).damage if "checkpoint" in line]
    monkeypatch.setattr(durable, "check", vanishing(durable.check))
    assert not [line for line in verify(store).damage if "checkpoint" in line]


def vanishing(check: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """A run at work removes a checkpoint while it is looked at."""

    def checked(path: Path, extra: bool = True) -> list[str]:
        if "checkpoints" in path.parts:
            shutil.rmtree(path)
        return check(path, extra)

    return checked


def test_what_cannot_be_graded_is_not_drawn_again(place, monkeypatch):
    """The checkpoint of a trial whose answers could not be graded stays, and these are graded in the next run."""
    from bakeoff.engine.evaluate import graded

    kind = GROUPS[1]

    def fails(*_: Any) -> Any:
        raise TrialError("no sandbox")

    with monkeypatch.context() as patch:
        patch.setattr("bakeoff.engine.evaluate.graded", fails)
        assert {record.status for record in sit(place, "ungraded", kind)} == {"failed"}
    with monkeypatch.context() as patch:
        patch.setattr("bakeoff.engine.evaluate.answer", fails)
        patch.setattr("bakeoff.engine.evaluate.graded", graded)
        records = sit(place, "ungraded", kind)
    assert came_to(place, "ungraded", records) == undisturbed(place, kind)


# --- interrupts ---


class Signals(Progress):
    """Sends itself signals at a step, or as a benchmark begins."""

    def __init__(self, number: int, at: int | str, times: int = 1):
        self.number, self.at, self.times = number, at, times

    def step(self, step: int, steps: int, losses: dict[str, float]) -> None:
        self._send(step)

    def evaluating(self, benchmark: str) -> None:
        self._send(benchmark)

    def _send(self, now: int | str) -> None:
        if now == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("number", "at", "resumed"), [(signal.SIGINT, 3, (3,)), (signal.SIGTERM, "toy_more", (5,))], ids=["step", "answers"]
)
def test_one_signal_saves_and_stops(place, monkeypatch, number, at, resumed):
    """However long the next checkpoint would have been away; then the same command goes on to the same bits."""
    out, before = place / f"signal-{at}", signal.getsignal(number)
    study = load(place / "toy.yaml", [f"tasks=[{TEXT}]", f"methods={{lora: {LORA}}}"])
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "SECONDS", 1e9)
        with pytest.raises(KeyboardInterrupt):
            run(study, out, progress=Signals(number, at))
    assert signal.getsignal(number) == before
    assert len(list((out / "checkpoints").glob("*/*"))) == 1
    outcome = run(study, out)
    records = [outcome.store.record(row["key"]) for row in outcome.store.plan()["trials"]]
    assert {record.provenance.resumed_at for record in records} == {resumed}
    assert not (out / "checkpoints").exists()
    assert came_to(place, out.name, records) == undisturbed(place, GROUPS[1])


@pytest.mark.slow
def test_a_signal_reaches_the_process_of_an_executor(place):
    """It saves before it ends; what it stores in the end is what it would have stored undisturbed."""
    study = load(place / "toy.yaml", ["tasks=[toy]", f"methods={{lora: {LORA}}}"])
    with pytest.raises(KeyboardInterrupt):
        run(study, place / "process", executor="process", progress=Signals(signal.SIGINT, 3))
    assert len(list((place / "process" / "checkpoints").glob("*/*"))) == 1
    stores = [run(study, place / name, executor="process").store for name in ("process", "whole process")]
    for row in stores[0].plan()["trials"]:
        one, other = (store.record(row["key"]) for store in stores)
        assert one.provenance.resumed_at and not other.provenance.resumed_at
        assert one.benchmarks == other.benchmarks and stores[0].curve(one.key) == stores[1].curve(one.key)
        assert stores[0].samples(one.key) == stores[1].samples(one.key)


def test_a_second_signal_stops_at_once(place):
    with pytest.raises(KeyboardInterrupt):
        sit_heeding(place, "twice", Signals(signal.SIGINT, 3, times=2))
    (home,) = (place / "twice" / "checkpoints").iterdir()
    assert max(int(path.name) for path in home.iterdir()) == 2  # the third step's was never written


def sit_heeding(place: Path, name: str, progress: Progress) -> None:
    made = planned(place)
    number, group = next((n, g) for n, g in enumerate(made.groups) if g[0].method == "lora")
    workplace = Workplace(made, begun(place, name), "lanes", "inline", progress)
    with workplace.interrupt.heeded():
        carry_out(workplace, number, group)


def test_signals_are_left_alone_outside_the_main_thread_and_where_they_are_ignored():
    found: list[Callable[..., Any] | int | None] = []

    def listen() -> None:
        with Interrupt().heeded():
            found.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [before]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        listen()
        assert found[1] == signal.SIG_IGN == signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
