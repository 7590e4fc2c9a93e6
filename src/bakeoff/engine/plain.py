"""Plain: a Hugging Face model of its own with one adapter in it, as PEFT builds it.

What PEFT does not have acts through hooks on padded rows. Roles inside a fused module (GPT-2's c_attn) get that module
split into a linear module for each role, which is what a role means.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bakeoff.errors import TrialError
from bakeoff.methods.adapters.adapter import SHARED, Adapter, View
from bakeoff.models.backbone import Backbone, dequantized, hook_input, hook_output
from bakeoff.models.sites import Site, features

Ids = Sequence[int]
Viewing = Callable[[int, int], View]  # (rows, tokens of a row) of a pass -> what its tokens are


class Plain(Adapter):
    """The model, its trained parameters, and the way back into the adapter (`collect`)."""

    adapter: Adapter
    backbone: Backbone
    model: Any

    def __init__(self, backbone: Backbone, adapter: Adapter):
        super().__init__()
        # not as submodules: the trained parameters are the model's
        self.__dict__.update(adapter=adapter, backbone=backbone)
        # the part, its own tensor, and the model's parameter for it
        self._trained: list[tuple[Adapter, Tensor, nn.Parameter]] = []
        self._viewing: Viewing | None = None
        built = adapter.built()
        parts = _parts(adapter) if built is None else []
        self.model = core = copy.deepcopy(backbone.model) if built is None else built
        for module in dict.fromkeys(site.module for part in parts for site in _targets(part) if site.rows):
            slices = [site for site in backbone.sites.values() if site.rows and site.module == module]
            core.set_submodule(module, Split(core.get_submodule(module), slices))
        by_peft = _by_peft(parts, core)
        self.mounted = nn.ModuleList(part for part in parts if part not in by_peft)
        for part in parts:
            if part in by_peft:
                self._wrap(part, core)
            else:
                self._mount(part, core)
        for *_, parameter in self._trained:  # PEFT freezes all that a further PEFT model wraps; here every part trains
            parameter.requires_grad_(True)
        trained = sum(p.numel() for p in self.parameters() if p.requires_grad)
        if trained != (wanted := sum(p.numel() for p in adapter.parameters())):
            raise TrialError(f"PEFT would train {trained} numbers of the method's {wanted}")

    def train(self, mode: bool = True) -> Plain:
        """Adapter dropout follows `mode`; the base's own stays off, as it is in lanes."""
        self.training = mode
        self.mounted.train(mode)
        for name, module in self.model.named_modules():
            module.train(mode and _of_peft(name, module))  # parents come first, so each module has the last word
        return self

    def begin(self, steps: int) -> None:
        self.adapter.begin(steps)

    def penalty(self) -> Tensor | None:
        return self.adapter.penalty()

    def after_step(self, step: int) -> None:
        self.adapter.after_step(step)

    def state(self) -> dict[str, Tensor]:
        """What is trained, and what PEFT holds beside the base's weights, such as AdaLoRA's count of ranks."""
        own = {name: p for name, p in self.named_parameters() if p.requires_grad or "default" in name.split(".")}
        return own | dict(self.named_buffers())

    def memory(self) -> dict[str, Tensor]:
        return self.adapter.memory()

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        self.adapter.recall(memory)

    def seed_noise(self, generator: torch.Generator) -> None:
        """For the parts that PEFT does not have; PEFT's dropout draws from torch's own generator."""
        for part in self.mounted:
            part.seed_noise(generator)  # pyright: ignore[reportCallIssue]

    def rates(self) -> dict[nn.Parameter, float]:
        by_peft = {p: part.learning_rate for part, _, p in self._trained if part.learning_rate is not None}
        mounted = (part.rates() for part in self.mounted)  # pyright: ignore[reportCallIssue]
        return {parameter: rate for own in (by_peft, *mounted) for parameter, rate in own.items()}

    @torch.no_grad()
    def collect(self) -> None:
        """Bring what PEFT's parameters have become back into the adapter."""
        for _, own, parameter in self._trained:
            own.copy_(parameter.view(own.shape))

    def leaf_logits(self, prompts: Sequence[Ids], leaves: Sequence[Ids]) -> Tensor:
        """The logits that predict each leaf's tokens after its prompt, [leaves, tokens of the longest, vocabulary].

        An encoder reads the prompt and the end token (as T5 was trained), its decoder the start token and the leaf.
        """
        lengths = [len(prompt) for prompt in prompts]
        if self.backbone.encoder_decoder:
            ids, mask = self._padded([self._read(prompt) for prompt in prompts])
            given, _ = self._padded([(self.backbone.start_id, *leaf[:-1]) for leaf in leaves])
            self._viewing = _every
            return self.model(input_ids=ids, attention_mask=mask, decoder_input_ids=given).logits
        logits = self.logits([[*p, *leaf[:-1]] for p, leaf in zip(prompts, leaves, strict=True)], lengths)
        return after_prompts(logits, lengths, max(map(len, leaves)))

    def logits(self, sequences: Sequence[Sequence[int]], prompts: Sequence[int]) -> Tensor:
        """Next-token logits of right-padded token sequences, [sequences, tokens, vocabulary].

        `prompts` says how many tokens of each are its prompt.
        """
        ids, mask = self._padded(sequences)
        longest, ends = ids.shape[1], torch.tensor(prompts, device=ids.device)
        self._viewing = lambda rows, tokens: _view(mask, ends, tokens - longest)
        return self.model(input_ids=ids, attention_mask=mask).logits[:, -longest:]

    def generate(self, prompts: Sequence[Sequence[int]], config: Any, **options: Any) -> list[list[int]]:
        """What Hugging Face's `generate` puts after prompts of one length, by `config` (a GenerationConfig) alone.

        `options` are `generate`'s own (criteria to stop by, processors to look at logits with).
        """
        if self.backbone.encoder_decoder:
            return self._decoded([self._read(prompt) for prompt in prompts], config)
        ids = torch.tensor(prompts, device=self.backbone.device)
        length = ids.shape[1]

        def viewing(rows: int, tokens: int) -> View:
            if tokens < length:  # a token of an answer
                answer = torch.zeros(rows * tokens, dtype=torch.long, device=ids.device)
                return View(answer == 0, answer + length, answer)
            full = torch.full((rows,), length, device=ids.device)
            return _view(ids.new_ones(rows, length), full, tokens - length)

        self._viewing = viewing
        out = self.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config, **options
        )
        return [row[length:] for row in out.tolist()]

    # --- inside ---

    def _read(self, prompt: Ids) -> Ids:
        """What an encoder reads of a prompt."""
        return (*prompt, self.backbone.tokenizer.eos_token_id)

    def _padded(self, sequences: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        """Right-padded ids and their attention mask, each [sequences, tokens]."""
        longest, device = max(map(len, sequences)), self.backbone.device
        ids = [[*s, *[0] * (longest - len(s))] for s in sequences]
        mask = [[1] * len(s) + [0] * (longest - len(s)) for s in sequences]
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def _decoded(self, prompts: Sequence[Ids], config: Any) -> list[list[int]]:
        """What a decoder generates after its start token."""
        ids, mask = self._padded(prompts)
        self._viewing = _every
        config.decoder_start_token_id = self.backbone.start_id
        out = self.model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        return [row[1:] for row in out.tolist()]

    def _wrap(self, part: Any, core: Any) -> None:
        """Put a PEFT model around `core`, whose modules earlier parts have changed, and the part's tensors in it."""
        from peft import get_peft_model, set_peft_model_state_dict

        sliced = any(site.rows for site in _targets(part))
        config = part.peft_config(split=True) if sliced else part.peft_config()
        if hasattr(config, "prompt_tuning_init"):
            config.prompt_tuning_init = "RANDOM"  # PEFT is given the start below and looks for no tokenizer
        with torch.random.fork_rng():  # PEFT draws weights of its own, which are overwritten at once
            self.model = get_peft_model(core, config)
            if hasattr(self.model, "prompt_encoder"):  # PEFT makes it float32 over any base
                self.model.prompt_encoder.to(self.backbone.adapter_dtype)
            own = {name: tensor.detach().clone() for name, tensor in part.tensors().items()}
            set_peft_model_state_dict(self.model, own)
        parameters = {name.replace(".default", ""): p for name, p in self.model.named_parameters()}
        for name, tensor in part.tensors().items():
            prompt = self.model.prompt_encoder.default.embedding.weight if part.stage == 3 else None
            self._trained.append((part, tensor, parameters[name] if prompt is None else prompt))

    def _mount(self, part: Adapter, core: nn.Module) -> None:
        def told(x: Tensor) -> Tensor:
            assert self._viewing is not None
            if x.dim() > 2:  # OPT's feed-forward sees rows already laid out as tokens, as another module was told of
                part.seen(self._viewing(*x.shape[:2]))
            return x.reshape(-1, x.shape[-1])

        def enter(site: str, x: Tensor) -> Tensor:
            return part.enter(site, told(x)).view(x.shape)

        def transform(site: str, x: Tensor, y: Tensor) -> Tensor:
            return part.transform(site, told(x), y.reshape(-1, y.shape[-1])).view(y.shape)

        for site in part.inputs:
            hook_input(core.get_submodule(site), site, enter)
        for site in part.sites:
            hook_output(core.get_submodule(site), site, transform)


def after_prompts(logits: Tensor, prompts: Sequence[int], tokens: int) -> Tensor:
    """From logits [rows, positions, vocabulary]: those that predict the `tokens` after each row's prompt length."""
    first = torch.tensor(prompts, device=logits.device)[:, None] - 1
    columns = first + torch.arange(tokens, device=logits.device)
    rows = torch.arange(len(prompts), device=logits.device)[:, None]
    return logits[rows, columns.clamp(max=logits.shape[1] - 1)]


class Split(nn.Module):
    """A fused linear module as one linear module for each of its roles, its outputs put back in their places."""

    order: Tensor

    def __init__(self, fused: Any, sites: Sequence[Site]):
        super().__init__()
        weight = fused.weight.T if sites[0].transposed else dequantized(fused)
        places = []
        for site in sites:
            rows = features(site).to(fused.weight.device)
            part = nn.utils.skip_init(nn.Linear, site.in_features, site.out_features, bias=fused.bias is not None)
            part.weight = nn.Parameter(weight[rows].detach().clone(), requires_grad=False)
            if fused.bias is not None:
                part.bias = nn.Parameter(fused.bias[rows].detach().clone(), requires_grad=False)
            setattr(self, str(site.role), part)
            places.append(rows)
        self.roles = [str(site.role) for site in sites]
        self.register_buffer("order", torch.cat(places).argsort(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([getattr(self, role)(x) for role in self.roles], dim=-1)[..., self.order]


def _parts(adapter: Any) -> list[Any]:
    """The adapter's parts by stage: what wraps the whole model (soft prompts, prefixes) comes last."""
    found = list(adapter.parts) if hasattr(adapter, "parts") else [adapter]
    return sorted((part for part in found if part.tensors()), key=lambda part: part.stage)


def _targets(part: Any) -> list[Site]:
    return [site for site in getattr(part, "targets", []) if isinstance(site, Site)]


def _by_peft(parts: Sequence[Any], core: nn.Module) -> list[Any]:
    """The parts that PEFT builds: one of a kind, since a second of the kind would wrap the first one's modules.

    A part that acts on a whole module which another part's roles have split is not to be found for PEFT.
    """
    found: list[Any] = []
    for part in parts:
        splits = any(
            site.rows is None and isinstance(core.get_submodule(site.module), Split) for site in _targets(part)
        )
        if part.peft_config() is not None and not splits and all(type(part) is not type(other) for other in found):
            found.append(part)
    wrapping = [part for part in parts if part.stage == 3]
    if len(wrapping) > 1:
        raise TrialError("PEFT cannot put several kinds of virtual tokens before a model; --engine lanes can")
    return found


def _of_peft(name: str, module: nn.Module) -> bool:
    """Whether a module is PEFT's own, copies of the base's modules (`modules_to_save`) apart."""
    parts = name.split(".")
    own = type(module).__module__.startswith("peft.") or "default" in parts
    return own and "modules_to_save" not in parts


def _every(rows: int, tokens: int) -> View:
    """Tokens of an encoder or a decoder: real, and nothing more is told of them."""
    real = torch.ones(rows * tokens, dtype=torch.bool)
    return View(real, torch.arange(tokens).repeat(rows), torch.full((rows * tokens,), SHARED))


def _view(mask: Tensor, prompts: Tensor, virtual: int) -> View:
    """The tokens of padded rows, `virtual` tokens before each: mask [rows, tokens], prompts [rows]."""
    rows, tokens = mask.shape
    start = torch.arange(-virtual, tokens, device=mask.device).expand(rows, -1)
    real = torch.cat([mask.new_ones(rows, virtual), mask], dim=1) > 0
    left = (prompts[:, None] - start).clamp(min=0)
    left = torch.where(start < 0, SHARED, left)
    return View(real.flatten(), start.flatten(), left.flatten())
