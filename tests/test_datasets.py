"""Rows from local files: every kind of file, and what a bad one says."""

import csv
import gzip
import hashlib
import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.data.datasets import REACH, Noted, Source, read
from bakeoff.data.sample import reservoir
from bakeoff.errors import InputError

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
FIELDS = {"text": str, "label": int}
ROWS = [{"text": "a 'quoted\" one", "label": 1}, {"text": "naïve\u2028line", "label": 0}]


def write(path: Path, rows=ROWS) -> None:
    """Rows as the kind of file that the name says."""
    kind = path.name.split(".")[1]
    if kind == "jsonl":
        text = "\n".join(json.dumps({"none": None} | row, ensure_ascii=False) for row in rows) + "\n"
    elif kind == "json":
        text = json.dumps(rows)
    elif kind == "tsv":
        text = "label\ttext\r\n" + "".join(f"{row['label']}\t{row['text']}\r\n" for row in rows)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
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
        ("train.json", '{"a": 1}', "line 1, field 'text': missing"),
        ("train.json", "[1]", "line 1: a row is a mapping, not int"),
        ("train.json", "7", "line 1: a row is a mapping, not int"),
        ("train.tsv", "text\tlabel\nx\t1\ny\n", "line 3: 1 fields where the header names 2"),
        ("train.tsv", "text\tlabel\nx\tgood\n", "line 2, field 'label': int is wanted, not 'good'"),
        ("train.csv", 'text,label\n"x,1\n', "train.csv, line"),
        ("train.tsv", "text\tlabel\n", "it holds no rows"),
        ("train.tsv", "", "it holds no rows"),
        ("train.tsv", "text\ttext\tlabel\n", "line 1: two columns are named 'text'"),
        ("train.jsonl", '{"text": "\\ud800", "label": 1}', "line 1: it holds half a character"),
        ("train.jsonl", '{"text": "a", "label": ' + "9" * 5000 + "}", "line 1: not JSON"),
        ("train.jsonl", "[" * 100_000, "line 1: not JSON"),
        ("train.parquet", "PAR1", "train.parquet: "),
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


def test_alternative_and_optional_columns(tmp_path):
    write(tmp_path / "train.jsonl", [{"answer": "a", "level": None}, {"final": "b", "answer": "c", "level": 2}])
    sources, others = {"a/b": str(tmp_path)}, {"final": ("solution", "answer")}
    found = read(
        "a/b", "train", sources, fields={"final": str, "level": int | None, "more": str | None}, alternatives=others
    )
    assert found == [{"final": "a", "level": None, "more": None}, {"final": "b", "level": 2, "more": None}]
    with pytest.raises(InputError, match="line 1, field 'final': missing"):
        read("a/b", "train", sources, fields={"final": str})
    with pytest.raises(InputError, match="line 2, field 'answer': int is wanted, not 'c'"):
        write(tmp_path / "train.jsonl", [{"answer": 1}, {"answer": "c"}])
        read("a/b", "train", sources, fields={"final": int}, alternatives=others)


def test_numbers_of_a_table_that_may_be_absent(tmp_path):
    (tmp_path / "train.csv").write_text("a,b\n1,2.5\n")
    sources = {"a/b": str(tmp_path)}
    assert read("a/b", "train", sources, fields={"a": int | None, "b": float}) == [{"a": 1, "b": 2.5}]
    assert read("a/b", "train", sources) == [{"a": "1", "b": "2.5"}]
    assert [type(value) for value in read("a/b", "train", sources)[0].values()] == [str, str]
    write(tmp_path / "test.jsonl", [{"b": 2}])
    assert read("a/b", "test", sources, fields={"b": float}) == [{"b": 2.0}]


def test_folders_as_the_hub_writes_them(tmp_path):
    """Numbered files, in `data` or in the configuration's folder, all of them."""
    for folder, name in (("data", "train"), ("main", "test")):
        (tmp_path / folder).mkdir()
        for i in range(2):
            write(tmp_path / folder / f"{name}-0000{i}-of-00002.jsonl", [{"text": f"{name} {i}"}])
    sources = {"a/b": str(tmp_path)}
    found = read("a/b", "train", sources, fields={"text": str})
    assert [row["text"] for row in found] == ["train 0", "train 1"]
    assert found.place(1) == f"{tmp_path}/data/train-00001-of-00002.jsonl, line 1"
    assert [name for name, _ in found.source.files] == ["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"]
    assert len(read("a/b", "test", sources, fields={"text": str}, config="main")) == 2
    with pytest.raises(InputError, match="no file for split 'test'"):
        read("a/b", "test", sources, fields={"text": str})
    (tmp_path / "data" / "train-00000-of-00002.jsonl").unlink()
    with pytest.raises(InputError, match="1 of the 2 files of split 'train' are there"):
        read("a/b", "train", sources, fields={"text": str})


