"""Datasets of the hub, through the `datasets` library: with a hub, with its cache alone, with neither."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import hub
import pytest

from bakeoff.data.datasets import REACH, read
from bakeoff.errors import InputError

pytestmark = pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="not run: datasets is absent")

PROGRAM = """
import json, sys, time
from bakeoff.data.datasets import read
from bakeoff.errors import InputError
from bakeoff.study.spec import Revision
for told in json.loads(sys.argv[1]):
    start = time.monotonic()
    try:
        sources = {"own/set": Revision(revision=told.pop("pinned"))} if "pinned" in told else {}
        split = told.pop("split", "train")
        rows = read("own/set", split, sources, fields={"text": str, "label": int}, **told)
        source = {"source": rows.source.model_dump(), "told": str(rows.source)}
        print(json.dumps({"rows": rows, "place": rows.place(1), **source, "seconds": time.monotonic() - start}))
    except InputError as error:
        print(json.dumps({"error": str(error), "seconds": time.monotonic() - start}))
"""


def parquet(first: int, last: int) -> bytes:
    import pyarrow
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([{"text": f"t{i}", "label": i % 2} for i in range(first, last)]), out)
    return out.getvalue()


def reads(home: Path, address: str, offline: bool, *asked: dict) -> list[dict]:
    """What a process of its own reads: the libraries look at these variables when they are imported."""
    told = {"HF_HOME": str(home), "HF_ENDPOINT": address, "HF_HUB_OFFLINE": str(int(offline)), "PYTHONPATH": "src"}
    command = [sys.executable, "-c", PROGRAM, json.dumps(asked)]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, env={**os.environ, **told}, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.slow
def test_a_dataset_of_the_hub_is_read_streamed_and_cached(tmp_path):
    files = {
        "data/train-00000-of-00002.parquet": parquet(0, 30),
        "data/train-00001-of-00002.parquet": parquet(30, 60),
        "data/test-00000-of-00001.parquet": parquet(60, 70),
        "README.md": b"# A set\n",
    }
    other = "f" * 40
    with hub.serve("own/set", files) as (address, asked):
        train, test, drawn, again, nowhere = reads(
            tmp_path, address, False, {}, {"split": "test", "pinned": hub.COMMIT}, {"sample": 5}, {"sample": 5},
            {"split": "nowhere"},
        )  # fmt: skip
        assert any(f"resolve/{hub.COMMIT}/data/train-00001" in one for one in asked)
    assert [row["text"] for row in train["rows"]] == [f"t{i}" for i in range(60)]
    assert train["place"] == "own/set, line 2"
    assert train["source"]["revision"] == hub.COMMIT and not train["source"]["files"]
    assert train["told"] == f"own/set, train: the hub at {hub.COMMIT}, 60 rows"
    assert [row["text"] for row in test["rows"]] == [f"t{i}" for i in range(60, 70)]
    assert drawn["rows"] == again["rows"] and len({row["text"] for row in drawn["rows"]}) == 5
    assert drawn["told"].endswith("5 rows drawn from a stream")
    assert nowhere["error"].startswith("own/set, split 'nowhere': ") and "['train', 'test']" in nowhere["error"]

    cached, pinned, wrong, offline, few = reads(
        tmp_path, address, True, {}, {"pinned": hub.COMMIT}, {"pinned": other}, {"sample": 5}, {"sample": 2}
    )
    assert cached["rows"] == train["rows"] and cached["source"] == train["source"]
    assert pinned["rows"] == train["rows"]
    assert f"the cache holds revision {hub.COMMIT}, not {other}" in wrong["error"]
    assert offline["rows"] == drawn["rows"] and offline["source"] == drawn["source"]
    assert all(int(row["text"][1:]) < REACH * 2 for row in few["rows"])
    local = tmp_path / "local" / "data"
    local.mkdir(parents=True)
    for name, data in files.items():
        (local.parent / name).write_bytes(data)
    fields = {"text": str, "label": int}
    assert read("own/set", "train", {"own/set": str(local.parent)}, fields=fields, sample=5) == drawn["rows"]


def test_with_no_network_and_no_cache_one_line_says_what_to_do(tmp_path):
    (told,) = reads(tmp_path, "https://huggingface.co", True, {"split": "test"})
    error = told["error"]
    assert error.startswith("own/set, split 'test': not to be had (")
    assert (
        "offline by HF_HUB_OFFLINE" in error and str(tmp_path / "datasets") in error and "the study's `data:`" in error
    )
    assert error.endswith("or with `--set data.own/set=FOLDER`") and "\n" not in error


NOBODY = "http://127.0.0.1:9"  # refuses the connection, as no network does


def test_a_hub_that_does_not_answer_is_told_in_seconds(tmp_path):
    """The library alone would try six times, with 23 seconds of pauses."""
    told = reads(tmp_path, NOBODY, False, {"split": "test"})[0]
    assert told["error"].startswith("own/set, split 'test': not to be had (the hub is out of reach); looked in: ")
    assert f"the hub ({NOBODY} does not answer: " in told["error"] and "HF_HUB_OFFLINE" not in told["error"]
    assert told["seconds"] < 15


@pytest.mark.slow
def test_a_slow_hub_is_waited_for_and_what_was_read_serves_without_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "1")
    files = {"data/train-00000-of-00001.parquet": parquet(0, 30), "README.md": b"# A set\n"}
    with hub.serve("own/set", files, delay=2) as (address, _):
        (slow,) = reads(tmp_path, address, False, {})
    assert len(slow["rows"]) == 30
    (again,) = reads(tmp_path, address, False, {})  # nothing answers there any more
    assert again["rows"] == slow["rows"] and again["seconds"] < 15


def test_a_local_folder_is_not_taken_for_the_hubs(tmp_path, monkeypatch):
    (tmp_path / "own" / "set").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"there is a local folder of that name; provide .* if it is meant"):
        read("own/set", "train", {})
