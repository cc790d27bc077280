"""How sure a model's decision is: what `datbatch evaluate` learned on validation data and left beside its weights."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from datbatch.errors import ModelError

EVALUATION_FILE = "evaluation.json"
_AGAIN = "Call `datbatch evaluate COHORT` again."


@dataclass(frozen=True)
class Certainty:
    """Calibration of a model and the margin of a certain call."""

    temperature: float | None
    """What log odds are divided by, so that probabilities agree with frequencies (Guo et al., ICML 2017); None where
    the validation set fixes none."""
    margin: float
    """A call is uncertain when |probability - 1/2| is smaller."""
    uncertain_share: float
    """Share of the validation studies that the margin was learned for."""

    def probability(self, log_odds: float) -> float:
        """Give the probability of the positive class, 1 / (1 + exp(-log odds / temperature))."""
        return 0.5 * (1.0 + math.tanh(0.5 * log_odds / (self.temperature or 1.0)))

    def is_certain(self, log_odds: float) -> bool:
        """Say whether the decision lies beyond the margin."""
        return abs(self.probability(log_odds) - 0.5) >= self.margin


def read_certainty(model: Path, weights_sha256: str) -> Certainty | None:
    """Read what is known of a model's certainty.

    Parameters
    ----------
    model : Path
        Folder of the model.
    weights_sha256 : str
        Digest of its weights.

    Returns
    -------
    Certainty or None
        None before `datbatch evaluate`, and where that was of other weights or had too few validation studies.

    Raises
    ------
    ModelError
        When the file is there and cannot be used.
    """
    path = model / EVALUATION_FILE
    if not path.is_file():
        return None
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        # Ensembles stand there too; one study is read by one model, which speaks for itself.
        alone = [one for one in given["certainty"] if one is not None and len(one["members"]) == 1]
        own = [one for one in alone if one["members"][0]["weights_sha256"] == weights_sha256]
        if not own:
            return None
        temperature = own[0]["members"][0]["temperature"]
        found = Certainty(
            None if temperature is None else float(temperature),
            float(own[0]["margin"]),
            float(own[0]["uncertain_share"]),
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"the model's evaluation cannot be read ({type(error).__name__})", _AGAIN) from error
    sound = found.temperature is None or (math.isfinite(found.temperature) and found.temperature > 0)
    if not (sound and 0.0 <= found.margin <= 0.5 and 0.0 <= found.uncertain_share <= 1.0):
        raise ModelError("the model's evaluation holds a value out of range", _AGAIN)
    return found
