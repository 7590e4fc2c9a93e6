"""Training piece by piece: the order of examples, dropout, split steps, half precision, the start from a text."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from conftest import tiny_backbone
from scipy.stats import ks_2samp
from test_laws import examples, learner, losses, method, run_lanes, tensors

from bakeoff.engine import reference
from bakeoff.engine.evaluate import score
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.plain import Plain
from bakeoff.engine.randomness import generator
from bakeoff.engine.train import Learner, batches, lane_losses
from bakeoff.methods.adapters.adapter import Adapter, View
from bakeoff.methods.method import build
from bakeoff.study.spec import Training

HYBRID = {
    "parts": [
        {"name": "lora", "use": "lora", "config": {"r": 4, "lora_dropout": 0.3, "target_modules": "all-linear"}},
        {"name": "prompt", "use": "prompt_tuning", "config": {"num_virtual_tokens": 4}},
    ]
}
FEW = Training(learning_rate=3e-3, per_device_train_batch_size=6, max_steps=5, max_grad_norm=0.5)


# --- the order of examples ---


def epochs(seed: int, count: int = 20) -> list[list[int]]:
    """The indices of three epochs of 20 examples in steps of six, the last short."""
    training = Training(per_device_train_batch_size=3, gradient_accumulation_steps=2)
    steps = list(itertools.islice(batches(count, training, seed), 3 * 4))
    assert [len(step) for step in steps] == [6, 6, 6, 2] * 3
    return [[*itertools.chain(*steps[i : i + 4])] for i in range(0, len(steps), 4)]


def test_each_epoch_is_a_permutation_of_its_own():
    found = [*epochs(0), *epochs(1)]
    assert all(sorted(order) == list(range(20)) for order in found)
    assert len({tuple(order) for order in found}) == 6  # two seeds, three epochs: six orders
    assert epochs(0) == found[:3]


# --- dropout ---


def test_dropout_keeps_the_mean_and_is_off_in_evaluation():
    """What is kept is divided by the share that is kept; padding is not read; evaluation drops nothing.

    Means may be five standard errors off: for these 51 means together, one seed in 30,000 is.
    """
    adapter, p, tokens = Adapter(), 0.25, 3000
    adapter.seed_noise(generator(0, "dropout"))
    real = torch.arange(4000) % 4 > 0
    adapter.seen(View(real, torch.arange(4000), torch.zeros(4000, dtype=torch.long)))
    x = torch.linspace(1, 2, 50).expand(4000, -1)
    dropped = adapter.train().drop(x, p)[real]
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], (x[real] / (1 - p))[kept])
    assert float(kept.float().mean()) == pytest.approx(1 - p, abs=5 * (p * (1 - p) / kept.numel()) ** 0.5)
    assert ((dropped.mean(0) - x[0]).abs() <= 5 * x[0] * (p / (1 - p) / tokens) ** 0.5).all()
    assert torch.equal(adapter.eval().drop(x, p), x)


def drawn_losses(engine: str, p: float, count: int = 200) -> list[float]:
    """One example's loss under `count` draws of LoRA's dropout, from the same weights in either engine."""
    backbone = tiny_backbone("llama")
    adapter = method("lora", lora_dropout=p, target_modules="all-linear").attach(backbone, generator(0, "init"))
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator(0, "noise")))
    items, found = examples(1, seed=7), []
    lanes, plain = Lanes(backbone, [adapter]), Plain(backbone, adapter).train()
    adapter.train().seed_noise(generator(0, "dropout"))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for _ in range(count):
            loss = lane_losses(lanes, [items])[0] if engine == "lanes" else reference._loss(plain, items)
            found.append(float(loss))
    return found


def test_dropout_has_pefts_distribution():
    """Losses under many draws: those of lanes and of PEFT's own dropout come from one distribution, others do not.

    All seeds are fixed; of other seeds one in a thousand would fail the first by chance.
    """
    own, pefts, others = drawn_losses("lanes", 0.3), drawn_losses("reference", 0.3), drawn_losses("reference", 0.6)
    found: list[Any] = [ks_2samp(own, pefts), ks_2samp(own, others)]
    assert found[0].pvalue > 1e-3 > found[1].pvalue


def dropping(kind: str, *seeds: int) -> list[float]:
    """The first lane's losses, with dropout 0.3, in the company of the other seeds'."""
    backbone = tiny_backbone("gpt2", torch.float64)
    chosen = build("combine", HYBRID) if kind == "combine" else method("lora", lora_dropout=0.3)
    ones = [
        Learner(str(seed), chosen.attach(backbone, generator(seed, "init")), examples(20, seed=7), FEW, seed)
        for seed in seeds
    ]
    run_lanes(backbone, *ones)
    return losses(ones[0])


@pytest.mark.parametrize("budget", [10_000, 60], ids=["whole", "split"])
@pytest.mark.parametrize("kind", ["lora", "combine"])
def test_dropout_draws_the_same_alone_and_in_company(kind, budget, monkeypatch):
    """Also in a combination with a soft prompt, and where a step is split into passes; to float64's rounding."""
    monkeypatch.setattr("bakeoff.engine.train.PASS_TOKENS", {"cpu": budget})
    alone = dropping(kind, 0)
    assert dropping(kind, 0, 1, 2) == pytest.approx(alone, abs=1e-9)
    assert dropping(kind, 5) != pytest.approx(alone, abs=1e-3)


