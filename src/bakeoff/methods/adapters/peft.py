"""PeftAdapter: a copy of the model as PEFT changes it, and what PEFT trains in it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from bakeoff.errors import InputError, TrialError, suggest
from bakeoff.methods.adapters import stored
from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.methods.adapters.stored import BOOKKEEPING
from bakeoff.models.backbone import Backbone

_NEEDS_MORE = {
    "MULTITASK_PROMPT_TUNING": "a task number with every example",
    "POLY": "a task number with every example",
    "CPT": "the types of a prompt's tokens",
    "XLORA": "adapters that were trained before",
}
_IMPORTANCE = ("ipt", "exp_avg_ipt", "exp_avg_unc")  # of AdaLoRA's RankAllocator, by the names of parameters
_LATER = 2**31  # AdaLoRA's total_step until the number of steps is known


class PeftAdapter(Adapter):
    """The PEFT model of a configuration; its trainable parameters are this adapter's."""

    model: Any
    backbone: Backbone

    def __init__(self, config: Mapping[str, Any], backbone: Backbone, generator: Generator):
        super().__init__()
        self.__dict__["backbone"] = backbone
        self._steps_given = bool(config.get("total_step"))
        with torch.random.fork_rng():  # PEFT draws from torch's own generator
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            self._hold(_built(config, copy.deepcopy(backbone.model), backbone))

    def built(self) -> nn.Module:
        return self.model

    def begin(self, steps: int) -> None:
        """AdaLoRA's schedule ends with the trial's last step where no `total_step` was given."""
        config = self.model.peft_config["default"]
        if not hasattr(config, "total_step"):
            return
        config.total_step = config.total_step if self._steps_given else steps
        if config.tinit >= config.total_step - config.tfinal:
            raise TrialError(
                f"tinit {config.tinit} and tfinal {config.tfinal} leave none of {config.total_step} steps "
                "for AdaLoRA to allot ranks in"
            )

    def penalty(self) -> Tensor | None:
        """AdaLoRA's orthogonal regularisation, as AdaLoraModel.forward adds it to a loss that it computes itself."""
        weight = getattr(self.model.peft_config["default"], "orth_reg_weight", 0)
        if not weight:
            return None
        named = [(name, p) for name, p in self.model.named_parameters() if "lora_A" in name or "lora_B" in name]
        grams = [p @ p.T if "lora_A" in name else p.T @ p for name, p in named]
        return weight * torch.stack([torch.norm(g - torch.eye(len(g)).to(g), p="fro") for g in grams]).mean()

    def after_step(self, step: int) -> None:
        """AdaLoRA allots ranks by the step's gradients, which are still there."""
        if hasattr(self.model.base_model, "update_and_allocate"):
            self.model.base_model.update_and_allocate(step)

    def memory(self) -> dict[str, Tensor]:
        """AdaLoRA's averages of importance, and the ranks it has allotted."""
        if not hasattr(self.model.base_model, "rankallocator"):
            return {}
        allocator, ranks = self.model.base_model.rankallocator, self.model.peft_config["default"].rank_pattern or {}
        kept = {f"{kind}/{name}": value for kind in _IMPORTANCE for name, value in getattr(allocator, kind).items()}
        return kept | {f"ranks/{name}": torch.tensor(kept) for name, kept in ranks.items()}

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        ranks: dict[str, list[bool]] = {}
        for name, tensor in memory.items():
            kind, _, key = name.partition("/")
            if kind == "ranks":
                ranks[key] = tensor.tolist()
            else:
                getattr(self.model.base_model.rankallocator, kind)[key] = tensor.clone()
        if ranks:
            self.model.peft_config["default"].rank_pattern = ranks

    def tensors(self) -> dict[str, Tensor]:
        """What PEFT writes of this method: not always what is trained (of P-tuning's encoder only what it puts out)."""
        from peft import get_peft_model_state_dict

        return get_peft_model_state_dict(self.model, save_embedding_layers=False)

    def peft_config(self) -> Any:
        config = copy.deepcopy(self.model.peft_config["default"])
        config.inference_mode, config.base_model_name_or_path = True, None
        return config

    def check(self, directory: Path) -> None:
        shapes = {name: tuple(tensor.shape) for name, tensor in self.stored().items()}
        stored.check(directory, shapes, self.peft_config(), grown=True)

    def load(self, directory: Path) -> None:
        """The model as PeftModel.from_pretrained makes it: to be asked, not trained on."""
        from peft import PeftModel

        self.check(directory)
        with torch.random.fork_rng():
            base = copy.deepcopy(self.backbone.model)
            device = str(self.backbone.device)
            self._hold(PeftModel.from_pretrained(base, directory, torch_device=device))

    def _hold(self, model: Any) -> None:
        self.__dict__["model"] = model  # not a submodule: only what is trained is this adapter's
        self.trained = nn.ParameterList(p for p in model.parameters() if p.requires_grad)


