"""Filtered back-projection of parallel projections, all slices of a study at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import scipy.fft

from datbatch.arrays import Bools, Floats, Floats32, Indices
from datbatch.config import ReconstructConfig
from datbatch.errors import ConfigurationError, EmptyVolumeError, GridMismatchError
from datbatch.imaging.reconstruction.accelerated import filter_and_accumulate
from datbatch.imaging.reconstruction.filters import FilterName, frequency_response, padded_length

SAME_DIRECTION_DEG = 1e-3
"""Views closer than this (also seen from the opposite side) count as one direction: under 0.002 bins at the rim."""

DEVICES = ("cpu", "cuda")


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def _accumulate(filtered: Floats32, cosines: Floats, sines: Floats, first: int, step: int, image: Floats32) -> None:
    """Add every view, linearly interpolated, to the pixels inside the field of view, in every `step`-th plane of x.

    filtered (view, bin, slice), image (x, y, slice). The slice axis is innermost, so one pair of weights serves a
    vector of slices; two views are taken at a time, which halves the traffic to the accumulator.
    """
    views, bins, slices = filtered.shape
    centre = (bins - 1) / 2.0
    total = np.empty(slices, np.float32)
    for i in range(first, bins, step):
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
                one, one_next = filtered[view, a], filtered[view, a + 1]
                two, two_next = filtered[view + 1, b], filtered[view + 1, b + 1]
                for k in range(slices):
                    total[k] += (left_u * one[k] + right_u * one_next[k]) + (left_v * two[k] + right_v * two_next[k])
            if views % 2:
                u = min(max(x * cosines[views - 1] - y * sines[views - 1] + centre, 0.0), bins - 1.0)
                a = min(int(u), bins - 2)
                right_u = np.float32(u - a)
                left_u = np.float32(1.0) - right_u
                one, one_next = filtered[views - 1, a], filtered[views - 1, a + 1]
                for k in range(slices):
                    total[k] += left_u * one[k] + right_u * one_next[k]
            for k in range(slices):
                image[i, j, k] = total[k]


def merge_directions(angles_deg: Floats) -> tuple[Floats, Indices, Bools]:
    """Find the distinct directions among views; parallel views from opposite sides see the same lines.

    Gives the angle of the first view of each direction, the direction of each view, and whether the view looks from
    the other side, so that its bins run backwards.
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


def angular_weights(direction_deg: Floats) -> Floats:
    """Give each direction's share of the half circle, in radians: half the gaps to its two neighbours.

    The sum is pi for any spacing: arcs of 180 and 360 degrees and uneven steps are weighted correctly.
    """
    folded = direction_deg % 180.0
    order = np.argsort(folded, kind="stable")
    ordered = folded[order]
    gaps = np.diff(ordered, append=ordered[0] + 180.0)
    weights = np.empty_like(ordered)
    weights[order] = np.deg2rad(gaps + np.roll(gaps, 1)) / 2.0
    return weights


def view_weights(angles_deg: Floats) -> Floats:
    """Give each view's share of the image; views of one direction share its angle, and the sum is one."""
    direction_deg, member, _ = merge_directions(angles_deg)
    return (angular_weights(direction_deg) / np.bincount(member))[member] / np.pi


