"""The zygote: a lean interpreter that is started once in a jail and forks a sample from itself for every job.

It is started with a control socket as its standard input and a description of its cell as its argument. To a message
{"role", "seconds", "memory", ...}, which brings descriptors along, it answers {"started": true} when the sample is shut
in, or {"failed": why}; to any further byte, by killing the sample, waiting for it and answering {"ended": status}.
When the socket closes, it kills the sample and ends. Its standard output is what it must hold open while it uses its
grader's directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import platform
import random
import signal
import socket
import struct
import sys
from typing import Any

from . import candidate, classic, confine, judge, seccomp
from .confine import Cell
from .keeper import clear

# What answers to programming exercises import: loaded once here, then there in every fork.
PRELOADED = (
    "__future__ abc array ast bisect collections collections.abc contextlib copy dataclasses datetime decimal enum "
    "fractions functools hashlib heapq io itertools json math numbers operator os random re statistics string struct "
    "tempfile time traceback types typing"
)
HEAD = struct.Struct(">I")
GOODBYE = HEAD.pack(0)
DESCRIPTORS = 3

living: set[int] = set()  # the sample that runs


def main() -> None:
    """Serve until the control socket closes."""
    cell = Cell(**json.loads(sys.argv[1]))
    for name in PRELOADED.split():
        __import__(name)
    import site

    site.setquit()
    control = socket.socket(fileno=fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 100))
    fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 100)  # what keeps its directory: held, never used, and closed in samples
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(null, standard)
    here = os.pidfd_open(os.getpid()) if cell.tier == "bubblewrap" else -1
    signal.signal(signal.SIGTERM, lambda *_: orphaned(cell))
    confine.end_with_parent(signal.SIGTERM if cell.home else signal.SIGKILL)
    if cell.tier == "landlock":
        confine.own_files(cell.home)
    if cell.tier != "none":
        seccomp.compiled(platform.machine())
    gc.freeze()
    say(control, {"hello": cell.tier})
    try:
        while True:
            job, descriptors = hear(control)
            if not job:
                break
            serve(control, cell, job, descriptors, null, here)
    except (EOFError, ConnectionError):
        orphaned(cell)


def orphaned(cell: Cell) -> None:
    """The parent is gone: leave nothing that runs and end. The keeper sees it, and removes the files."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for child in living:
        end(cell, child)
    os._exit(0)


def end(cell: Cell, child: int) -> int:
    """Kill a sample, in tier "none" with its process group; its exit code, negative for a signal."""
    if cell.tier == "none":
        with contextlib.suppress(ProcessLookupError):  # it has made no group yet
            os.killpg(child, signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def serve(
    control: socket.socket, cell: Cell, job: dict[str, Any], descriptors: list[int], null: int, here: int
) -> None:
    """One sample, from fork to death."""
    folder = own_folder(cell)
    told, tell = os.pipe()
    try:
        fresh = cell.tier == "bubblewrap" and cell.files
        if fresh:
            confine.unshare(confine.CLONE_NEWPID)
        zygote = os.getpid()
        child = os.fork()
        if child == 0:
            sample(cell, job, [*descriptors, tell], folder, null, 0 if fresh else zygote)
        living.add(child)
        if fresh:
            confine.enter(here, confine.CLONE_NEWPID)
        for descriptor in (*descriptors, tell):
            os.close(descriptor)
        try:
            word = os.read(told, 400)
            say(control, {"started": True} if word == b"+" else {"failed": word.decode(errors="replace") or "it died"})
            control.recv(1)  # whatever it is, or the end of the parent: time is over
        finally:
            code = end(cell, child)
            living.remove(child)
    finally:
        os.close(told)
        if cell.home:
            clear(folder, cell.home)
    say(control, {"ended": code})


def sample(cell: Cell, job: dict[str, Any], descriptors: list[int], folder: str, null: int, parent: int) -> None:
    """The sample's whole life: shut in, told so, and run. Never returns. `parent` is the zygote as it sees it."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        for place, descriptor in enumerate([fcntl.fcntl(each, fcntl.F_DUPFD, 200) for each in descriptors]):
            os.dup2(descriptor, 3 + place, inheritable=False)
        tell = 2 + len(descriptors)
        os.closerange(tell + 1, 4096)
        try:
            confine.confine(cell, folder, job["seconds"], job["memory"], parent)
        except BaseException as error:
            os.write(tell, f"{type(error).__name__}: {error}"[:300].encode())
            os._exit(1)
        os.write(tell, b"+")
        os.close(tell)
        random.seed(0)
        play(job)
    finally:
        os._exit(0)


def play(job: dict[str, Any]) -> None:
    """The part that the job gives this sample; its descriptors are 3 and up."""
    match job["role"]:
        case "candidate":
            candidate.serve(job, 3, 4)
        case "judge":
            judge.judge(job, 3, 4, 5)
        case "classic":
            classic.run(job, 3)


def own_folder(cell: Cell) -> str:
    """A directory for one sample: in bubblewrap's tier /tmp, which is fresh for each."""
    if not cell.home:
        return "/tmp"
    folder = os.path.join(cell.home, "sample")
    os.mkdir(folder, 0o700)
    if cell.uid is not None:
        os.chown(folder, cell.uid, cell.uid)
    return folder


def say(control: socket.socket, what: dict[str, Any]) -> None:
    data = json.dumps(what).encode()
    control.sendall(HEAD.pack(len(data)) + data)


def hear(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A message and the descriptors that came with it; {} is a goodbye. EOFError where the parent is gone."""
    head, descriptors, _, _ = socket.recv_fds(control, HEAD.size, DESCRIPTORS)
    head += _exactly(control, HEAD.size - len(head)) if head else b""
    if not head:
        raise EOFError
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    size = HEAD.unpack(head)[0]
    return json.loads(_exactly(control, size)) if size else {}, descriptors


def _exactly(control: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = control.recv(min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
