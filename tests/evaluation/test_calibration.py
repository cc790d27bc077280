"""Temperature, reliability and scores agree with scikit-learn and with what was simulated."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from datbatch.evaluation.calibration import calibrated_probability, fit_temperature, reliability
from datbatch.evaluation.outputs import probability


def overconfident(studies: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Give labels, and log odds that are too large by a factor."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 2, studies)
    return (rng.random(studies) < probability(true)).astype(int), temperature * true


def test_the_temperature_that_was_put_in_is_found_again():
    labels, odds = overconfident(20_000, 2.5)
    assert fit_temperature(labels, odds) == pytest.approx(2.5, rel=0.05)


def test_the_temperature_is_the_slope_of_a_logistic_regression_with_platts_targets():
    labels, odds = overconfident(60, 3.0, seed=4)
    target = np.where(labels == 1, (labels.sum() + 1) / (labels.sum() + 2), 1 / ((labels == 0).sum() + 2))
    # A soft target is a study of either class, weighted.
    regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000)
    regression.fit(
        np.concatenate([odds, odds])[:, None],
        np.repeat([1, 0], labels.size),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    assert fit_temperature(labels, odds) == pytest.approx(1 / regression.coef_[0, 0], rel=1e-4)


def test_classes_that_are_apart_have_a_finite_temperature():
    found = fit_temperature([0] * 10 + [1] * 10, [-5.0] * 10 + [5.0] * 10)
    # All negative studies say the same: the fit is Platt's target itself.
    assert probability(5.0 / found) == pytest.approx(11 / 12, abs=1e-6)


@pytest.mark.parametrize("labels", [[0, 1] * 4, [1] * 40, [0] * 40, []])
def test_few_studies_or_one_class_fix_no_temperature(labels):
    assert fit_temperature(labels, np.linspace(-1, 1, len(labels))) is None
    assert calibrated_probability([0.0, 2.0], None).tolist() == probability([0.0, 2.0]).tolist()


def test_calibration_changes_no_call_and_lowers_the_errors_of_overconfident_odds():
    labels, odds = overconfident(2000, 4.0)
    before = reliability(labels, probability(odds))
    after = reliability(labels, calibrated_probability(odds, fit_temperature(labels, odds)))
    assert after.expected_error < before.expected_error / 3
    assert after.brier < before.brier
    assert after.log_loss < before.log_loss


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=60))
def test_brier_score_loss_and_expected_error_are_those_of_their_definitions(studies):
    labels, p = np.array([y for y, _ in studies]), np.array([q for _, q in studies])
    found = reliability(labels, p)
    assert found.brier == pytest.approx(brier_score_loss(labels, p, pos_label=1))
    clipped = np.clip(p, 1e-12, 1 - 1e-12)
    assert reliability(labels, clipped).log_loss == pytest.approx(log_loss(labels, clipped, labels=[0, 1]))
    error = 0.0
    for index in range(10):
        inside = np.minimum(np.floor(p * 10), 9) == index
        if inside.any():
            error += inside.mean() * abs(labels[inside].mean() - p[inside].mean())
    assert found.expected_error == pytest.approx(error)
    assert sum(one.studies for one in found.bins) == labels.size


def test_no_study_has_no_figure():
    found = reliability([], [])
    assert found.studies == 0
    assert math.isnan(found.brier)
