"""The sandbox: every attack of the corpora with all that must hold afterwards, as root and as an ordinary user."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import hostile
import pytest
from hostile import GOOD, TESTS, WRONG, below

import bakeoff
from bakeoff.errors import InputError
from bakeoff.grading.code import Grader, Item
from bakeoff.grading.code import slot as slots
from bakeoff.grading.code.folder import Folder
from bakeoff.grading.code.grader import works
from bakeoff.grading.code.jail import landlock, seccomp
from bakeoff.grading.code.tiers import INSTALL, Tier, missing

HERE = Path(__file__).parent
SOURCE = Path(bakeoff.__file__).parents[1]
CORPORA = sorted((HERE / "attacks").glob("*.jsonl"))
TIMED = [pytest.param(path, marks=pytest.mark.slow if "outsider" in path.stem else ()) for path in CORPORA]
USER = 12345


@pytest.mark.parametrize("path", CORPORA, ids=lambda path: path.stem)
def test_attacks(path):
    """All that do not wait for the deadline, in the tier that there is."""
    rows = [row for row in hostile.read(path) if not slow(row)]
    assert wrong(hostile.run(rows, batch=20)) == {}


@pytest.mark.parametrize("path", TIMED, ids=lambda path: path.stem)
def test_attacks_on_the_clock(path):
    """Those that may run to the deadline, with less of it than they were written for."""
    rows = [row for row in hostile.read(path) if slow(row) and row["category"] != "memory"]
    assert wrong(hostile.run(rows, timeout=0.75, batch=20)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("tier", ["bubblewrap", "landlock"])
@pytest.mark.parametrize("path", CORPORA, ids=lambda path: path.stem)
def test_every_attack_one_at_a_time(path, tier):
    needs(tier)
    assert wrong(hostile.run(hostile.read(path), tier)) == {}


def test_attacks_as_an_ordinary_user(a_place_for_all):
    """A handful of each kind; the slow tests run all."""
    handful = a_place_for_all / "handful.jsonl"
    lines: dict[str, list[str]] = {}
    for line, row in zip((HERE / "attacks/corpus.jsonl").read_text().splitlines(), corpus(), strict=True):
        if not slow(row):
            lines.setdefault(row["category"], []).append(line)
    chosen = [line for own in lines.values() for line in own[:2]]
    handful.write_text("\n".join(chosen))
    said = run_as_user(a_place_for_all, handful)
    assert len(chosen) > 10 and said.startswith(f"0 wrong of {len(chosen)}, as uid {ordinary()}, bubblewrap, ")


@pytest.mark.slow
@pytest.mark.parametrize("path", CORPORA, ids=lambda path: path.stem)
def test_every_attack_as_an_ordinary_user(path, a_place_for_all):
    said = run_as_user(a_place_for_all, Path(shutil.copy(path, a_place_for_all)))
    assert said.startswith(f"0 wrong of {len(hostile.read(path))}, as uid {ordinary()}, bubblewrap, ")


@pytest.mark.parametrize("tier", ["bubblewrap", "landlock", "none"])
def test_a_sample_holds_three_null_devices_and_two_pipes(tier):
    """Not the control socket, nor what keeps its grader's directory."""
    needs(tier)
    code = """
import os, stat
def f():
    found = []
    for i in range(5000):
        try: mode = os.fstat(i).st_mode
        except OSError: continue
        found.append((i, "null" if stat.S_ISCHR(mode) else "pipe" if stat.S_ISFIFO(mode) else "other"))
    return found
"""
    test = "assert f() == [(0, 'null'), (1, 'null'), (2, 'null'), (3, 'pipe'), (4, 'pipe')], f()"
    with Grader(jobs=1, tier=tier) as grader:
        verdict = grader.grade([Item(code, (test,), "f")])[0]
    assert verdict.label == "pass", verdict


def test_two_graders_at_once():
    with Grader(jobs=2) as one, Grader(jobs=2) as other:
        items = [Item(code, TESTS, "add") for code in (GOOD, WRONG)] * 10
        first = [one._threads.submit(one._run, item, False) for item in items]
        second = other.grade(items)
        assert [future.result().label for future in first] == [v.label for v in second] == ["pass", "fail"] * 10


