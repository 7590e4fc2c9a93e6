"""Encoder-decoder models through the reference engine: equal to plain Hugging Face, and held to the laws that apply."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import VOCABULARY, tiny_tokenizer
from peft import PeftModel
from test_laws import TRAINING, examples
from transformers import GenerationConfig, T5Config, T5ForConditionalGeneration

from bakeoff.data.messages import Encoded
from bakeoff.engine import reference
from bakeoff.engine.plain import Plain
from bakeoff.engine.prove import doubt
from bakeoff.engine.randomness import generator
from bakeoff.engine.train import Learner
from bakeoff.errors import InputError
from bakeoff.methods.method import build
from bakeoff.models.backbone import Backbone
from bakeoff.run.progress import Progress
from bakeoff.run.run import run
from bakeoff.study.load import load

LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q", "v"]}
HYBRID = [
    {"name": "lora", "use": "lora", "config": LORA},
    {"name": "prompt", "use": "prompt_tuning", "config": {"num_virtual_tokens": 3}},
]
METHODS = {
    "full": ("full", {}),
    "lora": ("lora", LORA),
    "roles": ("lora", {"r": 2, "target_modules": ["query", "value", "up", "down"]}),
    "prompt": ("prompt_tuning", {"num_virtual_tokens": 3}),
    "prefix": ("prefix_tuning", {"num_virtual_tokens": 3}),
    "lora+prompt": ("combine", {"parts": HYBRID}),
    "dora": ("peft", {"peft_type": "LORA", "use_dora": True, "r": 2}),
    "adalora": ("peft", {"peft_type": "ADALORA", "target_r": 2, "init_r": 3}),
    "p_tuning": ("peft", {"peft_type": "P_TUNING", "num_virtual_tokens": 3}),
}
READABLE = [name for name in METHODS if name not in ("full", "lora+prompt")]  # by PEFT, as one adapter


def t5_tokenizer():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template, tokenizer.pad_token = None, "<s>"
    tokenizer.bos_token = None
    return tokenizer


def tiny_t5(dtype: torch.dtype = torch.float32, width: int = 32) -> Backbone:
    more: Any = {"decoder_start_token_id": 0}
    shape: dict[str, Any] = dict(d_model=width, d_kv=width // 4, d_ff=48 if width == 32 else 2 * width)
    config = T5Config(vocab_size=VOCABULARY, num_layers=2, num_heads=4, **shape, **more)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = T5ForConditionalGeneration(config)
        return Backbone(model.to(dtype), t5_tokenizer(), "t5")


def plain(backbone: Backbone, name: str, seed: int = 0) -> Plain:
    use, config = METHODS.get(name, (name, {}))
    return Plain(backbone, build(use, config).attach(backbone, generator(seed, "init")))


def as_hugging_face_takes_it(items: list[Encoded]) -> dict[str, torch.Tensor]:
    """The batch that T5's own training would see: prompts ended by EOS, answers as labels."""
    prompts, answers = [[*item.prompt, 1] for item in items], [list(item.leaves[0]) for item in items]
    long, wide = max(map(len, prompts)), max(map(len, answers))
    return {
        "input_ids": torch.tensor([p + [0] * (long - len(p)) for p in prompts]),
        "attention_mask": torch.tensor([[1] * len(p) + [0] * (long - len(p)) for p in prompts]),
        "labels": torch.tensor([a + [-100] * (wide - len(a)) for a in answers]),
    }


def test_the_loss_is_hugging_faces():
    backbone, items = tiny_t5(torch.float64), examples(7)
    batch = as_hugging_face_takes_it(items)
    mine = reference._loss(plain(backbone, "base"), items) / sum(len(item.leaves[0]) for item in items)
    assert float(mine) == pytest.approx(float(backbone.model(**batch).loss), abs=1e-6)


