"""Anatomical shapes as superellipsoids that bend and taper along their long axis."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import resources

import numpy as np

from datbatch.arrays import Bools, Floats


@dataclass(frozen=True)
class Shape:
    """One superellipsoid; its own axes are u, v (cross-section) and w (long axis).

    With q = turned (p - centre) and w = q_w / half_w:

        u = (q_u - bend_u2 w^2 - bend_u3 w^3) / (half_u exp(taper_u1 w + taper_u2 w^2)), v likewise,
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
    def box_mm(self) -> Floats:
        """Shape (axis, end). A box in MNI mm RAS that holds the shape, and its surface in spite of rounding."""
        # Inside, |w| is at most 1, and so are the powers of w that bend and taper.
        u = self.half_u_mm * np.exp(abs(self.taper_u1) + max(self.taper_u2, 0.0))
        v = self.half_v_mm * np.exp(abs(self.taper_v1) + max(self.taper_v2, 0.0))
        u += abs(self.bend_u2_mm) + abs(self.bend_u3_mm)
        v += abs(self.bend_v2_mm) + abs(self.bend_v3_mm)
        reach = np.abs(self._axes) @ [u, v, self.half_w_mm] + 1e-6
        return np.stack([self.centre_mm - reach, self.centre_mm + reach], axis=-1)

    @property
    def _axes(self) -> Floats:
        """The axes u, v and w as columns."""
        return _turn(self.turn_x, self.turn_y, self.turn_z)

    def contains(self, points_mm: Floats) -> Bools:
        """Tell which points (..., 3), MNI mm RAS, lie inside."""
        # One product of two matrices, not one for each row of a grid; and powers only where they decide.
        q = (points_mm - np.array(self.centre_mm)).reshape(-1, 3) @ self._axes
        inside = np.asarray(np.abs(q[:, 2]) <= self.half_w_mm, bool)
        q_u, q_v, q_w = q[inside].T
        w = q_w / self.half_w_mm
        square, cube = w**2, w**3
        u = np.abs(q_u - self.bend_u2_mm * square - self.bend_u3_mm * cube)
        v = np.abs(q_v - self.bend_v2_mm * square - self.bend_v3_mm * cube)
        u /= self.half_u_mm * np.exp(self.taper_u1 * w + self.taper_u2 * square)
        v /= self.half_v_mm * np.exp(self.taper_v1 * w + self.taper_v2 * square)
        n, m = self.cross_power, self.long_power
        near = (u <= 1.0) & (v <= 1.0)
        near[near] = (u[near] ** n + v[near] ** n) ** (m / n) + np.abs(w[near]) ** m <= 1.0
        inside[inside] = near
        return inside.reshape(points_mm.shape[:-1])


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
            box = tuple(slice(*np.searchsorted(axis, ends)) for axis, ends in zip(axes_mm, shape.box_mm, strict=True))
            points = np.stack(
                np.meshgrid(*(axis[part] for axis, part in zip(axes_mm, box, strict=True)), indexing="ij"), axis=-1
            )
            inside[box] |= shape.contains(points)
    return inside