def test_a_broken_jail_is_replaced_and_its_sample_tried_again(monkeypatch):
    """A zygote that is killed, then one that falls silent, between samples."""
    monkeypatch.setattr(slots, "ENDING", 0.5)
    good = [Item(GOOD, TESTS, "add")]
    with Grader(jobs=1) as grader:
        slot = grader._slots[0]
        assert slot._candidate and slot._judge
        slot._candidate.process.kill()
        assert grader.grade(good)[0].label == "pass"
        slot._judge.control.settimeout(0.5)
        os.kill((below(slot._judge.process.pid) or [slot._judge.process.pid])[-1], signal.SIGSTOP)
        assert grader.grade(good)[0].label == "pass"


def test_jails_that_never_work_are_a_harness_error(monkeypatch):
    with Grader(jobs=1) as grader:
        monkeypatch.setattr(slots.Jail, "started", lambda jail: jail._exactly(1 << 40) and None)
        monkeypatch.setattr(slots.Jail, "_exactly", lambda jail, size: (_ for _ in ()).throw(slots.Broken("no")))
        verdict = grader.grade([Item(GOOD, TESTS, "add")])[0]
    assert (verdict.label, verdict.detail) == ("harness-error", "no")


@pytest.mark.parametrize("tier", ["bubblewrap", "landlock", "none"])
def test_everything_ends_with_the_grader(tier, monkeypatch):
    needs(tier)
    monkeypatch.setattr(tempfile, "tempdir", tempfile.mkdtemp())
    os.chmod(tempfile.gettempdir(), 0o711)
    others = below(os.getpid())  # of other tests: the judges of formulas stay as long as this process
    with Grader(jobs=2, tier=tier) as grader:
        grader.grade([Item(GOOD, TESTS, "add")] * 4)
        pids = [pid for pid in below(os.getpid()) if pid not in others]
        assert pids
    wait_for(lambda: not any(runs(pid) for pid in pids))
    os.rmdir(tempfile.gettempdir())  # it is empty
    with pytest.raises(RuntimeError, match="with"):
        grader.grade([Item(GOOD, TESTS, "add")])


def test_no_sandbox_is_refused(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InputError) as refused, Grader():
        pass
    said = str(refused.value)
    assert "bubblewrap is not installed" in said and "needs root" in said and INSTALL in said and "\n" not in said


def test_a_lower_tier_says_so(monkeypatch):
    needs("landlock")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with Grader(jobs=1) as grader:
        assert grader.tier == "landlock"
        assert grader.note == "sandbox: landlock, since bubblewrap is not to be had here (bubblewrap is not installed)"
        assert grader.grade([Item(GOOD, TESTS, "add")])[0].sandbox == "landlock"


