"""Anatomy in MNI space: the tissues, their places, and the tracer uptake of each.

The shapes of the striatum were fitted (least squares on partial volumes) to the CIT168 atlas (Pauli, Nili, Tyszka. Sci
Data 2018;5:180063). Thalamus, brain stem, ventricles and cerebellum follow the Allen Human Reference Atlas 3D (Ding et
al. J Comp Neurol 2016;524:3127). Both atlases are CC BY 4.0; only the fitted numbers are used here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from datbatch.simulation.shapes import Ellipsoid, FloatArray, Shape, Tube, filled

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")

PUTAMEN: dict[Side, Tube] = {
    "left": Tube(((-17.5, 11.5, -9.4, 6.2), (-25.4, 7.0, 1.9, 11.3), (-30.2, -9.9, 3.2, 12.3)), 0.260, 0.040, -0.184),
    "right": Tube(((16.7, 13.6, -9.1, 6.1), (25.1, 8.0, 2.0, 11.1), (30.5, -9.2, 2.4, 11.9)), 0.226, -0.075, 0.163),
}
CAUDATE: dict[Side, Tube] = {
    "left": Tube(
        (
            (-13.4, 16.1, -2.9, 9.5),
            (-12.5, 16.0, 4.5, 10.8),
            (-14.7, 6.3, 15.7, 7.6),
            (-17.2, -10.9, 23.9, 3.5),
            (-22.2, -32.9, 18.1, 2.4),
        ),
        0.415,
        0.675,
        0.321,
    ),
    "right": Tube(
        (
            (12.3, 17.3, -1.0, 10.3),
            (12.5, 17.5, 4.3, 10.5),
            (14.5, 8.4, 15.3, 7.7),
            (17.0, -9.6, 24.0, 3.5),
            (22.6, -31.8, 17.8, 2.2),
        ),
        0.445,
        -0.713,
        -0.282,
    ),
}
ACCUMBENS: dict[Side, Ellipsoid] = {
    "left": Ellipsoid((-10.2, 8.2, -10.1), (6.0, 4.5, 5.0)),
    "right": Ellipsoid((9.5, 9.1, -9.8), (6.0, 4.5, 5.0)),
}
THALAMUS = (
    Ellipsoid((-11.0, -18.9, 5.9), (10.0, 17.5, 13.9), yaw_deg=-25.0),
    Ellipsoid((11.0, -18.9, 5.9), (10.0, 17.5, 13.9), yaw_deg=25.0),
)
BRAIN_STEM = Tube(((0.0, -22.0, -9.0, 12.0), (0.0, -26.5, -28.0, 16.5), (0.0, -42.0, -59.0, 8.5)))
_LATERAL_VENTRICLE = (
    (8.0, 28.0, 3.0, 4.6),
    (8.5, 12.0, 15.0, 4.6),
    (11.5, -12.0, 22.5, 5.2),
    (23.0, -40.0, 15.0, 8.0),
    (24.0, -62.0, 4.0, 4.0),
)
VENTRICLES = (
    Tube(tuple((-x, y, z, r) for x, y, z, r in _LATERAL_VENTRICLE)),
    Tube(_LATERAL_VENTRICLE),
    Ellipsoid((0.0, -12.0, 0.0), (2.2, 14.0, 11.0)),
    Ellipsoid((0.0, -44.0, -32.0), (7.0, 7.0, 9.0)),
)

HEAD = (
    Ellipsoid((0.0, -14.0, -2.0), (82.0, 108.0, 99.0), exponent=2.2),
    Ellipsoid((0.0, 22.0, -78.0), (62.0, 72.0, 62.0)),
    Tube(((0.0, -38.0, -90.0, 60.0), (0.0, -38.0, -220.0, 64.0))),
)
INNER_HEAD = Ellipsoid((0.0, -14.0, 0.0), (75.5, 101.0, 92.0), exponent=2.2)
CEREBRUM = (
    Ellipsoid((0.0, -17.0, 9.0), (70.5, 88.5, 70.0), exponent=2.35, floor=(-20.0, -0.06)),
    Ellipsoid((-44.0, -10.0, -22.0), (24.0, 42.0, 22.0)),
    Ellipsoid((44.0, -10.0, -22.0), (24.0, 42.0, 22.0)),
)
WHITE_MATTER = (
    Ellipsoid((-29.0, -20.0, 22.0), (23.0, 64.0, 32.0), exponent=2.3),
    Ellipsoid((29.0, -20.0, 22.0), (23.0, 64.0, 32.0), exponent=2.3),
)
CEREBELLUM = (
    Ellipsoid((-26.0, -62.5, -37.0), (30.0, 30.0, 25.0)),
    Ellipsoid((26.0, -62.5, -37.0), (30.0, 30.0, 25.0)),
)
GLANDS = (
    Ellipsoid((-62.0, -8.0, -78.0), (11.0, 17.0, 24.0)),
    Ellipsoid((62.0, -8.0, -78.0), (11.0, 17.0, 24.0)),
    Ellipsoid((-33.0, 30.0, -116.0), (10.0, 15.0, 11.0)),
    Ellipsoid((33.0, 30.0, -116.0), (10.0, 15.0, 11.0)),
    Ellipsoid((-38.0, 58.0, -28.0), (6.0, 5.0, 5.0)),
    Ellipsoid((38.0, 58.0, -28.0), (6.0, 5.0, 5.0)),
    Ellipsoid((0.0, 62.0, -52.0), (14.0, 16.0, 16.0)),
)
"""Parotid, submandibular and lacrimal glands, and the nasal mucosa."""

ANTERIOR_Y_MM, POSTERIOR_Y_MM = 16.0, -14.0
"""Over this range putaminal binding changes linearly from its anterior to its posterior value."""
POSTERIOR_SHARE: dict[Side, float] = {"left": 0.488, "right": 0.445}
"""Volume-weighted mean of this change over the putamen: mean binding = anterior + share * (posterior - anterior)."""


@dataclass(frozen=True)
class StriatalBinding:
    """Binding ratio (specific over non-displaceable uptake) of each part on one side, without any blur."""

    caudate: float
    putamen_anterior: float
    putamen_posterior: float

    def putamen(self, side: Side) -> float:
        """Give the volume-weighted mean over the putamen."""
        return self.putamen_anterior + POSTERIOR_SHARE[side] * (self.putamen_posterior - self.putamen_anterior)


@dataclass(frozen=True)
class Uptake:
    """Tracer concentration outside the striatum, relative to the brain's non-displaceable uptake."""

    grey_matter: float = 1.04
    white_matter: float = 0.90
    cerebellum: float = 0.95
    thalamus: float = 1.45
    brain_stem: float = 1.35
    ventricles: float = 0.35
    skull: float = 0.25
    scalp: float = 0.55
    soft_tissue: float = 0.50
    glands: float = 1.9