def back_project(
    projections: npt.NDArray[Any], angles_deg: Floats, pixel_size_mm: float, config: ReconstructConfig, *, threads: int
) -> Floats32:
    """Reconstruct all slices: projections (view, row, bin) to an image (x, y, row); see `filtered_back_projection`."""
    _check(projections, angles_deg, pixel_size_mm, threads, config.device)
    _, rows, bins = projections.shape
    direction_deg, member, reversed_bins = merge_directions(angles_deg)
    merged = np.zeros((direction_deg.size, rows, bins), np.float32)
    for view, (direction, backwards) in enumerate(zip(member, reversed_bins, strict=True)):
        merged[direction] += projections[view, :, ::-1] if backwards else projections[view]
    if not np.isfinite(merged).all():
        raise EmptyVolumeError("the projections hold values that are not finite")
    length, nyquist_per_cm = padded_length(bins), 5.0 / pixel_size_mm
    response = frequency_response(config.filter, length, config.cutoff_per_cm / nyquist_per_cm).astype(np.float32)
    # The response is twice the ramp, so it is halved; several views of one direction are averaged.
    share = (angular_weights(direction_deg) / (2.0 * np.bincount(member))).astype(np.float32)
    radians = np.deg2rad(direction_deg)
    if config.device == "cuda":
        return filter_and_accumulate(merged, radians, response, share, device=config.device)
    spectrum = scipy.fft.rfft(merged, n=length, axis=-1)
    spectrum *= response
    spectrum *= share[:, None, None]
    filtered = scipy.fft.irfft(spectrum, n=length, axis=-1)[..., :bins]
    filtered = np.ascontiguousarray(filtered.transpose(0, 2, 1), np.float32)
    image = np.zeros((bins, bins, rows), np.float32)
    cosines, sines = np.cos(radians), np.sin(radians)
    if threads == 1:
        _accumulate(filtered, cosines, sines, 0, 1, image)
        return image
    with ThreadPoolExecutor(threads) as pool:
        # Every pixel is summed by one thread, in the order of the views: the same bits for any number of threads.
        list(pool.map(lambda first: _accumulate(filtered, cosines, sines, first, threads, image), range(threads)))
    return image


def _check(projections: npt.NDArray[Any], angles_deg: Floats, pixel_size_mm: float, threads: int, device: str) -> None:
    if projections.ndim != 3 or angles_deg.shape != projections.shape[:1]:
        raise GridMismatchError(
            f"projections of shape {projections.shape} do not fit angles of shape {angles_deg.shape} "
            "as (view, row, bin)"
        )
    if min(projections.shape) < 1 or projections.shape[2] < 2:
        raise EmptyVolumeError(f"projections of shape {projections.shape} hold no image")
    if not np.isfinite(angles_deg).all():
        raise GridMismatchError("the angles of the views are not all finite")
    if not 0 < pixel_size_mm < np.inf:
        raise GridMismatchError(f"the pixel size must be positive, not {pixel_size_mm!r} mm")
    if threads < 1:
        raise ConfigurationError(f"there must be at least one thread, not {threads!r}")
    if device not in DEVICES:
        raise ConfigurationError(f"unknown device {device!r}; known are {', '.join(DEVICES)}")


def filtered_back_projection(
    projections: npt.NDArray[Any],
    angles_deg: Floats,
    *,
    pixel_size_mm: float,
    cutoff_per_cm: float = 1.25,
    filter: FilterName = "shepp-logan",  # noqa: A002
    threads: int = 1,
) -> Floats32:
    """Reconstruct all slices of a study at once.

    f(x, y) = sum over directions of w_a Q_a(x cos a - y sin a), where Q_a is the filtered projection and the
    weights w_a are the angular gaps (they sum to pi); Kak and Slaney 1988, eq. 3.34 to 3.36, linear interpolation.
    The image is linear in the projections, and negative values are kept. Values are counts per pixel: a slice of an
    object inside the field of view sums to the counts of one view. The more directions there are the closer (60
    directions: within 1 % for a disc of 4 pixels radius, within 0.2 % from 10 pixels on).

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
    threads : int
        Threads that share the image; any number gives the same bits. Take one in a worker that has one core.

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
        When angles and projections don't fit, angles are not finite, or the pixel size is not positive.
    ConfigurationError
        When the filter is unknown, or the cutoff or the number of threads is not positive.
    """
    config = ReconstructConfig(filter=filter, cutoff_per_cm=cutoff_per_cm)
    counts, angles = np.asarray(projections), np.asarray(angles_deg, np.float64)
    return back_project(counts, angles, pixel_size_mm, config, threads=threads).transpose(2, 1, 0)