@pytest.mark.parametrize("name", ["lora", "prompt", "prefix", "lora+prompt"])
def test_the_loss_of_a_method_is_that_of_its_peft_model(name):
    """The whole batch at once, labels given to PEFT's own forward."""
    backbone, items = tiny_t5(), examples(7)
    model = plain(backbone, name).eval()
    _stir(model)
    mine = reference._loss(model, items) / sum(len(item.leaves[0]) for item in items)
    assert mine.item() == pytest.approx(model.model(**as_hugging_face_takes_it(items)).loss.item(), abs=1e-5)


def _stir(model: Plain) -> None:
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=chance) * 0.3)


def test_label_scores_are_the_decoders_log_probabilities():
    backbone, items = tiny_t5(), examples(5, seed=3, leaves=3)
    found = reference.score(plain(backbone, "base").eval(), items)
    for item, own in zip(items, found, strict=True):
        for leaf, value in zip(item.leaves, own, strict=True):
            ids, labels = torch.tensor([[*item.prompt, 1]]), torch.tensor([leaf])
            alone = -backbone.model(input_ids=ids, labels=labels).loss * len(leaf)
            assert value == pytest.approx(float(alone), abs=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_every_part_trains_and_nothing_else(name):
    """Law 2, both halves of the hybrid included; law 4's global generator."""
    backbone, chance = tiny_t5(), torch.random.get_rng_state()
    before = copy.deepcopy(backbone.model.state_dict())
    model = plain(backbone, name)
    one = Learner(name, model, examples(20), TRAINING, 0)
    start = {key: p.detach().clone() for key, p in model.named_parameters() if p.requires_grad}
    reference.train(one)
    still = [key for key, p in model.named_parameters() if key in start and torch.equal(start[key], p)]
    assert not [key for key in still if "lora_E" not in key]  # AdaLoRA may leave a module no rank: zeros, as at first
    if name == "lora+prompt":
        assert {"lora_A", "lora_B", "prompt_encoder"} <= {part for key in start for part in key.split(".")}
    assert one.curve[-1].loss < one.curve[0].loss
    model.adapter.release()
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.model.state_dict().items())
    assert torch.equal(chance, torch.random.get_rng_state())


@pytest.mark.parametrize("name", METHODS)
def test_same_plan_same_bits(name):
    """Law 5."""
    found = []
    for _ in range(2):
        one = Learner(name, plain(tiny_t5(), name), examples(20), TRAINING, 0)
        reference.train(one)
        found.append([row.loss for row in one.curve] + [float(p.sum()) for p in one.adapter.parameters()])
    assert found[0] == found[1]


@pytest.mark.parametrize("name", METHODS)
def test_saved_adapters_give_the_same_scores(name, tmp_path):
    """Law 3: loaded by us, and by PeftModel where PEFT has it as one adapter."""
    backbone, items = tiny_t5(), examples(4, seed=5, leaves=2)
    use, config = METHODS[name]
    model = plain(backbone, name)
    assert build(use, config).parameters(backbone) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    reference.train(Learner(name, model, examples(20), TRAINING, 0))
    model.collect()
    wanted = reference.score(model, items)
    model.adapter.save(tmp_path)
    model.adapter.release()
    again = build(use, config).attach(backbone, generator(1, "init"))
    again.load(tmp_path)
    _same(wanted, reference.score(Plain(backbone, again).eval(), items))
    again.release()
    if name in READABLE:
        by_peft = plain(backbone, "base").eval()
        by_peft.model = PeftModel.from_pretrained(copy.deepcopy(backbone.model), tmp_path).eval()
        _same(wanted, reference.score(by_peft, items))


def _same(one: list[list[float]], other: list[list[float]]) -> None:
    for own, theirs in zip(one, other, strict=True):
        assert own == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("name", ["base", *METHODS])
def test_generation_is_the_likeliest_token_after_another(name):
    """`generate`, with its caches, against a full pass for every token."""
    backbone = tiny_t5()
    model = plain(backbone, name).eval()
    if name not in ("base", "full"):
        _stir(model)
    prompts = [[5, 6, 7, 8], [20, 9, 31, 40], [60, 3, 3, 71]]
    config = GenerationConfig(max_new_tokens=5, eos_token_id=[1], pad_token_id=1, do_sample=False)
    with torch.inference_mode():
        found = model.generate(prompts, config)
        for prompt, own in zip(prompts, found, strict=True):
            slow: list[int] = []
            while len(slow) < 5 and 1 not in slow:
                slow.append(int(model.leaf_logits([prompt], [[*slow, 0]])[0, -1].argmax()))
            assert own[: len(slow)] == slow


