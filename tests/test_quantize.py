"""QLoRA: adapters on a base whose weights are held in 4 bits."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import pytest
import torch
from conftest import tiny_model, tiny_tokenizer
from test_laws import TRAINING, examples, losses

from bakeoff.engine import reference
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.plain import Plain
from bakeoff.engine.prove import doubt
from bakeoff.engine.randomness import generator
from bakeoff.engine.train import Learner, train
from bakeoff.errors import InputError
from bakeoff.methods.method import build
from bakeoff.models.backbone import Backbone, dequantized
from bakeoff.run import plan as planning
from bakeoff.run.run import run
from bakeoff.study.load import load
from bakeoff.study.spec import Model
from bakeoff.use.export import export
from bakeoff.use.trial import open_trial

pytest.importorskip("bitsandbytes", reason="not run: the extra `quant` is not installed")
METHODS = {
    "lora": ("lora", {"r": 4, "target_modules": ["query", "value", "down"]}),
    "prompt_tuning": ("prompt_tuning", {"num_virtual_tokens": 3}),
    "ia3": ("ia3", {}),
}


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param)
    tiny_model(request.param, width=64).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def quantized(folder) -> Backbone:
    return Backbone.load(Model(path=str(folder)), quantize="nf4")


def learner(backbone: Backbone, name: str, wrap=lambda backbone, adapter: adapter) -> Learner:
    use, config = METHODS[name]
    adapter = build(use, config).attach(backbone, generator(0, "init"))
    return Learner(name, wrap(backbone, adapter), examples(20), TRAINING, 0)


def test_bitsandbytes_does_not_ask_for_a_kernel_that_is_switched_off(caplog):
    caplog.set_level(logging.WARNING, "bitsandbytes")  # a command that ran before in this process quiets it
    said = logging.getLogger("bitsandbytes.backends.cpu.ops")
    with caplog.at_level(logging.WARNING, said.name):  # the command line's tests turn it off in this process
        said.warning("Failed to load CPU gemm_4bit_forward from kernels-community: %s.", "no module named kernels")
        said.warning("something else")
    assert [record.getMessage() for record in caplog.records] == ["something else"]


def test_the_base_is_in_four_bits_and_counted_in_full(folder):
    plain, small = Backbone.load(Model(path=str(folder))), quantized(folder)
    assert small.parameters() == plain.parameters()
    held = sum(p.numel() * p.element_size() for p in small.model.parameters())
    assert held < sum(p.numel() * p.element_size() for p in plain.model.parameters())
    for name in (name for name, site in plain.sites.items() if site.rows is None):
        exact, rounded = plain.model.get_submodule(name).weight, dequantized(small.model.get_submodule(name))
        exact = exact.T if plain.sites[name].transposed else exact
        assert rounded.shape == exact.shape and 0 < (rounded - exact).abs().max() < 0.2 * exact.abs().max()
    assert doubt(small) == ""


@pytest.mark.parametrize("name", METHODS)
def test_lanes_equal_peft_on_a_quantized_base(folder, name):
    """Law 1, and law 2's base unchanged to the bit."""
    backbone = quantized(folder)
    before = copy.deepcopy(backbone.model.state_dict())
    one = learner(backbone, name)
    train(Lanes(backbone, [one.adapter]), [one])
    other = learner(quantized(folder), name, Plain)
    reference.train(other)
    assert losses(one) == pytest.approx(losses(other), abs=1e-5)
    assert len(losses(one)) == 20
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.model.state_dict().items())


def test_shapes_that_bitsandbytes_gets_wrong_are_refused(tmp_path):
    """Rows of 96 on a CPU come back as other numbers in 0.50.2; should a release mend it, the model loads."""
    tiny_model("llama", width=96).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    exact = Backbone.load(Model(path=str(tmp_path)))
    try:
        small = Backbone.load(Model(path=str(tmp_path)), quantize="nf4")
    except InputError as error:
        assert "holds weights of shape" in str(error)
        return
    for name in exact.sites:
        whole, rounded = exact.model.get_submodule(name).weight, dequantized(small.model.get_submodule(name))
        assert (rounded - whole).abs().max() < 0.2 * whole.abs().max()


