"""What is done with a trial's model: exports that PEFT reads, talk, and the ledger of parameters."""

from __future__ import annotations

import json
import re
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_backbone, tiny_model, tiny_tokenizer
from test_cli import call
from test_laws import METHODS, examples, learner, method, run_lanes

from bakeoff.engine import reference
from bakeoff.engine.evaluate import score
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.randomness import generator
from bakeoff.errors import BakeoffError, InputError, StorageError
from bakeoff.methods.method import build
from bakeoff.run.run import run
from bakeoff.store.store import Store
from bakeoff.study.load import load
from bakeoff.use import chat, ledger, rescore
from bakeoff.use.export import export
from bakeoff.use.trial import open_trial

pytestmark = pytest.mark.xdist_group("use")  # its studies take longer than its tests: made once, not by each worker
STUDY = """
study: toy
models: {{tiny: {{path: {model}}}}}
tasks: [toy, {{use: toy_text, decoding: {{max_new_tokens: 3}}}}, {{name: drawn, use: toy_text, decoding: {{max_new_tokens: 3, temperature: 1.0}}}}]
methods:
  base: {{use: base}}
  full: {{use: full}}
  lora: {{use: lora, r: 2, target_modules: [query, value, down]}}
  bias: {{use: bitfit}}
  net: {{use: bottleneck}}
  prompt: {{use: prompt_tuning, num_virtual_tokens: 4}}
  prefix: {{use: prefix_tuning, num_virtual_tokens: 3}}
  ia3: {{use: ia3}}
  lora+prompt: {{use: combine, parts: [lora, prompt]}}
  all: {{use: combine, parts: [ia3, bias, lora, prefix]}}
  two: {{use: combine, parts: [prefix, prompt]}}
  wide: {{use: lora, r: 3, target_modules: all-linear}}
  loras: {{use: combine, parts: [lora, wide]}}
training: {{learning_rate: 2e-2, per_device_train_batch_size: 4, max_steps: 5}}
seeds: [0, 1]
plugins: [{plugin}]
"""  # noqa: E501


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def store(request, tmp_path_factory) -> Store:
    """A finished study on models with biases, one with fused and one with grouped attention."""
    folder = tmp_path_factory.mktemp(request.param)
    (tiny_model("gpt2") if request.param == "gpt2" else biased_llama()).save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    text = STUDY.format(model=folder / "model", plugin=Path(__file__).with_name("toy.py"))
    (folder / "toy.yaml").write_text(text)
    outcome = run(load(folder / "toy.yaml"), folder / "out")
    assert not [record.reason for record in outcome.failed]
    return outcome.store


def biased_llama() -> Any:
    """A tiny Llama with grouped-query attention and biases."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, attention_bias=True, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config)


def opened(store: Store, name: str):
    return open_trial(store, name)


def logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(input_ids=torch.tensor([ids])).logits[0, -len(ids) :].log_softmax(-1)


@pytest.mark.parametrize("name", ["lora", "prompt_tuning", "prefix_tuning", "ia3", "combine", "lora of roles"])
def test_peft_reads_what_is_saved_and_gives_the_lanes_logits(architecture, name, tmp_path):
    """`PeftModel.from_pretrained` on the stored folders scores as lanes do; a hybrid's parts go one over the other."""
    backbone = tiny_backbone(architecture)
    one = learner(backbone, name)
    run_lanes(backbone, one)
    one.adapter.save(tmp_path / "adapter")
    backbone.model.save_pretrained(tmp_path / "base")
    backbone.tokenizer.save_pretrained(tmp_path / "base")
    folders = sorted((tmp_path / "adapter").glob("part*")) or [tmp_path / "adapter"]
    written = rescore.read(tmp_path / "base", folders, tmp_path / "base", backbone)
    items = examples(4, seed=5, leaves=2)
    (wanted,) = score(Lanes(backbone, [one.adapter]), items)
    for own, other in zip(wanted, reference.score(written, items), strict=True):  # pyright: ignore[reportArgumentType]
        assert own == pytest.approx(other, abs=1e-4)


