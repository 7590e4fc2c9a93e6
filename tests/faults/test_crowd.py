"""Several processes on one study: one works, the others refuse, and one that is stopped has not given up its place."""

from __future__ import annotations

import os
import signal
import time

import pytest

from faults import harness
from faults.conftest import log_of
from faults.harness import wait_for

pytestmark = pytest.mark.slow


def refused(ended) -> bool:
    return ended.code == 2 and "another process is running this study (pid " in ended.error


@pytest.mark.slow
def test_four_at_once(study, out):
    """Begun together, and once more on what a kill left."""
    for hit in (9, 25, 0):
        runs = [study.beside(out, f"{n}") for n in range(3)]
        strike = {"point": "fill.end", "hit": hit, "action": "SIGKILL"} if hit else {}
        ended = [run.end() for run in (*runs, study.start(out, **strike))]
        assert all(one.code in (0, -9) or refused(one) for one in ended), ended
    study.resume(out)


@pytest.mark.slow
def test_one_is_stopped_for_ten_seconds_and_goes_on(study, out):
    run = study.start(out, point="publish.listed", hit=3, action="SIGSTOP")
    wait_for(log_of(out), "struck SIGSTOP")
    before, until = harness.dump(out), time.monotonic() + 10
    while time.monotonic() < until:
        ended = study.beside(out, "other").end()
        assert refused(ended), ended
    assert harness.dump(out) == before
    os.kill(run.pid, signal.SIGCONT)
    assert run.end().code == 0
    study.equal(out)
