"""Stored adapters: a directory that an adapter or PEFT wrote, looked through before any library opens what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bakeoff.errors import InputError
from bakeoff.models import files

# Fields that say what a configuration was made for or with, not what is trained: the model and the run decide them.
BOOKKEEPING = {
    "auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "runtime_config",
    "task_type",
}  # fmt: skip
_LATER = {"rank_pattern", "total_step", "tokenizer_name_or_path"}  # what AdaLoRA's training finds and an export names


def check(directory: Path, wanted: files.Shapes, config: Any, grown: bool = False) -> None:
    """InputError where a directory does not hold, as plain data, tensors of the `wanted` shapes and that `config`.

    With `grown` their shapes may be others: AdaLoRA's ranks are found in training.
    """
    file = directory / "adapter_model.safetensors"
    if not file.is_file():
        named = files.pickled(directory) if directory.is_dir() else []
        what = f"is absent, and {named[0]} is a pickle, which can run code" if named else "is absent"
        raise InputError(str(file), what, "give tensors as safetensors, such as PEFT's save_pretrained writes")
    found, of = files.shapes(file), ""
    if config is not None:
        told = files.mapping(directory / "adapter_config.json", str(directory))
        _check_config(directory / "adapter_config.json", told, config)
        of = f" (made for {told['base_model_name_or_path']})" if told.get("base_model_name_or_path") else ""
    if other := sorted(found.keys() ^ wanted.keys()):
        what = f"{other[0]} is {'no tensor of this adapter' if other[0] in found else 'absent'}"
        raise InputError(str(file), what + of, "use the adapter that the trial stored")
    for name in () if grown else wanted:
        if found[name] != wanted[name]:
            what = f"{name} is {list(found[name])}, and on this base model {list(wanted[name])}"
            raise InputError(str(file), what + of, "use the adapter that the trial stored, and its base model")


def refuse_code(told: Mapping[str, Any], where: str = "") -> None:
    """InputError for keys of a PEFT configuration that name modules to import, or another model to load."""
    before = f"{where}: " if where else ""
    if told.get("shadow_model") not in (None, "mirror"):
        raise InputError(f"{before}shadow_model", "names a model to load, which is not done", "the other is `mirror`")
    for key in ("auto_mapping", "megatron_config"):
        if told.get(key) is not None:
            raise InputError(f"{before}{key}", "names code to import, which is not done", "drop the key")


def _check_config(path: Path, told: Mapping[str, Any], config: Any) -> None:
    """InputError where a stored configuration is not that of the adapter it is read as: it says what is allocated."""
    refuse_code(told, str(path))
    for key, value in config.to_dict().items():
        if key in told and key not in BOOKKEEPING | _LATER and _plain(told[key]) != _plain(value):
            what = f"{key} is {str(told[key])[:60]}, and the trial's {str(_plain(value))[:60]}"
            raise InputError(str(path), what, "use the adapter that the trial stored")


def _plain(value: Any) -> Any:
    """A value as JSON has it, the order of names apart."""
    if isinstance(value, (set, frozenset, list, tuple)):
        return sorted((_plain(one) for one in value), key=repr)
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return getattr(value, "value", value)
