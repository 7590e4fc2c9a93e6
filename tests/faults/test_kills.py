"""kill -9 at random times, and signals that ask for an end."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from faults import harness
from faults.conftest import log_of
from faults.harness import wait_for

pytestmark = pytest.mark.slow

KILLS = 25  # of each of eight chains: 200
NEVER = 1e9


@pytest.mark.slow
@pytest.mark.parametrize("chance", range(8))
def test_random_kills(study, tmp_path, chance):
    """A run is killed and resumed until it is done, then another one is begun, until so many kills have struck."""
    when, struck, n = random.Random(chance), 0, 0
    while struck < KILLS:
        n += 1
        out = tmp_path / f"{n}"
        while struck < KILLS:
            run = study.start(out)
            time.sleep(when.uniform(0, study.seconds))
            run.signal(signal.SIGKILL)
            ended = run.end()
            if ended.code == 0:
                break
            assert ended.code == -signal.SIGKILL
            struck += 1
        study.resume(out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_or_after_the_work_ends_the_program_at_once(study, tmp_path, number):
    """While the run is planned, and once its report is being written."""
    out = tmp_path / "planned"
    run = study.start(out)
    wait_for(log_of(out), "began")
    run.signal(number)
    ended = run.end()
    assert (ended.code, ended.out, ended.err) == (130, "", "Interrupted.\n") and not out.exists()
    for n in range(5):  # one may come too late
        out = tmp_path / f"{n}"
        run = study.start(out)
        wait_for(log_of(out), f"write.begin {out}/figures/")
        run.signal(number)
        ended = run.end()
        if ended.code != 0:
            break
    assert (ended.code, ended.err) == (130, "Interrupted.\n")
    study.resume(out)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("chance", range(4))
def test_an_interrupt_loses_nothing(study, tmp_path, number, chance):
    """Checkpoints are not due by time here: the signal alone has one written. No step is taken twice."""
    when = random.Random(chance)
    for n in range(3):
        out = tmp_path / f"{n}"
        while True:
            run = study.start(out, checkpoint_seconds=NEVER)
            run.signal(number, after=when.uniform(0, study.seconds))
            ended = run.end()
            if ended.code == 0:
                break
            assert ended.code == 130
            assert ended.err.splitlines()[-1] == "Interrupted."
        study.resume(out)
        assert harness.steps(log_of(out)) == harness.steps(log_of(study.out))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_interrupt_stops_at_once(study, out, number):
    """In the middle of a step that takes a minute."""
    run = study.start(out, stalled=3)
    wait_for(log_of(out), "stalled")
    os.kill(run.pid, number)
    time.sleep(0.3)
    assert os.kill(run.pid, 0) is None  # the step goes on
    started = time.monotonic()
    os.kill(run.pid, number)
    assert run.end().code == 130 and time.monotonic() - started < 20
    study.resume(out)
