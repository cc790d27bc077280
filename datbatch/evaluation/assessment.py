"""The evaluation of one model: every figure of the test set, and why one is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datbatch.arrays import Bools, Floats
from datbatch.evaluation.agreement import McNemar, mcnemar
from datbatch.evaluation.calibration import (
    LEAST_STUDIES,
    Calibration,
    calibrated_probability,
    fit_temperature,
    reliability,
)
from datbatch.evaluation.cases import Cases
from datbatch.evaluation.certainty import Member
from datbatch.evaluation.comparators import LEAST_CLASS, Rule, learn_cut, learn_tree
from datbatch.evaluation.confusion import Metrics, classification_metrics
from datbatch.evaluation.correlation import Correlation, correlate
from datbatch.evaluation.discrimination import AreaDifference, area_under_curve, compare_areas
from datbatch.evaluation.estimates import Estimate, Proportion, wilson
from datbatch.evaluation.groups import Group, age_bands, count_levels, group_metrics
from datbatch.evaluation.readers import ReaderAgreement, reader_agreement
from datbatch.evaluation.repeats import CertaintyYield, Repeats, compare_repeats, judge_certainty
from datbatch.schema import LABELS, TEST, TRAINING, VALIDATION

CERTAINTY = "certain or uncertain"
"""What `Missing` calls the figure that tells certain calls from uncertain ones."""


Z_SCORE = "z-score of the putamen SBR"


@dataclass(frozen=True)
class Missing:
    """A figure that is not there, and why."""

    figure: str
    reason: str


@dataclass(frozen=True)
class Compared:
    """A classifier on the test studies for which it has a call, and the network on the same studies."""

    name: str
    words: str
    """Its rule."""
    metrics: Metrics
    area: Estimate
    mcnemar: McNemar
    """First is the network."""
    area_difference: AreaDifference
    """Network less comparator."""


@dataclass(frozen=True)
class Inconsistency:
    """How well the flag of inconsistent maps finds wrong decisions."""

    found: Proportion
    """Of the misclassified studies, those that it flags."""
    alarmed: Proportion
    """Of the rightly classified studies, those that it flags."""


@dataclass(frozen=True)
class RelevanceRow:
    """Putamen relevance and binding of the test studies of one outcome."""

    outcome: str
    """TN, FP, FN or TP."""
    studies: int
    relevance_mean: float
    relevance_sd: float
    binding_ratio_mean: float
    binding_ratio_sd: float


@dataclass(frozen=True)
class RelevanceAndBinding:
    """Putamen relevance against the specific binding ratio of the same putamen."""

    rows: tuple[RelevanceRow, ...]
    correlation: Correlation


@dataclass(frozen=True)
class Evaluation:
    """All that is known of a model on its test set."""

    network: Metrics
    area: Estimate
    temperature: float | None
    """Fitted on the validation set."""
    validation_studies: int
    raw: Calibration
    """Of the probabilities as the network gives them."""
    calibrated: Calibration
    """Of those after division by the temperature."""
    readers: tuple[ReaderAgreement, ...]
    groups: tuple[Group, ...]
    comparators: tuple[Compared, ...]
    inconsistency: Inconsistency | None
    relevance_and_binding: RelevanceAndBinding | None
    repeats: Repeats | None
    certainty: tuple[CertaintyYield, ...]
    """Of the model alone, then of the ensemble where there is one."""
    missing: tuple[Missing, ...]


def assess(
    cases: Cases, model: str, weights: dict[str, str], odds: dict[str, Floats], uncertain_share: float
) -> Evaluation:
    """Evaluate a model on its test set; cuts, temperatures and margins come from the other sets alone.

    Parameters
    ----------
    cases : Cases
        The studies and what the model says of them.
    model : str
        Its name.
    weights : dict of str to str
        SHA-256 of the weights of the model and of its repeats, by name.
    odds : dict of str to ndarray, shape (study,)
        Log odds of the same models; NaN where not known.
    uncertain_share : float
        Wanted share of uncertain studies.

    Returns
    -------
    Evaluation
        A figure for which the studies are too few is None, or left out, with its reason in `missing`.
    """
    missing: list[Missing] = []
    inferred = np.isfinite(cases.log_odds)
    test, watched = cases.members(TEST) & inferred, cases.members(VALIDATION) & inferred
    truth, score, ages, counts = cases.label[test], cases.log_odds[test], cases.age_years[test], cases.counts[test]
    calls = (score > 0).astype(np.int64)
    for index, name in enumerate(LABELS):
        if not (truth == index).any():
            reason = f"the test set has no {name} study with an inference"
            missing.append(Missing(f"figures of the {name} class", reason))
    names = (model, *sorted(odds.keys() - {model}))
    members = [Member(name, weights[name], _temperature(cases, odds[name])) for name in names]
    temperature = members[0].temperature
    if temperature is None:
        reason = f"the validation set has {int(watched.sum())} studies; {LEAST_STUDIES} of both classes are needed"
        missing.append(Missing("temperature", reason))
    raw, better = (reliability(truth, calibrated_probability(score, t)) for t in (None, temperature))
    repeats = compare_repeats(cases, members, odds) if len(members) > 1 else None
    if repeats is None:
        missing.append(Missing("repeats", "no model that differs only in its seed: call `datbatch train --seed`"))
    # Of the model alone, then of the ensemble where there is one.
    ensembles = [members[:1], members][: len(members)]
    certainty = [judge_certainty(cases, chosen, odds, uncertain_share) for chosen in ensembles]
    if certainty[0] is None:
        wanted = f"{100 * uncertain_share:g} %"
        reason = f"{int(watched.sum())} validation studies are too few to tell which {wanted} are uncertain"
        missing.append(Missing(CERTAINTY, reason))
    return Evaluation(
        network=classification_metrics(truth, calls),
        area=area_under_curve(truth, score),
        temperature=temperature,
        validation_studies=int(watched.sum()),
        raw=raw,
        calibrated=better,
        readers=reader_agreement(cases.reads),
        groups=(
            *group_metrics("site", cases.site[test], truth, calls),
            *group_metrics("sex", cases.sex[test], truth, calls),
            *group_metrics("age", age_bands(ages), truth, calls, along=ages),
            *group_metrics("counts", count_levels(counts), truth, calls, along=counts),
        ),
        comparators=tuple(_compared(rule, cases, test) for rule in _rules(cases, missing)),
        inconsistency=_inconsistency(cases, test, missing),
        relevance_and_binding=_relevance(cases, test, missing),
        repeats=repeats,
        certainty=tuple(found for found in certainty if found is not None),
        missing=tuple(missing),
    )


def _temperature(cases: Cases, odds: Floats) -> float | None:
    watched = cases.members(VALIDATION) & np.isfinite(odds)
    return fit_temperature(cases.label[watched], odds[watched])


def _rules(cases: Cases, missing: list[Missing]) -> list[Rule]:
    """Learn the comparators on the training set; the cut of the relevance was learned on the validation set."""
    train, few = cases.members(TRAINING), "the training set has too few studies of a class with this figure"
    found: list[Rule] = []
    learnt = [("putamen SBR", learn_cut("Putamen SBR", cases.binding_ratio, cases.label, train))]
    if np.isfinite(cases.z_score).any():
        fitted_on = cases.normal_split == TRAINING
        if (fitted_on & cases.members(TEST)).any():
            missing.append(Missing(Z_SCORE, "the normal range was fitted on studies of the test set"))
        else:
            learnt.append(("z-score", learn_cut(Z_SCORE, cases.z_score, cases.label, train)))
    else:
        missing.append(Missing(Z_SCORE, "there is no normal range: call `datbatch norms`"))
    if cases.regional.shape[1]:
        learnt.append(("tree", learn_tree(cases.regional, cases.regional_names, cases.label, train)))
    for name, rule in learnt:
        if rule is None:
            reason = few if name != "tree" else f"{LEAST_CLASS} training studies of each class are needed"
            missing.append(Missing(name, reason))
        else:
            found.append(rule)
    relevance, known = cases.putamen_relevance, np.isfinite(cases.putamen_relevance)
    if not (known & cases.members(TEST)).any():
        missing.append(Missing("relevance", "no test study was explained: call `datbatch explain`"))
        return found
    with np.errstate(invalid="ignore"):
        found.append(Rule("Putamen relevance", "positive above zero", relevance > 0, relevance, known))
        if np.isfinite(cases.relevance_cut):
            words = f"positive from {cases.relevance_cut:.3g}, learned on validation data"
            found.append(Rule("Putamen relevance", words, relevance >= cases.relevance_cut, relevance, known))
    return found


def _compared(rule: Rule, cases: Cases, test: Bools) -> Compared:
    both = test & rule.known
    truth, network = cases.label[both], cases.log_odds[both]
    return Compared(
        rule.name,
        rule.words,
        classification_metrics(truth, rule.positive[both]),
        area_under_curve(truth, rule.score[both]),
        mcnemar(truth, network > 0, rule.positive[both]),
        compare_areas(truth, network, rule.score[both]),
    )


def _inconsistency(cases: Cases, test: Bools, missing: list[Missing]) -> Inconsistency | None:
    explained = test & np.isfinite(cases.putamen_relevance)
    if not explained.any():
        return None
    wrong = explained & ((cases.log_odds > 0) != (cases.label == 1))
    right = explained & ~wrong
    if not wrong.any():
        missing.append(Missing("share of the misclassified that are flagged", "no test study is misclassified"))
    return Inconsistency(
        *(wilson(int((cases.inconsistent & group).sum()), int(group.sum())) for group in (wrong, right))
    )


def _relevance(cases: Cases, test: Bools, missing: list[Missing]) -> RelevanceAndBinding | None:
    known = test & np.isfinite(cases.putamen_relevance) & np.isfinite(cases.binding_ratio)
    if not known.any():
        return None
    positive, called = cases.label == 1, cases.log_odds > 0
    outcomes = {"TN": ~positive & ~called, "FP": ~positive & called, "FN": positive & ~called, "TP": positive & called}
    rows = []
    for outcome, members in outcomes.items():
        inside = known & members
        means = [_mean_sd(values[inside]) for values in (cases.putamen_relevance, cases.binding_ratio)]
        rows.append(RelevanceRow(outcome, int(inside.sum()), *means[0], *means[1]))
    correlation = correlate(cases.putamen_relevance[known], cases.binding_ratio[known])
    if not np.isfinite(correlation.pearson.value):
        missing.append(Missing("correlation of relevance and binding", "fewer than four test studies, or equal values"))
    return RelevanceAndBinding(tuple(rows), correlation)


def _mean_sd(values: Floats) -> tuple[float, float]:
    mean = float(values.mean()) if values.size else float("nan")
    return mean, float(values.std(ddof=1)) if values.size > 1 else float("nan")
