"""MATLAB's `radon`, `phantom` and `iradon`, and back-projection, written slowly after their definitions."""

import numpy as np


def shepp_logan_phantom(size: int) -> np.ndarray:
    """MATLAB's `phantom(size)`: the modified Shepp-Logan head (Toft 1996), pixel centres from -1 to 1."""
    ellipses = [
        (1.0, 0.69, 0.92, 0.0, 0.0, 0.0),
        (-0.8, 0.6624, 0.8740, 0.0, -0.0184, 0.0),
        (-0.2, 0.11, 0.31, 0.22, 0.0, -18.0),
        (-0.2, 0.16, 0.41, -0.22, 0.0, 18.0),
        (0.1, 0.21, 0.25, 0.0, 0.35, 0.0),
        (0.1, 0.046, 0.046, 0.0, 0.1, 0.0),
        (0.1, 0.046, 0.046, 0.0, -0.1, 0.0),
        (0.1, 0.046, 0.023, -0.08, -0.605, 0.0),
        (0.1, 0.023, 0.023, 0.0, -0.606, 0.0),
        (0.1, 0.023, 0.046, 0.06, -0.605, 0.0),
    ]
    axis = (np.arange(size) - (size - 1) / 2) / ((size - 1) / 2)
    x, y = np.meshgrid(axis, -axis)
    image = np.zeros((size, size))
    for value, a, b, x0, y0, degrees in ellipses:
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        u, v = x - x0, y - y0
        image[((u * c + v * s) / a) ** 2 + ((v * c - u * s) / b) ** 2 <= 1] += value
    return image


def radon(image: np.ndarray, theta_deg: np.ndarray) -> np.ndarray:
    """MATLAB's `radon`: each pixel as four quarter pixels, each shared between the two nearest bins."""
    rows, columns = image.shape
    origin_row, origin_column = (rows - 1) // 2, (columns - 1) // 2
    last = int(np.ceil(np.hypot(rows - 1 - origin_row, columns - 1 - origin_column))) + 1
    row, column = np.indices(image.shape)
    sinogram = np.zeros((2 * last + 1, len(theta_deg)))
    for k, angle in enumerate(np.deg2rad(theta_deg)):
        for dy in (-0.25, 0.25):
            for dx in (-0.25, 0.25):
                r = (column - origin_column + dx) * np.cos(angle) + (origin_row - row + dy) * np.sin(angle) + last
                below = np.floor(r).astype(int)
                share = r - below
                np.add.at(sinogram[:, k], below, 0.25 * image * (1 - share))
                np.add.at(sinogram[:, k], below + 1, 0.25 * image * share)
    return sinogram


def ramp_filter(bins: int, name: str, scaling: float) -> np.ndarray:
    """Full (two-sided) frequency response as MATLAB's designFilter builds it."""
    order = max(64, 2 ** int(np.ceil(np.log2(2 * bins))))
    half = np.zeros(order // 2 + 1)
    half[0] = 0.25
    for n in range(1, order // 2 + 1, 2):
        half[n] = -1 / (np.pi * n) ** 2
    response = 2 * np.fft.fft(np.concatenate([half, half[-2:0:-1]])).real[: order // 2 + 1]
    for k in range(1, order // 2 + 1):
        w = 2 * np.pi * k / order
        window = {
            "ram-lak": 1.0,
            "shepp-logan": np.sin(w / (2 * scaling)) / (w / (2 * scaling)),
            "cosine": np.cos(w / (2 * scaling)),
            "hamming": 0.54 + 0.46 * np.cos(w / scaling),
            "hann": (1 + np.cos(w / scaling)) / 2,
        }[name]
        response[k] *= window if w <= np.pi * scaling else 0.0
    return np.concatenate([response, response[-2:0:-1]])


def filter_columns(sinogram: np.ndarray, name: str, scaling: float) -> np.ndarray:
    response = ramp_filter(sinogram.shape[0], name, scaling)
    spectrum = np.fft.fft(sinogram, n=response.size, axis=0) * response[:, None]
    return np.fft.ifft(spectrum, axis=0).real[: sinogram.shape[0]]


def shape_preserving_slopes(values: np.ndarray) -> np.ndarray:
    """Slopes at equidistant knots after Fritsch and Carlson 1980, as in MATLAB's `pchip`."""
    steps = np.diff(values)
    if steps.size == 1:
        return np.repeat(steps, 2)
    slopes = np.zeros(values.size)
    for k in range(1, steps.size):
        if steps[k - 1] * steps[k] > 0:
            slopes[k] = 2 / (1 / steps[k - 1] + 1 / steps[k])
    for end, first, second in ((0, steps[0], steps[1]), (-1, steps[-1], steps[-2])):
        slope = (3 * first - second) / 2
        if slope * first <= 0:
            slope = 0.0
        elif first * second <= 0 and abs(slope) > abs(3 * first):
            slope = 3 * first
        slopes[end] = slope
    return slopes


def interpolate(values: np.ndarray, at: np.ndarray, kind: str) -> np.ndarray:
    """Values between equidistant knots 0, 1, 2, ...; all of `at` lies between the first and the last."""
    if kind == "nearest":
        return values[np.floor(at + 0.5).astype(int)]
    if kind == "linear":
        return np.interp(at, np.arange(values.size), values)
    left = np.clip(np.floor(at).astype(int), 0, values.size - 2)
    s = at - left
    slopes = shape_preserving_slopes(values)
    return (
        values[left] * (1 + 2 * s) * (1 - s) ** 2
        + slopes[left] * s * (1 - s) ** 2
        + values[left + 1] * s**2 * (3 - 2 * s)
        + slopes[left + 1] * s**2 * (s - 1)
    )


def iradon(
    sinogram: np.ndarray,
    theta_deg: np.ndarray,
    *,
    name: str = "ram-lak",
    scaling: float = 1.0,
    size: int,
    interpolation: str = "linear",
    origin: int | None = None,
) -> np.ndarray:
    """MATLAB's `iradon`, step by step: filter, add zeros so that no ray misses, look up, add."""
    filtered = filter_columns(sinogram, name, scaling)
    front = 2 * size
    padded = np.pad(filtered, ((front, front), (0, 0)))
    origin = sinogram.shape[0] // 2 if origin is None else origin
    middle = (size + 1) // 2
    x = np.arange(1, size + 1)[None, :] - middle
    y = middle - np.arange(1, size + 1)[:, None]
    image = np.zeros((size, size))
    for k, angle in enumerate(np.deg2rad(theta_deg)):
        t = x * np.cos(angle) + y * np.sin(angle)
        image += interpolate(padded[:, k], t + front + origin, interpolation)
    return image * np.pi / (2 * len(theta_deg))


def back_projection(
    projections: np.ndarray, angles_deg: np.ndarray, weights: np.ndarray, *, name: str, scaling: float
) -> np.ndarray:
    """Filtered back-projection (view, row, bin) to (z, y, x) in float64, every view with its own weight (radians)."""
    bins = projections.shape[2]
    axis = np.arange(bins) - (bins - 1) / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    image = np.zeros((projections.shape[1], bins, bins))
    for view, angle, weight in zip(projections, np.deg2rad(angles_deg), weights, strict=True):
        filtered = filter_columns(view.T.astype(float), name, scaling)
        for z in range(projections.shape[1]):
            image[z] += weight / 2 * np.interp(x * np.cos(angle) - y * np.sin(angle), axis, filtered[:, z])
    image[:, x**2 + y**2 > ((bins - 1) / 2) ** 2] = 0
    return image
