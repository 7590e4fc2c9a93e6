"""The laws: every method of the registry, on every architecture, in both engines."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from conftest import ARCHITECTURES, VOCABULARY, tiny_backbone
from safetensors.torch import load_file

from bakeoff.data.messages import Encoded
from bakeoff.engine import reference
from bakeoff.engine.evaluate import score
from bakeoff.engine.generate import Request, generate
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.packing import trunk_length
from bakeoff.engine.plain import Plain
from bakeoff.engine.prove import doubt
from bakeoff.engine.randomness import generator, sampler
from bakeoff.engine.train import Learner, train
from bakeoff.errors import TrialError
from bakeoff.methods.method import build
from bakeoff.study import registry
from bakeoff.study.spec import Decoding, Training

KINDS = [
    name for name in registry.names("methods") if (kind := registry.find("methods", name, "")).trains and kind.lanes
]
VARIANTS = {  # further settings held to the laws, beside each kind's own example
    "lora of roles": ("lora", {"target_modules": ["query", "value", "down"], "use_rslora": True}),
    "lora of one layer": ("lora", {"layers_to_transform": [1]}),
    "ia3 of roles": ("ia3", {"target_modules": ["key", "value", "down"]}),
    "bottleneck after the feed-forward": ("bottleneck", {"mh_adapter": False, "non_linearity": "swish"}),
    "loreft with shared weights": ("loreft", {"share_weights": True, "layers_to_transform": 0}),
    "combine of four": (
        "combine",
        {
            "parts": [
                {"name": "ia3", "use": "ia3", "config": {}, "learning_rate": 1e-2},
                {"name": "loreft", "use": "loreft", "config": {"first": 1, "last": 2}},
                {"name": "lora", "use": "lora", "config": {"r": 2, "target_modules": ["query"]}},
                {"name": "prompt", "use": "prompt_tuning", "config": {"num_virtual_tokens": 3}, "learning_rate": 3e-2},
            ]
        },
    ),
}
METHODS = [*KINDS, *VARIANTS]
TRAINING = Training(
    learning_rate=3e-3, per_device_train_batch_size=3, gradient_accumulation_steps=2, max_steps=20,
    warmup_steps=5, weight_decay=0.1, max_grad_norm=0.5,
)  # fmt: skip


def examples(count: int, seed: int = 0, leaves: int = 1) -> list[Encoded]:
    """Random token sequences with a shared trunk of 5, of unequal lengths."""
    chance = random.Random(seed)
    trunk = tuple(chance.randrange(3, VOCABULARY) for _ in range(5))

    def some(low: int, high: int) -> tuple[int, ...]:
        return tuple(chance.randrange(3, VOCABULARY) for _ in range(chance.randint(low, high)))

    return [Encoded(trunk + some(1, 12), tuple(some(1, 8) for _ in range(leaves))) for _ in range(count)]


def method(name: str, **more):
    use, changes = VARIANTS.get(name, (name, {}))
    kind = registry.find("methods", use, "")
    return build(use, {**kind.example, **changes, **more})


def learner(backbone, name: str, seed: int = 0, training: Training = TRAINING, wrap=lambda backbone, adapter: adapter):
    adapter = method(name).attach(backbone, generator(seed, "init"))
    return Learner(f"{name}-{seed}", wrap(backbone, adapter), examples(20), training, seed)


def losses(one: Learner) -> list[float]:
    return [row.loss for row in one.curve]


def _plain(one: Learner) -> Plain:
    assert isinstance(one.adapter, Plain)
    return one.adapter


def run_lanes(backbone, *learners: Learner) -> None:
    train(Lanes(backbone, [one.adapter for one in learners]), learners)


def tensors(adapter) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in adapter.tensors().items()}


def in_float64(backbone):
    """Keep Hugging Face's RMSNorm in float64, which it otherwise computes in float32."""

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    for module in backbone.model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = forward.__get__(module)
        if type(module).__name__.endswith("RotaryEmbedding"):
            _exact_rotary(module)
    return backbone


def _exact_rotary(module) -> None:
    def forward(self, x, position_ids):
        angles = position_ids[:, :, None].double() * self.inv_freq.double()
        angles = torch.cat([angles, angles], -1)
        return angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling

    module.forward = forward.__get__(module)


