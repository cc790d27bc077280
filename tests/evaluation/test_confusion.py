"""Figures of merit are the published ones, and agree with their definitions."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datbatch.evaluation import agreement, confusion, discrimination, estimates, outputs


def cells(tn, fp, fn, tp):
    return [0] * (tn + fp) + [1] * (fn + tp), [0] * tn + [1] * fp + [0] * fn + [1] * tp


def test_the_papers_test_set_gives_the_papers_figures():
    found = confusion.classification_metrics(*cells(148, 2, 10, 128))
    names = ("accuracy", "sensitivity", "specificity", "positive_predictive_value", "negative_predictive_value")
    assert [round(100 * getattr(found, name).value, 1) for name in names] == [95.8, 92.8, 98.7, 98.5, 93.7]
    assert found.confusion == confusion.Confusion(148, 2, 10, 128)


def test_the_papers_readers_give_the_papers_kappa():
    # 31 of 1306 reads differ; the marginals are those of the consensus to within them.
    first = np.array([0] * 666 + [1] * 609 + [0] * 16 + [1] * 15)
    second = np.array([0] * 666 + [1] * 609 + [1] * 16 + [0] * 15)
    found = agreement.cohen_kappa(first, second)
    assert (round(found.value, 3), round(found.standard_error, 3)) == (0.952, 0.008)


def test_kappa_of_chance_is_zero_of_identity_one_and_of_a_single_category_unknown():
    assert agreement.cohen_kappa(["a", "a", "b", "b"], ["a", "b", "a", "b"]).value == pytest.approx(0.0)
    assert agreement.cohen_kappa(["a", "b", "c"], ["a", "b", "c"]).value == 1.0
    assert math.isnan(agreement.cohen_kappa(["a", "a"], ["a", "a"]).value)


@given(st.integers(1, 300), st.data())
def test_wilson_limits_solve_the_score_equation(trials, data):
    successes = data.draw(st.integers(0, trials))
    found = estimates.wilson(successes, trials)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    for limit in {found.low, found.high} - {0.0, 1.0}:
        z = abs(found.value - limit) / math.sqrt(limit * (1 - limit) / trials)
        assert z == pytest.approx(estimates.Z_95, rel=1e-6)


def test_an_empty_class_has_no_value_and_the_widest_interval():
    found = confusion.classification_metrics(*cells(5, 1, 0, 0)).sensitivity
    assert math.isnan(found.value)
    assert (found.trials, found.low, found.high) == (0, 0.0, 1.0)
    assert estimates.as_json(found)["value"] is None


scored = st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=40)


@given(scored)
def test_the_area_under_the_curve_is_the_chance_that_a_positive_study_scores_higher(studies):
    labels, scores = [p for p, _ in studies], [float(s) for _, s in studies]
    positive = [s for p, s in studies if p]
    negative = [s for p, s in studies if not p]
    found = discrimination.area_under_curve(labels, scores)
    if not positive or not negative:
        assert math.isnan(found.value)
        return
    wins = [(p > n) + 0.5 * (p == n) for p, n in itertools.product(positive, negative)]
    assert found.value == pytest.approx(np.mean(wins))


def test_probability_and_log_odds_are_the_softmaxs():
    logits = np.array([[0.0, 0.0], [1.0, 3.0], [800.0, -800.0]], dtype=np.float32)
    assert outputs.log_odds(logits).tolist() == [0.0, 2.0, -1600.0]
    probability = outputs.positive_probability(logits)
    assert probability[:2] == pytest.approx([0.5, math.exp(3) / (math.exp(1) + math.exp(3))])
    assert probability[2] == 0.0
    assert outputs.predicted_class(logits).tolist() == [0, 1, 0]


@pytest.mark.parametrize(("labels", "calls"), [([0, 1], [0]), ([0, -1], [0, 1]), ([0, 1], [2, 1])])
def test_studies_without_label_or_call_are_refused(labels, calls):
    with pytest.raises(ValueError):
        confusion.confusion(labels, calls)


def test_figures_of_merit_do_not_load_torch():
    program = "import sys, datbatch.evaluation.confusion; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