@pytest.mark.parametrize("name", ["lora", "prompt", "prefix", "ia3", "lora+prompt"])
@pytest.mark.parametrize("task", ["toy", "toy_text", "drawn"])
def test_a_peft_export_is_read_back_and_answers_the_same(store, name, task, tmp_path):
    trial = opened(store, f"{task}/{name}/seed 1")
    found = export(trial, "peft", tmp_path / "out")
    assert all(one.good and one.asked == one.stored == 12 for one in found)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    readme = (tmp_path / "out/README.md").read_text()
    assert trial.trial.weights in readme and str(found[0]) in readme
    assert "Base model: `tiny`, a local directory" in readme and trial.model.path not in readme
    score = next(iter(trial.record.benchmarks[task if task != "drawn" else "toy_text"].metrics.values()))
    assert f"| accuracy | {100 * score:.1f}\N{NO-BREAK SPACE}% |" in readme
    for config in (tmp_path / "out").rglob("adapter_config.json"):
        assert json.loads(config.read_text())["base_model_name_or_path"] == trial.model.path
    (tmp_path / "tiny").symlink_to(trial.model.path)
    assert type(loaded(tmp_path)).__name__ == "PeftModelForCausalLM"


def loaded(folder: Path) -> Any:
    """The model that the lines of the README of `folder`/out make."""
    code = re.findall(r"```python\n(.*?)```", (folder / "out/README.md").read_text(), re.DOTALL)[0]
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        exec(code, names)
    return names["model"]


@pytest.mark.parametrize("config", [{"prompt_tuning_init": "SAMPLE_VOCAB"}, {"prompt_tuning_init_text": "w5 w9"}, {}])
def test_a_saved_soft_prompt_says_how_it_started(config, tmp_path):
    """And is read as it is, not started anew: PEFT needs no tokenizer for that."""
    from peft import PeftModel

    config = {**config, **({"prompt_tuning_init": "TEXT"} if "prompt_tuning_init_text" in config else {})}
    chosen = build("prompt_tuning", {"num_virtual_tokens": 4, **config})
    adapter = chosen.attach(tiny_backbone("llama"), generator(0, "init"))
    adapter.save(tmp_path)
    said = json.loads((tmp_path / "adapter_config.json").read_text())
    assert said["prompt_tuning_init"] == config.get("prompt_tuning_init", "RANDOM")
    assert said["prompt_tuning_init_text"] == config.get("prompt_tuning_init_text")
    model: Any = PeftModel.from_pretrained(tiny_model("llama"), tmp_path)
    assert torch.equal(model.prompt_encoder.default.embedding.weight, adapter.tensors()["prompt_embeddings"])


@pytest.mark.parametrize("name", ["full", "lora", "bias", "ia3", "lora+prompt", "all", "loras"])
def test_a_merged_model_has_the_trials_logits(store, name, tmp_path):
    """Loaded by the lines of its README, it puts out what the trial's adapter does in lanes."""
    trial = opened(store, f"toy/{name}/seed 0")
    (found,) = export(trial, "merged", tmp_path / "out")
    assert found.same == found.asked == 12 and found.nats is not None and found.nats < 1e-4
    model = loaded(tmp_path)
    backbone = trial.backbone()
    adapter = trial.adapter(backbone)
    items = examples(3, seed=8, leaves=1)
    for item, own in zip(items, score(Lanes(backbone, [adapter]), items)[0], strict=True):
        leaf, last = item.leaves[0], len(item.prompt) - 1
        each = logits(model, [*item.prompt, *leaf])[last:-1]
        assert own[0] == pytest.approx(float(each[torch.arange(len(leaf)), list(leaf)].sum()), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "to", "said"),
    [
        ("toy/lora/seed 0", "onnx", "--to: unknown 'onnx'; accepted: merged, peft"),
        ("toy/full/seed 0", "peft", "--to: full is a whole model and has no adapter; use --to merged"),
        ("toy/bias/seed 0", "peft", "--to: PEFT has no bitfit"),
        ("toy/all/seed 0", "peft", "--to: PEFT has no bitfit"),
        ("toy/loras/seed 0", "peft", "--to: PEFT would put one lora adapter in the place of the other"),
        ("toy/two/seed 0", "peft", "--to: PEFT cannot put prefix_tuning and prompt_tuning before one model"),
        ("toy/net/seed 0", "merged", "--to: bottleneck cannot be merged: its networks are not linear"),
        ("toy/prompt/seed 0", "merged", "--to: prompt_tuning puts virtual tokens before the text"),
        ("toy/base", "merged", "TRIAL: toy/base trains nothing; the model is "),
        ("toy/lora", "peft", "TRIAL: 'toy/lora' is 2 trials; name one: toy/lora/seed 0 ("),
        ("toy/lora/seed 2", "peft", "TRIAL: no trial 'toy/lora/seed 2'; did you mean 'toy/lora/seed"),
        ("00000000", "peft", "TRIAL: no trial '00000000'; a trial is named like "),
    ],
)
def test_what_cannot_be_exported_is_said_in_a_line_and_nothing_is_written(store, name, to, said, tmp_path):
    with pytest.raises(InputError) as error:
        export(opened(store, name), to, tmp_path / "out")
    assert said in str(error.value)
    assert not list(tmp_path.iterdir())


