"""The study file: what it becomes, and what is said of every mistake."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from bakeoff.errors import InputError
from bakeoff.study import registry
from bakeoff.study.expand import expand
from bakeoff.study.load import builtin_names, dump, load
from bakeoff.study.spec import Revision, Study

PLAIN = """
study: s
models: {m: {path: owner/name}}
tasks: [mini_math, {use: mini_sentiment, train_limit: 100, validation: 20, split: validation}]
methods:
  base: {use: base}
  lora: {use: lora, r: 8, target_modules: [query, value], training: {learning_rate: 5e-4}}
  prompt: {use: prompt_tuning, num_virtual_tokens: 8}
  lora+prompt: {use: combine, parts: [lora, prompt]}
training: {learning_rate: 1e-3, max_steps: 10}
seeds: [0, 1]
"""


def study(tmp_path: Path, text: str = PLAIN, *settings: str, limit: int | None = None) -> Study:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    return load(path, settings, limit)


def trials(found: Study):
    return expand(found, {name: "w" * 64 for name in found.models}, {name: "d" * 64 for name in found.tasks})


def test_a_study_file_becomes_trials_in_its_order(tmp_path):
    found = study(tmp_path)
    assert [name for name in found.methods] == ["base", "lora", "prompt", "lora+prompt"]
    assert found.methods["lora"].training.learning_rate == 5e-4  # YAML 1.2: a number, and the method's own
    assert found.methods["prompt"].training.learning_rate == 1e-3
    assert found.tasks["mini_sentiment"].validation == 20
    cells = [(t.task, t.method, t.seed) for t in trials(found)]
    assert cells[:3] == [("mini_math", "base", None), ("mini_math", "lora", 0), ("mini_math", "lora", 1)]
    assert len(cells) == 2 * (1 + 3 * 2)


def test_sweeps_name_their_rows_and_parts_sweep_along(tmp_path):
    swept = PLAIN.replace("r: 8", "r: {sweep: [4, 8]}").replace(
        "{learning_rate: 5e-4}", "{learning_rate: {sweep: [1e-4, 5e-4]}}"
    )
    names = list(study(tmp_path, swept).methods)
    assert names == [
        "base", "lora[r=4,learning_rate=0.0001]", "lora[r=4,learning_rate=0.0005]", "lora[r=8,learning_rate=0.0001]",
        "lora[r=8,learning_rate=0.0005]", "prompt", "lora+prompt[r=4]", "lora+prompt[r=8]",
    ]  # fmt: skip
    found = study(tmp_path, swept)
    assert [part["config"].get("r") for part in found.methods["lora+prompt[r=4]"].config["parts"]] == [4, None]


def test_a_shared_sweep_is_every_trained_methods_own(tmp_path):
    found = study(tmp_path, PLAIN.replace("learning_rate: 1e-3", "learning_rate: {sweep: [1e-3, 1e-2]}"))
    assert list(found.methods) == [
        "base", "lora", "prompt[learning_rate=0.001]", "prompt[learning_rate=0.01]",
        "lora+prompt[learning_rate=0.001]", "lora+prompt[learning_rate=0.01]",
    ]  # fmt: skip


def test_a_swept_value_may_go_along_with_another(tmp_path):
    """It is no axis of its own: alpha is twice the rank in every row, and named in none."""
    tied = PLAIN.replace("r: 8", "r: {sweep: [4, 8]}, lora_alpha: {sweep: [8, 16], with: r}").replace(
        "{learning_rate: 5e-4}", "{learning_rate: {sweep: [1e-3, 2e-3]}, warmup_steps: {sweep: [1, 2], with: r}}"
    )
    found = study(tmp_path, tied).methods
    rows = {name: spec for name, spec in found.items() if name.startswith("lora[")}
    assert list(rows) == [f"lora[r={r},learning_rate={rate}]" for r in (4, 8) for rate in (0.001, 0.002)]
    assert [spec.config["lora_alpha"] / spec.config["r"] for spec in rows.values()] == [2] * 4
    assert [spec.training.warmup_steps for spec in rows.values()] == [1, 1, 2, 2]
    assert [name for name in found if "+" in name] == ["lora+prompt[r=4]", "lora+prompt[r=8]"]


@pytest.mark.parametrize(
    ("tied", "said"),
    [
        ("{sweep: [8, 16], with: rank}", "methods.lora.lora_alpha.with: 'rank' is not swept here; accepted: r"),
        ("{sweep: [8, 16], with: lora_alpha}", "methods.lora.lora_alpha.with: 'lora_alpha' is not swept here"),
        ("{sweep: [8, 16], with: [r]}", "methods.lora.lora_alpha.with: ['r'] is not swept here"),
        ("{sweep: [8], with: r}", "methods.lora.lora_alpha.sweep: 1 values go along with 2 of r; give one for each"),
        ("{sweep: [8, 16], without: r}", "methods.lora.lora_alpha: expected a value or {sweep: [...]}"),
    ],
)
def test_a_tied_sweep_that_makes_no_sense_is_refused(tmp_path, tied, said):
    with pytest.raises(InputError, match=re.escape(said)):
        study(tmp_path, PLAIN.replace("r: 8", f"r: {{sweep: [4, 8]}}, lora_alpha: {tied}"))


def test_notes_and_published_values_are_kept_and_no_part_of_a_key(tmp_path):
    table = "task,benchmark,method,metric,value\nmini_math,mini_math,lora,exact_match,0.5\n"
    (tmp_path / "theirs.csv").write_text(table)
    told = PLAIN + "notes: [It is assumed that it works.]\npublished: theirs.csv\n"
    found = study(tmp_path, told)
    assert found.notes == ("It is assumed that it works.",) and found.published == table
    assert [t.key() for t in trials(found)] == [t.key() for t in trials(study(tmp_path))]
    (tmp_path / "elsewhere").mkdir()
    again = study(tmp_path / "elsewhere", dump(found))
    assert (again.notes, again.published) == (found.notes, found.published)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("notes: all is well", "notes: expected a list, got 'all is well'"),
        ("notes: [1]", "notes.0: input should be a valid string, got 1"),
        ("notes: ['']", "notes.0: "),
        ("published: table99", "published: no table and no file of that name: table99"),
        ("published: bad.csv", "bad.csv has no column 'benchmark'"),
    ],
)
def test_notes_and_published_values_that_cannot_be_used(tmp_path, more, said):
    (tmp_path / "bad.csv").write_text("task,method\n")
    with pytest.raises(InputError, match=re.escape(said)):
        study(tmp_path, f"{PLAIN}{more}\n")


def test_paths_in_settings_are_relative_to_the_working_directory(tmp_path, monkeypatch):
    """And what follows `data.` is a hub id, whatever is in it."""
    (tmp_path / "here" / "texts").mkdir(parents=True)
    (tmp_path / "study" / "texts").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    text = PLAIN.replace("[mini_math,", "[sst2,").replace("owner/name", "./texts")
    found = study(tmp_path / "study", text, "data.stanfordnlp/sst2=texts", "models.m.path=./texts")
    assert found.data == {"stanfordnlp/sst2": str(tmp_path / "here" / "texts")}
    assert found.models["m"].path == str(tmp_path / "here" / "texts")
    assert study(tmp_path / "study", text).models["m"].path == str(tmp_path / "study" / "texts")
    with pytest.raises(InputError, match=r"^data\.a/v1\.5: nothing at texts-1"):
        study(tmp_path / "study", text, "data.a/v1.5=texts-1")


def test_one_file_says_where_models_and_data_lie(tmp_path):
    """Of it a study takes what it names and reads; its own settings go before."""
    (tmp_path / "places" / "sst2").mkdir(parents=True)
    places = tmp_path / "places" / "here.yaml"
    places.write_text(
        "models: {m: {path: ./sst2}, other: {path: ./absent}}\ndata: {stanfordnlp/sst2: sst2, who/knows: absent}\n"
    )
    path = tmp_path / "s.yaml"
    path.write_text(PLAIN.replace("[mini_math,", "[sst2,"))
    found = load(path, places=places)
    assert found.data == {"stanfordnlp/sst2": str(tmp_path / "places" / "sst2")} == found.source["data"]
    assert found.models["m"].path == str(tmp_path / "places" / "sst2") and list(found.models) == ["m"]
    assert load(path, ["models.m.path=owner/other"], places=places).models["m"].path == "owner/other"
    path.write_text(PLAIN)
    assert load(path, places=places).data == {}
    for text, said in (("tasks: []\n", "tasks: is no place of models"), ("data: [1]\n", "data: is no place of models")):
        places.write_text(text)
        with pytest.raises(InputError, match=said):
            load(path, places=places)


def test_settings_and_limits_are_part_of_what_is_asked(tmp_path):
    plain, cut = study(tmp_path), study(tmp_path, limit=7)
    assert {t.task_spec.train_limit for t in trials(cut)} == {7} == {t.task_spec.test_limit for t in trials(cut)}
    assert not {t.key() for t in trials(plain)} & {t.key() for t in trials(cut)}
    found = study(tmp_path, PLAIN, "training.max_steps=3", "seeds=[5]", "methods.lora.r=2")
    assert (found.methods["prompt"].training.max_steps, found.seeds, found.methods["lora"].config["r"]) == (3, (5,), 2)


def test_a_dumped_study_loads_to_the_same_trials(tmp_path):
    found = study(tmp_path, PLAIN, "training.weight_decay=0.01", limit=9)
    again = study(tmp_path, dump(found))
    assert [t.key() for t in trials(found)] == [t.key() for t in trials(again)]


def test_keys_hold_what_is_measured_and_nothing_else(tmp_path):
    """A golden key: it may change only with a method's or task's version, or this file's schema."""
    found = trials(study(tmp_path))
    lora = found[1]
    assert lora.task_version == 2
    assert lora.key() == "9d025cb3c7bc5ae1d1841ab906b5f2eb7c32cc5cadb9f9d85685d6e459bb1fb2"
    earlier = lora.model_copy(update={"protocol": 2})
    assert earlier.key() == "8719c3102939c1c51cfc9cf6e4c3d6a9d361d35604cc63761b6aa0cf409b31d1"
    first = earlier.model_copy(update={"task_version": 1})
    assert first.key() == "0d982a620f7533ed6afb3f3691d4855aa9383ee241c361117c714a621c4c7d23"
    assert lora.model_copy(update={"method": "other", "task": "other", "model": "other"}).key() == lora.key()
    changes = {
        "weights": "x", "dtype": "float64", "dataset": "x", "method_version": "2", "task_version": 3, "seed": 9,
        "protocol": 0, "quantize": "nf4",
        "task_spec": lora.task_spec.model_copy(update={"test_limit": 3}),
        "method_config": {**lora.method_config, "r": 9},
        "training": lora.training and lora.training.model_copy(update={"adam_beta1": 0.5}),
    }  # fmt: skip
    keys = {lora.model_copy(update={name: value}).key() for name, value in changes.items()}
    assert len(keys | {lora.key()}) == len(changes) + 1


