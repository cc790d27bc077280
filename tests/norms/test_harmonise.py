"""Harmonisation: ComBat's numbers, known site effects removed, disease kept, and no label where it is applied."""

import numpy as np
import pytest

from datbatch.norms.harmonise import fit_harmonisation
from tests.reference import combat

SHIFT, GAIN = np.array([0.0, 0.3, -0.4, 0.1]), np.array([1.0, 1.2, 0.8, 1.1])
LOSS = 1.2


def drawn(
    studies: int, measures: int = 6, seed: int = 0, positives: tuple[float, ...] = (0.5, 0.5, 0.5, 0.5)
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Give values as measured, true values, columns, sites and labels."""
    rng = np.random.default_rng(seed)
    site = np.arange(studies) % 4
    positive = rng.random(studies) < np.array(positives)[site]
    age = rng.normal(size=studies)
    common = np.where(positive, rng.normal(0, 0.4, studies), rng.normal(0, 0.15, studies))
    true = 2.5 - 0.1 * age - LOSS * positive + common
    true = true[:, None] + rng.normal(0, 0.1, (studies, measures))
    values = GAIN[site, None] * true + SHIFT[site, None]
    return values, true, age[:, None], np.array(["A", "B", "C", "D"])[site], positive


def spread(values: np.ndarray, site: np.ndarray) -> float:
    return float(np.std([values[site == name].mean() for name in "ABCD"]))


def test_with_normal_studies_alone_it_is_combat_as_published() -> None:
    values, _, columns, site, _ = drawn(60, 8)
    location, scale, adjusted = combat.harmonise(values, site, columns)
    found = fit_harmonisation(values, columns, site, np.zeros(60, dtype=bool))
    np.testing.assert_allclose(found.location, location, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.scale, scale, rtol=1e-6)
    np.testing.assert_allclose(found.apply(values, columns, site), adjusted, rtol=1e-6)


def test_known_site_effects_vanish_and_the_disease_effect_stays() -> None:
    values, _, columns, site, positive = drawn(4000)
    training = np.arange(4000) < 2000
    found = fit_harmonisation(values[training], columns[training], site[training], positive[training])
    after = found.apply(values[~training], columns[~training], site[~training])
    before, site, negative = values[~training], site[~training], ~positive[~training]
    for chosen in (negative, ~negative):
        assert spread(after[chosen], site[chosen]) < 0.2 * spread(before[chosen], site[chosen])
    for name in "ABCD":
        here = site == name
        effect = after[here & negative].mean() - after[here & ~negative].mean()
        assert effect == pytest.approx(LOSS * GAIN.mean(), rel=0.08)


def test_a_site_with_many_patients_is_not_taken_for_one_with_a_large_scale() -> None:
    _, true, columns, site, positive = drawn(2000, positives=(0.1, 0.4, 0.6, 0.9))
    found = fit_harmonisation(true, columns, site, positive)
    np.testing.assert_allclose(found.scale, 1.0, atol=0.08)
    _, scale, _ = combat.harmonise(true, site, np.column_stack([columns, positive]))
    assert scale.std() > 3 * found.scale.std()


def test_nothing_but_training_values_enters_the_fit_and_no_label_the_application() -> None:
    values, _, columns, site, positive = drawn(200)
    found = fit_harmonisation(values[:100], columns[:100], site[:100], positive[:100])
    alone = found.apply(values[150:151], columns[150:151], site[150:151])
    among = found.apply(values[100:], columns[100:], site[100:])
    np.testing.assert_array_equal(alone[0], among[50])


def test_sites_that_were_not_fitted_and_a_single_site_stand_as_they_were() -> None:
    values, _, columns, site, positive = drawn(100)
    site = site.astype(object)
    site[:3], site[3:6] = "few", ""
    found = fit_harmonisation(values, columns, site, positive)
    np.testing.assert_array_equal(found.apply(values, columns, site)[:6], values[:6])
    assert list(np.flatnonzero(~found.fitted(site))) == list(range(6))
    site[:] = "A"
    single = fit_harmonisation(values, columns, site, positive)
    np.testing.assert_array_equal(single.apply(values, columns, site), values)


def test_missing_values_stay_missing_and_spoil_nothing() -> None:
    values, _, columns, site, positive = drawn(120)
    complete = fit_harmonisation(values, columns, site, positive)
    holes = np.column_stack([values, np.full(120, np.nan), np.ones(120)])
    holes[5, 0] = np.nan
    found = fit_harmonisation(holes, columns, site, positive)
    after = found.apply(holes, columns, site)
    assert np.isnan(after[5, 0])
    assert np.isnan(after[:, 6:]).all()
    assert np.isfinite(after[:, 1:6]).all()
    np.testing.assert_allclose(found.location[:, 1:6], complete.location[:, 1:6], atol=0.02)


def test_sites_without_differences_change_little() -> None:
    _, true, columns, site, positive = drawn(400)
    after = fit_harmonisation(true, columns, site, positive).apply(true, columns, site)
    assert np.abs(after - true).max() < 0.2
    assert np.abs(after - true).mean() < 0.06
