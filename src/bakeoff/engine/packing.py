"""Packing: each lane's examples as few rows of branches, the first behind `soft prompt | trunk`, with an exact mask.

The trunk is the token prefix that all the lane's examples share; a branch holds an example's other prompt tokens and
its leaves (the answer, or each label). Soft prompt and trunk are read once for each lane: its other rows see their keys
and values (`lanes.PackCache`). A token sees these, its own branch before its leaves, and its own leaf; positions
continue from the trunk. So packed rows compute just what padded rows would.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bakeoff.data.messages import Encoded
from bakeoff.methods.adapters.adapter import SHARED

ROW_TOKENS = 128  # branch tokens a row should hold: dense attention grows with the square of a row


@dataclass(frozen=True, slots=True)
class Targets:
    """The positions whose next token is wanted, flat: lane, item (within the lane), leaf, row, column, token id."""

    lane: Tensor
    item: Tensor
    leaf: Tensor
    row: Tensor
    column: Tensor
    id: Tensor


@dataclass(frozen=True, slots=True)
class Packed:
    """One pass over the model. `rows` = lanes x rows per lane, lane by lane; `tokens` is the longest row.

    `ids`, `positions` [rows, tokens]; `spans` [rows, tokens] tells each token's item (from 1; 0 shared by the lane, -1
    padding); `left` [rows, tokens] counts the prompt tokens from each one to its prompt's last (adapter.View); `ends`
    lists (lane, item, row, column) of each prompt's last token. Each row's keys are `prefix`, then the first `shared`
    columns of its lane's first row, then its own: `keys` [rows, shared + tokens] are their spans, and `mask` [rows, 1,
    tokens, prefix + shared + tokens] (boolean) says which of them a token sees. `soft` says how many leading columns of
    each lane's first row its soft prompt fills, `virtual` how many positions its soft prompt and prefix take.
    """

    ids: Tensor
    positions: Tensor
    mask: Tensor
    spans: Tensor
    keys: Tensor
    left: Tensor
    targets: Targets
    ends: Tensor
    soft: tuple[int, ...]
    virtual: tuple[int, ...]
    prefix: int
    shared: int
    rows_per_lane: int


def trunk_length(items: Sequence[Encoded], tail: int = 1) -> int:
    """How many leading tokens all prompts share, each prompt's last `tail` excepted (the last predicts its answer)."""
    prompts = [item.prompt for item in items]
    if not prompts:
        return 0
    pairs = zip(min(prompts), max(prompts), strict=False)  # what these two share, all share
    common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    return max(0, min(common, min(map(len, prompts)) - max(1, tail)))


