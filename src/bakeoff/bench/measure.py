"""How it is measured: pairs of the same work in both engines, one right after the other, and the machine's own rate."""

from __future__ import annotations

import math
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")


LIMIT = 1e-4  # nats: results further apart than this are not the same
UPDATE_LIMIT = 1e-3  # relative: Adam's first steps go by the sign of gradients that may be rounding alone
SAME_TEXTS = 0.9  # of the generated texts: a near tie may part two of them
DISTURBED = 0.85  # of the machine's rate before a case, after it, or the other way round


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Seconds of the same work in lanes and in plain Hugging Face + PEFT, and how far their results lie apart.

    `length_sorted` are the seconds the plain engine takes for as many real tokens where a batch holds equal lengths;
    `flops` the floating-point operations of the lanes' matrix products; `difference` is in nats.
    """

    lanes: float
    plain: float
    length_sorted: float = 0.0
    flops: float = 0.0
    difference: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """A case's result. `ratio` is the median over pairs of plain seconds to lanes seconds, `ratios` are all of them.

    `fraction_of_gemm` is the lanes' rate of matrix products as a fraction of what a bare one reached in the same run.
    `max_update_difference` is how far gradients' norms, or what training changed, lie apart, relatively. The
    differences are infinite where a result is not a number. `gemm_gflops` are that rate before and after the case.
    """

    name: str
    ratio: float
    max_loss_difference: float
    max_update_difference: float | None
    fraction_of_gemm: float
    ratio_length_sorted: float | None
    ratios: list[float]
    lanes_seconds: float
    plain_seconds: float
    trunk_tokens: int
    gemm_gflops: tuple[float, float]
    wanted: float
    what: str
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether both engines computed the same numbers."""
        texts = self.more.get("same_texts", 0) >= SAME_TEXTS * self.more.get("texts", 0)
        return texts and self.max_loss_difference <= LIMIT and (self.max_update_difference or 0.0) <= UPDATE_LIMIT

    @property
    def disturbed(self) -> bool:
        """Whether the machine was so much slower before or after the case that something else must have used it."""
        return min(self.gemm_gflops) < DISTURBED * max(self.gemm_gflops)

    def as_json(self) -> dict[str, Any]:
        """Flat, as `--json` prints it; a difference that is no number is null."""
        own = asdict(self)
        found = {
            **{key: value for key, value in own.items() if key != "more"},
            "same": self.same,
            "disturbed": self.disturbed,
        }
        found |= self.more
        return {key: None if value == math.inf else value for key, value in found.items()}


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """The seconds that `work` takes, on a GPU too, and what it returns."""
    _settle()
    started = time.perf_counter()
    result = work()
    _settle()
    return time.perf_counter() - started, result


def _settle() -> None:
    """Wait for a GPU that is in use."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def both(first: bool, lanes: Callable[[], Any], plain: Callable[[], Any]) -> tuple[float, Any, float, Any]:
    """Seconds and results of lanes and plain, run one right after the other; `first` says whether lanes goes first."""
    if first:
        ours, mine = timed(lanes)
        theirs, other = timed(plain)
    else:
        theirs, other = timed(plain)
        ours, mine = timed(lanes)
    return ours, mine, theirs, other


def apart(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest absolute difference of two lists of numbers; infinite where one is not a number."""
    found = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    return max(found, default=0.0) if all(map(math.isfinite, found)) else math.inf


def merged(pairs: Iterable[Pair]) -> Pair:
    """Several pairs' work as one: seconds and operations add up, the largest difference stays."""
    every = list(pairs)
    sums = {key: sum(getattr(p, key) for p in every) for key in ("lanes", "plain", "length_sorted", "flops")}
    return Pair(**sums, difference=max(p.difference for p in every))


def case(
    name: str,
    pairs: Sequence[Pair],
    gemm: tuple[float, float],
    trunk: int,
    wanted: float,
    what: str,
    max_update_difference: float | None = None,
    **more: Any,
) -> Case:
    """The case's result from its pairs; `gemm` in FLOP/s, before and after."""
    total = merged(pairs)
    ratios = [p.plain / p.lanes for p in pairs]
    return Case(
        name=name,
        ratio=statistics.median(ratios),
        max_loss_difference=total.difference,
        max_update_difference=max_update_difference,
        fraction_of_gemm=total.flops / total.lanes / max(gemm),
        ratio_length_sorted=statistics.median(p.length_sorted / p.lanes for p in pairs)
        if total.length_sorted
        else None,
        ratios=ratios,
        lanes_seconds=total.lanes,
        plain_seconds=total.plain,
        trunk_tokens=trunk,
        gemm_gflops=(gemm[0] / 1e9, gemm[1] / 1e9),
        wanted=wanted,
        what=what,
        more=more,
    )


def gemm_rate(size: int = 2048, times: int = 5, device: str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """FLOP/s of the best of a few square matrix products."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(timed(lambda: torch.mm(a, b))[0] for _ in range(times + 1))


def machine() -> dict[str, Any]:
    """The hardware, the libraries' versions and the date."""
    import peft
    import transformers

    from bakeoff import __version__

    return {
        "cpu": _cpu(),
        "threads": torch.get_num_threads(),
        "dtype": "float32",
        "versions": {
            "bakeoff": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
        },
        "date": datetime.now(UTC).date().isoformat(),
    }


def _cpu() -> str:
    """The processor's name, with what it has for matrices."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    except OSError:
        return platform.processor() or platform.machine()
    said = {key.strip(): value.strip() for key, value in lines.items()}
    kinds = [kind for kind in ("avx2", "avx512f", "amx_tile") if kind in said.get("flags", "").split()]
    return " ".join([said.get("model name", platform.machine()), f"({', '.join(kinds)})" if kinds else ""]).strip()
