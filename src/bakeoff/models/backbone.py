"""Backbone: a frozen language model and its tokenizer, with named sites that adapters may transform."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig
from transformers.activations import NewGELUActivation

from bakeoff.data import reach
from bakeoff.errors import InputError
from bakeoff.models import files
from bakeoff.models.sites import Norm, Site, find_norms, find_sites
from bakeoff.study.spec import Model, Quantize

# On a CPU that computes in bfloat16, bitsandbytes asks for a kernel which `exact_kernels` switches off anyway.
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(lambda said: "gemm_4bit_forward" not in said.getMessage())

Transform = Callable[[str, Tensor, Tensor], Tensor]  # (site, its input, its output) -> its new output
Enter = Callable[[str, Tensor], Tensor]  # (site, its input) -> its new input


class Backbone:
    """One base model in evaluation mode, every parameter frozen, and what methods need to know of its shape.

    `layers` are those that predict: an encoder-decoder model's decoder layers.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, name: str = "model"):
        self.model: Any = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        config: Any = model.config
        self.config = config
        self.generation_config = getattr(model, "generation_config", None)  # the authors' habits: kept, not followed
        self.model.generation_config = GenerationConfig()
        self.embedding: Any = self.model.get_input_embeddings()
        self.head: Any = self.model.get_output_embeddings()
        self.sites: dict[str, Site] = find_sites(model, self.head)
        self.norms: dict[str, Norm] = find_norms(model)
        self._activations = [
            (module, name, child, nn.GELU(approximate="tanh"))
            for module in model.modules()
            for name, child in module.named_children()
            if isinstance(child, NewGELUActivation)
        ]
        absent = [
            key for key in ("hidden_size", "num_hidden_layers", "num_attention_heads") if not hasattr(config, key)
        ]
        if absent:
            what = f"the architecture {config.model_type} has no {absent[0]}"
            raise InputError(f"models.{name}.path", what, "only attention models are supported")
        self.width: int = config.hidden_size
        self.layers: int = getattr(config, "num_decoder_layers", None) or config.num_hidden_layers
        self.heads: int = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        if getattr(config, "multi_query", False) and not getattr(config, "new_decoder_architecture", False):
            self.heads = 1  # Falcon, GPT-BigCode: one head of keys and values for all
        self.head_dim: int = getattr(config, "head_dim", None) or self.width // config.num_attention_heads
        limits = (getattr(config, key, None) for key in ("max_position_embeddings", "n_positions"))
        self.context: int = next(filter(None, limits), 2**31)

    @classmethod
    def load(cls, spec: Model, device: str = "cpu", name: str = "model", quantize: Quantize | None = None) -> Backbone:
        """The model of a study with its weights, on `device`; with `quantize` its linear weights are held in 4 bits."""
        path, where = locate(spec, f"models.{name}.path"), f"models.{name}.path"
        kind = _kind(_config(spec, path, where))
        how: dict[str, Any] = {"dtype": getattr(torch, spec.dtype), "device_map": device, **trusting(spec)}
        if quantize:
            how["quantization_config"] = nf4(how["dtype"])
        try:
            model, told = _loaded(kind, path, how)
        except Exception as error:  # configurations of any values, and perhaps a program of the model's authors
            if isinstance(error, MemoryError | RuntimeError) or getattr(error, "errno", None):  # of the machine
                raise
            raise InputError(where, f"{path} cannot be loaded ({_line(error)})") from None
        if lacking := sorted(told["missing_keys"]):  # transformers draws them at random
            what = f"{path} lacks {len(lacking)} tensors that config.json asks for, {lacking[0]} among them"
            raise InputError(where, what, "copy all files of the model")
        if quantize:
            _check_nf4(model, f"models.{name}")
        return cls(model, _tokenizer(spec, path, where), name)

    @classmethod
    def skeleton(cls, spec: Model, name: str = "model") -> Backbone:
        """The model's shape without its weights (on torch's meta device): enough to check and count methods."""
        path, where = locate(spec, f"models.{name}.path"), f"models.{name}.path"
        config = _config(spec, path, where)
        try:
            with torch.device("meta"):
                model = _kind(config).from_config(config, trust_remote_code=spec.trust_remote_code)
        except Exception as error:  # a configuration of any values, and perhaps a program of the model's authors
            raise InputError(where, f"{path} makes no language model ({_line(error)})") from None
        _check_generation(path, where)
        if not hasattr(config, "quantization_config"):
            _check_shapes(model, path, where)
        return cls(model, _tokenizer(spec, path, where), name)

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding.weight.dtype

    @property
    def adapter_dtype(self) -> torch.dtype:
        """Adapters are held in float32 over a half-precision base, else in the base's dtype (as PEFT does)."""
        return torch.float32 if self.dtype in (torch.float16, torch.bfloat16) else self.dtype

    @property
    def encoder_decoder(self) -> bool:
        """Whether the prompt goes into an encoder and the answer comes from a decoder (T5)."""
        return bool(getattr(self.config, "is_encoder_decoder", False))

    @property
    def random_weights(self) -> bool:
        """Whether the configuration says that nothing was ever trained (scripts/random_model.py writes so)."""
        return bool(getattr(self.config, "bakeoff_random_weights", False))

    @property
    def task_type(self) -> str:
        """What PEFT calls this kind of model."""
        return "SEQ_2_SEQ_LM" if self.encoder_decoder else "CAUSAL_LM"

    @property
    def stacks(self) -> int:
        """How many stacks PEFT gives virtual tokens to (its num_transformer_submodules): encoder and decoder are 2."""
        return 2 if self.encoder_decoder else 1

    @property
    def start_id(self) -> int:
        """The token a decoder begins with: decoder_start_token_id, or T5's choice, the padding token."""
        start = getattr(self.config, "decoder_start_token_id", None)
        return self.config.pad_token_id if start is None else start

    def blocks(self) -> list[str]:
        """The names of the decoder's layers, whose outputs are the residual stream."""
        inside = next(iter(self.sites))
        prefix = inside[: re.search(r"\.\d+\.", f"{inside}.").start()]  # pyright: ignore[reportOptionalMemberAccess]
        return [f"{prefix}.{i}" for i in range(self.layers)]

    def parameters(self) -> int:
        """How many numbers the base has, tied ones once."""
        return sum(map(_numbers, self.model.parameters()))

    @property
    def windowed(self) -> bool:
        """Whether some layer sees less than all earlier tokens (sliding windows, chunks), which packing needs."""
        kinds = set(getattr(self.config, "layer_types", None) or [])
        if kinds:
            return kinds != {"full_attention"}
        return bool(getattr(self.config, "sliding_window", None)) and getattr(self.config, "use_sliding_window", True)

    def hidden(self, embeds: Tensor, positions: Tensor, mask: Tensor, cache: Any = None) -> Tensor:
        """The decoder's last hidden states [rows, tokens, width].

        `embeds` [rows, tokens, width]; `positions` [rows, tokens]; `mask` [rows, 1, tokens, keys] boolean, True where
        a token may look; `cache` has `update(keys, values, layer)`, as transformers' Cache.
        """
        decoder = self.model.get_decoder()
        with self._fused():
            out = decoder(
                inputs_embeds=embeds,
                position_ids=positions,
                attention_mask=mask,
                past_key_values=cache,
                use_cache=False,
            )
        return out.last_hidden_state

    @contextmanager
    def _fused(self) -> Iterator[None]:
        """While open, the GELU that transformers writes out in eight operations (GPT-2's) is torch's single one."""
        for parent, name, _, fused in self._activations:
            setattr(parent, name, fused)
        try:
            yield
        finally:
            for parent, name, own, _ in self._activations:
                setattr(parent, name, own)

    @contextmanager
    def transformed(
        self, sites: Iterable[str], transform: Transform, inputs: Iterable[str] = (), enter: Enter | None = None
    ) -> Iterator[None]:
        """While open, each of `sites` puts out `transform(site, x, y)`, each of `inputs` takes in `enter(site, x)`.

        Both name modules: linear ones, norms or whole layers.
        """
        hooks = []
        for site in inputs:
            assert enter is not None
            hooks.append(hook_input(self.model.get_submodule(site), site, enter))
        for site in sites:
            hooks.append(hook_output(self.model.get_submodule(site), site, transform))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _kind(config: Any) -> Any:
    return AutoModelForSeq2SeqLM if getattr(config, "is_encoder_decoder", False) else AutoModelForCausalLM


