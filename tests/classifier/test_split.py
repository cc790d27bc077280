"""The split is the paper's: its subgroup sizes, its balance of age; small cohorts work too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datbatch.classifier import assign_split, encode_labels
from datbatch.config import SplitConfig
from datbatch.errors import TrainingDataError

PAPER = {("F", "negative"): 296, ("M", "negative"): 380, ("F", "positive"): 246, ("M", "positive"): 374}


def cohort(sizes, seed=0):
    rng = np.random.default_rng(seed)
    pairs = rng.permutation([pair for pair, size in sizes.items() for _ in range(size)])
    return pairs[:, 0], pairs[:, 1], rng.normal(67, 11, len(pairs))


def counts(sexes, labels, split, name):
    return [int(((split == name) & (sexes == s) & (labels == y)).sum()) for s, y in PAPER]


def test_the_papers_cohort_gets_the_papers_subgroup_sizes():
    sexes, labels, ages = cohort(PAPER)
    split = assign_split(sexes, labels, ages)
    assert counts(sexes, labels, split, "train") == [197, 254, 164, 249]
    assert counts(sexes, labels, split, "validation") == [33, 42, 27, 42]
    assert counts(sexes, labels, split, "test") == [66, 84, 55, 83]


def age_difference(sexes, labels, ages, split):
    total = 0.0
    for sex, label in PAPER:
        means = [
            ages[(sexes == sex) & (labels == label) & (split == name)].mean()
            for name in ("train", "validation", "test")
        ]
        total += max(means) - min(means)
    return total


def test_of_more_draws_a_better_balance_of_age_is_kept():
    sexes, labels, ages = cohort(PAPER)
    differences = [
        age_difference(sexes, labels, ages, assign_split(sexes, labels, ages, SplitConfig(draws=draws)))
        for draws in (1, 10, 100)
    ]
    assert differences[0] >= differences[1] >= differences[2]
    assert differences[2] < differences[0]


def test_the_seed_fixes_the_split():
    sexes, labels, ages = cohort(PAPER)
    one, same, other = (assign_split(sexes, labels, ages, SplitConfig(seed=seed, draws=5)) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


@given(st.integers(3, 20), st.integers(3, 20), st.integers(0, 6), st.integers(0, 5))
def test_small_cohorts_have_both_classes_in_training_and_validation_and_some_test_studies(
    negative, positive, unlabelled, seed
):
    rng = np.random.default_rng(seed)
    labels = np.array(["negative"] * negative + ["positive"] * positive + [""] * unlabelled)
    sexes = rng.choice(["F", "M", ""], labels.size)
    ages = np.where(rng.random(labels.size) < 0.3, np.nan, rng.normal(67, 11, labels.size))
    split = assign_split(sexes, labels, ages, SplitConfig(draws=3))
    assert ((split == "") == (labels == "")).all()
    for name in ("train", "validation"):
        assert set(labels[split == name]) == {"negative", "positive"}
    assert (split == "test").any()
    total = negative + positive
    assert abs((split == "train").sum() - total * 2 / 3) <= 1.5


def test_a_cohort_without_any_known_age_is_split():
    sexes, labels, ages = cohort({("F", "negative"): 10, ("M", "positive"): 10})
    assert (assign_split(sexes, labels, np.full_like(ages, np.nan)) == "train").sum() == 13


@pytest.mark.parametrize(("negative", "positive"), [(20, 0), (0, 20), (10, 1), (2, 2)])
def test_too_few_studies_of_a_class_are_refused(negative, positive):
    labels = ["negative"] * negative + ["positive"] * positive
    with pytest.raises(TrainingDataError, match="too few to split"):
        assign_split(["F"] * len(labels), labels, [60.0] * len(labels))


def test_labels_are_encoded_in_the_order_of_the_networks_outputs():
    assert encode_labels(["positive", "negative", "", "atypical"]).tolist() == [1, 0, -1, -1]