def study(folder, methods: str):
    path = folder / "study.yaml"
    path.write_text(
        f"study: q\nmodels: {{tiny: {{path: {folder}}}}}\n"
        f"tasks: [{{use: toy, train_limit: 8, test_limit: 4}}]\nplugins: [{Path(__file__).with_name('toy.py')}]\n"
        f"methods:\n{methods}\ntraining: {{max_steps: 1}}\n"
    )
    return load(path)


def test_a_quantized_base_is_another_trial_and_another_group(folder):
    found = planning.make(
        study(
            folder,
            "  lora: {use: lora, r: 2, target_modules: all-linear}\n"
            "  qlora: {use: lora, r: 2, target_modules: all-linear, quantize: nf4}",
        )
    )
    assert [trial.quantize for trial in found.trials] == [None, "nf4"]
    assert len({trial.key() for trial in found.trials}) == 2 == len(found.groups)


def test_a_trial_on_four_bits_is_exported_as_peft_and_not_merged(folder, tmp_path):
    """Read back by transformers and PEFT around a base in 4 bits, it gives the stored answers."""
    asked = study(folder, "  qlora: {use: lora, r: 2, target_modules: all-linear, quantize: nf4}")
    opened = open_trial(run(asked, tmp_path / "runs").store, "toy/qlora")
    (agreement,) = export(opened, "peft", tmp_path / "adapter")
    assert agreement.good and (tmp_path / "adapter" / "adapter_config.json").is_file()
    with pytest.raises(InputError, match=r"--to: .* in 4 bits"):
        export(opened, "merged", tmp_path / "merged")


@pytest.mark.parametrize(
    "methods, message",
    [
        ("  full: {use: full, quantize: nf4}", "methods.full.quantize: full trains the base's own weights"),
        ("  lora: {use: lora, quantize: int3}", "methods.lora.quantize: input should be 'nf4'"),
        (
            "  q: {use: lora, target_modules: all-linear, quantize: nf4}\n"
            "  p: {use: prompt_tuning, num_virtual_tokens: 2}\n  both: {use: combine, parts: [q, p]}",
            "methods.both.parts: the part 'q' asks for a quantized base",
        ),
    ],
)
def test_what_cannot_be_quantized_is_refused(folder, methods, message):
    with pytest.raises(InputError, match=message):
        planning.make(study(folder, methods))


FOREIGN = """
study: q
models: {{m: {{path: {model}}}}}
tasks: [toy]
methods:
  lora: {{use: lora, r: 2, target_modules: [query, value]}}
  prompt: {{use: prompt_tuning, num_virtual_tokens: 3}}
  qlora: {{use: lora, r: 2, target_modules: [query, value], quantize: nf4}}
  both: {{use: combine, parts: [lora, prompt], quantize: nf4}}
  qdora: {{use: peft, peft_type: LORA, use_dora: true, r: 2, quantize: nf4}}
training: {{learning_rate: 1e-2, per_device_train_batch_size: 4, max_steps: 4}}
seeds: [0, 1]
plugins: [{plugin}]
"""


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_a_quantized_base_under_the_reference_engine(kind, tmp_path):
    """An encoder-decoder model's adapters, and PEFT's own types, train on four bits and learn; twice the same."""
    if kind == "t5":
        from test_encoder_decoder import t5_tokenizer, tiny_t5

        tiny_t5(width=64).model.save_pretrained(tmp_path / "model")
        t5_tokenizer().save_pretrained(tmp_path / "model")
    else:
        tiny_model(kind, width=64).save_pretrained(tmp_path / "model")
        tiny_tokenizer().save_pretrained(tmp_path / "model")
    plugin = Path(__file__).with_name("toy.py")
    (tmp_path / "q.yaml").write_text(FOREIGN.format(model=tmp_path / "model", plugin=plugin))
    stores = [run(load(tmp_path / "q.yaml"), tmp_path / out, engine="reference").store for out in ("one", "two")]
    for trial in stores[0].plan()["trials"]:
        key = trial["key"]
        record = stores[0].record(key)
        assert (record.status, record.provenance.engine) == ("done", "reference"), record.reason
        curves = [[row.loss for row in store.curve(key)] for store in stores]
        assert curves[0] == curves[1] and len(curves[0]) == 4
        assert stores[0].samples(key) == stores[1].samples(key)