def test_an_export_that_answers_otherwise_is_not_kept(store, tmp_path, monkeypatch):
    monkeypatch.setattr("bakeoff.methods.adapters.adapter.Adapter.merge", lambda self, model, directory: model)
    with pytest.raises(BakeoffError, match="what was written does not answer as the trial did"):
        export(opened(store, "toy/lora/seed 0"), "merged", tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "to", "room"), [("lora", "merged", 20_000), ("lora", "peft", 500)])
def test_an_export_that_finds_no_room_is_one_line_and_leaves_nothing(store, tmp_path, name, to, room):
    trial, before = opened(store, f"toy/{name}/seed 0"), resource.getrlimit(resource.RLIMIT_FSIZE)
    trial.backbone()
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(StorageError, match=r"cannot be written \(File too large\)"):
            export(trial, to, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "to"), [("lora", "peft"), ("lora+prompt", "merged"), ("full", "merged")])
def test_an_export_has_what_the_trial_wrote_and_nothing_beside_it(store, name, to, tmp_path):
    """No file that was laid there since, and none that a link leads to."""
    trial = opened(store, f"toy/{name}/seed 1")
    (tmp_path / "private").write_text("private")
    laid = [folder / name for folder in (trial.folder, *trial.folder.glob("part*")) for name in ("link", "x.bin")]
    try:
        for path in laid:
            path.symlink_to(tmp_path / "private") if path.name == "link" else path.write_text("pickle")
        export(trial, to, tmp_path / "out")
    finally:
        for path in laid:
            path.unlink()
    assert not {"link", "x.bin"} & {path.name for path in (tmp_path / "out").rglob("*")}


def test_an_existing_directory_is_left_alone(store, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="is there already"):
        export(opened(store, "toy/lora/seed 0"), "peft", tmp_path / "out")


def test_a_bias_that_the_architecture_lacks_cannot_be_merged(tmp_path):
    backbone = tiny_backbone("llama")
    adapter = method("bitfit").attach(backbone, generator(0, "init"))
    with pytest.raises(ValueError, match=r"llama models have no place for a bias in model\.layers\.0"):
        adapter.merge(tiny_model("llama"), tmp_path)


def test_trials_are_found_by_label_model_and_key(store):
    key = next(t["key"] for t in store.plan()["trials"] if (t["task"], t["method"], t["seed"]) == ("toy", "lora", 1))
    for name in ("toy/lora/seed 1", "tiny/toy/lora/seed 1", key, key[:12]):
        assert opened(store, name).record.key == key
    assert opened(store, "toy/base").label == "toy/base"


def test_another_base_model_than_the_trained_one_is_refused(store, tmp_path, monkeypatch):
    monkeypatch.setattr("bakeoff.use.trial.weights_hash", lambda *_: "other")
    with pytest.raises(InputError, match="is no longer the model that toy/lora/seed 0 was trained on"):
        export(opened(store, "toy/lora/seed 0"), "peft", tmp_path / "out")


