"""Files of others: code that may not run, adapters that are not what they should be, and secrets that are not kept."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from synthetic_store import relist
from test_bad_input import both, config, here, made, text  # noqa: F401 (fixtures)
from test_cli import call

from bakeoff.data.datasets import read
from bakeoff.errors import BakeoffError, DamageError, InputError, StorageError, TrialError, redacted
from bakeoff.models.backbone import weights_hash
from bakeoff.models.files import check
from bakeoff.study.load import load
from bakeoff.study.spec import Model

LORA = "toy/lora/seed 0"
CODE = {
    "configuration_own.py": (
        "from transformers import GPT2Config\nclass OwnConfig(GPT2Config):\n    model_type = 'own'\n"
    ),
    "modeling_own.py": (
        "import os\nfrom transformers import GPT2LMHeadModel\nfrom .configuration_own import OwnConfig\n"
        "os.environ['BAKEOFF_TEST_RAN'] = '1'\n"
        "class OwnModel(GPT2LMHeadModel):\n    config_class = OwnConfig\n"
    ),
}
AUTO = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}


@pytest.fixture
def own(here, monkeypatch) -> Path:  # noqa: F811
    """The good study, with a model that is its authors' program."""
    for name, code in CODE.items():
        (here / "model" / name).write_text(code)
    both(config(model_type="own", auto_map=AUTO), text("[query, value]", "all-linear"))(here)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(here / "modules"))
    monkeypatch.syspath_prepend(str(here / "modules"))
    monkeypatch.delenv("BAKEOFF_TEST_RAN", raising=False)
    return here


def test_code_of_a_models_authors_runs_only_where_the_study_says_so(own, monkeypatch, capsys):
    assert call(monkeypatch, "plan", "study.yaml") == 2
    told = capsys.readouterr().err
    assert "model runs code of its authors (configuration_own.py, modeling_own.py), which is off by default" in told
    assert "BAKEOFF_TEST_RAN" not in os.environ and not (own / "modules").exists()
    assert call(monkeypatch, "plan", "study.yaml", "--set", "models.tiny.trust_remote_code=true") == 0
    assert os.environ["BAKEOFF_TEST_RAN"] == "1"
    assert "2 trials in 2 groups" in capsys.readouterr().out


def test_code_is_part_of_a_model_only_where_it_may_run(made, tmp_path):  # noqa: F811
    """So the keys of models without it stay, whatever Python files lie beside them."""
    shutil.copytree(made / "model", tmp_path / "model")
    plain = Model(path=str(tmp_path / "model"))
    trusted = plain.model_copy(update={"trust_remote_code": True})
    before = weights_hash(plain, "m")
    assert before == weights_hash(trusted, "m")
    (tmp_path / "model" / "more.py").write_text("x = 1\n")
    first = weights_hash(trusted, "m")
    assert weights_hash(plain, "m") == before != first
    (tmp_path / "model" / "more.py").write_text("x = 2\n")
    assert weights_hash(trusted, "m") != first


THIRD = "owner/other--tok.Tok"


@pytest.mark.parametrize(
    "name, content",
    [
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": [None, THIRD]}, "tokenizer_class": "Tok"}),
        ("tokenizer_config.json", {"auto_map": [THIRD, None]}),
        ("processor_config.json", {"auto_map": {"AutoProcessor": THIRD}}),
        ("config.json", {"text_config": {"auto_map": {"AutoModel": THIRD}}}),
    ],
)
def test_no_file_of_a_trusted_model_names_code_of_a_third_place(name, content, here, monkeypatch, capsys):  # noqa: F811
    path = here / "model" / name
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | content))
    assert call(monkeypatch, "plan", "study.yaml", "--set", "models.tiny.trust_remote_code=true") == 2
    told = capsys.readouterr().err
    assert f"its code lies in another repository ({THIRD}), which nothing pins" in told and told.count("\n") == 1
    assert f"name it so in {name}" in told


def test_a_trusted_model_may_name_its_own_code_and_none(own, monkeypatch, capsys):
    path = own / "model" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoTokenizer": ["tok.Tok", None]}}))
    (own / "model" / "tok.py").write_text("from transformers import GPT2Tokenizer as Tok\n")
    config(auto_map=AUTO | {"AutoModel": None})(own)
    check(own / "model", "m", True)


