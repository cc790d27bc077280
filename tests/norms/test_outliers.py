"""Mislabelled normals are found; true ones stay."""

import numpy as np

from datbatch.norms.outliers import is_outlier


def test_mislabelled_studies_are_found_in_spite_of_age_and_site() -> None:
    rng = np.random.default_rng(0)
    site, age = rng.integers(0, 4, 200), rng.normal(size=(200, 1))
    values = 2 - 0.3 * age[:, 0] + 0.4 * site + rng.normal(0, 0.1, 200)
    values[:12] -= 1.2
    found = is_outlier(values, age, site)
    assert found[:12].all()
    assert found[12:].sum() <= 1


def test_true_normals_are_seldom_rejected_whatever_their_number() -> None:
    rng = np.random.default_rng(1)
    for studies, most in ((12, 0.002), (30, 0.002), (300, 0.0015)):
        site = np.arange(studies) % 4
        shares = [
            is_outlier(rng.normal(size=studies), rng.normal(size=(studies, 2)), site).mean()
            for _ in range(6000 // studies)
        ]
        assert np.mean(shares) < most


def test_too_few_studies_and_equal_values_reject_nothing() -> None:
    assert not is_outlier(np.array([1.0, 2, 99]), np.ones((3, 1)), np.array([0, 1, 1])).any()
    assert not is_outlier(np.ones(20), np.empty((20, 0)), np.zeros(20, dtype=np.intp)).any()
    with np.errstate(all="raise"):
        # The middle one has no residual.
        assert not is_outlier(9 * np.arange(5.0), np.empty((5, 0)), np.zeros(5, dtype=np.intp)).any()
