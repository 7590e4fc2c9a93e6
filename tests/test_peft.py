"""Any PEFT configuration: its keys, the laws that apply, AdaLoRA's schedule, and the reference engine only."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_backbone, tiny_model, tiny_tokenizer
from peft import PeftModel
from safetensors.torch import load_file
from test_laws import TRAINING, examples, losses

from bakeoff.engine import reference
from bakeoff.engine.plain import Plain
from bakeoff.engine.randomness import generator
from bakeoff.engine.train import Learner
from bakeoff.errors import InputError, TrialError
from bakeoff.methods.method import build
from bakeoff.run.run import run
from bakeoff.study.load import load
from bakeoff.study.spec import Training

TYPES = {
    "dora": {"peft_type": "LORA", "use_dora": True, "r": 4, "target_modules": "all-linear"},
    "pissa": {"peft_type": "LORA", "init_lora_weights": "pissa", "r": 4},
    "modules to save": {"peft_type": "LORA", "r": 2, "modules_to_save": ["lm_head"]},
    "adalora": {"peft_type": "ADALORA", "init_r": 6, "target_r": 3, "tinit": 3, "tfinal": 4},
    "ia3": {"peft_type": "IA3"},
    "vera": {"peft_type": "VERA", "r": 8},
    "oft": {"peft_type": "OFT", "oft_block_size": 8},
    "boft": {"peft_type": "BOFT", "boft_block_size": 8},
    "loha": {"peft_type": "LOHA", "r": 4},
    "lokr": {"peft_type": "LOKR", "r": 4},
    "hra": {"peft_type": "HRA", "r": 4},
    "fourierft": {"peft_type": "FOURIERFT", "n_frequency": 20},
    "vblora": {"peft_type": "VBLORA", "vector_length": 16, "num_vectors": 8, "topk": 2},
    "ln_tuning": {"peft_type": "LN_TUNING"},
    "p_tuning": {"peft_type": "P_TUNING", "num_virtual_tokens": 4, "encoder_hidden_size": 16},
    "prompt_tuning": {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4},
    "prefix_tuning": {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4, "prefix_projection": True,
                      "encoder_hidden_size": 16},
}  # fmt: skip
SAME_START = {"ia3", "ln_tuning", "pissa", "oft", "boft", "vera"}  # nothing is drawn (by VeRA: from its own key)


def learner(backbone, name: str, seed: int = 0, training: Training = TRAINING) -> Any:
    adapter = build("peft", TYPES[name]).attach(backbone, generator(seed, "init"))
    return Learner(name, Plain(backbone, adapter), examples(20), training, seed)


def trained(adapter) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in adapter.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", TYPES)
def test_the_laws_of_every_type(name, tmp_path):
    """Laws 2 to 4: all that is trained moves and nothing else does, counted as declared, reloaded by PEFT as it was."""
    backbone = tiny_backbone("llama")
    before, chance = copy.deepcopy(backbone.model.state_dict()), torch.random.get_rng_state()
    one = learner(backbone, name)
    adapter = one.adapter.adapter
    start, frozen = trained(adapter), {n: p.clone() for n, p in adapter.model.named_parameters() if not p.requires_grad}
    assert build("peft", TYPES[name]).parameters(backbone) == sum(p.numel() for p in adapter.parameters())
    reference.train(one)
    assert torch.equal(chance, torch.random.get_rng_state())
    assert len(losses(one)) == 20
    after = trained(adapter)
    assert not [key for key in start if torch.equal(start[key], after[key])]
    assert all(
        torch.equal(frozen[n], p) for n, p in adapter.model.named_parameters() if n in frozen and "ranknum" not in n
    )
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.model.state_dict().items())
    items = examples(4, seed=5, leaves=2)
    wanted = reference.score(one.adapter.eval(), items)
    adapter.save(tmp_path)
    again = build("peft", TYPES[name]).attach(backbone, generator(1, "init"))
    again.load(tmp_path)
    plain = PeftModel.from_pretrained(copy.deepcopy(backbone.model), tmp_path)
    for model in (Plain(backbone, again).eval(), _around(backbone, plain)):
        for own, other in zip(wanted, reference.score(model, items), strict=True):
            assert own == pytest.approx(other, abs=1e-4)


def _around(backbone, model):
    """A model that PEFT loaded by itself, to be scored as ours are."""
    plain = Plain(backbone, build("base", {}).attach(backbone, generator(0, "init"))).eval()
    plain.model = model.eval()
    return plain


@pytest.mark.parametrize("name", TYPES)
def test_seeds_rule_and_the_global_generator_is_not_read(name):
    backbone = tiny_backbone("llama")
    before = torch.random.get_rng_state()
    torch.rand(3)  # whatever state the global generator is in
    first, same, other = (
        trained(build("peft", TYPES[name]).attach(backbone, generator(seed, "init"))) for seed in (0, 0, 1)
    )
    torch.random.set_rng_state(before)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert (name in SAME_START) == all(torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", TYPES)
def test_same_plan_same_bits(name):
    """Law 5, whatever the global generator has drawn between."""
    found = []
    for _ in range(2):
        one = learner(tiny_backbone("llama"), name)
        torch.rand(1)
        reference.train(one)
        found.append((losses(one), trained(one.adapter.adapter)))
    assert found[0][0] == found[1][0] and len(found[0][0]) == 20
    assert all(torch.equal(found[0][1][key], found[1][1][key]) for key in found[0][1])


def test_plain_lora_equals_the_native_one():
    """From the same weights, `peft` with LORA and the native method give the same losses."""
    config = {"r": 4, "lora_alpha": 8.0, "target_modules": ["q_proj", "v_proj"]}
    backbone = tiny_backbone("llama")
    mine = build("lora", config).attach(backbone, generator(0, "init"))
    theirs = build("peft", {"peft_type": "LORA", **config}).attach(backbone, generator(0, "init"))
    with torch.no_grad():
        own = theirs.tensors()
        for key, tensor in mine.tensors().items():
            own[key].copy_(tensor)
    ones = [Learner("x", Plain(backbone, adapter), examples(20), TRAINING, 0) for adapter in (mine, theirs)]
    for one in ones:
        reference.train(one)
    assert losses(ones[0]) == pytest.approx(losses(ones[1]), abs=1e-6)


def test_adalora_follows_pefts_own_loop():
    """Losses and weights of a plain loop: PEFT's loss with its regularisation, then update_and_allocate."""
    backbone, training = tiny_backbone("llama"), Training(learning_rate=1e-2, max_steps=12, max_grad_norm=0)
    one = learner(backbone, "adalora", training=training)
    adapter = one.adapter.adapter
    order = learner(backbone, "adalora", training=training)
    model, found = order.adapter.model, []
    for step in range(1, 13):
        batch = [order.examples[i] for i in next(order.order)]
        rows = [[*item.prompt, *item.leaves[0]] for item in batch]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        labels = torch.full_like(ids, -100)
        for i, item in enumerate(batch):
            labels[i, len(item.prompt) : len(rows[i])] = torch.tensor(item.leaves[0])
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        found.append(float((loss - order.adapter.penalty()).detach()))
        loss.backward()
        order.optimizer.step()
        order.schedule.step()
        model.base_model.update_and_allocate(step)
        order.optimizer.zero_grad()
    reference.train(one)
    assert losses(one) == pytest.approx(found, abs=1e-5)
    for key, tensor in trained(adapter).items():
        torch.testing.assert_close(tensor, dict(model.named_parameters())[key], atol=1e-5, rtol=0)
    kept = sum(sum(rank) for rank in adapter.peft_config().rank_pattern.values())
    assert kept == 3 * len(adapter.peft_config().rank_pattern)
    assert adapter.peft_config().total_step == 12


