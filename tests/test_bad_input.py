"""Forty kinds of bad input, through the command line: exit 2, one line that says what, where and how to mend it.

No traceback, and the directory is as it was before.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import tiny_model, tiny_tokenizer
from safetensors.torch import save_file
from synthetic_store import bernoulli, make_store
from test_cli import call

from bakeoff.store.store import Store
from bakeoff.study.load import load

STUDY = f"""study: bad
models:
  tiny: {{path: model}}
tasks: [toy]
methods:
  base: {{use: base}}
  lora: {{use: lora, r: 2, target_modules: [query, value]}}
training: {{learning_rate: 1e-3, per_device_train_batch_size: 4, max_steps: 2}}
seeds: [0]
plugins: [{Path(__file__).with_name("toy.py")}]
"""
LORA = "use: lora, r: 2, target_modules: [query, value]"
Change = Callable[[Path], Any]


@dataclass(frozen=True)
class Case:
    """A row of the table: what is changed in a good study's directory, what is called, what the error must say."""

    number: int
    change: Change
    said: tuple[str, ...]
    arguments: tuple[str, ...] = ("plan", "study.yaml")
    code: int = 2


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """A directory with a study that is good, its tiny model, and its own data."""
    folder = tmp_path_factory.mktemp("good")
    tiny_model("gpt2").save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    (folder / "study.yaml").write_text(STUDY)
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tree(folder: Path) -> dict[str, Any]:
    """Every path below a directory, with a file's size and time."""
    found = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        found[str(path.relative_to(folder))] = (
            (about.st_mode, about.st_size, about.st_mtime_ns) if not path.is_dir() else 0
        )
    return found


# --- changes ---


def nothing(folder: Path) -> None:
    """The arguments alone are wrong."""


def text(old: str, new: str) -> Change:
    """The study says something else."""

    def change(folder: Path) -> None:
        assert old in STUDY
        (folder / "study.yaml").write_text(STUDY.replace(old, new, 1))

    return change


