"""Datasets as lists of rows: from local files where a study's `data:` names them, else from the Hugging Face hub."""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib
import io
import json
import math
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

from bakeoff.data import reach
from bakeoff.data.sample import reservoir
from bakeoff.errors import InputError, extra, nearest, suggest
from bakeoff.study.spec import COMMIT, Frozen, Revision

T = TypeVar("T")
Row = dict[str, Any]
Kind = type | UnionType  # str, int, float, bool, list, dict; `str | None` where a column may be absent or null
Sources = Mapping[str, str | Revision]  # hub id -> the local file or folder that serves it, or the revision to read

TEXT_SUFFIXES = (".jsonl", ".json", ".tsv", ".csv")
SUFFIXES = (*TEXT_SUFFIXES, *(suffix + ".gz" for suffix in TEXT_SUFFIXES), ".parquet")
ALIASES = {"validation": ("validation", "dev", "val")}  # file names that serve a split besides its own
FORMATS = ("parquet", "json", "csv", "arrow", "text", "cache")  # that hold data and nothing that runs; cache is arrow
REACH = 10  # a sample of n rows is drawn from the first n times so many: CodeParrot's 50,000 from a tenth of it


class Source(Frozen):
    """What one split was read from: local files, each with the sha256 of its bytes, or a commit of the hub."""

    id: str
    split: str
    rows: int
    files: tuple[tuple[str, str], ...] = ()  # name, sha256
    revision: str | None = None
    streamed: bool = False  # then `rows` is how many were drawn, and how many there are is not known

    def __str__(self) -> str:
        told = [f"{name} (sha256 {digest[:12]})" for name, digest in self.files]
        told += [] if self.files else [f"the hub at {self.revision or 'an unknown revision'}"]
        drawn = " drawn from a stream" if self.streamed else ""
        return f"{self.id}, {self.split}: {', '.join(told)}, {self.rows:,} row{'s' * (self.rows != 1)}{drawn}"


class Rows(list[Row]):
    """A split's rows in order. `place(i)` says where row i stands ("train.tsv, line 7"), `source` what was read."""

    def __init__(self, rows: Iterable[Row], places: Sequence[tuple[str, int]], source: Source):
        super().__init__(rows)
        self.places, self.source = places, source

    def place(self, i: int) -> str:
        """Where row `i` stands, for error messages: a file and its line, or the number of a row."""
        where, number = self.places[i]
        return f"{where}, line {number}"


class Noted(dict[str, Any]):
    """Sources that remember what was read through them: `facts`, each once, in order."""

    def __init__(self, sources: Sources):
        super().__init__(sources)
        self.facts: dict[Source, None] = {}

    @property
    def ids(self) -> tuple[str, ...]:
        """The data sets that were read, each once, in order."""
        return tuple(dict.fromkeys(source.id for source in self.facts))


