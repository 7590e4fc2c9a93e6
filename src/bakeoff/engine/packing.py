"""Packing: each lane's examples as few rows `[soft prompt | trunk | branch 1 | ... | branch B]`, with an exact mask.

The trunk is the token prefix that all the lane's examples share; a branch holds an example's other prompt tokens and
its leaves (the answer, or each label). A token sees the trunk, its own branch before its leaves, and its own leaf;
positions continue from the trunk. So a packed row computes just what padded rows would.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bakeoff.data.messages import Encoded
from bakeoff.methods.adapters.adapter import SHARED

ROW_TOKENS = 256  # branch tokens a row should hold: dense attention grows with the square of a row


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

    `ids`, `positions` [rows, tokens]; `mask` [rows, 1, tokens, prefix + tokens] boolean; `spans` [rows, tokens] tells
    each token's item (from 1; 0 shared by the row, -1 padding); `left` [rows, tokens] counts the prompt tokens from
    each one to its prompt's last (adapter.View); `ends` lists (lane, item, row, column) of each prompt's last token;
    `soft` says how many leading columns of each lane's rows its soft prompt fills, `virtual` how many positions its
    soft prompt and prefix take.
    """

    ids: Tensor
    positions: Tensor
    mask: Tensor
    spans: Tensor
    left: Tensor
    targets: Targets
    ends: Tensor
    soft: tuple[int, ...]
    virtual: tuple[int, ...]
    prefix: int
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
    row_tokens: int = ROW_TOKENS,
    tails: Sequence[int] = (),
) -> Packed:
    """Pack one batch of examples per lane; `soft` and `prefix` are each lane's numbers of virtual tokens.

    `tails` says how many of a prompt's last tokens each lane keeps out of its trunk (1 where nothing is said).
    """
    trunks = [trunk_length(items, tail) for items, tail in zip(lanes, tails or [1] * len(lanes), strict=True)]
    sizes = [[_branch_tokens(item, trunk) for item in items] for items, trunk in zip(lanes, trunks, strict=True)]
    needed = [
        min(-(-sum(size) // row_tokens), len(size)) for size in sizes
    ]  # a lane's rows do not depend on the others
    per_lane = max(1, *needed)
    rows: list[_Row] = []
    for lane, (items, size) in enumerate(zip(lanes, sizes, strict=True)):
        for members in [*_balanced(size, needed[lane]), *[[]] * (per_lane - needed[lane])]:
            row = _Row(lane, len(rows), soft[lane] if members else 0, prefix[lane])
            if members:
                row.share(items[members[0]].prompt[: trunks[lane]])
            for i in members:
                row.branch(i, items[i], trunks[lane])
            rows.append(row)
    virtual = tuple(s + p for s, p in zip(soft, prefix, strict=True))
    return _assemble(rows, tuple(soft), virtual, max(prefix, default=0), per_lane, torch.device(device))


class _Row:
    """The growing lists of one row."""

    def __init__(self, lane: int, number: int, soft: int, prefix: int):
        self.lane, self.number, self.soft, self.prefix = lane, number, soft, prefix
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.spans: list[int] = []
        self.leaves: list[int] = []
        self.left: list[int] = []
        self._add([0] * soft, 0, 0, prefix, [SHARED] * soft)
        self.targets: list[tuple[int, int, int, int, int, int]] = []
        self.ends: list[tuple[int, int, int, int]] = []

    def share(self, trunk: Sequence[int]) -> None:
        self._add(trunk, 0, 0, len(self.ids) + self.prefix, [SHARED] * len(trunk))

    def branch(self, item: int, encoded: Encoded, trunk: int) -> None:
        start = self.soft + self.prefix + trunk
        own = encoded.prompt[trunk:]
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
    rows: list[_Row], soft: tuple[int, ...], virtual: tuple[int, ...], prefix: int, per_lane: int, device: torch.device
) -> Packed:
    longest = max(1, max(len(row.ids) for row in rows))

    def padded(name: str, value: int) -> Tensor:
        lists = [getattr(row, name) for row in rows]
        return torch.tensor([own + [value] * (longest - len(own)) for own in lists], device=device)

    spans, leaves = padded("spans", -1), padded("leaves", 0)
    mask = _mask(spans, leaves)
    if prefix:
        columns = torch.arange(prefix, device=device)
        lengths = torch.tensor([row.prefix for row in rows], device=device)
        seen = (columns < lengths[:, None])[:, None, None, :].expand(-1, 1, longest, -1)
        mask = torch.cat([seen, mask], dim=-1)
    targets = torch.tensor([t for row in rows for t in row.targets], dtype=torch.long, device=device).view(-1, 6)
    ends = torch.tensor([e for row in rows for e in row.ends], dtype=torch.long, device=device).view(-1, 4)
    return Packed(
        padded("ids", 0), padded("positions", 0), mask, spans, padded("left", 0), Targets(*targets.unbind(1)), ends,
        soft, virtual, prefix, per_lane,
    )  # fmt: skip


def _mask(spans: Tensor, leaves: Tensor) -> Tensor:
    """[rows, 1, tokens, tokens]: no later token; the shared part or the own branch; its prompt or own leaf."""
    n = spans.shape[1]
    causal = torch.ones(n, n, dtype=torch.bool, device=spans.device).tril()
    keys, queries = spans[:, None, :], spans[:, :, None]
    branch = (keys == 0) | (keys == queries)
    leaf = (leaves[:, None, :] == 0) | (leaves[:, None, :] == leaves[:, :, None])
    return (causal & branch & leaf)[:, None]


def _branch_tokens(item: Encoded, trunk: int) -> int:
    return len(item.prompt) - trunk + sum(len(leaf) - 1 for leaf in item.leaves)


def _balanced(sizes: Sequence[int], rows: int) -> list[list[int]]:
    """Items over rows, the longest first into the emptiest row; within a row in their own order."""
    members: list[list[int]] = [[] for _ in range(rows)]
    load = [0] * rows
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        row = load.index(min(load))
        members[row].append(i)
        load[row] += sizes[i]
    return [sorted(row) for row in members]
