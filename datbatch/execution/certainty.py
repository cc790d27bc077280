"""How sure a model's decision is: what `datbatch evaluate` learned on validation data and left beside its weights."""

from __future__ import annotations

import json
import math
from pathlib import Path

from datbatch.errors import ModelError
from datbatch.evaluation.certainty import Certainty

EVALUATION_FILE = "evaluation.json"
_AGAIN = "Call `datbatch evaluate COHORT` again."


def read_certainty(model: Path, weights_sha256: str) -> Certainty | None:
    """Read how to tell whether a model's call is certain.

    Parameters
    ----------
    model : Path
        Folder of the model.
    weights_sha256 : str
        Digest of its weights.

    Returns
    -------
    Certainty or None
        Of the model alone, not of an ensemble that stands there too; None before `datbatch evaluate`, and where that
        was of other weights or had too few validation studies.

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
        found = [Certainty.from_dict(one) for one in given["certainty"]]
        sound = all(_is_sound(one) for one in found)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"the model's evaluation cannot be read ({type(error).__name__})", _AGAIN) from error
    if not sound:
        raise ModelError("the model's evaluation holds a value out of range", _AGAIN)
    own = (one for one in found if [member.weights_sha256 for member in one.members] == [weights_sha256])
    return next(own, None)


def _is_sound(certainty: Certainty) -> bool:
    temperatures = [member.temperature for member in certainty.members if member.temperature is not None]
    return (
        all(math.isfinite(temperature) and temperature > 0 for temperature in temperatures)
        and 0.0 <= certainty.margin <= 0.5
        and 0.0 <= certainty.uncertain_share <= 1.0
    )
