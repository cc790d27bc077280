"""Errors of two classifiers are compared as published, and as by scipy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from datbatch.evaluation.agreement import mcnemar


def calls(first_only: int, second_only: int, both: int = 3) -> tuple[list[int], list[int], list[int]]:
    first = [1] * first_only + [0] * second_only + [1] * both
    second = [0] * first_only + [1] * second_only + [1] * both
    return [1] * len(first), first, second


def test_the_published_example():
    # Fagerland et al. 2013, BMC Med Res Methodol 13:91, Table 1: p = 0.070 and mid-p = 0.039.
    found = mcnemar(*calls(1, 7))
    assert (round(found.exact_p, 3), round(found.mid_p, 3)) == (0.070, 0.039)


@given(st.integers(0, 60), st.integers(0, 60))
def test_p_is_the_two_sided_binomial_tests_and_symmetric(b, c):
    found, turned = mcnemar(*calls(b, c)), mcnemar(*calls(c, b))
    assert (found.first_only, found.second_only) == (b, c)
    expected = binomtest(b, b + c).pvalue if b + c else 1.0
    assert found.exact_p == pytest.approx(expected)
    if b + c:
        assert found.mid_p == pytest.approx(expected - binom.pmf(min(b, c), b + c, 0.5) * (0.5 if b == c else 1.0))
    assert (found.exact_p, found.mid_p) == (turned.exact_p, turned.mid_p)


def test_vectors_of_other_lengths_are_refused():
    with pytest.raises(ValueError):
        mcnemar([1], [1, 0], [1, 0])
