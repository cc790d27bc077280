"""From the figures of single studies to those of a model: means with intervals, and what each figure means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t

from datbatch import schema
from datbatch.evaluation.estimates import Estimate, as_json
from datbatch.relevance.flipping import area_between

FEW = 10
"""Studies below which intervals are too wide to say much."""

Study = tuple[str, Mapping[str, Any]]
"""A study's label and what `try_map` found."""


def mean_estimate(values: Iterable[float | None]) -> Estimate:
    """Give the mean over studies with Student's 95 % interval; NaN where there are too few values.

    A value that is not defined, None, is left out.
    """
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if known.size < 2:
        return Estimate(float(known.mean()) if known.size else np.nan, np.nan, np.nan, np.nan)
    error = float(known.std(ddof=1) / np.sqrt(known.size))
    half = float(t.ppf(0.975, known.size - 1)) * error
    mean = float(known.mean())
    return Estimate(mean, error, mean - half, mean + half)


def summarise(studies: Sequence[Study], chance: Mapping[str, float], repeats: Mapping[str, Any]) -> dict[str, Any]:
    """Join the figures of the studies, at least one, each with its label.

    `chance` is the share of the brain's voxels in "striatum" and "wider": mass and rank of a map without
    information. `repeats` tell of models with other initial weights. Gives JSON values; an `Estimate` as a
    dictionary; null where a figure is not defined.
    """
    found = [values for _, values in studies]
    summary = {
        "studies": {label: sum(own == label for own, _ in studies) for label in schema.LABELS},
        "conservation": _conservation([one["conservation"] for one in found]),
        "randomisation": _by_layer([one["randomisation"] for one in found], ("absolute", "signed")),
        "flipping": _flipping([one["flipping"] for one in found]),
        "localisation": {
            label: _localisation([one["localisation"] for own, one in studies if own == label])
            for label in schema.LABELS
        },
        "chance": dict(chance),
        "noise": _noise(studies),
        "repeats": dict(repeats),
    }
    plain: dict[str, Any] = as_json(summary)
    return plain


def _by_layer(studies: Sequence[Sequence[Mapping[str, Any]]], names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"layer": same[0]["layer"], **{name: mean_estimate(one[name] for one in same) for name in names}}
        for same in zip(*studies, strict=True)
    ]