@pytest.mark.parametrize("name", KINDS)
def test_lanes_equal_peft_over_twenty_steps(architecture, name):
    """Law 1 in float32: the same losses as PEFT on padded batches, from the same weights, to 1e-5."""
    other = learner(tiny_backbone(architecture), name, wrap=Plain)
    backbone = tiny_backbone(architecture)
    one = learner(backbone, name)
    run_lanes(backbone, one)
    reference.train(other)
    assert len(losses(one)) == 20
    assert losses(one) == pytest.approx(losses(other), abs=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_lanes_equal_peft_in_float64(architecture, name, monkeypatch):
    """Law 1 in float64: to 1e-10 with the model's own float32 islands taken out by the test, in rows that share."""
    monkeypatch.setattr("bakeoff.engine.packing.ROW_TOKENS", 12)
    backbone = in_float64(tiny_backbone(architecture, torch.float64))
    one = learner(backbone, name)
    run_lanes(backbone, one)
    other = learner(in_float64(tiny_backbone(architecture, torch.float64)), name, wrap=Plain)
    reference.train(other)
    assert losses(one) == pytest.approx(losses(other), abs=1e-10)
    _plain(other).collect()
    for key, tensor in tensors(one.adapter).items():
        torch.testing.assert_close(tensor, tensors(_plain(other).adapter)[key], atol=1e-8, rtol=0)


def test_many_lanes_equal_each_alone(architecture):
    """Law 1: every method that can share, and three seeds of one, in one pass; each learns as it would alone."""
    shared_backbone = tiny_backbone(architecture)
    sharing = [name for name in METHODS if not method(name).solo]
    named = [(name, 0) for name in sharing] + [("lora", 1), ("lora", 2)]
    together = [learner(shared_backbone, name, seed) for name, seed in named]
    run_lanes(shared_backbone, *together)
    for (name, seed), one in zip(named, together, strict=True):
        backbone = tiny_backbone(architecture)
        alone = learner(backbone, name, seed)
        run_lanes(backbone, alone)
        assert losses(one) == pytest.approx(losses(alone), abs=1e-5), name


def test_lanes_of_different_lengths_and_batches():
    """Lanes may differ in steps, batch size and number of examples; each ends at its own last step."""
    backbone = tiny_backbone("llama")
    short = learner(backbone, "lora", 0, Training(learning_rate=1e-3, per_device_train_batch_size=2, max_steps=4))
    long = learner(backbone, "prompt_tuning", 1)
    run_lanes(backbone, short, long)
    assert (len(short.curve), len(long.curve)) == (4, 20)
    fresh = tiny_backbone("llama")
    alone = learner(fresh, "prompt_tuning", 1)
    run_lanes(fresh, alone)
    assert losses(long) == pytest.approx(losses(alone), abs=1e-5)


def test_a_diverging_lane_is_dropped_and_harms_nobody():
    backbone, fresh = tiny_backbone("llama"), tiny_backbone("llama")
    wild, calm = learner(backbone, "lora", 0), learner(backbone, "lora", 1)
    with torch.no_grad():
        next(iter(wild.adapter.parameters())).fill_(float("nan"))
    run_lanes(backbone, wild, calm)
    alone = learner(fresh, "lora", 1)
    run_lanes(fresh, alone)
    assert "nan" in wild.diverged and not wild.curve
    assert losses(calm) == pytest.approx(losses(alone), abs=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_gradients_in_every_part_and_nowhere_else(architecture, name):
    """Law 2: after training every tensor of the adapter has moved and the base is the same to the bit."""
    backbone = tiny_backbone(architecture)
    before = copy.deepcopy(backbone.model.state_dict())
    one = learner(backbone, name)
    start = tensors(one.adapter)
    run_lanes(backbone, one)
    after = tensors(one.adapter)
    still = [key for key in start if torch.equal(start[key], after[key])]
    assert not still
    trained = {id(p) for p in one.adapter.parameters()}
    assert all(p.grad is None and not p.requires_grad for p in backbone.model.parameters() if id(p) not in trained)
    one.adapter.release()
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.model.state_dict().items())
    assert not any(p.requires_grad for p in backbone.model.parameters())


def test_a_part_without_gradient_is_an_error_not_a_result():
    """A hybrid whose one half is frozen would report the other half's numbers under its name."""
    backbone = tiny_backbone("llama")
    one = learner(backbone, "combine")
    one.adapter.soft_prompt = lambda: None  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TrialError, match="1 of 29 trained tensors get no gradient"):
        run_lanes(backbone, one)