def test_talk_is_what_the_trial_would_answer(store):
    """A stored example's own question gets the stored answer, in lanes and by the reference engine."""
    for name, doubt in (("lora+prompt", ""), ("lora+prompt", "a doubt"), ("base", "")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bakeoff.engine.prove.doubt", lambda backbone, doubt=doubt: doubt)
            for task in ("toy", "toy_text"):
                trial = opened(store, f"{task}/{name}" + ("" if name == "base" else "/seed 0"))
                sample = next(s for s in store.samples(trial.record.key) if s.benchmark == task)
                example = trial.task.test(task, {}, 12)[0]
                said = chat.talk(trial)(example.prompt[-1].content)
                assert said.text == sample.text
                assert sum(said.shares.values()) == pytest.approx(1 if task == "toy" else 0)


def test_the_formula_written_is_the_formula_computed(architecture):
    """Every method's formula, read as arithmetic, is the number it declares; the ledger agrees with itself."""
    backbone = tiny_backbone(architecture)
    for name in METHODS:
        chosen = method(name)
        text = chosen.formula(backbone)
        assert re.fullmatch(r"[\d ,+x()]+", text)
        assert eval(text.replace("x", "*").replace(",", "")) == chosen.parameters(backbone), name
        entry = ledger._entry(backbone, name, chosen, chosen.parameters(backbone), True)
        assert not entry.wrong and (entry.stored > entry.counted) == bool(entry.padding), name
        assert sum(int(line.rsplit("= ", 1)[1].replace(",", "")) for line in entry.lines) == entry.counted, name


def test_a_wrong_formula_is_an_error_in_the_audit(store, tmp_path, monkeypatch, capsys):
    study = str(store.directory / "study.yaml")
    assert call(monkeypatch, "audit", study) == 0
    told = capsys.readouterr().out
    assert "  formula  4 x 32 = 128" in told and "of base + adapter's" in told
    monkeypatch.setattr("bakeoff.methods.prompt_tuning.PromptTuning.parameters", lambda self, backbone: 7)
    assert call(monkeypatch, "audit", study) == 1
    assert "error: the formula says 7, but 128 numbers are trained" in capsys.readouterr().out


def test_models_too_large_to_load_are_counted_without_weights(store, monkeypatch):
    study = load(store.directory / "study.yaml")
    whole = list(ledger.audit(study))
    monkeypatch.setattr(ledger, "LOADED_BYTES", 0)
    for entry, full in zip(ledger.audit(study), whole, strict=True):
        assert not entry.wrong and not entry.saved
        assert (entry.counted, entry.lines, entry.formula) == (full.counted, full.lines, full.formula)


def test_the_commands(store, tmp_path, monkeypatch, capsys):
    out = str(store.directory)
    assert call(monkeypatch, "export", out, "toy/lora/seed 0", "--to", "peft", "--out", str(tmp_path / "new")) == 0
    told = capsys.readouterr().out
    assert re.match(r"toy: 12 of 12 stored .* again: 12 the same, .* nats apart \(wanted: at most 0.001 nats\)\n", told)
    assert call(monkeypatch, "try", out, "toy/lora/seed 0", "w7 w8", "w60") == 0
    told = capsys.readouterr()
    assert re.fullmatch(r"(w[34] \(w3 [\d.]+ %, w4 [\d.]+ %\)\n){2}", told.out)
    assert told.err.endswith("> w7 w8\n> w60\n")
    monkeypatch.setattr("builtins.input", iter_input("w7 w8", "", "w60"))
    assert call(monkeypatch, "try", out, "toy_text/base", "--max-new-tokens", "2") == 0
    told = capsys.readouterr()
    assert told.out.count("\n") == 2 and "--max-new-tokens N allows more" in told.err
    assert call(monkeypatch, "try", out, "toy/lora", "w7") == 2
    assert call(monkeypatch, "export", out, "toy/lora/seed 0", "--to", "both", "--out", str(tmp_path / "b")) == 2
    assert capsys.readouterr().err.count("\n") == 2
    assert call(monkeypatch, "try", out, "toy_text/base", "w7", "--max-new-tokens", "5000") == 2
    assert "leave no room for text" in capsys.readouterr().err and sys.exc_info() == (None, None, None)


def iter_input(*lines: str):
    left = iter(lines)

    def read(_: str = "") -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return read
