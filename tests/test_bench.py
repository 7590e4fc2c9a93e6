"""The benchmark's cases on a tiny model: the same numbers in both engines, and every key of the JSON. No timings."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
import torch
from conftest import ROOT, shared, tiny_backbone
from test_cli import call
from test_laws import examples
from test_trainer import collate
from transformers import Trainer, TrainingArguments

from bakeoff.bench import cases, plain
from bakeoff.bench.inputs import STORIES, SYSTEM, Inputs, inputs, prompts_of_a_length, trained_on, trunk
from bakeoff.bench.measure import Pair, apart, case, gemm_rate, machine
from bakeoff.bench.show import Page, line, markdown, payload, text
from bakeoff.data.messages import Encoded
from bakeoff.engine import lanes as engine
from bakeoff.engine import reference
from bakeoff.engine.generate import Request
from bakeoff.engine.meter import flops
from bakeoff.engine.plain import Plain
from bakeoff.engine.train import Learner
from bakeoff.errors import InputError

KEYS = {"name", "ratio", "max_loss_difference", "fraction_of_gemm", "ratio_length_sorted", "ratios", "trunk_tokens"}
ROOT_STUDY = ROOT / "studies" / "bench.yaml"


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(cases, "BATCH", 4)
    monkeypatch.setattr(cases, "REVIEWS", 3)
    monkeypatch.setattr(cases, "POOL", 40)
    monkeypatch.setattr(cases, "LONGEST", 9)
    monkeypatch.setattr(cases, "SHORTEST", 2)


def batches(count: int, size: int, **options: Any) -> tuple[list[list[Encoded]], list[list[Encoded]]]:
    """Batches in order, and as many of like length."""
    items = examples(count * size, **options)
    return [items[i : i + size] for i in range(0, len(items), size)], cases.alike(items, size, count)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_training_pairs_have_equal_losses_and_updates(kind):
    pairs, trunk, more = cases.train_matrix(tiny_backbone(kind), batches(3, 4)[0], seeds=1)
    assert (len(pairs), trunk, more["trials"]) == (2, 5, 4)
    assert all(pair.flops > 0 and pair.difference < 1e-5 for pair in pairs)
    assert more["padded_tokens"] > more["real_tokens"] and more["max_update_difference"] < 1e-4


@pytest.mark.parametrize("wrong", [torch.neg, lambda grad: 1.01 * grad], ids=["sign", "size"])
def test_a_wrong_gradient_shows(wrong, monkeypatch):
    """The first loss is right; what is learned from it is not. AdamW itself does not see a gradient's size."""
    right = cases.train_step

    def broken(lanes: Any, learners: Any, items: Any, step: int) -> Any:
        handles = [p.register_hook(wrong) for p in [*lanes.adapters[0].parameters()][::2]]
        found = right(lanes, learners, items, step)
        for handle in handles:
            handle.remove()
        return found

    monkeypatch.setattr(cases, "train_step", broken)
    pairs, _, more = cases.train_lora(tiny_backbone("gpt2"), *batches(3, 4))
    assert not case("x", pairs, (1, 1), 1, 1, "", **more).same


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_labels_score_the_same(kind):
    pairs, _, _ = cases.score_labels(tiny_backbone(kind), *batches(2, 3, leaves=2))
    assert len(pairs) == 2 and all(pair.difference < 1e-4 and pair.length_sorted > 0 for pair in pairs)


def test_labels_of_one_token_are_also_read_off_one_forward():
    items = [Encoded(item.prompt, ((7,), (9,))) for item in examples(5)]
    pairs, _, more = cases.score_labels(tiny_backbone("gpt2"), [items], [items])
    assert more["ratio_one_forward"] > 0 and pairs[0].difference < 1e-4
    for name in cases.METHODS:
        model = Plain(tiny_backbone("gpt2"), cases._noised(tiny_backbone("gpt2"), name, 0)).eval()
        apart_ = torch.tensor(plain.scored(model, items)) - torch.tensor(plain.scored_at_once(model, items))
        assert apart_.abs().max() < 1e-5