def test_a_part_learns_at_its_own_rate():
    """The first AdamW step is the rate times the gradient's sign, and some decay: 3e-3 here, 3e-2 there."""
    backbone = tiny_backbone("llama")
    one = learner(backbone, "combine of four", training=TRAINING.model_copy(update={"max_steps": 1, "warmup_steps": 0}))
    start = tensors(one.adapter)
    run_lanes(backbone, one)
    moved = {name: (tensor - start[name]).abs().max().item() for name, tensor in tensors(one.adapter).items()}
    assert moved["prompt/prompt_embeddings"] == pytest.approx(3e-2, rel=0.4)
    lora = {name: size for name, size in moved.items() if name.startswith("lora/") and "lora_B" in name}
    assert lora and all(size == pytest.approx(3e-3, rel=0.05) for size in lora.values())


def test_both_halves_of_the_hybrid_train_in_the_reference(architecture):
    """PEFT's own nesting freezes the LoRA half; ours must not."""
    one = learner(tiny_backbone(architecture), "combine", wrap=Plain)
    start = tensors(_plain(one).adapter)
    reference.train(one)
    _plain(one).collect()
    after = tensors(_plain(one).adapter)
    assert {key.split("/")[0] for key in start} == {"lora", "prompt"}
    assert all(not torch.equal(start[key], after[key]) for key in start)


@pytest.mark.parametrize("name", METHODS)
def test_parameters_declared_counted_and_on_disk(architecture, name, tmp_path):
    """Law 3: the formula, the trainable parameters and the tensors on disk agree (roles of c_attn: padded by zeros)."""
    backbone = tiny_backbone(architecture)
    chosen = method(name)
    adapter = chosen.attach(backbone, generator(0, "init"))
    counted = sum(p.numel() for p in adapter.parameters() if p.requires_grad)
    adapter.save(tmp_path)
    stored = sum(t.numel() for file in tmp_path.rglob("*.safetensors") for t in load_file(file).values())
    assert chosen.parameters(backbone) == counted == sum(tensor.numel() for tensor in adapter.tensors().values())
    assert stored == counted if not _sliced(adapter) else stored > counted


def _sliced(adapter) -> bool:
    parts = getattr(adapter, "parts", [adapter])
    return any(site.rows for part in parts for site in getattr(part, "targets", []))


@pytest.mark.parametrize("name", METHODS)
def test_saved_adapters_give_the_same_answers(architecture, name, tmp_path):
    """Law 3: trained, saved and loaded again, by us and by PEFT, an adapter scores the same."""
    backbone = tiny_backbone(architecture)
    one = learner(backbone, name)
    run_lanes(backbone, one)
    items = examples(4, seed=5, leaves=2)
    wanted = score(Lanes(backbone, [one.adapter]), items)[0]
    one.adapter.save(tmp_path)
    one.adapter.release()
    again = method(name).attach(backbone, generator(1, "init")).eval()
    again.load(tmp_path)
    assert score(Lanes(backbone, [again]), items)[0] == wanted
    by_peft = Plain(backbone, again).eval()
    for own, other in zip(wanted, reference.score(by_peft, items), strict=True):
        assert own == pytest.approx(other, abs=1e-4)
    again.release()


@pytest.mark.parametrize("name", KINDS)
def test_seeds_rule_and_the_global_generator_is_not_read(architecture, name):
    """Law 4: same seed same weights, other seed others; torch's global generator stays where it was."""
    backbone = tiny_backbone(architecture)
    before = torch.random.get_rng_state()
    first = tensors(method(name).attach(backbone, generator(0, "init")))
    same = tensors(method(name).attach(backbone, generator(0, "init")))
    other = tensors(method(name).attach(backbone, generator(1, "init")))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert method(name).draws == any(not torch.equal(first[key], other[key]) for key in first)
    one = learner(backbone, name)
    run_lanes(backbone, one)
    assert torch.equal(before, torch.random.get_rng_state())


def test_dropout_comes_from_the_lanes_own_generator():
    """With dropout, a lane draws the same masks alone and in company; another seed draws others."""

    def trained(*seeds: int) -> list[list[float]]:
        backbone = tiny_backbone("llama")
        ones = []
        for seed in seeds:
            adapter = method("lora", lora_dropout=0.3).attach(backbone, generator(0, "init"))
            ones.append(Learner(str(seed), adapter, examples(20), TRAINING, seed))
        run_lanes(backbone, *ones)
        return [losses(one) for one in ones]

    alone, company = trained(0)[0], trained(0, 1)
    plain = tiny_backbone("llama")
    dry = learner(plain, "lora")
    run_lanes(plain, dry)
    assert company[0] == pytest.approx(alone, abs=1e-5)
    assert company[0] != pytest.approx(losses(dry), abs=1e-3)


