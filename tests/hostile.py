"""Run a corpus of hostile samples and check each verdict and all that must hold afterwards.

    python tests/hostile.py FILE.jsonl [TIER]

A row is an attack on one task: `def add(a, b)` returns the sum. See tests/attacks/README.md for its fields. Imports the
standard library and bakeoff.grading alone, so that any user's Python can run it.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import json
import os
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bakeoff.grading.code import Grader, Item, Verdict
from bakeoff.grading.code import grader as harness

GOOD = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return a - b - 1\n"
TESTS = (
    "assert add(2, 3) == 5", "assert add(-1, 1) == 0", "assert add(7, 8) == 15", "assert add(0, 0) == 0",
    "assert add(10**6000, 1) == 10**6000 + 1", "assert add(4999, 4999) == 9998",
)  # fmt: skip
ALL = ("canary_intact", "no_process_left", "no_connection", "parent_alive", "others_unaffected")
TIMEOUT = 3.0
PATIENCE = 5.0  # seconds in which what a sample left must be gone
RSS = 150 << 20
CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Outcome:
    """What became of one attack: its verdict, and everything that was not as it must be."""

    id: str
    verdict: Verdict
    wrong: tuple[str, ...]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def run(
    rows: Sequence[dict[str, Any]], tier: Any = None, timeout: float = TIMEOUT, batch: int = 1
) -> Iterator[Outcome]:
    """Grade every attack among honest samples, `batch` of them at a time, and look around after each batch."""
    with Bait() as bait, Grader(jobs=2, timeout=timeout, tier=tier) as grader:
        bait.remember(grader)
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            codes = [code for row in part for code in (GOOD, bait.code(row), WRONG)] + [GOOD]
            verdicts = grader.grade([Item(code, TESTS, "add") for code in codes])
            others = [verdict.label for i, verdict in enumerate(verdicts) if i % 3 != 1]
            after = bait.violations(grader)
            if others != ["pass", "fail"] * len(part) + ["pass"]:
                after["others_unaffected"] = f"got {others}"
            for row, verdict in zip(part, verdicts[1::3], strict=True):
                yield Outcome(row["id"], verdict, tuple(_wrong(row, verdict, after, timeout)))


def _wrong(row: dict[str, Any], verdict: Verdict, after: dict[str, str], timeout: float) -> Iterator[str]:
    accepted = [row["expected"], *row.get("also_ok", [])]
    if verdict.label not in accepted:
        yield f"verdict {verdict.label} ({verdict.detail}), accepted: {', '.join(accepted)}"
    for name in dict.fromkeys([*ALL, *row.get("post", [])]):
        if name == "fast" and (verdict.label == "timeout" or verdict.seconds > 0.8 * timeout):
            yield f"fast: took {verdict.seconds:.1f} s"
        if name == "result_json_roundtrip" and json.loads(json.dumps(asdict(verdict)).encode()) != asdict(verdict):
            yield name
    yield from (f"{name}: {why}" for name, why in after.items())


class Bait:
    """What attacks go for: a home with a canary, sockets that listen, a secret, a place for marks."""

    def __enter__(self) -> Bait:
        self.stack = contextlib.ExitStack()
        ctypes.CDLL(None).prctl(CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans become this process's children, to be found
        self.others = set(parents())
        self.tmp = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="hostile-")))
        os.chmod(self.tmp, 0o711)
        self.home, self.mark = self.tmp / "home", self.tmp / "mark"
        self.home.mkdir()
        self.mark.mkdir()
        os.chmod(self.mark, 0o777)
        for name in ("canary", "results.jsonl", ".netrc"):
            (self.home / name).write_text(f"the {name} of this user\n")
        (self.tmp / "cwd").mkdir()
        self.stack.enter_context(contextlib.chdir(self.tmp / "cwd"))
        os.environ["BAKEOFF_HOSTILE_TOKEN"] = "a secret"
        self.temporary = self.tmp / "tmp"
        self.temporary.mkdir()
        os.chmod(self.temporary, 0o777)
        os.environ["TMPDIR"], tempfile.tempdir = str(self.temporary), None
        self.tcp, self.udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        self.abstract = socket.socket(socket.AF_UNIX)
        self.tcp.bind(("127.0.0.1", 0))
        self.udp.bind(("127.0.0.1", 0))
        self.abstract_name = f"hostile-{os.getpid()}"
        self.abstract.bind("\0" + self.abstract_name)
        for listener in (self.tcp, self.abstract):
            listener.listen()
        for each in (self.tcp, self.udp, self.abstract):
            each.setblocking(False)
            self.stack.enter_context(each)
        return self

    def __exit__(self, *_: object) -> None:
        del os.environ["BAKEOFF_HOSTILE_TOKEN"], os.environ["TMPDIR"]
        tempfile.tempdir = None
        ctypes.CDLL(None).prctl(CHILD_SUBREAPER, 0, 0, 0, 0)
        for pid, parent in parents().items():  # jails whose bwrap was gone first
            if parent == os.getpid() and pid not in self.others:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        self.stack.close()

    def code(self, row: dict[str, Any]) -> str:
        """An attack's code with the placeholders filled in; bytes that are no UTF-8 as lone surrogates."""
        if row.get("code_b64"):
            return base64.b64decode(row["code_b64"]).decode("utf-8", "surrogateescape")
        code = eval(row["code_expr"], {"GOOD": GOOD}) if row.get("code_expr") else row["code"]
        for name, value in {
            "CANARY": self.home / "canary", "HOME": self.home, "MARK": self.mark, "PORT": self.tcp.getsockname()[1],
            "UDP": self.udp.getsockname()[1], "ABS": self.abstract_name, "SECRET": "BAKEOFF_HOSTILE_TOKEN",
        }.items():  # fmt: skip
            code = code.replace(f"@{name}@", str(value))
        return code

    def remember(self, grader: Grader) -> None:
        """How things are before the first attack."""
        grader.grade([Item(GOOD, TESTS, "add")] * 4)
        self.home_before = _state(self.home)
        self.files_before = _state(Path(harness.__file__).parent)
        self.rss_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def violations(self, grader: Grader) -> dict[str, str]:
        """Every post-condition that does not hold, and why."""
        found = {}
        if (home := _state(self.home)) != self.home_before:
            found["canary_intact"] = f"the home changed: {set(home.items()) ^ set(self.home_before.items())}"
        if marks := os.listdir(self.mark):
            found["no_marker"] = f"{marks}"
        if _state(Path(harness.__file__).parent) != self.files_before:
            found["harness_files_unchanged"] = "they changed"
        if left := os.listdir("."):
            found["no_tmp_left"] = f"{left} in the working directory"
        if left := [name for name in os.listdir(self.temporary) if not name.startswith("bakeoff-code-")]:
            found["no_tmp_left"] = f"{left} in the temporary directory"
        if left := [str(path) for path in self.temporary.glob("bakeoff-code-*/*/*") if path.parent.name != "python"]:
            found["no_tmp_left"] = f"{left} in the grader's directory"
        if (grown := (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self.rss_before) << 10) > RSS:
            found["parent_rss_bounded"] = f"grew by {grown >> 20} MiB"
        for name, listener in (("TCP", self.tcp), ("a socket", self.abstract), ("UDP", self.udp)):
            with contextlib.suppress(BlockingIOError):
                listener.recv(1) if name == "UDP" else listener.accept()
                found["no_connection"] = f"somebody came through {name}"
        if left := self._left(grader):
            found["no_process_left"] = f"{left}"
        return found

    def _left(self, grader: Grader) -> list[int]:
        """Processes below this one that are none of the grader's jails, after some patience."""
        deadline = time.monotonic() + PATIENCE
        while True:
            processes = parents()
            jails = {jail.process.pid for slot in grader._slots for jail in (slot._candidate, slot._judge) if jail}
            jails |= {slot.folder.keeper.pid for slot in grader._slots if slot.folder.keeper}
            if grader.tier == "bubblewrap":  # bwrap waits outside for the zygote, its only child
                jails |= {pid for pid, parent in processes.items() if parent in jails}
            left = [pid for pid in processes if _below(pid, os.getpid(), processes) and pid not in jails | self.others]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.05)


