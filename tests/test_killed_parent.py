"""kill -9 of a grader's process, whenever it comes: no file, no process and no mount is left."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hostile import CHILD_SUBREAPER, GOOD, TESTS, below
from test_sandbox import SOURCE, needs, runs, wait_for

from bakeoff.errors import InputError
from bakeoff.grading.code import Grader, Item
from bakeoff.grading.code.jail import keeper

TIERS = ["bubblewrap", "landlock", "none"]
PROGRAM = """
import sys
from bakeoff.grading.code import Grader, Item
if len(sys.argv) > 2: sys.base_prefix = sys.argv[2]
with Grader(jobs=2, timeout=60, tier=sys.argv[1]) as grader:
    print("ready", flush=True)
    grader.grade([Item("open('a', 'w').write('a' * 1000)\\nwhile True: pass", ("f()",), "f")] * 2)
"""
FOLDER, COPY = f"{keeper.PREFIX}*", f"{keeper.PREFIX}*/python/lib/*"
POINTS: dict[str, Callable[[Path, int], bool]] = {
    "at once": lambda place, pid: True,
    "keeper": lambda place, pid: len(below(pid)) > 0,
    "folder": lambda place, pid: any(place.glob(FOLDER)),
    "copying": lambda place, pid: any(place.glob(f"{COPY}/*")),
    "half copied": lambda place, pid: len([*place.glob(f"{COPY}/padding/*")]) > 1000,
    "candidate's home": lambda place, pid: any(place.glob(f"{FOLDER}/candidate-0")),
    "judge's home": lambda place, pid: any(place.glob(f"{FOLDER}/judge-1")),
    "second slot": lambda place, pid: any(place.glob(f"{FOLDER}/candidate-2")),
    "all run": lambda place, pid: len(below(pid)) >= 8,
}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Iterator[Path]:
    """A directory for temporary files, in the reach of all, which must be empty in the end.

    `tmp_path` comes first, so that pytest's own directories are elsewhere.
    """
    folder = tempfile.mkdtemp(dir="/tmp")
    os.chmod(folder, 0o711)
    monkeypatch.setenv("TMPDIR", folder)
    monkeypatch.setattr(tempfile, "tempdir", folder)
    yield Path(folder)
    os.rmdir(folder)


@pytest.fixture
def out_of_reach(tmp_path) -> Path:
    """A prefix that only its owner may enter, with this Python's library and 2,000 small files more to copy."""
    library = tmp_path / f"prefix/lib/python{sys.version_info.major}.{sys.version_info.minor}"
    library.mkdir(parents=True)
    for real in Path(os.__file__).parent.iterdir():
        (library / real.name).symlink_to(real)
    padding = library / "padding"
    padding.mkdir()
    for i in range(2000):
        (padding / f"{i}").write_bytes(b"x" * 4096)
    (tmp_path / "prefix").chmod(0o700)
    return tmp_path / "prefix"


@pytest.mark.parametrize("tier", TIERS)
def test_while_samples_run(tier, place):
    needs(tier)
    assert killed(tier, place, POINTS["all run"])


def test_while_python_is_copied(place, out_of_reach):
    needs("landlock")
    assert killed("landlock", place, POINTS["half copied"], out_of_reach)


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_at_every_point(point, place, out_of_reach):
    """In the tier with the most steps."""
    needs("landlock")
    assert killed("landlock", place, POINTS[point], out_of_reach)


@pytest.mark.slow
@pytest.mark.parametrize("tier", TIERS)
def test_at_any_time(tier, place):
    needs(tier)
    for _ in range(15):
        end = time.monotonic() + random.uniform(0, 1.5)
        killed(tier, place, lambda place, pid, end=end: time.monotonic() > end)
        assert not any(place.iterdir())


def test_what_is_left_where_all_are_killed_goes_with_the_next_grader(place):
    """The keeper and its grader's directory, deep and closed: the next one removes it, and nobody else's."""
    good = [Item(GOOD, TESTS, "add")]
    (place / "of another kind").mkdir()
    with Grader(jobs=1, tier="none") as grader:
        kept = grader._slots[0].folder
        assert kept.keeper
        kept.keeper.kill()
        kept.keeper.wait()
        deep(kept.path / "left", 1100)
        with Grader(jobs=1, tier="none") as other:
            assert not kept.path.exists()
            with Grader(jobs=1, tier="none") as third:
                assert third.grade(good)[0].label == other.grade(good)[0].label == "pass"
        assert grader.grade(good)[0].label == "harness-error"
    (place / "of another kind").rmdir()


def test_a_place_that_cannot_be_written_to_is_one_line(place, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/proc")
    with pytest.raises(InputError) as refused, Grader(tier="none"):
        pass
    assert str(refused.value).startswith("grading code: no directory for its files in /proc (")
    assert "set TMPDIR" in str(refused.value) and "\n" not in str(refused.value)


def test_nested_directories_that_nobody_may_enter_are_removed_and_no_link_is_followed(place, tmp_path):
    home = place / "home"
    deep(home / "sample", 1100)
    (tmp_path / "other").write_text("stays")
    (home / "sample/link").symlink_to(tmp_path)
    (home / "link").symlink_to(tmp_path)
    for name in ("sample", "link"):
        keeper.clear(str(home / name), str(home))
    home.rmdir()
    assert (tmp_path / "other").read_text() == "stays"


# ---- help ---------------------------------------------------------------------------------------------------------


def killed(tier: str, place: Path, when: Callable[[Path, int], bool], prefix: Path | None = None) -> bool:
    """Start a grader of endless samples, kill it when a condition holds, and check that all is as before.

    False where it ended first.
    """
    mounts = Path("/proc/self/mountinfo").read_text()
    with adopting() as children:
        command = [sys.executable, "-c", PROGRAM, tier, *([str(prefix)] if prefix else [])]
        environment = os.environ | {"PYTHONPATH": str(SOURCE)}
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as parent:
            deadline = time.monotonic() + 30
            while not when(place, parent.pid):
                assert parent.poll() is None and time.monotonic() < deadline
            parent.send_signal(signal.SIGKILL)
        wait_for(lambda: not any(runs(pid) for pid in children()))
        assert not [*place.iterdir()]
        assert Path("/proc/self/mountinfo").read_text() == mounts
    return parent.returncode == -signal.SIGKILL


def deep(folder: Path, levels: int) -> None:
    """Make a directory in a directory, and so on; the first two may not be entered."""
    subprocess.run(["mkdir", "-p", folder / "/".join(["a"] * levels)], check=True)
    for name in ("a/a", "a"):
        (folder / name).chmod(0)


@contextlib.contextmanager
def adopting() -> Iterator[Callable[[], list[int]]]:
    """Orphans become this process's children: a function that lists those that were not there before."""
    ctypes.CDLL(None).prctl(CHILD_SUBREAPER, 1, 0, 0, 0)
    before = set(below(os.getpid()))

    def children() -> list[int]:
        return [pid for pid in below(os.getpid()) if pid not in before]

    try:
        yield children
    finally:
        ctypes.CDLL(None).prctl(CHILD_SUBREAPER, 0, 0, 0, 0)
        for pid in children():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
