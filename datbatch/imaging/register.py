"""Affine registration to a template by robust Gauss-Newton least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from datbatch.config import RegisterConfig
from datbatch.errors import EmptyVolumeError
from datbatch.imaging.alignment import (
    Moving,
    Samples,
    compare,
    gauss_newton_step,
    intensity_scale,
    stretch_logarithm,
)
from datbatch.imaging.resample import inverse, require_image
from datbatch.imaging.smoothing import smooth_and_thin
from datbatch.imaging.volume import Volume

CAPTURE_FWHM_MM = 20.0
"""Smoothing of both images while the pose is sought: wide valleys lead to it from turns of 60 degrees."""
TEMPLATE_MARGIN_MM = 8.0
"""The template is compared inside the head's outline and this far around it."""
OUTLINE_FRACTION = 0.5
"""The outline is where the smoothed image exceeds this fraction of its level."""
RIGID_STRETCH_SD, AFFINE_STRETCH_SD = 0.02, 0.10
"""Prior spread of the logarithm of size and shear, while the pose is sought and after."""
MOST_STEPS = 30
"""Bound on the iterations of a level; few are used."""
CONVERGED_MM = 0.02
"""A step that moves no point of the head further ends a level."""
LONGEST_STEP = 0.35
"""Bound on the linear part of one step (a turn of 20 degrees)."""
FEWEST_POINTS = 100
"""Points inside the field of view without which nothing is fitted."""
RESEL_FWHM_MM = 14.0
"""Samples closer than this are not independent (intrinsic resolution and smoothing together)."""
SMALLEST_HEAD, LARGEST_HEAD = 0.4, 2.5
"""Volume relative to the template outside of which a result is no plausible head."""


def _turns() -> tuple[npt.NDArray[np.float64], ...]:
    """Give the turns to start from where none fails: 45 degrees either way about each axis."""
    turns = []
    for first, second in ((1, 2), (2, 0), (0, 1)):
        for sign in (1.0, -1.0):
            turn = np.zeros((4, 4))
            turn[first, second], turn[second, first] = -sign * np.pi / 4, sign * np.pi / 4
            turns.append(scipy.linalg.expm(turn))
    return tuple(turns)


_TURNS = _turns()


@dataclass(frozen=True)
class Registration:
    """Where a study lies.

    Attributes
    ----------
    template_to_study : ndarray, shape (4, 4), float64
        Template mm to study mm, RAS.
    quality : dict of str to float
        `correlation` of study and template inside the head's outline and its rim, `outline_dice` overlap of the two
        outlines, `coverage` share of the template's head inside the study's field of view; at most 1.
    failed : bool
        Whether correlation or outline is below its minimum, or the matrix is no plausible head.
    """

    template_to_study: npt.NDArray[np.float64]
    quality: dict[str, float]
    failed: bool


@dataclass(frozen=True)
class _Fixed:
    """The template at one level.

    `near` are the samples that are fitted, `everywhere` all points of the grid, `head` (point,) tells which of these
    are inside the outline, `level` is the intensity that the outline is a fraction of.
    """

    near: Samples
    everywhere: Samples
    head: npt.NDArray[np.bool_]
    level: float