@pytest.mark.parametrize("name", KINDS)
def test_same_plan_same_bits(name):
    """Law 5."""
    found = []
    for _ in range(2):
        backbone = tiny_backbone("llama")
        one = learner(backbone, name)
        run_lanes(backbone, one)
        found.append((losses(one), tensors(one.adapter)))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(found[0][1][key], found[1][1][key]) for key in found[0][1])


@pytest.mark.parametrize(
    "name, slots", [("base", 2), *((name, 2) for name in METHODS), *((name, 64) for name in KINDS)]
)
def test_cached_generation_equals_uncached(architecture, name, slots, monkeypatch):
    """Law 6: our decoding loop, with few slots and with many, draws what a full pass per token would.

    Where all prompts are read at once, short rows make them share a trunk across rows.
    """
    monkeypatch.setattr("bakeoff.engine.packing.ROW_TOKENS", 12 if slots == 64 else 128)
    backbone = tiny_backbone(architecture)
    adapter = _stirred(method(name), backbone)
    prompts = [Encoded(item.prompt, ()) for item in examples(7, seed=2)]
    lanes = Lanes(backbone, [adapter, adapter] if not method(name).solo else [adapter])
    requests = [[Request(prompt) for prompt in prompts] for _ in lanes.adapters]
    generate(lanes, requests, Decoding(max_new_tokens=9), stop=[7, 11], slots=slots)
    plain = Plain(backbone, adapter).eval()
    for own in requests:
        for request in own:
            assert (request.ids, request.stopped) == _slowly(plain, request.prompt.prompt, 9, (7, 11))


