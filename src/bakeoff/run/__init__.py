"""How work is done: plan, groups, executors. `bakeoff.run(study)` calls this room, which is `bakeoff.run.run.run`."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """Importing anything of the room makes `bakeoff.run` the room, no more the function: it is called all the same."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from bakeoff.run.run import run

        return run(*arguments, **options)


sys.modules[__name__].__class__ = _Room