def complete(given: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with PEFT's defaults and without bookkeeping; InputError for what PEFT does not know."""
    if (name := str(given.get("peft_type"))) in _NEEDS_MORE:
        raise InputError("peft_type", f"{name} needs {_NEEDS_MORE[name]}, which no study gives")
    stored.refuse_code(given)
    for key in ("tokenizer_name_or_path", "tokenizer_kwargs"):
        if given.get(key):
            what = "names a tokenizer to load, which is not done"
            raise InputError(key, what, "`use: prompt_tuning` begins with a text in the model's own tokens")
    config = _configuration({key: value for key, value in given.items() if key not in BOOKKEEPING})
    if given.get("task_type") not in (None, "CAUSAL_LM", "SEQ_2_SEQ_LM"):
        raise InputError("task_type", f"{given['task_type']} models are not compared", "drop the key")
    found = {key: _plain(value) for key, value in config.to_dict().items() if key not in BOOKKEEPING}
    return {**found, "total_step": given.get("total_step")} if "total_step" in found else found


def count(config: Mapping[str, Any], backbone: Backbone) -> int:
    """How many numbers PEFT trains, on a model without weights, or with random ones where PEFT computes with them."""
    kind: Any = type(backbone.model)
    for device in ("meta", "cpu"):
        try:
            with torch.random.fork_rng(), torch.device(device):
                model = _built(config, kind(backbone.config), backbone)
            return sum(p.numel() for p in model.parameters() if p.requires_grad)
        except (NotImplementedError, RuntimeError) as error:
            if device == "cpu":
                raise _refusal(config, error) from None
    raise AssertionError("one of the two returns or raises")


def _built(config: Mapping[str, Any], model: Any, backbone: Backbone) -> Any:
    """PEFT's model around `model`; InputError where PEFT refuses or trains nothing."""
    from peft import get_peft_model

    made = _configuration({**config, "task_type": backbone.task_type})
    try:
        found = get_peft_model(model.requires_grad_(False), made)
    except (AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
        raise _refusal(config, error) from None
    if hasattr(found, "prompt_encoder"):  # PEFT makes it float32 over any base
        found.prompt_encoder.to(backbone.adapter_dtype)
    if not any(p.requires_grad for p in found.parameters()):
        raise InputError("peft_type", f"{config['peft_type']} with these keys trains nothing on this model")
    return found


def _configuration(given: Mapping[str, Any]) -> Any:
    """PEFT's configuration object of the given keys."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    kinds: dict[str, Any] = {kind.value: config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    name = given.get("peft_type")
    if name is None:
        raise InputError("peft_type", "is missing", suggest("", kinds))
    if not isinstance(name, str) or name not in kinds:
        raise InputError("peft_type", f"unknown PEFT method '{name}'", suggest(str(name).upper(), kinds))
    known = {field.name for field in dataclasses.fields(kinds[name]) if field.init}
    for key in given:
        if key not in known:
            raise InputError(key, f"unknown key of {kinds[name].__name__}", suggest(key, known - BOOKKEEPING))
    keys = {key: value for key, value in given.items() if key != "peft_type"}
    if "total_step" in known and not keys.get("total_step"):
        keys["total_step"] = _LATER
    try:
        return kinds[name](**keys)
    except (ImportError, TypeError, ValueError) as error:
        raise InputError("peft_type", f"PEFT refuses the keys of {name} ({_line(error)})") from None


def _plain(value: Any) -> Any:
    """Sets as sorted lists, enumerations as their values: what JSON can hold."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return getattr(value, "value", value)


def _refusal(config: Mapping[str, Any], error: Exception) -> InputError:
    return InputError("peft_type", f"PEFT cannot put {config['peft_type']} on this model ({_line(error)})")


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
