"""What the two outputs of the network say: log odds, probability, class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datbatch.arrays import Floats, Ints


def log_odds(logits: npt.NDArray[np.floating]) -> Floats:
    """Give logit of positive less logit of negative, from (study, 2) in the order of `schema.LABELS`."""
    values = np.asarray(logits, dtype=np.float64)
    return np.asarray(values[:, 1] - values[:, 0])


def probability(odds: npt.ArrayLike) -> Floats:
    """Give the probability of log odds, 1 / (1 + exp(-log odds)), without overflow; NaN stays NaN."""
    with np.errstate(invalid="ignore"):
        return np.exp(-np.logaddexp(0.0, -np.asarray(odds, dtype=np.float64)))


def positive_probability(logits: npt.NDArray[np.floating]) -> Floats:
    """Give the softmax output of the positive class, from (study, 2) in the order of `schema.LABELS`."""
    return probability(log_odds(logits))


def predicted_class(logits: npt.NDArray[np.floating]) -> Ints:
    """Give the most activated output; the first of two equal ones, as the relevance target does."""
    return np.asarray(np.argmax(logits, axis=1), dtype=np.int64)