def read(
    hub_id: str,
    split: str | Sequence[str],
    sources: Sources,
    *,
    fields: Mapping[str, Kind] | None = None,
    alternatives: Mapping[str, Sequence[str]] | None = None,
    config: str | None = None,
    revision: str | None = None,
    sample: int | None = None,
) -> Rows:
    """The rows of one split, in order, with exactly `fields` (column name -> its type); without `fields`, all columns.

    Where `sources` maps `hub_id` to a folder (or `hub_id` is the absolute path of one), its files named after the split
    are read (`train.tsv`, `dev.jsonl.gz`, `data/train-00000-of-00002.parquet`, ...; "dev" and "val" serve "validation";
    folders `data` and `config` are looked into); where it maps to a file, that file serves any split but one it is not
    named after. Otherwise the hub's dataset is read through the `datasets` library: `config` is its configuration, and
    the revision is the one in `sources`, else `revision`. HF_HUB_OFFLINE leaves the library its cache. Of several names
    of a split, files serve the first that is there; the hub is asked for the first.

    A wanted field that a row lacks is looked for under its `alternatives`, in order. `str | None` allows a field to be
    absent or null. Text of tsv and csv files becomes the number asked for; nothing else is converted.

    `sample` is for a dataset that may be too large to hold, or to fetch whole: so many of its first REACH x `sample`
    rows, by a fixed draw (`reservoir`), all equally likely. They are drawn as they are read, and no others are held.
    The hub's are streamed, so only what they are drawn from is fetched; the library's cache and local files of the
    same rows give the same. What was not drawn is not checked.

    Raises InputError naming file, line and field of a bad row, or what was found instead of a missing split.
    """
    names = (split,) if isinstance(split, str) else tuple(split)
    local = Path(hub_id).is_absolute()
    given = hub_id if local else sources.get(hub_id)
    if isinstance(given, str):
        path = Path(given).expanduser()
        paths, name = _locate(path, names, hub_id if local else f"data.{hub_id}", config)
        found = _files(paths, path.name if local else hub_id, name, sample, _columns(fields, alternatives))
    else:
        at = given.revision if given else revision
        found = _hub(hub_id, names[0], config, at, sample, _columns(fields, alternatives))
    found = _checked(found, fields, alternatives or {})
    if isinstance(sources, Noted):
        sources.facts[found.source] = None
    return found


@contextmanager
def path_or_id(name: str, where: str, folder: str) -> Iterator[None]:
    """While open, that the hub's `name` is not to be had is told at `where` as both things that it may have meant.

    It is a hub id, or a path from `folder` (a study's own) at which nothing is.
    """
    try:
        yield
    except InputError as error:
        if Path(name).is_absolute() or error.where.partition(", split ")[0] != name:
            raise
        what = f"no folder or file '{name}' beside the study file; as a data set of the hub: {error.what}"
        mend = nearest(name, _beside(name, Path(folder))) or "a path is relative to the study file"
        raise InputError(where, what, mend) from error


def _beside(name: str, folder: Path) -> list[str]:
    """What is where a path leads, if the folder of that name is there, else what is in `folder`."""
    inner = Path(name).parent if os.path.isdir((folder / name).parent) else Path()
    found = (folder / inner).iterdir()
    return [str(inner / one.name) for one in found if one.is_dir() or is_file_name(one.name)]


# --- local files ---


def _locate(source: Path, names: Sequence[str], where: str, config: str | None = None) -> tuple[list[Path], str]:
    """The files of `source` that serve a split of one of these names, in order, and the split's name."""
    if os.path.isfile(source):  # unlike Path's, False where the name is longer than the system takes
        return [_lone(source, names, where)], names[0]
    if not os.path.isdir(source):
        raise InputError(where, f"{source} does not exist", "give a folder with one file per split, or a file")
    folders = [source / inner for inner in ("", config or "data", "data")]
    for name in names:
        for folder in folders:
            for alias in ALIASES.get(name, (name,)):
                if paths := _named(folder, alias):
                    return paths, name
    found = sorted(child.name for child in source.iterdir())
    listed = ", ".join(found[:12]) + (", ..." if len(found) > 12 else "") or "nothing"
    what = f"no file for split '{names[0]}' in {source}"
    raise InputError(where, what, f"found: {listed}; wanted: {names[0]}.jsonl or another of {', '.join(SUFFIXES)}")


def _lone(source: Path, names: Sequence[str], where: str) -> Path:
    """A file that serves every split; InputError where its name is another split's."""
    _suffix(source, where)
    stem, known = source.name.split(".")[0], {"train", "test", "validation", "dev", "val"}
    if stem in known and not any(stem in ALIASES.get(name, (name,)) for name in names):
        raise InputError(where, f"{source} is not the {names[0]} split", "give the folder that holds every split")
    return source


