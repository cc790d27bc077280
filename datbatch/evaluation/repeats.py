"""Models that differ only in their initial weights: how much the figures vary, and what they say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from datbatch.arrays import Bools, Floats
from datbatch.evaluation.calibration import Calibration, reliability
from datbatch.evaluation.cases import Cases
from datbatch.evaluation.certainty import Certainty, Member, certain, ensemble, learn_margin, mean_and_sd
from datbatch.evaluation.confusion import Metrics, classification_metrics
from datbatch.evaluation.discrimination import area_under_curve
from datbatch.evaluation.estimates import Estimate, Proportion, wilson
from datbatch.schema import TEST, VALIDATION

FIGURES = ("accuracy", "sensitivity", "specificity", "area")


@dataclass(frozen=True)
class Repeat:
    """One model on the test set."""

    model: str
    metrics: Metrics
    area: Estimate


@dataclass(frozen=True)
class Spread:
    """A figure over the repeats."""

    figure: str
    mean: float
    sd: float


@dataclass(frozen=True)
class Repeats:
    """Models that differ only in their initial weights, on the test studies that all of them have seen."""

    models: tuple[Repeat, ...]
    spread: tuple[Spread, ...]
    ensemble: Metrics
    """Of the mean of the calibrated probabilities, positive above one half."""
    ensemble_area: Estimate
    ensemble_calibration: Calibration
    unanimous: Proportion
    """Test studies for which all models have the same call."""
    disagreement_right: float
    """Mean standard deviation of the members' probabilities over the studies that the ensemble has right."""
    disagreement_wrong: float
    """The same over those that it has wrong; NaN without any."""


@dataclass(frozen=True)
class CertaintyYield:
    """Certain and uncertain calls on the test set."""

    certainty: Certainty
    """How the call is made; learned on the validation set."""
    uncertain: Proportion
    """Test studies that are called uncertain."""
    accuracy_all: Proportion
    accuracy_certain: Proportion
    accuracy_uncertain: Proportion


def compare_repeats(cases: Cases, members: Sequence[Member], odds: Mapping[str, Floats]) -> Repeats | None:
    """Give the figures of every repeat, their mean and standard deviation, and those of the ensemble.

    `odds` are the log odds of each member, (study,), by its name. None where no test study has log odds of all.
    """
    each = np.stack([odds[member.model] for member in members])
    test = cases.members(TEST) & np.isfinite(each).all(axis=0)
    if not test.any():
        return None
    truth, each = cases.label[test], each[:, test]
    models = tuple(
        Repeat(member.model, classification_metrics(truth, row > 0), area_under_curve(truth, row))
        for member, row in zip(members, each, strict=True)
    )
    probability, disagreement = ensemble(each, members)
    right = (probability > 0.5) == (truth == 1)
    return Repeats(
        models=models,
        spread=tuple(Spread(name, *mean_and_sd([_figure(model, name) for model in models])) for name in FIGURES),
        ensemble=classification_metrics(truth, probability > 0.5),
        ensemble_area=area_under_curve(truth, probability),
        ensemble_calibration=reliability(truth, probability),
        unanimous=wilson(int(((each > 0) == (each[0] > 0)).all(axis=0).sum()), int(test.sum())),
        disagreement_right=mean_and_sd(disagreement[right].tolist())[0],
        disagreement_wrong=mean_and_sd(disagreement[~right].tolist())[0],
    )


def judge_certainty(
    cases: Cases, members: Sequence[Member], odds: Mapping[str, Floats], uncertain_share: float
) -> CertaintyYield | None:
    """Learn on the validation set which calls are certain, and see on the test set what that is worth.

    None where the validation set is too small for the wanted share.
    """
    each = np.stack([odds[member.model] for member in members])
    known = np.isfinite(each).all(axis=0)
    watched, test = cases.members(VALIDATION) & known, cases.members(TEST) & known
    margin = learn_margin(ensemble(each[:, watched], members)[0], uncertain_share)
    if margin is None:
        return None
    probability = ensemble(each[:, test], members)[0]
    sure = certain(probability, margin)
    right = (probability > 0.5) == (cases.label[test] == 1)

    def accuracy(inside: Bools) -> Proportion:
        return wilson(int((right & inside).sum()), int(inside.sum()))

    return CertaintyYield(
        certainty=Certainty(tuple(members), margin, uncertain_share, int(watched.sum())),
        uncertain=wilson(int((~sure).sum()), int(test.sum())),
        accuracy_all=accuracy(np.ones_like(sure)),
        accuracy_certain=accuracy(sure),
        accuracy_uncertain=accuracy(~sure),
    )


def _figure(repeat: Repeat, name: str) -> float:
    return repeat.area.value if name == "area" else float(getattr(repeat.metrics, name).value)
