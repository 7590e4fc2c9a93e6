"""Seccomp: the system calls that a sample may make, as a list of what is allowed; all others are refused.

What is not here: starting processes or programs, sockets, other processes' limits, memory or signals, mounts and
namespaces, memory that no limit counts (memfd, System V shared memory, huge or locked pages), and the kernel's
odder doors (bpf, perf, io_uring, aio, keyrings, userfaultfd, ptrace).
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import struct

CALLS = {  # allowed whatever their arguments
    "x86_64": """
        read=0 write=1 open=2 close=3 stat=4 fstat=5 lstat=6 poll=7 lseek=8 mmap=9 mprotect=10 munmap=11 brk=12
        rt_sigaction=13 rt_sigprocmask=14 rt_sigreturn=15 ioctl=16 pread64=17 pwrite64=18 readv=19 writev=20
        access=21 pipe=22 select=23 sched_yield=24 mremap=25 msync=26 mincore=27 madvise=28 dup=32 dup2=33 pause=34
        nanosleep=35 getitimer=36 alarm=37 setitimer=38 getpid=39 sendfile=40 sendto=44 recvfrom=45 shutdown=48
        socketpair=53 clone=56 exit=60 wait4=61 kill=62 uname=63 fcntl=72 flock=73 fsync=74 fdatasync=75 truncate=76
        ftruncate=77 getcwd=79 chdir=80 fchdir=81 rename=82 mkdir=83 rmdir=84 link=86 unlink=87 symlink=88
        readlink=89 chmod=90 fchmod=91 chown=92 fchown=93 lchown=94 umask=95 gettimeofday=96 getrlimit=97
        getrusage=98 sysinfo=99 times=100 getuid=102 getgid=104 geteuid=107 getegid=108 getppid=110 getpgrp=111
        setsid=112 getgroups=115 getresuid=118 getresgid=120 getpgid=121 getsid=124 capget=125 rt_sigpending=127
        rt_sigtimedwait=128 rt_sigsuspend=130 sigaltstack=131 utime=132 statfs=137 fstatfs=138 getpriority=140
        sched_getparam=143 sched_getscheduler=145 sched_get_priority_max=146 sched_get_priority_min=147 prctl=157
        arch_prctl=158 setrlimit=160 gettid=186 tkill=200 time=201 futex=202 sched_getaffinity=204 epoll_create=213
        getdents64=217 set_tid_address=218 restart_syscall=219 fadvise64=221 clock_gettime=228 clock_getres=229
        clock_nanosleep=230 exit_group=231 epoll_wait=232 epoll_ctl=233 tgkill=234 utimes=235 waitid=247 openat=257
        mkdirat=258 fchownat=260 newfstatat=262 unlinkat=263 renameat=264 linkat=265 symlinkat=266 readlinkat=267
        fchmodat=268 faccessat=269 pselect6=270 ppoll=271 set_robust_list=273 get_robust_list=274
        sync_file_range=277 utimensat=280 epoll_pwait=281 eventfd=284 fallocate=285 eventfd2=290 epoll_create1=291
        dup3=292 pipe2=293 prlimit64=302 getcpu=309 renameat2=316 getrandom=318 membarrier=324 copy_file_range=326
        statx=332 rseq=334 clone3=435 close_range=436 openat2=437 faccessat2=439 epoll_pwait2=441 futex_waitv=449
    """,
    "aarch64": """
        getcwd=17 eventfd2=19 epoll_create1=20 epoll_ctl=21 epoll_pwait=22 dup=23 dup3=24 fcntl=25 ioctl=29 flock=32
        mkdirat=34 unlinkat=35 symlinkat=36 linkat=37 renameat=38 statfs=43 fstatfs=44 truncate=45 ftruncate=46
        fallocate=47 faccessat=48 chdir=49 fchdir=50 fchmod=52 fchmodat=53 fchownat=54 fchown=55 openat=56 close=57
        pipe2=59 getdents64=61 lseek=62 read=63 write=64 readv=65 writev=66 pread64=67 pwrite64=68 sendfile=71
        pselect6=72 ppoll=73 readlinkat=78 fstatat=79 fstat=80 fsync=82 fdatasync=83 sync_file_range=84 utimensat=88
        capget=90 exit=93 exit_group=94 waitid=95 set_tid_address=96 futex=98 set_robust_list=99 get_robust_list=100
        nanosleep=101 getitimer=102 setitimer=103 clock_gettime=113 clock_getres=114 clock_nanosleep=115
        sched_getscheduler=120 sched_getparam=121 sched_getaffinity=123 sched_yield=124 sched_get_priority_max=125
        sched_get_priority_min=126 restart_syscall=128 kill=129 tkill=130 tgkill=131 sigaltstack=132
        rt_sigsuspend=133 rt_sigaction=134 rt_sigprocmask=135 rt_sigpending=136 rt_sigtimedwait=137 rt_sigreturn=139
        getpriority=141 getresuid=148 getresgid=150 times=153 getpgid=155 getsid=156 setsid=157 getgroups=158
        uname=160 getrlimit=163 setrlimit=164 getrusage=165 umask=166 prctl=167 getcpu=168 gettimeofday=169
        getpid=172 getppid=173 getuid=174 geteuid=175 getgid=176 getegid=177 gettid=178 sysinfo=179 socketpair=199
        sendto=206 recvfrom=207 shutdown=210 brk=214 munmap=215 mremap=216 clone=220 mmap=222 fadvise64=223
        mprotect=226 msync=227 mincore=232 madvise=233 wait4=260 prlimit64=261 renameat2=276 getrandom=278
        membarrier=283 copy_file_range=285 statx=291 rseq=293 clone3=435 close_range=436 openat2=437 faccessat2=439
        epoll_pwait2=441 futex_waitv=449
    """,
}
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
KNOWN = 450  # calls of higher numbers are younger than this list

CLONE_THREAD, CLONE_NEW = 0x10000, 0x7E020080
AF_UNIX, MAX_INT = 1, 0xFFFFFFFF
FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 1030, 36, 37, 38)  # copies, flags and locks; no owners, signals, sizes or seals
IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # is it a terminal and how wide, bytes to read, flags
PRCTL = (15, 16)  # the thread's name

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x00050001, 0x00050026
ITSELF = 0x7FFFFFF1  # stands for the process that is filtered; no process has this number
NUMBER, ARCH, ARGS = 0, 4, 16  # where seccomp_data holds them

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2

Instruction = tuple[int, int, int, int]


def supported() -> str:
    """Why this machine cannot filter system calls; empty where it can."""
    machine = platform.machine()
    return "" if machine in CALLS else f"no list of system calls for {machine}"


def install() -> None:
    """Filter this process's calls from now on, for good; signals may go to itself alone."""
    code = compiled(platform.machine()).replace(struct.pack("=I", ITSELF), struct.pack("=I", os.getpid()))
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    if library.prctl(PR_SET_SECCOMP, FILTER, header, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


@functools.cache
def compiled(machine: str) -> bytes:
    """The filter as the kernel reads it, with ITSELF where the process's own number belongs."""
    return b"".join(struct.pack("=HBBI", *each) for each in program(machine))


def program(machine: str) -> list[Instruction]:
    """The filter: right architecture, then call by call, then what is left."""
    calls = dict((name, int(number)) for name, _, number in (c.partition("=") for c in CALLS[machine].split()))
    judged = {
        "clone": _refused_where(ANY_BIT, 0, (CLONE_NEW,)) + _allowed_where(ANY_BIT, 0, (CLONE_THREAD,)),
        "clone3": [(RETURN, 0, 0, ENOSYS)],  # its flags are out of sight; libc goes on with clone
        "kill": _allowed_where(EQUAL, 0, (ITSELF,)),
        "tkill": [],
        "tgkill": _allowed_where(EQUAL, 0, (ITSELF,)),
        "prctl": _allowed_where(EQUAL, 0, PRCTL),
        "prlimit64": _allowed_where(EQUAL, 0, (0,)),
        "fcntl": _allowed_where(EQUAL, 1, FCNTL),
        "ioctl": _allowed_where(EQUAL, 1, IOCTL),
        "socketpair": _allowed_where(EQUAL, 0, (AF_UNIX,)),
    }
    filtered: list[Instruction] = [
        (LOAD, 0, 0, ARCH),
        (EQUAL, 1, 0, ARCHITECTURE[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
    ]
    for name, number in calls.items():
        if name not in judged:
            filtered += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    for name, rules in judged.items():
        body = [*rules, (RETURN, 0, 0, EPERM)]
        filtered += [(EQUAL, 0, len(body), calls[name]), *body]
    unknown = [(AT_LEAST, 0, 3, KNOWN + 1), (AT_LEAST, 0, 1, 0x40000000), (RETURN, 0, 0, KILL), (RETURN, 0, 0, ENOSYS)]
    return [*filtered, *unknown, (RETURN, 0, 0, EPERM)]


def _allowed_where(test: int, argument: int, values: tuple[int, ...]) -> list[Instruction]:
    """Allow the call where the low half of an argument meets one of the values; else go on."""
    return _where(test, argument, values, ALLOW)


def _refused_where(test: int, argument: int, values: tuple[int, ...]) -> list[Instruction]:
    return _where(test, argument, values, EPERM)


def _where(test: int, argument: int, values: tuple[int, ...], verdict: int) -> list[Instruction]:
    rules: list[Instruction] = [(LOAD, 0, 0, ARGS + 8 * argument)]
    for value in values:
        rules += [(test, 0, 1, value), (RETURN, 0, 0, verdict)]
    return rules
