"""MATLAB's `iradon`: one slice, number by number."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numba
import numpy as np
import numpy.typing as npt

from datbatch.arrays import Floats
from datbatch.errors import ConfigurationError, EmptyVolumeError
from datbatch.imaging.reconstruction.filters import FilterName, frequency_response, padded_length

Interpolation = Literal["nearest", "linear", "cubic"]


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def _spread(filtered: Floats, cosines: Floats, sines: Floats, origin: int, nearest: bool, image: Floats) -> None:
    """Add filtered (view, bin) to image (row, column); t = 0 falls on bin `origin`, bins outside count as zero."""
    views, bins = filtered.shape
    size = image.shape[0]
    middle = (size + 1) // 2 - 1
    for row in range(size):
        y = middle - row
        for column in range(size):
            x = column - middle
            total = 0.0
            for view in range(views):
                t = x * cosines[view] + y * sines[view]
                if nearest:
                    below = origin + int(np.floor(t + 0.5))
                    if 0 <= below < bins:
                        total += filtered[view, below]
                else:
                    floor = np.floor(t)
                    below = origin + int(floor)
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
    interpolation: Interpolation = "linear",
    origin_bin: int | None = None,
) -> Floats:
    """Invert a Radon transform as MATLAB's `iradon` does, number by number.

    The image is pi / (2 views) times the sum of the filtered projections at t = x cos theta + y sin theta (Kak and
    Slaney 1988, chapter 3), where x grows along the columns and y against the rows. All views have the same weight,
    as in MATLAB; `filtered_back_projection` weights by the angular gaps.

    The origin of the image is pixel floor((n + 1) / 2), counted from 1; that of the projections is bin floor(bins /
    2), counted from 0. For an odd number of bins, the only kind that MATLAB's `radon` makes, that is the middle and
    MATLAB's documented ceil(bins / 2), counted from 1. For an even number MATLAB contradicts itself. Its
    documentation says bins / 2 - 1, counted from 0. Its compiled loop takes floor(length / 2) of what it is given,
    with zeros added or not (source of `iradon` as shipped for code generation, 2022, function `iradonImpl`): that
    is bins / 2 - 1 where the projections are shorter than the image's diagonal and bins / 2 elsewhere. `origin_bin`
    chooses. `cubic` is shape-preserving (`pchip`) and sees zeros beyond the projections; `nearest` rounds halves
    up.

    Parameters
    ----------
    sinogram : ndarray, shape (bin, view)
        One projection a column.
    theta_deg : ndarray, shape (view,)
        Angles in degrees, counter-clockwise, one for each view (MATLAB's short form of one step is not taken).
    filter : str
        Window multiplied with the ramp; `none` for plain back-projection.
    frequency_scaling : float
        Cutoff as a fraction of the Nyquist frequency. MATLAB takes up to 1; above, see `frequency_response`.
    output_size : int, optional
        Rows and columns of the image; 2 floor(bins / (2 sqrt 2)) when not given.
    interpolation : str
        Between bins.
    origin_bin : int, optional
        Bin, counted from 0, of the rays through the origin; floor(bins / 2) when not given.

    Returns
    -------
    ndarray, shape (output_size, output_size), float64

    Raises
    ------
    ConfigurationError
        When angles and sinogram don't fit, or an option is unknown or out of range.
    EmptyVolumeError
        When the sinogram is empty or holds values that are not finite.
    """
    columns = np.asarray(sinogram, np.float64)
    radians = np.deg2rad(np.atleast_1d(np.asarray(theta_deg, np.float64)))
    if columns.ndim != 2 or radians.ndim != 1 or columns.shape[1] != radians.size:
        raise ConfigurationError(f"a sinogram of shape {columns.shape} does not fit {radians.size} angles")
    if interpolation not in get_args(Interpolation):
        raise ConfigurationError(
            f"unknown interpolation {interpolation!r}; known are {', '.join(get_args(Interpolation))}"
        )
    if not columns.size:
        raise EmptyVolumeError(f"a sinogram of shape {columns.shape} holds no image")
    if not (np.isfinite(columns).all() and np.isfinite(radians).all()):
        raise EmptyVolumeError("the sinogram or its angles hold values that are not finite")
    bins, views = columns.shape
    size = 2 * int(bins / (2.0 * math.sqrt(2.0))) if output_size is None else output_size
    if size < 1:
        raise ConfigurationError(f"the output size must be positive, not {size!r} (from {bins} bins)")
    length = padded_length(bins)
    if filter == "none":
        filtered = np.ascontiguousarray(columns.T)
    else:
        response = frequency_response(filter, length, frequency_scaling)
        filtered = np.fft.irfft(np.fft.rfft(columns.T, n=length) * response, n=length)[:, :bins].copy()
    image = np.zeros((size, size))
    origin = bins // 2 if origin_bin is None else origin_bin
    if interpolation == "cubic":
        # Nothing else needs it, and it takes its time to import.
        from scipy.interpolate import PchipInterpolator

        middle = (size + 1) // 2 - 1
        x = np.arange(size)[None, :] - middle
        y = middle - np.arange(size)[:, None]
        zeros = size + 1 + abs(origin - bins // 2)
        t_of_bin = np.arange(-zeros, bins + zeros) - origin
        for row, angle in zip(np.pad(filtered, ((0, 0), (zeros, zeros))), radians, strict=True):
            image += PchipInterpolator(t_of_bin, row)(x * np.cos(angle) + y * np.sin(angle))
    else:
        _spread(filtered, np.cos(radians), np.sin(radians), origin, interpolation == "nearest", image)
    image *= np.pi / (2.0 * views)
    return image
