"""Conventional classifiers learn on the training set alone, and find the rule that was put in."""

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from datbatch.evaluation.comparators import learn_cut, learn_tree
from datbatch.evaluation.correlation import correlate
from datbatch.evaluation.groups import UNKNOWN, age_bands, count_levels, group_metrics


@pytest.fixture
def studies() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, two ratios of which the first decides, and who trains."""
    rng = np.random.default_rng(2)
    labels = (rng.random(200) < 0.5).astype(int)
    ratios = np.stack([np.where(labels == 1, 0.8, 2.0) + rng.normal(0, 0.2, 200), rng.normal(2, 1, 200)], axis=1)
    return labels, ratios, np.arange(200) < 140


def test_the_learned_cut_lies_between_the_classes_and_knows_what_it_does_not_know(studies):
    labels, ratios, train = studies
    ratios[150, 0] = np.nan
    rule = learn_cut("SBR", ratios[:, 0], labels, train)
    assert 1.1 < float(rule.words.split()[-1]) < 1.7
    assert not rule.known[150]
    assert not rule.positive[150]
    assert (rule.positive == labels)[~train & rule.known].mean() > 0.95


def test_what_is_not_in_the_training_set_teaches_nothing(studies):
    labels, ratios, train = studies
    for learn in (
        lambda y, x: learn_cut("SBR", x[:, 0], y, train),
        lambda y, x: learn_tree(x, ["ratio", "noise"], y, train),
    ):
        turned, moved = np.where(train, labels, 1 - labels), ratios.copy()
        moved[~train] += 5
        assert learn(labels, ratios).words == learn(turned, moved).words


def test_the_tree_is_pruned_to_the_rule_that_was_put_in(studies):
    labels, ratios, train = studies
    ratios[3, 1] = np.nan
    rule = learn_tree(ratios, ["ratio", "noise"], labels, train)
    assert "noise" not in rule.words
    assert rule.words.count("ratio") == 2
    assert (rule.positive == labels)[~train].mean() > 0.95
    assert ((rule.score > 0.5) == rule.positive).all()


def test_one_class_or_too_few_studies_teach_no_rule(studies):
    labels, ratios, train = studies
    assert learn_cut("SBR", ratios[:, 0], np.ones_like(labels), train) is None
    assert learn_tree(ratios, ["a", "b"], labels, np.arange(200) < 6) is None


def test_correlation_is_scipys():
    rng = np.random.default_rng(0)
    first = rng.normal(size=50)
    second = np.exp(first + rng.normal(size=50))
    second[4] = np.nan
    known = np.isfinite(second)
    found = correlate(first, second)
    expected = pearsonr(first[known], second[known])
    interval = expected.confidence_interval(0.95)
    assert found.studies == 49
    assert (found.pearson.value, found.pearson.low, found.pearson.high) == pytest.approx(
        (expected.statistic, interval.low, interval.high)
    )
    assert found.spearman.value == pytest.approx(spearmanr(first[known], second[known]).statistic)
    assert found.spearman.low < found.spearman.value < found.spearman.high
    assert np.isnan(correlate([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).pearson.value)
    assert np.isnan(correlate([1.0] * 9, range(9)).pearson.value)


def test_groups_are_named_in_order_and_add_up():
    ages = [59.9, 60.0, 69.9, 70.0, 80.0, np.nan]
    bands = age_bands(ages)
    assert bands.tolist() == ["below 60", "60 to 69", "60 to 69", "70 to 79", "80 and above", UNKNOWN]
    labels, calls = [0, 1, 0, 1, 1, 0], [0, 1, 1, 1, 0, 0]
    groups = group_metrics("age", bands, labels, calls, along=ages)
    assert [group.name for group in groups] == ["below 60", "60 to 69", "70 to 79", "80 and above", UNKNOWN]
    assert sum(group.metrics.accuracy.trials for group in groups) == 6
    assert groups[1].metrics.specificity.successes == 0
    counts = [1e6, 2e6, 3e6, 4e6, 5e6, np.nan]
    levels = count_levels(counts)
    assert [name.split()[0] for name in levels] == ["lowest", "lowest", "middle", "highest", "highest", "not"]
    assert [g.name.split()[0] for g in group_metrics("counts", levels, labels, calls, along=counts)] == [
        "lowest", "middle", "highest", "not",
    ]  # fmt: skip
    assert set(count_levels([2e6] * 5)) == {"all"}
    assert group_metrics("site", ["", "A"], [0, 1], [0, 1])[-1].name == UNKNOWN
