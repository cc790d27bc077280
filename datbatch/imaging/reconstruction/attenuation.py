"""Chang's attenuation correction: the outline of the head from the uncorrected image, and a factor for each pixel."""

from __future__ import annotations

import numba
import numpy as np
from scipy import ndimage

from datbatch.arrays import Bools, Floats, Floats32
from datbatch.errors import BodyContourError, ConfigurationError
from datbatch.imaging.reconstruction.backprojection import view_weights
from datbatch.imaging.registration.smoothing import smooth_and_thin
from datbatch.imaging.volume import Volume

DIRECTIONS = 64
"""Supporting lines of an outline; the polygon that they enclose is 0.1 % larger than a disc."""
SMOOTHING_FWHM_MM = 10.0
SAMPLING_MM = 6.0
AIR_NEAR, AIR_FAR = 2, 5
"""How far from what is bright, in samples, the level of the air is taken."""
OUTLINE_SHARE = 0.45
"""Where the outline lies between the level of the air and that of the head: low, because the scalp is faint."""
SMALLEST_AREA_MM2 = 3000.0
"""Widest cross-section that still can be a head: about 62 mm across."""
LARGEST_SHARE = 0.95
"""Share of the field of view above which an outline is not one of a head."""


def body_contour(volume: Volume) -> Floats:
    """Find the outline of the head in an image that is not corrected for attenuation.

    The image, whose axes are the patient's with x = y = 0 on the axis of rotation, is blurred (10 mm) and thinned
    out (6 mm). The outline lies where the image has risen 45 % of the way from the level of the air around the
    head, which scatter raises above zero, to the level of the head near its rim. The latter is the upper quartile
    of what is brighter than half the head's median: absorption dims the centre, the scalp is faint, and striata and
    glands are too small to move a quartile. The largest connected piece of what is brighter counts, and in each
    slice its convex hull. The hull's support function h(k) = max of p . (cos k, sin k) is averaged over
    neighbouring slices (a Minkowski mean, which stays convex). The outline may touch the edge of the field of view.

    Gives the support function (slice, `DIRECTIONS`) in mm about x = y = 0, for the angles 2 pi k / `DIRECTIONS`
    from x towards y; NaN in slices without a body. A `BodyContourError` says that nothing like a head is seen: too
    small, or as large as the field of view.
    """
    coarse = smooth_and_thin(volume, SMOOTHING_FWHM_MM, SAMPLING_MM)
    threshold = _threshold(coarse)
    bright, _ = ndimage.label(coarse.data > threshold)
    sizes = np.bincount(bright.ravel())[1:]
    if not sizes.size:
        raise BodyContourError("no outline of a head is seen in the image")
    head = bright == 1 + sizes.argmax()
    supports = np.stack([_support(coarse, head, threshold, k) for k in range(head.shape[2])])
    areas = [area_mm2(support) for support in supports if not np.isnan(support).any()]
    reach_mm = abs(volume.affine[0, 0]) * (volume.data.shape[0] - 1) / 2.0
    if not SMALLEST_AREA_MM2 < max(areas) < LARGEST_SHARE * np.pi * reach_mm**2:
        raise BodyContourError(f"the largest outline in the image has {max(areas) / 100.0:.0f} cm2, which is no head")
    kept = ~np.isnan(supports[:, :1])
    weights = ndimage.convolve1d(kept.astype(float), [0.25, 0.5, 0.25], axis=0, mode="constant")
    sums = ndimage.convolve1d(np.where(kept, supports, 0.0), [0.25, 0.5, 0.25], axis=0, mode="constant")
    smoothed = np.where(kept, sums / np.maximum(weights, 0.25), np.nan)
    # Linear between two outlines; the nearest one beyond the first and the last.
    slices = volume.affine[2, 2] * np.arange(volume.data.shape[2]) + volume.affine[2, 3]
    at = (slices - coarse.affine[2, 3]) / coarse.affine[2, 2]
    nearest = np.clip(np.rint(at), 0, len(kept) - 1).astype(int)
    known = np.flatnonzero(kept)
    between = np.stack([np.interp(at, known, smoothed[known, k]) for k in range(DIRECTIONS)], axis=1)
    return np.where(kept[nearest], between, np.nan)


