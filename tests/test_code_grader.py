"""Model-written code run against its tests: known verdicts, hostile samples, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bakeoff.errors import InputError
from bakeoff.grading.code import Grader, Item, defines, extract
from bakeoff.grading.code import grader as module

TESTS = ("assert f(2) == 3", "assert f(0) == 1")
RIGHT = "def f(x):\n    return x + 1\n"
SAMPLES = {
    "right": (RIGHT, "pass"),
    "wrong": ("def f(x): return x", "fail"),
    "second test wrong": ("def f(x): return 3", "fail"),
    "a dataclass": ("from dataclasses import dataclass\n@dataclass\nclass A:\n    n: 'int'\n" + RIGHT, "pass"),
    "files in its directory": ("import tempfile\nopen('a', 'w').write('1')\ntempfile.mkstemp()\n" + RIGHT, "pass"),
    "a main block": (RIGHT + "if __name__ == '__main__':\n    input()", "pass"),
    "no such function": ("def g(x): return x + 1", "error"),
    "exception": ("def f(x): return 1 / 0", "error"),
    "assertion in the code": ("assert False\n" + RIGHT, "error"),
    "syntax": ("def f(x", "error"),
    "null byte": ("a\0b", "error"),
    "lone surrogate": ("x = '\ud800'\n" + RIGHT, "error"),
    "recursion": ("def f(x): return f(x)", "error"),
    "deep source": ("x = " + "(" * 100_000, "error"),
    "exception without words": (
        "class E(Exception):\n    def __str__(self): raise KeyError\ndef f(x): raise E",
        "error",
    ),
    "sys.exit in the code": ("import sys\nsys.exit(0)", "error"),
    "sys.exit in the function": ("import sys\ndef f(x): sys.exit(0)", "error"),
    "os._exit in the code": ("import os\nos._exit(0)", "error"),
    "os._exit in the function": ("import os\ndef f(x): os._exit(0)", "error"),
    "killed": ("import os\nos.kill(os.getpid(), 9)", "error"),
    "segmentation fault": ("import ctypes\nctypes.string_at(0)", "error"),
    "forged report": (
        "import os\nfor i in range(3, 300):\n"
        '    try: os.write(i, b\'{"label": "pass", "token": ""}\')\n    except OSError: pass\nos._exit(0)',
        "error",
    ),
    "garbage in the report": ("import os\nos.write(3, b'x' * 60_000)\n" + RIGHT, "error"),
    "prints a verdict": ('print(\'{"label": "pass"}\')\nimport os\nos._exit(0)', "error"),
    "prints garbage": ("print('\\x00\\xff' * 1000)\n" + RIGHT, "pass"),
    "prints 10 MB": ("import sys\nsys.stdout.write('x' * 10**7)\nsys.stderr.write('x' * 10**7)\n" + RIGHT, "pass"),
    "a 100 MB file": ("def f(x): open('a', 'wb').write(b'x' * 10**8)", "error"),
    "reads stdin": ("input()\n" + RIGHT, "error"),
    "background thread": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n" + RIGHT,
        "pass",
    ),
    "endless loop": ("def f(x):\n    while True: pass", "timeout"),
    "endless loop that catches all": (
        "def f(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        "timeout",
    ),
    "sleeps": ("import time\ntime.sleep(60)", "timeout"),
    "memory at once": ("def f(x): return [0] * 10**10", "memory"),
    "memory by and by": ("def f(x):\n    kept = []\n    while True: kept.append(' ' * 2**26)", "memory"),
    "forks and escapes": (
        "import os, time\nfor _ in range(4):\n    if os.fork() == 0:\n        os.setsid()\n"
        "        if os.fork() == 0: os.setsid()\n        time.sleep(60)\n" + RIGHT,
        "pass",
    ),
}


def items(*codes: str) -> list[Item]:
    return [Item(code, TESTS, "f") for code in codes]


@pytest.fixture(scope="module")
def graded():
    """Every sample's verdict, the children left while the grader still served, and whether the next sample passed."""
    with Grader(jobs=2, timeout=1.0, memory=1 << 28) as grader:
        verdicts = grader.grade(items(*(code for code, _ in SAMPLES.values())))
        left = {pid: _children(pid) for pid in (worker.process.pid for worker in grader._workers)}
        after = grader.grade(items(RIGHT))
    return dict(zip(SAMPLES, verdicts, strict=True)), left, after


@pytest.mark.parametrize("name", SAMPLES)
def test_verdict(graded, name):
    verdict = graded[0][name]
    assert verdict.label == SAMPLES[name][1], verdict
    assert len(verdict.detail) <= 600 and verdict.detail.isprintable()


def test_nothing_is_left_behind(graded):
    _, left, after = graded
    if not Path("/proc/self/task").is_dir():
        pytest.skip("not run: /proc absent")
    assert left and not any(left.values())
    assert after[0].label == "pass"