def parents() -> dict[int, int]:
    """Every process's parent."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            found[int(name)] = int(Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[1])
    return found


def below(pid: int) -> list[int]:
    """Every process below one, itself not, parents first."""
    processes, found = parents(), [pid]
    for one in found:
        found += [child for child, parent in processes.items() if parent == one]
    return found[1:]


def _below(pid: int, top: int, parent: dict[int, int]) -> bool:
    while pid in parent and parent[pid] != pid:
        pid = parent[pid]
        if pid == top:
            return True
    return False


def _state(folder: Path) -> dict[str, str]:
    """Names, modes and contents of all files below a folder, caches apart."""
    return {
        str(path): f"{path.stat().st_mode:o} "
        + (hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
        for path in (folder, *sorted(folder.rglob("*")))
        if "__pycache__" not in path.parts
    }


def main() -> int:
    rows, tier = read(Path(sys.argv[1])), sys.argv[2] if len(sys.argv) > 2 else None
    wrong, began = 0, time.monotonic()
    for outcome in run(rows, tier):
        wrong += bool(outcome.wrong)
        state = "WRONG" if outcome.wrong else "right"
        verdict = outcome.verdict
        print(f"{state} {outcome.id}: {verdict.label}, {verdict.seconds:.2f} s, {verdict.detail[:90]}")
        for each in outcome.wrong:
            print(f"      {each}")
        tier = outcome.verdict.sandbox
    print(f"{wrong} wrong of {len(rows)}, as uid {os.geteuid()}, {tier}, {time.monotonic() - began:.0f} s")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