def test_a_tier_that_does_not_start_says_why(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/false")
    slot, reason = works("bubblewrap", Folder())
    assert slot is None and reason.startswith("it does not work here: ")
    with pytest.raises(InputError, match="unknown sandbox 'docker'"):
        Grader(tier="docker")  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
def test_five_thousand_samples_leave_memory_descriptors_and_processes_as_they_were():
    items = [Item(code, TESTS, "add") for code in (GOOD, WRONG, "def add(a, b): raise ValueError('x' * 10000)")]
    with Grader(jobs=2) as grader:
        grader.grade(items * 40)
        before, dead = state(), zombies()  # of other tests' children some may be there
        for _ in range(10):
            labels = {verdict.label for verdict in grader.grade(items * 167)}
            assert labels == {"pass", "fail", "error"}
        after = state()
    assert after["rss"] - before["rss"] < 20 << 20
    assert after["descriptors"] == before["descriptors"]
    assert after["processes"] == before["processes"]
    wait_for(lambda: not zombies() - dead)


@pytest.mark.slow
def test_sixty_samples_a_second():
    if os.getloadavg()[0] > 1.5:
        pytest.skip(f"not run: the machine is busy (load {os.getloadavg()[0]:.1f})")
    with Grader() as grader:
        began = time.monotonic()
        verdicts = grader.grade([Item(GOOD, TESTS, "add")] * 820)
        rate = 820 / (time.monotonic() - began)
    assert {verdict.label for verdict in verdicts} == {"pass"}
    assert rate >= 60, rate


@pytest.mark.slow
def test_load_makes_no_timeouts():
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        with Grader(jobs=2) as grader:
            assert {verdict.label for verdict in grader.grade([Item(GOOD, TESTS, "add")] * 200)} == {"pass"}
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_system_calls(machine):
    """The filter by itself, on both architectures: what it lets through and what it does not."""
    numbers = {
        "x86_64": {"read": 0, "openat": 257, "clone": 56, "clone3": 435, "kill": 62, "socket": 41, "execve": 59},
        "aarch64": {"read": 63, "openat": 56, "clone": 220, "clone3": 435, "kill": 129, "socket": 198, "execve": 221},
    }[machine]
    me = seccomp.ITSELF

    def run(call: str | int, *arguments: int, arch: int = seccomp.ARCHITECTURE[machine]) -> int:
        number = numbers[call] if isinstance(call, str) else call
        return filtered(seccomp.program(machine), number, arch, arguments)

    assert run("read") == run("openat") == run("kill", me, 9) == seccomp.ALLOW
    assert run("clone", 0x3D0F00) == seccomp.ALLOW  # a thread, as libc starts it
    assert run("clone", 0x11) == run("clone", 0x10010000) == run("clone", 0x20011) == seccomp.EPERM
    assert run("kill", 1, 9) == run("kill", 0xFFFFFFFF, 9) == run("socket", 2) == run("execve") == seccomp.EPERM
    assert run("clone3") == run(460) == seccomp.ENOSYS
    assert run("read", arch=0x40000003) == run(0x40000000) == seccomp.KILL


def filtered(program: list[seccomp.Instruction], number: int, arch: int, arguments: tuple[int, ...]) -> int:
    """What the kernel would make of a call: the instructions that the filter uses, one by one."""
    held = {seccomp.NUMBER: number, seccomp.ARCH: arch}
    held |= {seccomp.ARGS + 8 * i: value for i, value in enumerate((*arguments, *[0] * 6)[:6])}
    place = value = 0
    while True:
        code, yes, no, k = program[place]
        if code == seccomp.RETURN:
            return k
        if code == seccomp.LOAD:
            value, jump = held[k], 0
        else:
            tests = {seccomp.EQUAL: value == k, seccomp.AT_LEAST: value >= k, seccomp.ANY_BIT: bool(value & k)}
            jump = yes if tests[code] else no
        place += 1 + jump


# ---- help ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def a_place_for_all() -> Iterator[Path]:
    """The grader and the corpus runner where any user can read them."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        package = place / "src/bakeoff"
        package.mkdir(parents=True)
        for part in ("__init__.py", "errors.py", "version.py"):
            shutil.copy(SOURCE / "bakeoff" / part, package)
        shutil.copytree(SOURCE / "bakeoff/grading", package / "grading", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(HERE / "hostile.py", place)
        for path in (place, *place.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield place


def ordinary() -> int:
    """The user that attacks run as: USER where the tests are root's, else whose they are."""
    return USER if os.geteuid() == 0 else os.geteuid()


def run_as_user(place: Path, file: Path) -> str:
    """What a run of a file of attacks says in the end, as an ordinary user in bubblewrap, or all of it if it fails.

    Skips where no user's Python can be had.
    """
    needs("bubblewrap")
    file.chmod(0o644)
    switch = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if os.geteuid() == 0 else []
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([*switch, python, "-c", check], capture_output=True).returncode == 0:
            break
    else:
        pytest.skip("not run: no Python 3.11 that another user may run")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(place / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*switch, python, str(place / "hostile.py"), str(file), "bubblewrap"],
        env=environment, cwd="/", capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout + done.stderr if done.returncode else done.stdout.splitlines()[-1]


def corpus() -> list[dict]:
    return hostile.read(HERE / "attacks/corpus.jsonl")


def slow(row: dict) -> bool:
    """Whether an attack may run to the deadline."""
    return "timeout" in (row["expected"], *row["also_ok"]) and "fast" not in row["post"]


def wrong(outcomes: Iterator[hostile.Outcome]) -> dict[str, tuple[str, ...]]:
    return {outcome.id: outcome.wrong for outcome in outcomes if outcome.wrong}


def needs(tier: Tier) -> None:
    if reason := missing(tier):
        pytest.skip(f"not run: {tier}: {reason}")
    if tier == "landlock" and not landlock.version():
        pytest.skip("not run: the kernel has no Landlock")


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def state() -> dict[str, int]:
    """This process's memory and descriptors, and the processes below it."""
    pids = below(os.getpid())
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "rss": int(fields["VmRSS"].split()[0]) << 10,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "processes": len(pids),
    }


def zombies() -> set[int]:
    """The processes below this one that have ended and were not waited for."""
    return {pid for pid in below(os.getpid()) if not runs(pid)}


def wait_for(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
