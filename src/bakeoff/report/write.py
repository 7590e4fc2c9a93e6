"""Writing a report beside the trials it comes from: page, Markdown, LaTeX, numbers, figures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from bakeoff.analysis.result import Cell, Results
from bakeoff.analysis.table import results
from bakeoff.errors import InputError, suggest
from bakeoff.report import alone, html, latex, markdown, tables
from bakeoff.store import durable
from bakeoff.store.record import Solo
from bakeoff.store.store import Store

CSV_COLUMNS = (
    "model", "task", "benchmark", "method", "metric", "mean", "ci_low", "ci_high", "scope", "seed_sd", "per_seed",
    "seeds", "n_items", "trainable_params", "total_params", "trainable_percent", "adapter_bytes", "train_seconds",
    "tokens_per_second", "peak_bytes", "status", "split", "lower_is_better", "undefined_seeds", "lanes",
    "solo_train_seconds", "diverged_runs", "constant_seeds", "undertuned",
    *(f"solo_{name}" for name in Solo.model_fields),
)  # fmt: skip


def write(store: Store, formats: Sequence[str] | None = None) -> list[Path]:
    """Compute a study's results and write them in each format (all of them, unless told); the paths written."""
    formats = tuple(FORMATS) if formats is None else formats
    for name in formats:
        if name not in FORMATS:
            raise InputError("--format", f"{name!r} is no report format", suggest(name, FORMATS))
    found = results(store)
    files = dict(pair for name in formats for pair in FORMATS[name](found).items())
    if "svg" in formats:
        _clear(store.directory / "figures", files)
    return [store.write(path, text) for path, text in files.items()]


def _clear(folder: Path, files: Collection[str]) -> None:
    """Remove the figures of an earlier report that this one does not have; what no report wrote stays."""
    for path in sorted(folder.glob("*.svg")):
        if f"figures/{path.name}" not in files and alone.is_own(path.name, path.read_bytes()):
            with durable.storing(path):
                path.unlink()


def as_json(found: Results) -> str:
    """`results.json`: schema 1, full precision, no NaN."""
    return json.dumps(found.published(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(found: Results) -> str:
    """`cells.csv`: one row per cell; lists are joined by spaces, what is unknown is empty."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(CSV_COLUMNS)
    rows.writerows([_field(cell, name) for name in CSV_COLUMNS] for cell in found.cells)
    return out.getvalue()


def _field(cell: Cell, name: str) -> object:
    known = name in Cell.model_fields
    value = getattr(cell, name) if known else getattr(cell.solo, name.removeprefix("solo_"), None)
    if isinstance(value, str):
        return tables.no_formula(value)
    return " ".join(repr(one) for one in value) if isinstance(value, tuple) else "" if value is None else value


FORMATS: dict[str, Callable[[Results], dict[str, str]]] = {
    "html": lambda found: {"report.html": html.render(found)},
    "md": lambda found: {"report.md": markdown.render(found)},
    "tex": lambda found: {"tables.tex": latex.render(found)},
    "json": lambda found: {"results.json": as_json(found)},
    "csv": lambda found: {"cells.csv": as_csv(found)},
    "svg": lambda found: {f"figures/{name}": text for name, text in alone.render(found).items()},
}
"""The files of each format, by their names in the study's directory."""
