"""Start runs in processes of their own, break them, wait for them, and hold what they leave against a whole one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.breaks import Faults

TESTS = Path(__file__).resolve().parent.parent
SOURCE = TESTS.parent / "src"
LONG = 120.0  # seconds that a run of the toy study may take on a machine that is busy
TIMES = ("seconds", "bytes_peak", "peak_bytes", "held_bytes", "reserved_bytes", "tokens_per_second", "solo")
OTHERS = (".lock", "progress.json")  # of a study's own files, those that nothing is read from


class Server:
    """Forks runs (`start`); one that has ended is waited for by its `Run`."""

    def __init__(self) -> None:
        environment = {
            **os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false", "COLUMNS": "200",
            "PYTHONPATH": os.pathsep.join([str(SOURCE), str(TESTS)]),
        }  # fmt: skip
        command = [sys.executable, "-m", "faults.server"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, start_new_session=True
        )

    def start(self, told: Path, *argv: object, modules: Path | None = None, **faults: Any) -> Run:
        """Fork `bakeoff ARGV...`; what it prints is added to the files `told`.out and `told`.err.

        What it has loaded in the end is written to `modules`.
        """
        asked: dict[str, Any] = {"argv": [str(one) for one in argv], "cwd": str(told.parent), "told": str(told)}
        if modules:
            asked["modules"] = str(modules)
        for path in _outputs(told):
            path.touch()  # a kill may come before the run has opened them
        marks = tuple(path.stat().st_size for path in _outputs(told))
        return Run(self, self._asked({**asked, "faults": Faults(**faults)})["pid"], told, marks)

    def wait(self, pid: int, seconds: float) -> dict[str, Any]:
        return self._asked({"wait": pid, "seconds": seconds})

    def load(self, modules: Path) -> None:
        """Load these modules once for all later runs."""
        assert self._asked({"load": str(modules)}) == {"threads": 1}

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _asked(self, what: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._heard()

    def _heard(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the server of forks died"
        return json.loads(line)


@dataclass
class Run:
    """A forked run of Bakeoff."""

    server: Server
    pid: int
    told: Path
    marks: tuple[int, ...]

    def end(self, seconds: float = LONG) -> Ended:
        """Wait for it."""
        how = self.server.wait(self.pid, seconds)
        outputs = zip(_outputs(self.told), self.marks, strict=True)
        out, err = (path.read_bytes()[mark:].decode() for path, mark in outputs)
        ended = Ended(how["code"], out, err)
        assert not how["late"], f"did not end in {seconds} s\n{ended}"
        assert "Traceback" not in out + err, f"a traceback\n{ended}"
        return ended

    def signal(self, number: int, after: float = 0.0) -> None:
        """Send it a signal, now or in a while; nothing where it has ended."""

        def send() -> None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

        if not after:
            return send()
        threading.Timer(after, send).start()


@dataclass(frozen=True)
class Ended:
    """How a run ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of an error."""
        (line,) = [line for line in self.err.splitlines() if line]
        assert line.startswith("error: "), self
        return line


def _outputs(told: Path) -> tuple[Path, Path]:
    return told.with_name(told.name + ".out"), told.with_name(told.name + ".err")


def dump(directory: Path) -> dict[str, Any]:
    """Everything a study's directory holds by path, times and the machine's memory apart."""
    found: dict[str, Any] = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_dir():
            if not any(path.iterdir()):
                found[name + "/"] = "empty"
        elif name not in OTHERS and not name.startswith(("report.", "tables.tex", "figures/")):
            found[name] = _canonical(path)
    return found


def _canonical(path: Path) -> Any:
    match path.name:
        case "record.json" | "results.json":
            return _timeless(json.loads(path.read_bytes()))
        case "manifest.json":  # a record holds times, and so does what lists it
            return {name: entry for name, entry in json.loads(path.read_bytes()).items() if name != "record.json"}
        case "cells.csv":
            rows = [line.split(",") for line in path.read_text().splitlines()]
            keep = [i for i, name in enumerate(rows[0]) if not any(one in name for one in TIMES)]
            return [[row[i] for i in keep] for row in rows]
        case _:
            return path.read_bytes()


def _timeless(data: Any) -> Any:
    """JSON without times, without what was measured of memory, and without where and how often it was resumed."""
    if isinstance(data, dict):
        left_out = ("started", "first_started", "last_started", "resumed_at")
        return {
            key: _timeless(value)
            for key, value in data.items()
            if key not in left_out and not any(one in key for one in TIMES)
        }
    return [_timeless(one) for one in data] if isinstance(data, list) else data


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The paths at which two dumps differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name, ...) != other.get(name, ...))


def stored(directory: Path) -> dict[str, tuple[int, int]]:
    """The trials that are finished, each by what tells its record from one written anew."""
    paths = (directory / "trials").glob("*/record.json")
    return {path.parent.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def passages(log: Path) -> Counter[str]:
    """How often each failpoint was passed, by a log."""
    names = (line.split(" ", 1)[0] for line in log.read_text().splitlines())
    return Counter(name for name in names if "." in name)


def published(log: Path) -> Counter[str]:
    """How often each trial was renamed into place, by a log."""
    lines = (line.partition(" ") for line in log.read_text().splitlines())
    paths = (Path(path) for name, _, path in lines if name == "publish.renamed")
    return Counter(path.name for path in paths if path.parent.name == "trials")


def struck(log: Path) -> Path:
    """What was at work when a run was struck, by a log."""
    lines = log.read_text().splitlines()
    (at,) = [at for at, line in enumerate(lines) if line.startswith("struck ")]
    return Path(lines[at - 1].partition(" ")[2])


def wait_for(log: Path, start: str, seconds: float = LONG) -> None:
    """Until a line of a log begins so."""
    deadline = time.monotonic() + seconds
    while not (log.exists() and any(line.startswith(start) for line in log.read_text().splitlines())):
        assert time.monotonic() < deadline, f"no {start!r} in {log}"
        time.sleep(0.01)


def steps(log: Path) -> int:
    """How many optimiser steps of groups were taken, by a log."""
    return sum(line.startswith("step ") for line in log.read_text().splitlines())


def runs(log: Path) -> int:
    """How many runs began, by a log."""
    return log.read_text().splitlines().count("began")
