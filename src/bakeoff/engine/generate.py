"""Generation: our own decoding loop over lanes, with continuous batching and one cache for all slots.

A prompt is read once, packed with others behind their shared trunk; its keys and values then move into a slot. Every
step decodes one token in each slot; a finished sequence frees its slot for the next prompt of its lane.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bakeoff.data.messages import Encoded
from bakeoff.engine.lanes import Lanes, PackCache
from bakeoff.engine.packing import Packed
from bakeoff.study.spec import Decoding

SLOTS = {"cpu": 64, "cuda": 256}  # sequences decoded at once in each lane


@dataclass
class Request:
    """One completion to draw: its encoded prompt, the uniforms that decide it, and what came out.

    `limit` is its own most new tokens, within the decoding's. A list given for `logprobs` gets that of each of `ids`.
    """

    prompt: Encoded
    uniforms: np.random.Generator | None = None  # None = greedy
    limit: int | None = None
    logprobs: list[float] | None = None
    ids: list[int] = field(default_factory=list)
    stopped: bool = False

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit: {self.limit} new tokens; at least 1 is drawn")


class SlotCache:
    """Keys and values of every slot, [slots, heads, capacity, head_dim] per layer, each slot filled from the left."""

    def __init__(self, layers: int, slots: int, heads: int, capacity: int, head_dim: int, like: Tensor):
        self.stored = like.new_zeros(layers, 2, slots, heads, capacity, head_dim)
        self.filled = torch.zeros(slots, dtype=torch.long, device=like.device)

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Put each slot's one new token at its end; all keys and values up to the longest slot come back."""
        slots = torch.arange(len(self.filled), device=self.filled.device)
        self.stored[layer, 0, slots, :, self.filled] = keys[:, :, 0]
        self.stored[layer, 1, slots, :, self.filled] = values[:, :, 0]
        return self.stored[layer, 0, :, :, : self.longest], self.stored[layer, 1, :, :, : self.longest]

    def get_seq_length(self, *_: Any) -> int:
        return self.longest

    def open(self) -> Tensor:
        """Make room for one token per slot; the mask [slots, 1, 1, keys] of what each may see, itself included."""
        self.longest = int(self.filled.max()) + 1
        columns = torch.arange(self.longest, device=self.filled.device)
        return (columns <= self.filled[:, None])[:, None, None, :]

    def fill(
        self, slots: Tensor, keys: list[tuple[Tensor, Tensor]], row: Tensor, columns: Tensor, before: Tensor | None
    ) -> None:
        """Copy prompts into slots: `columns` [prompts, longest] of packed `row`s; `before` is their prefix."""
        start = 0 if before is None else before.shape[4]
        for layer, pair in enumerate(keys):
            for side, own in enumerate(pair):  # own: [rows, heads, tokens, head_dim]
                if before is not None:
                    self.stored[layer, side, slots, :, :start] = before[layer, side].to(own.dtype)
                moved = own.transpose(1, 2)[row[:, None], columns]  # [prompts, longest, heads, head_dim]
                self.stored[layer, side, slots, :, start : start + columns.shape[1]] = moved.transpose(1, 2)

    def keep(self, slots: Tensor) -> None:
        """Go on with some slots, in this order: they are moved to the front, a layer at a time, and nothing else is."""
        longest = int(self.filled.max())
        for layer in self.stored:
            layer[:, : len(slots), :, :longest] = layer[:, slots, :, :longest]
        self.stored, self.filled = self.stored[:, :, : len(slots)], self.filled[slots]


@torch.inference_mode()
def generate(
    lanes: Lanes,
    requests: Sequence[Sequence[Request]],
    decoding: Decoding,
    stop: Sequence[int],
    slots: int | None = None,
    beat: Callable[[], None] | None = None,
) -> None:
    """Complete every request of every lane (lane i owns requests[i]) until a `stop` token or `max_new_tokens`.

    Greedy at temperature 0, else temperature and nucleus sampling, each token from the request's own uniforms. `beat`
    is called after each token, and may raise to give up.
    """
    width = slots or SLOTS.get(lanes.backbone.device.type, 64)
    width = max(1, min(width, max(map(len, requests))))
    _Decoder(lanes, requests, decoding, frozenset(stop), width).run(beat)


