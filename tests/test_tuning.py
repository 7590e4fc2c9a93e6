"""Tuning: what is chosen and tried next, what a budget is worth, and a tuned study from file to report."""

from __future__ import annotations

import io
import json
import math
import shutil
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_model, tiny_tokenizer
from rich.console import Console
from scipy import stats
from synthetic_store import bernoulli, make_store

from bakeoff.analysis.table import results
from bakeoff.analysis.tuning import Tried, at_edge, best, budget_curve, expected_best, falls, next_round
from bakeoff.engine import evaluate, reference
from bakeoff.errors import InputError
from bakeoff.report import write
from bakeoff.report.comparisons import of_study
from bakeoff.run import plan as planning
from bakeoff.run.progress import Progress, varied
from bakeoff.run.run import run
from bakeoff.run.watch import Watch
from bakeoff.store.store import Store
from bakeoff.study import registry
from bakeoff.study.load import dump, load
from bakeoff.use.trial import open_trial

pytestmark = pytest.mark.xdist_group("tuning")  # its study is run once, not by each worker


def tried(*scores: float | str | None, rates=(1e-4, 1e-3, 1e-2, 1e-1)) -> list[Tried]:
    """Trials of those scores; a word is a status without one."""
    return [
        Tried(rate, one) if isinstance(one, str) else Tried(rate, "done", one)  # type: ignore[arg-type]
        for rate, one in zip(rates, scores, strict=False)
    ]


# --- the choice ---


def test_the_best_score_is_chosen_and_the_smaller_rate_where_two_tie():
    assert best(tried(0.1, 0.5, 0.3)).rate == 1e-3
    assert best(tried(0.1, 0.5, 0.5)).rate == 1e-3
    assert best(tried("diverged", "failed", 0.0)).rate == 1e-2
    assert best(tried("diverged", "diverged")).rate == 1e-4


def test_a_best_rate_at_the_end_of_what_tells_anything_is_at_an_edge():
    assert at_edge(tried(0.5, 0.3, 0.1)) and at_edge(tried(0.1, 0.3, 0.5))
    assert not at_edge(tried(0.1, 0.5, 0.3))
    assert not at_edge(tried(0.1, 0.5, "diverged"))  # the next larger one is known to be worse
    assert at_edge(tried(0.1, 0.5, "failed"))  # a failure tells nothing of the rate
    assert at_edge(tried("failed", "failed"))


def test_where_one_method_goes_beyond_its_edge_the_others_look_beside_their_best():
    methods = {"up": tried(0.1, 0.2, 0.3), "down": tried(0.9, 0.2, 0.1), "inside": tried(0.1, 0.9, 0.2)}
    assert next_round(methods) == {"up": 1e-1, "down": 1e-5, "inside": 0.00316}
    assert next_round({"tie": tried(0.2, 0.9, 0.2), "up": methods["up"]})["tie"] == 0.000316  # the smaller neighbour
    assert next_round({"inside": methods["inside"]}) == {}
    assert next_round({"failed": tried(0.1, 0.5, "failed")}) == {"failed": 1e-1}  # beyond all that was tried
    assert next_round({"lost": tried("diverged", "diverged")}) == {"lost": 1e-5}


def test_what_was_beyond_an_edge_leaves_the_best_inside():
    """After the step outwards the edge is settled where the new rate is worse; else it goes on by the same ratio."""
    worse = tried(0.1, 0.2, 0.3, 0.25)
    assert not at_edge(worse) and next_round({"one": worse}) == {}
    assert next_round({"one": tried(0.1, 0.2, 0.3, 0.4)}) == {"one": 1.0}


def test_a_training_loss_falls_or_does_not():
    noise = np.random.default_rng(0).normal(0, 0.1, 90)
    assert falls(list(np.linspace(2, 1, 90) + noise)) and not falls(list(1 + noise))
    assert not falls(list(np.linspace(1, 2, 90) + noise))
    for shift in np.linspace(-0.02, 0.08, 21):  # to both sides of 5 %
        losses = noise + np.repeat([shift, 0.0], 45)
        found = stats.ttest_ind(losses[:30], losses[-30:], equal_var=False, alternative="greater")
        assert falls(list(losses)) == (float(np.asarray(found)[1]) < 0.05)
    assert falls([3.0, 2.0]) and falls([2.0, 2, 1, 1, 1, 1]) and not falls([1.0] * 9)