def test_a_directory_of_a_hub_ids_name_does_not_stand_for_the_hubs(here, monkeypatch, capsys):  # noqa: F811
    """Where the study stands it is a local path; where the command is called, it is nothing."""
    pinned = "{path: owner/name, revision: " + "0f" * 20 + ", trust_remote_code: true}"
    text("{path: model}", pinned)(here)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    shutil.copytree(here / "model", here / "inner" / "owner" / "name")
    monkeypatch.chdir(here / "inner")
    assert call(monkeypatch, "plan", "../study.yaml") == 2
    assert "'owner/name' is no local directory and could not be had from the hub" in capsys.readouterr().err
    (here / "inner" / "owner").rename(here / "owner")
    assert call(monkeypatch, "plan", "../study.yaml") == 2
    told = capsys.readouterr().err
    assert f"{here}/owner/name is a local directory, and `revision: 0f0f" in told
    assert "`--set models.tiny.revision=null`" in told
    assert call(monkeypatch, "plan", "../study.yaml", "--set", "models.tiny.revision=null") == 0


def test_a_place_for_a_pinned_model_unpins_it(here, monkeypatch):  # noqa: F811
    text("{path: model}", "{path: owner/name, revision: main}")(here)
    (here / "places.yaml").write_text("models: {tiny: {path: model}}\n")
    assert call(monkeypatch, "plan", "study.yaml", "--from", "places.yaml") == 0


def linked(name: str, to: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "model" / name).unlink(missing_ok=True)
        (folder / "model" / name).symlink_to(to)

    return change


def pipe(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "model" / name).unlink(missing_ok=True)
        os.mkfifo(folder / "model" / name)

    return change


def folder(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "model" / name).unlink(missing_ok=True)
        (folder / "model" / name).mkdir(parents=True)

    return change


def filled(name: str, content: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "model" / name).write_text(content)

    return change


def renamed(folder: Path) -> None:
    (folder / "model" / "model.safetensors").rename(folder / "model" / "weights.safetensors")


GPTQ = {"quant_method": "gptq", "bits": 4}
DIRECTORIES = {
    "dangling": (linked("model.safetensors", "/nonexistent/blob"), "model.safetensors is no file; copy all files"),
    "loop": (linked("model.safetensors", "model.safetensors"), "model.safetensors is no file"),
    "folder": (folder("model.safetensors"), "model.safetensors is no file"),
    "another folder": (folder("x.safetensors"), "x.safetensors is no file"),
    "vocabulary folder": (folder("vocab.json"), "vocab.json is no file"),
    "pipe": (pipe("model.safetensors"), "model.safetensors is no file"),
    "another pipe": (pipe("sentencepiece.bpe.model"), "sentencepiece.bpe.model is no file"),
    "device": (linked("generation_config.json", "/dev/zero"), "generation_config.json is no file"),
    "other name": (renamed, "model has neither model.safetensors nor model.safetensors.index.json"),
    "gptq": (config(quantization_config=GPTQ), "says that its weights are quantized ('gptq'), which is not read"),
    "inner gptq": (config(text_config={"quantization_config": GPTQ}), "quantized ('gptq'), which is not read"),
    "no quantization": (config(quantization_config="x"), "quantized ('x'), which is not read; give the model with"),
    "habits": (filled("generation_config.json", "[1]"), "generation_config.json holds no mapping"),
    "deep habits": (filled("generation_config.json", "[" * 5000), "generation_config.json is not JSON ("),
    "odd habits": (filled("generation_config.json", '{"max_new_tokens": -5}'), "generation_config.json is no model's"),
}  # fmt: skip


@pytest.mark.parametrize("name", DIRECTORIES)
def test_a_models_directory_of_odd_things_is_one_line(name, here, monkeypatch, capsys):  # noqa: F811
    change, said = DIRECTORIES[name]
    change(here)
    assert call(monkeypatch, "plan", "study.yaml") == 2
    told = capsys.readouterr().err
    assert said in told and told.startswith("error: models.tiny.path: ") and told.count("\n") == 1


def test_of_the_kinds_of_quantized_weights_bitsandbytes_is_read(here, monkeypatch):  # noqa: F811
    pytest.importorskip("bitsandbytes", reason="not run: the extra `quant` is not installed")
    for told in ({"quant_method": "bitsandbytes", "load_in_4bit": True}, {"load_in_8bit": True}):
        config(quantization_config=told)(here)
        check(here / "model", "m", False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"quantized by bitsandbytes, which is not here; install the extra"):
        check(here / "model", "m", False)


