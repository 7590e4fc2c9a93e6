"""A clock that jumps changes nothing but times."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

YEAR = 365 * 86_400.0


@pytest.mark.parametrize(
    ("shift", "turn"),
    [(-YEAR, 1e9), pytest.param(YEAR, 1e9, marks=pytest.mark.slow), pytest.param(YEAR, 5, marks=pytest.mark.slow)],
    ids=["a year back", "a year on", "to and fro at every fifth look"],
)
def test_the_clock_jumps(study, out, shift, turn):
    """In a run that is killed and resumed by a clock that is right, so that time goes backwards between the two too."""
    run = study.start(out, clock=[shift, turn], point="fill.end", hit=20, action="SIGKILL")
    assert run.end().code == -9
    study.resume(out)