# --- what a budget is worth ---


def test_expected_best_is_the_mean_best_of_all_subsets():
    values = [0.3, 0.9, 0.1, 0.4, 0.4]
    for budget in range(1, 6):
        subsets = [max(own) for own in combinations(values, budget)]
        assert expected_best(values, budget) == pytest.approx(sum(subsets) / len(subsets), abs=1e-12)
    assert expected_best(values, 1) == pytest.approx(np.mean(values))
    assert expected_best([1.0, 2, 3], 2) == pytest.approx(8 / 3)  # {1,2}, {1,3}, {2,3}


def test_a_budget_curve_rises_inside_a_band_that_narrows_with_items():
    chance = np.random.default_rng(1)

    def scores(items: int) -> np.ndarray:
        return (chance.random((4, items)) < np.array([[0.2], [0.4], [0.6], [0.8]])).astype(float)

    few, many = budget_curve(scores(50)), budget_curve(scores(5000))
    for curve in (few, many):
        assert [point.budget for point in curve] == [1, 2, 3, 4]
        assert all(a.score < b.score for a, b in pairwise(curve))
        assert all(point.low <= point.score <= point.high for point in curve)
    assert few[0].high - few[0].low > 5 * (many[0].high - many[0].low)
    assert many[0].score == pytest.approx(0.5, abs=0.02)
    width = many[-1].high - many[-1].low  # the best setting alone: a binomial of 5,000
    assert width == pytest.approx(2 * 1.96 * math.sqrt(0.16 / 5000), rel=0.15)


def test_a_budget_curve_stands_on_the_values_given():
    table = [[0.0, 1.0], [1.0, 1.0]]
    assert budget_curve(table, [0.4, 0.7])[1].score == pytest.approx(0.7)
    assert budget_curve(table)[0].score == pytest.approx(0.75)


# --- from a store to a report ---


def tuned_store(folder: Path, validation: dict[str, list[float]], decided: bool = True) -> Store:
    """A finished study of three seeds, with tuning trials of those validation scores by method, 400 items each."""
    grid, rows = (1e-4, 1e-3, 1e-2, 1e-1), []
    for method, means in validation.items():
        for rate, mean in zip(grid, means, strict=False):
            made = make_store(
                folder, bernoulli({method: mean}, 400), (method,), (1000,), rates={method: rate}, split="validation"
            )
            rows += [t | {"round": 0, "settings": {"learning_rate": rate}} for t in made.plan()["trials"]]
    rate = {"base": 0.5, "lora": 0.9, "prompt": 0.8, "prefix": 0.75}
    methods = ("base", *validation)
    store = make_store(folder, bernoulli(rate, 300, 0.05), methods, rates=dict.fromkeys(validation, 2e-3))
    told = {"select_on": "validation", "seed": 1000, "extend": 2, "decided": decided, "trials": rows}
    store.write("plan.json", json.dumps(store.plan() | {"tuning": told}))
    return store


def test_an_undertuned_method_is_shown_and_not_ranked(tmp_path):
    store = tuned_store(tmp_path, {"lora": [0.5, 0.6, 0.7, 0.95], "prompt": [0.5, 0.8, 0.6, 0.5]})
    found = results(store)
    lora, prompt = found.tuning
    assert (lora.edge, lora.chosen, lora.budget, lora.n_items) == (True, {"learning_rate": 0.1}, 4, 400)
    assert lora.undertuned == "its best learning rate, 0.1, is the largest that it tried"
    assert (prompt.edge, prompt.flat, prompt.undertuned, prompt.chosen) == (False, False, None, {"learning_rate": 1e-3})
    assert (
        [point.score for point in prompt.points][1]
        == prompt.expected_best[-1].score
        == max(point.score or 0 for point in prompt.points)
    )
    (verdict,) = found.verdicts
    assert verdict.winner_set == ("prompt",) and verdict.winner is None, "lora, tuned, might be better"
    assert "no test puts it ahead of lora, which is not ranked" in verdict.headline
    assert f"lora (undertuned: {lora.undertuned})" in verdict.sentence
    assert {cell.method: cell.undertuned for cell in found.cells}["lora"] == lora.undertuned
    assert [d.text for d in found.doubts if d.kind == "undertuned"] == [f"sst2: lora is not ranked: {lora.undertuned}."]
    assert {cell.method for cell in found.cells} == {"base", "lora", "prompt"} and len(found.trials) == 7
    (pair,) = (one for one in found.comparisons if {one.a, one.b} == {"lora", "prompt"})
    told = [text.plain for text in of_study([pair], found)]
    assert pair.verdict == "a better" and told[0].startswith("lora scored ") and "beats" not in told[0]
    assert told[1] == f"  Not ranked: lora (undertuned: {lora.undertuned})."
    write(store)
    published = json.loads((tmp_path / "results.json").read_text())["tuning"]
    assert [one["method"] for one in published] == ["lora", "prompt"]
    page = (tmp_path / "report.md").read_text()
    assert "## Tuning" in page and "undertuned: its best learning rate, 0.1" in page
    assert "best of 4 by one run each (seed 1000) on 400 held-out" in page


