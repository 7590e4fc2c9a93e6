"""durable: the few ways by which anything is written, so that a crash leaves the old or the new and never a half."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from bakeoff.errors import StorageError

MANIFEST = "manifest.json"
POINTS = (
    "write.begin", "write.written", "write.synced", "write.replaced", "write.end",
    "fill.begin", "fill.end",
    "publish.begin", "publish.synced", "publish.listed", "publish.renamed", "publish.end",
    "move.begin", "move.renamed", "move.end",
)  # fmt: skip
"""Every failpoint of this module, in the order in which they are passed."""

armed: dict[str, Callable[[Path], None]] = {}
"""What a test does to a run that passes a failpoint of that name (die, raise an OSError), given the path at work."""

_MENDS = {
    errno.ENOSPC: "free some space and run the same command again",
    errno.EDQUOT: "free some of your quota and run the same command again",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f) and run the same command again",
    errno.EIO: "the disk or the way to it fails: mend that, see what `bakeoff verify` says, and run again",
    errno.EROFS: "mount it for writing and run the same command again",
    errno.ENOENT: "the directory is gone: bring it back and run the same command again",
    errno.ESTALE: "the directory is gone: bring it back and run the same command again",
    errno.EACCES: "allow writing there and run the same command again",
}


class Entry(BaseModel):
    """One file as it was written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int
    sha256: str


class Manifest(RootModel[dict[str, Entry]]):
    """manifest.json: every other file below a published directory, by its path there."""


def failpoint(name: str, path: Path) -> None:
    """A place where a test may break the program; nothing at all unless `armed` names it."""
    if armed and name in armed:
        armed[name](path)


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses while `path` is written into a StorageError."""
    try:
        yield
    except OSError as error:
        raise _refused(path, error.errno or 0, str(error)) from error
    except Exception as error:  # safetensors and tokenizers have OSErrors of their own, as text: "... (os error 28)"
        if not (told := re.search(r"\(os error (\d+)\)", str(error))):
            raise
        raise _refused(path, int(told[1])) from error


def write(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file whole or not at all: another beside it, brought to the disk and renamed over it.

    Without `sync`, a power cut may lose it; a reader never sees a half all the same.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with storing(path):
        try:
            failpoint("write.begin", path)
            _create(partial, data)
            failpoint("write.written", path)
            if sync:
                _sync(partial)
            failpoint("write.synced", path)
            partial.replace(path)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
        failpoint("write.replaced", path)
        if sync:
            _sync(path.parent)
        failpoint("write.end", path)


def fill(path: Path, data: bytes) -> None:
    """Write a file of a directory that is staged, and there; `publish` brings it to the disk."""
    with storing(path):
        failpoint("fill.begin", path)
        _create(path, data)
        failpoint("fill.end", path)


def make_folder(path: Path) -> None:
    """Make a directory where there is none, and bring its name to the disk. OSError where that is refused."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    with suppress(PermissionError):  # where one may write and not read
        _sync(path.parent)


def publish(staged: Path, final: Path) -> bool:
    """Let a staged directory appear as `final`, whole or not at all, with a manifest of its files.

    All of it reaches the disk before its name does. Both lie in one file system. Where something is at `final` already,
    that stays, `staged` is dropped, and the answer is False.
    """
    with storing(final):
        failpoint("publish.begin", final)
        files = {name: _entry(staged / name) for name in _listed(staged)[0] if name != MANIFEST}
        for name in files:
            _sync(staged / name)
        failpoint("publish.synced", final)
        _create(staged / MANIFEST, Manifest(files).model_dump_json(indent=1).encode() + b"\n")
        _sync(staged / MANIFEST)
        for folder, _, _ in os.walk(staged, topdown=False):
            _sync(Path(folder))
        failpoint("publish.listed", final)
        make_folder(final.parent)
        if not _renamed(staged, final):
            shutil.rmtree(staged)
            return False
        failpoint("publish.renamed", final)
        _sync(final.parent)
        failpoint("publish.end", final)
    return True