def _conservation(studies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    kept = [one["kept"] for one in studies if one["kept"] is not None]
    return {
        "layers": _by_layer([one["layers"] for one in studies], ("kept", "biases", "stabilisers")),
        "kept": mean_estimate(kept),
        "least": min(kept, default=None),
        "most": max(kept, default=None),
    }


def _flipping(studies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    orders = ("relevance", "magnitude", "random")
    shares = np.asarray(studies[0]["shares"])
    curves = {name: np.array([one[name] for one in studies]) for name in orders}
    areas = {
        name: mean_estimate(area_between(shares, *pair) for pair in zip(curves["random"], curves[name], strict=True))
        for name in orders[:2]
    }
    return {
        "shares": shares.tolist(),
        "curves": {name: curve.mean(axis=0).tolist() for name, curve in curves.items()},
        # Probability of the predicted class, 1 / (1 + exp(-log odds)), without overflow.
        "probability": {name: np.exp(-np.logaddexp(0, -curve)).mean(axis=0).tolist() for name, curve in curves.items()},
        "area": areas,
    }


def _localisation(studies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = studies[0] if studies else ()
    return {
        name: {kind: mean_estimate(one[name][kind] for one in studies) for kind in ("mass", "rank")} for name in names
    }


def _noise(studies: Sequence[Study]) -> dict[str, Any]:
    noise = [one["noise"] for _, one in studies]
    sds = [one["putamen_sd"] for one in noise if one["putamen_sd"] is not None]
    putamen = {label: [one["noise"]["putamen"] for own, one in studies if own == label] for label in schema.LABELS}
    distance = None
    if all(putamen.values()):
        distance = float(np.mean(putamen[schema.POSITIVE]) - np.mean(putamen[schema.NEGATIVE]))
    sd = float(np.sqrt(np.mean(np.square(sds)))) if sds else None
    return {
        "correlation": mean_estimate(one["correlation"] for one in noise),
        "same_prediction": mean_estimate(one["same_prediction"] for one in noise),
        "putamen_sd": sd,
        "class_distance": distance,
        "sd_of_distance": abs(sd / distance) if sd is not None and distance else None,
    }


def sentences(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Describe each figure: its name, its value, what it means and what would be worrying."""
    kept, layers = summary["conservation"], summary["randomisation"]
    area, noise, repeats = summary["flipping"]["area"], summary["noise"], summary["repeats"]
    biases, stabilisers = (
        sum(layer[kind]["value"] or 0.0 for layer in kept["layers"]) for kind in ("biases", "stabilisers")
    )
    rows = [
        (
            "relevance that reaches the voxels",
            f"{_percent(kept['kept']['value'])} of its start ({_percent(kept['least'])} to {_percent(kept['most'])}); "
            f"biases take {_percent(biases)}, stabilisers {_percent(stabilisers)}",
            "The rest is evidence that no voxel holds. Worrying: less than half arrives, or the sign changes.",
        ),
        (
            "similarity after the output layer is redrawn",
            f"{_number(layers[0]['absolute'])} magnitudes, {_number(layers[0]['signed'])} signed",
            "Rank correlation with the true map, in the brain.",
        ),
        (
            "similarity after all layers are redrawn",
            f"{_number(layers[-1]['absolute'])} magnitudes, {_number(layers[-1]['signed'])} signed",
            "It should fall far below one. Worrying: it stays high. Then the map shows the image rather than what was "
            "learned; relevance with alpha-beta rules is known to tend to that (Sixt et al. 2020).",
        ),
        (
            "flipping by relevance, against random order",
            f"{_estimate(area['relevance'])} log odds of the decision",
            "Area between the curves; above zero, the decision rests on what the map marks. Worrying: it is below "
            "zero, or zero is inside the interval.",
        ),
        (
            "flipping by magnitude, against random order",
            f"{_estimate(area['magnitude'])} log odds of the decision",
            "The same for voxels of either sign. If only this one is above zero, the map shows where the evidence is, "
            "but not for which class.",
        ),
    ]
    chance = summary["chance"]
    for label in schema.LABELS:
        found = summary["localisation"][label]
        if found:
            one, wide = found["striatum_absolute"], found["wider_absolute"]
            rows.append(
                (
                    f"relevance in the striatum, {label} studies",
                    f"mass {_percent(one['mass']['value'])} (with margin {_percent(wide['mass']['value'])}), rank "
                    f"{_percent(one['rank']['value'])} ({_percent(wide['rank']['value'])})",
                    f"Chance: {_percent(chance['striatum'])} ({_percent(chance['wider'])}). Worrying: near chance, "
                    "because the tracer shows the striatum.",
                )
            )
    rows.append(
        (
            "map after extra noise",
            f"correlation {_estimate(noise['correlation'])}, same decision in "
            f"{_percent(noise['same_prediction']['value'])}; putamen relevance varies by "
            f"{_percent(noise['sd_of_distance'])} of the distance between the classes",
            "Worrying: a correlation well below one, or a variation that reaches half of the distance.",
        )
    )
    if "reason" in repeats:
        rows.append(("other initial weights", "not known", f"{repeats['reason'][0].upper()}{repeats['reason'][1:]}."))
    else:
        rows.append(
            (
                f"agreement of {len(repeats['models'])} networks with other initial weights",
                f"rank correlation of single maps {_number(repeats['single'])}, of mean maps "
                + ", ".join(f"{_plain_number(repeats['mean'][label])} {label}" for label in schema.LABELS)
                + f"; same sign in the putamen in {_percent(repeats['sign_agreement'])}",
                "Worrying: single maps hardly correlate. Then a map shows the initial weights more than the study.",
            )
        )
    return rows


def _percent(value: float | None) -> str:
    return "not defined" if value is None else f"{100 * value:.1f} %"


def _plain_number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.2f}"


def _number(estimate: Mapping[str, Any]) -> str:
    return _plain_number(estimate["value"])


def _estimate(estimate: Mapping[str, Any]) -> str:
    if estimate["low"] is None:
        return _number(estimate)
    return f"{estimate['value']:.2f} (95 % CI {estimate['low']:.2f} to {estimate['high']:.2f})"