@pytest.mark.parametrize("where", ["own", "shared"])
def test_a_part_that_is_swept_with_its_own_training_is_one_clear_error(tmp_path, where):
    """Alone such a row is right; a combination has one training of its own."""
    rates = "{sweep: [1e-3, 2e-3]}"
    tied = PLAIN.replace("r: 8", "r: {sweep: [4, 8], with: learning_rate}")
    if where == "own":
        tied = tied.replace("{learning_rate: 5e-4}", f"{{learning_rate: {rates}}}")
    else:
        tied = tied.replace(", training: {learning_rate: 5e-4}", "").replace("rate: 1e-3", f"rate: {rates}")
    alone = study(tmp_path, tied.replace("  lora+prompt: {use: combine, parts: [lora, prompt]}\n", "")).methods
    assert [row for row in alone if "lora" in row] == [f"lora[learning_rate={rate}]" for rate in (0.001, 0.002)]
    with pytest.raises(InputError) as caught:
        study(tmp_path, tied)
    assert str(caught.value) == (
        "methods.lora+prompt.parts: the part 'lora' sweeps r with learning_rate, which a combination has of its own "
        "for all its parts; name a part that gives r without `with:`"
    )


def test_renaming_a_part_of_a_combination_keeps_its_key(tmp_path):
    renamed = PLAIN.replace("  prompt:", "  soft:").replace("parts: [lora, prompt]", "parts: [lora, soft]")
    assert [t.key() for t in trials(study(tmp_path))] == [t.key() for t in trials(study(tmp_path, renamed))]


