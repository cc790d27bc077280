"""Frequency responses of filtered back-projection."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from datbatch.arrays import Floats
from datbatch.errors import ConfigurationError

FilterName = Literal["ram-lak", "shepp-logan", "cosine", "hamming", "hann", "none"]


def padded_length(bins: int) -> int:
    """Give the length to which a projection is padded with zeros before filtering.

    The next power of two of twice the number of bins, at least 64, makes the convolution linear, not circular.
    """
    return max(64, 1 << max(2 * bins - 1, 0).bit_length())


def frequency_response(name: FilterName, length: int, frequency_scaling: float = 1.0) -> Floats:
    """Give twice the windowed ramp at the length // 2 + 1 non-negative frequencies of a real FFT.

    The ramp is the transform of its band-limited form in the spatial domain, h(0) = 1/4, h(n) = -1/(pi n)^2 for odd
    n, 0 for even n, so that the mean of the image is right (Kak and Slaney, Principles of Computerized Tomographic
    Imaging, 1988, eq. 3.61). With w the angular frequency per bin and d the frequency scaling, the windows are:
    Shepp-Logan sin(w/2d)/(w/2d); cosine cos(w/2d); Hamming 0.54 + 0.46 cos(w/d); Hann (1 + cos(w/d))/2; all are
    zero above w = pi d. These are the filters of MATLAB's `iradon`; `none` leaves projections as they are.

    `length` is the padded length, even. The frequency scaling is the cutoff as a fraction of the Nyquist frequency;
    above 1 the window keeps its physical width and ends where the data end. A `ConfigurationError` refuses an
    unknown filter, and a scaling that is not positive.
    """
    if name not in get_args(FilterName):
        raise ConfigurationError(f"unknown filter {name!r}; known are {', '.join(get_args(FilterName))}")
    if not frequency_scaling > 0:
        raise ConfigurationError(f"the cutoff must be positive, not {frequency_scaling!r}")
    if name == "none":
        return np.ones(length // 2 + 1)
    lag = np.arange(length // 2 + 1)
    impulse = np.zeros(lag.size)
    impulse[0] = 0.25
    impulse[1::2] = -1.0 / (np.pi * lag[1::2]) ** 2
    response: Floats = 2.0 * np.fft.rfft(np.concatenate([impulse, impulse[-2:0:-1]])).real
    angular = 2.0 * np.pi * lag / length
    relative = angular / frequency_scaling
    if name == "shepp-logan":
        response *= np.sinc(relative / (2.0 * np.pi))
    elif name == "cosine":
        response *= np.cos(relative / 2.0)
    elif name == "hamming":
        response *= 0.54 + 0.46 * np.cos(relative)
    elif name == "hann":
        response *= (1.0 + np.cos(relative)) / 2.0
    response[angular > np.pi * frequency_scaling] = 0.0
    return response
