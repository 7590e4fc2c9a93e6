"""Tiers: what can hold model-written code on this machine, and how a zygote is started in it.

bubblewrap: namespaces, seccomp, no capabilities; as root also a user of its own. landlock: Landlock, seccomp and a user
of its own, which takes root. none: limits alone, only where somebody asked for it by name.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from bakeoff.errors import InputError
from bakeoff.grading.code.folder import Folder, kept
from bakeoff.grading.code.jail import landlock, seccomp
from bakeoff.grading.code.jail.confine import Cell

Tier = Literal["bubblewrap", "landlock", "none"]
PROTECTED: tuple[Tier, ...] = ("bubblewrap", "landlock")
INSTALL = "install bubblewrap (Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap)"
UNSAFE = "--unsafe-no-sandbox"

JAIL = Path(__file__).with_name("jail")
BOOT = "import sys; sys.path.append({!r}); from jail.zygote import main; main()"
INHERITED = ("LD_LIBRARY_PATH",)
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONIOENCODING": "utf-8:backslashreplace",
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip
LIBRARIES = ("/lib", "/lib32", "/lib64", "/libx32")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
NOT_NEEDED = ("site-packages", "test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "config-*")
USERS = range(61184, 65520)  # what systemd calls dynamic: no person's
_unprotected = False


@contextlib.contextmanager
def unprotected(yes: bool = True) -> Iterator[None]:
    """Inside, every grader of this process runs code with no sandbox: what `--unsafe-no-sandbox` asks for."""
    global _unprotected
    before, _unprotected = _unprotected, yes
    try:
        yield
    finally:
        _unprotected = before


def wanted() -> tuple[Tier, ...]:
    """The tiers to try, the strongest first; only "none" where that was asked for."""
    return ("none",) if _unprotected else PROTECTED


def missing(tier: Tier) -> str:
    """What a tier lacks here, as far as can be told without starting it; empty where nothing."""
    if not hasattr(os, "fork"):
        return f"{sys.platform} cannot fork processes"
    if tier == "none":
        return ""
    if not sys.platform.startswith("linux"):
        return f"needs Linux, this is {sys.platform}"
    if reason := seccomp.supported():
        return reason
    if tier == "bubblewrap":
        return "" if shutil.which("bwrap") else "bubblewrap is not installed"
    if not landlock.version():
        return "the kernel has no Landlock"
    return "" if os.geteuid() == 0 else "needs root, to run samples as a user of their own"


def refuse(reasons: Mapping[Tier, str]) -> InputError:
    """The error for a machine where no tier works."""
    told = "; ".join(f"{tier}: {reason}" for tier, reason in reasons.items())
    return InputError("grading code", f"no sandbox here ({told})", f"{INSTALL}, or run it unprotected with {UNSAFE}")


@contextlib.contextmanager
def files(tier: Tier) -> Iterator[Folder]:
    """A directory for what a tier without namespaces keeps on the disk; it is gone in the end, and if we are killed."""
    with kept(interpreter()) if tier != "bubblewrap" and not missing(tier) else contextlib.nullcontext(Folder()) as one:
        yield one


def start(tier: Tier, role: str, number: int, folder: Path) -> tuple[list[str], dict[str, str]]:
    """The command and environment of a zygote, the `number`th of its grader, for samples of that role.

    `folder` is that which `files` made for the tier.
    """
    environment = ENVIRONMENT | {name: os.environ[name] for name in INHERITED if name in os.environ}
    user = secrets.choice(USERS) if os.geteuid() == 0 else None
    cell = Cell(tier=tier, files=role == "candidate", uid=user)
    if tier == "bubblewrap":
        return [*_bubblewrap(), *_python("/jail", cell)], environment
    home = folder / f"{role}-{number}"
    home.mkdir(mode=0o711, exist_ok=True)
    if tier == "none":
        return _python(str(JAIL.parent), Cell(tier=tier, files=True, home=str(home))), environment
    prefix = _readable_prefix(folder)
    environment["PYTHONHOME"] = str(prefix)
    read = ["/usr", *LIBRARIES, "/etc/ld.so.cache", str(prefix)]
    return _python(str(JAIL.parent), Cell(tier=tier, files=True, uid=cell.uid, home=str(home), read=read)), environment


def interpreter() -> Path:
    """The Python that virtual environments rest on."""
    named = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    return named if named.exists() else Path(sys.executable).resolve()


def _python(place: str, cell: Cell) -> list[str]:
    # Isolated like -I, which would also ignore PYTHONHASHSEED: the order of sets must not differ between runs.
    return [str(interpreter()), "-s", "-P", "-S", "-B", "-c", BOOT.format(place), json.dumps(asdict(cell))]


def _bubblewrap() -> list[str]:
    """bwrap with its options: a root of our own, of which nothing can be written, and namespaces."""
    root = os.geteuid() == 0
    options = "--unshare-pid --unshare-net --unshare-ipc --unshare-uts --unshare-cgroup-try --as-pid-1 "
    options += "--die-with-parent --new-session --cap-drop ALL --cap-add CAP_SYS_ADMIN "
    options += "--cap-add CAP_SETUID --cap-add CAP_SETGID --cap-add CAP_KILL" if root else "--unshare-user"
    binds = ["--ro-bind", "/usr", "/usr"]
    for name in LIBRARIES:
        if os.path.islink(name):
            binds += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            binds += ["--ro-bind", name, name]
    if os.path.exists("/etc/ld.so.cache"):
        binds += ["--ro-bind", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    prefix = Path(sys.base_prefix)
    if not prefix.is_relative_to("/usr"):
        for parent in reversed(prefix.parents[:-1]):  # else bwrap takes over their modes, and /root is nobody else's
            binds += ["--perms", "0755", "--dir", str(parent)]
        binds += ["--ro-bind", str(prefix), str(prefix)]
    binds += ["--ro-bind", str(JAIL), "/jail/jail", "--dir", "/tmp", "--dir", "/dev/shm"]
    for name in DEVICES:
        binds += ["--dev-bind", name, name]
    return [shutil.which("bwrap") or "bwrap", *options.split(), *binds, "--remount-ro", "/", "--chdir", "/tmp", "--"]


def _readable_prefix(folder: Path) -> Path:
    """The interpreter's prefix where any user may read it, else a copy of its library in the grader's folder."""
    prefix = Path(sys.base_prefix)
    library = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
    if all(place.stat().st_mode & 0o1 for place in (prefix / library, *(prefix / library).parents)):
        return prefix
    copy = folder / "python"
    if not copy.exists():
        shutil.copytree(prefix / library, copy / library, ignore=shutil.ignore_patterns(*NOT_NEEDED))
        os.chmod(copy, 0o755)
    return copy
