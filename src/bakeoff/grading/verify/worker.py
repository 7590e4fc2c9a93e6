"""A worker: judges pairs of clean answers, one at a time, as JSON lines from stdin to stdout, until stdin ends.

`python -m bakeoff.grading.verify.worker`. A pair may be hostile: after some seconds of processor time it is given up
from within, and where that fails, in the middle of one giant multiplication, the kernel ends the process.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
from typing import IO, Any

PATIENCE = 5.0  # seconds of processor time for a pair
MEMORY = 3 << 30  # bytes of address space


class Late(BaseException):
    """The pair's time is over. Not an Exception: sympy and math-verify catch those."""


def main() -> None:
    """Say hello, then answer each line `[gold, pred, seconds]` with `{"equal": ..., "detail": ...}`."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    _limit()
    from bakeoff.grading.verify import formulas  # what takes time is loaded when somebody already waits

    _tell(answers, {"ready": True})
    while True:
        gold, pred, seconds = json.loads(lines.get())
        _tell(answers, _judged(formulas, gold, pred, seconds))


def _judged(formulas: Any, gold: str, pred: str, seconds: float) -> dict[str, Any]:
    """One pair's verdict; None where it could not be had, and why."""
    from bakeoff.grading.alike import alike

    notes: list[str] = []
    try:
        with _alarm(seconds):
            verdict = alike(gold, pred, lambda a, b: formulas.equal(a, b, notes))
        if verdict is None:
            notes = ["it has too many parts, or parts within parts, to be compared"]
        return {"equal": verdict, "detail": "" if verdict else "; ".join(dict.fromkeys(notes))}
    except Late:
        return {"equal": None, "detail": f"not decided in {seconds:g} s", "spent": True}
    except formulas.Undecided as error:
        return {"equal": None, "detail": str(error)}
    except (MemoryError, RecursionError) as error:
        return {"equal": None, "detail": f"{type(error).__name__} while comparing", "spent": True}
    except Exception as error:
        return {"equal": None, "detail": f"{type(error).__name__} while comparing: {error}"[:200]}


@contextlib.contextmanager
def _alarm(seconds: float):
    """Raise Late after so many seconds of processor time, again and again until it gets through."""
    if not hasattr(signal, "setitimer"):  # Windows: only the parent's clock
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, 2 * seconds + 1)  # nobody handles this one: it ends the process
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)


def _late(*_: object) -> None:
    raise Late


def _limit() -> None:
    """Bound memory and recursion, and let the timer speak."""
    sys.setrecursionlimit(6000)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    if hasattr(signal, "SIGVTALRM"):
        signal.signal(signal.SIGVTALRM, _late)


def _read(lines: queue.SimpleQueue[str]) -> None:
    """Hand over what the parent asks; when there is no parent any more, end at once."""
    for line in sys.stdin.buffer:
        lines.put(line.decode("utf-8"))
    os._exit(0)


def _tell(answers: IO[str], what: dict[str, Any]) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