def test_parts_of_a_combination_may_have_rates_of_their_own(tmp_path):
    own = PLAIN.replace(
        "parts: [lora, prompt]", "parts: [lora, prompt], learning_rates: {prompt: {sweep: [3e-2, 1e-1]}}"
    )
    found = study(tmp_path, own).methods
    rows = [name for name in found if name.startswith("lora+prompt")]
    assert rows == ["lora+prompt[prompt.learning_rate=0.03]", "lora+prompt[prompt.learning_rate=0.1]"]
    assert [part["learning_rate"] for part in found[rows[1]].config["parts"]] == [None, 0.1]


@pytest.mark.parametrize(
    "rates, message",
    [
        ("{promt: 3e-2}", "learning_rates.promt: is no part of this combination; did you mean 'prompt'?"),
        ("3e-2", "learning_rates: expected a mapping"),
        ("{prompt: -1}", "learning_rate: input should be greater than 0"),
    ],
)
def test_rates_of_parts_that_make_no_sense_are_refused(tmp_path, rates, message):
    own = PLAIN.replace("parts: [lora, prompt]", f"parts: [lora, prompt], learning_rates: {rates}")
    with pytest.raises(InputError, match=re.escape(message)):
        study(tmp_path, own)


METHODS = PLAIN[PLAIN.index("methods:") : PLAIN.index("training: {learning_rate: 1e-3")]
TWIN = "  lora2: {use: lora, r: 8, target_modules: [query, value], training: {learning_rate: 5e-4}}\n  prompt:"
MISTAKES = {
    "unknown top key": (("seeds:", "seed:"), "seed: unknown key; did you mean 'seeds'?"),
    "misspelt kind": (("use: lora,", "use: lorra,"), "methods.lora: unknown method 'lorra'; did you mean 'lora'?"),
    "misspelt key": (("r: 8", "rnk: 8"), "methods.lora.rnk: unknown key; did you mean 'r'?"),
    "misspelt training": (("max_steps", "max_step"), "training.max_step: unknown key; did you mean 'max_steps'?"),
    "misspelt task": (("[mini_math,", "[mini_maths,"), "tasks.0: unknown task 'mini_maths'; did you mean 'mini_math'?"),
    "misspelt part": (("[lora, prompt]", "[lora, promt]"), "lora+prompt.parts: unknown method 'promt'; did you mean"),
    "text for a number": (("r: 8", "r: eight"), "methods.lora.r: input should be a valid integer, got 'eight'"),
    "zero rank": (("r: 8", "r: 0"), "methods.lora.r: input should be greater than or equal to 1, got 0"),
    "negative rate": (("5e-4", "-1.0"), "learning_rate: input should be greater than 0, got -1.0"),
    "rate not a number": (("5e-4", ".nan"), "methods.lora.training"),
    "missing hyperparameter": ((", num_virtual_tokens: 8", ""), "methods.prompt.num_virtual_tokens: is missing"),
    "seed twice": (("[0, 1]", "[1, 1]"), "seeds: seed 1 is given twice"),
    "no seeds": (("[0, 1]", "[]"), "seeds: needs at least 1 item"),
    "seed too large": (("[0, 1]", "[4294967296]"), "seeds.0: input should be less than 4294967296"),
    "path for a name": (("study: s", "study: ../s"), "study: a study's name takes 1 to 80 letters"),
    "duplicate key": (("study: s", "study: s\nstudy: t"), "line 3: the key 'study' is there twice, first in line 2"),
    "python tag": (("study: s", "study: !!python/object/apply:os.system [ls]"), "s.yaml, line 2: the tag !!python/obj"),
    "broken yaml": (("[0, 1]", "[0, 1"), "expected ',' or ']'"),
    "a list": ((PLAIN, "- a\n- b"), "expected a mapping at the top, got a list"),
    "empty": ((PLAIN, ""), "is empty"),
    "no methods": ((METHODS, "methods: {}\n"), "`methods:` is missing or empty"),
    "same method twice": (("  prompt:", TWIN), "methods.lora2: is the same as 'lora'"),
    "base as a part": (("[lora, prompt]", "[lora, base]"), "'base' (base) cannot be a part of a combination"),
    "validation without any": (("validation: 20, ", ""), "split: validation needs `validation:`"),
    "absent data": (("seeds:", "data: {a/b: nowhere}\nseeds:"), "data.a/b: nothing at"),
    "init without text": (("tokens: 8", "tokens: 8, prompt_tuning_init: TEXT"), "TEXT and prompt_tuning_init_text"),
    "number for a name": (("  base:", "  7: {use: base}\n  base:"), "methods: the key 7 is no text; put it in quotes"),
    "number for a key": (("r: 8", "7: 8"), "methods.lora: the key 7 is no text"),
    "number at the top": (("study: s", "study: s\n7: s"), "study file: the key 7 is no text"),
    "date for a name": (("study: s", "study: 2020-01-01"), "study: is a date, no text and no number; put it in quotes"),
    "bytes for a name": (("study: s", "study: !!binary aGVsbG8="), "study: is a bytes, no text and no number"),
    "no date": (("study: s", "study: 2020-13-45"), "s.yaml: cannot be read as YAML (month must be in 1..12"),
    "half a character": (("owner/name", '"\\ud800"'), "models.m.path: '\\ud800' holds a character that is no text"),
    "zero byte": (("owner/name", '"a\\0"'), "models.m.path: 'a\\x00' holds a character that is no text"),
    "list in itself": (("[0, 1]", "&x [*x]"), "seeds.0: holds itself"),
    "parts of each other": (
        ("parts: [lora, prompt]}", "parts: [lora, x]}\n  x: {use: combine, parts: [lora, lora+prompt]}"),
        "methods.lora+prompt.parts: 'x' has parts itself and cannot be one",
    ),
    "part of itself": (("[lora, prompt]", "[lora, lora+prompt]"), "methods.lora+prompt.parts: 'lora+prompt' has parts"),
    "part twice": (("[lora, prompt]", "[lora, lora]"), "methods.lora+prompt.parts: 'lora' is there twice"),
    "one part": (("[lora, prompt]", "[lora]"), "methods.lora+prompt.parts: needs at least 2 items"),
    "number for a plugin": (("seeds:", "plugins: [5]\nseeds:"), "plugins.0: expected a Python file's path, got 5"),
    "misspelt path": (("{path: o", "{paht: o"), "models.m.paht: unknown key; did you mean 'path'?"),
    "no path": (("{path: owner/name}", "{dtype: float32}"), "models.m.path: is missing"),
    "number for modules": (
        ("[query, value]", "5"), "methods.lora.target_modules: input should be a valid string or a list, got 5",
    ),
    "number for a module": (("[query, value]", "[query, 5]"), "methods.lora.target_modules.1: input should be a"),
    "sweep of nothing": (
        ("r: 8", "r: {sweep: }, lora_alpha: {sweep: [8], with: r}"), "lora.r: expected a value or {sweep: [...]}",
    ),
    "text for a part": (("{use: prompt_tuning, num_virtual_tokens: 8}", "soft"), "methods.prompt: expected a mapping"),
    "list for PEFT": (("{use: base}", "{use: peft, peft_type: []}"), "methods.base.peft_type: "),
    "endless path": (("[mini_math,", "[{name: a, dataset_path: ./" + "x" * 5000 + ".csv},"), "tasks.a.dataset_path: "),
    "shared training": (("max_steps: 10", "lr: 1"), "error: training.lr: unknown key"),
    "shared training's value": (("max_steps: 10", "max_steps: no"), "error: training.max_steps: input should be a"),
    "shared sweep": (("max_steps: 10", "max_steps: {sweep: [1, x]}"), "error: training.max_steps: input should be a v"),
    "own training": (("{learning_rate: 5e-4}", "{lr: 1}"), "error: methods.lora.training.lr: unknown key"),
    "training of base": (("{use: base}", "{use: base, training: {foo: 1}}"), "methods.base.training: 'base' trains"),
    "training no mapping": (("{learning_rate: 5e-4}", "[]"), "methods.lora.training: expected a mapping, got []"),
    "misspelt data": (
        ("[mini_math,", "[sst2,", "seeds:", "data: {stanfordnlp/sst-2: .}\nseeds:"),
        "data.stanfordnlp/sst-2: no task of this study reads it; did you mean 'stanfordnlp/sst2'?",
    ),
    "data of no task": (("seeds:", "data: {stanfordnlp/sst2: .}\nseeds:"), "sst2: no task of this study reads it"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_clear_line(tmp_path, name):
    changes, said = MISTAKES[name]
    text = PLAIN
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in text
        text = text.replace(old, new, 1)
    with pytest.raises(InputError) as caught:
        study(tmp_path, text)
    assert said in f"error: {caught.value}"
    assert "\n" not in str(caught.value)


def test_shared_training_is_checked_where_nothing_trains(tmp_path):
    alone = PLAIN.replace(METHODS, "methods: {base: {use: base}}\n")
    assert study(tmp_path, alone).methods
    with pytest.raises(InputError, match=r"^training\.max_step: unknown key"):
        study(tmp_path, alone.replace("max_steps", "max_step"))


def test_data_that_a_task_reads_is_taken(tmp_path):
    found = study(tmp_path, PLAIN.replace("mini_math", "sst2").replace("seeds:", "data: {stanfordnlp/sst2: .}\nseeds:"))
    assert found.data == {"stanfordnlp/sst2": str(tmp_path)}


@pytest.mark.parametrize(
    ("told", "kept"),
    [("{path: .}", "HERE"), ("{revision: abc}", Revision(revision="abc")), ("{revision: ''}", "revision: string"),
     ("{path: nowhere}", "nothing at nowhere"), ("{}", "expected a path, {path: ...} or {revision: ...}"),
     ("{path: ., revision: a}", "expected a path, {path: ...} or"), ("5", "expected a path, {path: ...} or {revision"),
     ("{path: 5}", "expected a path"), ("{revision: 5}", "revision: input should be a valid string")],
)  # fmt: skip
def test_data_may_be_a_path_or_a_revision(tmp_path, told, kept):
    text = PLAIN.replace("mini_math", "sst2").replace("seeds:", f"data: {{stanfordnlp/sst2: {told}}}\nseeds:")
    if kept == "HERE" or isinstance(kept, Revision):
        found = study(tmp_path, text)
        assert found.data == {"stanfordnlp/sst2": str(tmp_path) if kept == "HERE" else kept}
        assert study(tmp_path, dump(found)).data == found.data
        return
    with pytest.raises(InputError, match=f"^data.stanfordnlp/sst2.*{re.escape(kept)}"):
        study(tmp_path, text)


def test_benchmarks_may_be_chosen(tmp_path):
    found = study(tmp_path, PLAIN.replace("[mini_math,", "[{use: mini_math, benchmarks: [mini_math]},"))
    assert found.tasks["mini_math"].benchmarks == ("mini_math",)
    assert trials(found)[1].key() != trials(study(tmp_path))[1].key()
    for told, said in (("[mini_maths]", "benchmarks: unknown benchmark 'mini_maths'; did you mean 'mini_math'?"),
                       ("[]", "benchmarks: needs at least 1 item"),
                       ("[mini_math, mini_math]", "benchmarks: 'mini_math' is there twice")):  # fmt: skip
        with pytest.raises(InputError, match=re.escape(said)):
            study(tmp_path, PLAIN.replace("[mini_math,", f"[{{use: mini_math, benchmarks: {told}}},"))


@pytest.mark.parametrize("limit", [5, None])
@pytest.mark.parametrize(
    ("value", "said"), [("many", "a valid integer, got 'many'"), ("2.5", "got 2.5"), ("0", "or equal to 1, got 0")]
)
def test_a_limit_leaves_a_bad_limit_to_the_checks(tmp_path, value, said, limit):
    with pytest.raises(InputError, match=f"tasks.mini_sentiment.train_limit: .*{said}"):
        study(tmp_path, PLAIN.replace("train_limit: 100", f"train_limit: {value}"), limit=limit)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os\nimport no_such_module\n", ", line 2 (ModuleNotFoundError: No module named 'no_such_module')"),
        ("def broken(:\n", " (SyntaxError: invalid syntax (plugin.py, line 1))"),
        ("raise SystemExit(3)\n", ", line 1 (SystemExit: 3)"),
        ("raise ValueError('two\\nlines')\n", ", line 1 (ValueError: two lines)"),
        ("x = 1\n", " defines no method and no task"),
    ],
)
def test_a_plugin_that_cannot_be_loaded(tmp_path, code, said):
    (tmp_path / "plugin.py").write_text(code)
    with pytest.raises(InputError) as caught:
        study(tmp_path, PLAIN.replace("seeds:", "plugins: [plugin.py]\nseeds:"))
    assert str(caught.value).startswith(f"plugins.0: {tmp_path / 'plugin.py'}") and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_hash_of_a_plugin_is_that_of_what_was_run(tmp_path):
    """Whatever lies there later; another file than is asked for is not run."""
    file = tmp_path / "plugin.py"
    file.write_bytes(Path(__file__).with_name("toy.py").read_bytes())
    was = hashlib.sha256(file.read_bytes()).hexdigest()
    registry.load_plugin(file, "plugins.0", was)
    file.write_text("raise SystemExit\n")
    assert registry.plugin_hash(str(file)) == was
    with pytest.raises(InputError, match=r"plugins\.0: .* is another file than when the run began"):
        registry.load_plugin(file, "plugins.0", was)


