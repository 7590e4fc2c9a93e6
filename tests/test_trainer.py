"""Lanes against transformers.Trainer itself, with PEFT where PEFT has the method: nothing of the arithmetic is shared.

GPT-2 in float64, where packing and padding differ by rounding alone.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import tiny_backbone, tiny_model
from test_laws import examples, method
from torch import nn
from torch.utils.data import Sampler
from transformers import Trainer, TrainingArguments

from bakeoff.engine.lanes import Lanes
from bakeoff.engine.randomness import generator
from bakeoff.engine.train import Learner, train
from bakeoff.study.spec import Training

SEED, EXAMPLES, BATCH = 1, 9, 2  # five batches an epoch, the last of one example; by twos: three steps, the last short
FAMILIES: dict[str, dict[str, Any]] = {
    "lora": {},
    "prompt_tuning": {},
    "prefix_tuning": {},
    "ia3": {},
    "bitfit": {"bias": "existing"},
    "full": {},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "epochs": {"num_train_epochs": 2.6, "warmup_ratio": 0.3, "adam_beta1": 0.8, "adam_beta2": 0.95},
    "cosine": {"max_steps": 7, "warmup_steps": 2, "lr_scheduler_type": "cosine"},
}
STEPS = {"epochs": 8, "cosine": 7}  # 2.6 epochs of three steps are 7.8
COMMON: dict[str, Any] = {
    "learning_rate": 1e-2,
    "per_device_train_batch_size": BATCH,
    "gradient_accumulation_steps": 2,
    "weight_decay": 0.5,
    "max_grad_norm": 5e-3,  # below every family's norms
}


class Order(Sampler[int]):
    """A new order in each epoch, by the seed and the epoch's number."""

    epoch = 0

    def __len__(self) -> int:
        return EXAMPLES

    def __iter__(self):
        order = torch.randperm(EXAMPLES, generator=generator(SEED, f"order/{self.epoch}")).tolist()
        self.epoch += 1
        return iter(order)


class Ordered(Trainer):
    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return Order()


def collate(items: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Right-padded rows; the loss is the answer's alone."""
    longest = max(len(item["ids"]) for item in items)

    def rows(name: str, padding: int) -> torch.Tensor:
        return torch.tensor([item[name] + [padding] * (longest - len(item[name])) for item in items])

    return {"input_ids": rows("ids", 0), "attention_mask": rows("mask", 0), "labels": rows("labels", -100)}


def trainers_model(name: str, adapter: Any, folder: Any) -> nn.Module:
    """A GPT-2 of its own: with PEFT's adapter read from ours on disk, or with its own parameters set to train."""
    model: Any = tiny_model("gpt2").to(torch.float64)
    for module in model.modules():  # the base's own dropout is off, as it is for every method
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    if name in ("bitfit", "full"):
        for key, parameter in model.named_parameters():
            parameter.requires_grad_(name == "full" or key.endswith(".bias"))
        return model
    from peft import PeftModel

    adapter.save(folder)
    wrapped = PeftModel.from_pretrained(model, folder).to(torch.float64)
    wrapped.peft_config["default"].inference_mode = False
    for key, parameter in wrapped.named_parameters():  # PEFT itself refuses to go on training virtual tokens
        parameter.requires_grad_(any(part in key for part in ("lora_", "ia3_", "prompt_encoder")))
    return wrapped


def by_trainer(model: nn.Module, settings: dict[str, Any], folder: Any) -> list[dict[str, float]]:
    """What the Trainer logs of each step."""
    settings = dict(settings)
    if "warmup_ratio" in settings:
        settings["warmup_steps"] = settings.pop("warmup_ratio")  # in transformers 5 a share is below 1
    arguments = TrainingArguments(
        output_dir=str(folder), logging_steps=1, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
        remove_unused_columns=False, seed=SEED, **COMMON, **settings,
    )  # fmt: skip
    rows = [([*item.prompt, *item.leaves[0]], len(item.prompt)) for item in examples(EXAMPLES)]
    data = [{"ids": ids, "mask": [1] * len(ids), "labels": [-100] * n + ids[n:]} for ids, n in rows]
    trainer = Ordered(model=model, args=arguments, train_dataset=data, data_collator=collate)  # pyright: ignore
    trainer.train()
    return [row for row in trainer.state.log_history if "grad_norm" in row]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_lanes_train_as_the_trainer_does(name, setting, tmp_path):
    """Steps, losses, learning rates, gradient norms and the weights that come out."""
    backbone = tiny_backbone("gpt2", torch.float64)
    adapter = method(name, **FAMILIES[name]).attach(backbone, generator(SEED, "init"))
    model = trainers_model(name, adapter, tmp_path / "adapter")
    training = Training(**COMMON, **SETTINGS[setting])
    one = Learner("one", adapter, examples(EXAMPLES), training, SEED)
    train(Lanes(backbone, [adapter]), [one])
    logged = by_trainer(model, SETTINGS[setting], tmp_path / "trainer")
    assert len(one.curve) == len(logged) == STEPS[setting]
    for own, key in (("loss", "loss"), ("learning_rate", "learning_rate"), ("grad_norm", "grad_norm")):
        found = [getattr(row, own) for row in one.curve]
        assert found == pytest.approx([float(row[key]) for row in logged], rel=1e-6, abs=1e-9), key
    assert all(row.grad_norm > training.max_grad_norm for row in one.curve)
    ours = sorted(float(p.detach().norm()) for p in adapter.parameters())
    theirs = sorted(float(p.detach().norm()) for p in model.parameters() if p.requires_grad)
    if name == "bitfit":  # ours are what training added
        stored = adapter.stored()
        ours = sorted(float(tensor.detach().norm()) for tensor in stored.values())
    assert ours == pytest.approx(theirs, rel=1e-7)
