"""Roles: what query, key, value, output, gate, up and down name on each architecture, fused slices by mathematics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from conftest import tiny_model, tiny_tokenizer
from test_laws import _stirred, examples
from test_native import loss_alone

from bakeoff.engine import reference
from bakeoff.engine.evaluate import score
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.plain import Plain
from bakeoff.errors import InputError
from bakeoff.methods.method import build
from bakeoff.models.backbone import Backbone
from bakeoff.models.sites import ROLES, features, find_sites, match

SHAPE: dict[str, Any] = dict(
    vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    pad_token_id=1, bos_token_id=0, eos_token_id=1,
)  # fmt: skip
GROUPED = {**SHAPE, "num_key_value_heads": 2}
LLAMA = {
    "query": "self_attn.q_proj", "key": "self_attn.k_proj", "value": "self_attn.v_proj", "output": "self_attn.o_proj",
    "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
}  # fmt: skip
# class of the model, its shape, where its layers are, and what the roles are called in a layer
MODELS: dict[str, tuple[str, dict[str, Any], str, dict[str, str]]] = {
    "gpt2": (
        "GPT2",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 97},
        "transformer.h",
        {
            "query": "attn.c_attn.query", "key": "attn.c_attn.key", "value": "attn.c_attn.value",
            "output": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj",
        },
    ),
    "llama": ("Llama", SHAPE, "model.layers", LLAMA),
    "qwen2": ("Qwen2", GROUPED, "model.layers", LLAMA),
    "mistral": ("Mistral", GROUPED, "model.layers", LLAMA),
    "gemma": ("Gemma", {**GROUPED, "head_dim": 8}, "model.layers", LLAMA),
    "phi": (
        "Phi",
        SHAPE,
        "model.layers",
        {
            "query": "self_attn.q_proj", "key": "self_attn.k_proj", "value": "self_attn.v_proj",
            "output": "self_attn.dense", "up": "mlp.fc1", "down": "mlp.fc2",
        },
    ),
    "phi3": (
        "Phi3",
        GROUPED,
        "model.layers",
        {
            "query": "self_attn.qkv_proj.query", "key": "self_attn.qkv_proj.key", "value": "self_attn.qkv_proj.value",
            "output": "self_attn.o_proj", "gate": "mlp.gate_up_proj.gate", "up": "mlp.gate_up_proj.up",
            "down": "mlp.down_proj",
        },
    ),
    "gpt_neox": (
        "GPTNeoX",
        SHAPE,
        "gpt_neox.layers",
        {
            "query": "attention.query_key_value.query", "key": "attention.query_key_value.key",
            "value": "attention.query_key_value.value", "output": "attention.dense", "up": "mlp.dense_h_to_4h",
            "down": "mlp.dense_4h_to_h",
        },
    ),
    "opt": (
        "OPT",
        {**SHAPE, "ffn_dim": 48, "word_embed_proj_dim": 32},
        "model.decoder.layers",
        {
            "query": "self_attn.q_proj", "key": "self_attn.k_proj", "value": "self_attn.v_proj",
            "output": "self_attn.out_proj", "up": "fc1", "down": "fc2",
        },
    ),
}  # fmt: skip
FUSED = ["gpt2", "gpt_neox", "phi3"]


def made(kind: str, device: str = "meta") -> Any:
    """A small model of the architecture, its weights random or (on the meta device) absent."""
    name, shape, _, _ = MODELS[kind]
    config = getattr(transformers, f"{name}Config")(**shape)
    classes: Any = transformers.AutoModelForCausalLM
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        return classes.from_config(config, attn_implementation="sdpa").eval()


def sites_of(model: Any) -> dict[str, Any]:
    return find_sites(model, model.get_output_embeddings())


# --- names ---


@pytest.mark.parametrize("kind", MODELS)
def test_roles_name_the_right_modules(kind):
    sites, (_, _, layers, names) = sites_of(made(kind)), MODELS[kind]
    for role in ROLES:
        if role in names:
            assert [site.name for site in match(sites, [role], "t")] == [f"{layers}.{i}.{names[role]}" for i in (0, 1)]
        else:
            with pytest.raises(InputError):
                match(sites, [role], "t")
    assert {site.name for site in match(sites, list(names), "t")} == {s.name for s in sites.values() if s.role}


@pytest.mark.parametrize("gated", [False, True])
def test_roles_of_t5(gated):
    """Encoder and decoder both, self-attention and cross-attention both."""
    config = transformers.T5Config(
        d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4, vocab_size=97,
        feed_forward_proj="gated-gelu" if gated else "relu",
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.T5ForConditionalGeneration(config)
    attention = [
        "encoder.block.0.layer.0.SelfAttention", "decoder.block.0.layer.0.SelfAttention",
        "decoder.block.0.layer.1.EncDecAttention",
    ]  # fmt: skip
    dense = ["encoder.block.0.layer.1.DenseReluDense", "decoder.block.0.layer.2.DenseReluDense"]
    wanted = {role: [f"{name}.{end}" for name in attention] for role, end in zip(
        ("query", "key", "value", "output"), "qkvo", strict=True
    )}  # fmt: skip
    wanted |= {
        "up": [f"{name}.{'wi_1' if gated else 'wi'}" for name in dense],
        "down": [f"{name}.wo" for name in dense],
    }
    wanted |= {"gate": [f"{name}.wi_0" for name in dense]} if gated else {}
    sites = sites_of(model)
    for role, names in wanted.items():
        assert [site.name for site in match(sites, role, "t")] == names


def test_a_role_without_a_match_names_what_exists():
    with pytest.raises(InputError) as caught:
        build("lora", {"target_modules": ["gate"]}).parameters(Backbone(tiny_model("gpt2"), None))
    said = str(caught.value)
    assert said.startswith("target_modules: 'gate' matches none of the 8 linear modules")
    for name in ("c_attn", "c_fc", "c_proj", "query", "key", "value", "output", "up", "down"):
        assert name in said


def test_layers_to_transform():
    sites = sites_of(made("llama"))

    def layers(wanted: Any) -> set[int | None]:
        return {site.layer for site in match(sites, ["query", "down"], "t", wanted)}

    assert (layers(None), layers(1), layers([0]), layers([1, 0])) == ({0, 1}, {1}, {0}, {0, 1})
    assert [s.name for s in match(sites, "query", "t", 1)] == ["model.layers.1.self_attn.q_proj"]
    for wanted, said in ((2, "no layer 2"), ([0, 7], "no layer 7"), ([], "leaves no layer")):
        with pytest.raises(InputError, match=f"layers_to_transform: .*{said}.*; accepted: 0 to 1"):
            layers(wanted)


def test_a_role_beside_the_module_that_holds_it_is_refused():
    sites = sites_of(made("gpt2"))
    with pytest.raises(InputError, match="'query' is a part of 'c_attn', which is there too"):
        match(sites, ["query", "c_attn"], "t")
    whole = match(sites, "all-linear", "t")
    assert len(whole) == 8 and not any(site.rows for site in whole)


# --- fused modules, by mathematics ---


def attended(model: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """The queries, keys and values that the first layer's attention is given."""
    calls: list[tuple[torch.Tensor, ...]] = []
    attention = torch.nn.functional.scaled_dot_product_attention

    def spy(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        calls.append((query, key, value))
        return attention(query, key, value, *rest, **more)

    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
        model(input_ids=torch.arange(3, 12)[None])
    return dict(zip(("query", "key", "value"), calls[0], strict=True))


def scale(model: Any, kind: str, role: str, by: float) -> None:
    """Multiply what the first layer's slice computes for the role."""
    _, _, layers, names = MODELS[kind]
    site = sites_of(model)[f"{layers}.0.{names[role]}"]
    module, rows = model.get_submodule(site.module), features(site)
    with torch.no_grad():
        (module.weight.T if site.transposed else module.weight)[rows] *= by
        if module.bias is not None:
            module.bias[rows] *= by


@pytest.mark.parametrize("role", ["query", "key", "value"])
@pytest.mark.parametrize("kind", FUSED)
def test_a_fused_slice_is_its_roles(kind, role, monkeypatch):
    """Its rows set to zero, attention gets that role all zero (rotated zeros are zeros) and the others as they were."""
    model = made(kind, "cpu")
    before = attended(model, monkeypatch)
    scale(model, kind, role, 0.0)
    after = attended(model, monkeypatch)
    assert before[role].abs().max() > 0 and not after[role].any()
    assert all(torch.equal(before[other], after[other]) for other in before if other != role)


def test_gate_and_up_of_phi3():
    """The feed-forward is linear in up, and goes through silu in gate."""

    def out(role: str | None = None) -> torch.Tensor:
        model = made("phi3", "cpu")
        if role:
            scale(model, "phi3", role, -3.0)
        with torch.no_grad():
            return model.model.layers[0].mlp(torch.linspace(-2, 2, 32)[None] * 20)

    torch.testing.assert_close(out("up"), -3 * out())
    assert not torch.allclose(out("gate"), -3 * out(), rtol=0.1)


@pytest.mark.parametrize("kind", ["gpt_neox", "phi3"])
def test_both_engines_adapt_the_slices_alike(kind):
    """(GPT-2's are held to the laws.)"""
    backbone = Backbone(made(kind, "cpu"), tiny_tokenizer())
    roles = [role for role in ("query", "value", "up") if role in MODELS[kind][3]]
    adapter = _stirred(build("lora", {"r": 2, "target_modules": roles}), backbone)
    items = examples(4, leaves=2)
    own = score(Lanes(backbone, [adapter]), items)[0]
    for row, other in zip(own, reference.score(Plain(backbone, adapter).eval(), items), strict=True):
        assert row == pytest.approx(other, abs=2e-4)


@pytest.mark.parametrize(
    ("use", "config"),
    [
        ("lora", {"r": 2, "lora_alpha": 3, "target_modules": ["query", "value", "down"]}),
        ("lora", {"r": 2, "lora_alpha": 3, "target_modules": ["value", "key", "query"], "use_rslora": True}),
        ("lora", {"r": 2, "target_modules": ["key"], "layers_to_transform": 1}),
        ("ia3", {"target_modules": ["key", "value", "down"]}),
    ],
)
def test_an_adapter_of_roles_loads_in_peft_on_an_unsplit_model(use, config, tmp_path):
    from peft import PeftModel

    def model() -> Any:
        return tiny_model("gpt2").to(torch.float64).eval()

    backbone = Backbone(model(), tiny_tokenizer())
    adapter = _stirred(build(use, config), backbone)
    adapter.save(tmp_path)
    items = examples(3)
    own = -sum(leaf for row in score(Lanes(backbone, [adapter]), items)[0] for leaf in row)
    peft = float(loss_alone(PeftModel.from_pretrained(model(), tmp_path).eval(), items).detach())
    plain = float(loss_alone(model(), items).detach())
    assert peft == pytest.approx(own, abs=1e-6)
    assert abs(own - plain) > 1e-3