def test_dropout_drops_in_a_combination_and_nothing_in_evaluation():
    backbone = tiny_backbone("llama")
    adapter = build("combine", HYBRID).attach(backbone, generator(0, "init"))
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.1)
    adapter.seed_noise(generator(0, "dropout"))

    def scores(train: bool) -> list[float]:
        adapter.train(train)
        return [value for row in score(Lanes(backbone, [adapter]), examples(4))[0] for value in row]

    assert scores(False) == scores(False)
    assert scores(True) != pytest.approx(scores(True), abs=1e-4)
    assert scores(True) != pytest.approx(scores(False), abs=1e-4)


# --- a step in several passes ---


@pytest.mark.parametrize("name", ["lora", "combine", "loreft"])
def test_a_split_step_is_the_whole_step(name, monkeypatch):
    """Gradients of a step's passes add up to those of one pass: the mean is over the step's tokens, not a pass's."""

    def trained(budget: int) -> tuple[list[float], dict[str, torch.Tensor]]:
        monkeypatch.setattr("bakeoff.engine.train.PASS_TOKENS", {"cpu": budget})
        backbone = tiny_backbone("gpt2", torch.float64)
        ones = [learner(backbone, name, seed, FEW) for seed in (0, 1)]
        run_lanes(backbone, *ones)
        return losses(ones[0]), tensors(ones[0].adapter)

    whole, split = trained(10_000), trained(40)
    assert split[0] == pytest.approx(whole[0], abs=1e-9)
    for key, tensor in whole[1].items():
        torch.testing.assert_close(split[1][key], tensor, atol=1e-8, rtol=0)


# --- half precision ---


@pytest.mark.parametrize("name", ["lora", "full", "prefix_tuning"])
def test_bf16_lanes_equal_the_reference(name):
    """Autocast in both: the same losses to bfloat16's rounding, and not those of float32."""
    half = FEW.model_copy(update={"bf16": True})
    backbone = tiny_backbone("llama")
    one = learner(backbone, name, 0, half)
    run_lanes(backbone, one)
    other, exact = (learner(tiny_backbone("llama"), name, 0, how, wrap=Plain) for how in (half, FEW))
    reference.train(other)
    reference.train(exact)
    assert differences(losses(one), losses(other)) < 1e-3
    assert differences(losses(one), losses(exact)) > 3e-5 < differences(losses(other), losses(exact))


def differences(a: Sequence[float], b: Sequence[float]) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", ["base", "lora", "prompt_tuning"])
def test_label_scores_of_a_bfloat16_model(name):
    """Both engines sum log-probabilities in float32: they differ as bfloat16 rounds a logit (2^-8), not a sum of 30."""
    backbone = tiny_backbone("llama", torch.bfloat16)
    adapter = method(name).attach(backbone, generator(0, "init")).eval()
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=chance) * 0.05)
    items = examples(6, seed=5, leaves=3)
    own = score(Lanes(backbone, [adapter]), items)[0]
    other = reference.score(Plain(backbone, adapter).eval(), items)
    for row, same in zip(own, other, strict=True):
        assert row == pytest.approx(same, abs=1e-2)


# --- the start of a soft prompt ---


@pytest.mark.parametrize(("tokens", "words"), [(2, [5, 9]), (3, [5, 9, 20]), (7, [5, 9, 20, 5, 9, 20, 5])])
def test_a_soft_prompt_starts_as_its_text_cut_or_repeated_to_length(tokens, words):
    config = {
        "num_virtual_tokens": tokens, "prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "w5 w9 w20"
    }  # fmt: skip
    backbone = tiny_backbone("llama")
    adapter = build("prompt_tuning", config).attach(backbone, generator(0, "init"))
    assert torch.equal(adapter.tensors()["prompt_embeddings"], backbone.embedding.weight[words])
