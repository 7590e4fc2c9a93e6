"""Memory: whether it ran out, how some comes back, and how often the kernel killed somebody for it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError

_NOT_ALLOCATED = (
    "can't allocate memory", "Cannot allocate memory", "bad_alloc", "CUDA out of memory", "CUDA_ERROR_OUT_OF_MEMORY",
    "ALLOC_FAILED",
)  # fmt: skip


class TooLarge(Exception):
    """Several trials were too much for the memory at once; fewer may do. Its text is the reason."""


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, a processor's or a GPU's."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    told = isinstance(error, RuntimeError | OSError | SafetensorError)  # not where a model's text may be quoted
    return told and any(one in str(error) for one in _NOT_ALLOCATED)


def short(reason: str) -> bool:
    """Whether the reason of a trial that failed says so."""
    return any(told in reason for told in ("MemoryError", "out of memory", *_NOT_ALLOCATED))


def free() -> None:
    """Give back what nothing refers to any more, and what torch and the C library keep of it."""
    torch.ones((), requires_grad=True).backward()  # until the next pass, torch keeps the graph of one that failed
    gc.collect()
    with suppress(AttributeError, OSError):  # another library than GNU's
        ctypes.CDLL(None).malloc_trim(0)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def kills() -> int | None:
    """How many processes the kernel killed for want of memory; None where it does not tell.

    Of this control group where that has a count, else of the machine.
    """
    for file in _counts():
        try:
            found = dict(line.split() for line in file.read_text().splitlines())
            return int(found["oom_kill"])
        except (OSError, KeyError, ValueError):
            continue
    return None


def _counts() -> Iterator[Path]:
    """The files that may have that count, the narrowest first."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            root = Path("/sys/fs/cgroup/memory" if controllers else "/sys/fs/cgroup")
            folder = root / path.lstrip("/")
            while folder.is_relative_to(root):  # a group may leave counting to those above, a container see only one
                yield folder / ("memory.oom_control" if controllers else "memory.events")
                folder = folder.parent
    yield Path("/proc/vmstat")
