"""What is written is there whole or not at all, whatever breaks on the way, and damage is found by its manifest."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from bakeoff.errors import StorageError
from bakeoff.store import durable

WRITE = [name for name in durable.POINTS if name.startswith("write.")]
PUBLISH = [name for name in durable.POINTS if name.startswith("publish.")]


@pytest.fixture(autouse=True)
def disarmed():
    yield
    durable.armed.clear()


def arm(name: str, code: int) -> None:
    def refuse(path: Path) -> None:
        raise OSError(code, os.strerror(code))

    durable.armed[name] = refuse


def staged(folder: Path) -> Path:
    (folder / "staging" / "one" / "adapter").mkdir(parents=True)
    durable.fill(folder / "staging" / "one" / "record.json", b"{}\n")
    durable.fill(folder / "staging" / "one" / "adapter" / "weights", bytes(range(256)) * 16)
    return folder / "staging" / "one"


@pytest.fixture
def published(tmp_path) -> Path:
    assert durable.publish(staged(tmp_path), tmp_path / "trials" / "one")
    return tmp_path / "trials" / "one"


def test_what_was_published_is_listed_with_size_and_hash(published):
    told = json.loads((published / "manifest.json").read_text())
    assert list(told) == ["adapter/weights", "record.json"]
    empty = "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"  # sha256sum of "{}\n"
    assert told["record.json"] == {"bytes": 3, "sha256": empty}
    assert durable.check(published) == []


@pytest.mark.parametrize("point", WRITE)
def test_a_write_that_breaks_leaves_the_old_or_the_new(tmp_path, point):
    path = tmp_path / "plan.json"
    durable.write(path, b"old")
    arm(point, errno.ENOSPC)
    with pytest.raises(StorageError) as caught:
        durable.write(path, b"new")
    assert path.read_bytes() == (b"new" if WRITE.index(point) > WRITE.index("write.synced") else b"old")
    assert [one.name for one in tmp_path.iterdir()] == ["plan.json"]
    said = f"{path}: cannot be written (No space left on device); what was finished is kept; free some space and run"
    assert str(caught.value).startswith(said) and caught.value.exit_code == 1


@pytest.mark.parametrize("point", PUBLISH)
def test_a_directory_is_published_whole_or_not_at_all(tmp_path, point):
    folder, final = staged(tmp_path), tmp_path / "trials" / "one"
    arm(point, errno.EIO)
    with pytest.raises(StorageError, match="Input/output error"):
        durable.publish(folder, final)
    there = PUBLISH.index(point) > PUBLISH.index("publish.listed")
    assert (final.exists(), folder.exists()) == (there, not there)
    if there:
        assert durable.check(final) == []
    else:
        durable.armed.clear()
        assert durable.publish(folder, final) and durable.check(final) == []


def test_what_was_published_first_stays(tmp_path, published):
    again = staged(tmp_path)
    (again / "record.json").write_text('{"other": 1}\n')
    assert not durable.publish(again, published)
    assert not again.exists() and (published / "record.json").read_text() == "{}\n" and not durable.check(published)


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "flipped":
        path.write_bytes(data[:1] + bytes([data[1] ^ 1]) + data[2:])
    elif how == "truncated":
        path.write_bytes(data[:-1])
    else:
        path.unlink()
        if how == "a directory":
            path.mkdir()
        elif how == "a link":
            path.with_name("elsewhere").write_bytes(data)
            path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("flipped", ["adapter/weights: other bytes than manifest.json says"]),
        ("truncated", ["adapter/weights: 4,095 bytes, and manifest.json says 4,096"]),
        ("absent", ["adapter/weights: absent, and manifest.json lists it"]),
        ("a directory", ["adapter/weights: a directory, no file"]),
        ("a link", ["adapter/weights: a link, no file", "adapter/elsewhere: not in manifest.json"]),
    ],
)
def test_damage_is_found(published, how, said):
    damage(published / "adapter" / "weights", how)
    assert durable.check(published) == said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "absent"),
        (b"", "damaged"),
        (b'{"record.json": {"bytes": 3}}', "damaged"),
        (b'{"../../x": {"bytes": 3, "sha256": ""}}', "damaged (a path that leads out of the directory)"),
    ],
)
def test_a_manifest_that_is_damaged_is_damage(published, content, said):
    (published / "manifest.json").unlink()
    if content is not None:
        (published / "manifest.json").write_bytes(content)
    assert durable.check(published) == [f"manifest.json: {said}"]


def test_what_is_there_and_was_not_written_is_named(published):
    (published / "notes.txt").write_text("mine")
    (published / "elsewhere").symlink_to(published.parent)
    assert durable.check(published) == ["elsewhere: not in manifest.json", "notes.txt: not in manifest.json"]
    assert durable.check(published / "record.json") == ["record.json: no directory"]
    assert durable.check(published / "none") == ["none: absent"]


def test_a_link_is_never_written_through(tmp_path):
    """Somebody planted one where a file is about to be written; a partial file of a dead process gives way too."""
    theirs, folder = tmp_path / "theirs", staged(tmp_path)
    theirs.write_text("theirs")
    partial = tmp_path / f".plan.json.{os.getpid()}.partial"
    for plant in (lambda: partial.symlink_to(theirs), lambda: partial.hardlink_to(theirs)):
        plant()
        durable.write(tmp_path / "plan.json", b"{}\n")
    for name in ("record.json", "manifest.json"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(theirs)
    durable.fill(folder / "record.json", b"{}\n")
    assert durable.publish(folder, tmp_path / "trials" / "one") and durable.check(tmp_path / "trials" / "one") == []
    assert (tmp_path / "plan.json").read_bytes() == b"{}\n" and theirs.read_text() == "theirs"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json", "staging", "theirs", "trials"]


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupt(path: Path) -> None:
        raise KeyboardInterrupt

    durable.armed["write.written"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        durable.write(tmp_path / "plan.json", b"new")
    assert list(tmp_path.iterdir()) == []


def test_what_safetensors_could_not_write_is_the_disks_fault(tmp_path):
    with pytest.raises(StorageError, match="No space left on device"), durable.storing(tmp_path):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(SafetensorError), durable.storing(tmp_path):
        raise SafetensorError("Error while deserializing header: HeaderTooLarge")


def test_safetensors_says_so_in_these_words(tmp_path):
    import numpy
    from safetensors.numpy import save_file

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageError, match="File too large"), durable.storing(tmp_path):
            save_file({"a": numpy.zeros(1 << 16)}, tmp_path / "x.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_everything_reaches_the_disk_before_its_name_does(tmp_path):
    """The order of system calls, as the kernel saw them."""
    if not Path("/usr/bin/strace").exists():
        pytest.skip("needs strace")
    code = f"""
from pathlib import Path
from bakeoff.store import durable
folder = Path({str(tmp_path)!r})
(folder / "staging" / "one").mkdir(parents=True)
durable.fill(folder / "staging" / "one" / "record.json", b"x")
durable.publish(folder / "staging" / "one", folder / "trials" / "one")
durable.write(folder / "plan.json", b"y")
"""
    log = tmp_path / "log"
    traced = ["strace", "-f", "-y", "-o", str(log), "-e", "trace=fsync,rename,renameat,renameat2"]
    done = subprocess.run([*traced, sys.executable, "-c", code], capture_output=True, text=True)
    if "PTRACE" in done.stderr or "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    calls = [line for line in log.read_text().splitlines() if str(tmp_path) in line]
    seen = [("rename" if "rename" in line else line.split(f"{tmp_path}")[1].split(">")[0]) for line in calls]
    staged = ["/staging/one/record.json", "/staging/one/manifest.json", "/staging/one"]
    assert seen[:6] == [*staged, "", "rename", "/trials"]  # "": where trials/ was made
    assert seen[6].endswith(".partial") and seen[7:] == ["rename", ""]