def test_the_first_of_several_names_that_is_there(tmp_path):
    write(tmp_path / "test.jsonl")
    assert read("a/b", ("train", "test"), {"a/b": str(tmp_path)}, fields=FIELDS).source.split == "test"


def test_what_was_read_is_told_without_its_place(tmp_path):
    write(tmp_path / "train.jsonl")
    sources = Noted({"a/b": str(tmp_path)})
    read("a/b", "train", sources, fields=FIELDS)
    read("a/b", "train", sources)
    (source,) = sources.facts
    digest = hashlib.sha256((tmp_path / "train.jsonl").read_bytes()).hexdigest()
    assert source == Source(id="a/b", split="train", rows=2, files=(("train.jsonl", digest),))
    assert str(source) == f"a/b, train: train.jsonl (sha256 {digest[:12]}), 2 rows"
    path = str(tmp_path)
    assert read(path, "train", {}).source == source.model_copy(update={"id": tmp_path.name})


def test_a_sample_of_files_is_a_fixed_draw(tmp_path):
    """Of the first REACH x 7 rows of several files; how many there are is told of all."""
    rows = [{"n": i} for i in range(REACH * 7 + 50)]
    write(tmp_path / "train-00000-of-00002.jsonl", rows[:40])
    write(tmp_path / "train-00001-of-00002.jsonl", rows[40:])
    sources = {"a/b": str(tmp_path)}
    drawn, whole = read("a/b", "train", sources, sample=7), read("a/b", "train", sources)
    assert drawn == reservoir(whole[: REACH * 7], 7) == read("a/b", "train", sources, sample=7) and len(drawn) == 7
    assert [drawn.place(i) for i in range(7)] == [whole.place(row["n"]) for row in drawn]
    assert drawn.source == whole.source and read("a/b", "train", sources, sample=999) == whole


def test_every_row_is_as_likely_to_be_drawn(monkeypatch):
    """Algorithm R on 4 of 12: each of the rows, and each pair of neighbours, as often as a uniform draw takes them."""
    import random

    seeds, seeded, times = iter(range(6000)), random.Random, 6000
    monkeypatch.setattr("bakeoff.data.sample.random.Random", lambda _: seeded(next(seeds)))
    found = [reservoir(range(12), 4) for _ in range(times)]
    assert all(one == sorted(set(one)) and len(one) == 4 for one in found)
    for i in range(12):
        assert sum(i in one for one in found) / times == pytest.approx(1 / 3, abs=0.025)
    for i in range(11):
        assert sum({i, i + 1} <= set(one) for one in found) / times == pytest.approx(1 / 11, abs=0.016)


def test_a_sample_holds_no_more_than_it_keeps(tmp_path):
    """40 MB of rows, of which 20 of 10 kB each are kept."""
    import tracemalloc

    with gzip.open(tmp_path / "train.jsonl.gz", "wt", compresslevel=1) as file:
        for i in range(4000):
            file.write(json.dumps({"n": i, "text": "x" * 10_000}) + "\n")
    tracemalloc.start()
    found = read("a/b", "train", {"a/b": str(tmp_path)}, sample=20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(found), found.source.rows) == (20, 4000) and max(row["n"] for row in found) < REACH * 20
    assert peak < 4e6


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "jsonl.gz", "csv.gz"])
@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({"text": TEXT, "label": st.integers(-5, 5)}), min_size=1, max_size=5))
def test_any_rows_come_back_as_they_were(tmp_path_factory, kind, rows):
    path = tmp_path_factory.mktemp("rows") / f"train.{kind}"
    write(path, rows)
    found = read("a/b", "train", {"a/b": str(path)}, fields=FIELDS)
    assert found == rows and found.source.rows == len(rows)


@pytest.mark.parametrize("kind", ["jsonl", "json", "tsv", "csv", "jsonl.gz", "parquet"])
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_give_rows_or_one_line(tmp_path_factory, kind, data):
    path = tmp_path_factory.mktemp("bytes") / f"train.{kind}"
    path.write_bytes(data)
    try:
        assert read("a/b", "train", {"a/b": str(path.parent)})
    except InputError as error:
        assert "train" in str(error) and "\n" not in str(error)


def test_without_the_library_the_error_says_how_to_give_files(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"`data: \{a/b: FOLDER\}`"):
        read("a/b", "train", {}, fields=FIELDS)


def test_a_library_that_runs_scripts_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(__version__="3.6.0"))
    with pytest.raises(InputError, match=r"datasets 3\.6\.0 can run scripts of a dataset's author"):
        read("a/b", "train", {}, fields=FIELDS)


def test_a_pickle_is_refused():
    """The library's name for pickled tables is `pandas`."""
    from bakeoff.data.datasets import _check_builder

    builder = type("Pandas", (), {"__module__": "datasets.packaged_modules.pandas.pandas"})()
    with pytest.raises(InputError, match=r"^a/b: is in the format 'pandas'; read are parquet, json, csv, arrow, text$"):
        _check_builder(builder, "a/b", None)


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
