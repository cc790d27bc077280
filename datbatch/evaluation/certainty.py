"""Whether a call is certain: an ensemble's mean probability, and a margin learned on validation data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.arrays import Bools, Floats
from datbatch.errors import ModelError
from datbatch.evaluation.calibration import calibrated_probability


@dataclass(frozen=True)
class Member:
    """A model of an ensemble."""

    model: str
    """Its name: that of its folder."""
    weights_sha256: str
    temperature: float | None
    """What its log odds are divided by; None where the validation set fixes none."""


@dataclass(frozen=True)
class Call:
    """What an ensemble, or one model, says of studies; arrays (study,)."""

    probability: Floats
    """Mean of the members' calibrated probabilities of the positive class."""
    disagreement: Floats
    """Standard deviation of these probabilities; NaN with a single member."""
    certain: Bools
    """Whether the probability is far enough from one half."""


@dataclass(frozen=True)
class Certainty:
    """How to tell whether a study's call is certain; what `evaluation.json` beside a model holds."""

    members: tuple[Member, ...]
    """One, or those that differ only in their initial weights."""
    margin: float
    """A call is uncertain when |probability - 1/2| is smaller."""
    uncertain_share: float
    """Share of the validation studies that the margin was learned for."""
    studies: int
    """Validation studies that it was learned on."""

    def call(self, odds: npt.ArrayLike) -> Call:
        """Say for each study what the members call and whether it is certain.

        `odds` are the log odds of each member, (member, study) or (member,), in the order of `members`.
        """
        members = np.asarray(odds, dtype=np.float64)
        probability, disagreement = ensemble(members.reshape(len(self.members), -1), self.members)
        return Call(probability, disagreement, certain(probability, self.margin))

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Certainty:
        """Build from what `estimates.as_json` made of it; a `ModelError` says that something is missing."""
        try:
            return cls(**{**given, "members": tuple(Member(**member) for member in given["members"])})
        except (KeyError, TypeError) as error:
            raise ModelError("the evaluation beside the model cannot be read", "Call `datbatch evaluate`.") from error


def ensemble(odds: Floats, members: Sequence[Member]) -> tuple[Floats, Floats]:
    """Give mean and standard deviation of the members' calibrated probabilities.

    The mean over networks with other initial weights is better calibrated than one of them, and where they disagree
    it moves to one half (Lakshminarayanan et al. 2017, Adv Neural Inf Process Syst 30:6402). `odds` are (member,
    study).
    """
    each = np.stack([calibrated_probability(row, m.temperature) for row, m in zip(odds, members, strict=True)])
    spread = each.std(axis=0, ddof=1) if len(members) > 1 else np.full(each.shape[1], np.nan)
    return each.mean(axis=0), spread


def learn_margin(probability: Floats, uncertain_share: float) -> float | None:
    """Find the margin below which the wanted share of the validation studies lies.

    It is midway between the last uncertain and the first certain study; None where the share of so few studies is
    less than one of them.
    """
    margins = np.sort(np.abs(probability - 0.5))
    uncertain = round(uncertain_share * margins.size)
    if uncertain < 1 or uncertain >= margins.size:
        return None
    return float((margins[uncertain - 1] + margins[uncertain]) / 2)


def certain(probability: Floats, margin: float) -> Bools:
    """Tell which calls are certain: |probability - 1/2| at least the margin; never without a probability."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(probability - 0.5) >= margin)


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Give mean and standard deviation (n - 1) over repeats of what is finite; NaN for too few."""
    finite = [value for value in values if math.isfinite(value)]
    mean = float(np.mean(finite)) if finite else math.nan
    return mean, float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan
