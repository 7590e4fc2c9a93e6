"""Files of JSON lines: read with each line's number, written at once and complete."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from bakeoff.errors import InputError


def read(path: Path, example: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Each line's number and object; empty lines are left out. InputError names file and line, and gives `example`."""
    if path.is_dir():
        raise InputError(str(path), "is a directory", "name a file of JSON lines")
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    data = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise InputError(f"{path}:{number}", f"not JSON ({error})", example) from None
                if not isinstance(data, dict):
                    raise InputError(f"{path}:{number}", "not a JSON object", example)
                yield number, data
    except FileNotFoundError:
        raise InputError(str(path), "no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise InputError(str(path), str(error.strerror or error)) from None


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a line for each row, at once and complete: what was at `path` stays until all are there."""
    name = path.with_name(f".{path.name}.{os.getpid()}")
    file, unnamed = _create(name)
    try:
        with file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
            file.flush()
            if unnamed:  # with src_dir_fd Python calls linkat, which follows the link in /proc to the file itself
                os.link(f"/proc/self/fd/{file.fileno()}", name, src_dir_fd=file.fileno())
        os.replace(name, path)
    except BaseException:
        name.unlink(missing_ok=True)
        raise


def _create(path: Path) -> tuple[TextIO, bool]:
    """A file to write, without a name where the system can make one, so that a killed process leaves none."""
    if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            return open(os.open(path.parent, os.O_WRONLY | os.O_TMPFILE, 0o666), "w", encoding="utf-8"), True
    return open(path, "w", encoding="utf-8"), False


def destination(path: Path, out: Path | None) -> Path:
    """Where verdicts on the rows of `path` go: FILE.graded.jsonl or `out`. InputError where nothing can be written."""
    out = out or path.with_name(f"{path.name.removesuffix('.jsonl')}.graded.jsonl")
    if out.resolve() == path.resolve():
        raise InputError("--out", "is FILE itself", "name another file")
    if out.is_dir() or not out.parent.is_dir():
        raise InputError("--out", f"{out} is a directory" if out.is_dir() else f"no such directory: {out.parent}")
    return out
