"""What docs/methods.md found on architectures beside those of the laws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import VOCABULARY, tiny_tokenizer
from test_laws import TRAINING, examples, losses, method
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, OPTConfig, OPTForCausalLM

from bakeoff.engine import reference
from bakeoff.engine.lanes import Lanes
from bakeoff.engine.plain import Plain
from bakeoff.engine.randomness import generator
from bakeoff.engine.train import Learner, train
from bakeoff.models.backbone import Backbone

SHAPE: dict[str, Any] = dict(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)


@pytest.mark.parametrize("name", ["bitfit", "bottleneck"])
def test_hooks_act_on_opts_flattened_feed_forward(name):
    """OPT's feed-forward sees [rows x tokens, width] in a padded batch: the reference equals the lanes."""
    found = []
    for wrap in (False, True):
        torch.manual_seed(0)
        model = OPTForCausalLM(OPTConfig(**SHAPE, ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=256))
        backbone = Backbone(model, tiny_tokenizer(), "opt")
        adapter = method(name).attach(backbone, generator(0, "init"))
        one = Learner(name, Plain(backbone, adapter) if wrap else adapter, examples(20), TRAINING, 0)
        reference.train(one) if wrap else train(Lanes(backbone, [adapter]), [one])
        found.append(losses(one))
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_a_fully_tuned_model_is_loaded_by_its_own_names(tmp_path):
    """GPT-NeoX is saved under other names than its parameters have: nothing may be left as it was."""
    torch.manual_seed(0)
    backbone = Backbone(GPTNeoXForCausalLM(GPTNeoXConfig(**SHAPE, intermediate_size=48)), tiny_tokenizer(), "neox")
    adapter = method("full").attach(backbone, generator(0, "init"))
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.1)
    wanted = {name: tensor.clone() for name, tensor in adapter.tensors().items()}
    adapter.save(tmp_path)
    adapter.release()
    again = method("full").attach(backbone, generator(0, "init"))
    again.load(tmp_path)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in again.tensors().items())
