"""The sign of relevance is learned so that positive studies have the higher putamen relevance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datbatch.errors import TrainingDataError
from datbatch.relevance import inconsistent, learn_orientation, orienting_studies

LABELS = np.array([0, 0, 0, 1, 1, 1])


def test_a_model_whose_positive_studies_have_negative_relevance_is_turned():
    values = np.array([3.0, 2.0, 1.5, -1.0, -2.0, -2.5])
    found = learn_orientation(values, LABELS)
    assert (found.sign, found.auc) == (-1, 1.0)
    assert found.threshold == pytest.approx((-1.5 + 1.0) / 2)
    turned = learn_orientation(-values, LABELS)
    assert (turned.sign, turned.threshold, turned.auc) == (1, found.threshold, found.auc)


def test_an_overlap_is_cut_where_most_studies_are_told_apart():
    values = np.array([-2.0, -1.0, 1.0, 0.5, 2.0, 3.0])
    found = learn_orientation(values, LABELS)
    assert found.auc == pytest.approx(8 / 9)
    oriented = found.sign * values
    errors = [
        (oriented >= cut)[LABELS == 0].sum() + (oriented < cut)[LABELS == 1].sum() for cut in (found.threshold, 9)
    ]
    assert errors == [1, 3]


@given(st.lists(st.tuples(st.floats(-50, 50), st.booleans()), min_size=2, max_size=30))
def test_the_oriented_area_is_never_below_one_half_and_the_cut_never_worse_than_chance(studies):
    values, labels = np.array([v for v, _ in studies]), np.array([int(p) for _, p in studies])
    if len(set(labels)) < 2:
        with pytest.raises(TrainingDataError):
            learn_orientation(values, labels)
        return
    found = learn_orientation(values, labels)
    typical = found.sign * values >= found.threshold
    assert 0.5 <= found.auc <= 1.0
    assert typical[labels == 1].mean() + (~typical)[labels == 0].mean() >= 1.0 - 1e-9


def test_a_map_typical_of_the_other_class_is_flagged():
    flags = inconsistent([2.0, -2.0, 2.0, -2.0, np.nan], [1, 0, 0, 1, 1], 0.5)
    assert flags.tolist() == [False, False, True, True, False]


def test_values_that_are_no_numbers_are_refused():
    with pytest.raises(TrainingDataError, match="not finite"):
        learn_orientation(np.array([1.0, np.nan]), np.array([0, 1]))


@pytest.mark.parametrize(("of_each_class", "joined"), [(4, True), (5, False)])
def test_training_studies_join_a_validation_set_too_small_to_tell_the_sign_and_test_studies_never(
    of_each_class, joined
):
    split = np.array(["validation"] * 2 * of_each_class + ["train"] * 3 + ["test"] * 3 + [""])
    labels = np.arange(split.size) % 2
    labels[split == "train"] = [0, 1, -1]
    chosen = orienting_studies(split, labels)
    assert chosen[split == "validation"].all()
    assert chosen[split == "train"].tolist() == [joined, joined, False]
    assert not chosen[(split == "test") | (split == "")].any()
