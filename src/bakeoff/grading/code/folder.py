"""Folder: a directory for a grader's files on the disk, which goes when the grader goes, however that ends."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bakeoff.errors import InputError
from bakeoff.grading.code.jail import keeper

BOOT = "import sys; sys.path.append({!r}); from jail.keeper import main; main()"


@dataclass(frozen=True)
class Folder:
    """A directory, and its keeper (jail/keeper.py); neither, in tiers that keep nothing on the disk.

    Every process that puts something there must hold `held` open: the directory lasts until all have ended.
    """

    path: Path = Path()
    keeper: subprocess.Popen[bytes] | None = None

    @property
    def held(self) -> int:
        return self.keeper.stdin.fileno() if self.keeper and self.keeper.stdin else subprocess.DEVNULL


@contextlib.contextmanager
def kept(python: Path) -> Iterator[Folder]:
    """A directory among the system's temporary ones, and the keeper that removes it. InputError where none can be."""
    where, mend = "grading code", "set TMPDIR to a directory that can be written to"
    try:
        place = tempfile.gettempdir()
    except OSError as error:
        raise InputError(where, str(error.strerror or error), mend) from None
    boot = BOOT.format(str(Path(keeper.__file__).parents[1]))
    with subprocess.Popen(
        [str(python), "-I", "-S", "-B", "-c", boot, place],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/", start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdin and process.stdout
        said = os.fsdecode(process.stdout.read())
        if not os.path.isabs(said):
            raise InputError(where, f"no directory for its files in {place} ({_last_line(said)})", mend)
        try:
            yield Folder(Path(said), process)
        finally:
            with contextlib.suppress(BrokenPipeError):  # it was killed
                os.write(process.stdin.fileno(), keeper.DONE)
    if os.path.lexists(said):
        keeper.remove(said)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["its keeper died"])[-1]
