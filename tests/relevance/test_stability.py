"""Noise has the size that was asked for, no noise changes nothing, and agreement is counted right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from datbatch.relevance.similarity import correlation, rank_correlation
from datbatch.relevance.stability import add_noise, pairwise_rank_correlation, sign_agreement

BLUR = {"fwhm_mm": 8.0, "spacing_mm": 2.0}


def test_no_noise_changes_nothing() -> None:
    volume = np.random.default_rng(0).random((8, 9, 7), dtype=np.float32)
    noisy = add_noise(volume, 0.0, np.random.default_rng(1), **BLUR)
    np.testing.assert_array_equal(noisy, volume)
    assert correlation(noisy.ravel(), volume.ravel()) == pytest.approx(1)


@pytest.mark.parametrize("level", [1.0, 4.0])
def test_noise_grows_with_the_root_of_uptake_and_is_blurred(level) -> None:
    volume = np.full((64, 64, 48), level, dtype=np.float32)
    noise = add_noise(volume, 0.1, np.random.default_rng(2), **BLUR) - volume
    assert noise.std() == pytest.approx(0.1 * np.sqrt(level), rel=0.1)
    assert abs(noise.mean()) < 0.02 * np.sqrt(level)
    # Blurred white noise: its autocorrelation is a Gaussian of sigma sqrt(2) times the blur's.
    sigma = 8.0 / (2 * np.sqrt(2 * np.log(2))) / 2.0
    beside = np.corrcoef(noise[:-2].ravel(), noise[2:].ravel())[0, 1]
    assert beside == pytest.approx(np.exp(-(2**2) / (4 * sigma**2)), abs=0.05)


def test_what_is_below_zero_gets_no_noise() -> None:
    volume = np.full((8, 8, 8), -0.5, dtype=np.float32)
    np.testing.assert_array_equal(add_noise(volume, 0.5, np.random.default_rng(0), **BLUR), volume)


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=3, max_size=30))
def test_rank_correlation_is_scipys(pairs) -> None:
    first, second = (np.array(values, dtype=float) for values in zip(*pairs, strict=True))
    found = rank_correlation(first, second)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(first, second).statistic)


def test_correlation_survives_small_numbers_and_refuses_missing_ones() -> None:
    values = np.array([1.0, 2.0, 4.0, 3.0])
    assert correlation(1e-200 * values, -1e-200 * values) == pytest.approx(-1)
    assert correlation(values, [1.0, np.nan, 2.0, 3.0]) is None
    assert rank_correlation(values, [1.0, np.inf, 2.0, 3.0]) is None


def test_pairs_of_networks() -> None:
    rising = np.arange(10.0)
    assert pairwise_rank_correlation([rising, rising**3]) == pytest.approx(1)
    assert pairwise_rank_correlation([rising, -rising, rising]) == pytest.approx(-1 / 3)
    assert pairwise_rank_correlation([rising]) is None
    assert pairwise_rank_correlation([rising, rising, np.ones(10)]) is None
    assert pairwise_rank_correlation([rising, np.full(10, np.nan)]) is None


def test_signs_are_compared_where_both_networks_have_one() -> None:
    values = np.array([[1.0, -1.0, 2.0, np.nan], [2.0, 1.0, 3.0, 1.0]])
    assert sign_agreement(values) == pytest.approx(2 / 3)
    assert sign_agreement(values[:1]) is None
