"""Tasks that a study declares itself: what they become, what is said of every mistake, and that they run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bakeoff
from bakeoff.analysis import doubts
from bakeoff.data import reach
from bakeoff.data.example import clusters
from bakeoff.data.overlap import overlap
from bakeoff.data.template import Template
from bakeoff.errors import InputError
from bakeoff.run import plan as planning
from bakeoff.run.run import run
from bakeoff.study.expand import expand
from bakeoff.study.load import dump, load
from bakeoff.study.spec import Study
from bakeoff.tasks.task import Completion, Splits, Task, build, splits
from bakeoff.use.trial import open_trial

OWN = Path(__file__).parent.parent / "studies" / "own-data"
ENTRY = {
    "name": "mine",
    "dataset_path": "rows",
    "doc_to_text": "{{ text }}",
    "doc_to_target": "label",
    "doc_to_choice": ["good", "bad"],
}
ROWS = [{"text": f"text {i}", "label": ["good", "bad"][i % 2], "n": i, "nothing": None} for i in range(12)]


def study(folder: Path, entry: dict, **files: object) -> Study:
    """A study of one declared task; `files` are rows, or text, by split."""
    (folder / "rows").mkdir(exist_ok=True)
    for split, rows in ({"train": ROWS, "test": ROWS[:4]} | files).items():
        text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)  # pyright: ignore
        (folder / "rows" / f"{split}.jsonl").write_text(text)
    told = {
        "study": "own",
        "models": {"m": {"path": "owner/name"}},
        "tasks": [{key: value for key, value in entry.items() if value is not None}],
        "methods": {"base": {"use": "base"}},
    }
    (folder / "own.yaml").write_text(json.dumps(told))  # JSON is YAML
    return load(folder / "own.yaml")


def task(found: Study) -> Task:
    ((name, spec),) = found.tasks.items()
    return build(spec, name)


def loaded(found: Study) -> Splits:
    ((name, spec),) = found.tasks.items()
    return splits(build(spec, name), spec, found.data)


def key(found: Study, fingerprint: str = "d") -> str:
    return expand(found, {"m": "w"}, {name: fingerprint for name in found.tasks})[0].key()


def said(example) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in example.messages]


def test_a_classification(tmp_path):
    found = study(tmp_path, ENTRY | {"description": "Rate number {{ n }}."})
    one = task(found)
    assert (one.kind, one.metrics, one.benchmarks, one.name) == ("choose", ("accuracy",), ("test",), "mine")
    rows = loaded(found)
    assert len(rows.train) == 12 and len(rows.benchmarks["test"]) == 4
    assert said(rows.train[1]) == [("system", "Rate number 1."), ("user", "text 1"), ("assistant", "bad")]
    assert rows.train[1].choices == ("good", "bad") and rows.train[1].id == "train-1"
    (grade,) = one.grade([rows.train[1]], [Completion(text="bad", logprobs=(-2.0, -1.0))])
    assert grade.scores == {"accuracy": 1.0} and grade.detail["margin"] == 1.0


def test_metrics_of_labels(tmp_path):
    metrics = ["accuracy", "loss", "f1_macro", {"metric": "f1_binary", "pos_label": "bad"}]
    one = task(study(tmp_path, ENTRY | {"metric_list": metrics}))
    assert one.metrics == ("accuracy", "loss", "f1_macro", "f1_binary")
    (grade,) = one.grade(one.train({}, None)[:1], [Completion(text="good", logprobs=(-1.0, -1.0))])
    assert grade.scores == {"accuracy": 1.0, "loss": pytest.approx(0.6931, abs=1e-4)}
    assert grade.detail == {"gold": "good", "chosen": "good", "positive": "bad", "margin": 0.0}


@pytest.mark.parametrize(
    ("choices", "target", "row", "answer", "all_"),
    [
        (["no", "yes"], "n", {"n": 1}, "yes", ("no", "yes")),
        (["no", "yes"], "{{ n }}", {"n": "0"}, "no", ("no", "yes")),
        (["no", "yes"], "n", {"n": True}, "yes", ("no", "yes")),
        (["no", "yes"], 0, {"n": 1}, "no", ("no", "yes")),
        (["1", "2", "3"], "n", {"n": 1}, "1", ("1", "2", "3")),  # a choice's text goes before its number
        ("options", "n", {"n": 2, "options": ["a", "b", "c"]}, "c", ("a", "b", "c")),
        ("options", "n", {"n": "a", "options": ["a", "b"]}, "a", ("a", "b")),
        ("{{ [a, b ~ '!'] }}", "n", {"n": 1, "a": "x", "b": "y"}, "y!", ("x", "y!")),
        ("{{ choices.text }}", "n", {"n": 0, "choices": {"text": ["p", "q"]}}, "p", ("p", "q")),
        (["{{ a }}", "not {{ a }}"], "not {{ a }}", {"a": "it"}, "not it", ("it", "not it")),
    ],
)
def test_choices_and_targets(tmp_path, choices, target, row, answer, all_):
    entry = ENTRY | {"doc_to_choice": choices, "doc_to_target": target, "doc_to_text": "ask"}
    found = study(tmp_path, entry, train=[{"ask": "?"} | row], test=[{"ask": "?"} | row])
    (example,) = task(found).train({}, None)
    assert (example.answer, example.choices) == (answer, all_)


def test_generated_text(tmp_path):
    metrics = [{"metric": "exact_match", "ignore_case": True, "ignore_punctuation": True}, "math_verify"]
    rows = [{"q": " 1/2? \n", "a": "So it is #### 1/2"}, {"q": "more", "a": "Yes."}]
    entry = {
        "name": "mine",
        "dataset_path": "rows",
        "doc_to_text": "q",
        "doc_to_target": "{{a}}",
        "metric_list": metrics,
    }
    one = task(study(tmp_path, entry, train=rows, test=rows))
    assert one.kind == "generate" and one.metrics == ("exact_match", "math_verify")
    half, yes = one.test("test", {}, None)
    assert said(half) == [("user", "1/2?"), ("assistant", "So it is #### 1/2")] and not half.choices

    def scores(example, text):
        (grade,) = one.grade([example], [Completion(text=text)])
        return tuple(grade.scores.values()), grade.detail

    assert scores(half, "so it IS #### 1/2")[0] == (1.0, 1.0)
    assert scores(half, "thus \\boxed{\\frac{2}{4}}") == (
        (0.0, 1.0), {"gold": "1/2", "answer": "\\frac{2}{4}", "stage": "number"},
    )  # fmt: skip
    assert scores(yes, "<think>no, or</think> yes") == (
        (1.0, 0.0),
        {"gold": "Yes.", "answer": None, "stage": "no-answer", "unparsable": True},
    )
    assert scores(yes, "")[1]["unparsable"] and scores(yes, "no")[0] == (0.0, 0.0)


def test_texts_compared_by_overlap(tmp_path):
    rows = [{"q": "1", "a": "the cat sat on the mat"}, {"q": "2", "a": "a dog ran"}]
    entry = {"name": "mine", "dataset_path": "rows", "doc_to_text": "q", "doc_to_target": "a"}
    one = task(study(tmp_path, entry | {"metric_list": ["jaccard", "bleu"]}, train=rows, test=rows))
    cat, dog = one.test("test", {}, None)
    texts = ["<think>x</think>the cat sat on the mat", "a cat<think>the dog ran"]
    same, other = one.grade([cat, dog], [Completion(text=text) for text in texts])
    assert same.scores == {"jaccard": 1.0} and other.scores == {"jaccard": 0.25}
    assert same.detail["bleu"] == [6, 6, 6, 5, 4, 3, 6, 5, 4, 3] and "tok:13a" in same.detail["bleu_signature"]
    assert one.floors("test", [cat, dog]) == {"jaccard": 0.0}


def test_an_answer_that_nobody_can_judge_is_not_right_and_said_to_be_undecided(tmp_path):
    rows = [{"q": "1", "a": "1/2"}]
    entry = {"name": "mine", "dataset_path": "rows", "doc_to_text": "q", "doc_to_target": "a"}
    one = task(study(tmp_path, entry | {"metric_list": ["math_verify", "exact_match"]}, train=rows, test=rows))
    (grade,) = one.grade(one.test("test", {}, None), [Completion(text="#### " + "x" * 6000)])
    assert grade.scores == {"math_verify": 0.0, "exact_match": 0.0}
    assert grade.detail["undecided"] and grade.detail["stage"] == "ungraded" and "longer than" in grade.detail["why"]


def test_rows_that_are_chats(tmp_path):
    turns = [("user", "hi"), ("assistant", "hello"), ("user", "bye?"), ("assistant", "bye")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns], "more": 1}
    entry = {"name": "mine", "dataset_path": "rows"}
    (example,) = task(study(tmp_path, entry, train=[row], test=[row])).train({}, None)
    assert said(example) == turns and example.answer == "bye" and not example.choices
    (example,) = task(study(tmp_path, entry | {"description": "Be kind."}, train=[row])).train({}, None)
    assert said(example) == [("system", "Be kind."), *turns]
    (example,) = task(study(tmp_path, entry | {"doc_to_choice": ["bye", "no"]}, train=[row])).train({}, None)
    assert example.choices == ("bye", "no")


def test_the_key_holds_what_is_declared_and_no_place(tmp_path):
    (tmp_path / "other").mkdir()
    first = study(tmp_path, ENTRY)
    assert key(first) == key(study(tmp_path / "other", ENTRY | {"name": "renamed"}))
    assert key(first) != key(study(tmp_path, ENTRY | {"description": "other"}))
    assert key(first) != key(first, "other rows")
    again = tmp_path / "again.yaml"
    again.write_text(dump(first))
    assert key(load(again)) == key(first)
    told = loaded(study(tmp_path, ENTRY))
    assert [source.id for source in told.sources] == ["rows", "rows"] and str(tmp_path) not in told.model_dump_json()
    assert told.fingerprint == loaded(study(tmp_path / "other", ENTRY | {"name": "renamed"})).fingerprint


def test_items_that_hang_together_are_named_and_nothing_else_changes(tmp_path):
    plain, found = study(tmp_path, ENTRY), study(tmp_path, ENTRY | {"cluster": "text {{ n // 2 }}"})
    rows = loaded(found)
    assert [one.reference for one in rows.benchmarks["test"]] == [{"cluster": f"text {n // 2}"} for n in range(4)]
    assert [one.messages for one in rows.train] == [one.messages for one in loaded(plain).train]
    (one,) = task(found).grade(rows.benchmarks["test"][:1], [Completion(text="good", logprobs=(0.0, -1.0))])
    assert one.scores == {"accuracy": 1.0}
    assert key(plain) == "576e9dd7c340468f35fabc1fd9481e9efab62b5b7988b0f114c37d05c6e6ada9", (
        "a study without `cluster:` has the key it had before there was one"
    )
    assert key(found) != key(plain)
    assert clusters(rows.benchmarks["test"]) == 2 and clusters(loaded(plain).benchmarks["test"]) is None
    assert clusters([]) is None
    with pytest.raises(InputError, match=r"tasks.mine.cluster: .*nowhere"):
        loaded(study(tmp_path, ENTRY | {"cluster": "nowhere"}))


def test_a_hub_id_is_served_by_data(tmp_path):
    study(tmp_path, ENTRY)
    text = (tmp_path / "own.yaml").read_text().replace('"rows"', '"some/rows"')
    (tmp_path / "own.yaml").write_text(text.replace('"methods"', '"data": {"some/rows": "rows"}, "methods"'))
    assert len(loaded(load(tmp_path / "own.yaml")).train) == 12


def test_one_file_with_examples_held_out(tmp_path):
    one = ENTRY | {"dataset_path": "rows/train.jsonl", "validation": 4, "split": "validation"}
    rows = loaded(study(tmp_path, one))
    assert len(rows.train) == 8 and len(rows.benchmarks["test"]) == 4
    with pytest.raises(InputError, match="training and test rows would be the same"):
        study(tmp_path, ENTRY | {"dataset_path": "rows/train.jsonl"})


MISTAKES = {
    "no name": ({"name": None}, "tasks.0: a task that is declared here needs a `name:`"),
    "misspelt key": ({"doc_to_txt": "x"}, "tasks.mine.doc_to_txt: unknown key; did you mean 'doc_to_text'?"),
    "misspelt common key": ({"train_limits": 5}, "tasks.mine.train_limits: unknown key; did you mean 'train_limit'?"),
    "lm-eval's own": ({"num_fewshot": 5}, "tasks.mine.num_fewshot: is lm-eval's, and not read here; nothing is"),
    "lm-eval's name": ({"task": "x"}, "tasks.mine.task: is lm-eval's, and not read here; give the task a `name:`"),
    "text alone": ({"doc_to_target": None}, "tasks.mine: `doc_to_text:` is there without `doc_to_target:`"),
    "target alone": ({"doc_to_text": None}, "tasks.mine: `doc_to_target:` is there without `doc_to_text:`"),
    "one choice": ({"doc_to_choice": ["a"]}, "tasks.mine.doc_to_choice: ['a'] leaves nothing to choose"),
    "numbers for choices": ({"doc_to_choice": [1, 2]}, "tasks.mine.doc_to_choice.0: input should be a valid string"),
    "other output": ({"output_type": "generate_until"}, "generate_until does not go with `doc_to_choice:`"),
    "no choices": (
        {"output_type": "multiple_choice", "doc_to_choice": None}, "multiple_choice needs `doc_to_choice:`",
    ),
    "number of no choice": ({"doc_to_choice": None, "doc_to_target": 1}, "1 is the number of a choice, and there are"),
    "unknown output": ({"output_type": "loglikelihood"}, "tasks.mine.output_type: input should be 'multiple_choice'"),
    "unknown metric": ({"metric_list": ["acc"]}, "metric_list: unknown metric 'acc'; did you mean 'accuracy'?"),
    "metric of texts": ({"metric_list": ["exact_match"]}, "metric_list: unknown metric 'exact_match'"),
    "metric twice": ({"metric_list": ["accuracy", "accuracy"]}, "metric_list: 'accuracy' is there twice"),
    "bleu alone": ({"metric_list": ["bleu"], "doc_to_choice": None}, "'bleu' cannot be the headline"),
    "label alone": ({"metric_list": ["f1_macro"]}, "comparisons are made by; put accuracy before it"),
    "no positive": ({"metric_list": ["accuracy", "f1_binary"]}, "f1_binary needs `pos_label:`, the label"),
    "positive": ({"metric_list": [{"metric": "accuracy", "pos_label": "bad"}]}, "accuracy has no `pos_label:`"),
    "unknown positive": (
        {"metric_list": ["accuracy", {"metric": "f1_binary", "pos_label": "baad"}]},
        "pos_label 'baad' is none of the choices; did you mean 'bad'?",
    ),
    "two positives": (
        {
            "metric_list": [
                "accuracy",
                {"metric": "f1_binary", "pos_label": "bad"},
                {"metric": "recall_binary", "pos_label": "good"},
            ]
        },
        "metric_list: metrics have different `pos_label:`s",
    ),
    "labels by row": (
        {"metric_list": ["accuracy", "f1_macro"], "doc_to_choice": "{{ [label, 'x'] }}"},
        "f1_macro needs the same labels in every row; list them",
    ),
    "metric's key": ({"metric_list": [{"metric": "accuracy", "agg": 1}]}, "metric_list.0.agg: unknown key"),
    "broken template": ({"doc_to_text": "{{ text"}, "tasks.mine.doc_to_text: is no template (line 1: unexpected end"),
    "unknown filter": ({"doc_to_text": "{{ text | uper }}"}, "doc_to_text: is no template (line 1: No filter named"),
    "no folder": ({"dataset_path": "./elsewhere"}, "elsewhere does not exist"),
    "no file": ({"dataset_path": "elsewhere.jsonl"}, "tasks.mine.dataset_path: nothing at elsewhere.jsonl"),
    "no split": ({"test_split": "final"}, "no file for split 'final' in"),
    "same split": ({"test_split": "train"}, "dataset_path: training and test rows would be the same"),
    "unknown field": (
        {"doc_to_text": "{{ txt }}"},
        "tasks.mine.doc_to_text: 'txt' is undefined in ROWS/train.jsonl, line 1 (12 rows cannot be used: lines 1, 2, 3"
        ", ...); its fields: text, label, n, nothing",
    ),
    "unknown name": (
        {"doc_to_target": "labels"}, "doc_to_target: 'labels' is no field of ROWS/train.jsonl, line 1 and no template",
    ),
    "null": ({"doc_to_text": "{{ nothing }}"}, "cannot be filled in from ROWS/train.jsonl, line 1 (a field is null)"),
    "null name": ({"doc_to_text": "nothing"}, "cannot be filled in from ROWS/train.jsonl, line 1 (a field is null)"),
    "unknown inside": ({"doc_to_text": "{{ text.x }}"}, "doc_to_text: 'str object' has no attribute 'x' in ROWS"),
    "unknown expression": ({"doc_to_choice": "{{ txt }}"}, "doc_to_choice: 'txt' is undefined in ROWS/train.jsonl"),
    "no list": ({"doc_to_choice": "{{ text }}"}, "doc_to_choice: gives no list of texts in ROWS/train.jsonl, line 1"),
    "choices alike": ({"doc_to_choice": ["a", "{{ 'a' }}"]}, "line 1: the choices ['a', 'a'] are not two or more"),
    "private": ({"doc_to_text": "{{ text.__class__ }}"}, "access to attribute '__class__' of 'str' object is unsafe"),
    "division": ({"doc_to_text": "{{ n / 0 }}"}, "filled in from ROWS/train.jsonl, line 1 (division by zero)"),
    "empty text": ({"doc_to_text": "{{ '' }}"}, "ROWS/train.jsonl, line 1: the user's text is empty"),
    "no messages": ({"doc_to_text": None, "doc_to_target": None}, "has no field 'messages'"),
    "benchmark": ({"benchmarks": ["tests"]}, "tasks.mine.benchmarks: unknown benchmark 'tests'; did you mean 'test'?"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_clear_line(tmp_path, name):
    change, wanted = MISTAKES[name]
    with pytest.raises(InputError) as caught:
        loaded(study(tmp_path, ENTRY | change))
    assert wanted in str(caught.value).replace(str(tmp_path / "rows"), "ROWS")
    assert "\n" not in str(caught.value)


def test_a_path_that_leads_nowhere_is_told_as_both_things_it_may_mean(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    reach.silence.cache_clear()
    study(tmp_path, ENTRY | {"dataset_path": "row"})
    nano = OWN.parent.parent / "src" / "bakeoff" / "nano"
    with pytest.raises(InputError) as caught:
        planning.make(load(tmp_path / "own.yaml", [f"models.m.path={nano}"]))
    told = str(caught.value)
    assert told.startswith("tasks.mine.dataset_path: no folder or file 'row' beside the study file; as a data set of ")
    assert told.endswith("; did you mean 'rows'?") and "\n" not in told


BAD_ROWS = {
    "label": ({"text": "x", "label": "ugly"}, "line 13: the answer 'ugly' is none of the choices ['good', 'bad']"),
    "number": ({"text": "x", "label": 2}, "line 13: the answer '2' is none of the choices"),
    "negative": ({"text": "x", "label": -1}, "line 13: the answer '-1' is none of the choices"),
    "field": ({"text": "x"}, "doc_to_target: 'label' is no field of"),
    "empty": ({"text": " ", "label": "bad"}, "line 13: the user's text is empty"),
    "list": (["x"], "line 13: a row is a mapping, not list"),
}
BAD_CHATS = {
    "no list": ("hi", "line 13, field 'messages': a list of messages is wanted, not 'hi'"),
    "no messages": ([], "a list of messages is wanted, not '[]'"),
    "role": ([{"role": "bot", "content": "x"}], "'assistant', 'content': text} is wanted, not"),
    "key": ([{"role": "user", "content": "x", "weight": 1}], "is wanted, not"),
    "content": ([{"role": "user", "content": None}], "is wanted, not"),
    "order": (
        [{"role": "assistant", "content": "x"}, {"role": "user", "content": "x"}], "the turns are assistant, user",
    ),
    "alone": ([{"role": "assistant", "content": "x"}], "the turns are assistant"),
    "late system": (
        [{"role": role, "content": "x"} for role in ("user", "system", "user", "assistant")], "the turns are user, sys",
    ),
    "empty": ([{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}], "assistant's text is empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_names_its_file_and_line(tmp_path, name):
    row, wanted = BAD_ROWS[name]
    with pytest.raises(InputError, match=r"train\.jsonl, line 13") as caught:
        loaded(study(tmp_path, ENTRY, train=[*ROWS, row]))
    assert wanted in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", BAD_CHATS)
def test_a_bad_chat_names_its_file_and_line(tmp_path, name):
    messages, wanted = BAD_CHATS[name]
    good = [{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}] * 12
    entry = {"name": "mine", "dataset_path": "rows"}
    with pytest.raises(InputError, match=r"train\.jsonl, line 13") as caught:
        loaded(study(tmp_path, entry, train=[*good, {"messages": messages}], test=good))
    assert wanted in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"train": ""}, "rows, split train: it holds no rows"),
        ({"test": ""}, "rows, split test: it holds no rows"),
        (
            {"train": ROWS[::2]},
            "tasks.mine: all 6 answers of the train split are 'good', so there is nothing",
        ),
        ({"test": ROWS[1::2]}, "tasks.mine: all 6 answers of the test split are 'bad'"),
    ],
)
def test_empty_and_one_class_splits(tmp_path, files, wanted):
    with pytest.raises(InputError, match=re.escape(wanted)):
        loaded(study(tmp_path, ENTRY, **files))


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda x: st.lists(x, max_size=3), max_leaves=4
)


@settings(max_examples=80, deadline=None)
@given(
    row=st.dictionaries(st.sampled_from(["text", "label", "a b", "x"]), JSONS, max_size=4), text=st.text(max_size=12)
)
def test_any_row_and_any_template_give_text_or_one_line(row, text):
    for source in ("text", "{{ text }}", "{{ text[0].x }}", "{{ label | length }}", text, "{{" + text + "}}"):
        try:
            template = Template(source, "tasks.mine.doc_to_text", literal=False)
            assert isinstance(template.text(row, "rows.jsonl, line 1"), str)
            template.value(row, "rows.jsonl, line 1")
        except InputError as error:
            assert str(error).startswith("tasks.mine.doc_to_text: ")
            assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize("name", ["classification", "generation", "multiple-choice", "messages"])
def test_the_documented_examples_run(tmp_path, name):
    settings = ["training.max_steps=2", "training.warmup_steps=0", "seeds=[0]"]
    found = load(OWN / f"{name}.yaml", settings)
    (told,) = found.tasks
    outcome = run(found, tmp_path / "out")
    assert outcome.ran == 2 and not outcome.failed
    plan = outcome.store.plan()
    assert plan["tasks"][told]["overlap"]["test"]["exact"] == 0
    assert [source["rows"] > 0 and source["files"] for source in plan["notes"]["data"]]
    opened = open_trial(outcome.store, f"{told}/lora/seed 0").task
    assert (opened.name, opened.metrics) == (told, tuple(plan["tasks"][told]["metrics"]))
    page = (tmp_path / "out" / "report.md").read_text()
    assert "test item" in page and "sha256" in page and told in page
    assert {cell.metric for cell in bakeoff.open(tmp_path / "out").cells} == set(plan["tasks"][told]["metrics"])


def test_the_documented_entries_are_the_runnable_ones():
    text = (Path(__file__).parent.parent / "docs" / "tasks.md").read_text()
    for name in ("classification", "generation", "multiple-choice", "messages"):
        entry = (OWN / f"{name}.yaml").read_text().partition("tasks:\n")[2].partition("methods:")[0]
        entry = re.sub(r" +#.*", "", entry)
        assert entry in text, name


def test_test_items_that_are_trained_on_are_a_doubt(tmp_path):
    found = study(tmp_path, ENTRY)
    rows = loaded(found)
    counted = overlap(rows.train, rows.benchmarks["test"])
    assert counted.exact == counted.of == 4
    (told,) = doubts.of_overlap({"mine (test)": counted.model_dump()})
    assert told.kind == "overlap" and "of mine (test) are also in the training set" in told.text
    assert not doubts.of_overlap({"mine (test)": {"exact": 0, "ngram13": 0, "of": 4}})


def test_limits_hold_for_declared_tasks(tmp_path):
    study(tmp_path, ENTRY)
    rows = loaded(load(tmp_path / "own.yaml", limit=3))
    assert len(rows.train) == len(rows.benchmarks["test"]) == 3


def test_planning_says_what_was_read(tmp_path):
    made = planning.make(load(OWN / "classification.yaml"))
    lines = made.told_of_data("support-tickets")
    assert lines[0].startswith("tickets, train: train.jsonl (sha256 ") and lines[0].endswith(", 24 rows")
    assert lines[-1].startswith("None of 12")
