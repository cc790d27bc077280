"""Figures of one study, made up, for the tests of their summary and of the report."""

from typing import Any

CHANCE = {"striatum": 0.01, "wider": 0.03}
ALONE = {"reason": "there is no other"}


def figures(kept: float | None = 0.9, gain: float = 1.0, putamen: float = 1.0) -> dict[str, Any]:
    """What one study gives."""
    place = {"mass": 0.2, "rank": 0.5}
    return {
        "predicted": "positive",
        "conservation": {
            "layers": [{"layer": "fully connected 1", "kept": kept, "biases": 0.1, "stabilisers": 0.0}],
            "kept": kept,
        },
        "randomisation": [{"layer": "fully connected 1", "absolute": 0.4, "signed": None}],
        "flipping": {
            "shares": [0.0, 0.5, 1.0],
            "relevance": [4.0, 2.0 - gain, 0.0],
            "magnitude": [4.0, 2.0, 0.0],
            "random": [4.0, 2.0, 0.0],
        },
        "localisation": {
            f"{name}_{kind}": place for name in ("striatum", "wider") for kind in ("positive", "absolute")
        },
        "noise": {"correlation": 0.9, "putamen": putamen, "putamen_sd": 0.1, "same_prediction": 1.0},
    }