@pytest.mark.parametrize(
    ("size", "lora", "prompt", "prefix"),
    [("small", 294_912, 8_192, 61_440), ("base", 884_736, 12_288, 184_320), ("large", 2_359_296, 16_384, 491_520)],
)
def test_parameters_are_those_of_the_papers_models(size, lora, prompt, prefix):
    """LoRA r=8 on q and v, 8 prompt tokens, 10 prefix tokens: what PEFT counts on T5 of each size."""
    width, layers, heads, inner = {
        "small": (512, 6, 8, 2048),
        "base": (768, 12, 12, 3072),
        "large": (1024, 24, 16, 4096),
    }[size]
    with torch.device("meta"):
        config = T5Config(d_model=width, num_layers=layers, num_heads=heads, d_ff=inner)
        backbone = Backbone(T5ForConditionalGeneration(config), None)
    counted = [
        build("lora", {"r": 8, "target_modules": ["q", "v"]}).parameters(backbone),
        build("prompt_tuning", {"num_virtual_tokens": 8}).parameters(backbone),
        build("prefix_tuning", {"num_virtual_tokens": 10}).parameters(backbone),
    ]
    assert counted == [lora, prompt, prefix]
    by_peft = [
        build("peft", {"peft_type": "LORA", "r": 8, "target_modules": ["q", "v"]}).parameters(backbone),
        build("peft", {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 8}).parameters(backbone),
        build("peft", {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 10}).parameters(backbone),
    ]
    assert by_peft == counted


def test_lanes_leave_it_to_the_reference():
    assert doubt(tiny_t5()) == "an encoder-decoder model"
    with pytest.raises(InputError, match="loreft edits the layers of a decoder-only model"):
        plain_loreft = build("loreft", {})
        plain_loreft.parameters(tiny_t5())


STUDY = """
study: t5
models: {{t5: {{path: {model}}}}}
tasks: [toy, toy_text]
methods:
  base: {{use: base}}
  full: {{use: full}}
  lora: {{use: lora, r: 2, target_modules: [q, v]}}
  prompt: {{use: prompt_tuning, num_virtual_tokens: 4}}
  prefix: {{use: prefix_tuning, num_virtual_tokens: 3}}
  lora+prompt: {{use: combine, parts: [lora, prompt]}}
  dora: {{use: peft, peft_type: LORA, use_dora: true, r: 2}}
training: {{learning_rate: 5e-3, per_device_train_batch_size: 4, max_steps: 3}}
plugins: [{plugin}]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("t5")
    tiny_t5().model.save_pretrained(folder / "model")
    t5_tokenizer().save_pretrained(folder / "model")
    plugin = Path(__file__).with_name("toy.py")
    (folder / "t5.yaml").write_text(STUDY.format(model=folder / "model", plugin=plugin))
    return folder


def test_a_study_of_every_method_runs(place):
    class Notes(Progress):
        said: list[str] = []

        def note(self, text: str) -> None:
            self.said.append(text)

    outcome = run(load(place / "t5.yaml"), place / "out", progress=Notes())
    assert (outcome.ran, outcome.failed) == (14, ())
    assert Notes.said == ["t5: an encoder-decoder model, so the reference engine serves it"]
    records = [outcome.store.record(trial["key"]) for trial in outcome.store.plan()["trials"]]
    assert {(record.status, record.provenance.engine) for record in records} == {("done", "reference")}


def test_lanes_are_refused_at_planning(place):
    with pytest.raises(
        InputError, match=r"--engine lanes: models.t5 \(encoder-decoder\) runs only through the reference"
    ):
        run(load(place / "t5.yaml", ["methods={lora: {use: lora}}"]), place / "never", engine="lanes")
    assert not (place / "never").exists()
