"""The bodies of the phantom, and the share of each voxel that they fill."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Shape(Protocol):
    """A body: anything that knows its signed distance and its enclosing sphere."""

    def distance_mm(self, points_mm: FloatArray) -> FloatArray:
        """Give the signed distance to the surface (negative inside); it is exact only near the surface."""
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
    """Superellipsoid sum_i |x_i / a_i|^p = 1 along its own axes, optionally cut by a plane."""

    centre: tuple[float, float, float]
    """In mm."""
    semi_axes_mm: tuple[float, float, float]
    exponent: float = 2.0
    """2 for an ellipsoid; a greater one is more like a box."""
    yaw_deg: float = 0.0
    """Rotation about z, counter-clockwise seen from above."""
    floor: tuple[float, float] | None = None
    """Lower end of the body: a plane with (height at y = 0, rise per mm of y), in mm."""

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
    """A tube along a line of nodes; the radius changes linearly between nodes, one direction is flattened."""

    nodes: tuple[tuple[float, float, float, float], ...]
    """(x, y, z, radius) in mm."""
    flatness: float = 1.0
    """Thickness along `azimuth_rad` and `elevation_rad` over that across."""
    azimuth_rad: float = 0.0
    """Direction of the flattening, from x towards y."""
    elevation_rad: float = 0.0
    """Direction of the flattening, upwards."""
    _stretch: FloatArray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        azimuth, elevation = self.azimuth_rad, self.elevation_rad
        level = np.cos(elevation)
        axis = np.array([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)])
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
        right, front, up = map(float, shift_mm)
        return replace(self, nodes=tuple((x + right, y + front, z + up, r * thickness) for x, y, z, r in self.nodes))


def filled(shape: Shape, points_mm: FloatArray, edge_mm: float) -> FloatArray:
    """Give the share of a cell of width `edge_mm` around each point (..., 3) that lies inside the body, shape (...)."""
    return np.clip(0.5 - shape.distance_mm(points_mm) / edge_mm, 0.0, 1.0)