def dequantized(module: Any) -> Tensor:
    """A linear module's weight as numbers, whether it is held in 4 bits or not."""
    state = getattr(module.weight, "quant_state", None)
    if state is None:
        return module.weight
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(module.weight.data, state)


def _check_nf4(model: nn.Module, where: str) -> None:
    """InputError where bitsandbytes does not give a weight's numbers back, as with rows of 96 on a CPU (0.50.2)."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    held = exact_kernels(model)
    for shape in sorted({tuple(module.weight.quant_state.shape) for module in held}):
        probe = torch.linspace(-1, 1, math.prod(shape), device=held[0].weight.device).view(shape)
        back = dequantize_4bit(*quantize_4bit(probe, blocksize=64, quant_type="nf4", compress_statistics=True))
        if (back - probe).abs().max() > 0.2:  # half the widest gap of NF4's 16 numbers is 0.152
            what = f"bitsandbytes holds weights of shape {shape} wrongly on this device"
            raise InputError(where, what, "leave `quantize:` out for this model")


def exact_kernels(model: nn.Module) -> list[Any]:
    """Switch off bitsandbytes' CPU kernel that rounds to bfloat16 where the CPU knows it; the 4-bit modules."""
    held: list[Any] = [module for module in model.modules() if hasattr(module, "support_avx512bf16_for_cpu")]
    for module in held:
        module.support_avx512bf16_for_cpu = False
    return held


