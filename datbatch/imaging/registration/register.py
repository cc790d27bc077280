"""Affine registration to a template by robust Gauss-Newton least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from threadpoolctl import ThreadpoolController

from datbatch.arrays import Floats
from datbatch.config import RegisterConfig
from datbatch.imaging.registration.alignment import AFFINE_STRETCH_SD, MOST_STEPS, RIGID_STRETCH_SD, descend
from datbatch.imaging.registration.levels import Level, at_unit_intensity, field_of_view, head_centre_mm, level
from datbatch.imaging.registration.reliability import failure_probability, quality_scores
from datbatch.imaging.registration.smoothing import smooth_and_thin
from datbatch.imaging.resample import inverse, require_image
from datbatch.imaging.volume import Volume

_DEFAULT = RegisterConfig()
CAPTURE_FWHM_MM = 20.0
"""Smoothing of both images while the pose is sought: it is found from turns of 60 degrees then."""
SURE_PROBABILITY = 0.1
"""A result with a higher probability of failure is compared with one from turned starts; few good results have it."""

_BLAS = ThreadpoolController()
"""Held to one thread here: on two, SciPy's exponential of a 4 x 4 matrix takes 1,500 times as long."""


def _turns() -> tuple[Floats, ...]:
    """Give the turns to start from where the first start fails: 45 degrees either way about each axis."""
    turns = []
    for first, second in ((1, 2), (2, 0), (0, 1)):
        for sign in (1.0, -1.0):
            turn = np.zeros((4, 4))
            turn[first, second], turn[second, first] = -sign * np.pi / 4, sign * np.pi / 4
            with _BLAS.limit(limits=1, user_api="blas"):
                turns.append(scipy.linalg.expm(turn))
    return tuple(turns)


_TURNS = _turns()


@dataclass(frozen=True)
class Registration:
    """Where a study lies."""

    template_to_study: Floats
    """Shape (4, 4). Template mm to study mm, RAS."""
    quality: dict[str, float]
    """The scores of `reliability.quality_scores`, and `failure_probability` that they add up to."""
    failed: bool
    """Whether the probability of failure exceeds its limit."""


def register_affine(study: Volume, template: Volume, config: RegisterConfig = _DEFAULT) -> Registration:
    """Find the affine from the template's space to the study.

    Minimises sum of rho(S(A p) - s T(p)) over sample points p of the template near the brain, with Huber's rho, an
    intensity scale s, and a weak Gaussian prior on size and shear (see `alignment`). Study and template are
    smoothed alike. Points outside the study's field of view, and empty slices, are left out, so that a cut head is
    not pulled to the edge. The search starts at the centres of the heads. Turns and shifts, then the whole affine
    are found on strongly smoothed images and coarse samples, then the affine on fine ones. Where that is not surely
    good, starts turned by 45 degrees about each axis are tried, and the more reliable result is given.

    Parameters
    ----------
    study, template : Volume
        Images with their places in space.
    config : RegisterConfig
        All but its `template` count.

    Returns
    -------
    Registration
        A result that failed is returned, not raised; its scores say why.

    Raises
    ------
    EmptyVolumeError
        When study or template is empty, constant, not finite, thinner than two voxels, or nowhere positive.
    GridMismatchError
        When an affine is not (4, 4) or cannot be inverted.
    """
    with _BLAS.limit(limits=1, user_api="blas"):
        return _register(_checked(study), _checked(template), config)


def _register(study: Volume, template: Volume, config: RegisterConfig) -> Registration:
    fine, coarse, centre_mm = prepare(study, template, config)
    start = np.eye(4)
    start[:3, 3] = centre_mm
    found = _judged(fine, coarse, refine(fine, find_pose(coarse, start)), config)
    if found.quality["failure_probability"] <= SURE_PROBABILITY:
        return found
    turned = [find_pose(coarse, start @ turn) for turn in _TURNS]
    scores = [quality_scores(coarse, coarse, pose)["correlation"] for pose in turned]
    again = _judged(fine, coarse, refine(fine, turned[int(np.argmax(scores))]), config)
    return min(found, again, key=lambda result: result.quality["failure_probability"])


def prepare(study: Volume, template: Volume, config: RegisterConfig) -> tuple[Level, Level, Floats]:
    """Smooth both images for the fine and the coarse level; gives the centre of the study's head, mm, too."""
    fwhm, fine_mm, coarse_mm = config.smoothing_fwhm_mm, config.fine_sampling_mm, config.coarse_sampling_mm
    wider = float(np.sqrt(max(CAPTURE_FWHM_MM**2 - fwhm**2, 0.0)))
    near, target = (
        at_unit_intensity(smooth_and_thin(image, fwhm, fine_mm)) for image in (field_of_view(study), template)
    )
    fine = level(near, target)
    blurred, blurred_target = (smooth_and_thin(image, wider, coarse_mm) for image in (near, target))
    return fine, level(blurred, blurred_target, fine.near.centre_mm), head_centre_mm(near)


def find_pose(coarse: Level, start: Floats, most_steps: int = MOST_STEPS) -> Floats:
    """Find the pose, then size and shear too, on strongly smoothed images; (4, 4), centred template mm to study mm."""
    for stretch_sd in (RIGID_STRETCH_SD, AFFINE_STRETCH_SD):
        start = descend(coarse.study, coarse.near, start, stretch_sd, most_steps)
    return start


def refine(fine: Level, start: Floats) -> Floats:
    """Find the whole affine on weakly smoothed images; (4, 4), centred template mm to study mm."""
    return descend(fine.study, fine.near, start, AFFINE_STRETCH_SD)


def _judged(fine: Level, coarse: Level, affine: Floats, config: RegisterConfig) -> Registration:
    """Score a result and undo the centring of the template's coordinates."""
    quality = quality_scores(fine, coarse, affine)
    probability = failure_probability(quality)
    uncentre = np.eye(4)
    uncentre[:3, 3] = -fine.near.centre_mm
    failed = not probability <= config.maximum_failure_probability
    return Registration(affine @ uncentre, {**quality, "failure_probability": probability}, failed)


def _checked(volume: Volume) -> Volume:
    image = np.ascontiguousarray(volume.data, np.float32)
    require_image(image)
    inverse(volume.affine)
    return Volume(image, np.asarray(volume.affine, np.float64))
