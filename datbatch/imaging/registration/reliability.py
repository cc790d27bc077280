"""How far the result of a registration can be trusted: scores, and the probability of failure that they add up to."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from datbatch.arrays import Floats
from datbatch.imaging.registration.alignment import (
    AFFINE_STRETCH_SD,
    FEWEST_POINTS,
    compare,
    descend,
    intensity_scale,
    stretch_logarithm,
)
from datbatch.imaging.registration.levels import OUTLINE_FRACTION, Level

FAILED_BRAIN_MM, FAILED_STRIATAL_MM = 5.0, 4.0
"""What counts as a failure where the truth is known: a mean error of the brain's or the striata's points above this."""
DRIFT_STEPS = 4
"""Steps by which a result is fitted again on the strongly smoothed images."""
LEAST_DRIFT_MM, MOST_DRIFT_MM = 1.0, 100.0
"""A drift beyond these says no more: good fits of the two smoothings lie about 1 mm apart."""
SMALLEST_SIZE, LARGEST_SIZE = 0.65, 1.45
"""Lengths relative to the template beyond which a result is no plausible head."""
FAILURE_WEIGHTS = {"one": -6.723, "coarse_correlation": 16.015, "drift_mm": 5.153, "shear": 19.188}
"""Of the terms of the log odds; printed by `python benchmarks/failures.py --studies 110 --seed 1 --fit`: logistic
regression on simulated studies, most of them of heads or poses that are rare, against failures made on purpose."""


def quality_scores(fine: Level, coarse: Level, affine: Floats) -> dict[str, float]:
    """Score a result, the affine (4, 4) from centred template mm to study mm.

    The scores: `correlation` of study and template inside the head's outline and its rim; `coarse_correlation` of
    both smoothed strongly, where noise hardly counts; `outline_dice` overlap of the two outlines; `coverage` share
    of the template's head inside the study's field of view; `drift_mm` root-mean-square distance by which a fit on
    the strongly smoothed images moves the head from where it was found; `size` cube root of the affine's
    determinant; `shear` root-sum-square of the logarithm of the affine's stretch without the part that is size. A
    score that cannot be computed is 0 (`drift_mm`: infinite).
    """
    seen, blurred = compare(fine.study, fine.near, affine), compare(coarse.study, coarse.near, affine)
    stretch = stretch_logarithm(affine)
    return {
        "correlation": _correlation(seen.study[seen.inside], fine.near.values[seen.inside]),
        "coarse_correlation": _correlation(blurred.study[blurred.inside], coarse.near.values[blurred.inside]),
        **_outlines(fine, affine, intensity_scale(seen, fine.near) if seen.inside.any() else 0.0),
        "drift_mm": _drift_mm(coarse, affine),
        "size": float(np.cbrt(np.linalg.det(affine[:3, :3]))),
        "shear": float(np.linalg.norm(stretch - np.trace(stretch) / 3 * np.eye(3))),
    }


def failure_terms(quality: Mapping[str, float]) -> dict[str, float]:
    """Give the terms of the log odds of failure: 1, what the correlation lacks, the drift's logarithm, and shear.

    Correlation and drift are those of strongly smoothed images, so that few counts are no failure. The plain
    correlation and the overlap of outlines are no terms: beside these three they get no weight.
    """
    return {
        "one": 1.0,
        "coarse_correlation": 1.0 - quality["coarse_correlation"],
        "drift_mm": math.log(min(max(quality["drift_mm"], LEAST_DRIFT_MM), MOST_DRIFT_MM)),
        "shear": quality["shear"],
    }


def failure_probability(quality: Mapping[str, float]) -> float:
    """Give the probability 1 / (1 + exp(-sum of weight x term)) that a result is a failure.

    When the weights were fitted, failures and good results had the same total weight: where failures are rare it is
    a score, not a frequency. A head of an implausible size, or a mirrored one, is always a failure.
    """
    if not SMALLEST_SIZE < quality["size"] < LARGEST_SIZE:
        return 1.0
    terms = failure_terms(quality)
    odds = sum(weight * terms[name] for name, weight in FAILURE_WEIGHTS.items())
    return 1.0 / (1.0 + math.exp(-min(max(odds, -50.0), 50.0)))


def _outlines(fine: Level, affine: Floats, scale: float) -> dict[str, float]:
    whole = compare(fine.study, fine.everywhere, affine)
    ours = (whole.study > OUTLINE_FRACTION * fine.intensity * scale)[whole.inside]
    theirs = fine.head[whole.inside]
    both = int(ours.sum() + theirs.sum())
    return {
        "outline_dice": 2.0 * float((ours & theirs).sum()) / both if both else 0.0,
        "coverage": float(whole.inside[fine.head].mean()),
    }


def _drift_mm(coarse: Level, affine: Floats) -> float:
    if np.count_nonzero(compare(coarse.study, coarse.near, affine).inside) < FEWEST_POINTS:
        return math.inf
    again = descend(coarse.study, coarse.near, affine, AFFINE_STRETCH_SD, DRIFT_STEPS)
    points, change = coarse.everywhere.points_mm[coarse.head], again - affine
    # Summed by columns: the bits of a BLAS product of long vectors depend on the number of threads.
    moved = sum(points[:, axis, None] * change[None, :3, axis] for axis in range(3)) + change[:3, 3]
    return float(np.sqrt((moved**2).sum(axis=1).mean()))


def _correlation(a: Floats, b: Floats) -> float:
    """Give Pearson's correlation; 0 where it cannot be computed."""
    if a.size < FEWEST_POINTS or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