def _threshold(coarse: Volume) -> float:
    """Give the value of the outline, from the head's level near its rim and that of the air around it."""
    data = coarse.data
    if not data.max() > 0:
        raise BodyContourError("the image holds no activity")
    positive = data[data > 0]
    middle = float(positive.mean())
    for _ in range(10):
        middle = float(np.median(positive[positive > 0.5 * middle]))
    level = float(np.quantile(positive[positive > 0.5 * middle], 0.75))
    near = ndimage.binary_dilation(data > 0.5 * middle, iterations=AIR_NEAR)
    around = ndimage.binary_dilation(near, iterations=AIR_FAR - AIR_NEAR) & ~near
    reach = (data.shape[0] - 1) / 2.0
    x, y = np.indices(data.shape[:2]) - reach
    around &= (x**2 + y**2 <= (reach - 1.0) ** 2)[:, :, None]
    air = float(np.clip(np.median(data[around]), 0.0, 0.5 * level)) if around.any() else 0.0
    return air + OUTLINE_SHARE * (level - air)


def _support(coarse: Volume, head: Bools, threshold: float, k: int) -> Floats:
    """Give the support function, in mm, of where one slice crosses the threshold first and last in rows and columns."""
    points = []
    for axis in (0, 1):
        inside = head[:, :, k] if axis == 0 else head[:, :, k].T
        values = coarse.data[:, :, k] if axis == 0 else coarse.data[:, :, k].T
        lines = np.flatnonzero(inside.any(axis=0))
        for step in (1, -1):
            edge = inside[::step].argmax(axis=0)[lines]
            here = values[::step][edge, lines]
            before = np.where(edge > 0, values[::step][edge - 1, lines], threshold)
            back = np.where(edge > 0, (here - threshold) / np.maximum(here - before, 1e-30), 0.5)
            crossing = edge - np.minimum(back, 1.0)
            crossing = crossing if step == 1 else len(inside) - 1 - crossing
            points.append(np.stack([crossing, lines] if axis == 0 else [lines, crossing], axis=1))
    found = np.concatenate(points)
    if len(found) < 3:
        return np.full(DIRECTIONS, np.nan)
    angle = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    points_mm = found * np.diag(coarse.affine)[:2] + coarse.affine[:2, 3]
    return np.asarray((points_mm @ np.stack([np.cos(angle), np.sin(angle)])).max(axis=0))


def corners(support: Floats) -> Floats:
    """Give the corners of the polygon within supporting lines: (..., direction) to (..., direction, 2)."""
    turn = 2 * np.pi / support.shape[-1]
    angle = turn * np.arange(support.shape[-1])
    along = (np.roll(support, -1, axis=-1) - support * np.cos(turn)) / np.sin(turn)
    return np.stack(
        [support * np.cos(angle) - along * np.sin(angle), support * np.sin(angle) + along * np.cos(angle)], axis=-1
    )