@dataclass(frozen=True)
class StriatalShape:
    """How one striatal structure differs from the fitted mean, beyond the affine."""

    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    thickness: float = 1.0


@dataclass(frozen=True)
class Anatomy:
    """One person's anatomy and uptake in MNI space, without the pose."""

    binding: dict[Side, StriatalBinding]
    uptake: Uptake = field(default_factory=Uptake)
    putamen: dict[Side, StriatalShape] = field(default_factory=lambda: {side: StriatalShape() for side in SIDES})
    caudate: dict[Side, StriatalShape] = field(default_factory=lambda: {side: StriatalShape() for side in SIDES})
    ventricle_size: float = 1.0
    """Factor on the radii of the ventricles."""
    scalp_ring: bool = True
    """Whether the scalp takes up more tracer than the skull below it."""


@dataclass(frozen=True)
class Grid:
    """Cubic voxels of the object in study space, RAS mm; its origin is the middle of the axis of rotation."""

    shape: tuple[int, int, int]
    first_mm: tuple[float, float, float]
    """Centre of voxel (0, 0, 0)."""
    spacing_mm: float

    def axis_mm(self, axis: int) -> FloatArray:
        """Give the voxel centres along one axis."""
        return self.first_mm[axis] + self.spacing_mm * np.arange(self.shape[axis], dtype=np.float64)

    def points_mm(self) -> FloatArray:
        """Give all voxel centres, shape (x, y, z, 3)."""
        axes = [self.axis_mm(axis) for axis in range(3)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


@dataclass(frozen=True)
class Phantom:
    """The object that the camera sees; both arrays have the grid's shape (x, y, z)."""

    activity: npt.NDArray[np.float32]
    """Tracer concentration relative to the brain's non-displaceable uptake."""
    attenuation_per_mm: npt.NDArray[np.float32]
    """Linear attenuation coefficient at 159 keV."""
    grid: Grid


ATTENUATION_PER_MM = 0.0148
"""Water at 159 keV, 0.148/cm; bone and air are not modelled."""


def build_phantom(anatomy: Anatomy, template_to_study: FloatArray, grid: Grid) -> Phantom:
    """Paint a person's anatomy onto the voxels of the study; a voxel mixes the tissues in it by volume.

    `template_to_study`, shape (4, 4), leads from MNI mm to study mm, RAS.
    """
    painter = _Painter(grid, template_to_study)
    uptake = anatomy.uptake
    for shape in HEAD:
        painter.paint_large(shape, uptake.scalp if anatomy.scalp_ring else uptake.skull)
    attenuation = (painter.inside * ATTENUATION_PER_MM).astype(np.float32)
    painter.paint_large(INNER_HEAD, uptake.skull)
    painter.paint_large(HEAD[1], uptake.soft_tissue, only_below_mm=-50.0)
    for shape in (*CEREBRUM, *WHITE_MATTER, *CEREBELLUM):
        value = uptake.white_matter if shape in WHITE_MATTER else uptake.grey_matter
        painter.paint_large(shape, uptake.cerebellum if shape in CEREBELLUM else value)
    painter.paint(BRAIN_STEM, uptake.brain_stem)
    for shape in THALAMUS:
        painter.paint(shape, uptake.thalamus)
    for ventricle in ventricles(anatomy.ventricle_size):
        painter.paint(ventricle, uptake.ventricles)
    for gland in GLANDS:
        painter.paint(gland, uptake.glands)
    for side in SIDES:
        binding = anatomy.binding[side]
        putamen, caudate = striatum(anatomy, side)
        painter.paint(ACCUMBENS[side], 1 + (binding.caudate + binding.putamen_anterior) / 2)
        painter.paint(putamen, (1 + binding.putamen_anterior, 1 + binding.putamen_posterior))
        painter.paint(caudate, 1 + binding.caudate)
    return Phantom(painter.activity.astype(np.float32), attenuation, grid)


def striatum(anatomy: Anatomy, side: Side) -> tuple[Tube, Tube]:
    """Give a person's putamen and caudate on one side; wide ventricles push the caudate outwards."""
    outwards = (-1.0 if side == "left" else 1.0) * 4.0 * (anatomy.ventricle_size - 1)
    own = anatomy.caudate[side]
    caudate = CAUDATE[side].moved(np.array(own.shift_mm) + np.array([outwards, 0, 0]), own.thickness)
    own = anatomy.putamen[side]
    return PUTAMEN[side].moved(np.array(own.shift_mm), own.thickness), caudate


def ventricles(size: float) -> tuple[Shape, ...]:
    """Give the ventricles with their radii multiplied by `size`."""
    lateral = [shape.moved(np.zeros(3), size) for shape in VENTRICLES if isinstance(shape, Tube)]
    return (*lateral, *(shape for shape in VENTRICLES if isinstance(shape, Ellipsoid)))


def putaminal_profile(y_mm: FloatArray) -> FloatArray:
    """Give the weight of the posterior value at MNI y: 0 in front, 1 behind, linear in between."""
    return np.clip((ANTERIOR_Y_MM - y_mm) / (ANTERIOR_Y_MM - POSTERIOR_Y_MM), 0.0, 1.0)


class _Painter:
    """Lays tissues over each other; a later one replaces earlier ones in the share of the voxel that it fills."""

    def __init__(self, grid: Grid, template_to_study: FloatArray) -> None:
        self.grid = grid
        self.template_to_study = template_to_study
        inverse = np.linalg.inv(template_to_study)
        self.points_mm: FloatArray = np.asarray(grid.points_mm() @ inverse[:3, :3].T + inverse[:3, 3])
        self.activity: FloatArray = np.zeros(grid.shape)
        self.inside: FloatArray = np.zeros(grid.shape)
        quarter = grid.spacing_mm / 4 * np.array([-1.0, 1.0])
        corners = np.stack(np.meshgrid(quarter, quarter, quarter), axis=-1).reshape(8, 3)
        self.substeps = corners @ inverse[:3, :3].T

    def _near(self, shape: Shape) -> tuple[slice, slice, slice] | None:
        """Give the box of voxels that a body can touch."""
        linear, shift = self.template_to_study[:3, :3], self.template_to_study[:3, 3]
        reach = shape.reach_mm * np.linalg.norm(linear, 2) + self.grid.spacing_mm
        middle = (linear @ shape.centre_mm + shift - self.grid.first_mm) / self.grid.spacing_mm
        low = np.maximum(np.floor(middle - reach / self.grid.spacing_mm), 0).astype(int)
        high = np.minimum(np.ceil(middle + reach / self.grid.spacing_mm) + 1, self.grid.shape).astype(int)
        if (low >= high).any():
            return None
        x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return x, y, z

    def paint_large(self, shape: Shape, value: float, only_below_mm: float = np.inf) -> None:
        """Lay one large body over the others; one sample per voxel is enough."""
        box = self._near(shape)
        if box is None:
            return
        points = self.points_mm[box]
        share = filled(shape, points, self.grid.spacing_mm)
        share *= np.clip((only_below_mm - points[..., 2]) / self.grid.spacing_mm, 0.0, 1.0)
        self.activity[box] += share * (value - self.activity[box])
        np.maximum(self.inside[box], share, out=self.inside[box])

    def paint(self, shape: Shape, value: float | tuple[float, float]) -> None:
        """Lay one small body over the others, with eight samples per voxel; a pair is (anterior, posterior)."""
        box = self._near(shape)
        if box is None:
            return
        samples = self.points_mm[box][..., None, :] + self.substeps
        share = filled(shape, samples, self.grid.spacing_mm / 2)
        if isinstance(value, tuple):
            colour = value[0] + (value[1] - value[0]) * putaminal_profile(samples[..., 1])
            painted = (share * colour).mean(axis=-1)
        else:
            painted = share.mean(axis=-1) * value
        self.activity[box] = painted + (1 - share.mean(axis=-1)) * self.activity[box]
