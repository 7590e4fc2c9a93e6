"""Random generators named by purpose: the only source of chance in a trial."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def generator(seed: int | None, purpose: str) -> torch.Generator:
    """A CPU torch generator that depends on the trial's seed and the purpose alone (`init`, `order/0`, `dropout`)."""
    return torch.Generator().manual_seed(_number(f"{seed}/{purpose}"))


def sampler(key: str, example: str, draw: int) -> np.random.Generator:
    """The stream of uniforms of one completion: its n-th number decides its n-th token, whoever shares the batch."""
    return np.random.Generator(np.random.Philox(_number(f"{key}/{example}/{draw}")))


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
