"""Physics of the gamma camera: from an object to the counts of two rotating heads.

Geometry (DICOM, LPS mm): a detector at angle a stands in direction n = (sin a, cos a, 0); its image's right is
(-cos a, sin a, 0) and its image's down is (0, 0, -1). In this module's RAS mm (x, y change sign) that is

    u = x cos a - y sin a        right on the image
    d = -x sin a - y cos a       towards the detector
    row direction = -z
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from datbatch.simulation.phantom import Grid, Phantom
from datbatch.simulation.shapes import FloatArray

FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))
GRID_SPACING_MM = 4.0
"""Smaller object voxels change nothing after the collimator's blur (about 8 mm at the striatum)."""
GRID_EXTENT_MM = 256.0
GRID_PHASE = 0.5 - math.sqrt(1 / 12)
"""Offset of the voxels from the axis of rotation, in voxels. Bilinear weights at phase f blur with variance f (1 - f)
voxels squared; with this phase views along the axes are blurred by 1/6, like the other views on average."""


@dataclass(frozen=True)
class Camera:
    """A double-head system with parallel-hole collimators.

    The response to a point at distance D from the collimator has FWHM(D)^2 = intrinsic^2 + (face + slope D)^2.
    """

    bins: int
    rows: int
    pixel_size_mm: float
    row_size_mm: float
    intrinsic_fwhm_mm: float
    collimator_face_fwhm_mm: float
    collimator_slope: float
    """Gain of the collimator's FWHM per mm of distance."""
    scatter_ratio: float
    """Scattered over unscattered counts in the photopeak window."""

    def variance_mm2(self, distance_mm: float) -> float:
        """Give the variance of the point response at a distance from the collimator."""
        collimator = self.collimator_face_fwhm_mm + self.collimator_slope * max(distance_mm, 0.0)
        return (self.intrinsic_fwhm_mm**2 + collimator**2) / FWHM_PER_SIGMA**2

    @property
    def field_of_view_mm(self) -> float:
        """Axial length."""
        return self.rows * self.row_size_mm


