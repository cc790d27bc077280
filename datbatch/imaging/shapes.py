"""Anatomical shapes as superellipsoids that bend and taper along their long axis."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import resources

import numpy as np

from datbatch.arrays import Bools, Floats

BEND_LIMIT = 1.3
"""Bends and tapers are polynomials of the place along the axis, constant beyond this multiple of the half length."""


@dataclass(frozen=True)
class Shape:
    """One superellipsoid; its own axes are u, v (cross-section) and w (long axis).

    With q = turned (p - centre), w = q_w / half_w and t = w held within +-1.3:

        u = (q_u - bend_u2 t^2 - bend_u3 t^3) / (half_u exp(taper_u1 t + taper_u2 t^2)), v likewise,
        inside where (|u|^n + |v|^n)^(m/n) + |w|^m <= 1, n = cross_power, m = long_power

    (Barr, IEEE Computer Graphics and Applications 1981;1(1):11-23, for n and m; bends and tapers after Barr,
    SIGGRAPH 1984). The turn is Rz Ry Rx with angles in radians; its columns are the axes u, v, w.
    """

    structure: str
    centre_x_mm: float
    centre_y_mm: float
    centre_z_mm: float
    turn_x: float
    turn_y: float
    turn_z: float
    half_u_mm: float
    half_v_mm: float
    half_w_mm: float
    cross_power: float
    long_power: float
    bend_u2_mm: float
    bend_u3_mm: float
    bend_v2_mm: float
    bend_v3_mm: float
    taper_u1: float
    taper_u2: float
    taper_v1: float
    taper_v2: float

    @property
    def centre_mm(self) -> tuple[float, float, float]:
        """Centre of the unbent shape, MNI mm RAS."""
        return self.centre_x_mm, self.centre_y_mm, self.centre_z_mm

    @property
    def reach_mm(self) -> float:
        """Radius about the centre that no point of the shape exceeds."""
        t = BEND_LIMIT
        u = self.half_u_mm * np.exp(abs(self.taper_u1) * t + max(self.taper_u2, 0.0) * t**2)
        v = self.half_v_mm * np.exp(abs(self.taper_v1) * t + max(self.taper_v2, 0.0) * t**2)
        u += abs(self.bend_u2_mm) * t**2 + abs(self.bend_u3_mm) * t**3
        v += abs(self.bend_v2_mm) * t**2 + abs(self.bend_v3_mm) * t**3
        return float(np.sqrt(u**2 + v**2 + self.half_w_mm**2))

    def contains(self, points_mm: Floats) -> Bools:
        """Tell which points (..., 3), MNI mm RAS, lie inside."""
        q = (points_mm - np.array(self.centre_mm)) @ _turn(self.turn_x, self.turn_y, self.turn_z)
        w = q[..., 2] / self.half_w_mm
        t = np.clip(w, -BEND_LIMIT, BEND_LIMIT)
        u = np.abs(q[..., 0] - self.bend_u2_mm * t**2 - self.bend_u3_mm * t**3)
        v = np.abs(q[..., 1] - self.bend_v2_mm * t**2 - self.bend_v3_mm * t**3)
        u /= self.half_u_mm * np.exp(self.taper_u1 * t + self.taper_u2 * t**2)
        v /= self.half_v_mm * np.exp(self.taper_v1 * t + self.taper_v2 * t**2)
        n, m = self.cross_power, self.long_power
        return np.asarray((u**n + v**n) ** (m / n) + np.abs(w) ** m <= 1.0, bool)


def _turn(x: float, y: float, z: float) -> Floats:
    (cx, cy, cz), (sx, sy, sz) = np.cos([x, y, z]), np.sin([x, y, z])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x, np.float64)


@lru_cache(maxsize=1)
def shape_table() -> tuple[Shape, ...]:
    """Read the table of shapes that ships with the package; they describe the left side and midline.

    Putamen, caudate, pallidum and accumbens were fitted to the mean of the left and the mirrored right structure of the
    CIT168 atlas (Pauli, Nili, Tyszka, Scientific Data 2018;5:180063), thalamus, brain stem, ventricles and cerebellum
    to the Allen Human Reference Atlas 3D (Ding et al., Journal of Comparative Neurology 2016); both CC BY 4.0. Only
    the fitted numbers are kept. Cerebrum and occipital lobe follow the outline of the MNI152 brain.
    """
    table = resources.files("datbatch.imaging").joinpath("data/atlas_shapes.csv")
    numbers = [field.name for field in fields(Shape) if field.name != "structure"]
    with table.open(encoding="utf-8") as file:
        return tuple(
            Shape(row["structure"], **{name: float(row[name]) for name in numbers}) for row in csv.DictReader(file)
        )


def structure_mask(structure: str, axes_mm: Sequence[Floats]) -> Bools:
    """Draw the left or midline shapes of a structure on a grid whose axes are x, y, z in MNI mm."""
    inside = np.zeros(tuple(axis.size for axis in axes_mm), bool)
    for shape in shape_table():
        if shape.structure == structure:
            box = tuple(
                slice(*np.searchsorted(axis, [centre - shape.reach_mm, centre + shape.reach_mm]))
                for axis, centre in zip(axes_mm, shape.centre_mm, strict=True)
            )
            points = np.stack(
                np.meshgrid(*(axis[part] for axis, part in zip(axes_mm, box, strict=True)), indexing="ij"), axis=-1
            )
            inside[box] |= shape.contains(points)
    return inside
