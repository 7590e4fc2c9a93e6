"""Laws of every task: right answers score 1, wrong ones 0, splits are disjoint and always the same."""

import atexit
import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from toy import Toy, ToyText

from bakeoff.analysis.aggregates import AGGREGATES
from bakeoff.errors import InputError
from bakeoff.study.registry import find, names
from bakeoff.study.spec import Declared, TaskSpec
from bakeoff.tasks.task import Completion, Example, Task, build, splits

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
SOURCES = {
    "sst2": {"stanfordnlp/sst2": DATA / "sst2"},
    "deepmath": {
        "zwhe99/DeepMath-103K": DATA / "math",
        "HuggingFaceH4/MATH-500": DATA / "math500",
        "openai/gsm8k": DATA / "gsm8k",
        "HuggingFaceH4/aime_2024": DATA / "aime24",
    },
    "codeparrot_humaneval": {
        "codeparrot/codeparrot-clean": DATA / "pycode",
        "openai/openai_humaneval": DATA / "humaneval",
    },
    "sst2_imdb": {"stanfordnlp/sst2": DATA / "sst2", "stanfordnlp/imdb": DATA / "imdb"},
    "medmcqa": {"openlifescienceai/medmcqa": DATA / "medmcqa"},
}


def load(name: str) -> tuple[Task, dict[str, str]]:
    """A task and the local files that serve it; skips where they are absent."""
    if name == "declared":
        return build(TaskSpec(use=name, declared=_declared()), name), {}
    sources = SOURCES.get(name, {})
    for path in sources.values():
        if not path.exists():
            pytest.skip(f"not run: {path} absent")
    return find("tasks", name, "test")(), {hub_id: str(path) for hub_id, path in sources.items()}


