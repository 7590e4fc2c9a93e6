"""A disk that fills, a limit on files, a directory that is read-only or gone: told in a line, and resumed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bakeoff.store.store import Store
from faults import harness
from faults.breaks import fill

pytestmark = pytest.mark.slow

SIZE = 4 << 20
SLOW = pytest.mark.slow
PAGE = 4096  # what a file system hands out


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A file system of 4 MB; what a run says is kept beside it."""
    folder = tmp_path / "out"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"not run: a file system may not be mounted here ({error})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize(
    ("point", "hit", "left"),
    [
        ("fill.begin", 14, 1),
        *(pytest.param(point, hit, left, marks=SLOW) for point in ("fill.begin", "write.begin", "publish.begin")
          for hit, left in ((2, 0), (9, 2), (14, 5), (16, 20))),
    ],
)  # fmt: skip
def test_a_disk_fills_and_is_freed(study, disk, point, hit, left):
    """The run ends with a line; what it had finished is whole, and the next run goes on from there."""
    ended = study.start(disk, point=point, hit=hit, action="fill", directory=str(disk), left=left * PAGE).end()
    assert (ended.code, "cannot be written (No space left on device)" in ended.error) == (1, True), ended
    assert "free some space and run the same command again" in ended.error
    assert Store(disk).examine() == {}
    (disk / "filler").unlink()
    study.resume(disk)


def test_a_full_disk_is_refused_before_anything_is_written(study, disk):
    fill(disk, PAGE)
    ended = study.start(disk).end()
    assert (ended.code, "too little room" in ended.error) == (2, True), ended
    assert [path.name for path in disk.iterdir()] == ["filler"]


@pytest.mark.slow
@pytest.mark.parametrize("size", [1_000, 2_500, 5_000, 12_000, 50_000])
def test_files_have_a_limit(study, out, size):
    """RLIMIT_FSIZE, from one that plan.json exceeds to one that the report does."""
    ended = study.start(out, fsize=size).end()
    assert ended.code == 1 and "cannot be written (File too large)" in ended.error
    assert Store(out).examine() == {}
    study.resume(out)


def test_a_directory_that_may_not_be_written_to(study, out):
    study.interrupted(out)
    folders = [out, *(path for path in out.rglob("*") if path.is_dir())]
    before = harness.dump(out)
    for folder in folders:
        folder.chmod(0o555)
    ended = study.start(out, unprivileged=True).end()
    assert (ended.code, "cannot be written to" in ended.error) == (2, True), ended
    for folder in folders:
        folder.chmod(0o755)
    assert harness.dump(out) == before
    study.resume(out)


def test_what_may_not_be_cleared_away_stays(study, out):
    """Root's, who ran the study before, say."""
    study.interrupted(out)
    left = out / "staging" / "left"
    left.mkdir(exist_ok=True, parents=True)
    (left / "tensors").write_text("half")
    left.chmod(0o555)
    ended = study.start(out, unprivileged=True).end()
    assert ended.code == 0, ended
    (kept,) = out.glob(".staging.*.partial")
    assert (kept / "left" / "tensors").exists()
    (kept / "left").chmod(0o755)
    study.resume(out)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["fill.begin", "publish.begin", "write.begin"])
@pytest.mark.parametrize("hit", [3, 11])
def test_a_directory_that_may_no_longer_be_written_to(study, out, point, hit):
    ended = study.start(out, point=point, hit=hit, action="readonly", directory=str(out), unprivileged=True).end()
    assert (ended.code, "cannot be written (Permission denied)" in ended.error) == (1, True), ended
    for folder in (out, *(path for path in out.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    study.resume(out)


@pytest.mark.parametrize(
    "point", ["publish.begin", *(pytest.param(p, marks=SLOW) for p in ("fill.begin", "write.begin", "publish.listed"))]
)
def test_a_directory_that_vanishes(study, out, point):
    """It is not made anew half empty, and once it is back the run goes on."""
    ended = study.start(out, point=point, hit=8, action="vanish", directory=str(out)).end()
    assert (ended.code, "the directory is gone" in ended.error) == (1, True), ended
    assert not list(out.rglob("*.json"))
    shutil.rmtree(out, ignore_errors=True)
    out.with_name("gone").rename(out)
    study.resume(out)
