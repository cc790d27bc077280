"""Least squares between a smoothed study and samples of a template: the numerics of the registration.

The residual at a template point p is r(p) = S(A p) - s T(p), with the study S, the template T, the affine A from
template to study and the intensity scale s. A step updates A to A (I + D) with D (3, 4) in template coordinates; the
gradient is the mean of both images' gradients there (efficient second-order minimisation: Benhimane and Malis,
IEEE/RSJ IROS 2004), the weights are Huber's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import scipy.linalg

from datbatch.arrays import Bools, Floats, Floats32

LENGTH_MM = 50.0
"""Unit of length inside the normal equations, so that rotations and shifts have columns of like size."""
PARAMETERS = 13
"""Nine of the linear part, three shifts, one intensity scale."""
HUBER_SIGMAS = 1.345
"""Residuals beyond this many robust standard deviations count linearly (95 % efficiency; Huber 1981)."""
SIGMA_PER_MEDIAN = 1.4826
"""Standard deviation of a Gaussian over the median of its absolute values."""
MOST_STEPS = 30
"""Bound on the iterations of a descent; few are used."""
CONVERGED_MM = 0.02
"""A step that moves no point of the head further ends a descent."""
LONGEST_STEP = 0.35
"""Bound on the linear part of one step (a turn of 20 degrees)."""
FEWEST_POINTS = 100
"""Points inside the field of view without which nothing is fitted."""
RIGID_STRETCH_SD, AFFINE_STRETCH_SD = 0.02, 0.10
"""Prior spread of the logarithm of size and shear, while the pose is sought and after."""
RESEL_FWHM_MM = 14.0
"""Samples closer than this are not independent (intrinsic resolution and smoothing together)."""


@dataclass(frozen=True)
class Samples:
    """Points of the template with what is known there."""

    points_mm: Floats
    """Shape (point, 3). Template coordinates less `centre_mm`."""
    values: Floats
    """Shape (point,). Smoothed template."""
    gradients: Floats
    """Shape (point, 3). Its gradient, per mm."""
    centre_mm: Floats
    """Shape (3,). The point about which the head turns."""
    sampling_mm: float
    """Distance of the points."""


@dataclass(frozen=True)
class Moving:
    """The smoothed study."""

    data: Floats32
    to_index: Floats
    """Shape (4, 4). Study mm to voxel index."""


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def _interpolate(
    data: Floats32, matrix: Floats, points: Floats, values: Floats, gradients: Floats, inside: Bools
) -> None:
    """Trilinear value and gradient (in the points' frame) of `data` at matrix (3, 4) times each point."""
    nx, ny, nz = data.shape
    for n in range(points.shape[0]):
        p, q, r = points[n, 0], points[n, 1], points[n, 2]
        x = matrix[0, 0] * p + matrix[0, 1] * q + matrix[0, 2] * r + matrix[0, 3]
        y = matrix[1, 0] * p + matrix[1, 1] * q + matrix[1, 2] * r + matrix[1, 3]
        z = matrix[2, 0] * p + matrix[2, 1] * q + matrix[2, 2] * r + matrix[2, 3]
        if not (0.0 <= x <= nx - 1 and 0.0 <= y <= ny - 1 and 0.0 <= z <= nz - 1):
            inside[n] = False
            continue
        inside[n] = True
        a, b, c = min(int(x), nx - 2), min(int(y), ny - 2), min(int(z), nz - 2)
        u, v, w = x - a, y - b, z - c
        d000, d001 = data[a, b, c], data[a, b, c + 1]
        d010, d011 = data[a, b + 1, c], data[a, b + 1, c + 1]
        d100, d101 = data[a + 1, b, c], data[a + 1, b, c + 1]
        d110, d111 = data[a + 1, b + 1, c], data[a + 1, b + 1, c + 1]
        e00, e01 = d000 + w * (d001 - d000), d010 + w * (d011 - d010)
        e10, e11 = d100 + w * (d101 - d100), d110 + w * (d111 - d110)
        f0, f1 = e00 + v * (e01 - e00), e10 + v * (e11 - e10)
        values[n] = f0 + u * (f1 - f0)
        gx = f1 - f0
        gy = (1 - u) * (e01 - e00) + u * (e11 - e10)
        gz = (1 - u) * ((1 - v) * (d001 - d000) + v * (d011 - d010)) + u * ((1 - v) * (d101 - d100) + v * (d111 - d110))
        for axis in range(3):
            gradients[n, axis] = gx * matrix[0, axis] + gy * matrix[1, axis] + gz * matrix[2, axis]


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def _accumulate(
    points: Floats,
    jacobian: Floats,
    template: Floats,
    residual: Floats,
    inside: Bools,
    knee: float,
    normal: Floats,
    right: Floats,
) -> float:
    """Add up the weighted normal equations; gives the sum of the weights."""
    row = np.empty(13)
    total = 0.0
    for n in range(points.shape[0]):
        if not inside[n]:
            continue
        size = abs(residual[n])
        weight = 1.0 if size <= knee else knee / size
        total += weight
        for i in range(3):
            for j in range(3):
                row[4 * i + j] = jacobian[n, i] * points[n, j]
            row[4 * i + 3] = jacobian[n, i]
        row[12] = -template[n]
        for i in range(13):
            scaled = weight * row[i]
            right[i] -= scaled * residual[n]
            for j in range(i + 1):
                normal[i, j] += scaled * row[j]
    for i in range(13):
        for j in range(i):
            normal[j, i] = normal[i, j]
    return total


@dataclass(frozen=True)
class Comparison:
    """Study and template at the samples, for one affine."""

    study: Floats
    gradients: Floats
    """Shape (point, 3). Of the study, in template coordinates, per mm."""
    inside: Bools
    """Shape (point,). Whether the point lies in the study's field of view."""


def compare(moving: Moving, samples: Samples, affine: Floats) -> Comparison:
    """Look up the study at every sample of the template; `affine` (4, 4) maps centred template mm to study mm."""
    count = samples.values.size
    values, gradients = np.zeros(count), np.zeros((count, 3))
    inside = np.zeros(count, bool)
    _interpolate(moving.data, (moving.to_index @ affine)[:3], samples.points_mm, values, gradients, inside)
    return Comparison(values, gradients, inside)


def intensity_scale(seen: Comparison, samples: Samples) -> float:
    """Give the least-squares s of S = s T over the points inside the field of view."""
    template = samples.values[seen.inside]
    # Plain sums: a BLAS product of long vectors has other bits with another number of threads.
    return float((seen.study[seen.inside] * template).sum() / max(float((template * template).sum()), 1e-12))


def gauss_newton_step(
    seen: Comparison, samples: Samples, scale: float, stretch: Floats, stretch_sd: float, independent: float
) -> tuple[Floats, float]:
    """Give the update D (4, 4) of the affine and that of the intensity scale.

    Size and shear have a Gaussian prior: the symmetric logarithm of the stretch, `stretch` (3, 3), is zero with
    standard deviation `stretch_sd`; `independent` is the share of samples that count as independent observations.
    """
    residual = np.where(seen.inside, seen.study - scale * samples.values, 0.0)
    spread = SIGMA_PER_MEDIAN * float(np.median(np.abs(residual[seen.inside]))) + 1e-12
    jacobian = 0.5 * (seen.gradients + scale * samples.gradients) * LENGTH_MM
    normal, right = np.zeros((PARAMETERS, PARAMETERS)), np.zeros(PARAMETERS)
    points, knee = samples.points_mm / LENGTH_MM, HUBER_SIGMAS * spread
    _accumulate(points, jacobian, samples.values, residual, seen.inside, knee, normal, right)
    observed = independent / spread**2
    normal *= observed
    right *= observed
    for i in range(3):
        for j in range(i, 3):
            row = np.zeros(PARAMETERS)
            row[4 * i + j] += 0.5
            row[4 * j + i] += 0.5
            # An off-diagonal term of a symmetric matrix occurs twice in its norm.
            precision = (1.0 if i == j else 2.0) / stretch_sd**2
            normal += precision * np.outer(row, row)
            right -= precision * stretch[i, j] * row
    normal[np.diag_indices(PARAMETERS)] += 1e-9 * np.trace(normal) / PARAMETERS
    solution = scipy.linalg.solve(normal, right, assume_a="pos")
    step = np.zeros((4, 4))
    step[:3] = solution[:12].reshape(3, 4)
    step[:3, 3] *= LENGTH_MM
    return step, float(solution[12])


def stretch_logarithm(affine: Floats) -> Floats:
    """Give the logarithm of U in the polar decomposition A = R U: sizes on the diagonal, shears beside it."""
    _, sizes, right = np.linalg.svd(affine[:3, :3])
    return np.asarray((right.T * np.log(np.maximum(sizes, 1e-6))) @ right, np.float64)


def descend(
    moving: Moving, samples: Samples, affine: Floats, stretch_sd: float, most_steps: int = MOST_STEPS
) -> Floats:
    """Iterate Gauss-Newton steps until nothing moves; gives the affine (4, 4) that is reached.

    `affine` is the start; all samples are compared at every step.
    """
    independent = min(1.0, (samples.sampling_mm / RESEL_FWHM_MM) ** 3)
    reach = np.abs(samples.points_mm).max(axis=0)
    scale = None
    for _ in range(most_steps):
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
