"""Rows from local files: every kind of file, and what a bad one says."""

import csv
import gzip
import importlib
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from bakeoff.data.datasets import read
from bakeoff.errors import InputError

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
FIELDS = {"text": str, "label": int}
ROWS = [{"text": "a 'quoted\" one", "label": 1}, {"text": "naïve\u2028line", "label": 0}]


def write(path: Path, rows=ROWS) -> None:
    """Rows as the kind of file that the name says."""
    kind = path.name.split(".")[1]
    if kind == "jsonl":
        text = "\n".join(json.dumps(row | {"more": None}, ensure_ascii=False) for row in rows) + "\n"
    elif kind == "json":
        text = json.dumps(rows)
    elif kind == "tsv":
        text = "label\ttext\r\n" + "".join(f"{row['label']}\t{row['text']}\r\n" for row in rows)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["text", "label"])
            writer.writeheader()
            writer.writerows(rows)
        text = path.read_bytes().decode()
        path.unlink()
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)


@pytest.mark.parametrize("kind", ["jsonl", "json", "tsv", "csv", "jsonl.gz", "json.gz", "tsv.gz", "csv.gz"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, kind):
    write(tmp_path / f"train.{kind}")
    assert read("a/b", "train", {"a/b": str(tmp_path)}, fields=FIELDS) == ROWS
    assert read("a/b", "train", {"a/b": str(tmp_path / f"train.{kind}")}, fields=FIELDS) == ROWS


def test_names_of_the_validation_split(tmp_path):
    write(tmp_path / "dev.jsonl")
    sources = {"a/b": str(tmp_path)}
    assert read("a/b", "validation", sources, fields=FIELDS) == ROWS
    with pytest.raises(InputError, match=r"no file for split 'train'.*found: dev.jsonl"):
        read("a/b", "train", sources, fields=FIELDS)
    with pytest.raises(InputError, match="not the train split"):
        read("a/b", "train", {"a/b": str(tmp_path / "dev.jsonl")}, fields=FIELDS)
    with pytest.raises(InputError, match="does not exist"):
        read("a/b", "train", {"a/b": str(tmp_path / "nowhere")}, fields=FIELDS)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("train.jsonl", '{"text": "a", "label": 1}\n\n{"text": "b"}\n', "line 3, field 'label': missing"),
        ("train.jsonl", '{"texts": "a", "label": 1}\n', "line 1, field 'text': missing; did you mean 'texts'"),
        ("train.jsonl", '{"text": "a", "label": "1"}\n', "line 1, field 'label': int is wanted, not '1'"),
        ("train.jsonl", '{"text": "a", "label": true}\n', "line 1, field 'label': int is wanted, not 'True'"),
        ("train.jsonl", '{"text": null, "label": 1}\n', "line 1, field 'text': str is wanted, not 'None'"),
        ("train.jsonl", '{"text": "a", "label": 1}\n{"text"\n', "line 2: not JSON"),
        ("train.jsonl", "[1]\n", "line 1: a row is a mapping, not list"),
        ("train.json", '{"a": 1}', "a list of rows is wanted"),
        ("train.tsv", "text\tlabel\nx\t1\ny\n", "line 3: 1 fields where the header names 2"),
        ("train.tsv", "text\tlabel\nx\tgood\n", "line 2, field 'label': int is wanted, not 'good'"),
        ("train.csv", 'text,label\n"x,1\n', "train.csv, line"),
        ("train.tsv", "text\tlabel\n", "it holds no rows"),
        ("train.tsv", "", "it holds no rows"),
        ("train.jsonl", b"\xff\xfe", "not UTF-8 at byte 0"),
        ("train.jsonl.gz", b"no gzip", "cannot be read"),
    ],
)
def test_a_bad_file_is_named_with_line_and_field(tmp_path, name, text, says):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as error:
        read("a/b", "train", {"a/b": str(tmp_path)}, fields=FIELDS)
    assert says in str(error.value)


def test_parquet(tmp_path):
    path = tmp_path / "train.parquet"
    if importlib.util.find_spec("pyarrow") is None:
        path.write_bytes(b"PAR1")
        with pytest.raises(InputError, match="needs pyarrow"):
            read("a/b", "train", {"a/b": str(tmp_path)}, fields=FIELDS)
        return
    pyarrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    assert read("a/b", "train", {"a/b": str(tmp_path)}, fields=FIELDS) == ROWS


def test_without_the_hub_the_error_says_how_to_give_files(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"`data: \{a/b: DIRECTORY\}`"):
        read("a/b", "train", {}, fields=FIELDS)


def test_sst2():
    folder = SHARED / "data" / "sst2"
    if not folder.is_dir():
        pytest.skip(f"not run: {folder} absent")
    fields, sources = {"sentence": str, "label": int}, {"stanfordnlp/sst2": str(folder)}
    train = read("stanfordnlp/sst2", "train", sources, fields=fields)
    dev = read("stanfordnlp/sst2", "validation", sources, fields=fields)
    assert (len(train), len(dev)) == (67_349, 872)
    assert train[0] == {"sentence": "hide new secretions from the parental units ", "label": 0}
    assert sum(row["label"] for row in dev) == 444