def _numbers(parameter: Any) -> int:
    """How many numbers a parameter holds: those of 4-bit weights lie two in a byte."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else math.prod(state.shape)


def nf4(dtype: torch.dtype) -> Any:
    """4-bit NormalFloat with double quantisation, computing in `dtype` (Dettmers et al. 2023)."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def hook_output(module: nn.Module, site: str, transform: Transform) -> RemovableHandle:
    """From now on the module puts out `transform(site, x, y)`; a block's y is the hidden states it puts out first."""

    def changed(_: Any, inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (transform(site, inputs[0], output[0]), *output[1:])
        return transform(site, inputs[0] if inputs else output, output)

    return module.register_forward_hook(changed)


def hook_input(module: nn.Module, site: str, enter: Enter) -> RemovableHandle:
    """From now on the module takes in `enter(site, x)`."""
    return module.register_forward_pre_hook(lambda _, inputs: (enter(site, inputs[0]), *inputs[1:]))


def locate(spec: Model, where: str) -> Path:
    """The local directory of a model: the path itself, or its snapshot from the Hugging Face hub.

    `owner/name` is always the hub's: of a study's paths, those of directories beside it are absolute by now.
    """
    hub = spec.path.count("/") == 1 and not spec.path.startswith(("/", ".", "~"))
    if not hub and not os.path.isdir(spec.path):  # unlike Path's, False where the name is longer than the system takes
        mend = "give a local model directory (relative to the study file) or a hub id 'owner/name'"
        raise InputError(where, f"no directory at {spec.path}", mend)
    if not hub and spec.revision is not None:
        what = f"{spec.path} is a local directory, and `revision: {spec.revision}` is of the hub"
        raise InputError(where, what, f"drop `revision:`, or say `--set {where.rpartition('.')[0]}.revision=null`")
    found = _snapshot(spec, where) if hub else Path(spec.path)
    files.check(found, where, spec.trust_remote_code)
    return found


def _snapshot(spec: Model, where: str) -> Path:
    """The folder of a hub's model in its library's cache, downloaded where it is not there."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]
        LocalEntryNotFoundError,
    )

    with reach.known() as silent:
        try:
            wanted = [*files.OF_A_MODEL, "*.json", *(["*.py"] if spec.trust_remote_code else [])]
            return Path(snapshot_download(spec.path, revision=spec.revision, allow_patterns=wanted))
        except (HTTPError, HFValidationError, OSError) as error:
            reason = silent or str(error).strip().split("\n", 1)[0]
            if isinstance(error, LocalEntryNotFoundError) and constants.HF_HUB_OFFLINE and not silent:
                reason = "HF_HUB_OFFLINE keeps it from being asked"
            what = f"'{spec.path}' is no local directory and could not be had from the hub or its cache ({reason})"
            mend = f"give a local model directory, with `--set {where}=DIR` or a file for `--from`"
            cache = f"or connect to the hub; the cache is {constants.HF_HUB_CACHE}"
            raise InputError(where, what, f"{mend}, {cache}") from None


def weights_hash(spec: Model, where: str) -> str:
    """sha256 over the model's weights, configuration and tokenizer files: equal files, equal model.

    And over its Python files, where they may be run.
    """
    directory, digest = locate(spec, where), hashlib.sha256()
    patterns = (*files.OF_A_MODEL, "**/*.py") if spec.trust_remote_code else files.OF_A_MODEL
    for file in sorted({file for pattern in patterns for file in directory.glob(pattern) if file.is_file()}):
        digest.update(str(file.relative_to(directory)).encode())
        try:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise InputError(where, f"{file} cannot be read ({error.strerror})") from None
    return digest.hexdigest()


def trusting(spec: Model) -> dict[str, Any]:
    """What transformers is told of a model's files: no pickles, and code only where the study allows it."""
    return {"use_safetensors": True, "trust_remote_code": spec.trust_remote_code}


def _config(spec: Model, path: Path, where: str) -> Any:
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=spec.trust_remote_code)
    except Exception as error:  # values of any kind, and perhaps a program of the model's authors
        raise InputError(where, f"{path / 'config.json'} is no model's ({_line(error)})") from None


