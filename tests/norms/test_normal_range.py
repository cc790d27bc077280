"""The normal range: coverage, agreement with closed forms, and a flag for whatever limits a comparison."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from datbatch.errors import NormalRangeError
from datbatch.norms import fit_normal_range
from datbatch.norms.normal_range import NormalRange, Prediction
from tests.reference import mixed_model

SITES = np.array(["A", "B", "C", "D"])


@dataclass(frozen=True)
class Normals:
    """Normal studies of known truth, one independent draw for each measure."""

    values: np.ndarray
    age: np.ndarray
    sex: np.ndarray
    site: np.ndarray

    def __getitem__(self, which: np.ndarray) -> "Normals":
        return Normals(self.values[which], self.age[which], self.sex[which], self.site[which])

    @property
    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.values, self.age, self.sex, self.site


def drawn(studies: int, measures: int, seed: int = 0, sites: int = 4, site_sd: float = 0.3) -> Normals:
    rng = np.random.default_rng(seed)
    age, male = rng.normal(65, 10, studies), rng.integers(0, 2, studies)
    site = np.arange(studies) % sites
    effect = rng.normal(0, site_sd, (sites, measures))
    values = 2.5 - 0.12 * (age[:, None] - 65) / 10 - 0.1 * male[:, None] + effect[site]
    values = values + rng.normal(0, 0.2, (studies, measures))
    return Normals(values, age, np.where(male, "M", "F"), np.array([f"S{s}" for s in site]))


def coverage(normals: Normals, fitted: np.ndarray) -> float:
    found = fit_normal_range(*normals[fitted].columns).predict(*normals[~fitted].columns)
    inside = (found.lower <= normals.values[~fitted]) & (normals.values[~fitted] <= found.upper)
    return float(inside.mean())


def told(model: NormalRange, site: list[str], age: object = 65.0, sex: object = "F") -> Prediction:
    """Predict studies whose two measures are all 2."""
    n = len(site)
    return model.predict(np.full((n, 2), 2.0), np.broadcast_to(age, n), np.broadcast_to(sex, n), np.array(site))


def flagged(found: Prediction) -> dict[str, list[int]]:
    return {code: list(np.flatnonzero(mask)) for code, mask in found.warnings.items() if mask.any()}


@pytest.mark.parametrize(("studies", "site_sd"), [(24, 0.3), (60, 0.3), (60, 0.0)])
def test_the_interval_holds_95_percent_of_new_normals_of_known_sites(studies, site_sd) -> None:
    normals = drawn(studies + 80, 120, seed=studies, site_sd=site_sd)
    assert coverage(normals, np.arange(studies + 80) < studies) == pytest.approx(0.95, abs=0.012)


def test_the_interval_holds_95_percent_of_normals_of_new_sites() -> None:
    normals = drawn(180, 120, sites=6)
    fitted = ~np.isin(normals.site, ["S5"])
    assert coverage(normals, fitted) == pytest.approx(0.95, abs=0.03)


def test_without_site_it_is_the_textbook_prediction_interval() -> None:
    normals = drawn(40, 1, seed=3, site_sd=0.0)
    model = fit_normal_range(*normals.columns, use_site=False)
    x = np.column_stack([np.ones(40), normals.age, normals.sex == "M"])
    b, rss, _, _ = np.linalg.lstsq(x, normals.values[:, 0], rcond=None)
    new = np.array([1.0, 58.0, 1.0])
    sd = np.sqrt(rss[0] / 37 * (1 + new @ np.linalg.inv(x.T @ x) @ new))
    found = model.predict(np.array([[2.0]]), np.array([58.0]), np.array(["M"]), np.array(["anywhere"]))
    assert found.expected[0, 0] == pytest.approx(new @ b, rel=1e-10)
    assert found.sd[0, 0] == pytest.approx(sd, rel=1e-10)
    assert found.z[0, 0] == pytest.approx((2.0 - new @ b) / sd, rel=1e-9)
    assert found.upper[0, 0] == pytest.approx(new @ b + student.ppf(0.975, 37) * sd, rel=1e-9)
    assert model.coefficient[1, 0] == pytest.approx(10 * b[1])
    assert model.coefficient[2, 0] == pytest.approx(b[2])
    assert not any(mask.any() for mask in found.warnings.values())


def test_with_sites_the_variance_is_that_of_the_mixed_model_equations() -> None:
    normals = drawn(30, 1, seed=8)
    model = fit_normal_range(*normals.columns)
    x = np.column_stack([np.ones(30), model.covariates.columns(normals.age, normals.sex)[0]])
    site = np.arange(30) % 4
    _, _, _, residual, between = mixed_model.fit(normals.values[:, 0], x, site, 4)
    found = model.predict(*normals.columns)
    for index in (0, 1, 17):
        variance = mixed_model.prediction_variance(x, site, 4, residual, between, x[index], site[index])
        assert found.sd[index, 0] ** 2 == pytest.approx(variance, rel=2e-3)


def test_mislabelled_normals_do_not_widen_the_range() -> None:
    normals = drawn(200, 3, seed=2)
    wrong = Normals(normals.values.copy(), normals.age, normals.sex, normals.site)
    wrong.values[:8] -= 1.8
    clean, spoilt = fit_normal_range(*normals.columns), fit_normal_range(*wrong.columns)
    np.testing.assert_array_less(spoilt.residual_sd, 1.06 * clean.residual_sd)
    assert (spoilt.outliers >= 8).all()


def test_missing_age_and_sex_widen_the_interval_and_are_flagged() -> None:
    normals = drawn(80, 2, seed=4)
    model = fit_normal_range(*normals.columns)
    found = told(model, ["S0"] * 4, [65.0, np.nan, 65.0, 95.0], ["F", "F", "", "F"])
    assert flagged(found) == {"age-missing": [1], "sex-missing": [2], "age-extrapolated": [3]}
    assert (found.sd[1] > found.sd[0]).all()
    added = model.coefficient[1] ** 2 * np.var(normals.age / 10)
    np.testing.assert_allclose(found.sd[1] ** 2 - found.sd[0] ** 2, added, rtol=0.5)
    assert np.isfinite(found.z).all()


def test_a_study_that_lacks_what_the_model_uses_takes_no_part_in_the_fit() -> None:
    normals = drawn(60, 2, seed=5)
    normals.age[:5], normals.sex[5:8], normals.site[8] = np.nan, "", ""
    whole = fit_normal_range(*normals.columns)
    rest = fit_normal_range(*normals[np.arange(60) >= 9].columns)
    np.testing.assert_array_equal(whole.coefficient, rest.coefficient)
    assert sum(whole.normals_by_site.values()) == 51


def test_a_site_with_two_normals_is_compared_as_one_without_and_flagged() -> None:
    normals = drawn(60, 2, seed=6)
    normals.site[:] = np.where(normals.site == "S3", "S2", normals.site)
    normals.site[:2] = "F"
    found = told(fit_normal_range(*normals.columns), ["F", "unseen", "", "S1"])
    assert flagged(found) == {"site-few-normals": [0], "site-without-normals": [1], "site-missing": [2]}
    np.testing.assert_array_equal(found.expected[0], found.expected[1])
    np.testing.assert_array_equal(found.upper[0], found.upper[2])
    assert (found.sd[0] > found.sd[3]).all()


def test_where_one_site_has_normals_another_one_gets_no_interval() -> None:
    normals = drawn(30, 2, seed=7, sites=1)
    found = told(fit_normal_range(*normals.columns), ["S0", "other"])
    assert np.isfinite(found.z[0]).all()
    assert np.isnan(found.z[1]).all()
    assert np.isnan(found.lower[1]).all()
    assert list(found.warnings["site-without-normals"]) == [False, True]


def test_a_measure_that_one_site_alone_has_gives_the_others_no_interval() -> None:
    normals = drawn(60, 2, seed=12)
    normals.values[normals.site != "S0", 1] = np.nan
    found = told(fit_normal_range(*normals.columns), ["S0", "S1"])
    np.testing.assert_array_equal(np.isfinite(found.z), [[True, True], [True, False]])


def test_a_sex_without_normals_is_flagged() -> None:
    normals = drawn(30, 2, seed=9)
    normals.sex[:] = "M"
    found = told(fit_normal_range(*normals.columns), ["S0", "S0"], sex=["F", "M"])
    assert list(found.warnings["sex-without-normals"]) == [True, False]


def test_each_covariate_can_be_switched_off() -> None:
    normals = drawn(40, 2)
    model = fit_normal_range(*normals.columns, use_age=False, use_sex=False, use_site=False)
    assert model.terms == ("intercept",)
    found = told(model, [""], np.nan, "")
    assert found.warnings == {}
    np.testing.assert_allclose(found.expected[0], normals.values.mean(axis=0), atol=0.05)


def test_too_few_normals_are_refused_with_what_they_lack() -> None:
    normals = drawn(14, 2)
    normals.age[:6] = np.nan
    with pytest.raises(NormalRangeError, match=r"8 of 14 .*without age 6, without sex 0, without site 0"):
        fit_normal_range(*normals.columns)
    fit_normal_range(*normals.columns, use_age=False)


def test_a_measure_without_values_has_no_range_and_the_others_have() -> None:
    normals = drawn(40, 5)
    normals.values[:, 1] = np.nan
    normals.values[3:, 2] = np.nan
    normals.values[:, 3] = 1.0
    normals.values[:, 4] = 0.1 * normals.age + (normals.site == "S1")
    model = fit_normal_range(*normals.columns)
    found = model.predict(*normals.columns)
    assert np.isfinite(found.z[:, 0]).all()
    assert np.isnan(found.z[:, 1:]).all()
    assert list(model.normals) == [40, 0, 0, 0, 0]
    assert model.to_dict(("a", "b", "c", "d", "e"))["measures"]["b"]["coefficient"] == [None] * 3


@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_z_scores_do_not_depend_on_the_unit(factor, shift) -> None:
    normals = drawn(30, 1, seed=11)
    plain = fit_normal_range(*normals.columns).predict(*normals.columns)
    other = Normals(factor * normals.values + shift, normals.age, normals.sex, normals.site)
    moved = fit_normal_range(*other.columns).predict(*other.columns)
    np.testing.assert_allclose(moved.z, plain.z, rtol=1e-3, atol=1e-4)