def _named(folder: Path, name: str) -> list[Path]:
    """The files of a folder that hold the split of that name: one, or numbered ones as the hub writes them."""
    for file in (*(name + suffix for suffix in SUFFIXES), name):
        if os.path.isfile(folder / file):  # unlike Path's, False where the name is longer than the system takes
            return [folder / file]
    shards = re.compile(re.escape(name) + r"-\d+-of-(\d+)(-[0-9a-f]+)?\.\w+(\.gz)?")
    numbered = folder.glob("*-of-*") if os.path.isdir(folder) else ()
    paths = sorted(path for path in numbered if shards.fullmatch(path.name))
    if paths:
        wanted = int(shards.fullmatch(paths[0].name)[1])  # pyright: ignore[reportOptionalSubscript]
        if len(paths) != wanted:
            raise InputError(str(folder), f"{len(paths)} of the {wanted} files of split '{name}' are there")
    return paths


def is_file_name(name: str) -> bool:
    """Whether it ends like the name of a file that can be read."""
    return name.endswith(SUFFIXES)


def _suffix(path: Path, where: str) -> str:
    """The known suffix of a file name; a second one, `.gz`, is part of it."""
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return suffix
    what = "is a script, which is not run" if path.suffix == ".py" else "is of no known kind"
    raise InputError(where, f"{path.name} {what}", "accepted: " + ", ".join(SUFFIXES))


def _files(paths: Sequence[Path], name: str, split: str, sample: int | None, columns: list[str] | None) -> Rows:
    """The rows of the files as they are: all, or a sample of those that come first."""
    count = 0

    def counted() -> Iterator[tuple[tuple[str, int], Any]]:
        nonlocal count
        for path in paths:
            for number, row in _numbered(path, columns):
                count += 1
                yield (str(path), number), row

    numbered = counted()
    kept = list(numbered) if sample is None else reservoir(islice(numbered, REACH * sample), sample)
    for _ in numbered:  # the others are counted, since their number tells a stand-in
        pass
    digests = tuple((path.name, _sha256(path)) for path in paths)
    source = Source(id=name, split=split, rows=count, files=digests)
    return Rows([row for _, row in kept], [place for place, _ in kept], source)


def _numbered(path: Path, columns: Sequence[str] | None) -> Iterator[tuple[int, Any]]:
    """The rows of a file with their line numbers; for a JSON list and for parquet, row numbers."""
    suffix = _suffix(path, str(path))
    if suffix == ".parquet":
        yield from enumerate(_parquet(path, _bytes(path), columns), start=1)
    elif suffix.startswith((".csv", ".tsv")):
        yield from _table(path, _text(path), suffix)
    elif suffix.startswith(".jsonl") or not (text := _text(path)).lstrip().startswith("["):  # many a `.json` has lines
        yield from _json_lines(path)
    else:
        yield from enumerate(_json(text, str(path)), start=1)


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """The rows of a file with one on each line, none held longer than it is looked at, with their line numbers."""
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            yield number, _json(line, f"{path}, line {number}")


def _lines(path: Path) -> Iterator[str]:
    """A text file's lines, unzipped."""
    before = 0
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            for line in file:
                yield line.decode("utf-8" if before else "utf-8-sig")
                before += len(line)
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"not UTF-8 at byte {before + error.start}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(str(path), f"it cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(str(path), f"it cannot be read: {error.strerror}") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(str(path), f"it cannot be read: {error.strerror}") from error


def _text(path: Path) -> str:
    """A file's text, unzipped."""
    return "".join(_lines(path))