def test_of_the_hub_only_a_whole_commit_is_trusted():
    assert Model(path="owner/name", revision="a1" * 20, trust_remote_code=True).trust_remote_code
    for revision in (None, "main", "a1" * 19, "A1" * 20):
        with pytest.raises(ValueError, match="40 hexadecimal digits"):
            Model(path="owner/name", revision=revision, trust_remote_code=True)


def test_a_weight_that_is_lacking_is_not_drawn_at_random(made, tmp_path):  # noqa: F811
    from bakeoff.models.backbone import Backbone

    shutil.copytree(made / "model", tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    tensors = load_file(path)
    del tensors["transformer.h.1.attn.c_attn.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 tensors that config.json asks for, transformer.h.1.attn.c_attn"):
        Backbone.load(Model(path=str(tmp_path / "model")))


def test_any_bytes_for_a_header_are_one_line(made, tmp_path):  # noqa: F811
    """The first 200 bytes of a safetensors file, each changed, cut off, or written anew: sound, or told."""
    shutil.copytree(made / "model", tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    good = path.read_bytes()
    for i in range(0, 200, 7):
        for data in (good[:i], good[:i] + bytes([good[i] ^ 0x55]) + good[i + 1 :], good[:i] + b"}" + good[i + 1 :]):
            path.write_bytes(data)
            try:
                check(tmp_path / "model", "m", False)
            except InputError as error:
                assert "\n" not in str(error) and "model.safetensors" in str(error)


# --- studies and data ---


LORA_SAID = "use: lora, r: 2, target_modules: [query, value]"
TEXT = "num_virtual_tokens: 4, prompt_tuning_init: TEXT, prompt_tuning_init_text: w5 w6"


def declared(split: str = "test", template: str = "q") -> Callable[[Path], None]:
    """The study's task is one that it declares itself, over a small file."""
    entry = {"name": "t", "dataset_path": "rows", "test_split": split, "doc_to_text": template, "doc_to_target": "a"}

    def change(folder: Path) -> None:
        (folder / "rows").mkdir()
        for name in ("train", "test"):
            (folder / "rows" / f"{name}.jsonl").write_text(json.dumps({"q": "w5 w6", "a": "w3"}) + "\n")
        text("[toy]", json.dumps([entry]))(folder)

    return change


STUDIES = {
    "shadow": (text(LORA_SAID, "use: peft, peft_type: SHADOW, shadow_model: elsewhere"),
               "methods.lora.shadow_model: names a model to load, which is not done; the other is `mirror`"),
    "tokenizer": (text(LORA_SAID, f"use: peft, peft_type: PROMPT_TUNING, {TEXT}, tokenizer_name_or_path: elsewhere"),
                  "methods.lora.tokenizer_name_or_path: names a tokenizer to load, which is not done; `use: prompt_"),
    "its keys": (text(LORA_SAID, f"use: peft, peft_type: PROMPT_TUNING, {TEXT}, tokenizer_kwargs: {{use_fast: false}}"),
                 "methods.lora.tokenizer_kwargs: names a tokenizer to load"),
    "a sweep's name": (text("lora: {", '"lora[x]": {'), "methods.lora[x]: a name with [ is one that a sweep makes"),
    "a model's": (text("tiny: {", '"tiny[x]": {'), "the name 'tiny[x]' may hold only letters, digits and . _ + -"),
    "a task's": (text("[toy]", '[{use: toy, name: "t[x]"}]'), "the name 't[x]' may hold only letters, digits and . _"),
    "long split": (declared("x" * 300), "no file for split 'xxxxx"),
    "deep template": (declared(template="{{" + "(" * 5000 + "1" + ")" * 5000 + "}}"), "is no template (maximum rec"),
    "deep adapter": (both(lambda folder: (folder / "a.json").write_text("[" * 100_000) and None,
                          text(LORA_SAID, "use: lora, adapter_config: a.json")),
                     "a.json cannot be read (maximum recursion depth exceeded"),
    "pipe": (both(lambda folder: os.mkfifo(folder / "a.json"), text(LORA_SAID, "use: lora, adapter_config: a.json")),
             "a.json is not a file"),
}  # fmt: skip


@pytest.mark.parametrize("name", STUDIES)
def test_what_a_study_says_is_told_in_one_line(name, here, monkeypatch, capsys):  # noqa: F811
    change, said = STUDIES[name]
    change(here)
    assert call(monkeypatch, "plan", "study.yaml") == 2
    told = capsys.readouterr().err
    assert said in told and told.startswith("error: ") and told.count("\n") == 1


@pytest.mark.parametrize("odd", ["\x9b31m", "\u202e", "\u2066", "\u200b", "\ue000", "\x1b"])
def test_no_name_holds_what_a_terminal_obeys(odd, here):  # noqa: F811
    study = load(here / "study.yaml")
    spec = study.methods["lora"]
    assert study.model_copy().model_validate(study.model_dump() | {"methods": {"lora[a=b c,d='é']": spec}})
    with pytest.raises(ValueError, match="may hold only letters, digits"):
        study.model_validate(study.model_dump() | {"methods": {f"lora[a={odd}]": spec}})


def test_a_place_says_where_and_not_what(here, monkeypatch, capsys):  # noqa: F811
    (here / "places.yaml").write_text("models: {tiny: {path: model, trust_remote_code: true}}\n")
    assert call(monkeypatch, "plan", "study.yaml", "--from", "places.yaml") == 2
    told = capsys.readouterr().err
    assert "places.yaml: models.tiny.trust_remote_code: says no place; `path:` and `revision:` do" in told


def test_an_anchor_that_is_there_twice_is_no_noise(here, recwarn):  # noqa: F811
    text("seeds: [0]", "seeds: [&a 0]\nnotes: [&a hi, *a]")(here)
    assert load(here / "study.yaml").notes == ("hi", "hi") and not recwarn.list


def test_values_that_no_number_or_date_holds_are_one_line(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "train.jsonl").write_text('{"a": ' + "9" * 400 + "}\n")
    with pytest.raises(InputError, match=r"line 1, field 'a': a finite number is wanted, not inf"):
        read(str(tmp_path), "train", {}, fields={"a": float})
    (tmp_path / "train.jsonl").unlink()
    for values in (pyarrow.array([2**31 - 1], pyarrow.date32()), pyarrow.array([2**62], pyarrow.duration("s"))):
        parquet.write_table(pyarrow.table({"a": values}), tmp_path / "train.parquet")
        with pytest.raises(InputError, match=r"train\.parquet: it cannot be read: "):
            read(str(tmp_path), "train", {})


# --- adapters ---


@pytest.fixture(scope="module")
def stored(made, tmp_path_factory) -> Path:  # noqa: F811
    """The good study after its run, in an environment with secrets."""
    folder = tmp_path_factory.mktemp("stored")
    shutil.copytree(made, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_TOKEN", "hf_sentinelsentinel0123456789")
        patch.setenv("BAKEOFF_TEST_SECRET", "swordfish-in-the-environment")
        assert call(patch, "run", "study.yaml", "--out", "out") == 0
    return folder


def rewritten(name: str, change: Callable[[dict], dict]) -> Callable[[Path], None]:
    """The adapter's configuration or tensors, changed."""

    def apply(adapter: Path) -> None:
        path = adapter / name
        if name.endswith(".json"):
            path.write_text(json.dumps(change(json.loads(path.read_text()))))
        else:
            save_file(change(load_file(path)), path, metadata={"format": "pt"})

    return apply


def pickled(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")


def cut(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
ADAPTERS = {
    "pickle": (pickled, "is absent, and adapter_model.bin is a pickle, which can run code; give tensors as safe"),
    "cut short": (cut, "adapter_model.safetensors: its header tells of "),
    "other base": (rewritten(TENSORS, lambda t: {n: x[:, :1].contiguous() for n, x in t.items()}),
                   "and on this base model ["),
    "other tensors": (rewritten(TENSORS, lambda t: {f"x{n}": x for n, x in t.items()}),
                      "lora_A.weight is absent; use the adapter"),
    "auto_mapping": (rewritten(CONFIG, lambda c: c | {"auto_mapping": {"parent_library": "os"}}),
                     "auto_mapping: names code to import, which is not done"),
    "huge rank": (rewritten(CONFIG, lambda c: c | {"r": 10**9}), "r is 1000000000, and the trial's 2"),
    "other type": (rewritten(CONFIG, lambda c: c | {"peft_type": "LORRA"}), "peft_type is LORRA, and the trial's LORA"),
    "no JSON": (lambda adapter: (adapter / CONFIG).write_text("{"), "adapter_config.json is not JSON ("),
}  # fmt: skip


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_that_is_not_the_trials_is_refused(name, stored, tmp_path, monkeypatch, capsys):
    """Even where the manifest lists it: whoever makes a directory of results can write one."""
    change, said = ADAPTERS[name]
    shutil.copytree(stored / "out", tmp_path / "out")
    (folder,) = (path.parent for path in (tmp_path / "out").rglob(TENSORS))
    change(folder)
    relist(folder.parent)
    monkeypatch.chdir(stored)
    assert call(monkeypatch, "try", str(tmp_path / "out"), LORA, "w5") == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1


# --- secrets ---


def test_nothing_of_the_environment_is_stored(stored):
    kept = [path for path in stored.rglob("*") if path.is_file()]
    assert any(path.name == "record.json" for path in kept)
    for path in kept:
        data = path.read_bytes()
        assert b"sentinelsentinel" not in data and b"swordfish-in-the" not in data, path


def test_what_may_be_a_secret_is_told_as_such(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "plain-but-secret")
    token = "hf_abcdefABCDEF0123456789abcdef"
    said = str(InputError("x", f"https://me:{token}@host/a?X-Signature=1 Bearer abc.def plain-but-secret ({token})"))
    assert said == "x: https://[secret]@host/a?[secret] Bearer [secret] [secret] (hf_[secret])"
    for plain in ("HF_HUB_OFFLINE", "hf_hub_download", "hf_transfer is absent", "sk-learn-like names", "what? a/b@c"):
        assert redacted(plain) == plain


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("sk-proj-a1B2_cdefghijklmnopqrstuvwxyz012345", "sk-[secret]"),
        ("github_pat_11ABCDEFG0abcdefghij_klmnopqrstuv", "github_pat_[secret]"),
        ("gho_16C7e42F292c6912E7710c838347Ae178B4a", "gho_[secret]"),
        ("AKIAABCDEFGHIJKLMNOP", "AKIA[secret]"),
        ("glpat-abcd1234efgh5678ijkl", "glpat-[secret]"),
        ("BEARER abc.def", "BEARER [secret]"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [secret]"),
        ("my_hf_abcdefABCDEF0123456789", "my_hf_[secret]"),
        ("hf_abcdefghijklmnopqrstuvwxyzabcdefgh", "hf_[secret]"),
        ("s3://b/k?X-Amz-Signature=abc", "s3://b/k?[secret]"),
        ("wss://h/a#access_token=abc", "wss://h/a#[secret]"),
        ("https://user:p/w@host/", "https://[secret]@host/"),
        ("https://user:p@s/w@host/", "https://[secret]@host/"),
        ("swordfish-in-the-environment", "[secret]"),
    ],
)
def test_secrets_have_many_forms(said, kept, monkeypatch):
    monkeypatch.setenv("my_api_key", "swordfish-in-the-environment")
    assert redacted(f"x: ({said})") in (f"x: ({kept})", f"x: ({kept}")


@pytest.mark.parametrize(
    "plain",
    ["basic training of Basic methods", "https://host:8080/x says a@b", "https://host/page#part", "eos_token=<s>",
     "a risk-averse-and-long-name-1", "hf_hub_download_of_something_long", "sk-learn-like-and-other-names"],
)  # fmt: skip
def test_what_only_looks_like_a_secret_stays(plain):
    assert redacted(plain) == plain


@pytest.mark.parametrize("error", [
    BakeoffError("a"), InputError("a", "b", "c"), TrialError("a"), DamageError("a", "b", "c"),
    StorageError("a", "b", "c"),
])  # fmt: skip
def test_an_error_goes_whole_from_process_to_process(error):
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


# --- a directory of results ---


@pytest.mark.parametrize("key", ["../../model", "/etc", "..", "a/b", ""])
def test_a_trials_key_leads_nowhere_else(key, stored, tmp_path, monkeypatch, capsys):
    shutil.copytree(stored / "out", tmp_path / "out")
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    plan.pop("sha256", None)
    plan["trials"][0]["key"] = key
    (tmp_path / "out" / "plan.json").write_text(json.dumps(plan))
    assert call(monkeypatch, "report", str(tmp_path / "out")) == 1
    assert "plan.json: damaged (trials.0.key: " in capsys.readouterr().err