PROMPTS = [Encoded(tuple(range(4, 14)), ()), *(Encoded((*range(4, 13), n), ()) for n in range(20, 27))]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_texts_are_the_same_and_stop_where_told(kind):
    pairs, _, more = cases.generate_texts(tiny_backbone(kind), PROMPTS, 1)
    assert pairs[0].difference < 1e-4 and pairs[0].flops > 0
    assert more["same_texts"] == more["texts"] == 40
    assert sorted(cases.stop_lengths(8)) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert more["ratio_in_one_batch"] > 0
    assert more["lanes_cache_mib"] == 5 * more["plain_cache_in_one_batch_mib"] == 10 * more["plain_cache_mib"]


def test_a_wrong_mask_shows(monkeypatch):
    """Lanes whose rows see other examples' tokens score and generate something else."""
    mend = engine.Lanes.hidden

    def leaking(self: Any, packed: Any, cache: Any = None) -> Any:
        packed.mask[..., -1, :] = True
        packed.mask[..., 0] = True
        packed.mask[..., 3, 2] = False
        return mend(self, packed, cache)

    monkeypatch.setattr(engine.Lanes, "hidden", leaking)
    pairs, *_ = cases.score_labels(tiny_backbone("llama"), *batches(1, 3, leaves=2))
    assert pairs[0].difference > 1e-4
    pairs, *_ = cases.generate_texts(tiny_backbone("llama"), PROMPTS, 1)
    assert pairs[0].difference > 1e-4


def test_numbers_that_are_none_are_infinitely_apart():
    assert apart([1.0, 2.0], [1.5, 2.0]) == 0.5
    assert apart([1.0, math.nan], [1.0, 2.0]) == apart([math.inf], [math.inf]) == math.inf
    one = case("x", [Pair(lanes=1, plain=1, difference=math.inf)], gemm=(1, 2), trunk=1, wanted=1, what="")
    assert not one.same and one.as_json()["max_loss_difference"] is None
    assert "not a number" in line(one) and "disturbed" in line(one)
    assert "(not the same)" in line(case("x", [Pair(lanes=1, plain=1, difference=2e-4)], (1, 1), 1, 1, ""))
    assert not case("x", [Pair(lanes=1, plain=1)], (1, 1), 1, 1, "", same_texts=8, texts=10).same
    assert case("x", [Pair(lanes=1, plain=1)], (1, 1), 1, 1, "", same_texts=9, texts=10).same
    assert cases._agreement(Request(Encoded((1,), ()), ids=[5], logprobs=[0.0]), ([5, 6], [0.0, 0.0])) == (
        math.inf,
        False,
    )


@pytest.mark.parametrize("name", cases.METHODS)
def test_plain_steps_are_the_references(name):
    """The model's own loss from labels is the loss that the laws compare lanes with."""
    backbone, found = tiny_backbone("gpt2"), []
    for step in (plain.train_step, reference.train_step):
        learner = Learner(name, Plain(backbone, cases._noised(backbone, name, 0)), examples(4), cases.TRAINING, 0)
        found.append([step(learner, examples(4), number) for number in range(3)])
    assert found[0] == pytest.approx(found[1], abs=2e-6)


def test_plain_steps_are_the_trainers(tmp_path):
    """transformers.Trainer on the same PEFT model: its losses, step by step."""
    backbone = tiny_backbone("gpt2", torch.float64)
    training = cases.TRAINING.model_copy(update={"max_steps": 4, "per_device_train_batch_size": 5})
    items = examples(5)
    learner = Learner("lora", Plain(backbone, cases._noised(backbone, "lora", 0)), items, training, 0)
    model: Any = copy.deepcopy(learner.adapter.model)
    ours = [plain.train_step(learner, items, step) for step in range(4)]
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    rows = [([*item.prompt, *item.leaves[0]], len(item.prompt)) for item in items]
    data = [{"ids": ids, "mask": [1] * len(ids), "labels": [-100] * n + ids[n:]} for ids, n in rows]
    arguments = TrainingArguments(
        output_dir=str(tmp_path), logging_steps=1, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
        remove_unused_columns=False, max_steps=4, per_device_train_batch_size=5, weight_decay=training.weight_decay,
        learning_rate=training.learning_rate, warmup_steps=0, max_grad_norm=training.max_grad_norm,
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=data, data_collator=collate)  # pyright: ignore
    trainer.train()
    theirs = [row["loss"] for row in trainer.state.log_history if "grad_norm" in row]
    assert ours == pytest.approx(theirs, rel=1e-6)  # the model takes its loss in float32


