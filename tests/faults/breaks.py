"""What breaks a run, told as plain data to the forked process (`Faults`), and done there (`arm`)."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any, TypedDict

ACTIONS = ("SIGKILL", "exit", "ENOSPC", "EIO")
EXITED = 77  # what `exit` ends with


class Faults(TypedDict, total=False):
    """What breaks, and when: all of it may be left out.

    `action` is what happens when the failpoint `point` is passed for the `hit`-th time: one of ACTIONS (a disk that is
    full stays so), SIGSTOP, or something that is done to `directory`: `readonly`, `vanish`, `fill` (of its file system
    `left` bytes are left). `log` is a file to which every passage of a failpoint and every optimiser step is written,
    `fsize` a limit on the size of files in bytes. `unprivileged` is without root's right to write anywhere. `clock` is
    `[shift, turn]`: time.time is `shift` seconds off, and jumps to the other side every `turn` looks. The step
    `stalled` takes a minute. `checkpoint_seconds` is 0 unless told. `metered` leaves the measurement of costs in.
    """

    point: str
    hit: int
    action: str
    directory: str
    left: int
    unprivileged: bool
    log: str
    fsize: int
    clock: list[float]
    stalled: int
    checkpoint_seconds: float
    metered: bool


class Points(dict[str, Any]):
    """`durable.armed` for any failpoint: `passed` is called with its name."""

    def __init__(self, faults: Faults):
        super().__init__(any=None)
        self.faults, self.passages, self.full = faults, Counter[str](), False
        self.log = os.open(faults["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND) if "log" in faults else None

    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, name: str) -> Any:
        return lambda path: self.passed(name, path)

    def passed(self, name: str, path: Path) -> None:
        self.passages[name] += 1
        self.note(f"{name} {path}")
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if name == self.faults.get("point") and self.passages[name] == self.faults.get("hit"):
            self.strike(self.faults.get("action", "SIGKILL"))

    def strike(self, action: str) -> None:
        self.note(f"struck {action}")
        if action == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "SIGSTOP":
            os.kill(os.getpid(), signal.SIGSTOP)
            return
        if action == "exit":
            os._exit(EXITED)
        if action in ("readonly", "vanish", "fill"):
            return _done_to(Path(self.faults.get("directory", "")), action, self.faults.get("left", 0))
        self.full = action == "ENOSPC"
        code = getattr(errno, action)
        raise OSError(code, os.strerror(code))

    def note(self, line: str) -> None:
        if self.log is not None:
            os.write(self.log, line.encode() + b"\n")


def _done_to(directory: Path, action: str, left: int) -> None:
    if action == "vanish":
        directory.rename(directory.with_name("gone"))
    elif action == "readonly":
        for path in (*directory.rglob("*"), directory):
            if path.is_dir():
                path.chmod(0o555)
    else:
        fill(directory, left)


def fill(directory: Path, left: int) -> None:
    """Write a file into a directory that leaves so many bytes of the file system free."""
    about = os.statvfs(directory)
    (directory / "filler").write_bytes(bytes(max(0, about.f_bavail * about.f_frsize - left)))


def arm(faults: Faults) -> None:
    """Break this process, which runs Bakeoff next."""
    from bakeoff.engine import meter
    from bakeoff.run import checkpoint
    from bakeoff.run.watch import Watch
    from bakeoff.store import durable
    from bakeoff.store.record import Solo

    if not faults.get("metered"):  # half of a toy run, and no number of a trial
        meter.measure = lambda *_: Solo(inference_seconds=0.0, inference_ratio=1.0)
    checkpoint.SECONDS = faults.get("checkpoint_seconds", 0.0)  # after every step and every portion
    checkpoint.REST = 0
    os.fsync = lambda descriptor: None  # a process that is killed loses nothing that it wrote; power cuts are not here
    durable.armed = points = Points(faults)
    points.note("began")
    shown = Watch.step

    def step(self: Watch, step: int, steps: int, losses: dict[str, float]) -> None:
        points.note(f"step {step} of {steps}: {' '.join(losses)}")
        shown(self, step, steps, losses)
        points.passages["step"] += 1
        if points.passages["step"] == faults.get("stalled"):
            points.note("stalled")
            time.sleep(60)

    Watch.step = step
    if "fsize" in faults:
        resource.setrlimit(resource.RLIMIT_FSIZE, (faults["fsize"], faults["fsize"]))
    if faults.get("unprivileged"):
        _drop_capabilities()
    if "clock" in faults:
        _turn(*faults["clock"])


def _turn(shift: float, turn: float) -> None:
    """Let time.time and what is built on it jump to and fro."""
    true, calls = time.time, Counter[str]()

    def jumping() -> float:
        calls["time"] += 1
        back = calls["time"] // turn % 2
        return true() + (-shift if back else shift)

    time.time = jumping


def _drop_capabilities() -> None:
    """Let the modes of files bind root too, as they bind everybody else."""
    version, libc = 0x20080522, ctypes.CDLL(None, use_errno=True)
    header, none = (ctypes.c_uint32 * 2)(version, 0), (ctypes.c_uint32 * 6)()
    if libc.capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")