def area_mm2(support: Floats) -> float:
    """Give the area of one polygon, by the shoelace formula."""
    x, y = corners(support).T
    return float(0.5 * (x * np.roll(y, -1) - y * np.roll(x, -1)).sum())


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def _exits(across: Floats, along: Floats, exits: Floats) -> None:
    """Give the largest `along` of a convex polygon at across = 0, 1, 2, ...; beyond it, that of its nearest corner."""
    count = across.size
    lowest, highest = 0, 0
    for k in range(count):
        if across[k] < across[lowest]:
            lowest = k
        if across[k] > across[highest]:
            highest = k
    exits[:] = -np.inf
    for k in range(count):
        a, b = k, (k + 1) % count
        if across[a] > across[b]:
            a, b = b, a
        width = across[b] - across[a]
        if width < 1e-12:
            continue
        for sample in range(max(int(np.ceil(across[a])), 0), min(int(np.floor(across[b])), exits.size - 1) + 1):
            height = along[a] + (along[b] - along[a]) * (sample - across[a]) / width
            exits[sample] = max(exits[sample], height)
    for sample in range(exits.size):
        if sample < across[lowest]:
            exits[sample] = along[lowest]
        elif sample > across[highest]:
            exits[sample] = along[highest]


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def _survivals(x: Floats, y: Floats, angles: Floats, per_pixel: float, survival: Floats32) -> None:
    """Fill exp(-mu S): S is how far the outline reaches from the axis towards the detector, at each bin.

    x, y (slice, corner) in pixels from the axis of rotation; survival (view, bin, slice).
    """
    exits = np.empty(survival.shape[1])
    across, along = np.empty(x.shape[1]), np.empty(x.shape[1])
    centre = (survival.shape[1] - 1) / 2.0
    for view in range(angles.size):
        cos, sin = np.cos(angles[view]), np.sin(angles[view])
        for k in range(x.shape[0]):
            for corner in range(x.shape[1]):
                across[corner] = x[k, corner] * cos - y[k, corner] * sin + centre
                along[corner] = -x[k, corner] * sin - y[k, corner] * cos
            _exits(across, along, exits)
            for sample in range(exits.size):
                survival[view, sample, k] = np.exp(-per_pixel * exits[sample])


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def _average(
    survival: Floats32, angles: Floats, weights: Floats, per_pixel: float, low: Floats, high: Floats, factors: Floats32
) -> None:
    """Fill the inverse of the mean over views of exp(-mu (S - s)) inside the outline; factors (x, y, slice) hold ones.

    low, high (y, slice): where in x the outline begins and ends. exp(mu s) is a product of a factor of x and one of y,
    so that the loop over slices, innermost, has no exponential.
    """
    views, bins, slices = survival.shape
    centre = (bins - 1) / 2.0
    total = np.empty(slices, np.float32)
    cosines, sines = np.cos(angles), np.sin(angles)
    for i in range(bins):
        x = i - centre
        for j in range(bins):
            seen = False
            for k in range(slices):
                seen |= low[j, k] <= x <= high[j, k]
            if not seen:
                continue
            y = j - centre
            total[:] = 0.0
            for view in range(views):
                cos, sin = cosines[view], sines[view]
                u = min(max(x * cos - y * sin + centre, 0.0), bins - 1.0)
                a = min(int(u), bins - 2)
                weight = weights[view] * np.exp(per_pixel * (-x * sin - y * cos))
                left, right = np.float32(weight * (a + 1 - u)), np.float32(weight * (u - a))
                one, two = survival[view, a], survival[view, a + 1]
                for k in range(slices):
                    total[k] += left * one[k] + right * two[k]
            for k in range(slices):
                if low[j, k] <= x <= high[j, k]:
                    factors[i, j, k] = np.float32(1.0) / total[k]


def chang_factors(
    support_mm: Floats, angles_deg: Floats, bins: int, pixel_size_mm: float, attenuation_per_cm: float
) -> Floats32:
    """Give the first-order correction factors (x, y, slice) of uniform attenuation within an outline.

    C(x, y) = 1 / (sum over views of w exp(-mu l)), l the way from the pixel to the outline towards the detector,
    the weights w each view's share of the image (Chang, A method for attenuation correction in radionuclide
    computed tomography, IEEE Trans Nucl Sci 1978;25:638-643, first-order step). Outside the outline the factor is
    one; it is never below one.

    `support_mm` comes from `body_contour`, the angles are those of `filtered_back_projection`; the image has `bins`
    pixels along x and y. A `ConfigurationError` refuses a coefficient mu that is negative or not finite.
    """
    if not 0 <= attenuation_per_cm < np.inf:
        raise ConfigurationError(
            f"the attenuation coefficient must be finite and not negative, not {attenuation_per_cm!r}"
        )
    factors = np.ones((bins, bins, len(support_mm)), np.float32)
    kept = np.flatnonzero(~np.isnan(support_mm).any(axis=1))
    if not kept.size:
        return factors
    x, y = np.moveaxis(corners(support_mm[kept] / pixel_size_mm), -1, 0)
    radians = np.deg2rad(angles_deg)
    per_pixel = attenuation_per_cm * pixel_size_mm / 10.0
    survival = np.empty((radians.size, bins, kept.size), np.float32)
    _survivals(np.ascontiguousarray(x), np.ascontiguousarray(y), radians, per_pixel, survival)
    low, high = np.empty((bins, kept.size)), np.empty((bins, kept.size))
    for column, (across, along) in enumerate(zip(y + (bins - 1) / 2.0, x, strict=True)):
        _exits(across, along, high[:, column])
        _exits(across, -along, low[:, column])
        low[:, column] *= -1
        outside = (np.arange(bins) < across.min()) | (np.arange(bins) > across.max())
        low[outside, column], high[outside, column] = np.inf, -np.inf
    inside = np.ones((bins, bins, kept.size), np.float32)
    _average(survival, radians, view_weights(angles_deg), per_pixel, low, high, inside)
    factors[:, :, kept] = np.maximum(inside, 1.0)
    return factors
