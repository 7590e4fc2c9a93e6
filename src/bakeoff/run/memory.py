"""Memory: whether it ran out, how some comes back, and how often the kernel killed somebody for it."""

from __future__ import annotations

import gc
from pathlib import Path

import torch

_NOT_ALLOCATED = ("can't allocate memory", "CUDA out of memory", "CUDA_ERROR_OUT_OF_MEMORY", "ALLOC_FAILED")


class TooLarge(Exception):
    """Several trials were too much for the memory at once; fewer may do. Its text is the reason."""


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, a processor's or a GPU's."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(told in str(error) for told in _NOT_ALLOCATED)


def free() -> None:
    """Give back what nothing refers to any more, and what torch keeps of it."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def kills() -> int | None:
    """How many processes of this control group the kernel killed for want of memory; None where it does not tell."""
    try:
        places = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return None
    for _, controllers, path in places:
        if controllers == "":
            file = Path("/sys/fs/cgroup", path.lstrip("/"), "memory.events")
        elif "memory" in controllers.split(","):
            file = Path("/sys/fs/cgroup/memory", path.lstrip("/"), "memory.oom_control")
        else:
            continue
        for one in (file, file.parent.parent / file.name):  # a container may not see its own path
            try:
                found = dict(line.split() for line in one.read_text().splitlines())
                return int(found["oom_kill"])
            except (OSError, KeyError, ValueError):
                continue
    return None