def move(path: Path, folder: Path) -> Path:
    """Move a file or directory into `folder`, under its own name or name-1, name-2, ...; where it is now."""
    with storing(path):
        failpoint("move.begin", path)
        make_folder(folder)
        names = (path.name + (f"-{n}" if n else "") for n in count())
        final = next(folder / name for name in names if not os.path.lexists(folder / name))
        path.rename(final)
        failpoint("move.renamed", path)
        _sync(folder)
        _sync(path.parent)
        failpoint("move.end", path)
    return final


def manifest(directory: Path) -> dict[str, Entry]:
    """What was published there, by path. ValueError says what is wrong with the manifest."""
    try:
        if what := no_file(directory / MANIFEST):
            raise ValueError(what)
        data = (directory / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError("absent") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    try:
        told = Manifest.model_validate_json(data).root
    except ValidationError:
        raise ValueError("damaged") from None
    if any(name.startswith("/") or ".." in name.split("/") for name in told):
        raise ValueError("damaged (a path that leads out of the directory)")
    return told


def same(entry: Entry, data: bytes) -> bool:
    """Whether this is what was written."""
    return len(data) == entry.bytes and hashlib.sha256(data).hexdigest() == entry.sha256


def check(directory: Path, extra: bool = True) -> list[str]:
    """What is wrong with a published directory, a line each: `file: what`. Nothing where all is as it was written.

    `extra` files, which were not published, are named too unless that is False: nothing is lost by them.
    """
    if not directory.is_dir():
        return [f"{directory.name}: {'no directory' if os.path.lexists(directory) else 'absent'}"]
    try:
        told = manifest(directory)
    except ValueError as error:
        return [f"{MANIFEST}: {error}"]
    wrong = [f"{name}: {what}" for name, entry in told.items() if (what := differs(directory, name, entry))]
    return wrong + [f"{name}: not in {MANIFEST}" for name in (strangers(directory, told) if extra else ())]


def strangers(directory: Path, told: Collection[str]) -> list[str]:
    """What lies in a published directory beside its manifest and the files that it tells of."""
    files, others = _listed(directory)
    return sorted({*files, *others} - {MANIFEST, *told})


def differs(directory: Path, name: str, entry: Entry) -> str:
    """How a file of a published directory differs from what was written; empty where it does not."""
    path = directory / name
    try:
        if what := no_file(path):
            return what
        if (size := path.stat().st_size) != entry.bytes:
            return f"{size:,} bytes, and {MANIFEST} says {entry.bytes:,}"
        return "" if _sha256(path) == entry.sha256 else f"other bytes than {MANIFEST} says"
    except (FileNotFoundError, NotADirectoryError):
        return f"absent, and {MANIFEST} lists it"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def no_file(path: Path) -> str:
    """What is there instead of a regular file; empty where there is one. FileNotFoundError where there is nothing."""
    if stat.S_ISREG(mode := path.lstat().st_mode):
        return ""
    return f"{'a link' if stat.S_ISLNK(mode) else 'a directory' if stat.S_ISDIR(mode) else 'special'}, no file"


def _create(path: Path, data: bytes) -> None:
    """Write a new file; what is there gives way, and a link is never followed (a dead process left it, or a foe)."""
    with suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with open(descriptor, "wb") as file:
        file.write(data)


def _refused(path: Path, code: int, text: str = "") -> StorageError:
    what = os.strerror(code) if code else text
    return StorageError(path, what, _MENDS.get(code, "mend that and run the same command again"))


def _listed(directory: Path) -> tuple[list[str], list[str]]:
    """The regular files below a directory, by their paths there, and what is neither file nor directory."""
    files, others = [], []
    for folder, folders, names in os.walk(directory):
        for path in (Path(folder, name) for name in (*folders, *names)):
            if path.is_symlink() or not path.is_dir():
                kind = files if path.is_file() and not path.is_symlink() else others
                kind.append(path.relative_to(directory).as_posix())
    return sorted(files), others


def _entry(path: Path) -> Entry:
    return Entry(bytes=path.stat().st_size, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _renamed(staged: Path, final: Path) -> bool:
    """Rename a directory; False where something is there already (an empty directory gives way)."""
    try:
        staged.rename(final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    return True


def _sync(path: Path) -> None:
    """Bring a file or a directory to the disk; some network file systems know no fsync of directories."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():
            raise
    finally:
        os.close(descriptor)