def test_unequal_budgets_lost_runs_and_unfinished_tuning_are_undertuned(tmp_path):
    inside = [0.5, 0.8, 0.6, 0.5]
    store = tuned_store(tmp_path / "unequal", {"lora": inside, "prompt": inside[:3], "prefix": inside})
    lost = next(
        t for t in store.plan()["tuning"]["trials"] if t["method"] == "prefix" and t["settings"]["learning_rate"] > 0.05
    )
    shutil.rmtree(store.trials / lost["key"])
    why = {one.method: one.undertuned for one in results(store).tuning}
    assert why == {
        "lora": None,
        "prompt": "it had 3 trials, others 4",
        "prefix": "3 of its 4 tuning trials are there",
    }
    store = tuned_store(tmp_path / "early", {"lora": inside}, decided=False)
    assert [one.undertuned for one in results(store).tuning] == ["its tuning is not finished"]


def test_curves_that_cross_depend_on_the_budget(tmp_path):
    """One is good at a single rate and bad elsewhere, the other middling everywhere."""
    store = tuned_store(tmp_path, {"lora": [0.5, 0.75, 0.7, 0.7], "prompt": [0.2, 0.95, 0.2, 0.2]})
    (told,) = [doubt.text for doubt in results(store).doubts if doubt.kind == "tuning budget"]
    assert "which of lora and prompt is better depends on the budget: with 1" in told


# --- what a study may say ---

