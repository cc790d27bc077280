"""Filtered back-projection of parallel projections: a whole study at once, and MATLAB's `iradon`."""

from __future__ import annotations

from typing import Any, Literal

import numba
import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.interpolate import PchipInterpolator

from datbatch.errors import ConfigurationError, EmptyVolumeError, GridMismatchError
from datbatch.imaging.filters import FilterName, frequency_response, padded_length

SAME_DIRECTION_DEG = 1e-3
"""Views closer than this (also seen from the opposite side) count as one direction: under 0.002 bins at the rim."""

_FloatArray = npt.NDArray[np.float32]


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def _accumulate(
    filtered: _FloatArray, cosines: npt.NDArray[np.float64], sines: npt.NDArray[np.float64], image: _FloatArray
) -> None:
    """Add every view, linearly interpolated, to the pixels inside the field of view.

    filtered (view, bin, slice), image (x, y, slice). The slice axis is innermost, so one pair of weights serves a
    vector of slices; two views are taken at a time, which halves the traffic to the accumulator.
    """
    views, bins, slices = filtered.shape
    centre = (bins - 1) / 2.0
    total = np.empty(slices, np.float32)
    for i in range(bins):
        x = i - centre
        for j in range(bins):
            y = j - centre
            if x * x + y * y > centre * centre:
                continue
            total[:] = 0.0
            for view in range(0, views - 1, 2):
                u = min(max(x * cosines[view] - y * sines[view] + centre, 0.0), bins - 1.0)
                v = min(max(x * cosines[view + 1] - y * sines[view + 1] + centre, 0.0), bins - 1.0)
                a = min(int(u), bins - 2)
                b = min(int(v), bins - 2)
                right_u = np.float32(u - a)
                right_v = np.float32(v - b)
                left_u = np.float32(1.0) - right_u
                left_v = np.float32(1.0) - right_v
                first, first_next = filtered[view, a], filtered[view, a + 1]
                second, second_next = filtered[view + 1, b], filtered[view + 1, b + 1]
                for k in range(slices):
                    total[k] += (left_u * first[k] + right_u * first_next[k]) + (
                        left_v * second[k] + right_v * second_next[k]
                    )
            if views % 2:
                u = min(max(x * cosines[views - 1] - y * sines[views - 1] + centre, 0.0), bins - 1.0)
                a = min(int(u), bins - 2)
                right_u = np.float32(u - a)
                left_u = np.float32(1.0) - right_u
                first, first_next = filtered[views - 1, a], filtered[views - 1, a + 1]
                for k in range(slices):
                    total[k] += left_u * first[k] + right_u * first_next[k]
            for k in range(slices):
                image[i, j, k] = total[k]