class _Decoder:
    def __init__(
        self, lanes: Lanes, requests: Sequence[Sequence[Request]], decoding: Decoding, stop: frozenset[int], width: int
    ):
        self.lanes, self.decoding, self.stop, self.width = lanes, decoding, stop, width
        self.queues = [list(reversed(own)) for own in requests]
        self.slots: list[Request | None] = [None] * (len(requests) * width)
        backbone = lanes.backbone
        longest = max(len(r.prompt.prompt) for own in requests for r in own)
        capacity = max(lanes.prefix) + max(lanes.soft) + longest + decoding.max_new_tokens
        like = backbone.embedding.weight
        self.cache = SlotCache(backbone.layers, len(self.slots), backbone.heads, capacity, backbone.head_dim, like)
        self.last = torch.zeros(len(self.slots), dtype=torch.long, device=like.device)

    def run(self, beat: Callable[[], None] | None) -> None:
        while any(self.queues) or any(self.slots):
            waiting, free = any(self.queues), self.slots.count(None)
            if waiting and 2 * free >= len(self.slots):
                self._refill()
            elif not waiting:
                self._shrink()
            if any(self.slots):
                self._advance()
            if beat:
                beat()

    def _refill(self) -> None:
        """Read as many waiting prompts as there are free slots, and draw each one's first token."""
        taken: list[list[int]] = []
        for lane, queue in enumerate(self.queues):
            own = range(lane * self.width, (lane + 1) * self.width)
            taken.append([slot for slot in own if self.slots[slot] is None][: len(queue)])
            for slot in taken[-1]:
                self.slots[slot] = queue.pop()
        prompts = [[request.prompt for s in own if (request := self.slots[s])] for own in taken]
        packed = self.lanes.pack(prompts)
        kept = self.lanes.cache(packed, keep=True)
        hidden = self.lanes.hidden(packed, kept)
        lane, item, row, column = packed.ends.unbind(1)
        slots = torch.tensor(
            [taken[i][j] for i, j in zip(lane.tolist(), item.tolist(), strict=True)], device=lane.device
        )
        self._move(packed, kept, slots, row, item)
        self._draw(slots.tolist(), self.lanes.logits(hidden, row, column))

    def _move(self, packed: Packed, kept: PackCache, slots: Tensor, row: Tensor, item: Tensor) -> None:
        """Gather each prompt's keys (soft prompt, trunk, branch) into its slot after its prefix, without gaps."""
        spans = packed.keys[row]  # [prompts, shared + tokens]
        mine = (spans == 0) | (spans == item[:, None] + 1)
        length = mine.sum(1)
        columns = torch.argsort((~mine).to(torch.int8), dim=1, stable=True)[:, : int(length.max())]
        prefix = kept.prefix
        own = torch.tensor(self.lanes.prefix, device=row.device)[row // packed.rows_per_lane]
        for size in sorted(set(own.tolist())):  # lanes with prefixes of different lengths are filled one size at a time
            pick = own == size
            before = prefix[:, :, row[pick], :, :size] if prefix is not None and size else None
            self.cache.fill(slots[pick], kept.kept, row[pick], columns[pick], before)
        self.cache.filled[slots] = own + length

    def _advance(self) -> None:
        """One token in every slot (idle ones run along and stay empty)."""
        backbone = self.lanes.backbone
        mask = self.cache.open()
        embeds = backbone.embedding(self.last)[:, None]
        answer = torch.zeros_like(self.last)
        self.lanes.tell(answer == 0, self.cache.filled, answer, [0] * len(self.queues))
        with self.lanes.transforming():
            hidden = backbone.hidden(embeds, self.cache.filled[:, None], mask, self.cache)
        active = [slot for slot, request in enumerate(self.slots) if request]
        self.cache.filled[active] += 1
        self._draw(active, backbone.head(hidden[active, 0]))

    def _draw(self, slots: list[int], logits: Tensor) -> None:
        """Choose each slot's next token; a slot whose request is over is free at once."""
        requests = [request for slot in slots if (request := self.slots[slot])]
        tokens = choose(logits, requests, self.decoding)
        self.last[slots] = torch.tensor(tokens, device=self.last.device)
        noted = _logprobs(logits, tokens) if any(request.logprobs is not None for request in requests) else []
        over, most = [], self.decoding.max_new_tokens
        for i, (slot, request, token) in enumerate(zip(slots, requests, tokens, strict=True)):
            if token in self.stop:
                request.stopped = True
            else:
                request.ids.append(token)
                if request.logprobs is not None:
                    request.logprobs.append(noted[i])
            if request.stopped or len(request.ids) == min(request.limit or most, most):
                self.slots[slot] = None
                over.append(slot)
        self.cache.filled[over] = 0

    def _shrink(self) -> None:
        """When nothing waits and a fifth of the slots idle in every lane, go on with fewer."""
        lanes = len(self.queues)
        busy = [
            [s for s in range(lane * self.width, (lane + 1) * self.width) if self.slots[s]] for lane in range(lanes)
        ]
        width = max(1, max(map(len, busy)))
        if 5 * width > 4 * self.width:
            return
        keep: list[int] = []
        for lane, own in enumerate(busy):
            idle = [s for s in range(lane * self.width, (lane + 1) * self.width) if not self.slots[s]]
            keep += (own + idle)[:width]
        index = torch.tensor(keep, device=self.last.device)
        self.cache.keep(index)
        self.last, self.width = self.last[index], width
        self.slots = [self.slots[s] for s in keep]


def _logprobs(logits: Tensor, tokens: list[int]) -> list[float]:
    """Each token's log-probability (nats), in float32 at least."""
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return (logits[torch.arange(len(tokens)), tokens] - logits.logsumexp(-1)).tolist()


def choose(logits: Tensor, requests: Sequence[Request], decoding: Decoding) -> list[int]:
    """The next token of each request, from logits [requests, vocabulary]."""
    if decoding.temperature == 0:
        return logits.argmax(-1).tolist()
    probabilities, order = torch.softmax(logits.double() / decoding.temperature, -1).sort(
        dim=-1, descending=True, stable=True
    )
    below = probabilities.cumsum(-1) - probabilities  # mass above each token: the nucleus ends where it reaches top_p
    probabilities = torch.where(below < decoding.top_p, probabilities, 0)
    mass = probabilities.cumsum(-1)
    uniforms = torch.tensor(
        [request.uniforms.random() if request.uniforms else 0.0 for request in requests], dtype=torch.float64
    )
    rank = torch.searchsorted(mass, (uniforms.to(mass.device) * mass[:, -1])[:, None], right=True)
    rank = rank.clamp(max=logits.shape[-1] - 1)
    return order.gather(1, rank)[:, 0].tolist()