def test_length_sorted_batches_are_spread_over_the_pool():
    items = [Encoded(tuple(range(n)), ((1,),)) for n in (9, 3, 5, 7, 4, 8, 6, 2, 1)]
    found = cases.alike(items, 2, 2)
    assert [[len(item.prompt) for item in batch] for batch in found] == [[3, 4], [7, 8]]


def test_the_result_is_json_and_markdown_with_the_named_keys():
    pairs = [Pair(lanes=1, plain=seconds, flops=5e8, difference=1e-7) for seconds in (2, 9, 4)]
    one = case("train/x", pairs, gemm=(1e9, 0.5e9), trunk=33, wanted=4, what="some work", real_tokens=7)
    found = json.loads(text(payload([one], ["train/x", "train/y"], Inputs({"stories3M": "x"}, {}), machine())))
    row = found["cases"][0]
    assert row.keys() >= KEYS
    assert (row["ratio"], row["fraction_of_gemm"], row["real_tokens"]) == (4, 0.5, 7)
    assert found["token_lengths_from"] == "gpt2's tokenizer" and "| `train/x` |" in markdown(found)
    assert line(one).startswith("train/x: 4.00 (2.00 to 9.00) x, wanted 4;")
    page = markdown(found)
    assert "Not finished: `train/y`." in page and "disturbed: the machine made 1 GFLOP/s before and 0 after" in page
    assert "random weights" in page and machine()["versions"]["torch"] in page and SYSTEM.content in page


def test_gpt2_has_its_own_tokenizer_and_both_trunks_are_as_long_as_meant(tmp_path):
    from bakeoff.models.backbone import Backbone

    given = inputs([], [], ROOT_STUDY)
    sentences = [*given.sentences(40)] if shared("data", "sst2") else []
    assert given.tokenizer == "gpt2"  # the extra `bench`
    tokenizer = given.read_tokenizer()
    assert tokenizer.encode("Hello world, positive") == [15496, 995, 11, 3967]
    for own in (tokenizer, given.stories3m.tokenizer):
        backbone = tiny_backbone("gpt2")
        backbone.tokenizer, backbone.context = own, 1024
        assert trunk([trained_on(backbone, sentences)]) == 32
    assert isinstance(given.stories3m, Backbone)
    backbone.context = 1024
    prompts = prompts_of_a_length(backbone, given.sentences(300), 10)
    assert len({len(item.prompt) for item in prompts}) == 1 and len(prompts) == 10
    with pytest.raises(InputError, match="no 300 prompts"):
        prompts_of_a_length(backbone, given.sentences(300), 300)
    tokenizer.save_pretrained(tmp_path / "own")
    assert Inputs({"gpt2": str(tmp_path / "own")}, {}).read_tokenizer().encode(" film") == [2646]
    for wrong, match in ((tmp_path / "none", "no directory"), (tmp_path, "no tokenizer"),
                         (shared("models", STORIES), "50257")):  # fmt: skip
        with pytest.raises(InputError, match=match):
            Inputs({"gpt2": str(wrong)}, {}).read_tokenizer()


def test_the_command_prints_json_alone_and_writes_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    where = [
        "--model",
        f"stories3M={shared('models', STORIES)}",
        "--data",
        f"stanfordnlp/sst2={shared('data', 'sst2')}",
    ]
    out = ["--json", "--repeats", "1", "--out", "deep/page.md", *where]
    assert call(monkeypatch, "bench", "train/stories3m/sst2", *out) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["cases"][0]["same"] and found["cases"][0]["trunk_tokens"] == 32
    assert found == json.loads((tmp_path / "deep/page.json").read_text())
    assert "`train/stories3m/sst2`" in (tmp_path / "deep/page.md").read_text()
    assert "1 of 1: train/stories3m/sst2" in said.err


