"""Soft-edged bodies of which the phantom is made, and how much of each voxel they fill."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Shape(Protocol):
    """A body: anything that knows its signed distance and the sphere that holds it."""

    def distance_mm(self, points_mm: FloatArray) -> FloatArray:
        """Give the signed distance to the surface (negative inside), exact near the surface only."""
        ...

    @property
    def centre_mm(self) -> FloatArray:
        """Centre of the enclosing sphere."""
        ...

    @property
    def reach_mm(self) -> float:
        """Radius of the enclosing sphere."""
        ...


@dataclass(frozen=True)
class Ellipsoid:
    """Superellipsoid sum_i |x_i / a_i|^p = 1 along its own axes, optionally cut by a half-space.

    Attributes
    ----------
    centre, semi_axes_mm : tuple of float
        Centre and half lengths, in mm.
    exponent : float
        2 is an ellipsoid; more is boxier.
    yaw_deg : float
        Rotation about z, counter-clockwise seen from above.
    floor : tuple of float or None
        Plane below which nothing is left: (height at y = 0, rise per mm of y), in mm.
    """

    centre: tuple[float, float, float]
    semi_axes_mm: tuple[float, float, float]
    exponent: float = 2.0
    yaw_deg: float = 0.0
    floor: tuple[float, float] | None = None

    @property
    def centre_mm(self) -> FloatArray:
        """Centre of the enclosing sphere."""
        return np.array(self.centre)

    @property
    def reach_mm(self) -> float:
        """Radius of the enclosing sphere; a superellipsoid's corners stand out of its axes."""
        return max(self.semi_axes_mm) * 3 ** max(0.0, 0.5 - 1 / self.exponent)

    def distance_mm(self, points_mm: FloatArray) -> FloatArray:
        """Give (r - 1) / |grad r| for r the p-norm of the scaled coordinates: the distance to first order."""
        yaw = np.radians(self.yaw_deg)
        offset = points_mm - self.centre_mm
        if self.yaw_deg:
            turn = np.array([[np.cos(yaw), np.sin(yaw), 0], [-np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
            offset = offset @ turn.T
        axes = np.array(self.semi_axes_mm)
        scaled = np.abs(offset / axes)
        if self.exponent == 2.0:
            radius = np.sqrt(np.einsum("...i,...i->...", scaled, scaled))
            slope = scaled
        else:
            radius = (scaled**self.exponent).sum(axis=-1) ** (1 / self.exponent)
            slope = scaled ** (self.exponent - 1)
        gradient = slope / axes
        norm = np.sqrt(np.einsum("...i,...i->...", gradient, gradient))
        norm /= np.maximum(radius, 1e-6) ** (self.exponent - 1)
        distance = (radius - 1) / np.maximum(norm, 1 / axes.max())
        if self.floor is not None:
            height, rise = self.floor
            below = (height + rise * points_mm[..., 1] - points_mm[..., 2]) / np.hypot(1.0, rise)
            distance = np.maximum(distance, below)
        return np.asarray(distance)


@dataclass(frozen=True)
class Tube:
    """A polyline of balls with radii that change linearly between its nodes, flattened along one direction.

    Attributes
    ----------
    nodes : tuple of (x, y, z, radius)
        In mm.
    flatness : float
        Factor by which the cross-section is thinner along `azimuth_rad`, `elevation_rad`.
    azimuth_rad, elevation_rad : float
        Direction of the flattening: from x towards y, and up.
    """

    nodes: tuple[tuple[float, float, float, float], ...]
    flatness: float = 1.0
    azimuth_rad: float = 0.0
    elevation_rad: float = 0.0
    _stretch: FloatArray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        axis = np.array(
            [
                np.cos(self.elevation_rad) * np.cos(self.azimuth_rad),
                np.cos(self.elevation_rad) * np.sin(self.azimuth_rad),
                np.sin(self.elevation_rad),
            ]
        )
        object.__setattr__(self, "_stretch", np.eye(3) + (1 / self.flatness - 1) * np.outer(axis, axis))

    @property
    def centre_mm(self) -> FloatArray:
        """Centre of the enclosing sphere."""
        points = np.array(self.nodes)[:, :3]
        return np.asarray((points.min(axis=0) + points.max(axis=0)) / 2)

    @property
    def reach_mm(self) -> float:
        """Radius of the enclosing sphere."""
        nodes = np.array(self.nodes)
        return float((np.linalg.norm(nodes[:, :3] - self.centre_mm, axis=1) + nodes[:, 3]).max())

    def distance_mm(self, points_mm: FloatArray) -> FloatArray:
        """Give the distance to the nearest segment less the radius there, measured in the stretched space."""
        nodes = np.array(self.nodes)
        line = nodes[:, :3] @ self._stretch
        query = points_mm @ self._stretch
        best = np.full(points_mm.shape[:-1], np.inf)
        for start, end, r0, r1 in zip(line[:-1], line[1:], nodes[:-1, 3], nodes[1:, 3], strict=True):
            along = end - start
            t = np.clip((query - start) @ along / (along @ along), 0.0, 1.0)
            away = query - start - t[..., None] * along
            gap = np.sqrt(np.einsum("...i,...i->...", away, away)) - (r0 + (r1 - r0) * t)
            np.minimum(best, gap, out=best)
        return best

    def moved(self, shift_mm: FloatArray, thickness: float = 1.0) -> Tube:
        """Give the same tube elsewhere, with its radii multiplied by `thickness`."""
        nodes = tuple(
            (x + float(shift_mm[0]), y + float(shift_mm[1]), z + float(shift_mm[2]), r * thickness)
            for x, y, z, r in self.nodes
        )
        return replace(self, nodes=nodes)


def filled(shape: Shape, points_mm: FloatArray, edge_mm: float) -> FloatArray:
    """Give the share of a small cell around each point that lies inside the body.

    Parameters
    ----------
    shape : Shape
        The body.
    points_mm : ndarray, shape (..., 3), float64
        Centres of the cells.
    edge_mm : float
        Width of a cell: over this distance the share falls from 1 to 0.

    Returns
    -------
    ndarray, shape (...), float64
        Between 0 and 1.
    """
    return np.clip(0.5 - shape.distance_mm(points_mm) / edge_mm, 0.0, 1.0)
