"""Bakeoff: which fine-tuning method for this model, this task and this budget? A controlled comparison, with evidence.

study = bakeoff.load("study.yaml")        # or a built-in name such as "quickstart"
outcome = bakeoff.run(study, out="runs/mine")
results = bakeoff.open("runs/mine")       # cells, comparisons, verdicts
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakeoff.version import __version__

if TYPE_CHECKING:
    from bakeoff.analysis.result import Results
    from bakeoff.run.run import Outcome, run
    from bakeoff.study.load import load

__all__ = ["Outcome", "Results", "__version__", "load", "open", "run"]

_HOMES = {
    "load": "bakeoff.study.load",
    "run": "bakeoff.run.run",
    "Outcome": "bakeoff.run.run",
    "Results": "bakeoff.analysis.result",
}


def open(directory: str | Path) -> Results:
    """The results in a study's directory: cells, comparisons and verdicts. Needs no torch."""
    from bakeoff.analysis.table import results
    from bakeoff.store.store import Store

    return results(Store.open(directory))


def __getattr__(name: str) -> Any:
    """Load the public names when they are first used, so that reports open without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'bakeoff' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