def test_engines_that_differ_fail_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    broken = case("train/stories3m/sst2", [Pair(lanes=1, plain=3, difference=math.inf)], (1, 1), 32, 2.5, "")
    monkeypatch.setattr(cases, "prepare", lambda *_: lambda: broken)
    assert call(monkeypatch, "bench", "train/stories3m/sst2", "--json") == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["cases"][0]["same"] is False
    assert "error: the engines do not compute the same: train/stories3m/sst2" in said.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--out", "page.json"], "name the page: page.md"),
        (["--out", "here"], "cannot be written"),
        (["--out", "taken/page.md"], "cannot be written"),
        (["--out", "numbers.md"], "cannot be written"),
        (["--from", "latin.yaml"], "latin.yaml: cannot be read"),
        (["--data", "stanfordnlp/sst2=few.tsv"], "2 rows, and the benchmark reads"),
        (["--data", "stanfordnlp/sst2=none"], "does not exist"),
        (["--model", "stories3M=none"], "no directory"),
    ],
)
def test_bad_input_is_said_before_anything_is_timed(options, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    for name in ("here", "numbers.json"):
        (tmp_path / name).mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"models: {stories3M: {path: caf\xe9}}")
    (tmp_path / "few.tsv").write_text("sentence\tlabel\ngood\t1\nbad\t0\n")
    where = ["--model", f"stories3M={shared('models', STORIES)}"]
    monkeypatch.setattr(cases, "gemm_rate", lambda: pytest.fail("something was timed"))
    assert call(monkeypatch, "bench", "train/stories3m/sst2", *where, *options) == 2
    printed = capsys.readouterr()
    assert said in printed.err.replace("\n", " ") and "Traceback" not in printed.err
    assert len([*tmp_path.iterdir()]) == 5  # nothing was written


def test_a_run_that_is_cut_short_says_what_it_has(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    done = case("train/gpt2-124m/sst2", [Pair(lanes=1, plain=2)], (1, 1), 32, 4, "")

    def prepared(name: str, *_: Any) -> Any:
        def run() -> Any:
            if name == done.name:
                return done
            raise KeyboardInterrupt

        return run

    monkeypatch.setattr(cases, "prepare", prepared)
    wanted = ["train/gpt2-124m/sst2", "train/stories3m/sst2"]
    assert call(monkeypatch, "bench", *wanted, "--json", "--out", "page.md") != 0
    found = json.loads(capsys.readouterr().out)
    assert ([one["name"] for one in found["cases"]], found["asked"]) == (wanted[:1], wanted)
    assert "Not finished: `train/stories3m/sst2`." in (tmp_path / "page.md").read_text()


def test_a_page_is_beside_its_numbers(tmp_path):
    Page(tmp_path / "new" / "page.md").write(payload([], [], Inputs({"gpt2": "x"}, {}), machine()))
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["page.json", "page.md"]


def test_operations_are_those_of_the_products():
    import torch

    a = torch.ones(3, 5)
    assert flops(lambda: a @ a.T) == 2 * 3 * 5 * 3
    assert gemm_rate(64, 1) > 0


def test_what_is_absent_or_unknown_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="stories3M"):
        _ = inputs([], []).stories3m
    with pytest.raises(InputError, match="stanfordnlp/sst2"):
        inputs([], ["stanfordnlp/sst=x"])
    with pytest.raises(InputError, match="train/gpt2-124m/sst2"):
        cases.named(["train/gpt2-124m/sst"])
    file = tmp_path / "bench.yaml"
    file.write_text("models: {stories3M: {path: m}}\ndata: {stanfordnlp/sst2: s}\n")
    found = inputs([], ["stanfordnlp/sst2=elsewhere"], file)
    assert found.models == {"stories3M": str(tmp_path / "m")} and found.data == {"stanfordnlp/sst2": "elsewhere"}
