"""A head painted directly into an image volume, at any pose: cheap, and independent of the camera simulation."""

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

RESOLUTION_FWHM_MM = 11.0
STRIATAL_MM = np.array(
    [[side * x, y, z] for side in (-1, 1) for x, y, z in [(26, 10, 0), (27, -8, 2), (13, 14, 6), (14, 2, 14)]], float
)
BRAIN_MM = np.array(
    [
        [-65, -17, 10],
        [65, -17, 10],
        [0, -100, 5],
        [0, 65, 5],
        [0, -17, 72],
        [40, -70, 40],
        [-40, 30, 40],
        [0, -10, -30],
    ],
    float,
)


def _ellipsoid(points: np.ndarray, centre: tuple, half: tuple) -> np.ndarray:
    """Share of a voxel inside, with an edge about 4 mm wide: sharp edges would alias on coarse grids."""
    radius = np.sqrt((((points - np.array(centre)) / np.array(half)) ** 2).sum(axis=-1))
    return np.clip(0.5 + (1 - radius) * min(half) / 4.0, 0.0, 1.0)


def activity(points: np.ndarray, striatum: tuple[float, float] = (3.5, 3.5)) -> np.ndarray:
    """Uptake at MNI points (..., 3); `striatum` is that of the left and the right one, 1 is the brain's."""
    value = 0.2 * _ellipsoid(points, (0, -17, 0), (82, 102, 100))
    layers = [(1.0, _ellipsoid(points, (0, -17, 8), (68, 88, 68)) * np.clip((points[..., 2] + 47) / 4, 0, 1))]
    layers.append((0.4, _ellipsoid(points, (0, -10, 8), (10, 28, 14))))
    for side, uptake in zip((-1, 1), striatum, strict=True):
        layers.append((uptake, _ellipsoid(points, (side * 26, 1, 1), (6, 16, 10))))
        layers.append((uptake, _ellipsoid(points, (side * 13, 10, 8), (5, 14, 10))))
    for uptake, share in layers:
        value += share * (uptake - value)
    return value


def grid_points(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def head_volume(
    template_to_study: np.ndarray,
    *,
    shape: tuple[int, int, int] = (64, 64, 64),
    spacing_mm: float = 3.6,
    noise: float = 0.0,
    striatum: tuple[float, float] = (3.5, 3.5),
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Volume (x, y, z) and affine of a head that was moved by `template_to_study` (MNI mm to study mm)."""
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = -spacing_mm * (np.array(shape) - 1) / 2
    study_to_template = np.linalg.inv(template_to_study)
    points = grid_points(affine, shape) @ study_to_template[:3, :3].T + study_to_template[:3, 3]
    data = gaussian_filter(activity(points, striatum), RESOLUTION_FWHM_MM / 2.355 / spacing_mm)
    if noise:
        data += noise * gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.0) * 5
    return data.astype(np.float32), affine


def moved(turn_deg: tuple = (0, 0, 0), shift_mm: tuple = (0, 0, 0), size: float = 1.0) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = size * Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
    affine[:3, 3] = shift_mm
    return affine


def random_pose(seed: int, *, turn_deg: float = 8, shift_mm: float = 6, size: float = 0.05) -> np.ndarray:
    """A plausible affine from MNI to a study."""
    rng = np.random.default_rng(seed)
    affine = moved(rng.normal(size=3) * turn_deg)
    shear = np.eye(3)
    shear[np.triu_indices(3, 1)] = rng.normal(size=3) * 0.02
    affine[:3, :3] @= shear @ np.diag(np.exp(rng.normal(size=3) * size))
    affine[:3, 3] = rng.normal(size=3) * shift_mm
    return affine


def landmark_error_mm(found: np.ndarray, true: np.ndarray, points: np.ndarray) -> float:
    """Mean distance between where two affines put the points."""
    difference = found - true
    return float(np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1).mean())