def _json(text: str, where: str) -> Any:
    """Parsed JSON; InputError also for `\\ud800` and its like, halves of characters that no text holds."""
    try:
        value = json.loads(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError as error:
        raise InputError(where, "it holds half a character, which is no text") from error
    except (ValueError, RecursionError) as error:
        raise InputError(where, f"not JSON: {error}") from error


def _table(path: Path, text: str, suffix: str) -> Iterator[tuple[int, Row]]:
    """The rows of a tsv (no quoting, as GLUE writes it) or csv file whose first line names the columns."""
    csv.field_size_limit(2**31 - 1)
    stream = io.StringIO(text, newline="")
    tabs = suffix.startswith(".tsv")
    rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(stream, strict=True)
    try:
        header = next(rows, [])
        if twice := next((name for name, count in Counter(header).items() if count > 1), None):
            raise InputError(f"{path}, line 1", f"two columns are named '{twice}'", "name each column once")
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


def _parquet(path: Path, data: bytes, columns: Sequence[str] | None) -> list[Row]:
    """The rows of a parquet file, through pyarrow."""
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        what = "reading parquet needs pyarrow"
        raise InputError(str(path), what, f"{extra('hub')}, or give a jsonl file") from error
    try:
        file = parquet.ParquetFile(arrow.BufferReader(data))
        present = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
        return file.read(columns=present).to_pylist()
    except Exception as error:  # pyarrow raises a dozen kinds: its own, those of dates, of time zones, of texts
        raise InputError(str(path), f"it cannot be read: {_line(error)}") from error


def _columns(fields: Mapping[str, Kind] | None, alternatives: Mapping[str, Sequence[str]] | None) -> list[str] | None:
    """Every column that may be wanted; None where all are."""
    if fields is None:
        return None
    return [name for field in fields for name in (field, *(alternatives or {}).get(field, ()))]


# --- the hub ---


def _hub(
    hub_id: str, split: str, config: str | None, revision: str | None, sample: int | None, columns: list[str] | None
) -> Rows:
    """A split from the Hugging Face hub or the library's cache of it; `sample` of its rows where it is streamed."""
    library = _library(hub_id)
    where = f"{hub_id}, split '{split}'"
    if os.path.exists(hub_id):  # the library would read it in place of the hub's
        raise InputError(where, "there is a local folder of that name", _provide(hub_id) + " if it is meant")
    with reach.known() as silent:
        try:
            builder = library.load_dataset_builder(hub_id, config, revision=revision)
            _check_builder(builder, where, revision)
            if sample is None:
                rows = _all_rows(builder, split, columns)
            else:
                rows = _drawn_rows(builder, split, sample, columns)
        except InputError:
            raise
        except Exception as error:  # the library raises dozens of kinds, from httpx, fsspec, its builders and itself
            raise InputError(where, _absent(library, error, silent), _provide(hub_id)) from error
    commit = _commit(builder) or revision
    source = Source(id=hub_id, split=split, rows=len(rows), revision=commit, streamed=sample is not None)
    return Rows(rows, [(hub_id, number) for number in range(1, len(rows) + 1)], source)


def _all_rows(builder: Any, split: str, columns: list[str] | None) -> list[Row]:
    builder.download_and_prepare()
    table = builder.as_dataset(split=split)
    wanted = [name for name in table.column_names if columns is None or name in columns]
    return list(table.select_columns(wanted) if wanted else table)


def _drawn_rows(builder: Any, split: str, sample: int, columns: list[str] | None) -> list[Row]:
    stream = islice(builder.as_streaming_dataset(split=split), REACH * sample)
    return reservoir(({k: x for k, x in r.items() if columns is None or k in columns} for r in stream), sample)


def _library(hub_id: str) -> Any:
    """The `datasets` library, of a version that runs no code of a dataset's author."""
    try:
        library = importlib.import_module("datasets")
    except ImportError as error:
        what = "reading the hub needs the `datasets` library"
        raise InputError(hub_id, what, f"{extra('hub')}, or {_provide(hub_id)}") from error
    if int(library.__version__.split(".")[0]) < 4:
        what = f"datasets {library.__version__} can run scripts of a dataset's author"
        raise InputError(hub_id, what, "install datasets 4 or newer, which cannot")
    return library


def _check_builder(builder: Any, where: str, revision: str | None) -> None:
    """InputError where a dataset is no plain data (a pickle), or the library's cache holds another commit of it."""
    kind = type(builder).__module__.split(".")[-1]
    if kind not in FORMATS:
        raise InputError(where, f"is in the format '{kind}'", f"read are {', '.join(FORMATS[:-1])}")
    commit = _commit(builder)
    if revision and COMMIT.fullmatch(revision) and commit != revision:
        what = f"the hub is out of reach, and the cache holds revision {commit or 'unknown'}, not {revision}"
        raise InputError(where, what, "read it once with a network")


def _absent(library: Any, error: Exception, silent: str) -> str:
    """Why a split is not to be had, and where it was looked for; `silent` says why the hub does not answer."""
    told = "the hub is out of reach" if silent and isinstance(error, ConnectionError) else _line(error)
    offline = ", offline by HF_HUB_OFFLINE" if library.config.HF_HUB_OFFLINE else ""
    hub = f"the hub ({silent})" if silent else f"the hub{offline}"
    return f"not to be had ({told}); looked in: the study's `data:`, {library.config.HF_DATASETS_CACHE} and {hub}"


def _provide(hub_id: str) -> str:
    given = f"`data: {{{hub_id}: FOLDER}}` in the study or in a file for `--from`"
    return f"provide local files with {given}, or with `--set data.{hub_id}=FOLDER`"


def _commit(builder: Any) -> str | None:
    """The commit that a dataset's files are read at, which names its folder in the cache; None where none does."""
    found = [name for name in (builder.hash, *Path(builder.cache_dir).parts) if name and COMMIT.fullmatch(name)]
    return found[0] if found else None


def _line(error: Exception) -> str:
    """An error's first line."""
    return (str(error).strip() or type(error).__name__).split("\n", 1)[0]


# --- rows ---


def _checked(found: Rows, fields: Mapping[str, Kind] | None, alternatives: Mapping[str, Sequence[str]]) -> Rows:
    """Rows with `fields` alone, each value of its type; as they are where no fields are asked for."""
    if not found:
        raise InputError(f"{found.source.id}, split {found.source.split}", "it holds no rows")

    def checked(i: int) -> Row:
        row = found[i]
        if not isinstance(row, Mapping):
            raise InputError(found.place(i), f"a row is a mapping, not {type(row).__name__}")
        if fields is None:
            return {name: str(value) if isinstance(value, _Cell) else value for name, value in row.items()}
        return {name: _value(found, i, name, kind, alternatives) for name, kind in fields.items()}

    found[:] = each(found, checked)
    return found


def each(found: Rows, make: Callable[[int], T]) -> list[T]:
    """`make(i)` for every row; where rows are refused, the first's InputError, with how many there are and where."""
    made: list[T] = []
    wrong: list[tuple[int, InputError]] = []
    for i in range(len(found)):
        try:
            made.append(make(i))
        except InputError as error:
            wrong.append((i, error))
    if len(wrong) > 1:
        first, lines = wrong[0][1], ", ".join(str(found.places[i][1]) for i, _ in wrong[:3])
        what = f"{first.what} ({len(wrong)} rows cannot be used: lines {lines}{', ...' if len(wrong) > 3 else ''})"
        raise InputError(first.where, what, first.mend)
    if wrong:
        raise wrong[0][1]
    return made


def _value(found: Rows, i: int, name: str, kind: Kind, alternatives: Mapping[str, Sequence[str]]) -> Any:
    """One field of row `i` as `kind`."""
    row = found[i]
    column = next((other for other in (name, *alternatives.get(name, ())) if other in row), None)
    if column is None:
        if isinstance(None, kind):
            return None
        raise InputError(f"{found.place(i)}, field '{name}'", "missing", suggest(name, map(str, row)))
    value = row[column]
    if isinstance(value, _Cell):
        value = _convert(str(value), kind)
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 2**1023 else math.inf
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{found.place(i)}, field '{column}'", f"a finite number is wanted, not {value}")
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        wanted = kind.__name__ if isinstance(kind, type) else str(kind)
        raise InputError(f"{found.place(i)}, field '{column}'", f"{wanted} is wanted, not {str(row[column])[:60]!r}")
    return value


def _convert(text: str, kind: Kind) -> Any:
    """A table's text as a number; the text itself where it is none, or where text is wanted."""
    for number in (int, float):
        if kind in (number, number | None):
            try:
                return number(text)
            except ValueError:
                return text
    return text