def file(name: str, content: str | bytes) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def absent(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def both(*changes: Change) -> Change:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def config(**keys: Any) -> Change:
    """The model's config.json says something else; None takes a key away."""

    def change(folder: Path) -> None:
        path = folder / "model" / "config.json"
        known = json.loads(path.read_text()) | keys
        path.write_text(json.dumps({key: value for key, value in known.items() if value is not None}))

    return change


def tensors(change_bytes: Callable[[bytes], bytes]) -> Change:
    def change(folder: Path) -> None:
        path = folder / "model" / "model.safetensors"
        path.write_bytes(change_bytes(path.read_bytes()))

    return change


def model(kind: str, **shape: Any) -> Change:
    """The model is of another architecture: its configuration alone, which is all that a plan reads."""

    def change(folder: Path) -> None:
        from transformers import AutoConfig

        AutoConfig.for_model(kind, vocab_size=97, **shape).save_pretrained(folder / "model")
        save_file({}, folder / "model" / "model.safetensors")

    return change


llama = model("llama", hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
t5 = model("t5", d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
mamba = model("mamba", hidden_size=32, num_hidden_layers=2)


def sharded(name: str) -> Change:
    """The weights lie in a file that an index names."""

    def change(folder: Path) -> None:
        (folder / "model" / "model.safetensors").rename(folder / "model" / "model-1.safetensors")
        index = {"weight_map": {"a": "model-1.safetensors", "b": name}}
        (folder / "model" / "model.safetensors.index.json").write_text(json.dumps(index))

    return change


trusted = text("{path: model}", "{path: model, trust_remote_code: true}")


def adapter(config: str) -> Change:
    """A method is what PEFT wrote of an adapter."""
    return both(text(LORA, "use: peft, adapter_config: theirs"), file("theirs/adapter_config.json", config))


def large(folder: Path) -> None:
    with (folder / "study.yaml").open("ab") as stream:
        stream.truncate(50_000_000)


LAUGHS = "a0: &a0 [ha]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 497774208\n"
DECLARED = "tasks: [{name: mine, dataset_path: data, doc_to_text: '{{ text }}', doc_to_target: label%s}]"
CHOICES = ", doc_to_choice: [w3, w4]"
ROW = '{"text": "w5 w6", "label": "w3"}\n'
OTHER = '{"text": "w7 w8", "label": "w4"}\n'


def data(train: str, test: str = ROW + OTHER, more: str = CHOICES) -> Change:
    """A task on files of one's own."""
    return both(text("tasks: [toy]", DECLARED % more), file("data/train.jsonl", train), file("data/test.jsonl", test))


def sst2(row: str) -> Change:
    """SST-2 from files of one's own, with that training row."""
    good = '{"sentence": "w5", "label": 0}\n{"sentence": "w6", "label": 1}\n'
    served = text("tasks: [toy]", "tasks: [sst2]\ndata: {stanfordnlp/sst2: data}")
    return both(served, file("data/train.jsonl", row), file("data/dev.jsonl", good))


def again(folder: Path) -> None:
    """The file of completions has its row once more, with other tests."""
    path = folder / "rows.jsonl"
    path.write_text(path.read_text() + path.read_text().replace("== 1", "== 2"))


def completions(**keys: Any) -> Change:
    """A file for `grade-code` with one row in HumanEval's form, changed; None takes a key away."""
    row = {
        "task_id": "t/1", "prompt": "def f(x):\n", "completion": "    return x\n", "entry_point": "f",
        "test": "def check(candidate):\n    assert candidate(1) == 1\n",
    } | keys  # fmt: skip
    return file("rows.jsonl", json.dumps({key: value for key, value in row.items() if value is not None}) + "\n")


GRADE = ("grade-code", "rows.jsonl")
NAMED = "study: a study's name takes 1 to 80 letters, digits and . _ + -"
DUPLICATE = "study.yaml, line 11: the key 'seeds' is there twice, first in line 9; drop one of them"
RATE, PATH = "training.learning_rate: input should be ", "error: models.tiny.path: "
CASES = [
    Case(1, nothing, ("stduy.yaml: no such study file", "did you mean 'study.yaml'?"), ("plan", "stduy.yaml")),
    Case(2, nothing, ("model: is a directory, not a study file", "name a YAML file"), ("plan", "model")),
    Case(3, file("study.yaml", ""), ("study.yaml: is empty", "a study needs `study:`, `models:`", "list studies")),
    Case(4, text("  tiny", "\t tiny"), ("line 3, column 1: found character '\\t'", "it reads 'tiny: {path: model}'")),
    Case(4, text("  lora:", "    lora:"), ("study.yaml, line 7, column 5: ", "it reads 'lora: {use: lora")),
    Case(5, text("plugins", "notes: []\nseeds: [1]\nplugins"), (DUPLICATE,)),
    Case(6, text("learning_rate", "learing_rate"),
         ("training.learing_rate: unknown key; did you mean 'learning_rate'?",)),
    Case(7, text("study: bad", "study: !!python/object/apply:os.system ['touch ran']"),
         ("study.yaml, line 1: the tag !!python/object/apply:os.system is not allowed",)),
    Case(8, file("study.yaml", LAUGHS), ("line 6: stands for more than 100,000 values, aliases written out",)),
    Case(8, large, ("study.yaml: is too large for a study: 50,000,000 bytes; at most 262,144",)),
    Case(9, file("study.yaml", STUDY.encode("utf-16")), ("study.yaml: is not UTF-8 at byte 0; save it as UTF-8",)),
    Case(9, file("study.yaml", "study: é".encode("latin-1")), ("study.yaml: is not UTF-8 at byte 7",)),
    Case(10, file("study.yaml", "- a\n"), ("study.yaml: expected a mapping at the top, got a list",)),
    Case(11, text("1e-3", "'1e-3'"), (RATE + "a valid number, got '1e-3'",)),
    Case(12, text("1e-3", "-1"), (RATE + "greater than 0, got -1",)),
    Case(12, text("1e-3", ".nan"), (RATE + "a finite number, got nan",)),
    Case(12, text("1e-3", ".inf"), (RATE + "a finite number, got inf",)),
    Case(12, text("1e-3", "0"), (RATE + "greater than 0, got 0",)),
    Case(13, text("r: 2", "r: 0"), ("methods.lora.r: input should be greater than or equal to 1, got 0",)),
    Case(13, text("r: 2", "r: 2.5"), ("methods.lora.r: input should be a valid integer", "got 2.5")),
    Case(13, text("r: 2", "r: 100000"),
         ("methods.lora.r: 100000 is more than the smallest target module's 32 features; give 1 to 32",)),
    Case(14, text("[0]", "[]"), ("seeds: needs at least 1 item",)),
    Case(15, text("[0]", "[1, 1]"), ("seeds: seed 1 is given twice and would count double",)),
    Case(16, text("[0]", "[-1]"), ("seeds.0: input should be greater than or equal to 0, got -1",)),
    Case(16, text("[0]", f"[{2**64}]"), ("seeds.0: input should be less than 4294967296, got 18446744073709551616",)),
    Case(17, text("use: lora", "use: lorra"), ("methods.lora: unknown method 'lorra'; did you mean 'lora'?",)),
    Case(18, text("  base: {", "  lora: {"), ("study.yaml, line 7: the key 'lora' is there twice, first in line 6",)),
    Case(19, text(LORA, "use: prefix_tuning, num_virtual_tokens: 256"),
         ("methods.lora.num_virtual_tokens: 256 leave no room for text in a context of 256", "at most half of it")),
    Case(20, text("[query, value]", "[qvery]"),
         ("methods.lora.target_modules: 'qvery' matches none of the 8 linear modules", "query")),
    Case(21, both(text(LORA, "use: bitfit"), llama), ("lora.bias: this model has no biases; `bias: all` adds them",)),
    Case(21, both(text(LORA, "use: loreft, low_rank_dimension: 2"), t5),
         ("methods.lora.use: loreft edits the layers of a decoder-only model; leave it out",)),
    Case(21, t5, ("--engine lanes: models.tiny (encoder-decoder) runs only through the reference engine",),
         ("run", "study.yaml", "--engine", "lanes")),
    Case(21, mamba, (PATH, "the architecture mamba has no ", "only attention models are supported")),
    Case(22, text("study: bad", "study: ../../etc/x"), (NAMED,)),
    Case(22, text("study: bad", "study: ''"), ("study.yaml: `study:` is missing or empty",)),
    Case(22, text("study: bad", f"study: {'x' * 300}"), (NAMED,)),
    Case(22, text("study: bad", "study: a/b"), (NAMED,)),
    Case(22, text("study: bad", 'study: "a\\nb"'), (NAMED,)),
    Case(22, text("study: bad", 'study: "a\\0b"'), ("study: 'a\\x00b' holds a character that is no text",)),
    Case(22, text("  tiny", "  ../tiny"), ("models: the name '../tiny' may hold only letters, digits and . _ + -",)),
    Case(22, text("[toy]", "[{use: toy, name: ../t}]"), ("tasks: the name '../t' may hold only letters, digits",)),
    Case(22, text("  lora:", "  ..:"), ("methods: the name '..' may hold only letters, digits and . _ + -",)),
    Case(22, text("  lora:", '  "a\\nb":'), ("methods: the name 'a\\nb' may hold only letters, digits and . _ + -",)),
    Case(23, nothing, ("--out: ", "study.yaml is a file, not a directory; give another directory"),
         ("run", "study.yaml", "--out", "study.yaml")),
    Case(23, nothing, ("--out: ", "/proc/bakeoff cannot be written to (", "give another directory"),
         ("run", "study.yaml", "--out", "/proc/bakeoff")),
    Case(26, file("old/plan.json", '{"schema": 2, "bakeoff": "9.0"}'),
         ("plan.json: has schema version 2 (of Bakeoff 9.0), and this Bakeoff (", "reads 1; use the one that wrote it"),
         ("report", "old"), code=1),
    Case(26, file("old/plan.json", '{"schema": 2, "bakeoff": "9.0"}'), ("has schema version 2 (of Bakeoff 9.0)",),
         ("run", "study.yaml", "--out", "old"), code=1),
    Case(28, text("path: model", "path: owner/absent"),
         (PATH + "'owner/absent' is no local directory and could not be had from the hub or its cache (HF_HUB",
          "give a local model directory, with `--set models.tiny.path=DIR`", "the cache is ")),
    Case(29, absent("model/config.json"), (PATH, "model has no config.json; a model directory in Hugging Face's")),
    Case(29, both(absent("model/tokenizer.json"), absent("model/tokenizer_config.json")),
         (PATH, "model has no tokenizer: what it has knows no words; copy the model's tokenizer.json and ")),
    Case(29, file("model/tokenizer.json", "{"), (PATH, "model has no tokenizer that loads (")),
    Case(29, file("model/config.json", "{"), (PATH, "model/config.json is not JSON (")),
    Case(29, config(model_type="nonesuch"), (PATH, "knows no architecture 'nonesuch'", "config.json says so")),
    Case(29, config(n_embd="wide"), (PATH, "config.json is no model's (", "n_embd")),
    Case(29, config(n_head=5), (PATH, "model makes no language model (ValueError")),
    Case(30, both(absent("model/model.safetensors"), file("model/pytorch_model.bin", "")),
         (PATH, "pytorch_model.bin and no safetensors: a pickle can run code", "if you trust it, ", "save_pretr")),
    Case(30, absent("model/model.safetensors"), (PATH, "model has no *.safetensors")),
    Case(31, tensors(lambda data: data[:-1]), (PATH, "model.safetensors: its header tells of ", "cut short")),
    Case(31, tensors(lambda data: data + b"more"), (PATH, "model.safetensors: its header tells of ", "copy it again")),
    Case(31, tensors(lambda data: data[:4]), (PATH, "model.safetensors: is no safetensors file: it has 4 bytes")),
    Case(31, tensors(lambda data: struct.pack("<Q", 2**60) + data[8:]), (PATH, "header of 1,152,921,504,606,846,976")),
    Case(31, tensors(lambda data: data[:8] + b"x" + data[9:]), (PATH, "its header cannot be read; copy it again")),
    Case(31, tensors(lambda data: LFS.encode()), (PATH, "looks like a git-lfs pointer (1", "run `git lfs pull`")),
    Case(31, file("model/config.json", LFS), (PATH, "config.json looks like a git-lfs pointer; run `git lfs pull`")),
    Case(31, sharded("../../elsewhere.safetensors"), (PATH, "names '../../elsewhere.safetensors', which is no saf")),
    Case(31, sharded("weights.bin"), (PATH, "names 'weights.bin', which is no safetensors file beside it")),
    Case(31, sharded("model-2.safetensors"), (PATH, "names model-2.safetensors, which is not there; copy all files")),
    Case(31, config(n_embd=48), (PATH, "is [97, 32] in ", "and config.json makes it [97, 48]", "of one model")),
    Case(31, config(transformers_weights="../other.safetensors"), (PATH, "names '../other.safetensors', which is no")),
    Case(32, file("model/adapter_config.json", "{}"), (PATH, "holds an adapter (adapter_config.json)", "merged into")),
    Case(33, adapter("{"), ("methods.lora.adapter_config: ", "adapter_config.json cannot be read (")),
    Case(33, adapter('{"peft_type": "LORRA"}'), ("methods.lora.peft_type: unknown PEFT method 'LORRA'", "'LORA'")),
    Case(33, adapter('{"peft_type": "LORA", "auto_mapping": {"parent_library": "evil"}}'),
         ("methods.lora.auto_mapping: names code to import, which is not done; drop the key",)),
    Case(33, adapter('{"peft_type": "LORA", "megatron_config": {}, "megatron_core": "evil"}'),
         ("methods.lora.megatron_config: names code to import",)),
    Case(33, text(LORA, "use: peft, adapter_config: nowhere"), ("lora.adapter_config: /", "/nowhere cannot be read",)),
    Case(34, config(model_type="own", auto_map={"AutoConfig": "conf.C", "AutoModelForCausalLM": "code.M"}),
         (PATH, "model runs code of its authors (code.py, conf.py), which is off by default", "trust_remote_code: ")),
    Case(34, both(config(model_type="own", auto_map={"AutoConfig": "owner/repo--conf.C"}), trusted),
         (PATH, "its code lies in another repository (owner/repo--conf.C), which nothing pins")),
    Case(34, both(config(model_type="own", auto_map={"AutoConfig": "conf.C"}), trusted),
         (PATH, "model has no conf.py")),
    Case(34, text("{path: model}", "{path: owner/name, trust_remote_code: true, revision: main}"),
         ("models.tiny: trust_remote_code needs `revision:`, a commit's 40 hexadecimal digits",)),
    Case(34, config(_attn_implementation="owner/kernel"), (PATH, "may be code of the hub (_attn_implementation: own")),
    Case(34, config(attn_implementation="flash_attention_2"), (PATH, "may be code of the hub (attn_implementation: f")),
    Case(35, both(text("[toy]", "[{name: mine, dataset_path: data.py, validation: 1, split: validation}]"),
                  file("data.py", "open('ran', 'w')")), ("data.py is a script, which is not run; accepted: .jsonl, ",)),
    Case(35, both(data(ROW), absent("data/train.jsonl"), file("data/mine.py", "open('ran', 'w')")),
         ("no file for split 'train'", "found: mine.py, test.jsonl; wanted: train.jsonl or another of .jsonl, ")),
    Case(35, both(text("[toy]", "[sst2]\ndata: {stanfordnlp/sst2: train.pkl}"), file("train.pkl", "")),
         ("train.pkl is of no known kind; accepted: .jsonl, .json, .tsv, .csv",)),
    Case(36, data(ROW + '{"text": \n'), ("data/train.jsonl, line 2: not JSON: ",)),
    Case(36, data(ROW + '{"text": "w5"}\n' * 4 + OTHER),
         ("tasks.mine.doc_to_target: ", "line 2 and no template (4 rows cannot be used: lines 2, 3, 4, ...)")),
    Case(36, data(ROW + '{"text": "w5", "label": NaN}\n'), ("train.jsonl, line 2", "a field is NaN")),
    Case(36, data(ROW + '{"text": null, "label": "w4"}\n'), ("train.jsonl, line 2", "a field is null")),
    Case(36, sst2('{"sentence": "a", "label": "1"}\n'), ("line 1, field 'label': int is wanted, not '1'",)),
    Case(36, sst2('{"sentense": "a", "label": 1}\n'), ("line 1, field 'sentence': missing; did you mean 'sentense'?",)),
    Case(37, sst2('{"sentence": "a", "label": 2}\n'), ("0 (negative) or 1 (positive) is wanted, not 2",)),
    Case(37, data(ROW + '{"text": "w5", "label": "w9"}\n'),
         ("train.jsonl, line 2: the answer 'w9' is none of the choices ['w3', 'w4']",)),
    Case(37, data(ROW * 12), ("all 12 answers of the train split are 'w3', so there is nothing to choose",)),
    Case(37, data(""), ("data, split train: it holds no rows",)),
    Case(37, data(ROW + OTHER, more=f"{CHOICES}, validation: 2, split: validation"),
         ("tasks.mine.validation: 2 of 2 training examples would leave none",)),
    Case(38, data(ROW + OTHER, more=f"{CHOICES}, test_split: train"),
         ("tasks.mine.dataset_path: training and test rows would be the same; give a folder with a file for each",)),
    Case(39, completions(test="assert True"), ("rows.jsonl:1: 'test' neither uses 'f' nor defines 'check'",), GRADE),
    Case(39, completions(test="def check("), ("rows.jsonl:1: 'test' is not Python (",), GRADE),
    Case(39, completions(test=""), ("rows.jsonl:1: 'test' is empty: everything would pass",), GRADE),
    Case(39, completions(entry_point=None), ("rows.jsonl:1: no field 'entry_point'",), GRADE),
    Case(39, completions(completion=None), ("rows.jsonl:1: no field 'completion'; a line is {",), GRADE),
    Case(39, both(completions(), again), ("rows.jsonl:2: task 't/1' has other tests than in line 1",), GRADE),
    Case(39, completions(), ("pass@5: 1 of 1 problems have fewer completions, 't/1' 1; give k of at most 1",),
         (*GRADE, "--k", "5")),
    Case(40, text("seeds:", "device: cuda\nseeds:"),
         ("device: a GPU is used where torch sees one, else the CPU; drop the key",)),
    Case(40, text("{path: model}", "{path: model, dtype: bf16}"),
         ("models.tiny.dtype: input should be 'float32', 'float64', 'bfloat16' or 'float16', got 'bf16'",)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number}-{case.said[0][:40]}")
def test_bad_input_is_one_line_exit_2_and_nothing_written(case, here, monkeypatch, capsys):
    case.change(here)
    before = tree(here)
    code = call(monkeypatch, *case.arguments)
    told = capsys.readouterr()
    lines = [line for line in told.err.splitlines() if line.startswith("error: ")]
    assert code == case.code and len(lines) == 1, told.err
    for words in case.said:
        assert words in lines[0], lines[0]
    assert told.err.count("\n") == 1 and "Traceback" not in told.err + told.out, told.err
    assert tree(here) == before


def refused(monkeypatch, capsys, *arguments: str) -> str:
    """The one line that a call with bad input prints; nothing is written."""
    before = tree(Path())
    assert call(monkeypatch, *arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1 and tree(Path()) == before
    return told


@pytest.mark.parametrize("text_", ["1e-4", "1E-4", "1.0e-4", "0.0001"])
def test_11_a_number_is_a_number_however_it_is_written(text_, here):
    text("1e-3", text_)(here)
    assert load(here / "study.yaml").methods["lora"].training.learning_rate == 1e-4


def test_24_a_disk_too_small_is_told_before_anything_is_run(here, monkeypatch, capsys):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=500, total=10**9))
    told = refused(monkeypatch, capsys, "run", "study.yaml").replace("\xa0", " ")
    assert "--out: too little room for what runs/bad will hold: it needs about " in told and "and 500 B is free" in told
    assert "free some, give another directory, or lower it: fewer methods or seeds, a smaller rank" in told


def test_25_an_edited_study_is_no_error(here, monkeypatch, capsys):
    """Its new trials are added and named, and its old ones kept (tests/test_store.py and its neighbours)."""
    assert call(monkeypatch, "run", "study.yaml", "--out", "out") == 0
    text("[0]", "[0, 1]")(here)
    capsys.readouterr()
    assert call(monkeypatch, "run", "study.yaml", "--out", "out", "--dry-run") == 0
    assert "new in this study: toy/lora/seed 1" in capsys.readouterr().out


def test_27_a_study_that_is_running_is_left_alone(here, monkeypatch, capsys):
    with Store(here / "out").lock():
        told = refused(monkeypatch, capsys, "run", "study.yaml", "--out", "out")
    assert f"out: another process is running this study (pid {os.getpid()} on " in told and "since " in told
    assert "--follow` ends when it does; or give another --out" in told


def test_38_test_items_that_are_trained_on_are_counted(here, monkeypatch, capsys):
    """It is no error: what is done about it is the reader's to decide."""
    data(ROW + OTHER, ROW + ROW.replace("w6", "w9"))(here)
    assert call(monkeypatch, "plan", "study.yaml", "--limit", "2") == 0
    assert "1 of 2" in capsys.readouterr().out


def test_40_a_gpu_that_cannot_be_used_is_told_of(here, monkeypatch, capsys):
    """It is no error: the trials run on the CPU. The words are torch's, and tell how to mend it."""

    def too_old() -> bool:
        what = "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040)."
        warnings.warn(f"{what} Please update your GPU driver (Triggered internally at x.cpp:1.)", stacklevel=1)
        return False

    monkeypatch.setattr("torch.cuda.is_available", too_old)
    assert call(monkeypatch, "plan", "study.yaml") == 0
    told = capsys.readouterr()
    said = "the trials run on the CPU: CUDA initialization: The NVIDIA driver on your system is too old (found version "
    assert f"{said}11040). Please update your GPU driver\n" in told.out


def test_40_without_a_sandbox_code_is_not_graded(here, monkeypatch, capsys):
    completions()(here)
    monkeypatch.setattr("bakeoff.grading.code.tiers.missing", lambda tier: f"no {tier} here")
    told = refused(monkeypatch, capsys, *GRADE)
    assert "no sandbox here (bubblewrap: no bubblewrap here; landlock: no landlock here)" in told
    assert "apt install bubblewrap" in told and "--unsafe-no-sandbox" in told


# --- the table's last line ---


def program(*arguments: str, stdout: Any = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """The program as a process of its own."""
    code = [sys.executable, "-c", "from bakeoff.cli import main; main()", *arguments]
    return subprocess.Popen(code, stdout=stdout, stderr=subprocess.PIPE, env=os.environ | {"NO_COLOR": "1"})


def test_a_process_says_the_same_line(here):
    text("study: bad", "study: !!python/object/apply:os.system ['touch ran']")(here)
    before = tree(here)
    run = program("run", "study.yaml")
    out, told = run.communicate()
    assert run.returncode == 2 and out == b"" and told.startswith(b"error: ") and told.count(b"\n") == 1
    assert tree(here) == before


@pytest.mark.parametrize("arguments", [("list", "methods"), ("compare", "--table", "t.csv", "--json")])
def test_a_reader_that_has_had_enough_is_no_error(arguments, here):
    rows = [f"{method},{seed},{item},{(item + seed) % 2}" for method in "ab" for seed in (0, 1, 2) for item in range(9)]
    (here / "t.csv").write_text("method,seed,item,score\n" + "\n".join(rows) + "\n")
    reading, writing = os.pipe()
    os.close(reading)
    run = program(*arguments, stdout=writing)
    os.close(writing)
    assert run.communicate()[1] == b"" and run.returncode == 1


def test_a_report_of_nothing_finished_says_so(here, monkeypatch, capsys):
    missing = {("sst2", method, seed): "missing" for method in ("base", "lora", "prompt") for seed in (None, 0, 1, 2)}
    make_store(here / "none", bernoulli({}, 4), status=missing)
    monkeypatch.setenv("NO_COLOR", "1")
    assert call(monkeypatch, "report", "none") == 0
    told = capsys.readouterr().out.replace("\xa0", " ")
    assert "\x1b" not in told and "No result on sst2: 3 methods missing." in told
    assert call(monkeypatch, "report", "none", "--format", "pdf") == 2
    assert capsys.readouterr().err.startswith("error: --format: 'pdf' is no report format; accepted: csv, html, json")
    assert call(monkeypatch, "report", "none", "--format", "") == 2
    assert capsys.readouterr().err.startswith("error: --format: '' is no report format; accepted: csv, html, json")
