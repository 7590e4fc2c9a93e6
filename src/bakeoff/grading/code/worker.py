"""The worker process: reads samples as JSON lines, forks once for each, and answers with verdicts as JSON lines.

It is started as a program, imports the standard library alone, and knows nothing of the package. See grader.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import json
import os
import random
import resource
import secrets
import select
import shutil
import signal
import sys
import tempfile
import time
import types

# What answers to programming exercises import: loaded once here, then there in every fork.
PRELOADED = (
    "bisect collections copy dataclasses datetime decimal enum fractions functools heapq itertools "
    "math operator re statistics string typing"
)
LABELS = ("pass", "fail", "error", "memory")  # what a sample's process may say of itself
REPORT_BYTES = 4096
DETAIL = 300
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def main(folder: str) -> None:
    """Serve until the grader says goodbye (an empty line), or stdin ends without one: the grader died."""
    grader, parted = os.getppid(), False
    for name in PRELOADED.split():
        __import__(name)
    prctl = _prctl()
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # what a sample leaves behind becomes this process's child, to be ended
    source, sink = _move_away(0), _move_away(1)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    gc.freeze()
    try:
        with open(source, "rb") as requests:
            for line in requests:
                if parted := line == b"\n":
                    break
                answer = judge(json.loads(line), folder, source, prctl)
                os.write(sink, json.dumps(answer).encode() + b"\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not parted:
            patience = time.monotonic() + 2  # a dying process closes its files some time before it is gone
            while os.getppid() == grader and time.monotonic() < patience:
                time.sleep(0.01)
            with contextlib.suppress(OSError):  # the last worker of a grader that died finds the folder of all empty
                os.rmdir(os.path.dirname(folder))


def judge(sample: dict, folder: str, source: int, prctl) -> dict:
    """Run one sample in a process of its own, to its end or its deadline, and clear away what it left."""
    home = tempfile.mkdtemp(dir=folder)
    report, report_end = os.pipe()
    secret_end, secret = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            _keep_only(report_end, secret_end)
            _confine(home, sample["timeout"], sample["memory"])
            _run(sample)
        finally:
            os._exit(1)
    token = secrets.token_hex(16)  # drawn after the fork: the sample's memory has never held it
    os.write(secret, token.encode())
    for descriptor in (secret, secret_end, report_end):
        os.close(descriptor)
    said = _listen(report, source, started + sample["timeout"])
    seconds = time.monotonic() - started
    os.close(report)
    status = _end(child)
    shutil.rmtree(home, ignore_errors=True)
    label, detail = _verdict(said, token, status)
    return {"id": sample["id"], "label": label, "seconds": seconds, "detail": detail}


# ---- in the sample's process --------------------------------------------------------------------------------------


def _confine(home: str, timeout: float, memory: int) -> None:
    """A session, a directory and limits of its own."""
    os.setsid()
    os.chdir(home)
    os.environ.update(HOME=home, TMPDIR=home)
    tempfile.tempdir = None
    seconds = int(timeout) + 1
    limits = {"CPU": seconds, "AS": memory, "FSIZE": 1 << 24, "NOFILE": 64, "CORE": 0, "NPROC": 1024}
    for name, value in limits.items():
        kind = getattr(resource, "RLIMIT_" + name, None)
        if kind is not None:
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            try:
                resource.setrlimit(kind, (value, value))
            except (ValueError, OSError):
                continue  # a system that has the limit's name and not the limit


def _keep_only(report: int, secret: int) -> None:
    """Close every descriptor but 0, 1, 2 (all the null device), the report (3) and the secret (4)."""
    report, secret = _move_away(report), _move_away(secret)
    os.dup2(report, 3, inheritable=False)
    os.dup2(secret, 4, inheritable=False)
    os.closerange(5, 256)


def _run(sample: dict) -> None:
    """Execute the code, then its tests, and report; never returns to the caller's stack."""
    write, read, leave, dumps = os.write, os.read, os._exit, json.dumps
    code, tests, entry_point = sample["code"], sample["tests"], sample["entry_point"]
    module = types.ModuleType("solution")
    sys.modules["solution"] = sys.modules["__main__"] = module
    random.seed(0)
    token, label, detail, step = "", "error", "", "the code"
    try:
        exec(compile(code, "<code>", "exec"), module.__dict__)
        if entry_point not in module.__dict__:
            raise NameError(f"'{entry_point}' is not defined")
        for step in tests:
            exec(compile(step, "<test>", "exec"), module.__dict__)
        label, token = "pass", read(4, 64).decode()
    except BaseException as error:
        label = {AssertionError: "fail", MemoryError: "memory"}.get(type(error), "error")
        label = "error" if label == "fail" and step == "the code" else label
        if label == "memory":
            error.__traceback__ = None  # its frames, and the module, may hold all there is
            module.__dict__.clear()
        try:
            detail = f"{type(error).__name__}: {error}"[:DETAIL]
        except BaseException:
            detail = "an exception that cannot be shown"
        detail = f"{detail} (in {step[:DETAIL]})"
    write(3, dumps({"token": token, "label": label, "detail": detail}).encode())
    leave(0)


# ---- in the worker ------------------------------------------------------------------------------------------------


def _listen(report: int, source: int, deadline: float) -> bytes | None:
    """What the sample reports before it ends; None at the deadline. Ends with the process where the grader is gone."""
    poll = select.poll()
    poll.register(report, select.POLLIN)
    poll.register(source, 0)  # only its end is of interest
    said = b""
    while len(said) <= REPORT_BYTES:
        ready = dict(poll.poll(max(0, (deadline - time.monotonic()) * 1000)))
        if source in ready:
            return None
        if report not in ready:
            if time.monotonic() >= deadline:
                return None
            continue
        part = os.read(report, REPORT_BYTES)
        if not part:
            break
        said += part
        if _parse(said):
            break
    return said


def _end(child: int) -> int:
    """Kill the sample's process group and all that escaped from it, and collect them; the sample's wait status."""
    _kill(os.killpg, child)
    _kill(os.kill, child)  # where it died before it had a group of its own
    status = os.waitpid(child, 0)[1]
    while orphans := _children():
        for orphan in orphans:
            _kill(os.kill, orphan)
        os.waitpid(-1, 0)
    return status


def _children() -> list[int]:
    """The processes whose parent is this one, ended or not; none where the system does not tell."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def _kill(how, target: int) -> None:
    try:
        how(target, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _verdict(said: bytes | None, token: str, status: int) -> tuple[str, str]:
    """The label and detail that follow from a report. A pass needs the token; all else is the sample's word."""
    if said is None:
        return "timeout", "not done at the deadline"
    report = _parse(said)
    if report is None:
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
            return "timeout", "out of CPU time"
        return "error", "it ended without a verdict" + (" and wrote to the report" if said else "")
    label, detail = report.get("label"), str(report.get("detail", ""))
    if label not in LABELS or (label == "pass" and report.get("token") != token):
        return "error", "it forged a verdict"
    return label, "".join(c if c.isprintable() else "\ufffd" for c in detail)[: 2 * DETAIL]


def _parse(said: bytes) -> dict | None:
    """A complete report, or None."""
    try:
        report = json.loads(said)
    except (ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) else None


def _move_away(descriptor: int) -> int:
    """A copy of a descriptor above those that samples know, which no other program inherits."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 100)


def _prctl():
    """Linux's prctl; a function that does nothing elsewhere."""
    if not sys.platform.startswith("linux"):
        return lambda option, value: None
    library = ctypes.CDLL(None)
    return lambda option, value: library.prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main(sys.argv[1])