def test_details_say_why():
    with Grader(jobs=1) as grader:
        wrong, missing, raised = grader.grade(items("def f(x): return x", "x = 1", "def f(x): return [][x]"))
    assert wrong.detail == "AssertionError:  (in assert f(2) == 3)"
    assert "'f' is not defined" in missing.detail
    assert raised.detail.startswith("IndexError: list index out of range") and 0 < raised.seconds < 3


def test_workers_and_files_end_with_the_grader():
    with Grader(jobs=2) as grader:
        grader.grade(items(RIGHT))
        processes = [worker.process for worker in grader._workers]
        folder = Path(grader._workers[0].folder)
        assert folder.is_dir()
    assert [process.returncode for process in processes] == [0, 0]
    assert not folder.exists()
    with pytest.raises(RuntimeError, match="with"):
        grader.grade(items(RIGHT))


def test_a_killed_worker_is_replaced_and_its_sample_tried_again(tmp_path):
    once = tmp_path / "once"
    kill = f"import os\nif not os.path.exists({str(once)!r}):\n    open({str(once)!r}, 'w').close()\n"
    with Grader(jobs=1) as grader:
        verdicts = grader.grade(items(kill + "    os.kill(os.getppid(), 9)\n" + RIGHT, RIGHT))
        assert [verdict.label for verdict in verdicts] == ["pass", "pass"]
        verdicts = grader.grade(items("import os\nos.kill(os.getppid(), 9)\n" + RIGHT, RIGHT))
        assert [verdict.label for verdict in verdicts] == ["harness-error", "pass"]


def test_a_silent_worker_is_replaced(monkeypatch):
    monkeypatch.setattr(module, "GRACE", 1.0)
    with Grader(jobs=1, timeout=0.5) as grader:
        verdicts = grader.grade(items("import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\n", RIGHT))
    assert [verdict.label for verdict in verdicts] == ["harness-error", "pass"]
    assert "silent" in verdicts[0].detail


def test_workers_end_with_a_killed_parent():
    program = (
        "from bakeoff.grading.code import Grader, Item\n"
        "with Grader(jobs=1, timeout=60) as grader:\n"
        "    print(grader._workers[0].process.pid, grader._workers[0].folder, flush=True)\n"
        "    grader.grade([Item('while True: pass', ('1',), 'f')])\n"
    )
    source = str(Path(module.__file__).parents[3])
    environment = os.environ | {"PYTHONPATH": source}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        pid, _, name = parent.stdout.readline().decode().strip().partition(" ")
        worker, folder = int(pid), Path(name)
        time.sleep(0.5)
        children = _children(worker)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(_runs(pid) for pid in (worker, *children)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(_runs(pid) for pid in (worker, *children))
    assert not folder.exists()


def test_the_same_sample_gives_the_same_verdict():
    draw = "import random\nseen = [random.random(), hash('text'), list({'a', 'b', 'c', 'd'})]\nraise KeyError(seen)"
    details = set()
    for _ in range(2):
        with Grader(jobs=2) as grader:
            details |= {verdict.detail for verdict in grader.grade(items(draw, draw, draw))}
    assert len(details) == 1 and "KeyError" in details.pop()


def test_no_secrets_in_the_environment(monkeypatch):
    monkeypatch.setenv("A_TOKEN", "hf_secret")
    with Grader(jobs=1) as grader:
        code = "import os\ndef f(x): return x + 1 + ('A_TOKEN' in os.environ)"
        assert grader.grade(items(code))[0].label == "pass"


def test_order_and_bounds():
    with Grader(jobs=2) as grader:
        assert grader.grade([]) == []
        verdicts = grader.grade(items(*(f"def f(x): return x + {i % 2}" for i in range(40))))
        with pytest.raises(InputError, match="no tests"):
            grader.grade([Item(RIGHT, (), "f")])
    assert [verdict.label for verdict in verdicts] == ["fail", "pass"] * 20


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (RIGHT, RIGHT.strip("\n")),
        (f"Here it is:\n```python\n{RIGHT}```\nDone.", RIGHT.strip("\n")),
        (f"```\n{RIGHT}", RIGHT.strip("\n")),
        (f"```py\nf(1)\n```\nand\n```py\n{RIGHT}```", RIGHT.strip("\n")),
        (f"<think>```\ndef f(): 1\n```</think>{RIGHT}", RIGHT.strip("\n")),
    ],
)
def test_extract(text, code):
    assert extract(text, "f") == code


def test_defines():
    for code in ("def f(x): 1", "async def f(): 1", "class f: pass", "x = 1\nf = lambda x: 1", "f: int = 3"):
        assert defines(code, "f"), code
    for code in ("", "def ff(x): 1", "  def f(x): 1", "f == 1", "print(f)", "def g(f): 1"):
        assert not defines(code, "f"), code


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