def test_requests_keep_to_their_limits_and_tell_a_log_probability_of_each_token():
    """A limit above the decoding's is that one (the cache has no more room), below 1 an error; a stop is no token."""
    backbone = tiny_backbone("llama")
    prompts = [Encoded(item.prompt, ()) for item in examples(4, seed=2)]
    lanes = Lanes(backbone, [_stirred(method("lora"), backbone)])
    free = [Request(prompt) for prompt in prompts]
    generate(lanes, [free], Decoding(max_new_tokens=6), stop=())
    stop = free[0].ids[2]
    requests = [Request(p, limit=limit, logprobs=[]) for p, limit in zip(prompts, (99, 2, None, 6), strict=True)]
    generate(lanes, [requests], Decoding(max_new_tokens=6), stop=[stop])
    assert requests[0].stopped and len(requests[0].ids) <= 2
    for request, other, limit in zip(requests, free, (6, 2, 6, 6), strict=True):
        end = other.ids.index(stop) if stop in other.ids else 6
        assert request.ids == other.ids[: min(end, limit)]
        assert request.logprobs is not None and len(request.logprobs) == len(request.ids)
    with pytest.raises(ValueError, match="limit: 0 new tokens"):
        Request(prompts[0], limit=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_log_probabilities_of_drawn_tokens_are_those_of_a_full_pass(dtype):
    """Summed in float32: the sum of probabilities over the vocabulary has no rounding of bfloat16's 8 bits."""
    from bakeoff.engine.generate import _logprobs

    logits = 4 * torch.randn(5, 97, generator=torch.Generator().manual_seed(0)).to(dtype)
    tokens = [3, 1, 4, 1, 5]
    expected = logits.double().log_softmax(-1)[range(5), tokens].tolist()
    assert _logprobs(logits, tokens) == pytest.approx(expected, abs=1e-5)


def _stirred(chosen, backbone):
    """The method's adapter with large random weights, so that it matters."""
    adapter = chosen.attach(backbone, generator(0, "init")).eval()
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in adapter.parameters():
            if not chosen.solo:
                parameter.add_(torch.randn(parameter.shape, generator=chance) * 0.5)
    return adapter


@torch.inference_mode()
def _slowly(model, prompt, limit: int, stop) -> tuple[list[int], bool]:
    ids: list[int] = []
    while len(ids) < limit:
        token = int(model.logits([[*prompt, *ids]], [len(prompt)])[0, -1].argmax())
        if token in stop:
            return ids, True
        ids.append(token)
    return ids, False


def test_lanes_of_unequal_prefixes_generate_as_alone(architecture):
    """Different virtual tokens in one batch: no prefix, a short one, a long one, a soft prompt, a hybrid."""
    backbone = tiny_backbone(architecture)
    chosen = [
        method("base"),
        method("prefix_tuning", num_virtual_tokens=3),
        method("prefix_tuning", num_virtual_tokens=6),
    ]
    chosen += [method("prompt_tuning", num_virtual_tokens=4), method("combine")]
    adapters = [_stirred(one, backbone) for one in chosen]
    prompts = [Encoded(item.prompt, ()) for item in examples(9, seed=3)]
    together = [[Request(prompt) for prompt in prompts] for _ in adapters]
    generate(Lanes(backbone, adapters), together, Decoding(max_new_tokens=8), stop=[7], slots=3)
    for adapter, own in zip(adapters, together, strict=True):
        alone = [[Request(prompt) for prompt in prompts]]
        generate(Lanes(backbone, [adapter]), alone, Decoding(max_new_tokens=8), stop=[7], slots=64)
        assert [request.ids for request in own] == [request.ids for request in alone[0]]


def test_sampled_completions_depend_on_trial_example_and_draw_alone():
    backbone = tiny_backbone("llama")
    adapter = _stirred(method("lora"), backbone)
    prompts = [Encoded(item.prompt, ()) for item in examples(6, seed=4)]
    how = Decoding(max_new_tokens=6, temperature=1.0, top_p=0.9)

    def drawn(slots: int, keys: list[str]) -> list[list[list[int]]]:
        requests = [[Request(p, sampler(key, str(i), 0)) for i, p in enumerate(prompts)] for key in keys]
        generate(Lanes(backbone, [adapter] * len(keys)), requests, how, stop=[7], slots=slots)
        return [[request.ids for request in own] for own in requests]

    assert drawn(64, ["a"])[0] == drawn(2, ["b", "a"])[1]
    assert drawn(64, ["a"])[0] != drawn(64, ["b"])[0]


def test_sampling_follows_the_models_distribution():
    """Temperature and nucleus: frequencies of 4,000 draws against the renormalised softmax."""
    from bakeoff.engine.generate import choose

    logits = torch.tensor([2.0, 1.0, 0.5, -1.0, -3.0])
    requests = [Request(Encoded((1,), ()), sampler("k", str(i), 0)) for i in range(4000)]
    tokens = choose(logits.expand(4000, -1), requests, Decoding(temperature=0.7, top_p=0.9))
    p = torch.softmax(logits / 0.7, -1)
    kept = torch.where(p.cumsum(0) - p < 0.9, p, 0)
    kept = kept / kept.sum()
    frequencies = torch.bincount(torch.tensor(tokens), minlength=5) / 4000
    assert torch.all((frequencies - kept).abs() < 0.03)
    assert frequencies[kept == 0].sum() == 0


@pytest.mark.parametrize("row_tokens", [1, 10, 40, 10_000])
def test_packing_is_exact_however_rows_are_cut(architecture, row_tokens, monkeypatch):
    """The same scores from one long row, from many short ones, and from padded rows."""
    backbone = tiny_backbone(architecture)
    adapters = [_stirred(method(name), backbone) for name in ("lora", "prefix_tuning", "prompt_tuning")]
    items = examples(6, seed=6, leaves=3)
    monkeypatch.setattr("bakeoff.engine.packing.ROW_TOKENS", row_tokens)
    found = score(Lanes(backbone, adapters), items)
    for adapter, own in zip(adapters, found, strict=True):
        padded = reference.score(Plain(backbone, adapter).eval(), items)
        for row, other in zip(own, padded, strict=True):
            assert row == pytest.approx(other, abs=2e-4)


def test_the_trunk_never_swallows_a_prompts_last_token():
    same = [Encoded((4, 5, 6), ((7,),)), Encoded((4, 5, 6), ((8,),))]
    assert trunk_length(same) == 2
    assert trunk_length([Encoded((4,), ((7,),))]) == 0


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_lanes_are_proven_on_the_models_they_serve(kind):
    assert doubt(tiny_backbone(kind)) == ""


def test_a_windowed_model_is_left_to_the_reference():
    from transformers import MistralConfig, MistralForCausalLM

    from bakeoff.models.backbone import Backbone

    config = MistralConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=8,
    )  # fmt: skip
    assert "window" in doubt(Backbone(MistralForCausalLM(config), None))
