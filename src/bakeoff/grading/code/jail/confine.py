"""Confine: shut a freshly forked sample in. What is done depends on the tier, as told in docs/code-execution.md."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
import tempfile
from dataclasses import dataclass, field

from . import landlock, seccomp

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWPID = 0x20000, 0x08000000, 0x40000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAP_AMBIENT, CLEAR_ALL = 1, 4, 47, 4
CAPABILITIES = struct.pack("=Ii", 0x20080522, 0)  # the header of the calls, for this process

FILES = 64  # descriptors
FILE_BYTES = 16 << 20
THREADS = 64  # of the user in its namespace, the zygote's own among them
TMPFS = "mode=1777,size=32m,nr_inodes=2000"
SHARED_MEMORY = "mode=1777,size=8m,nr_inodes=200"


@dataclass(frozen=True)
class Cell:
    """How samples are shut in: the tier, whether each gets namespaces and files of its own, and as whom they run.

    `uid` is None where the sample stays who it is. `home` is where a sample's directory is made in tiers without
    namespaces, `read` what it may read there.
    """

    tier: str
    files: bool
    uid: int | None = None
    home: str = ""
    read: list[str] = field(default_factory=list)


def confine(cell: Cell, folder: str, seconds: float, memory: int, parent: int) -> None:
    """Shut this process in, for good. OSError where the system refuses any part of it: then nothing may be run.

    `parent` is the number of the process that it must not outlive, 0 where it cannot see that.
    """
    os.setsid()
    if cell.tier == "bubblewrap" and cell.files:
        unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET)
        mount("none", "/", None, MS_REC | MS_PRIVATE, None)
        mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, TMPFS)
        mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, SHARED_MEMORY)
    os.umask(0o022)
    os.chdir(folder)
    os.environ.update(HOME=folder, TMPDIR=folder)
    tempfile.tempdir = None
    _limit(seconds, memory, cell)
    if cell.uid is not None:
        os.setgroups([])
        os.setresgid(cell.uid, cell.uid, cell.uid)
        os.setresuid(cell.uid, cell.uid, cell.uid)
    end_with_parent(signal.SIGKILL)  # after the change of user, which would undo it
    if os.getppid() != parent:
        raise ProcessLookupError("the zygote is gone")
    if cell.tier == "none":
        return
    prctl(PR_CAP_AMBIENT, CLEAR_ALL)
    if library().capset(CAPABILITIES, struct.pack("=6I", *[0] * 6)):
        _fail("capabilities")
    prctl(PR_SET_DUMPABLE, 0)
    if cell.tier == "landlock":
        prctl(seccomp.PR_SET_NO_NEW_PRIVS, 1)
        landlock.restrict([*cell.read, "/dev/urandom", "/dev/random"], ["/dev/null", "/dev/zero", folder])
    seccomp.install()


def _limit(seconds: float, memory: int, cell: Cell) -> None:
    processor = 4 * int(seconds + 1)  # the parent's clock ends a sample long before; this is for a parent that cannot
    limits = {"AS": memory, "CPU": processor, "FSIZE": FILE_BYTES, "NOFILE": FILES, "CORE": 0, "MEMLOCK": 0}
    limits |= {"MSGQUEUE": 0, "NICE": 0, "RTPRIO": 0, "SIGPENDING": 256, "NPROC": THREADS}
    if cell.tier == "none":
        limits["NPROC"] = 1024  # counted over all that the user runs
        limits = {name: limits[name] for name in ("AS", "CPU", "FSIZE", "NOFILE", "CORE", "NPROC")}
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is None:
            continue
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):
            if cell.tier != "none":
                raise


def end_with_parent(number: int) -> None:
    """Have this process sent a signal when the one that started it dies, where the system can do that."""
    if hasattr(library(), "prctl"):
        prctl(PR_SET_PDEATHSIG, number)


def own_files(home: str) -> None:
    """Put a small file system of this process's own at `home`, where that is allowed; else files go to the disk."""
    with contextlib.suppress(OSError):
        unshare(CLONE_NEWNS)
        mount("none", "/", None, MS_REC | MS_PRIVATE, None)
        mount("tmpfs", home, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, TMPFS.replace("1777", "0711"))


def unshare(flags: int) -> None:
    """Namespaces of its own for this process, or for its children (processes)."""
    if library().unshare(flags):
        _fail("namespaces")


def enter(descriptor: int, kind: int) -> None:
    """Back into a process's namespace."""
    if library().setns(descriptor, kind):
        _fail("namespaces")


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None) -> None:
    def text(value: str | None) -> bytes | None:
        return None if value is None else value.encode()

    if library().mount(text(source), text(target), text(kind), ctypes.c_ulong(flags), text(options)):
        _fail(f"mounting {target}")


def prctl(option: int, value: int) -> None:
    if library().prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        _fail(f"prctl {option}")


def library() -> ctypes.CDLL:
    return _LIBRARY


def _fail(what: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}")


_LIBRARY = ctypes.CDLL(None, use_errno=True)
