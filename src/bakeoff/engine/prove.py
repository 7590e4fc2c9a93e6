"""Proof that packing is exact on a model: a small packed batch against the same examples alone."""

from __future__ import annotations

import torch

from bakeoff.data.messages import Encoded
from bakeoff.engine.generate import Request, generate
from bakeoff.engine.lanes import Lanes
from bakeoff.methods.adapters.adapter import Adapter
from bakeoff.models.backbone import Backbone
from bakeoff.study.spec import Decoding

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


@torch.inference_mode()
def doubt(backbone: Backbone) -> str:
    """Why the lanes engine must not serve this model, or an empty text where packed equals alone.

    Equal means: the log-probabilities of every target differ by at most 1e-4 nats in float32. A prefix of keys and
    values, and one token decoded from the cache, must pass as well.
    """
    if backbone.encoder_decoder:
        return "an encoder-decoder model"
    if backbone.windowed:
        return "some layers see only a window of earlier tokens"
    ids = torch.randint(
        0, backbone.embedding.weight.shape[0], (40,), generator=torch.Generator().manual_seed(0)
    ).tolist()
    trunk = tuple(ids[:5])
    items = [
        Encoded((*trunk, *ids[5:9]), (tuple(ids[9:14]), tuple(ids[9:11]))),
        Encoded((*trunk, *ids[14:25]), (tuple(ids[25:40]),)),
    ]
    try:
        alone = _alone(backbone, items)
        passes = [_packed(backbone, items), _packed(backbone, items, row_tokens=8)]
        _decode(backbone, items)
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        return f"a packed pass fails ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
    worst = max(float((packed - alone).abs().max()) for packed in passes)
    return "" if worst <= _TOLERANCE[backbone.dtype] else f"packed and alone differ by {worst:.2g} nats"


def _packed(backbone: Backbone, items: list[Encoded], **options: int) -> torch.Tensor:
    lanes = Lanes(backbone, [Adapter()])
    packed = lanes.pack([items], **options)
    want = packed.targets
    logits = lanes.logits(lanes.hidden(packed), want.row, want.column).double()
    return logits.log_softmax(-1)[torch.arange(len(want.id)), want.id]


def _decode(backbone: Backbone, items: list[Encoded]) -> None:
    """Two tokens after a prefix of two: what goes wrong raises (shapes of keys and values, mostly)."""
    prefix = torch.zeros(backbone.layers, 2, backbone.heads, 2, backbone.head_dim)
    adapter = Adapter()
    adapter.prefix = lambda: prefix.to(backbone.embedding.weight)
    requests = [[Request(Encoded(item.prompt, ())) for item in items]]
    generate(Lanes(backbone, [adapter]), requests, Decoding(max_new_tokens=2), stop=())


def _alone(backbone: Backbone, items: list[Encoded]) -> torch.Tensor:
    found = []
    for item in items:
        for leaf in item.leaves:
            ids = torch.tensor([[*item.prompt, *leaf]], device=backbone.device)
            logits = backbone.model(input_ids=ids).logits[0, len(item.prompt) - 1 : -1].double()
            found.append(logits.log_softmax(-1)[torch.arange(len(leaf)), ids[0, len(item.prompt) :]])
    return torch.cat(found)