def merge_directions(
    angles_deg: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Find the distinct directions among views; parallel views from opposite sides see the same lines.

    Returns
    -------
    direction_deg : ndarray, shape (direction,), float64
        Angle of the first view of each direction.
    member : ndarray, shape (view,), intp
        Direction of each view.
    reversed_bins : ndarray, shape (view,), bool
        Whether the view looks from the other side, so that its bins run backwards.
    """
    directions: list[float] = []
    member = np.empty(angles_deg.size, np.intp)
    reversed_bins = np.zeros(angles_deg.size, bool)
    for view, angle in enumerate(angles_deg):
        gap = np.abs((angle - np.array(directions) + 90.0) % 180.0 - 90.0)
        if gap.size and gap.min() <= SAME_DIRECTION_DEG:
            member[view] = int(gap.argmin())
            reversed_bins[view] = abs((angle - directions[member[view]]) % 360.0 - 180.0) < 90.0
        else:
            member[view] = len(directions)
            directions.append(float(angle))
    return np.array(directions), member, reversed_bins


def angular_weights(direction_deg: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Give each direction's share of the half circle, in radians: half the gaps to its two neighbours.

    The sum is pi whatever the spacing, so that arcs of 180 and 360 degrees and uneven steps are weighted right.
    """
    folded = direction_deg % 180.0
    order = np.argsort(folded, kind="stable")
    ordered = folded[order]
    gaps = np.diff(ordered, append=ordered[0] + 180.0)
    weights = np.empty_like(ordered)
    weights[order] = np.deg2rad(gaps + np.roll(gaps, 1)) / 2.0
    return weights


def back_project(
    projections: npt.NDArray[Any],
    angles_deg: npt.NDArray[np.float64],
    *,
    pixel_size_mm: float,
    cutoff_per_cm: float,
    filter: FilterName,  # noqa: A002
) -> npt.NDArray[np.float32]:
    """Reconstruct all slices: projections (view, row, bin) to an image (x, y, row); see `filtered_back_projection`."""
    if projections.ndim != 3 or projections.shape[0] != len(angles_deg):
        raise GridMismatchError(
            f"projections of shape {projections.shape} do not fit {len(angles_deg)} angles as (view, row, bin)"
        )
    if min(projections.shape) < 1 or projections.shape[2] < 2:
        raise EmptyVolumeError(f"projections of shape {projections.shape} hold no image")
    if not pixel_size_mm > 0:
        raise GridMismatchError(f"the pixel size must be positive, not {pixel_size_mm!r} mm")
    _, rows, bins = projections.shape
    direction_deg, member, reversed_bins = merge_directions(np.asarray(angles_deg, np.float64))
    merged = np.zeros((direction_deg.size, rows, bins), np.float32)
    for view, (direction, backwards) in enumerate(zip(member, reversed_bins, strict=True)):
        merged[direction] += projections[view, :, ::-1] if backwards else projections[view]
    if not np.isfinite(merged).all():
        raise EmptyVolumeError("the projections hold values that are not finite")
    length = padded_length(bins)
    nyquist_per_cm = 5.0 / pixel_size_mm
    response = frequency_response(filter, length, cutoff_per_cm / nyquist_per_cm)
    # The response is twice the ramp, hence the half; several views of one direction are averaged.
    share = angular_weights(direction_deg) / (2.0 * np.bincount(member))
    spectrum = scipy.fft.rfft(merged, n=length, axis=-1)
    spectrum *= response.astype(np.float32)
    spectrum *= share.astype(np.float32)[:, None, None]
    filtered = scipy.fft.irfft(spectrum, n=length, axis=-1)[..., :bins]
    image = np.zeros((bins, bins, rows), np.float32)
    radians = np.deg2rad(direction_deg)
    _accumulate(np.ascontiguousarray(filtered.transpose(0, 2, 1), np.float32), np.cos(radians), np.sin(radians), image)
    return image


def filtered_back_projection(
    projections: npt.NDArray[Any],
    angles_deg: npt.NDArray[np.float64],
    *,
    pixel_size_mm: float,
    cutoff_per_cm: float = 1.25,
    filter: FilterName = "shepp-logan",  # noqa: A002
) -> npt.NDArray[np.float32]:
    """Reconstruct all slices of a study at once.

    f(x, y) = sum over directions of w_a Q_a(x cos a - y sin a), where Q_a is the filtered projection and the weights
    w_a are the angular gaps (they sum to pi); Kak and Slaney 1988, eq. 3.34 to 3.36, linear interpolation. Values
    are counts per pixel: a slice sums to the counts of one view. Negative values are kept.

    Parameters
    ----------
    projections : ndarray, shape (view, row, bin)
        Counts; the axis of rotation projects to bin (bins - 1) / 2.
    angles_deg : ndarray, shape (view,)
        Angle of each view, counter-clockwise seen from the feet, 0 at the patient's back; any order and spacing.
    pixel_size_mm : float
        Size of a bin, and of a pixel of the image.
    cutoff_per_cm : float
        Frequency above which the filter is zero, in cycles/cm. Above the Nyquist frequency nothing is cut.
    filter : str
        Window multiplied with the ramp.

    Returns
    -------
    ndarray, shape (row, bin, bin), float32
        Axes z, y, x: z as the rows of the projections, y growing towards anterior, x towards the patient's right.
        Zero outside the inscribed circle.

    Raises
    ------
    EmptyVolumeError
        When projections are empty or hold values that are not finite.
    GridMismatchError
        When angles and projections don't fit or the pixel size is not positive.
    ConfigurationError
        When the filter is unknown or the cutoff is not positive.
    """
    image = back_project(
        np.asarray(projections),
        np.asarray(angles_deg, np.float64),
        pixel_size_mm=pixel_size_mm,
        cutoff_per_cm=cutoff_per_cm,
        filter=filter,
    )
    return image.transpose(2, 1, 0)


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def _spread(
    filtered: npt.NDArray[np.float64],
    cosines: npt.NDArray[np.float64],
    sines: npt.NDArray[np.float64],
    nearest: bool,
    image: npt.NDArray[np.float64],
) -> None:
    """Add filtered (view, bin) to image (row, column) with MATLAB's origins; samples outside count as zero."""
    views, bins = filtered.shape
    size = image.shape[0]
    middle = (size + 1) // 2 - 1
    centre = bins // 2
    for row in range(size):
        y = middle - row
        for column in range(size):
            x = column - middle
            total = 0.0
            for view in range(views):
                t = x * cosines[view] + y * sines[view]
                if nearest:
                    below = int(np.floor(abs(t) + 0.5))
                    below = centre + (below if t >= 0 else -below)
                    if 0 <= below < bins:
                        total += filtered[view, below]
                else:
                    floor = np.floor(t)
                    below = centre + int(floor)
                    if 0 <= below < bins:
                        total += (floor + 1.0 - t) * filtered[view, below]
                    if 0 <= below + 1 < bins:
                        total += (t - floor) * filtered[view, below + 1]
            image[row, column] = total


def iradon(
    sinogram: npt.NDArray[Any],
    theta_deg: npt.NDArray[Any],
    *,
    filter: FilterName = "ram-lak",  # noqa: A002
    frequency_scaling: float = 1.0,
    output_size: int | None = None,
    interpolation: Literal["nearest", "linear", "cubic"] = "linear",
) -> npt.NDArray[np.float64]:
    """Invert a Radon transform as MATLAB's `iradon` does, number by number.

    The image is pi / (2 views) times the sum of the filtered projections at t = x cos theta + y sin theta, where x
    grows along the columns and y against the rows. The origin of the image is pixel floor((n + 1) / 2), counted from
    1; that of the projections is bin floor(bins / 2), counted from 0. `cubic` is shape-preserving (pchip).
    Views are weighted equally, as there; `filtered_back_projection` is what weights by the angular gaps.

    Parameters
    ----------
    sinogram : ndarray, shape (bin, view)
        One projection a column.
    theta_deg : ndarray, shape (view,)
        Angles in degrees, counter-clockwise.
    filter : str
        Window multiplied with the ramp; `none` for plain back-projection.
    frequency_scaling : float
        Cutoff as a fraction of the Nyquist frequency.
    output_size : int, optional
        Rows and columns of the image; 2 floor(bins / (2 sqrt 2)) when not given.
    interpolation : str
        Between bins.

    Returns
    -------
    ndarray, shape (output_size, output_size), float64

    Raises
    ------
    ConfigurationError
        When angles and sinogram don't fit or an option is unknown.
    """
    columns = np.asarray(sinogram, np.float64)
    radians = np.deg2rad(np.atleast_1d(np.asarray(theta_deg, np.float64)))
    if columns.ndim != 2 or radians.ndim != 1 or columns.shape[1] != radians.size:
        raise ConfigurationError(f"a sinogram of shape {columns.shape} does not fit {radians.size} angles")
    if interpolation not in ("nearest", "linear", "cubic"):
        raise ConfigurationError(f"unknown interpolation {interpolation!r}; known are nearest, linear, cubic")
    bins, views = columns.shape
    size = 2 * int(bins / (2.0 * np.sqrt(2.0))) if output_size is None else output_size
    length = padded_length(bins)
    if filter == "none":
        filtered = np.ascontiguousarray(columns.T)
    else:
        response = frequency_response(filter, length, frequency_scaling)
        filtered = np.fft.irfft(np.fft.rfft(columns.T, n=length) * response, n=length)[:, :bins].copy()
    image = np.zeros((size, size))
    if interpolation == "cubic":
        middle = (size + 1) // 2 - 1
        x = np.arange(size)[None, :] - middle
        y = middle - np.arange(size)[:, None]
        for row, angle in zip(filtered, radians, strict=True):
            curve = PchipInterpolator(np.arange(bins) - bins // 2, row, extrapolate=False)
            image += np.nan_to_num(curve(x * np.cos(angle) + y * np.sin(angle)), nan=0.0)
    else:
        _spread(filtered, np.cos(radians), np.sin(radians), interpolation == "nearest", image)
    image *= np.pi / (2.0 * views)
    return image
