"""The random-intercept model against its matrices written out, and against closed forms."""

import numpy as np
import pytest

from datbatch.norms.mixed import fit_mixed_model
from tests.reference import mixed_model


def drawn(seed: int, counts: tuple[int, ...] = (12, 7, 3, 1)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    site = np.repeat(np.arange(len(counts)), counts)
    x = np.column_stack([np.ones(site.size), rng.normal(size=site.size), rng.integers(0, 2, site.size) - 0.5])
    y = x @ [2.0, -0.2, 0.1] + rng.normal(0, 0.3, len(counts))[site] + rng.normal(0, 0.2, site.size)
    return y, x, site


@pytest.mark.parametrize("seed", range(3))
def test_estimates_are_those_of_the_model_written_out(seed) -> None:
    y, x, site = drawn(seed)
    b, covariance, effect, residual, between = mixed_model.fit(y, x, site, 4)
    model = fit_mixed_model(y, x, site, 4)
    np.testing.assert_allclose(model.coefficient, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.covariance, covariance, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(model.site_effect, effect, rtol=1e-3, atol=1e-5)
    assert model.residual_variance == pytest.approx(residual, rel=1e-3)
    assert model.site_variance == pytest.approx(between, rel=1e-3)


def test_one_site_is_ordinary_least_squares() -> None:
    y, x, _ = drawn(5)
    model = fit_mixed_model(y, x, np.zeros(y.size, dtype=np.intp), 1)
    b, rss, _, _ = np.linalg.lstsq(x, y, rcond=None)
    np.testing.assert_allclose(model.coefficient, b, rtol=1e-10)
    assert model.residual_variance == pytest.approx(rss[0] / (y.size - 3), rel=1e-10)
    np.testing.assert_allclose(model.covariance, rss[0] / (y.size - 3) * np.linalg.inv(x.T @ x), rtol=1e-9)
    assert np.isnan(model.site_variance)
    assert model.site_effect[0] == 0


def test_a_site_is_shrunk_the_more_the_fewer_studies_it_has() -> None:
    y, x, site = drawn(1)
    shrinkage = fit_mixed_model(y, x, site, 5).shrinkage
    assert (np.diff(shrinkage) < 0).all()
    assert shrinkage[-1] == 0
    assert 0 < shrinkage[0] < 1


def test_sites_that_do_not_differ_keep_a_variance_above_zero() -> None:
    rng = np.random.default_rng(3)
    site = np.repeat(np.arange(4), 20)
    y = rng.normal(size=80)
    for index in range(4):
        y[site == index] -= y[site == index].mean()
    model = fit_mixed_model(y, np.ones((80, 1)), site, 4)
    assert 0 < model.site_variance < 0.2 * model.residual_variance


def test_a_column_without_information_gets_nothing() -> None:
    y, x, site = drawn(2)
    model = fit_mixed_model(y, np.column_stack([x, np.full(y.size, 0.3)]), site, 4)
    assert model.coefficient[3] == 0
    assert not model.covariance[3].any()
    np.testing.assert_allclose(model.coefficient[:3], fit_mixed_model(y, x, site, 4).coefficient)


def test_a_shift_and_a_factor_of_the_values_carry_over() -> None:
    y, x, site = drawn(4)
    plain, moved = fit_mixed_model(y, x, site, 4), fit_mixed_model(50 + 3 * y, x, site, 4)
    np.testing.assert_allclose(moved.coefficient, 3 * plain.coefficient + [50, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(moved.site_effect, 3 * plain.site_effect, rtol=1e-4, atol=1e-6)
    assert moved.site_variance == pytest.approx(9 * plain.site_variance, rel=1e-4)
