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

from bakeoff.errors import BakeoffError, DamageError, InputError, StorageError, TrialError, redacted
from bakeoff.models.backbone import weights_hash
from bakeoff.models.files import check
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
