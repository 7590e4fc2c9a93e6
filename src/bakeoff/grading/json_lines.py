"""Files of JSON lines: read with each line's number, written at once and complete."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

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
    """Write a line for each row; what was at `path` stays until all are there."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def destination(path: Path, out: Path | None) -> Path:
    """Where verdicts on the rows of `path` go: FILE.graded.jsonl or `out`. InputError where nothing can be written."""
    out = out or path.with_name(f"{path.name.removesuffix('.jsonl')}.graded.jsonl")
    if out.resolve() == path.resolve():
        raise InputError("--out", "is FILE itself", "name another file")
    if out.is_dir() or not out.parent.is_dir():
        raise InputError("--out", f"{out} is a directory" if out.is_dir() else f"no such directory: {out.parent}")
    return out
