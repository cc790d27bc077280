"""How certain a model's decision is: what `datbatch evaluate` learned on validation data and put beside the weights."""

from __future__ import annotations

import json
import math
from pathlib import Path

from datbatch.classifier.folder import ModelFolder
from datbatch.config import canonical_json
from datbatch.errors import ModelError
from datbatch.evaluation.assessment import CERTAINTY
from datbatch.evaluation.certainty import Certainty

_AGAIN = "Call `datbatch evaluate COHORT` again."
_NOT_EVALUATED = "the model was not evaluated. Call `datbatch evaluate COHORT`."
_OTHER_WEIGHTS = f"the model has other weights than when it was evaluated. {_AGAIN}"
_MORE_STUDIES = (
    "Label more studies and train again, or raise evaluate.uncertain_share; then call `datbatch evaluate COHORT`."
)


def read_certainty(model: Path, weights_sha256: str) -> tuple[Certainty | None, str]:
    """Read how to tell whether the call of a model with these weights is certain; else say why that is not known.

    The text, empty where it is known, says why not and what helps: the model was not evaluated, with these weights,
    or on enough validation studies. An ensemble that the file holds does not count. A `ModelError` says that the
    file is there and cannot be used.
    """
    path = ModelFolder(model).evaluation_file
    if not path.is_file():
        return None, _NOT_EVALUATED
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        found = [Certainty.from_dict(one) for one in given["certainty"]]
        sound = all(map(_is_sound, found))
        too_few = given.get("weights_sha256") == weights_sha256 and str(given["too_few"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"the model's evaluation cannot be read ({type(error).__name__})", _AGAIN) from error
    if not sound:
        raise ModelError("the model's evaluation holds a value out of range", _AGAIN)
    for one in found:
        if [member.weights_sha256 for member in one.members] == [weights_sha256]:
            return one, ""
    return None, f"{too_few}. {_MORE_STUDIES}" if too_few else _OTHER_WEIGHTS


def _is_sound(certainty: Certainty) -> bool:
    temperatures = [member.temperature for member in certainty.members if member.temperature is not None]
    return (
        all(math.isfinite(temperature) and temperature > 0 for temperature in temperatures)
        and 0.0 <= certainty.margin <= 0.5
        and 0.0 <= certainty.uncertain_share <= 1.0
    )


def kept_decisions(evaluation: str) -> bytes:
    """Give what a model's folder keeps of an evaluation: what tells whether a call is certain."""
    values = json.loads(evaluation)
    decisions = {
        "digest": values["digest"],
        "weights_sha256": values["weights"][values["model"]],
        "certainty": [found["certainty"] for found in values["certainty"]],
        "too_few": next((row["reason"] for row in values["missing"] if row["figure"] == CERTAINTY), ""),
    }
    return canonical_json(decisions).encode()