def project_points(
    points_mm: npt.ArrayLike, angles_deg: npt.ArrayLike, camera: Camera
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Give where a camera sees points of the patient.

    Parameters
    ----------
    points_mm : array_like, shape (point, 3)
        Study space, RAS.
    angles_deg : array_like, shape (view,)
        DICOM angles of the detector.
    camera : Camera
        Gives matrix and pixel sizes.

    Returns
    -------
    row, bin, depth_mm : ndarray, shape (view, point), float64
        Fractional image coordinates (0 is the centre of the first), and the coordinate towards the detector.
    """
    points = np.asarray(points_mm, dtype=np.float64)
    angle = np.radians(np.asarray(angles_deg, dtype=np.float64))[:, None]
    x, y, z = points.T
    right = x * np.cos(angle) - y * np.sin(angle)
    depth = -x * np.sin(angle) - y * np.cos(angle)
    column = right / camera.pixel_size_mm + (camera.bins - 1) / 2
    row = np.broadcast_to(-z / camera.row_size_mm + (camera.rows - 1) / 2, column.shape)
    return row, column, depth


def object_grid(camera: Camera, lowest_mm: float, highest_mm: float) -> Grid:
    """Give the voxels for what lies between two heights, within the field of view and its blurred margin."""
    margin = 24.0
    low = max(lowest_mm, -camera.field_of_view_mm / 2 - margin)
    high = min(highest_mm, camera.field_of_view_mm / 2 + margin)
    across = round(GRID_EXTENT_MM / GRID_SPACING_MM)
    count = max(1, math.ceil((high - low) / GRID_SPACING_MM))
    first = (GRID_PHASE - (across - 1) / 2) * GRID_SPACING_MM
    return Grid((across, across, count), (first, first, low + GRID_SPACING_MM / 2), GRID_SPACING_MM)


def expected_projections(
    phantom: Phantom, angles_deg: npt.NDArray[np.float64], radius_mm: float, camera: Camera
) -> tuple[FloatArray, FloatArray]:
    """Give the mean counts of unscattered and of scattered photons, up to one factor.

    Parameters
    ----------
    phantom : Phantom
        Activity and attenuation.
    angles_deg : ndarray, shape (view,)
        DICOM angles.
    radius_mm : float
        From the axis of rotation to the collimator's face.
    camera : Camera
        Resolution and matrix.

    Returns
    -------
    primary, scatter : ndarray, shape (view, row, bin), float64
        `scatter` is the unscattered image, blurred with `SCATTER_FWHM_MM`; the photopeak window also collects
        `camera.scatter_ratio` times this image.
    """
    grid = phantom.grid
    reach = (grid.shape[0] - 1) / 2 * grid.spacing_mm
    distance = radius_mm - (np.arange(grid.shape[0]) * grid.spacing_mm - reach)
    # The last step, the spread over the pixels, needs a blur that hides the grid: 0.45 voxels are enough. Bilinear
    # sampling of the turned object has already blurred it across, by 1/6 voxel squared.
    across = (0.45 * grid.spacing_mm) ** 2
    along = across + grid.spacing_mm**2 / 6
    variance = np.array([max(camera.variance_mm2(d) - along, 0.0) for d in distance])
    # On its way to the detector a slab is blurred by its difference to the next nearer slab.
    steps = np.append(variance[:-1] - variance[1:], variance[-1]) / grid.spacing_mm**2
    slabs = np.empty((len(angles_deg), grid.shape[0], grid.shape[2]), dtype=np.float32)
    _project(
        phantom.activity,
        phantom.attenuation_per_mm * np.float32(grid.spacing_mm),
        np.radians(angles_deg),
        (-grid.first_mm[0] / grid.spacing_mm, -grid.first_mm[1] / grid.spacing_mm),
        steps.astype(np.float32),
        slabs,
    )
    wide = along + (SCATTER_FWHM_MM / FWHM_PER_SIGMA) ** 2
    u_mm, z_mm = np.linspace(-reach, reach, grid.shape[0]), grid.axis_mm(2)
    images = []
    for variance_u, variance_z in ((across, along), (wide, wide)):
        to_bins = _spread(u_mm, camera.bins, camera.pixel_size_mm, variance_u)
        to_rows = _spread(-z_mm, camera.rows, camera.row_size_mm, variance_z)
        images.append(np.matmul(np.matmul(to_rows, slabs.transpose(0, 2, 1)), to_bins.T))
    return images[0], images[1]


SCATTER_FWHM_MM = 95.0


def noisy_counts(expected: FloatArray, rng: np.random.Generator) -> npt.NDArray[np.uint16]:
    """Draw Poisson counts, as 16-bit images store them."""
    return np.minimum(rng.poisson(expected), np.iinfo(np.uint16).max).astype(np.uint16)


def _spread(position_mm: FloatArray, pixels: int, size_mm: float, variance_mm2: float) -> FloatArray:
    """Give the share of a Gaussian around each position that each pixel collects, shape (pixel, position)."""
    edges = (np.arange(pixels + 1) - pixels / 2) * size_mm
    below = ndtr((edges[:, None] - position_mm[None, :]) / math.sqrt(variance_mm2))
    return np.asarray(np.diff(below, axis=0))


@numba.njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def _project(activity: Any, absorption: Any, angles_rad: Any, axis: Any, steps: Any, out: Any) -> None:
    """Sum the attenuated, blurred object along the rays, in slabs perpendicular to them.

    activity, absorption: (x, y, z) float32, absorption per voxel length. axis: voxel index (x, y) of the axis of
    rotation. steps: (slab,) variance of the blur from a slab to the next nearer one, and from the last to the
    detector, in voxel lengths squared. out: (view, u, z).
    """
    n, _, nz = activity.shape
    axis_x, axis_y = np.float32(axis[0]), np.float32(axis[1])
    seen = np.zeros((n, n, nz), np.float32)
    sheet = np.zeros((n, nz), np.float32)
    blurred = np.zeros((n, nz), np.float32)
    for view in range(len(angles_rad)):
        cos, sin = np.float32(np.cos(angles_rad[view])), np.float32(np.sin(angles_rad[view]))
        _attenuate(activity, absorption, cos, sin, axis_x, axis_y, seen)
        sheet[:] = 0
        for slab in range(n):
            sheet += seen[slab]
            _diffuse(sheet, blurred, steps[slab])
        out[view] = sheet


@numba.njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def _attenuate(activity: Any, absorption: Any, cos: Any, sin: Any, axis_x: Any, axis_y: Any, seen: Any) -> None:
    """Turn the object so that slab n - 1 faces the detector, and attenuate each voxel on its way: (slab, u, z)."""
    n, _, nz = activity.shape
    centre = np.float32((n - 1) / 2)
    through = np.ones(nz, np.float32)
    loss = np.zeros(nz, np.float32)
    for column in range(n):
        u = np.float32(column) - centre
        through[:] = 1
        for slab in range(n - 1, -1, -1):
            d = np.float32(slab) - centre
            x = u * cos - d * sin + axis_x
            y = -u * sin - d * cos + axis_y
            i, j = int(np.floor(x)), int(np.floor(y))
            if i < 0 or j < 0 or i >= n - 1 or j >= n - 1:
                seen[slab, column] = 0
                continue
            fx, fy = x - np.float32(i), y - np.float32(j)
            w11, w10 = fx * fy, fx * (1 - fy)
            w01, w00 = (1 - fx) * fy, (1 - fx) * (1 - fy)
            for z in range(nz):
                loss[z] = (
                    w00 * absorption[i, j, z]
                    + w01 * absorption[i, j + 1, z]
                    + w10 * absorption[i + 1, j, z]
                    + w11 * absorption[i + 1, j + 1, z]
                )
                value = (
                    w00 * activity[i, j, z]
                    + w01 * activity[i, j + 1, z]
                    + w10 * activity[i + 1, j, z]
                    + w11 * activity[i + 1, j + 1, z]
                )
                # Half of the voxel lies before its centre; exp(-t) by its series, t is below 0.07.
                seen[slab, column, z] = value * through[z] * (1 - np.float32(0.5) * loss[z])
                through[z] *= 1 - loss[z] + np.float32(0.5) * loss[z] * loss[z]


@numba.njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def _diffuse(sheet: Any, blurred: Any, variance: Any) -> None:
    """Blur in place along both axes by the kernel (v/2, 1 - v, v/2), whose variance is exactly v."""
    n, nz = sheet.shape
    side, keep = np.float32(0.5) * variance, 1 - variance
    for u in range(n):
        blurred[u, 0] = keep * sheet[u, 0] + side * sheet[u, min(1, nz - 1)]
        for z in range(1, nz - 1):
            blurred[u, z] = keep * sheet[u, z] + side * (sheet[u, z - 1] + sheet[u, z + 1])
        if nz > 1:
            blurred[u, nz - 1] = keep * sheet[u, nz - 1] + side * sheet[u, nz - 2]
    for u in range(n):
        before, after = max(u - 1, 0), min(u + 1, n - 1)
        for z in range(nz):
            sheet[u, z] = keep * blurred[u, z] + side * (blurred[before, z] + blurred[after, z])