def register_affine(
    volume: npt.NDArray[np.float32],
    affine: npt.NDArray[np.float64],
    template: npt.NDArray[np.float32],
    template_affine: npt.NDArray[np.float64],
    **options: Any,
) -> Registration:
    """Find the affine from the template's space to the study.

    Minimises sum of rho(S(A p) - s T(p)) over sample points p of the template near the brain, with Huber's rho, an
    intensity scale s, and a weak Gaussian prior on size and shear (see `alignment`). Study and template are smoothed
    alike. Points outside the study's field of view are left out, empty slices too, so that a cut head is not pulled to
    the edge. Starts at the centres of the heads; turns and shifts, then the whole affine are found on strongly
    smoothed images and coarse samples, then the affine on fine ones. Where that fails, starts
    turned by 45 degrees about each axis are tried.

    Parameters
    ----------
    volume : ndarray, shape (x, y, z)
        Study.
    affine : ndarray, shape (4, 4)
        Its voxel index to mm, RAS.
    template : ndarray, shape (x, y, z)
        Template.
    template_affine : ndarray, shape (4, 4)
        Its voxel index to mm, RAS.
    **options
        Fields of `RegisterConfig`, save `template`.

    Returns
    -------
    Registration
        A result that failed is returned, not raised; its scores say why.

    Raises
    ------
    EmptyVolumeError
        When study or template is empty, constant, or not finite.
    GridMismatchError
        When an affine is not (4, 4) or cannot be inverted.
    """
    config = RegisterConfig(**options)
    fwhm, fine_mm, coarse_mm = config.smoothing_fwhm_mm, config.fine_sampling_mm, config.coarse_sampling_mm
    study = smooth_and_thin(_field_of_view(_checked(volume, affine)), fwhm, fine_mm)
    target = smooth_and_thin(_checked(template, template_affine), fwhm, fine_mm)
    wider = float(np.sqrt(max(CAPTURE_FWHM_MM**2 - fwhm**2, 0.0)))
    fixed = _fixed(target, None)
    coarse = _fixed(smooth_and_thin(target, wider, coarse_mm), fixed.near.centre_mm)
    blurred = _moving(smooth_and_thin(study, wider, coarse_mm))
    moving = _moving(study)
    centred = _start(study)
    first = _descend(
        moving, fixed.near, _coarsely(blurred, coarse.near, centred, coarse_mm), AFFINE_STRETCH_SD, fine_mm
    )
    found = _judged(moving, fixed, first, config)
    if not found.failed:
        return found
    turned = [_coarsely(blurred, coarse.near, centred @ turn, coarse_mm) for turn in _TURNS]
    scores = [_quality(blurred, coarse, affine)["correlation"] for affine in turned]
    second = _descend(moving, fixed.near, turned[int(np.argmax(scores))], AFFINE_STRETCH_SD, fine_mm)
    again = _judged(moving, fixed, second, config)
    return again if again.quality["correlation"] > found.quality["correlation"] else found


def _coarsely(
    blurred: Moving, samples: Samples, start: npt.NDArray[np.float64], sampling_mm: float
) -> npt.NDArray[np.float64]:
    """Find the pose, then size and shear too, on strongly smoothed images."""
    posed = _descend(blurred, samples, start, RIGID_STRETCH_SD, sampling_mm)
    return _descend(blurred, samples, posed, AFFINE_STRETCH_SD, sampling_mm)


def _judged(moving: Moving, fixed: _Fixed, affine: npt.NDArray[np.float64], config: RegisterConfig) -> Registration:
    """Score a result and undo the centring of the template's coordinates."""
    quality = _quality(moving, fixed, affine)
    uncentre = np.eye(4)
    uncentre[:3, 3] = -fixed.near.centre_mm
    failed = (
        not quality["correlation"] >= config.minimum_correlation
        or not quality["outline_dice"] >= config.minimum_outline_dice
        or not SMALLEST_HEAD < float(np.linalg.det(affine[:3, :3])) < LARGEST_HEAD
    )
    return Registration(affine @ uncentre, quality, failed)


def _checked(data: npt.NDArray[np.float32], affine: npt.NDArray[np.float64]) -> Volume:
    image = np.ascontiguousarray(data, np.float32)
    require_image(image)
    inverse(affine)
    return Volume(image, np.asarray(affine, np.float64))


def _field_of_view(study: Volume) -> Volume:
    """Cut off the empty slices at both ends of every axis: nothing was measured there."""
    affine = study.affine.copy()
    data = study.data
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero((data != 0).any(axis=others))
        first, last = int(filled[0]), int(filled[-1])
        if last - first < 1:
            raise EmptyVolumeError("the image is not thicker than one slice")
        data = data[tuple(slice(first, last + 1) if a == axis else slice(None) for a in range(3))]
        affine[:3, 3] += affine[:3, axis] * first
    return Volume(data, affine)


def _level(data: npt.NDArray[np.float32]) -> float:
    """Give the typical intensity inside the head: the mean of what exceeds the mean of the positive values."""
    positive = data[data > 0]
    if positive.size == 0:
        raise EmptyVolumeError("the image has no positive value")
    return float(positive[positive >= positive.mean()].mean(dtype=np.float64))


def _moving(image: Volume) -> Moving:
    return Moving(image.data, inverse(image.affine))


