"""Pulse and the screen: a run goes on where nobody sees it, and tells every trial once."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from conftest import tiny_model, tiny_tokenizer
from rich.console import Console
from synthetic_store import make_store

from bakeoff.run.group import Workplace
from bakeoff.run.progress import Progress
from bakeoff.run.pulse import Pulse
from bakeoff.run.run import run
from bakeoff.run.watch import Watch
from bakeoff.store import durable
from bakeoff.store.state import At
from bakeoff.store.store import Store
from bakeoff.study.load import load

pytestmark = pytest.mark.xdist_group("pulse")
STUDY = """
study: toy
models: {{tiny: {{path: {model}}}}}
tasks: [{{use: toy}}]
methods: {{lora: {{use: lora, r: 2, target_modules: all-linear}}}}
training: {{learning_rate: 5e-3, per_device_train_batch_size: 4, max_steps: 2}}
seeds: [0, 1, 2]
plugins: [{plugin}]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pulse")
    tiny_model("llama").save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    (folder / "toy.yaml").write_text(STUDY.format(model=folder / "model", plugin=Path(__file__).with_name("toy.py")))
    return folder


@pytest.fixture(autouse=True)
def _not_measured_alone(monkeypatch):
    monkeypatch.setattr(Workplace, "solo", lambda *_: None)


class Died(BaseException):
    """What nobody catches: the process would be gone."""


class Gone(Progress):
    """A screen that cannot be written to."""

    def __init__(self, error: BaseException):
        self.error = error

    def group(self, trials, engine):
        raise self.error

    def step(self, step, steps, losses):
        raise self.error

    def evaluating(self, benchmark):
        raise self.error

    def trial(self, record):
        raise self.error


def test_a_screen_that_is_gone_is_nobodys_failure(place):
    outcome = run(load(place / "toy.yaml"), place / "unseen", progress=Gone(BrokenPipeError(32, "Broken pipe")))
    assert (outcome.ran, outcome.failed) == (3, ())


@pytest.mark.parametrize(
    "error", [OSError(28, "full"), UnicodeEncodeError("ascii", "é", 0, 1, "no"), SystemExit(1)], ids=repr
)
def test_whatever_the_screen_says(tmp_path, error):
    """Rich leaves the program where nobody reads its pipe any more."""
    store = make_store(tmp_path / "out", lambda *_: [1.0, 0.0, 1.0], seeds=(0,))
    record = store.record(store.plan()["trials"][1]["key"])
    with store.lock(), Pulse(Gone(error), store) as pulse:
        pulse.group([record.trial], "lanes")
        pulse.step(1, 2, {"0": 0.5})
        pulse.evaluating("sst2")
        pulse.trial(record)
        assert At.model_validate_json((store.directory / "progress.json").read_bytes()).benchmark == "sst2"


@pytest.mark.parametrize("engine", ["lanes", pytest.param("reference", marks=pytest.mark.slow)])
def test_a_resumed_run_tells_no_trial_twice(place, engine):
    out, told = place / f"twice-{engine}", io.StringIO()
    commits: list[Path] = []

    def second(path: Path) -> None:
        commits.append(path)
        if sum(path.parent.name == "trials" for path in commits) == 2:
            raise Died

    durable.armed["publish.begin"] = second
    try:
        with pytest.raises(Died):
            run(load(place / "toy.yaml"), out, engine=engine)
    finally:
        durable.armed.clear()
    assert len(Store(out).stored()) == 1
    with Watch(Console(file=told, width=150)) as watch:
        run(load(place / "toy.yaml"), out, engine=engine, progress=watch)
    lines = [line for line in told.getvalue().splitlines() if " trials, " in line]
    assert [line[:11] for line in lines] == ["2 of 3 tria", "3 of 3 tria"]


def test_the_seconds_of_earlier_sittings_are_not_counted(tmp_path):
    store = make_store(tmp_path / "out", lambda *_: [1.0, 0.0, 1.0], seeds=(0, 1))
    record = store.record(store.plan()["trials"][1]["key"])
    resumed = record.model_copy(update={"provenance": record.provenance.model_copy(update={"resumed_at": (3,)})})

    def now() -> At:
        pulse.group([record.trial], "lanes")
        return At.model_validate_json((store.directory / "progress.json").read_bytes())

    with store.lock(), Pulse(Progress(), store) as pulse:
        pulse.trial(record)
        spent = record.cost.train_seconds + record.cost.eval_seconds
        assert now().counted_seconds == spent > 0
        before = now().elapsed_seconds
        pulse.trial(resumed)
        after = now()
        assert after.counted_seconds == 0 and after.elapsed_seconds < before