def test_a_schedule_without_room_for_allotting_is_an_error():
    with pytest.raises(TrialError, match="tinit 3 and tfinal 4 leave none of 7 steps"):
        learner(tiny_backbone("llama"), "adalora", training=Training(max_steps=7))


STUDY = """
study: any
models: {{tiny: {{path: {model}}}}}
tasks: [toy]
methods:
  dora: {{use: peft, peft_type: LORA, use_dora: true, r: {{sweep: [2, 4]}}}}
  file: {{use: peft, adapter_config: {file}}}
training: {{learning_rate: 5e-3, per_device_train_batch_size: 4, max_steps: 3}}
seeds: [0, 1]
plugins: [{plugin}]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("any")
    tiny_model("llama").save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    for name in ("one", "two"):
        (folder / name).mkdir()
        config = {
            "peft_type": "LOHA",
            "r": 4,
            "rank_pattern": {"q_proj": 2},
            "task_type": "CAUSAL_LM",
            "inference_mode": True,
        }
        (folder / name / "adapter_config.json").write_text(json.dumps(config))
    text = STUDY.format(model=folder / "model", plugin=Path(__file__).with_name("toy.py"), file="one")
    (folder / "any.yaml").write_text(text)
    return folder


def test_a_study_of_peft_methods_runs_through_the_reference_engine(place):
    outcome = run(load(place / "any.yaml"), place / "out")
    assert (outcome.ran, outcome.failed) == (6, ())
    store = outcome.store
    for trial in store.plan()["trials"]:
        record = store.record(trial["key"])
        assert (record.provenance.engine, record.provenance.group_size) == ("reference", 1)
        stored = load_file(store.adapter(trial["key"]) / "adapter_model.safetensors")
        assert record.trainable_params == sum(tensor.numel() for tensor in stored.values())
        assert not json.loads((store.adapter(trial["key"]) / "adapter_config.json").read_text())[
            "base_model_name_or_path"
        ]
    again = run(load(store.directory / "study.yaml"), place / "out")  # what was stored names no file
    assert again.ran == 0


def test_a_files_content_is_the_key_and_its_path_is_not(place):
    one, two = (
        load(place / "any.yaml", [f"methods.file.adapter_config={place / name}"])
        for name in ("one", "two/adapter_config.json")
    )
    assert one.methods == two.methods
    assert one.methods["file"].config["rank_pattern"] == {"q_proj": 2}
    other = load(place / "any.yaml", ["methods.file.alpha=3"])
    assert other.methods["file"].config["alpha"] == 3 != one.methods["file"].config["alpha"]


MISTAKES = {
    "unknown key": ("file.rnk=3", "methods.file.rnk: unknown key of LoHaConfig; did you mean 'r'?"),
    "near key": ("dora.use_dorra=true", "methods.dora.use_dorra: unknown key of LoraConfig; did you mean 'use_dora'?"),
    "unknown type": ("dora.peft_type=LORRA", "methods.dora.peft_type: unknown PEFT method 'LORRA'; did you mean"),
    "no type": ("dora={use: peft}", "methods.dora.peft_type: is missing"),
    "absent file": ("file.adapter_config=./none", "methods.file.adapter_config: "),
    "no such module": ("dora.target_modules=[q_prj]", "peft_type: PEFT cannot put LORA on this model (NoMatching"),
    "not a comparison": ("file.task_type=SEQ_CLS", "methods.file.task_type: SEQ_CLS models are not compared"),
    "needs more": ("dora={use: peft, peft_type: POLY}", "methods.dora.peft_type: POLY needs a task number with every"),
    "not a part": ("both={use: combine, parts: [file, dora]}", "'file' (peft) cannot be a part of a combination"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_said_before_anything_is_written(place, name):
    setting, said = MISTAKES[name]
    with pytest.raises(InputError) as caught:
        run(load(place / "any.yaml", [f"methods.{setting}"]), place / "never")
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (place / "never").exists()


def test_lanes_are_refused_at_planning(place):
    with pytest.raises(
        InputError, match=r"--engine lanes: methods.dora\[r=2\] \(peft\) runs only through the reference"
    ):
        run(load(place / "any.yaml"), place / "never", engine="lanes")
    assert not (place / "never").exists()
