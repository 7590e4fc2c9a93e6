"""pass@k against counting all choices, and where it is not defined."""

from itertools import combinations

import numpy as np
import pytest

from bakeoff.analysis.pass_at_k import estimate, pass_at_k
from bakeoff.analysis.statistics import mean_interval, two_way_mean, wilson
from bakeoff.errors import InputError


@pytest.mark.parametrize("n", range(1, 7))
def test_equals_the_share_of_choices_that_hold_a_right_one(n):
    for right in range(n + 1):
        for k in range(1, n + 1):
            choices = list(combinations([True] * right + [False] * (n - right), k))
            assert pass_at_k(n, right, k) == pytest.approx(sum(map(any, choices)) / len(choices), abs=1e-12)


def test_large_numbers():
    assert pass_at_k(200, 0, 100) == 0
    assert pass_at_k(200, 200, 1) == 1
    assert pass_at_k(100_000, 1, 50_000) == pytest.approx(0.5)


def test_a_cell_has_the_error_over_problems():
    """The mean of problems' shares is pass@1; its standard error is that of the interval, of one run and of draws."""
    rng = np.random.default_rng(0)
    passed = {f"p{i}": [bool(x) for x in rng.random(10) < rng.random()] for i in range(164)}
    for k in (1, 5):
        found = estimate(passed, k)
        each = np.array([[pass_at_k(10, sum(one), k) for one in passed.values()]])
        mean, variance, df = two_way_mean(each)
        assert (found.mean, found.standard_error) == pytest.approx((mean, variance**0.5)) and df == 163
        size = mean * (1 - mean) / variance
        assert mean_interval(each) == pytest.approx(wilson(mean * size, size, df=df))


def test_undefined():
    for n, right, k in ((0, 0, 1), (4, 0, 5), (4, 4, 5), (4, 5, 1), (4, -1, 1), (4, 1, 0)):
        with pytest.raises(ValueError):
            pass_at_k(n, right, k)


def test_mean_and_standard_error_over_problems():
    found = estimate({"a": [True, True], "b": [False, False], "c": [True, False]}, 1)
    assert (found.mean, found.problems) == (0.5, 3)
    assert found.standard_error == pytest.approx((0.25 / 3) ** 0.5)  # variance 0.25 among 1, 0, 0.5
    assert estimate({"a": [True]}, 1).standard_error is None
    assert estimate({"a": [True, False], "b": [False, False]}, 2).mean == 0.5


def test_too_few_completions_are_an_error_that_names_the_problem():
    with pytest.raises(InputError, match=r"pass@5: 1 of 2 problems have fewer completions, 'b' 3; give k of at most 3"):
        estimate({"a": [True] * 5, "b": [True] * 3}, 5)
    with pytest.raises(InputError, match="no problems"):
        estimate({}, 1)