def test_mistakes_in_settings_and_names(tmp_path):
    with pytest.raises(InputError, match="expected key=value"):
        study(tmp_path, PLAIN, "training.max_steps")
    for setting in (".x=1", "training..max_steps=1", "training.=1", "=1"):
        with pytest.raises(InputError, match=f"^--set {setting}: expected key=value"):
            study(tmp_path, PLAIN, setting)
    with pytest.raises(InputError, match="'max_steps' is no mapping"):
        study(tmp_path, PLAIN, "training.max_steps.x=1")
    with pytest.raises(InputError, match="is a directory"):
        load(tmp_path)
    with pytest.raises(InputError, match="did you mean 'quickstart'"):
        load("quikstart")
    with pytest.raises(InputError, match="no such study file"):
        load("x" * 300)
    with pytest.raises(InputError, match=r"^--set a=!!float '': cannot be read as YAML"):
        study(tmp_path, PLAIN, "a=!!float ''")
    with pytest.raises(InputError, match=r"^models\.m: input should be a mapping, got 'owner/name'"):
        study(tmp_path, PLAIN, "models.m=owner/name")
    with pytest.raises(InputError, match=r"^methods\.lora: holds a number that is too long"):
        study(tmp_path, PLAIN, "methods.lora.r=0x" + "f" * 5000)


def test_builtin_studies_load():
    assert "quickstart" in builtin_names()
    for name in builtin_names():
        assert load(name).methods


def test_a_path_is_never_taken_from_where_one_happens_to_stand(tmp_path, monkeypatch):
    """It is the study's neighbour's or the hub's; what is there by the same name is no answer."""
    for name in ("deep/down/model", "model"):
        (tmp_path / "here" / name).mkdir(parents=True)
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("deep/down/model", "model"):
        found = study(tmp_path / "there", PLAIN.replace("owner/name", name))
        assert [model.path for model in found.models.values()] == [str(tmp_path / "there" / name)]
    found = study(tmp_path / "there", PLAIN)
    assert [model.path for model in found.models.values()] == ["owner/name"]