def _fixed(image: Volume, centre_mm: npt.NDArray[np.float64] | None) -> _Fixed:
    """Take the gradient of the smoothed template and choose the samples; coordinates are relative to the centre."""
    values = image.data.astype(np.float64)
    axes = image.affine[:3, :3]
    gradients = np.stack([np.gradient(values, axis=axis) for axis in range(3)], axis=-1).reshape(-1, 3) @ np.linalg.inv(
        axes
    )
    points = np.indices(values.shape).reshape(3, -1).T @ axes.T + image.affine[:3, 3]
    level = _level(image.data)
    head = values > OUTLINE_FRACTION * level
    if centre_mm is None:
        centre_mm = points[head.ravel()].mean(axis=0)
    spacing_mm = float(np.linalg.norm(axes, axis=0).mean())
    near = _dilated(head, max(1, round(TEMPLATE_MARGIN_MM / spacing_mm))).ravel()
    points = points - centre_mm
    return _Fixed(
        Samples(points[near], values.ravel()[near], gradients[near], centre_mm),
        Samples(points, values.ravel(), gradients, centre_mm),
        head.ravel(),
        level,
    )


def _products(
    vectors: npt.NDArray[np.float64] | npt.NDArray[np.intp], matrix: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Multiply each vector (point, 3) by a matrix; unlike BLAS, the bits don't depend on the number of threads."""
    return np.asarray(sum(vectors[:, axis, None] * matrix[None, :, axis] for axis in range(3)), np.float64)


def _dilated(mask: npt.NDArray[np.bool_], steps: int) -> npt.NDArray[np.bool_]:
    """Grow a mask by whole steps along the axes (an octahedron)."""
    grown = mask.copy()
    for _ in range(steps):
        last = grown.copy()
        for axis in range(3):
            low: tuple[slice, ...] = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
            high: tuple[slice, ...] = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
            grown[low] |= last[high]
            grown[high] |= last[low]
    return grown


def _start(study: Volume) -> npt.NDArray[np.float64]:
    """Bring the template's centre to that of the study's head, without a turn."""
    head = np.argwhere(study.data > OUTLINE_FRACTION * _level(study.data))
    start = np.eye(4)
    start[:3, 3] = study.affine[:3, :3] @ head.mean(axis=0) + study.affine[:3, 3]
    return start


def _descend(
    moving: Moving,
    samples: Samples,
    affine: npt.NDArray[np.float64],
    stretch_sd: float,
    sampling_mm: float,
) -> npt.NDArray[np.float64]:
    """Iterate Gauss-Newton steps on one set of samples until nothing moves."""
    independent = min(1.0, (sampling_mm / RESEL_FWHM_MM) ** 3)
    reach = np.abs(samples.points_mm).max(axis=0)
    scale = None
    for _ in range(MOST_STEPS):
        seen = compare(moving, samples, affine)
        if np.count_nonzero(seen.inside) < FEWEST_POINTS:
            break
        if scale is None:
            scale = intensity_scale(seen, samples)
        step, scale_step = gauss_newton_step(seen, samples, scale, stretch_logarithm(affine), stretch_sd, independent)
        longest = float(np.abs(step[:3, :3]).max())
        step *= min(1.0, LONGEST_STEP / max(longest, 1e-12))
        affine = affine @ scipy.linalg.expm(step)
        scale += scale_step
        if float((np.abs(step[:3, :3]) @ reach + np.abs(step[:3, 3])).max()) < CONVERGED_MM:
            break
    return affine


def _quality(moving: Moving, fixed: _Fixed, affine: npt.NDArray[np.float64]) -> dict[str, float]:
    """Score a result; a score that cannot be computed is 0."""
    seen = compare(moving, fixed.near, affine)
    study, template = seen.study[seen.inside], fixed.near.values[seen.inside]
    correlation = 0.0
    if study.size >= FEWEST_POINTS and np.ptp(study) > 0 and np.ptp(template) > 0:
        a, b = study - study.mean(), template - template.mean()
        correlation = float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
    whole = compare(moving, fixed.everywhere, affine)
    scale = intensity_scale(seen, fixed.near) if study.size else 0.0
    ours = (whole.study > OUTLINE_FRACTION * fixed.level * scale)[whole.inside]
    theirs = fixed.head[whole.inside]
    both = int(ours.sum() + theirs.sum())
    return {
        "correlation": correlation,
        "outline_dice": 2.0 * float((ours & theirs).sum()) / both if both else 0.0,
        "coverage": float(whole.inside[fixed.head].mean()),
    }
