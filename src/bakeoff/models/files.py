"""Model files: a directory in Hugging Face's format, looked through before any library opens what is in it."""

from __future__ import annotations

import importlib.util
import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bakeoff.errors import InputError, extra

Shapes = dict[str, tuple[int, ...]]

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack")  # weights that are no safetensors
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
OF_A_MODEL = (  # what is read of a model's directory, and hashed
    "*.safetensors",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
_HEADER = 100_000_000  # bytes, as the safetensors library allows
_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
_POINTER = b"version https://git-lfs"
_FORMAT = "a model directory in Hugging Face's format is needed"


def check(path: Path, where: str, trusted: bool) -> None:
    """InputError for a directory that holds no whole model as plain data; `trusted`: its Python files may be run."""
    _check_files(path, where)
    if not (path / "config.json").is_file():
        raise InputError(where, f"{path} has no config.json", _FORMAT)
    if (path / "adapter_config.json").exists():
        what = f"{path} holds an adapter (adapter_config.json), which would be put on the model unasked"
        raise InputError(where, what, "give the base model's directory, or one that the adapter is merged into")
    config = mapping(path / "config.json", where)
    _check_weights(path, where)
    _check_config(path, config, where)
    _check_quantized(path, config, where)
    _check_code(path, config, where, trusted)
    if (path / "generation_config.json").is_file():
        mapping(path / "generation_config.json", where)


def shapes(path: Path) -> Shapes:
    """The tensors of a safetensors file by name, with their shapes, from its header alone.

    InputError where the file is none, or not as long as its header says.
    """
    where = str(path)
    try:
        return _read_shapes(path, where)
    except OSError as error:
        raise InputError(where, f"cannot be read ({error.strerror})") from None


def _read_shapes(path: Path, where: str) -> Shapes:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(len(_POINTER))
        if start.startswith(_POINTER):
            raise InputError(
                where, f"looks like a git-lfs pointer ({size} bytes), not the weights", "run `git lfs pull`"
            )
        length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else 0
        if not 2 <= length <= min(_HEADER, size - 8):
            what = f"is no safetensors file: it has {size:,} bytes, and a header of {length:,} is announced"
            raise InputError(where, what, "copy it again")
        file.seek(8)
        return _shapes(file.read(length), size - 8 - length, where)


def _shapes(header: bytes, size: int, where: str) -> Shapes:
    """The shapes that a header tells of, where the tensors are the `size` bytes after it."""
    try:
        told: dict[str, Any] = json.loads(header)
        told.pop("__metadata__", None)
        found = {name: tuple(one["shape"]) for name, one in told.items()}
        ends = {name: tuple(one["data_offsets"]) for name, one in told.items()}
        wanted = {name: math.prod(found[name]) * _BYTES.get(one["dtype"], 1) for name, one in told.items()}
        last = max((end for _, end in ends.values()), default=0)
        fits = all(0 <= a <= b and (told[n]["dtype"] not in _BYTES or b - a == wanted[n]) for n, (a, b) in ends.items())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError(where, "is no safetensors file: its header cannot be read", "copy it again") from None
    if last != size:
        what = f"its header tells of {last:,} bytes of tensors, and {size:,} are there"
        raise InputError(where, what, "it was cut short or changed: copy it again")
    if not fits:
        raise InputError(where, "is no safetensors file: its header contradicts itself", "copy it again")
    return found


def mapping(path: Path, where: str) -> dict[str, Any]:
    """The mapping in a JSON file; InputError where it holds none."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(where, f"{path} cannot be read ({error.strerror})") from None
    if text.startswith(_POINTER):
        raise InputError(where, f"{path} looks like a git-lfs pointer", "run `git lfs pull`")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(where, f"{path} is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise InputError(where, f"{path} holds no mapping")
    return found


def pickled(path: Path) -> list[str]:
    """The names of files in a directory that are weights in a form that is not read, since it can run code."""
    return sorted(file.name for file in path.iterdir() if file.suffix in PICKLES)


def all_shapes(path: Path) -> Shapes:
    """The tensors of a model's directory by name, with their shapes."""
    return {name: shape for file in weights(path) for name, shape in shapes(file).items()}


def weights(path: Path) -> list[Path]:
    """The safetensors files that hold a model's weights: one, or all that its index names."""
    if (path / WHOLE).is_file():
        return [path / WHOLE]
    return [path / name for name in sorted(set(mapping(path / INDEX, str(path / INDEX))["weight_map"].values()))]


def _check_files(path: Path, where: str) -> None:
    """InputError where what would be read is no file: a directory, a link to nothing, a pipe that never ends."""
    try:
        wanted = {one for pattern in OF_A_MODEL for one in path.glob(pattern)}
        found = sorted({*wanted, *path.glob("*"), *path.glob("additional_chat_templates/*")})
        odd = [one for one in found if not one.is_file() and (one in wanted or (one.exists() and not one.is_dir()))]
    except OSError as error:
        raise InputError(where, f"{path} cannot be read ({error.strerror})") from None
    if odd:
        raise InputError(where, f"{odd[0]} is no file", "copy all files of the model")


def _check_weights(path: Path, where: str) -> None:
    """InputError where weights are absent, pickled, cut short, or said to lie outside the directory."""
    if not any(path.glob("*.safetensors")):
        found = pickled(path)
        if not found:
            raise InputError(where, f"{path} has no *.safetensors", _FORMAT)
        mend = "if you trust it, convert it: `AutoModelForCausalLM.from_pretrained(OLD).save_pretrained(NEW)` in Python"
        raise InputError(where, f"{path} holds {found[0]} and no safetensors: a pickle can run code", mend)
    if (path / INDEX).is_file():
        named = mapping(path / INDEX, where).get("weight_map")
        if not isinstance(named, dict) or not named:
            raise InputError(where, f"{path / INDEX} has no weight_map")
        for name in dict.fromkeys(map(str, named.values())):
            if not _plain(name):
                raise InputError(where, f"{path / INDEX} names {name!r}, which is no safetensors file beside it")
            if not (path / name).is_file():
                raise InputError(
                    where, f"{path / INDEX} names {name}, which is not there", "copy all files of the model"
                )
    elif not (path / WHOLE).is_file():
        raise InputError(where, f"{path} has neither {WHOLE} nor {INDEX}", _FORMAT)
    for file in weights(path):
        try:
            shapes(file)
        except InputError as error:
            raise InputError(where, str(error)) from None


_ATTENTION = None, "eager", "sdpa", "flex_attention"  # for others transformers may take a kernel of the hub


def _check_config(path: Path, config: Mapping[str, Any], where: str) -> None:
    """InputError where config.json names files elsewhere, or code of the hub."""
    other = config.get("transformers_weights")
    if other not in (None, WHOLE, INDEX):
        what = f"{path / 'config.json'} names {other!r}, which is no {WHOLE} beside it"
        raise InputError(where, what, "name it so, and take the key `transformers_weights` out")
    for key in ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation"):
        told = config.get(key)
        if "/" in str(told) or ("attn" in key and told not in _ATTENTION):
            what = f"{path / 'config.json'} asks for what may be code of the hub ({key}: {told})"
            raise InputError(where, what, "take the key out")


def _check_code(path: Path, config: Mapping[str, Any], where: str, trusted: bool) -> None:
    """InputError where the model is a program of its authors that nobody allowed, or that lies somewhere else."""
    from transformers import CONFIG_MAPPING

    if trusted:
        _check_pinned(path, where)
    asked, known = config.get("auto_map"), str(config.get("model_type")) in CONFIG_MAPPING
    if known and not (trusted and asked):
        return  # transformers' own code is used
    if not asked:
        import transformers

        what = f"transformers {transformers.__version__} knows no architecture {config.get('model_type')!r}"
        raise InputError(where, what, f"{path / 'config.json'} says so as `model_type`")
    named = sorted(set(_code(asked, inside=True)))
    if outside := [one for one in named if _outside(one)]:
        raise _unpinned(outside[0], "config.json", where)
    if not trusted:
        what = f"{path} runs code of its authors ({', '.join(_sources(named))}), which is off by default"
        mend = "read it; if you trust it say `trust_remote_code: true` of this model, and of one from the hub its "
        raise InputError(where, what, f"{mend}`revision:`")
    if lacking := [one for one in _sources(named) if not (path / one).is_file()]:
        raise InputError(where, f"{path} has no {lacking[0]}, which config.json names")


def _check_pinned(path: Path, where: str) -> None:
    """InputError where a configuration names code of another place: the tokenizer's may, and a part's."""
    for file in sorted(path.glob("*config.json")):
        for one in _code(mapping(file, where)):
            if _outside(one):
                raise _unpinned(one, file.name, where)


def _code(value: Any, inside: bool = False) -> Iterator[str]:
    """The code that every `auto_map` in a configuration names, its parts' too; `inside`: the value is such a map."""
    waiting = [(value, inside)]
    while waiting:
        one, inside = waiting.pop()
        if isinstance(one, dict):
            waiting += [(part, inside or key == "auto_map") for key, part in one.items()]
        elif isinstance(one, list):
            waiting += [(part, inside) for part in one]
        elif inside and one is not None:
            yield str(one)


def _outside(name: str) -> bool:
    """Whether a `module.Class` leads out of the model's directory."""
    return "--" in name or "/" in name or "\\" in name


def _unpinned(name: str, file: str, where: str) -> InputError:
    what = f"its code lies in another repository ({name}), which nothing pins"
    return InputError(where, what, f"copy the code into the model's directory, and name it so in {file}")


def _check_quantized(path: Path, config: Mapping[str, Any], where: str) -> None:
    """InputError where the weights are quantized by anything but bitsandbytes, or that is not installed."""
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    for told in filter(None, (part.get("quantization_config") for part in parts)):
        kind = told
        if isinstance(told, dict):  # bitsandbytes' older ones do not name it
            kind = told.get("quant_method") or (told.keys() & {"load_in_4bit", "load_in_8bit"} and "bitsandbytes")
        if kind != "bitsandbytes":
            what = f"{path / 'config.json'} says that its weights are quantized ({str(kind)[:40]!r}), which is not read"
            mend = "give the model with its own weights, and `quantize: nf4` to methods that shall have 4 bits"
            raise InputError(where, what, mend)
        if importlib.util.find_spec("bitsandbytes") is None:
            raise InputError(where, "its weights are quantized by bitsandbytes, which is not here", extra("quant"))


def _sources(named: list[str]) -> list[str]:
    """The files of `module.Class` names, each once."""
    return list(dict.fromkeys(f"{one.rpartition('.')[0]}.py" for one in named))


def _plain(name: str) -> bool:
    """Whether it is the name of a safetensors file, and no path."""
    return name == Path(name).name and name.endswith(".safetensors")
