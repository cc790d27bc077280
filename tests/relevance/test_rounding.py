"""Rounded mantissas are the nearest values that fewer bits can hold, ties to even."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from datbatch.relevance import round_mantissa

floats = arrays(np.float32, st.integers(1, 30), elements=st.floats(width=32))


@given(floats, st.integers(1, 23))
def test_the_rounded_value_is_the_nearest_with_so_many_bits(values, bits):
    rounded = round_mantissa(values, bits)
    assert not np.isinf(rounded[np.isfinite(values)]).any()
    special = ~np.isfinite(values)
    np.testing.assert_array_equal(rounded[special], values[special])
    assert (rounded.view(np.uint32)[~special] & ((1 << (23 - bits)) - 1) == 0).all()
    normal = np.isfinite(values) & (np.abs(values) >= np.finfo(np.float32).tiny) & (np.abs(values) < 1e38)
    exact = values[normal].astype(np.float64)
    # The definition: scale so that the unit in the last kept place is one, then round half to even.
    unit = np.exp2(np.floor(np.log2(np.abs(exact))) - bits)
    np.testing.assert_array_equal(rounded[normal], np.round(exact / unit) * unit)


@given(floats, st.integers(1, 23))
def test_rounding_twice_changes_nothing_more(values, bits):
    once = round_mantissa(values, bits)
    np.testing.assert_array_equal(round_mantissa(once, bits), once)


@given(floats)
def test_all_bits_keep_the_value(values):
    kept = round_mantissa(values, 23)
    np.testing.assert_array_equal(kept.view(np.uint32), values.view(np.uint32))
    assert kept is not values


def test_twelve_bits_err_by_less_than_the_documented_share_and_keep_the_shape():
    values = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    rounded = round_mantissa(values, 12)
    assert rounded.shape == values.shape
    assert np.abs(rounded - values).max() / np.abs(values).max() < 1.3e-4
    assert (rounded != values).mean() > 0.9


def test_the_largest_number_does_not_become_infinite():
    largest = np.array([np.finfo(np.float32).max, np.finfo(np.float32).min], dtype=np.float32)
    assert np.isfinite(round_mantissa(largest, 5)).all()


@pytest.mark.parametrize("bits", [0, 24])
def test_bits_out_of_range_are_refused(bits):
    with pytest.raises(ValueError, match="mantissa bits"):
        round_mantissa(np.ones(1, dtype=np.float32), bits)
    with pytest.raises(ValueError, match="float32"):
        round_mantissa(np.ones(1), 12)