@cache
def _declared() -> Declared:
    """Sixty training rows and thirty others."""
    folder = Path(mkdtemp(prefix="bakeoff-tests-"))
    atexit.register(shutil.rmtree, folder)
    rows = [{"text": f"This is text {i}.", "label": i % 3} for i in range(90)]
    for name, some in (("train", rows[:60]), ("test", rows[60:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    return Declared(
        dataset_path=str(folder), doc_to_text="text", doc_to_target="label", doc_to_choice=("one", "two", "three")
    )


LARGE = {"sst2_imdb", "deepmath", "codeparrot_humaneval"}  # take seconds to read or to grade


@pytest.fixture(params=[pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in names("tasks")])
def task(request) -> tuple[Task, dict[str, str]]:
    return load(request.param)


def test_gold_is_right_and_wrong_is_wrong(task):
    task, sources = task
    for benchmark in task.benchmarks:
        examples = task.test(benchmark, sources, 20)
        assert len(examples) == 20
        right = [Completion(text=example.answer) for example in examples]
        wrong = [Completion(text=_wrong(task, example)) for example in examples]
        nothing = [Completion(text="") for _ in examples]
        for completions, score in ((right, 1.0), (wrong, 0.0), (nothing, 0.0)):
            for grade in task.grade(examples, completions):
                own = [m for m in task.metrics if m not in (*AGGREGATES, "loss", "pass@5")]  # these need more
                assert list(grade.scores) == own
                assert grade.scores[task.metrics[0]] == score, grade
                assert completions is wrong or bool(grade.detail.get("unparsable")) == (completions is nothing), grade


def test_a_task_says_what_it_is(task):
    task, _ = task
    assert task.name and task.summary and task.metrics and task.benchmarks and task.version >= 1
    assert task.kind in ("choose", "generate")


def test_examples_are_chats(task):
    task, sources = task
    for example in [*task.train(sources, 30), *task.test(task.benchmarks[0], sources, 30)]:
        assert [message.role for message in example.messages][-2:] == ["user", "assistant"]
        assert example.answer.strip() == example.answer != ""
        assert not example.choices or example.answer in example.choices
        assert (task.kind == "choose") == bool(example.choices)


def test_splits_are_disjoint(task):
    task, sources = task
    train = task.train(sources, None)
    prompts = {example.prompt[-1].content for example in train}
    for benchmark in task.benchmarks:
        test = task.test(benchmark, sources, None)
        assert not prompts & {example.prompt[-1].content for example in test}
        everything = [example.id for example in (*train, *test)]
        assert len(set(everything)) == len(everything)


def test_fingerprint_is_stable_and_follows_the_examples(task):
    task, sources = task
    spec = TaskSpec(use=task.name, train_limit=40, test_limit=10, validation=5)
    first, again = splits(task, spec, sources), splits(task, spec, sources)
    assert first == again and len(first.train) == 40
    assert len(first.fingerprint) == 64
    other = splits(task, spec.model_copy(update={"train_limit": 39}), sources)
    assert other.fingerprint != first.fingerprint and len(other.train) == 39


def test_benchmarks_may_be_chosen():
    task = ToyText()
    both, one = (splits(task, TaskSpec(use="toy_text", benchmarks=names), {}) for names in (None, ("toy_more",)))
    assert list(both.benchmarks) == ["toy_text", "toy_more"] and list(one.benchmarks) == ["toy_more"]
    assert one.benchmarks["toy_more"] == both.benchmarks["toy_more"] and one.fingerprint != both.fingerprint


def test_one_class_alone_is_no_split_unless_a_small_limit_made_it():
    class Same(Toy):
        def _rows(self, split: str, count: int) -> list[Example]:
            return [row for row in super()._rows(split, 200) if row.answer == "w3"][:count]

    for limit, fine in ((None, False), (20, False), (3, True)):
        spec = TaskSpec(use="toy", train_limit=limit, test_limit=limit)
        if fine:
            assert splits(Same(), spec, {}).train
        else:
            with pytest.raises(InputError, match="answers of the train split are 'w3', so there is nothing to choose"):
                splits(Same(), spec, {})


def test_one_file_for_two_splits_is_an_error(tmp_path):
    """SST-2's sentences would be tested on that it was trained on."""
    (tmp_path / "all.tsv").write_text("sentence\tlabel\na fine film\t1\na dull film\t0\n")
    with pytest.raises(InputError, match=r"all\.tsv serves both split 'train' and 'validation'"):
        splits(find("tasks", "sst2", "")(), TaskSpec(use="sst2"), {"stanfordnlp/sst2": str(tmp_path / "all.tsv")})


def test_splits_say_what_each_part_was_read_from(tmp_path):
    (tmp_path / "train.tsv").write_text("sentence\tlabel\n" + "a fine film\t1\na dull film\t0\n" * 5)
    (tmp_path / "test.jsonl").write_text('{"text": "fine", "label": 1}\n{"text": "dull", "label": 0}\n')
    task, hubs = find("tasks", "sst2_imdb", "")(), ("stanfordnlp/sst2", "stanfordnlp/imdb")
    found = splits(task, TaskSpec(use="sst2_imdb"), dict.fromkeys(hubs, str(tmp_path)))
    assert (found.trained_on, found.tested_on) == (hubs[:1], {"imdb": hubs[1:]})
    assert [source.id for source in found.sources] == list(hubs)
    spec = TaskSpec(use="sst2_imdb", validation=2, split="validation", test_limit=1)
    held = splits(task, spec, {hubs[0]: str(tmp_path)})
    assert (held.trained_on, held.tested_on) == (hubs[:1], {"imdb": hubs[:1]})


def test_two_test_items_of_one_id_are_an_error():
    """Their scores would pass for two draws of one item."""

    class Twice(Toy):
        def test(self, benchmark, sources, limit):
            first, second, *rest = super().test(benchmark, sources, limit)
            return [first, second.model_copy(update={"id": first.id}), *rest]

    with pytest.raises(InputError, match="two examples of the"):
        splits(Twice(), TaskSpec(use="toy"), {})


def test_choices_keep_their_margin():
    task, sources = load("mini_sentiment")
    example = task.test("mini_sentiment", sources, 1)[0]
    assert example.choices == ("yes", "no") and example.answer == "yes"
    (grade,) = task.grade([example], [Completion(text="no", logprobs=(-3.0, -1.0))])
    assert grade.scores == {"accuracy": 0.0}
    assert grade.detail == {"gold": "yes", "chosen": "no", "margin": -2.0}


def test_details_of_generated_answers():
    task, sources = load("mini_math")
    example = task.test("mini_math", sources, 1)[0]
    gold = example.reference["answer"]
    (grade,) = task.grade([example], [Completion(text=f"so\nFinal Answer: {gold}.0")])
    assert grade.scores == {"exact_match": 1.0}
    assert grade.detail == {"gold": gold, "answer": f"{gold}.0", "stage": "number"}
    task, sources = load("mini_code")
    examples = task.test("mini_code", sources, 3)
    fenced = Completion(text=f"```python\n{examples[0].answer}\n```")
    prose = Completion(text="I cannot write it.")
    wrong = Completion(text=examples[2].answer.partition("return")[0] + "return None")
    grades = task.grade(examples, [fenced, prose, wrong])
    assert [grade.scores["pass@1"] for grade in grades] == [1.0, 0.0, 0.0]
    assert [grade.detail.get("verdict") for grade in grades] == ["pass", None, "fail"]
    assert grades[1].detail["unparsable"]


def test_sst2():
    task, sources = load("sst2")
    test = task.test("sst2", sources, None)
    assert len(test) == 872 and sum(example.answer == "positive" for example in test) == 444
    assert test[0].prompt[-1].content == "it 's a charming and often affecting journey ."
    # Another fingerprint makes every stored trial of the task another trial: it must be meant.
    fingerprint = splits(task, TaskSpec(use="sst2", train_limit=50, test_limit=20), sources).fingerprint
    assert fingerprint == "aebd7654be3440adb13dbe9cfc91c2421011e2b426dac0fba196eae5a90c7c9a"


def _wrong(task: Task, example: Example) -> str:
    """A completion that is read and is wrong."""
    others = [label for label in example.choices if label != example.answer]
    if others:
        return others[0]
    if "entry_point" in example.reference:
        return f"def {example.reference['entry_point']}(*arguments): return None"
    return "Final Answer: 987654321"
