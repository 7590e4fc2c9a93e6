"""Datasets as lists of rows: from local files where a study's `data:` names them, else from the Hugging Face hub."""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bakeoff.errors import InputError, extra, suggest

Row = dict[str, Any]
SUFFIXES = (".jsonl", ".json", ".tsv", ".csv", ".jsonl.gz", ".json.gz", ".tsv.gz", ".csv.gz", ".parquet")
ALIASES = {"validation": ("validation", "dev", "val")}  # file names that serve a split besides its own


def read(
    hub_id: str,
    split: str,
    sources: Mapping[str, str],
    *,
    fields: Mapping[str, type],
    config: str | None = None,
) -> list[Row]:
    """The rows of one split, in order, with exactly `fields` (column name -> str, int, float, bool, list or dict).

    Where `sources` maps `hub_id` to a directory, its file named after the split is read (`train.tsv`,
    `dev.jsonl.gz`, ...; "dev" and "val" serve "validation"); where it maps to a file, that file serves any split
    but one it is not named after. Otherwise the hub's dataset is read (`config` is its configuration) through the
    `datasets` library. Text columns of tsv and csv files become the type asked for; nothing else is converted.
    Raises InputError naming file, line and field of a bad row, or what was found instead of a missing file.
    """
    if hub_id in sources:
        path = _locate(hub_id, split, Path(sources[hub_id]).expanduser())
        rows = _check(str(path), _numbered(path, list(fields)), fields)
    else:
        rows = _check(hub_id, enumerate(_hub(hub_id, split, config), start=1), fields)
    if not rows:
        raise InputError(f"{hub_id}, split {split}", "it holds no rows")
    return rows


def _locate(hub_id: str, split: str, source: Path) -> Path:
    """The file of `source` that serves `split`."""
    where = f"data.{hub_id}"
    accepted = ALIASES.get(split, (split,))
    if source.is_file():
        _suffix(source, where)
        stem, known = source.name.split(".")[0], {"train", "test", "validation", "dev", "val"}
        if stem in known and stem not in accepted:
            raise InputError(where, f"{source} is not the {split} split", "give the directory that holds every split")
        return source
    if not source.is_dir():
        raise InputError(where, f"{source} does not exist", "give a directory with one file per split, or a file")
    for name in accepted:
        for suffix in SUFFIXES:
            if (source / (name + suffix)).is_file():
                return source / (name + suffix)
    found = sorted(child.name for child in source.iterdir())
    listed = ", ".join(found[:12]) + (", ..." if len(found) > 12 else "") or "nothing"
    what = f"no file for split '{split}' in {source}"
    raise InputError(where, what, f"found: {listed}; wanted: {split}.jsonl or another of {', '.join(SUFFIXES)}")


def _suffix(path: Path, where: str) -> str:
    """The known suffix of a file name; a second one, `.gz`, is part of it."""
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return suffix
    raise InputError(where, f"{path.name} is of no known kind", "accepted: " + ", ".join(SUFFIXES))


def _numbered(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Any]]:
    """The rows of a file with their line numbers; for json and parquet, row numbers."""
    suffix = _suffix(path, str(path))
    if suffix == ".parquet":
        yield from enumerate(_parquet(path, columns), start=1)
        return
    text = _text(path)
    if suffix.startswith(".jsonl"):
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield number, _json(line, f"{path}, line {number}")
    elif suffix.startswith(".json"):
        rows = _json(text, str(path))
        if not isinstance(rows, list):
            raise InputError(str(path), f"a list of rows is wanted, not {type(rows).__name__}")
        yield from enumerate(rows, start=1)
    else:
        yield from _table(path, text, suffix)


def _text(path: Path) -> str:
    """A file's text, unzipped."""
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.name.endswith(".gz") else data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"not UTF-8 at byte {error.start}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(str(path), f"it cannot be read: {error}") from error


def _json(text: str, where: str) -> Any:
    """Parsed JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(where, f"not JSON: {error}") from error


def _table(path: Path, text: str, suffix: str) -> Iterator[tuple[int, Row]]:
    """The rows of a tsv (no quoting, as GLUE writes it) or csv file whose first line names the columns."""
    stream = io.StringIO(text, newline="")
    tabs = suffix.startswith(".tsv")
    rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(stream, strict=True)
    try:
        header = next(rows, [])
        for cells in rows:
            if not cells:
                continue
            if len(cells) != len(header):
                what = f"{len(cells)} fields where the header names {len(header)}"
                raise InputError(f"{path}, line {rows.line_num}", what, "every line needs one field for each column")
            yield rows.line_num, {name: _Cell(cell) for name, cell in zip(header, cells, strict=True)}
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num}", str(error)) from error


class _Cell(str):
    """Text of a table: the only kind of value that is converted to the type asked for."""


def _parquet(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a parquet file, through pyarrow."""
    try:
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(str(path), "reading parquet needs pyarrow", "install it, or give a jsonl file") from error
    try:
        present = [name for name in columns if name in parquet.read_schema(path).names]
        return parquet.read_table(path, columns=present).to_pylist()
    except (OSError, ValueError) as error:
        raise InputError(str(path), f"it cannot be read: {error}") from error


def _hub(hub_id: str, split: str, config: str | None) -> Iterable[Row]:
    """A split from the Hugging Face hub or its local cache."""
    mend = f"provide local files with `data: {{{hub_id}: DIRECTORY}}` in the study"
    try:
        library = importlib.import_module("datasets")
    except ImportError as error:
        what = "reading the hub needs the `datasets` library"
        raise InputError(hub_id, what, f"{extra('hub')}, or {mend}") from error
    try:
        return library.load_dataset(hub_id, config, split=split)
    except Exception as error:  # the library raises dozens of kinds, from requests, fsspec, its builders and itself
        raise InputError(hub_id, f"split '{split}' cannot be read from the hub: {error}", mend) from error


def _check(where: str, rows: Iterable[tuple[int, Any]], fields: Mapping[str, type]) -> list[Row]:
    """Rows with `fields` alone, each value of its type."""
    checked = []
    for number, row in rows:
        if not isinstance(row, Mapping):
            raise InputError(f"{where}, line {number}", f"a row is a mapping, not {type(row).__name__}")
        checked.append({name: _value(row, name, kind, f"{where}, line {number}") for name, kind in fields.items()})
    return checked


def _value(row: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    """One field as `kind`."""
    if name not in row:
        raise InputError(f"{where}, field '{name}'", "missing", suggest(name, map(str, row)))
    value = row[name]
    if isinstance(value, _Cell):
        value = _convert(str(value), kind)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{where}, field '{name}'", f"{kind.__name__} is wanted, not {str(row[name])[:60]!r}")
    return value


def _convert(text: str, kind: type) -> Any:
    """A table's text as a number; the text itself where it is none, or where text is wanted."""
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            return text
    return text
