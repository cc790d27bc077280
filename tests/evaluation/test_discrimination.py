"""Two areas are compared as by their definition; the learned cut is the best there is."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datbatch.evaluation.discrimination import area_under_curve, compare_areas, youden_cut


def kernel(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Give DeLong's psi for every pair."""
    return (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)


def test_the_difference_of_two_areas_is_delongs():
    # Variances and covariance of both areas from the matrices of pairs, as the paper writes them.
    rng = np.random.default_rng(3)
    labels = rng.random(70) < 0.45
    first = rng.normal(size=70) + labels
    second = np.round(first + rng.normal(size=70), 1)
    found = compare_areas(labels, first, second)
    matrices = [kernel(score[labels], score[~labels]) for score in (first, second)]
    s10 = np.cov([m.mean(axis=1) for m in matrices]) / labels.sum()
    s01 = np.cov([m.mean(axis=0) for m in matrices]) / (~labels).sum()
    covariance = s10 + s01
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    areas = [m.mean() for m in matrices]
    assert found.difference.value == pytest.approx(areas[0] - areas[1])
    assert found.difference.standard_error == pytest.approx(math.sqrt(variance))
    z = (areas[0] - areas[1]) / math.sqrt(variance)
    assert found.p == pytest.approx(math.erfc(abs(z) / math.sqrt(2)))
    assert area_under_curve(labels, first).standard_error == pytest.approx(math.sqrt(covariance[0, 0]))


def test_equal_scores_have_no_difference_and_no_p():
    labels, scores = [0, 0, 1, 1], [1.0, 2.0, 2.0, 3.0]
    found = compare_areas(labels, scores, scores)
    assert found.difference.value == 0.0
    assert math.isnan(found.p)
    assert math.isnan(compare_areas([1, 1], [0.0, 1.0], [1.0, 0.0]).difference.value)


@given(st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=30))
def test_no_cut_separates_the_classes_better_than_the_learned_one(studies):
    labels, scores = np.array([p for p, _ in studies]), np.array([float(s) for _, s in studies])
    cut = youden_cut(labels, scores)
    if labels.all() or not labels.any() or np.unique(scores).size < 2:
        assert math.isnan(cut)
        return

    def total(limit: float) -> float:
        return (scores[labels] >= limit).mean() + (scores[~labels] < limit).mean()

    between = np.unique(scores)[:-1] + 0.5
    assert cut not in scores
    assert total(cut) == pytest.approx(max(total(limit) for limit in between))
