"""A results table as it was printed: rows with the digits kept, read from CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import NamedTuple

from bakeoff.analysis.metrics import is_fraction
from bakeoff.errors import InputError, suggest

REQUIRED = ("task", "benchmark", "method", "metric", "value")
OPTIONAL = (
    "n", "k", "trainable_percent", "model", "trainable_params", "n_inferred", "model_inferred", "source",
)  # fmt: skip
PUBLISHED = Path(__file__).parent / "published"
COUNTED = ("accuracy", "exact_match", "strict_match", "answered", "pass@1")  # so many of n items


class Column(NamedTuple):
    """What values share that may be compared."""

    model: str
    task: str
    benchmark: str
    metric: str


@dataclass(frozen=True)
class Row:
    """One printed value: a fraction (a loss in nats, BLEU to 100) with its digits, of `n` items and `k` draws each.

    `high` is the upper end where a range was printed. `n` and `model` are what the source says; `n_inferred` and
    `model_inferred` what somebody concluded where it says nothing. `line` is the row's in its file.
    """

    line: int
    task: str
    benchmark: str
    method: str
    metric: str
    value: Decimal
    high: Decimal | None = None
    n: int | None = None
    k: int | None = None
    trainable_percent: Decimal | None = None
    trainable_params: str = ""
    model: str = ""
    n_inferred: int | None = None
    model_inferred: str = ""
    source: str = ""

    @property
    def column(self) -> Column:
        """The values it may be compared with."""
        return Column(self.model, self.task, self.benchmark, self.metric)

    @property
    def counted(self) -> bool:
        """Whether it is a share of items."""
        return self.metric in COUNTED and self.high is None

    @property
    def items(self) -> int | None:
        """The number of items as stated, else as inferred."""
        return self.n or self.n_inferred


def unit(value: Decimal) -> Decimal:
    """One unit of the last printed digit: 0.01 of 0.70."""
    return Decimal(1).scaleb(int(value.as_tuple().exponent))


def count(row: Row) -> int | None:
    """How many of the row's items the value stands for, to the nearest; None where it is no share of a known number."""
    return round(row.value * row.items) if row.counted and row.items else None


@cache
def published(name: str) -> tuple[Row, ...]:
    """A table that comes with the package: `table2`."""
    return tuple(read(PUBLISHED / f"{name}.csv"))


def read(path: str | Path) -> list[Row]:
    """The rows of a CSV file; InputError with file, line and column for what is no such table."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})") from None
    return parse(text, str(path))


def parse(text: str, where: str) -> list[Row]:
    """The rows of a CSV text, at least one; `where` names it in errors."""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    try:
        head = [name.strip() for name in next(lines, [])]
        _check(head, where)
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            at = f"{where}:{lines.line_num}"
            if len(cells) != len(head):
                raise InputError(at, f"{len(cells)} fields where the header names {len(head)}", "leave no field out")
            rows.append(_row({n: c.strip() for n, c in zip(head, cells, strict=True)}, lines.line_num, at))
    except csv.Error as error:
        raise InputError(f"{where}:{lines.line_num}", f"no CSV ({error})", "close what is quoted") from None
    if not rows:
        raise InputError(where, "holds no rows", "the columns are " + ", ".join((*REQUIRED, *OPTIONAL)))
    return rows


def _check(head: list[str], where: str) -> None:
    for name in REQUIRED:
        if name not in head:
            raise InputError(f"{where}:1", f"no column '{name}'", f"a table needs {', '.join(REQUIRED)}")
    for name in head:
        if name not in (*REQUIRED, *OPTIONAL):
            raise InputError(f"{where}:1", f"unknown column '{name}'", suggest(name, (*REQUIRED, *OPTIONAL)))
        if head.count(name) > 1:
            raise InputError(f"{where}:1", f"the column '{name}' is there twice", "drop one of them")


def _row(cells: Mapping[str, str], line: int, where: str) -> Row:
    for name in REQUIRED:
        if not cells[name]:
            raise InputError(f"{where}, column '{name}'", "is empty", f"give every row its {name}")
    low, dots, high = cells["value"].partition("..")
    values = [_number(text, f"{where}, column 'value'") for text in ((low, high) if dots else (low,))]
    if is_fraction(cells["metric"]) and any(not 0 <= value <= 1 for value in values):
        what = f"{cells['value']} of {cells['metric']} lies outside 0 to 1"
        raise InputError(f"{where}, column 'value'", what, "write 79.8 % as 0.798")
    percent = cells.get("trainable_percent")
    whole = {name: _whole(cells[name], f"{where}, column '{name}'") for name in _WHOLE if cells.get(name)}
    return Row(
        line=line,
        task=cells["task"],
        benchmark=cells["benchmark"],
        method=cells["method"],
        metric=cells["metric"],
        value=values[0],
        high=values[1] if dots else None,
        trainable_percent=_share(percent, f"{where}, column 'trainable_percent'") if percent else None,
        trainable_params=cells.get("trainable_params", ""),
        model=cells.get("model", ""),
        model_inferred=cells.get("model_inferred", ""),
        source=cells.get("source", ""),
        **whole,
    )


_WHOLE = ("n", "k", "n_inferred")


def _number(text: str, where: str) -> Decimal:
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or int(value.as_tuple().exponent) <= -30 or abs(value) > 10**9:
        raise InputError(where, f"{text!r} is no number", "write a fraction such as 0.798, or a range as 0.95..1.15")
    return value


def _share(text: str, where: str) -> Decimal:
    value = _number(text, where)
    if not 0 <= value <= 100:
        raise InputError(where, f"{text} is no percentage")
    return value


def _whole(text: str, where: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:12]) <= 10**8 or len(text) > 9:
        raise InputError(where, f"{text!r} is no whole number from 1 to 100,000,000")
    return int(text)
