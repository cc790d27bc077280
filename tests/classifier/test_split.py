"""The split is the paper's: its subgroup sizes, its balance of age; small cohorts work too."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datbatch.classifier import assign_split, encode_labels
from datbatch.classifier.split import check_leaks
from datbatch.config import SplitConfig
from datbatch.errors import ConfigurationError, SplitLeakError, TrainingDataError

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


def test_all_studies_of_a_person_are_in_one_set_and_change_nothing_where_each_has_one():
    sexes, labels, ages = cohort(dict.fromkeys(PAPER, 40))
    alone = [f"p{index}" for index in range(labels.size)]
    assert (assign_split(sexes, labels, ages, persons=alone) == assign_split(sexes, labels, ages)).all()
    persons = np.array([f"p{index // 3}" for index in range(labels.size)])
    persons[::7] = ""
    split = assign_split(sexes, labels, ages, persons=persons)
    check_leaks(split, alone, persons=persons, pixels=[""] * labels.size)
    assert {name: (split == name).sum() > 0 for name in ("train", "validation", "test")}


def test_folds_cover_every_person_once_and_keep_the_classes_balanced():
    sexes, labels, ages = cohort(dict.fromkeys(PAPER, 20))
    persons = np.array([f"p{index // 2}" for index in range(labels.size)])
    tested = np.zeros(labels.size, dtype=int)
    for fold in range(1, 5):
        split = assign_split(sexes, labels, ages, SplitConfig(by="folds", folds=4, fold=fold, draws=3), persons=persons)
        check_leaks(split, persons, persons=persons, pixels=[""] * labels.size)
        tested += split == "test"
        assert abs((split == "test").sum() - 20) <= 4
        assert set(labels[split == "validation"]) == {"negative", "positive"}
    assert (tested == 1).all()


def test_the_test_set_of_a_split_by_site_is_that_site():
    sexes, labels, ages = cohort(dict.fromkeys(PAPER, 12))
    sites = np.array(["north", "south", "west"])[np.arange(labels.size) % 3]
    split = assign_split(sexes, labels, ages, SplitConfig(by="site", held_out=["south"], draws=3), sites=sites)
    assert ((split == "test") == (sites == "south")).all()
    assert (split == "validation").sum() == round(32 * (1 / 9) / (1 / 9 + 2 / 3))


@pytest.mark.parametrize(
    "config",
    [
        SplitConfig(by="site"),
        SplitConfig(by="site", held_out=["elsewhere"]),
        SplitConfig(by="folds", folds=3, fold=4),
        SplitConfig(by="folds", folds=1, fold=1),
    ],
)
def test_a_site_or_a_fold_that_does_not_exist_is_refused(config):
    sexes, labels, ages = cohort(dict.fromkeys(PAPER, 5))
    with pytest.raises(ConfigurationError):
        assign_split(sexes, labels, ages, config, sites=["north"] * labels.size)


def test_a_person_of_two_sites_of_which_one_is_held_out_is_refused_by_pseudonym():
    sexes, labels, ages = cohort(dict.fromkeys(PAPER, 10))
    names = [f"s{index}" for index in range(labels.size)]
    sites, persons = ["north", "south"] * (labels.size // 2), ["p1", "p1"] + [""] * (labels.size - 2)
    config = SplitConfig(by="site", held_out=["south"])
    split = assign_split(sexes, labels, ages, config, persons=persons, sites=sites)
    with pytest.raises(SplitLeakError, match=r"the same person in two sets: s0 \(.*\), s1 \(test\)"):
        check_leaks(split, names, persons=persons, pixels=[""] * labels.size)


def test_the_same_pixels_in_two_sets_are_refused_and_in_one_set_or_without_label_are_not():
    names, pixels = ["s0", "s1", "s2", "s3"], ["a", "b", "a", "a"]
    nobody = [""] * 4
    check_leaks(["train", "test", "train", ""], names, persons=nobody, pixels=pixels)
    with pytest.raises(SplitLeakError, match=r"the same pixels in two sets: s0 \(train\), s2 \(test\)") as refused:
        check_leaks(["train", "test", "test", ""], names, persons=nobody, pixels=pixels)
    assert refused.value.code == "split-leak"