def pack(
    lanes: Sequence[Sequence[Encoded]],
    soft: Sequence[int],
    prefix: Sequence[int],
    device: torch.device | str = "cpu",
    row_tokens: int | None = None,
    tails: Sequence[int] = (),
) -> Packed:
    """Pack one batch of examples per lane; `soft` and `prefix` are each lane's numbers of virtual tokens.

    `tails` says how many of a prompt's last tokens each lane keeps out of its trunk (1 where nothing is said).
    """
    trunks = [trunk_length(items, tail) for items, tail in zip(lanes, tails or [1] * len(lanes), strict=True)]
    sizes = [[_branch_tokens(item, trunk) for item in items] for items, trunk in zip(lanes, trunks, strict=True)]
    most = row_tokens or ROW_TOKENS
    needed = [min(-(-sum(size) // most), len(size)) for size in sizes]  # a lane's rows do not depend on the others
    per_lane = max(1, *needed)
    rows: list[_Row] = []
    for lane, (items, size) in enumerate(zip(lanes, sizes, strict=True)):
        begin = soft[lane] + trunks[lane]
        for members in [*_balanced(size, needed[lane], begin), *[[]] * (per_lane - needed[lane])]:
            row = _Row(lane, len(rows), begin + prefix[lane])
            if items and len(rows) % per_lane == 0:
                row.share(soft[lane], prefix[lane], items[0].prompt[: trunks[lane]])
            for i in members:
                row.branch(i, items[i], trunks[lane])
            rows.append(row)
    virtual = tuple(s + p for s, p in zip(soft, prefix, strict=True))
    shared = max(s + t for s, t in zip(soft, trunks, strict=True)) if per_lane > 1 else 0
    return _assemble(rows, tuple(soft), tuple(prefix), virtual, shared, per_lane, torch.device(device))


class _Row:
    """The growing lists of one row."""

    def __init__(self, lane: int, number: int, start: int):
        self.lane, self.number, self.start = lane, number, start  # start: the position of a branch's first token
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.spans: list[int] = []
        self.leaves: list[int] = []
        self.left: list[int] = []
        self.targets: list[tuple[int, int, int, int, int, int]] = []
        self.ends: list[tuple[int, int, int, int]] = []

    def share(self, soft: int, prefix: int, trunk: Sequence[int]) -> None:
        self._add([0] * soft, 0, 0, prefix, [SHARED] * soft)
        self._add(trunk, 0, 0, prefix + soft, [SHARED] * len(trunk))

    def branch(self, item: int, encoded: Encoded, trunk: int) -> None:
        start, own = self.start, encoded.prompt[trunk:]
        self._add(own, item + 1, 0, start, range(len(own), 0, -1))
        end = len(self.ids) - 1
        self.ends.append((self.lane, item, self.number, end))
        for j, leaf in enumerate(encoded.leaves):
            first = len(self.ids)
            self._add(leaf[:-1], item + 1, j + 1, start + len(own), [0] * (len(leaf) - 1))
            for k, token in enumerate(leaf):
                self.targets.append((self.lane, item, j, self.number, end if k == 0 else first + k - 1, token))

    def _add(self, ids: Sequence[int], span: int, leaf: int, position: int, left: Sequence[int]) -> None:
        n = len(ids)
        self.left += left
        self.ids += ids
        self.positions += range(position, position + n)
        self.spans += [span] * n
        self.leaves += [leaf] * n


def _assemble(
    rows: list[_Row],
    soft: tuple[int, ...],
    prefixes: tuple[int, ...],
    virtual: tuple[int, ...],
    shared: int,
    per_lane: int,
    device: torch.device,
) -> Packed:
    longest = max(1, max(len(row.ids) for row in rows))

    def padded(name: str, value: int) -> Tensor:
        lists = [getattr(row, name) for row in rows]
        return torch.tensor([own + [value] * (longest - len(own)) for own in lists], device=device)

    spans, leaves = padded("spans", -1), padded("leaves", 0)
    keys, key_leaves = spans, leaves
    if shared:  # a lane's first row has them among its own
        lent = spans[::per_lane, :shared].clone()
        lent[lent != 0] = -1
        lent = lent.repeat_interleave(per_lane, dim=0)
        lent[::per_lane] = -1
        keys = torch.cat([lent, spans], dim=1)
        key_leaves = torch.cat([torch.zeros_like(lent), leaves], dim=1)
    mask = _mask(spans, leaves, keys, key_leaves)
    if prefix := max(prefixes, default=0):
        columns = torch.arange(prefix, device=device)
        lengths = torch.tensor([prefixes[row.lane] for row in rows], device=device)
        seen = (columns < lengths[:, None])[:, None, None, :].expand(-1, 1, longest, -1)
        mask = torch.cat([seen, mask], dim=-1)
    targets = torch.tensor([t for row in rows for t in row.targets], dtype=torch.long, device=device).view(-1, 6)
    ends = torch.tensor([e for row in rows for e in row.ends], dtype=torch.long, device=device).view(-1, 4)
    return Packed(
        padded("ids", 0), padded("positions", 0), mask, spans, keys, padded("left", 0), Targets(*targets.unbind(1)),
        ends, soft, virtual, prefix, shared, per_lane,
    )  # fmt: skip


def _mask(spans: Tensor, leaves: Tensor, keys: Tensor, key_leaves: Tensor) -> Tensor:
    """[rows, 1, tokens, keys]: no later token; the shared part or the own branch; its prompt or own leaf."""
    tokens, more = spans.shape[1], keys.shape[1] - spans.shape[1]
    causal = torch.ones(tokens, more + tokens, dtype=torch.bool, device=spans.device).tril(more)
    seen, own = keys[:, None, :], spans[:, :, None]
    branch = (seen == 0) | (seen == own)
    leaf = (key_leaves[:, None, :] == 0) | (key_leaves[:, None, :] == leaves[:, :, None])
    return (causal & branch & leaf)[:, None]


def _branch_tokens(item: Encoded, trunk: int) -> int:
    return len(item.prompt) - trunk + sum(len(leaf) - 1 for leaf in item.leaves)


def _balanced(sizes: Sequence[int], rows: int, begin: int) -> list[list[int]]:
    """Items over rows, the longest first into the emptiest row; within a row in their own order.

    The first row holds `begin` tokens already.
    """
    members: list[list[int]] = [[] for _ in range(rows)]
    load = [begin if row == 0 else 0 for row in range(rows)]
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        row = load.index(min(load))
        members[row].append(i)
        load[row] += sizes[i]
    return [sorted(row) for row in members]