STUDY = """
study: tuned
models: {{tiny: {{path: {model}}}}}
tasks: [{{use: toy, validation: 12}}]
methods:
  base: {{use: base}}
  lora: {{use: lora, r: 2, target_modules: all-linear}}
  prompt: {{use: prompt_tuning, num_virtual_tokens: 3, tune: {{learning_rate: [1e-2, 1e-1, 1.0]}}}}
training: {{learning_rate: 5e-3, per_device_train_batch_size: 4, max_steps: 4}}
tune: {{learning_rate: [5e-4, 5e-3, 5e-2], extend: 1}}
seeds: [0, 1]
plugins: [{plugin}]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tuned")
    tiny_model("llama").save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    plugin = Path(__file__).with_name("toy.py")
    (folder / "tuned.yaml").write_text(STUDY.format(model=folder / "model", plugin=plugin))
    return folder


def test_grids_are_the_studys_a_methods_own_or_published(place):
    methods = load(place / "tuned.yaml").methods
    assert {name: spec.rates for name, spec in methods.items()} == {
        "base": (),
        "lora": (5e-4, 5e-3, 5e-2),
        "prompt": (1e-2, 1e-1, 1.0),
    }
    settings = ["tune=published", "methods.prompt.tune=published", "methods.both={use: combine, parts: [lora, prompt]}"]
    study = load(place / "tuned.yaml", settings)
    kinds = {name: registry.find("methods", spec.use, name) for name, spec in study.methods.items()}
    assert study.methods["lora"].rates == kinds["lora"].rates == study.methods["both"].rates
    assert study.tune and study.tune.extend == 2 and study.tune.seed == 1000
    (place / "again.yaml").write_text(dump(study))
    assert load(place / "again.yaml").methods == study.methods


def test_every_methods_published_grid_has_four_values():
    own = {name: registry.find("methods", name, name) for name in registry.names("methods")}
    grids = {name: kind.rates for name, kind in own.items() if name not in ("base", "combine", "peft")}
    assert all(len(set(rates)) == 4 and tuple(sorted(rates)) == rates for rates in grids.values()), grids


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["tune={learning_rate: [1e-3, 1e-2]}"], "tune.learning_rate: a grid needs at least 3 values, all different"),
        (["tune=often"], "tune: expected `published` or a mapping, got 'often'"),
        (["tune={learning_rates: [1e-3]}"], "tune.learning_rates: unknown key"),
        (["tune.seed=1"], "tune.seed: 1 is one of `seeds:` too"),
        (["tune.learning_rate=[1e-4, 1e-3, 1e-2, 1e-1]"], "methods.prompt.tune: a grid of 3 values, where"),
        (["methods.prompt.tune={extend: 3}"], "methods.prompt.tune.extend: is the study's"),
        (["methods.base.tune=published"], "methods.base.tune: 'base' trains nothing"),
        (["tune=null"], "methods.prompt.tune: the study itself has no `tune:`"),
        (["tasks=[{use: toy, validation: 9, split: validation}]"], "tasks.toy.split: `tune:` chooses on held-out"),
        (["methods.lora.training={learning_rate: {sweep: [1e-3, 1e-2]}}"], "differs from 'lora[learning_rate=0.001]'"),
        (["methods.x={use: peft, peft_type: LORA}", "tune=published"], "methods.x.tune: no grid is published"),
        (["protocol=shared"], "protocol: shared: one learning rate for all methods, but `tune:`"),
        (
            ["protocol=shared", "tune=null", "methods.prompt={use: prompt_tuning, num_virtual_tokens: 3, "
             "training: {learning_rate: 1e-1}}"],
            "protocol: shared: one learning rate for all, but 'lora' has 0.005 and 'prompt' 0.1",
        ),
        (["protocol=fair"], "protocol: input should be 'shared'"),
    ],
)  # fmt: skip
def test_what_cannot_be_tuned_is_said(place, settings, told):
    with pytest.raises(InputError) as error:
        load(place / "tuned.yaml", settings)
    assert told in str(error.value)


def test_a_task_without_validation_holds_500_out_and_a_limit_cuts_it(place):
    assert load(place / "tuned.yaml", ["tasks=[toy]"]).tasks["toy"].validation == 500
    assert load(place / "tuned.yaml", ["tasks=[toy]"], limit=8).tasks["toy"].validation == 8
    assert load(place / "tuned.yaml", limit=8).tasks["toy"].validation == 8


def test_a_shared_rate_is_the_studys_protocol_in_the_report(place):
    settings = ["protocol=shared", "tune=null", "methods.prompt={use: prompt_tuning, num_virtual_tokens: 3}"]
    store = run(load(place / "tuned.yaml", settings), place / "shared").store
    told = [doubt.text for doubt in results(store).doubts if doubt.kind == "learning rate"]
    assert told[0].startswith("All methods share one learning rate (0.005) by the study's protocol.")


# --- a run ---


@pytest.fixture(scope="module")
def finished(place):
    return run(load(place / "tuned.yaml"), place / "out")


def test_tuning_never_touches_the_test_set_and_the_table_shows_what_was_chosen(finished):
    store, plan = finished.store, finished.store.plan()
    tuning, final = plan["tuning"]["trials"], plan["trials"]
    assert plan["tuning"]["decided"] and finished.failed == () and len(final) == 5
    for row in tuning:
        trial = store.record(row["key"]).trial
        assert trial.task_spec.split == "validation" and trial.seed == 1000 and trial.training
        assert trial.training.learning_rate == row["settings"]["learning_rate"]
        assert {sample.id.split("-")[0] for sample in store.samples(row["key"])} == {"train"}
        assert len(store.samples(row["key"])) == 12
    for row in final:
        assert {sample.id.split("-")[0] for sample in store.samples(row["key"])} == {"toy"}
    budgets = {name: [t["round"] for t in tuning if t["method"] == name] for name in ("lora", "prompt")}
    assert budgets["lora"] == budgets["prompt"] and budgets["lora"][:3] == [0, 0, 0] and len(budgets["lora"]) <= 4
    found = results(store)
    chosen = {one.method: one.chosen["learning_rate"] for one in found.tuning}
    for row in final:
        training = store.record(row["key"]).trial.training
        assert training is None or training.learning_rate == chosen[row["method"]]
    assert {run.key for run in found.trials} == {row["key"] for row in final}
    assert {path.name for path in store.trials.iterdir()} == {row["key"] for row in [*tuning, *final]}
    for one in found.tuning:
        top = max(point.score or 0 for point in one.points)
        assert chosen[one.method] == min(p.settings["learning_rate"] for p in one.points if p.score == top)
    assert sorted(key for group in plan["groups"] for key in group) == sorted(r["key"] for r in [*tuning, *final])


def test_a_tuning_trial_is_named_by_its_rate(place, finished):
    """In progress lines and failures, and to `export` and `try`; the trials of the comparison keep their names."""
    store = finished.store
    row = next(one for one in store.plan()["tuning"]["trials"] if one["method"] == "lora")
    record = store.record(row["key"])
    assert record.trial.tunes and record.trial.label() == "toy/lora/rate 0.0005"
    again = planning.make(load(place / "tuned.yaml")).rounds[0][0]
    assert again.key() == again.model_copy(update={"tunes": False}).key(), "a label, no part of the identity"
    assert open_trial(store, "toy/lora/rate 0.0005").record == record
    assert open_trial(store, row["key"][:12]).trial == record.trial
    assert open_trial(store, "toy/lora/seed 0").trial.tunes is False
    with pytest.raises(InputError, match="'toy/lora' is 2 trials"):
        open_trial(store, "toy/lora")
    assert varied(planning.make(load(place / "tuned.yaml")).rounds[0][:2]) == "rates 0.0005, 0.005"
    told = io.StringIO()
    with Watch(Console(file=told, width=160)) as watch:
        watch.start(2, 0)
        watch.trial(record)
        watch.trial(record.model_copy(update={"status": "failed"}))
    assert "toy/lora/rate 0.0005\n" in told.getvalue() and "toy/lora/rate 0.0005 failed" in told.getvalue()


@pytest.mark.parametrize("engine", ["lanes", "reference"])
def test_what_a_method_costs_and_forgets_is_not_asked_of_tuning_trials(place, engine, monkeypatch):
    (place / "texts.jsonl").write_text("\n".join(json.dumps({"text": f"w1 w2 w{i}"}) for i in range(3, 7)))
    asked = ["methods={base: {use: base}, lora: {use: lora, r: 2, target_modules: all-linear}}", "tune.extend=0"]
    asked += [f"forgetting={{text: {place / 'texts.jsonl'}}}", "training.max_steps=2"]
    told: list[int] = []
    for module, name in ((evaluate, "text_losses"), (reference, "text_loss")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *of, real=real: (told.append(1), real(*of))[1])
    store = run(load(place / "tuned.yaml", asked), place / f"forgets-{engine}", engine=engine).store
    plan = store.plan()
    for row in plan["tuning"]["trials"]:
        record = store.record(row["key"])
        assert record.text_loss is None and record.cost.solo is None
    losses = [store.record(row["key"]).text_loss for row in plan["trials"]]
    assert all(losses) and len(losses) == 3
    assert len(told) == {"lanes": 3, "reference": 4}[engine], "the bare base, and each group or trial of the comparison"


@pytest.mark.parametrize("after", [2, 8])
def test_a_run_stopped_anywhere_goes_on_to_the_same_choices(place, finished, after):
    class Stop(Progress):
        count = 0

        def trial(self, record):
            self.count += 1
            if self.count == after:
                raise KeyboardInterrupt

    study, out = load(place / "tuned.yaml"), place / f"stopped-{after}"
    with pytest.raises(KeyboardInterrupt):
        run(study, out, progress=Stop())
    results(Store.open(out))  # a report of what there is can be made at any time
    write(Store.open(out))
    again = run(study, out)
    assert again.kept > 0 and again.store.plan() == finished.store.plan()
    for row in again.store.plan()["trials"]:
        assert again.store.record(row["key"]).benchmarks == finished.store.record(row["key"]).benchmarks
    assert run(study, out).ran == 0


def test_a_plan_says_what_is_known_of_it(place, finished):
    made = planning.make(load(place / "tuned.yaml"))
    assert [len(stage) for stage in made.stages] == [6] and len(made.trials) == 5
    told = planning.told_of_tuning(made)
    assert "6 trials over each method's grid, judged on 12 held-out" in told and "to be chosen" in told
    keys = [row["key"] for row in json.loads(made.as_json())["trials"]]
    assert [key == planning.UNDECIDED for key in keys] == [False, True, True, True, True]
    assert finished.store.plan()["groups"][: len(made.groups)] == json.loads(made.as_json())["groups"]