def _loaded(kind: Any, path: Path, how: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A model, and what transformers says of how it was loaded."""
    try:
        return kind.from_pretrained(path, attn_implementation="sdpa", output_loading_info=True, **how)
    except ValueError:  # an architecture without it: the reference engine serves it
        return kind.from_pretrained(path, attn_implementation="eager", output_loading_info=True, **how)


def _check_generation(path: Path, where: str) -> None:
    """InputError where generation_config.json, which is read with the weights, says what transformers refuses."""
    if not (path / "generation_config.json").is_file():
        return
    try:
        GenerationConfig.from_pretrained(path)
    except Exception as error:  # values of any kind
        what = f"{path / 'generation_config.json'} is no model's ({_line(error)})"
        raise InputError(where, what, "copy it again, or take it away") from None


def _check_shapes(model: nn.Module, path: Path, where: str) -> None:
    """InputError where a stored tensor has another shape than the configuration gives it."""
    stored = files.all_shapes(path)
    for name, tensor in model.state_dict().items():
        if name in stored and stored[name] != tuple(tensor.shape):
            what = f"{name} is {list(stored[name])} in {path}, and config.json makes it {list(tensor.shape)}"
            raise InputError(where, what, "take weights and config.json of one model")


def _line(error: Exception) -> str:
    """An error's kind and first line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _tokenizer(spec: Model, path: Path, where: str) -> Any:
    mend = "copy the model's tokenizer.json and tokenizer_config.json there"
    try:
        found = AutoTokenizer.from_pretrained(path, trust_remote_code=spec.trust_remote_code)
    except Exception as error:  # the library of tokenizers raises Exception itself
        raise InputError(where, f"{path} has no tokenizer that loads ({_line(error)})", mend) from None
    if len(found) <= len(found.all_special_ids):  # made of nothing where its files are absent
        raise InputError(where, f"{path} has no tokenizer: what it has knows no words", mend)
    return found
