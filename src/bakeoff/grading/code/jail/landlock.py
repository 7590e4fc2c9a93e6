"""Landlock: confine this process to a few directories, without namespaces (Linux 5.13 and newer)."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Sequence

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
VERSION, PATH_BENEATH = 1, 1

EXECUTE, WRITE, READ, LIST = 1, 2, 4, 8
RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}  # on files, by the version that brought them
DEVICE_NODES = 1 << 6 | 1 << 11  # making character and block devices
OF_FILES = EXECUTE | WRITE | READ | 1 << 14 | 1 << 15
NETWORK, SCOPES = 0b11, 0b11  # TCP bind and connect; abstract sockets and signals


def version() -> int:
    """The kernel's Landlock, 0 where there is none."""
    found = ctypes.CDLL(None, use_errno=True).syscall(
        CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(VERSION)
    )
    return max(0, found)


def restrict(read: Sequence[str], write: Sequence[str]) -> None:
    """From now on this process may read below `read`, do anything below `write`, and reach nothing else.

    Needs no_new_privs. Paths that are not there are left out. OSError where the kernel refuses.
    """
    library, known = ctypes.CDLL(None, use_errno=True), version()
    handled = sum(bits for since, bits in RIGHTS.items() if known >= since)
    attributes = struct.pack("=QQQ", handled, NETWORK if known >= 4 else 0, SCOPES if known >= 6 else 0)
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    ruleset = _checked(library, CREATE_RULESET, attributes[:size], ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        for paths, rights in ((read, READ | LIST), (write, handled & ~DEVICE_NODES)):
            for path in paths:
                _allow(library, ruleset, path, rights & handled)
        _checked(library, RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow(library: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= OF_FILES
        rule = struct.pack("=Qi", rights, place)
        _checked(library, ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(PATH_BENEATH), rule, ctypes.c_uint32(0))
    finally:
        os.close(place)


def _checked(library: ctypes.CDLL, call: int, *arguments: object) -> int:
    result = library.syscall(call, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock")
    return int(result)
